/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/bench_grammar.c - what rows that are bound to a schema cost.
 *
 * Usage: bench_grammar MODEL VOCABULARY [ROWS [STEPS]]: on the CPU, all rows bound against all rows
 * free; one thread, whose CPU time is counted, so that other programs disturb little.
 *        bench_grammar --cuda SIZE VOCABULARY [ROWS [STEPS]]: on the GPU with random weights, half
 * of the rows bound against none; time by the clock for a token of the rows that are free in both.
 * Takes turns and prints a line for each, and the added share of the best and of the middle turns.
 * Not a test: its numbers are for PERFORMANCE.md. Thread: main. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench_model.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/model_file.h"
#include "engine/model_spec.h"
#include "engine/tokenizer.h"
#include "grammar/grammar.h"

enum { ROWS_MAX = 64, TURNS = 5, WARM_UP_STEPS = 20 };

static const char schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"people\",\"note\"],"
    "\"properties\":{\"people\":{\"type\":\"array\",\"minItems\":2,\"items\":{\"type\":\"object\","
    "\"additionalProperties\":false,\"required\":[\"name\",\"age\",\"role\",\"mail\"],"
    "\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,"
    "\"maximum\":150},\"role\":{\"enum\":[\"author\",\"editor\",\"reader\"]},"
    "\"mail\":{\"type\":[\"string\",\"null\"],\"maxLength\":60}}}},"
    "\"note\":{\"type\":\"string\",\"minLength\":10}}}";

struct bench {
    bool on_cuda;
    struct model_file *file;     /* On the CPU. */
    struct model_spec spec;
    struct bench_model synthetic; /* On the GPU. */
    uint64_t free_tokens;        /* Of the first half of the rows. */
    struct tokenizer *tokenizer;
    struct backend *backend;
    struct engine *engine;
    struct grammar *grammar;
    struct generation_request requests[ROWS_MAX];
    uint32_t row_count;
    uint64_t last_id;
};

static enum error_code open_engine(struct bench *bench, struct error *error)
{
    const struct model_spec *spec = bench->on_cuda ? &bench->synthetic.spec : &bench->spec;
    const struct backend_options backend_options = {
        .slot_count = bench->row_count,
        .row_count_max = bench->on_cuda ? 1024 : 64,
        .item_count_max = bench->row_count,
        .thread_count = 1,
        .vocabulary = {.row_count = spec->V,
                       .token_count = tokenizer_token_count(bench->tokenizer)},
    };
    const struct engine_options options = {.queue_max = ROWS_MAX, .target_itl_ns = 50000000};
    const enum error_code code =
        bench->on_cuda ? cuda_backend_open(spec, &backend_options, &bench->backend, error)
                       : cpu_backend_open(spec, &backend_options, &bench->backend, error);
    return code != ERROR_NONE
               ? code
               : engine_open(&options, bench->backend, bench->tokenizer, &bench->engine, error);
}

static enum error_code open_model(struct bench *bench, const char *model, struct error *error)
{
    const double ffn_zeros = 0.5;
    if (bench->on_cuda) {
        return bench_model_make(model, ffn_zeros, true, &bench->synthetic, error);
    }
    const enum error_code code = model_file_open(model, &bench->file, error);
    return code != ERROR_NONE ? code : model_spec_read(bench->file, &bench->spec, error);
}

static enum error_code open_all(struct bench *bench, const char *model, const char *vocabulary,
                                struct error *error)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA, .text = TEXT(schema)};
    const struct grammar_options options = {.order = GRAMMAR_ORDER_SCHEMA,
                                            .white_space_max = GRAMMAR_WHITE_SPACE_MAX};
    enum error_code code = open_model(bench, model, error);
    if (code == ERROR_NONE) {
        code = tokenizer_open(vocabulary, &bench->tokenizer, error);
    }
    if (code == ERROR_NONE) {
        code = grammar_compile(&part, &options, &bench->grammar, error);
    }
    return code != ERROR_NONE ? code : open_engine(bench, error);
}

/* Gives a row its next answer; the old one has ended. */
static void begin(struct bench *bench, uint32_t row, struct grammar *grammar)
{
    static const int32_t prompt[] = {1, 2, 3};
    struct error error = {0};
    bench->requests[row] = (struct generation_request){
        .id = bench->last_id + ROWS_MAX - bench->last_id % ROWS_MAX + row,
        .prompt = prompt,
        .prompt_count = sizeof(prompt) / sizeof(prompt[0]),
        .choice_count = 1,
        .sampling = {.temperature = 1, .max_tokens = 400, .logprobs_wanted = -1},
        .grammar = grammar,
        .every_token_wanted = bench->on_cuda,
    };
    bench->last_id = bench->requests[row].id;
    bench->requests[row].sampling.seed = bench->last_id;
    bench->requests[row].sampling.ignore_eos = true;
    const enum error_code code = engine_submit(bench->engine, &bench->requests[row], &error);
    ASSERT(code == ERROR_NONE);
}

/* Takes the events of a turn; rows that ended begin again, unless no grammar is left to do so. */
static void take_events(struct bench *bench, bool begins_again)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    const struct generation_event *event;
    while ((event = engine_take_event(bench->engine, buffer)) != NULL) {
        if (event->type == GENERATION_TEXT && event->request_id % ROWS_MAX < bench->row_count / 2) {
            bench->free_tokens++;
        }
        if (event->type == GENERATION_ENDED && begins_again) {
            const uint32_t row = event->request_id % ROWS_MAX;
            begin(bench, row, bench->requests[row].grammar);
        }
    }
}

static double seconds_now(const struct bench *bench)
{
    struct timespec time;
    clock_gettime(bench->on_cuda ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* What has been done so far, in what run divides by. */
static uint64_t rows_done(const struct bench *bench)
{
    return bench->on_cuda ? bench->free_tokens
                          : atomic_load(&engine_stats(bench->engine)->step_rows);
}

/* Milliseconds of a row of a step; of as many steps as wanted, after some to warm up. */
static double run(struct bench *bench, uint32_t steps, struct grammar *grammar)
{
    for (uint32_t row = 0; row < bench->row_count; row++) {
        const bool is_free = bench->on_cuda && row < bench->row_count / 2;
        begin(bench, row, is_free ? NULL : grammar);
    }
    double started = 0;
    uint64_t rows = 0;
    for (uint32_t step = 0; step < WARM_UP_STEPS + steps; step++) {
        if (step == WARM_UP_STEPS) {
            started = seconds_now(bench);
            rows = rows_done(bench);
        }
        engine_turn(bench->engine);
        take_events(bench, true);
    }
    const double used = seconds_now(bench) - started;
    rows = rows_done(bench) - rows;
    for (uint32_t row = 0; row < bench->row_count; row++) {
        engine_cancel(bench->engine, bench->requests[row].id);
    }
    while (engine_turn(bench->engine)) {
        take_events(bench, false);
    }
    take_events(bench, false);
    return 1e3 * used / (double)rows;
}

static int compare(const void *left, const void *right)
{
    const double difference = *(const double *)left - *(const double *)right;
    return difference < 0 ? -1 : difference > 0;
}

static void measure(struct bench *bench, uint32_t steps)
{
    const struct engine_stats *stats = engine_stats(bench->engine);
    double free_ms[TURNS];
    double bound_ms[TURNS];
    for (int turn = 0; turn < TURNS; turn++) {
        const uint64_t built = atomic_load(&stats->masks_built);
        const uint64_t found = atomic_load(&stats->masks_found);
        free_ms[turn] = run(bench, steps, NULL);
        bound_ms[turn] = run(bench, steps, bench->grammar);
        printf("turn %d: ms a row: free %.3f, bound %.3f (%+.1f %%); masks built %llu, found "
               "%llu\n",
               turn, free_ms[turn], bound_ms[turn], 100 * (bound_ms[turn] / free_ms[turn] - 1),
               (unsigned long long)(atomic_load(&stats->masks_built) - built),
               (unsigned long long)(atomic_load(&stats->masks_found) - found));
    }
    qsort(free_ms, TURNS, sizeof(free_ms[0]), compare);
    qsort(bound_ms, TURNS, sizeof(bound_ms[0]), compare);
    printf("rows %u: best %+.1f %%, middle %+.1f %%\n", (unsigned)bench->row_count,
           100 * (bound_ms[0] / free_ms[0] - 1),
           100 * (bound_ms[TURNS / 2] / free_ms[TURNS / 2] - 1));
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct error error = {0};
    bench.on_cuda = argc > 1 && strcmp(argv[1], "--cuda") == 0;
    argc -= bench.on_cuda ? 1 : 0;
    argv += bench.on_cuda ? 1 : 0;
    bench.row_count = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 8;
    const uint32_t steps = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 100;
    if (argc < 3 || bench.row_count < 1 || bench.row_count > ROWS_MAX) {
        fprintf(stderr, "usage: bench_grammar [--cuda] MODEL|SIZE VOCABULARY [ROWS [STEPS]]\n");
        return 2;
    }
    const enum error_code code = open_all(&bench, argv[1], argv[2], &error);
    if (code == ERROR_NONE) {
        measure(&bench, steps);
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    engine_close(bench.engine);
    backend_close(bench.backend);
    grammar_release(bench.grammar);
    tokenizer_close(bench.tokenizer);
    bench_model_deinit(&bench.synthetic);
    model_spec_deinit(&bench.spec);
    model_file_close(bench.file);
    return code == ERROR_NONE ? 0 : 1;
}
