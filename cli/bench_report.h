/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_report.h - what a benchmark found, as a table or as JSON.
 *
 * Roofline of a row: max(bytes / read ceiling, flops / multiply ceiling). Thread: main. */
#pragma once

#include "cli/bench_run.h"

enum { BENCH_ROUNDS_MAX = 101, BENCH_ROWS_MAX = 32 };

/* One value a round. */
struct bench_samples {
    double values[BENCH_ROUNDS_MAX];
    uint32_t count;
};

void bench_samples_add(struct bench_samples *samples, double value);
double bench_samples_median(const struct bench_samples *samples); /* 0 when empty. */
double bench_samples_best(const struct bench_samples *samples);   /* The largest. */

struct bench_row_result {
    struct bench_row row;
    struct bench_cost cost;
    struct bench_samples seconds; /* Of one run. */
    struct bench_samples shares;  /* Of the roofline by the ceilings of the same round. */
};

struct bench_report {
    const char *model, *device, *kernels;
    uint64_t parameter_count;
    uint32_t thread_count;
    uint32_t row_count_max; /* Of a step. */
    double ffn_zeros;       /* 0: not a synthetic model. */
    double load[2];         /* Load average of the machine before and after. */
    struct bench_samples read_rates, multiply_rates; /* Measured by loops of their own. */
    /* The ceilings: the highest rate seen anywhere in the run, also in a row. */
    double read_ceiling, multiply_ceiling;
    uint32_t row_count;
    struct bench_row_result rows[BENCH_ROWS_MAX];
};

/* The shortest time of a run under those ceilings. */
double bench_roofline_seconds(const struct bench_cost *cost, double read_rate,
                              double multiply_rate);

/* Takes the highest rates seen as ceilings. Before printing. */
void bench_report_finish(struct bench_report *report);

/* "decode B=16", "prefill 8x512". */
void bench_row_name(const struct bench_row *row, char *buffer, size_t capacity);

void bench_report_print_table(const struct bench_report *report);
void bench_report_print_json(const struct bench_report *report);
