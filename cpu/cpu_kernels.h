/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels.h - every operation of the model on the CPU, with shapes.
 *
 * Implemented three times: cpu_kernels_reference.c is the definition of correct; the fast ones,
 * cpu_kernels_avx2.c and cpu_kernels_avx512.c, give the same bits as each other. Shape letters:
 * engine/model_spec.h; R rows (tokens of any sequences). All vectors f32. What all keep:
 * the result of a row has the same bits whatever other rows, and how many, are computed with it,
 * and however outputs are divided among threads. So each sum over inputs has one order, and every
 * element of a vector goes through the same formula, wherever it stands in it.
 * Source: RWKV-7 "Goose", arXiv 2503.14456. Thread: any; each call writes only its outputs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/model_file.h"
#include "engine/model_spec.h"

enum {
    CPU_COLUMN_STEP = 32, /* Columns of a matrix are padded to a multiple of this. */
    CPU_SCRATCH_ROWS = 1, /* Scratch of a matmul: that many rows of weights, widened. */
};

/* A linear map y = W x, as stored: weights are widened to f32 as they are read. */
struct cpu_matrix {
    const void *data;      /* [rows][columns] of type, row-major; aligned to the type. */
    enum tensor_type type;
    uint32_t rows;         /* Outputs. */
    uint32_t columns;      /* Inputs, a multiple of CPU_COLUMN_STEP; surplus weights are 0. */
};

/* What happens to an output before it is stored. */
enum cpu_after {
    CPU_AFTER_STORE,
    CPU_AFTER_TANH,
    CPU_AFTER_SIGMOID,
    CPU_AFTER_RELU_SQUARED,
    CPU_AFTER_ADD, /* Added to what y holds: the residual stream. */
};

struct cpu_matmul {
    const struct cpu_matrix *weight;
    const float *x;     /* [R][weight->columns]; beyond the real inputs 0. */
    uint32_t row_count; /* R */
    float *y;           /* [R][y_stride], the first weight->rows of each are outputs. */
    size_t y_stride;
    enum cpu_after after;
};

/* One head of one row; all pointers at the head's first channel, arrays [N]. */
struct cpu_time_mix_inputs {
    const float *w0, *a0, *v0; /* v0 NULL: layer 0, which keeps its v as v_first. */
    const float *k_k, *k_a;
    float *decay;     /* In: tanh(xw w1) w2. Out: log_w = -e^(-1/2) sigmoid(w0 + in), f32. */
    const float *a;   /* xa a1 a2 */
    const float *v_gate; /* xv v1 v2; not read in layer 0. */
    float *k;         /* In: W_k xk. Out: k (1 + (a - 1) k_a). */
    float *v;         /* In: W_v xv. Out: v + (v_first - v) sigmoid(v0 + v_gate). */
    float *v_first;   /* Written in layer 0, read in the others. */
    float *minus_kk;  /* Out: minus the removal key: k k_k, divided by its length in the head. */
    float *kk_a;      /* Out: the removal key times the in-context rate a. */
};

/* The recurrence of one head over T rows of one sequence, row after row, old S on the right:
 *     sa[i]   = sum_j S[i][j] minus_kk[j]
 *     S[i][j] = S[i][j] exp(log_w[j]) + sa[i] kk_a[j] + v[i] k[j]
 *     y[i]    = sum_j S[i][j] r[j]                                      (with the new S)
 * i counts values, j keys. Vectors are [T][row_stride], at the head's first channel. */
struct cpu_wkv {
    uint32_t row_count; /* T >= 1 */
    size_t row_stride;
    const float *r, *log_w, *k, *v, *minus_kk, *kk_a;
    const float *state_in; /* [N value][N key]; may be state_out. */
    float *state_out;      /* All of it is written. */
    float *y;
};

/* One head of one row: GroupNorm over the head, bonus, gate. */
struct cpu_time_mix_output {
    const float *ln_weight, *ln_bias, *r_k;
    const float *r, *k, *v, *g;
    float *y; /* In: of the recurrence. Out: (norm(y) + (sum_j r k r_k) v) g. */
};

/* A set of kernels. */
struct cpu_kernels {
    const char *name; /* "reference", "avx2", "avx512" */

    /* y[C] = (x - mean) / sqrt(variance + 1e-5) weight + bias; variance is divided by C. */
    void (*layer_norm)(const float *x, const float *weight, const float *bias,
                       uint32_t channel_count, float *y);

    /* y[m][C] = x + (previous - x) mix[m], for m < mix_count: y[m] at y + m * y_stride. */
    void (*token_shift)(const float *x, const float *previous, const float *const *mix,
                        uint32_t mix_count, uint32_t channel_count, float *y, size_t y_stride);

    /* Outputs first_output .. first_output + output_count - 1 of all rows.
     * scratch: [CPU_SCRATCH_ROWS * weight->columns], this thread's own, aligned to 64 bytes. */
    void (*matmul)(const struct cpu_matmul *matmul, uint32_t first_output, uint32_t output_count,
                   float *scratch);

    void (*time_mix_inputs)(const struct cpu_time_mix_inputs *head);
    void (*wkv)(const struct cpu_wkv *head);
    void (*time_mix_output)(const struct cpu_time_mix_output *head);
};

extern const struct cpu_kernels cpu_kernels_reference;
extern const struct cpu_kernels cpu_kernels_avx2;   /* Only in builds for x86-64. */
extern const struct cpu_kernels cpu_kernels_avx512; /* As cpu_kernels_avx2. */

/* NULL when this build has none, or this processor lacks AVX2, FMA or F16C. */
const struct cpu_kernels *cpu_kernels_avx2_if_supported(void);

/* NULL when this build has none, or this processor lacks AVX-512F or something of AVX2's. */
const struct cpu_kernels *cpu_kernels_avx512_if_supported(void);

/* The fastest set that this processor runs. */
const struct cpu_kernels *cpu_kernels_choose(void);
