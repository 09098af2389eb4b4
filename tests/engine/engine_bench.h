/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/engine_bench.h - an engine on the fake backend, turn by turn, and what comes out.
 *
 * Thread: main. */
#pragma once

#include "engine/engine.h"
#include "engine/tokenizer.h"
#include "tests/fakes/fake_backend.h"
#include "tests/fakes/fake_clock.h"

enum {
    ENGINE_BENCH_REQUESTS = 64,
    ENGINE_BENCH_CHOICES = 4,
    ENGINE_BENCH_ANSWER_BYTES = 8192,
};

/* An engine on the fake backend, and what came out of it. */
struct engine_bench {
    struct fake_clock time;
    struct backend *backend;
    struct tokenizer *tokenizer;
    struct engine *engine;
    struct error error;
    int32_t prompts[ENGINE_BENCH_REQUESTS][FAKE_TOKENS_MAX];
    struct generation_request requests[ENGINE_BENCH_REQUESTS];
    char answers[ENGINE_BENCH_REQUESTS][ENGINE_BENCH_CHOICES][ENGINE_BENCH_ANSWER_BYTES];
    struct generation_event ends[ENGINE_BENCH_REQUESTS][ENGINE_BENCH_CHOICES];
    float scores[FAKE_TOKENS_MAX]; /* Of the last prompt scored, by position. */
    uint32_t score_count;
    uint32_t ended_count[ENGINE_BENCH_REQUESTS];
};

/* Freed by engine_bench_close. */
struct engine_bench *engine_bench_open(uint32_t slot_count, uint32_t row_max, uint32_t in_flight,
                                       uint32_t queue_max);
void engine_bench_close(struct engine_bench *bench);

/* A request whose answer is its prompt up to the mark. */
struct generation_request *engine_bench_prepare(struct engine_bench *bench, uint32_t index,
                                                const char *prompt);
void engine_bench_submit(struct engine_bench *bench, uint32_t index);

/* Moves what the engine has posted to answers, ends and scores. */
void engine_bench_take_events(struct engine_bench *bench);

/* Turns until there is nothing to do, a millisecond a turn. */
void engine_bench_run(struct engine_bench *bench);

void engine_bench_assert_all_free(const struct engine_bench *bench);
