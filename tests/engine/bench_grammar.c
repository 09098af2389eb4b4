/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/bench_grammar.c - what binding all rows of a batch to a schema adds to a CPU step.
 *
 * Usage: bench_grammar MODEL VOCABULARY [ROWS [STEPS]]. Takes turns between rows that are free and
 * rows that are bound, one thread, and counts that thread's CPU time, so that other programs
 * disturb little. Prints a line a turn, and the added share of the best and of the middle turns.
 * Not a test: its numbers are for PERFORMANCE.md. Thread: main. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpu_backend.h"
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
    struct model_file *file;
    struct model_spec spec;
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
    const struct backend_options backend_options = {
        .slot_count = bench->row_count,
        .row_count_max = 64,
        .item_count_max = bench->row_count,
        .thread_count = 1,
        .vocabulary = {.row_count = bench->spec.V,
                       .token_count = tokenizer_token_count(bench->tokenizer)},
    };
    const struct engine_options options = {.queue_max = ROWS_MAX, .target_itl_ns = 50000000};
    const enum error_code code =
        cpu_backend_open(&bench->spec, &backend_options, &bench->backend, error);
    return code != ERROR_NONE
               ? code
               : engine_open(&options, bench->backend, bench->tokenizer, &bench->engine, error);
}

static enum error_code open_all(struct bench *bench, char **paths, struct error *error)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA, .text = TEXT(schema)};
    const struct grammar_options options = {.order = GRAMMAR_ORDER_SCHEMA,
                                            .white_space_max = GRAMMAR_WHITE_SPACE_MAX};
    enum error_code code = model_file_open(paths[1], &bench->file, error);
    if (code == ERROR_NONE) {
        code = model_spec_read(bench->file, &bench->spec, error);
    }
    if (code == ERROR_NONE) {
        code = tokenizer_open(paths[2], &bench->tokenizer, error);
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
        if (event->type == GENERATION_ENDED && begins_again) {
            const uint32_t row = event->request_id % ROWS_MAX;
            begin(bench, row, bench->requests[row].grammar);
        }
    }
}

static double cpu_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* CPU milliseconds of a row of a step; of as many steps as wanted, after some to warm up. */
static double run(struct bench *bench, uint32_t steps, struct grammar *grammar)
{
    const struct engine_stats *stats = engine_stats(bench->engine);
    for (uint32_t row = 0; row < bench->row_count; row++) {
        begin(bench, row, grammar);
    }
    double started = 0;
    uint64_t rows = 0;
    for (uint32_t step = 0; step < WARM_UP_STEPS + steps; step++) {
        if (step == WARM_UP_STEPS) {
            started = cpu_seconds();
            rows = atomic_load(&stats->step_rows);
        }
        engine_turn(bench->engine);
        take_events(bench, true);
    }
    const double used = cpu_seconds() - started;
    rows = atomic_load(&stats->step_rows) - rows;
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
        printf("turn %d: CPU ms a row: free %.3f, bound %.3f (%+.1f %%); masks built %llu, found "
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
    bench.row_count = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 8;
    const uint32_t steps = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 100;
    if (argc < 3 || bench.row_count < 1 || bench.row_count > ROWS_MAX) {
        fprintf(stderr, "usage: bench_grammar MODEL VOCABULARY [ROWS [STEPS]]\n");
        return 2;
    }
    const enum error_code code = open_all(&bench, argv, &error);
    if (code == ERROR_NONE) {
        measure(&bench, steps);
    } else {
        fprintf(stderr, "%s\n", error.message);
    }
    engine_close(bench.engine);
    backend_close(bench.backend);
    grammar_release(bench.grammar);
    tokenizer_close(bench.tokenizer);
    model_spec_deinit(&bench.spec);
    model_file_close(bench.file);
    return code == ERROR_NONE ? 0 : 1;
}
