/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/few_rows_step.h - a step of 1 to 4 decode rows, and what its products must be.
 *
 * Whatever fails ends the test. Thread: one. */
#pragma once

#include <check.h>

#include "cuda/cuda_kernels.h"
#include "few_rows_case.h"

enum {
    ROWS_MAX = CUDA_FEW_ROWS_MAX,
    ARENA_ROWS = 6, /* More than are used, so that writes beyond them are seen. */
    LAYERS = 2,
    LAYER = 1,
    SLOTS = 2 * ROWS_MAX,
};

/* Row r belongs to item r ^ item_of_row of a round number of items; item 2 is inactive. Item i
 * reads slot 2 i and writes slot 2 i + 1; item 3 forks what item 0 advances. Some live copies
 * lie in parity 1. */
struct bench {
    struct cuda_shape shape;
    uint32_t rows;
    struct cuda_launch launch;
    struct cuda_step step;
    struct cuda_place places[ROWS_MAX];
    uint32_t row_item[ROWS_MAX], logit_row[ROWS_MAX];
    uint32_t item_of_row;
    void *memory; /* Of the step. */
    struct array *shift; /* [SLOTS][2 parities][LAYERS][2][C] */
    struct array *x, *x_before;
    struct cuda_activations act;
};

/* Of a slot's live copy before the step; the slot that an item reads. */
uint32_t parity_of(uint32_t slot);
uint32_t source_of(uint32_t item);

/* First float of a copy of a slot's shifts of LAYER. */
size_t shift_at(const struct bench *b, uint32_t slot, uint32_t parity, uint32_t kind);

/* A step of one row; bench_rows: of so many, launched for `capacity`, as many logits wanted.
 * bench_step: the step anew, with other logits. */
void bench_open(struct bench *b, uint32_t C, uint32_t F, uint32_t V);
void bench_close(struct bench *b);
void bench_step(struct bench *b, uint32_t logit_count);
void bench_rows(struct bench *b, uint32_t rows, uint32_t capacity, bool bulk);

/* sum_i weights[i stride] in[i] in f64, without the weights of inputs that are zero. */
double dot(const float *weights, size_t stride, const float *in, uint32_t count);

/* Outputs close to those wanted: 1e-3 in the mean, each within 1 % of the usual size. */
void expect_close(const float *got, const double *want, size_t count, const char *what);

/* x is what it was and the product [C] of each row's inputs; rows beyond are as they were. */
void expect_added(const struct bench *b, const struct array *weights, size_t output_stride,
                  size_t input_stride, const struct array *in, uint32_t inputs);

/* The status for main: 77 without a device. */
int few_rows_run(const char *name, void (*add_tests)(TCase *test));
