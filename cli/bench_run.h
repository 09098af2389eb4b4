/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_run.h - one row of a benchmark: its steps through a backend, and what they cost.
 *
 * Goes the way of the engine's own loop: submit, collect the step before, samples drawn by the
 * backend. Knows no device. Thread: main. */
#pragma once

#include "base/clock.h"
#include "engine/backend.h"
#include "engine/model_spec.h"

enum bench_kind { BENCH_DECODE, BENCH_PREFILL };

/* What a row does. A run is its smallest repetition: one decode step, or all prompts once. */
struct bench_row {
    enum bench_kind kind;
    uint32_t sequence_count; /* B */
    uint32_t token_count;    /* T of each sequence: 1 for decode. */
};

/* Of one run, however it is carried out: what must be read, written and computed at least. */
struct bench_cost {
    uint32_t step_count;
    uint64_t token_count;
    double bytes; /* Weights once a step, without the embedding's unused rows; states in and out. */
    double flops; /* Matrix products and recurrence; the head where a token is sampled. */
};

struct bench_runner;

/* For rows of at most these many sequences and prompt tokens. The backend and the spec stay
 * borrowed; the backend holds a slot for each sequence. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code bench_runner_create(struct backend *backend,
                                                const struct model_spec *spec,
                                                const struct sampling *sampling,
                                                uint32_t token_count_max,
                                                struct bench_runner **runner_out,
                                                struct error *error);
void bench_runner_destroy(struct bench_runner *runner);

struct bench_cost bench_runner_cost(const struct bench_runner *runner,
                                    const struct bench_row *row);

/* Runs for at least that long, once at least; *seconds_out is of one run. DEVICE. */
WARN_UNUSED enum error_code bench_runner_time(struct bench_runner *runner,
                                              const struct bench_row *row, double seconds_min,
                                              const struct clock *clock, double *seconds_out,
                                              struct error *error);
