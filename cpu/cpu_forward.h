/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_forward.h - the model's steps over rows of many sequences.
 *
 * Knows states only as pointers: slots, sampling and results are cpu_backend.c's. All memory is
 * taken at create. Thread: the backend's; work is divided over its pool. */
#pragma once

#include "cpu/cpu_kernels.h"
#include "cpu/cpu_threads.h"
#include "cpu/cpu_weights.h"

enum { CPU_LOGIT_ROWS = 32 }; /* Rows whose logits exist at one time: 8 MB at V = 65536. */

/* Consecutive rows that belong to one sequence. States are whole ones, of model_spec_state_floats:
 * read from state_in and written to state_out, which may be the same. */
struct cpu_segment {
    uint32_t first_row;
    uint32_t row_count;
    const float *state_in;
    float *state_out;
};

/* Rows that go through the layers together. */
struct cpu_pass {
    uint32_t row_count;                 /* R <= row_count_max. */
    const int32_t *tokens;              /* [R] */
    uint32_t segment_count;
    const struct cpu_segment *segments; /* [segment_count], in the order of rows, without gap. */
};

struct cpu_forward;

/* OUT_OF_MEMORY. weights, kernels and threads are borrowed. */
WARN_UNUSED enum error_code cpu_forward_create(const struct cpu_weights *weights,
                                               const struct cpu_kernels *kernels,
                                               struct cpu_threads *threads, uint32_t row_count_max,
                                               struct cpu_forward **forward_out,
                                               struct error *error);
void cpu_forward_destroy(struct cpu_forward *forward);

/* Bytes of activations. */
size_t cpu_forward_bytes(const struct cpu_forward *forward);

/* Advances the segments' states by their rows. */
void cpu_forward_layers(struct cpu_forward *forward, const struct cpu_pass *pass);

/* Logits of some rows of the last pass: rows[row_count], row_count <= CPU_LOGIT_ROWS; returns
 * [row_count][V], borrowed until the next call. */
const float *cpu_forward_logits(struct cpu_forward *forward, const uint32_t *rows,
                                uint32_t row_count);
