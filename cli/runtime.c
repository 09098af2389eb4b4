/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/runtime.c - from configuration to an open backend. */
#include "cli/runtime.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/progress.h"
#include "models/gosling/gosling.h"

enum {
    WARM_UP_BYTES_MIN = 64 << 20, /* Smaller files are read before anybody notices. */
};

#define WORLD_VOCABULARY "rwkv_vocab_v20230424.txt"

/* Where the World vocabulary may be: beside the model, beside the binary, where it is installed. */
bool runtime_find_vocabulary(const char *model_path, char *path, size_t capacity)
{
    char binary[PATH_MAX] = "";
    char model[PATH_MAX] = "";
    if (readlink("/proc/self/exe", binary, sizeof binary - 1) < 0) {
        binary[0] = '\0';
    }
    snprintf(model, sizeof model, "%s", model_path);
    const char *binary_folder = dirname(binary);
    const char *model_folder = dirname(model);
    const struct {
        const char *folder, *below;
    } places[] = {
        {model_path, "/"},
        {model_folder, "/"},
        {binary_folder, "/vocab/"},
        {binary_folder, "/../share/skein/"},
        {SKEIN_DATA_FOLDER, "/"},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, capacity, "%s%s%s", places[i].folder, places[i].below, WORLD_VOCABULARY);
        if (access(path, R_OK) == 0) {
            return true;
        }
    }
    return false;
}

enum error_code runtime_open_tokenizer(const struct config *config, struct runtime *runtime,
                                       struct error *error)
{
    if (config->vocab == NULL && config->model == NULL) {
        return tokenizer_open_memory(gosling_vocabulary(), "the built-in vocabulary",
                                     &runtime->tokenizer, error);
    }
    char path[2 * PATH_MAX];
    if (config->vocab != NULL) {
        snprintf(path, sizeof path, "%s", config->vocab);
    } else if (!runtime_find_vocabulary(config->model, path, sizeof path)) {
        return error_set(error, ERROR_NOT_FOUND,
                         "no vocabulary: put " WORLD_VOCABULARY " (it is in the Python package "
                         "\"rwkv\") beside the model or name it with --vocab");
    }
    log_event(LOG_INFO, "model", "vocabulary opened", LOG_S("path", path));
    return tokenizer_open(path, &runtime->tokenizer, error);
}

static void name_model(const struct config *config, struct runtime *runtime)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", config->model != NULL ? config->model : "gosling");
    const char *name = basename(path);
    char *suffix = strrchr(name, '.');
    if (suffix != NULL && (strcmp(suffix, ".safetensors") == 0 || strcmp(suffix, ".pth") == 0)) {
        *suffix = '\0';
    }
    snprintf(runtime->model_id, sizeof runtime->model_id, "%s",
             config->model_name != NULL ? config->model_name : name);
}

static enum chat_template template_of(const struct config *config, const struct runtime *runtime)
{
    switch (config->chat_template) {
    case CONFIG_CHAT_TEMPLATE_WORLD:
        return CHAT_TEMPLATE_WORLD;
    case CONFIG_CHAT_TEMPLATE_G1:
        return CHAT_TEMPLATE_G1;
    case CONFIG_CHAT_TEMPLATE_G1_THINK:
        return CHAT_TEMPLATE_G1_THINK;
    case CONFIG_CHAT_TEMPLATE_NONE:
        return CHAT_TEMPLATE_NONE;
    case CONFIG_CHAT_TEMPLATE_AUTO:
        break;
    }
    const bool named_g1 = !runtime->is_gosling && strstr(runtime->model_id, "g1") != NULL;
    log_event(LOG_INFO, "model", "chat template chosen by the model's name",
              LOG_S("template", named_g1 ? "g1" : "world"), LOG_S("model", runtime->model_id));
    return named_g1 ? CHAT_TEMPLATE_G1 : CHAT_TEMPLATE_WORLD;
}

enum error_code runtime_open_model(const char *path, struct runtime *runtime,
                                   struct error *error)
{
    const struct text weights = gosling_weights();
    const enum error_code code =
        path == NULL ? model_file_open_memory(weights.bytes, weights.len, "the built-in model",
                                              &runtime->file, error)
                     : model_file_open(path, &runtime->file, error);
    return code != ERROR_NONE ? code : model_spec_read(runtime->file, &runtime->spec, error);
}

static enum tuned_state_layout layout_of(const struct config *config)
{
    switch (config->state_layout) {
    case CONFIG_STATE_LAYOUT_AUTO:
        return TUNED_STATE_AUTO;
    case CONFIG_STATE_LAYOUT_VK:
        return TUNED_STATE_VALUE_KEY;
    case CONFIG_STATE_LAYOUT_KV:
        return TUNED_STATE_KEY_VALUE;
    }
    return TUNED_STATE_AUTO;
}

enum error_code runtime_open_initial_state(const struct config *config, struct runtime *runtime,
                                           struct error *error)
{
    const enum error_code code =
        tuned_state_open(config->state, runtime->file, &runtime->spec, layout_of(config),
                         &runtime->initial_state, error);
    if (code == ERROR_NONE && runtime->initial_state.state != NULL) {
        const bool is_vk = runtime->initial_state.layout == TUNED_STATE_VALUE_KEY;
        log_event(LOG_INFO, "model", "new sequences begin with a tuned state",
                  LOG_S("file", config->state != NULL ? config->state : config->model),
                  LOG_S("layout", is_vk ? "vk" : "kv"));
    }
    return code;
}

static enum error_code check_vocabulary(const struct config *config,
                                        const struct runtime *runtime, struct error *error)
{
    const uint32_t token_count = tokenizer_token_count(runtime->tokenizer);
    if (token_count > runtime->spec.V) {
        return error_set(error, ERROR_CORRUPT,
                         "the vocabulary has the token id %u, the model only %u rows: give the "
                         "vocabulary the model was trained with as --vocab",
                         token_count - 1, runtime->spec.V);
    }
    if (config->doc_start_token != CONFIG_UNSET &&
        !tokenizer_has(runtime->tokenizer, config->doc_start_token)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--doc-start-token %lld is not a token of this vocabulary",
                         (long long)config->doc_start_token);
    }
    return ERROR_NONE;
}

enum error_code runtime_open(const struct config *config, struct runtime *runtime,
                             struct error *error)
{
    *runtime = (struct runtime){.is_gosling = config->model == NULL};
    enum error_code code = runtime_open_model(config->model, runtime, error);
    if (code == ERROR_NONE) {
        code = runtime_open_initial_state(config, runtime, error);
    }
    if (code == ERROR_NONE) {
        code = runtime_open_tokenizer(config, runtime, error);
    }
    if (code == ERROR_NONE) {
        code = check_vocabulary(config, runtime, error);
    }
    if (code == ERROR_NONE) {
        const struct sampling_vocabulary vocabulary = {
            .row_count = runtime->spec.V,
            .token_count = tokenizer_token_count(runtime->tokenizer),
            .penalty_free = tokenizer_penalty_free(runtime->tokenizer),
        };
        code = runtime_open_backend(config, &runtime->spec, &vocabulary, &runtime->backend, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    name_model(config, runtime);
    runtime->chat_template = template_of(config, runtime);
    const double temperature = runtime->is_gosling ? 0.0 : 1.0;
    runtime->temperature = config->temperature >= 0 ? config->temperature : temperature;
    runtime->top_p = config->top_p >= 0 ? config->top_p : 0.5;
    return ERROR_NONE;
}

void runtime_close(struct runtime *runtime)
{
    backend_close(runtime->backend);
    tokenizer_close(runtime->tokenizer);
    tuned_state_close(&runtime->initial_state);
    model_spec_deinit(&runtime->spec);
    model_file_close(runtime->file);
}

uint32_t runtime_verify(const struct runtime *runtime)
{
    struct progress progress;
    size_t checked_bytes = 0;
    progress_begin(&progress, "comparing checksums");
    const uint32_t difference_count =
        model_file_verify(runtime->file, progress_report, &progress, &checked_bytes);
    progress_end(&progress);
    if (checked_bytes == 0) {
        log_event(LOG_INFO, "model", "the file carries no checksums to compare",
                  LOG_S("file", model_file_name(runtime->file)),
                  LOG_S("format", model_file_format_text(runtime->file)));
    } else {
        log_event(difference_count == 0 ? LOG_INFO : LOG_WARN, "model", "checksums compared",
                  LOG_S("file", model_file_name(runtime->file)), LOG_I("bytes", checked_bytes),
                  LOG_I("differences", difference_count));
    }
    return difference_count;
}

void runtime_warm_up(const struct runtime *runtime)
{
    const long page_count = sysconf(_SC_PHYS_PAGES);
    const size_t memory_bytes = (size_t)page_count * (size_t)sysconf(_SC_PAGESIZE);
    if (model_file_bytes(runtime->file) < WARM_UP_BYTES_MIN ||
        model_file_bytes(runtime->file) > memory_bytes) {
        return;
    }
    struct progress progress;
    progress_begin(&progress, "reading the model");
    model_file_populate(runtime->file, progress_report, &progress);
    progress_end(&progress);
}
