/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench.c - skein bench: how fast a model runs here, and which share of the possible that is.
 *
 * Reads options and goes through the rounds. In each, the ceilings and every row are measured once,
 * one after the other, so that a busy moment hits all of them. The rows' steps are in bench_run.c,
 * the figures in bench_report.c. Thread: main. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "cli/bench_device.h"
#include "cli/bench_http.h"
#include "cli/bench_kernels.h"
#include "cli/bench_model.h"
#include "cli/bench_report.h"
#include "cli/http_load.h"

enum {
    ROUNDS_DEFAULT = 5, /* The least that a median deserves. */
    PROMPT_TOKENS_MAX = 1 << 20,
    PROGRESS_BYTES = 64,
    HTTP_TOKENS = 256, /* Of each stream. */
};

#define DECODE_DEFAULT "1,2,4,8,16,32,64"
#define PREFILL_DEFAULT "1x512,1x4096,8x512"

static const double seconds_default = 0.5;     /* Of a row in a round, unless one run is longer. */
static const double seconds_max = 600.0;
static const double ceiling_seconds = 0.15;
static const double ffn_zeros_default = 0.5;   /* What random weights have by themselves. */

/* Flags of this command only; the order of enum. */
enum {
    SYNTHETIC,
    FFN_ZEROS,
    DECODE,
    PREFILL,
    ROUNDS,
    SECONDS,
    CPU_KERNELS,
    KERNELS,
    HTTP,
    JSON,
    FLAG_COUNT,
};

static const struct config_extra_flag flags_template[FLAG_COUNT] = {
    [SYNTHETIC] = {.flag = "synthetic", .kind = CONFIG_EXTRA_VALUE},
    [FFN_ZEROS] = {.flag = "ffn-zeros", .kind = CONFIG_EXTRA_VALUE},
    [DECODE] = {.flag = "decode", .kind = CONFIG_EXTRA_VALUE},
    [PREFILL] = {.flag = "prefill", .kind = CONFIG_EXTRA_VALUE},
    [ROUNDS] = {.flag = "rounds", .kind = CONFIG_EXTRA_VALUE},
    [SECONDS] = {.flag = "seconds", .kind = CONFIG_EXTRA_VALUE},
    [CPU_KERNELS] = {.flag = "cpu-kernels", .kind = CONFIG_EXTRA_VALUE},
    [KERNELS] = {.flag = "kernels", .kind = CONFIG_EXTRA_SWITCH},
    [HTTP] = {.flag = "http", .kind = CONFIG_EXTRA_SWITCH},
    [JSON] = {.flag = "json", .kind = CONFIG_EXTRA_SWITCH},
};

static const char usage[] =
    "skein bench [options] [--synthetic SIZE [--ffn-zeros SHARE]] [--decode LIST]\n"
    "                   [--prefill LIST] [--rounds N] [--seconds S] [--cpu-kernels NAME]\n"
    "                   [--kernels] [--http] [--json]\n\n"
    "Measures tokens a second of a model, sampling included, as the server's own loop reaches\n"
    "them, beside the highest rates of reading and multiplying seen in the same run.\n\n"
    "  --synthetic SIZE   random weights in an official shape (0.1b, 0.4b, 1.5b, 2.9b, 7.2b,\n"
    "                     13.3b), made in memory; otherwise --model, or the built-in model\n"
    "  --ffn-zeros SHARE  of those, channels that are zero in the channel mix (default 0.5)\n"
    "  --decode LIST      sequences decoded together (default " DECODE_DEFAULT "), or none\n"
    "  --prefill LIST     prompts times tokens (default " PREFILL_DEFAULT "), or none\n"
    "  --rounds N         of each row and ceiling, at least 5 (default 5)\n"
    "  --seconds S        of each row in a round (default 0.5)\n"
    "  --cpu-kernels NAME instead of the fastest: reference, avx2, avx512\n"
    "  --kernels          on CUDA, also the time of each kernel and its share of the floor\n"
    "  --http             also the decode rows through the server, with a load client here; draws\n"
    "                     from the vocabulary of --vocab, or the built-in one\n"
    "  --json             print JSON, without --kernels and --http";

/* What one benchmark holds. */
struct bench {
    struct config config;
    struct config_extra_flag flags[FLAG_COUNT];
    struct runtime runtime;       /* Of --model. */
    struct bench_model synthetic; /* Of --synthetic. */
    struct bench_device device;
    const struct model_spec *spec; /* Of the one or the other. */
    struct bench_runner *runner;
    struct clock clock;
    struct bench_report report;
    uint32_t round_count;
    double seconds;
    double ffn_zeros;
};

/* ---- Options ----------------------------------------------------------------------------- */

static enum error_code add_row(struct bench *bench, const struct bench_row *row,
                               struct error *error)
{
    struct bench_report *report = &bench->report;
    if (report->row_count == BENCH_ROWS_MAX) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "at most %d rows in one run",
                         BENCH_ROWS_MAX);
    }
    report->rows[report->row_count].row = *row;
    report->row_count++;
    return ERROR_NONE;
}

/* "1,8" for decode, "1x512,8x512" for prefill, "none". */
static enum error_code add_rows(struct bench *bench, enum bench_kind kind, const char *list,
                                struct error *error)
{
    struct text rest = text_from(list);
    if (text_equals(rest, TEXT("none"))) {
        return ERROR_NONE;
    }
    do {
        struct text item = text_cut(&rest, ',');
        uint64_t sequences = 0;
        uint64_t tokens = 1;
        bool is_valid = text_to_uint64(
            kind == BENCH_PREFILL ? text_cut(&item, 'x') : item, &sequences);
        if (kind == BENCH_PREFILL) {
            is_valid = is_valid && text_to_uint64(item, &tokens);
        }
        if (!is_valid || sequences < 1 || sequences > LIMIT_SLOTS || tokens < 1 ||
            tokens > PROMPT_TOKENS_MAX) {
            return error_set(error, ERROR_INVALID_ARGUMENT,
                             "--%s %.80s: expected numbers like %s, of 1 to %d sequences and 1 to "
                             "%d tokens",
                             kind == BENCH_DECODE ? "decode" : "prefill", list,
                             kind == BENCH_DECODE ? DECODE_DEFAULT : PREFILL_DEFAULT, LIMIT_SLOTS,
                             PROMPT_TOKENS_MAX);
        }
        const struct bench_row row = {.kind = kind,
                                      .sequence_count = (uint32_t)sequences,
                                      .token_count = (uint32_t)tokens};
        const enum error_code code = add_row(bench, &row, error);
        if (code != ERROR_NONE) {
            return code;
        }
    } while (rest.len > 0);
    return ERROR_NONE;
}

static const char *flag_or(const struct bench *bench, int flag, const char *otherwise)
{
    return bench->flags[flag].value != NULL ? bench->flags[flag].value : otherwise;
}

/* A number in [low, high]; the default when the flag was not given. */
static enum error_code read_number(const struct bench *bench, int flag, double low, double high,
                                   double otherwise, double *number_out, struct error *error)
{
    const char *given = bench->flags[flag].value;
    *number_out = otherwise;
    if (given != NULL && (!text_to_double(text_from(given), number_out) || *number_out < low ||
                          *number_out > high)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--%s %.40s: expected a number from %g to %g", bench->flags[flag].flag,
                         given, low, high);
    }
    return ERROR_NONE;
}

static enum error_code read_options(struct bench *bench, struct error *error)
{
    if (bench->config.argument_count > 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "bench takes no argument: \"%.80s\"",
                         bench->config.arguments[0]);
    }
    const bool is_synthetic = bench->flags[SYNTHETIC].value != NULL;
    if (is_synthetic && bench->config.model != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--synthetic and --model exclude each other");
    }
    if (!is_synthetic && bench->flags[FFN_ZEROS].value != NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "--ffn-zeros needs --synthetic");
    }
    double rounds = 0.0;
    enum error_code code = read_number(bench, ROUNDS, ROUNDS_DEFAULT, BENCH_ROUNDS_MAX,
                                       ROUNDS_DEFAULT, &rounds, error);
    if (code == ERROR_NONE) {
        code = read_number(bench, SECONDS, 0.0, seconds_max, seconds_default, &bench->seconds,
                           error);
    }
    if (code == ERROR_NONE) {
        code = read_number(bench, FFN_ZEROS, 0.5, 0.99, ffn_zeros_default, &bench->ffn_zeros,
                           error);
    }
    if (code == ERROR_NONE) {
        code = add_rows(bench, BENCH_DECODE, flag_or(bench, DECODE, DECODE_DEFAULT), error);
    }
    if (code == ERROR_NONE) {
        code = add_rows(bench, BENCH_PREFILL, flag_or(bench, PREFILL, PREFILL_DEFAULT), error);
    }
    bench->round_count = (uint32_t)rounds;
    return code;
}

/* ---- Opening ----------------------------------------------------------------------------- */

/* The model's shape and weights, whichever it is. */
static enum error_code open_model(struct bench *bench, const struct model_spec **spec_out,
                                  struct error *error)
{
    const char *size = bench->flags[SYNTHETIC].value;
    if (size != NULL) {
        *spec_out = &bench->synthetic.spec;
        bench->report.model = size;
        bench->report.ffn_zeros = bench->ffn_zeros;
        struct error absence = {0};
        const bool copies = bench->flags[CPU_KERNELS].value == NULL &&
                            runtime_uses_cuda(&bench->config, &absence);
        return bench_model_make(size, bench->ffn_zeros, copies, &bench->synthetic, error);
    }
    *spec_out = &bench->runtime.spec;
    bench->report.model = bench->config.model != NULL ? bench->config.model : "gosling";
    const enum error_code code = runtime_open_model(bench->config.model, &bench->runtime, error);
    if (code == ERROR_NONE) {
        runtime_warm_up(&bench->runtime);
    }
    return code;
}

/* Only the server needs one: without it every row of the model has a token. */
static enum error_code open_tokenizer(struct bench *bench, const struct model_spec *spec,
                                      uint32_t *id_count_out, struct error *error)
{
    *id_count_out = spec->V;
    if (bench->flags[HTTP].value == NULL) {
        return ERROR_NONE;
    }
    const enum error_code code = runtime_open_tokenizer(&bench->config, &bench->runtime, error);
    if (code == ERROR_NONE && tokenizer_token_count(bench->runtime.tokenizer) < spec->V) {
        *id_count_out = tokenizer_token_count(bench->runtime.tokenizer);
    }
    return code;
}

static enum error_code open_all(struct bench *bench, struct error *error)
{
    const struct model_spec *spec = NULL;
    uint32_t slot_count = 1;
    uint32_t token_count = 1;
    for (uint32_t index = 0; index < bench->report.row_count; index++) {
        const struct bench_row *row = &bench->report.rows[index].row;
        slot_count = row->sequence_count > slot_count ? row->sequence_count : slot_count;
        token_count = row->token_count > token_count ? row->token_count : token_count;
    }
    uint32_t id_count = 0;
    bench->config.slots = slot_count;
    enum error_code code = open_model(bench, &spec, error);
    bench->spec = spec;
    if (code == ERROR_NONE) {
        code = open_tokenizer(bench, spec, &id_count, error);
    }
    if (code == ERROR_NONE) {
        code = bench_device_open(&bench->config, spec, id_count, bench->flags[CPU_KERNELS].value,
                                 &bench->clock, &bench->device, error);
    }
    if (code == ERROR_NONE && bench->flags[KERNELS].value != NULL &&
        !bench_device_has_kernels(&bench->device)) {
        code = error_set(error, ERROR_INVALID_ARGUMENT,
                         "--kernels tells the times of CUDA kernels: it needs a CUDA device");
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const struct sampling sampling = {
        .temperature = bench->config.temperature >= 0 ? (float)bench->config.temperature : 1.0f,
        .top_p = bench->config.top_p >= 0 ? (float)bench->config.top_p : 0.5f,
        .max_tokens = UINT32_MAX,
        .ignore_eos = true,
        .logprobs_wanted = -1,
    };
    struct bench_report *report = &bench->report;
    report->device = bench->device.backend->ops->name;
    report->kernels = bench->device.kernels;
    report->thread_count = bench->device.thread_count;
    report->row_count_max = bench->device.backend->row_count_max;
    report->parameter_count = spec->parameter_count;
    code = bench_runner_create(bench->device.backend, spec, &sampling, token_count,
                               &bench->runner, error);
    for (uint32_t index = 0; code == ERROR_NONE && index < report->row_count; index++) {
        report->rows[index].cost = bench_runner_cost(bench->runner, &report->rows[index].row);
    }
    return code;
}

/* ---- Rounds ------------------------------------------------------------------------------ */

/* What is being measured: one line that is written over on a terminal, else a log line a round. */
static void show_progress(const struct bench *bench, uint32_t round, const char *what)
{
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\rskein: round %u of %u: %-24s", round + 1, bench->round_count, what);
        fflush(stderr);
    }
}

static void end_progress(const struct bench *bench, uint32_t round)
{
    if (isatty(STDERR_FILENO) != 1) {
        log_event(LOG_INFO, "bench", "round measured", LOG_I("round", round + 1),
                  LOG_I("rounds", bench->round_count));
    } else if (round + 1 == bench->round_count) {
        fprintf(stderr, "\r%60s\r", "");
    }
}

/* Seconds of one run of a row. */
static enum error_code time_row(struct bench *bench, const struct bench_row *row,
                                double *seconds_out, struct error *error)
{
    const double settling = bench_device_settling_seconds(&bench->device);
    enum error_code code = ERROR_NONE;
    if (settling > 0.0) {
        code = bench_runner_time(bench->runner, row, settling, &bench->clock, seconds_out, error);
    }
    if (code == ERROR_NONE) {
        code = bench_runner_time(bench->runner, row, bench->seconds, &bench->clock, seconds_out,
                                 error);
    }
    return code;
}

static enum error_code run_round(struct bench *bench, uint32_t round, struct error *error)
{
    struct bench_report *report = &bench->report;
    show_progress(bench, round, "ceilings");
    const double read_rate = bench_device_read_rate(&bench->device, ceiling_seconds);
    const double multiply_rate = bench_device_multiply_rate(&bench->device, ceiling_seconds);
    bench_samples_add(&report->read_rates, read_rate);
    bench_samples_add(&report->multiply_rates, multiply_rate);
    for (uint32_t index = 0; index < report->row_count; index++) {
        struct bench_row_result *result = &report->rows[index];
        char name[PROGRESS_BYTES];
        bench_row_name(&result->row, name, sizeof name);
        show_progress(bench, round, name);
        double seconds = 0.0;
        const enum error_code code = time_row(bench, &result->row, &seconds, error);
        if (code != ERROR_NONE) {
            return code;
        }
        bench_samples_add(&result->seconds, seconds);
        bench_samples_add(&result->shares,
                          bench_roofline_seconds(&result->cost, read_rate, multiply_rate) /
                              seconds);
    }
    end_progress(bench, round);
    return ERROR_NONE;
}

static double load_average(void)
{
    double load = 0.0;
    return getloadavg(&load, 1) == 1 ? load : 0.0;
}

static enum error_code measure(struct bench *bench, struct error *error)
{
    enum error_code code = ERROR_NONE;
    bench->report.load[0] = load_average();
    for (uint32_t round = 0; code == ERROR_NONE && round < bench->round_count; round++) {
        code = run_round(bench, round, error);
    }
    bench->report.load[1] = load_average();
    return code;
}

/* The table of kernels of every row. */
static enum error_code print_kernels(struct bench *bench, struct error *error)
{
    const struct bench_ceilings ceilings = {.bytes = bench->report.read_ceiling,
                                            .flops = bench->report.multiply_ceiling};
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < bench->report.row_count; index++) {
        code = bench_kernels_print(&bench->device, bench->runner, &bench->report.rows[index].row,
                                   &ceilings, &bench->clock, error);
    }
    return code;
}

/* The decode rows through the server, beside what the engine's own loop reached. */
static enum error_code measure_http(struct bench *bench, struct error *error)
{
    const struct bench_http_options options = {
        .config = &bench->config,
        .spec = bench->spec,
        .backend = bench->device.backend,
        .tokenizer = bench->runtime.tokenizer,
        .clock = &bench->clock,
    };
    enum error_code code = ERROR_NONE;
    printf("\n%-16s %11s %8s %26s %26s\n", "through HTTP", "tok/s", "of loop",
           "first token p50, p99 ms", "between tokens p50, p99 ms");
    for (uint32_t index = 0; code == ERROR_NONE && index < bench->report.row_count; index++) {
        const struct bench_row_result *row = &bench->report.rows[index];
        if (row->row.kind != BENCH_DECODE) {
            continue;
        }
        struct http_load_result result;
        char name[PROGRESS_BYTES];
        bench_row_name(&row->row, name, sizeof name);
        code = bench_http_measure(&options, row->row.sequence_count, HTTP_TOKENS, &result, error);
        if (code == ERROR_NONE) {
            const double loop = (double)row->cost.token_count / bench_samples_median(&row->seconds);
            printf("%-16s %11.1f %7.1f%% %13.1f %12.1f %13.2f %12.2f\n", name,
                   result.tokens_per_second, result.tokens_per_second / loop * 100.0,
                   result.first_p50 * 1e3, result.first_p99 * 1e3, result.inter_p50 * 1e3,
                   result.inter_p99 * 1e3);
        }
    }
    return code;
}

enum exit_code command_bench(int argc, char **argv)
{
    static struct bench bench; /* Tens of kilobytes of samples. */
    struct error error = {0};
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    memcpy(bench.flags, flags_template, sizeof bench.flags);
    struct config_input input = {
        .argc = argc - 1,
        .argv = argv + 1,
        .never_listens = true,
        .extra_flags = bench.flags,
        .extra_flag_count = FLAG_COUNT,
    };
    if (!command_load_config(&bench.config, &input, usage, &exit_code)) {
        goto out;
    }
    if (read_options(&bench, &error) != ERROR_NONE || open_all(&bench, &error) != ERROR_NONE ||
        measure(&bench, &error) != ERROR_NONE) {
        exit_code = command_fail_with(&error);
        goto out;
    }
    bench_report_finish(&bench.report);
    if (bench.flags[JSON].value != NULL) {
        bench_report_print_json(&bench.report);
        goto out;
    }
    bench_report_print_table(&bench.report);
    if ((bench.flags[KERNELS].value != NULL && print_kernels(&bench, &error) != ERROR_NONE) ||
        (bench.flags[HTTP].value != NULL && measure_http(&bench, &error) != ERROR_NONE)) {
        exit_code = command_fail_with(&error);
    }
out:
    bench_runner_destroy(bench.runner);
    bench_device_close(&bench.device);
    bench_model_deinit(&bench.synthetic);
    runtime_close(&bench.runtime);
    config_deinit(&bench.config);
    return exit_code;
}
