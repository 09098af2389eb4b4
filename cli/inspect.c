/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/inspect.c - skein inspect FILE: what a model file is, and what serving it takes here.
 *
 * Opens and checks the file as serve does, but no device. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/inspect_devices.h"
#include "cli/runtime.h"

enum { TYPE_COUNT = 3, JSON_BYTES = 16 * 1024, SLOTS_SHOWN = 64 };

/* The official models; anything else is "not an official size". */
static const struct {
    const char *name;
    uint32_t L, C, F;
} official_sizes[] = {
    {"0.1B", 12, 768, 3072},   {"0.4B", 24, 1024, 4096},  {"1.5B", 24, 2048, 8192},
    {"2.9B", 32, 2560, 10240}, {"7.2B", 32, 4096, 16384}, {"13.3B", 61, 4096, 16384},
};

/* What the report says. */
struct findings {
    const char *name, *format, *size;
    const struct model_spec *spec;
    uint32_t tensor_count[TYPE_COUNT];
    size_t tensor_bytes[TYPE_COUNT];
    size_t file_bytes, copied_bytes, state_bytes;
    const char *initial_state;
    char vocabulary[2 * PATH_MAX]; /* Empty: none found. */
    bool was_verified;
    uint32_t difference_count;
    struct inspect_device devices[INSPECT_DEVICES_MAX];
    uint32_t device_count;
};

static const char *size_name(const struct model_spec *spec)
{
    for (size_t i = 0; i < sizeof official_sizes / sizeof official_sizes[0]; i++) {
        if (spec->L == official_sizes[i].L && spec->C == official_sizes[i].C &&
            spec->F == official_sizes[i].F) {
            return official_sizes[i].name;
        }
    }
    return "not an official size";
}

static void examine(const struct config *config, const struct runtime *runtime,
                    struct findings *findings)
{
    const struct model_file *file = runtime->file;
    findings->name = model_file_name(file);
    findings->format = model_file_format_text(file);
    findings->spec = &runtime->spec;
    findings->size = size_name(&runtime->spec);
    for (uint32_t i = 0; i < model_file_tensor_count(file); i++) {
        const struct tensor *tensor = model_file_tensor_at(file, i);
        findings->tensor_count[tensor->type]++;
        findings->tensor_bytes[tensor->type] += tensor->bytes;
    }
    findings->file_bytes = model_file_bytes(file);
    findings->copied_bytes = model_file_copied_bytes(file);
    findings->state_bytes = model_spec_state_floats(&runtime->spec) * sizeof(float);
    findings->initial_state = runtime->initial_state.state == NULL ? "zeros"
                              : runtime->initial_state.layout == TUNED_STATE_VALUE_KEY
                                  ? "time_state [value][key]"
                                  : "time_state [key][value]";
    if (config->vocab != NULL) {
        snprintf(findings->vocabulary, sizeof findings->vocabulary, "%s", config->vocab);
    } else if (config->argument_count == 0) {
        snprintf(findings->vocabulary, sizeof findings->vocabulary, "built in");
    } else if (!runtime_find_vocabulary(config->arguments[0], findings->vocabulary,
                                        sizeof findings->vocabulary)) {
        findings->vocabulary[0] = '\0';
    }
    findings->device_count = inspect_devices(
        &runtime->spec, findings->file_bytes + findings->copied_bytes, findings->devices);
}

static void print_memory(const struct findings *findings)
{
    const double state = (double)findings->state_bytes * 1e-6;
    const double weights = (double)(findings->file_bytes + findings->copied_bytes) * 1e-6;
    printf("state        %.2f MB a sequence (f32), whatever its length\n", state);
    printf("memory       %.1f MB of weights, %.1f MB of states for %d sequences\n", weights,
           state * SLOTS_SHOWN, SLOTS_SHOWN);
    for (uint32_t index = 0; index < findings->device_count; index++) {
        const struct inspect_device *device = &findings->devices[index];
        const double available = (double)device->available_bytes * 1e-9;
        if (device->sequence_count == 0) {
            printf("%-12s %s, %.1f GB available: too little for this model\n", device->kind,
                   device->name, available);
        } else {
            printf("%-12s %s, %.1f GB available: %s%" PRIu64 " sequences at once\n", device->kind,
                   device->name, available,
                   device->sequence_count == LIMIT_SLOTS ? "the most that --slots allows, " : "",
                   device->sequence_count);
        }
    }
}

static void print_table(const struct findings *findings)
{
    const struct model_spec *spec = findings->spec;
    printf("file         %s\n", findings->name);
    printf("format       %s, %.1f MB", findings->format, (double)findings->file_bytes * 1e-6);
    if (findings->copied_bytes > 0) {
        printf(", %.1f MB of it turned over or gathered when opened",
               (double)findings->copied_bytes * 1e-6);
    }
    printf("\nmodel        RWKV-7 x070, %s: %" PRIu64 " parameters\n", findings->size,
           spec->parameter_count);
    printf("shape        %u layers, %u channels, %u heads of %u, %u in the channel mix\n", spec->L,
           spec->C, spec->H, spec->N, spec->F);
    printf("low ranks    decay %u, in-context rate %u, value %u, gate %u\n", spec->rank_w,
           spec->rank_a, spec->rank_v, spec->rank_g);
    printf("vocabulary   %u rows; %s\n", spec->V,
           findings->vocabulary[0] == '\0' ? "no vocabulary file found: name one with --vocab"
                                           : findings->vocabulary);
    printf("types        ");
    const char *separator = "";
    for (int type = 0; type < TYPE_COUNT; type++) {
        if (findings->tensor_count[type] > 0) {
            printf("%s%s in %u tensors (%.1f MB)", separator,
                   tensor_type_name((enum tensor_type)type), findings->tensor_count[type],
                   (double)findings->tensor_bytes[type] * 1e-6);
            separator = ", ";
        }
    }
    printf("\ninitial      %s\n", findings->initial_state);
    if (findings->was_verified) {
        printf("checksums    %u differ\n", findings->difference_count);
    }
    print_memory(findings);
}

static void write_model(struct json_writer *writer, const struct findings *findings)
{
    const struct model_spec *spec = findings->spec;
    json_key_string(writer, "architecture", TEXT("rwkv-7 x070"));
    json_key_string(writer, "size", text_from(findings->size));
    json_key_integer(writer, "parameters", (int64_t)spec->parameter_count);
    json_key_integer(writer, "layers", spec->L);
    json_key_integer(writer, "channels", spec->C);
    json_key_integer(writer, "heads", spec->H);
    json_key_integer(writer, "head_size", spec->N);
    json_key_integer(writer, "ffn_channels", spec->F);
    json_key_integer(writer, "vocabulary_rows", spec->V);
    json_key_integer(writer, "rank_w", spec->rank_w);
    json_key_integer(writer, "rank_a", spec->rank_a);
    json_key_integer(writer, "rank_v", spec->rank_v);
    json_key_integer(writer, "rank_g", spec->rank_g);
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, spec->fingerprint);
    json_key_string(writer, "fingerprint", text_from(fingerprint));
}

static void write_types(struct json_writer *writer, const struct findings *findings)
{
    json_key(writer, "types");
    json_array_begin(writer);
    for (int type = 0; type < TYPE_COUNT; type++) {
        if (findings->tensor_count[type] == 0) {
            continue;
        }
        json_object_begin(writer);
        json_key_string(writer, "type", text_from(tensor_type_name((enum tensor_type)type)));
        json_key_integer(writer, "tensors", findings->tensor_count[type]);
        json_key_integer(writer, "bytes", (int64_t)findings->tensor_bytes[type]);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void print_json(const struct findings *findings)
{
    static char buffer[JSON_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof buffer);
    json_object_begin(&writer);
    json_key_string(&writer, "file", text_from(findings->name));
    json_key_string(&writer, "format", text_from(findings->format));
    json_key_integer(&writer, "file_bytes", (int64_t)findings->file_bytes);
    json_key_integer(&writer, "copied_bytes", (int64_t)findings->copied_bytes);
    write_model(&writer, findings);
    write_types(&writer, findings);
    json_key_string(&writer, "initial_state", text_from(findings->initial_state));
    if (findings->vocabulary[0] == '\0') {
        json_key_null(&writer, "vocabulary");
    } else {
        json_key_string(&writer, "vocabulary", text_from(findings->vocabulary));
    }
    if (findings->was_verified) {
        json_key_integer(&writer, "checksum_differences", findings->difference_count);
    }
    json_key_integer(&writer, "state_bytes", (int64_t)findings->state_bytes);
    json_key(&writer, "devices");
    json_array_begin(&writer);
    for (uint32_t index = 0; index < findings->device_count; index++) {
        const struct inspect_device *device = &findings->devices[index];
        json_object_begin(&writer);
        json_key_string(&writer, "device", text_from(device->kind));
        json_key_string(&writer, "name", text_from(device->name));
        json_key_integer(&writer, "available_bytes", (int64_t)device->available_bytes);
        json_key_integer(&writer, "sequences", (int64_t)device->sequence_count);
        json_object_end(&writer);
    }
    json_array_end(&writer);
    json_object_end(&writer);
    ASSERT(json_writer_fits(&writer));
    fwrite(buffer, 1, writer.len, stdout);
    putchar('\n');
}

static enum error_code inspect(const struct config *config, struct runtime *runtime, bool verify,
                               struct findings *findings, struct error *error)
{
    const char *path = config->argument_count > 0 ? config->arguments[0] : NULL;
    enum error_code code = runtime_open_model(path, runtime, error);
    if (code == ERROR_NONE) {
        code = runtime_open_initial_state(config, runtime, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (verify) {
        findings->difference_count = runtime_verify(runtime);
        findings->was_verified = true;
    }
    examine(config, runtime, findings);
    return ERROR_NONE;
}

enum exit_code command_inspect(int argc, char **argv)
{
    struct config config = {0};
    struct runtime runtime = {0};
    struct error error = {0};
    static struct findings findings;
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    struct config_extra_flag flags[] = {
        {.flag = "json", .kind = CONFIG_EXTRA_SWITCH},
        {.flag = "verify", .kind = CONFIG_EXTRA_SWITCH},
    };
    struct config_input input = {
        .argc = argc - 1,
        .argv = argv + 1,
        .never_listens = true,
        .extra_flags = flags,
        .extra_flag_count = sizeof flags / sizeof flags[0],
    };
    const char *usage = "skein inspect [options] [--json] [--verify] [FILE]\n\n"
                        "Says what a model file or directory is and what serving it takes; without "
                        "FILE, of the\nbuilt-in model. --verify compares the weights' checksums "
                        "where the file has them (.pth).";
    if (!command_load_config(&config, &input, usage, &exit_code)) {
        goto out;
    }
    if (config.argument_count > 1) {
        exit_code = command_fail(EXIT_CODE_USAGE, "inspect takes one file");
        goto out;
    }
    if (config.origins[CONFIG_OPTION_log_level].source == CONFIG_SOURCE_DEFAULT) {
        log_configure(LOG_WARN, config.log_format);
    }
    if (inspect(&config, &runtime, flags[1].value != NULL, &findings, &error) != ERROR_NONE) {
        exit_code = command_fail_with(&error);
    } else if (flags[0].value != NULL) {
        print_json(&findings);
    } else {
        print_table(&findings);
    }
out:
    runtime_close(&runtime);
    config_deinit(&config);
    return exit_code;
}
