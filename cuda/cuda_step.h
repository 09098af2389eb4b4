/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_step.h - steps in flight: what the host writes of each, its launches, its results.
 *
 * Two buffers, used in turn. A step of decode rows alone is one graph, captured once for each
 * buffer and number of rows; other steps are launched kernel by kernel. Results are written by the
 * device into pinned host memory. Thread: the engine's. */
#pragma once

#include "cuda/cuda_forward.h"
#include "cuda/cuda_sampler.h"
#include "engine/backend.h"

enum { CUDA_STEPS_IN_FLIGHT = 2 };

struct cuda_steps;

/* What steps run on; all borrowed. */
struct cuda_steps_options {
    struct cuda_forward *forward;
    const struct cuda_sampler *sampler;
    struct cuda_profile *profile;
    cudaStream_t stream;
    struct cuda_slot *slots; /* Device: see struct cuda_step. */
    float *wkv, *shift;
    uint32_t row_count_max, item_count_max, logit_count_max;
    uint32_t V;
};

/* Device memory that it takes. */
size_t cuda_steps_bytes(uint32_t row_count_max, uint32_t item_count_max);

/* DEVICE, OUT_OF_MEMORY. */
WARN_UNUSED enum error_code cuda_steps_create(const struct cuda_steps_options *options,
                                              struct cuda_steps **steps_out, struct error *error);
void cuda_steps_destroy(struct cuda_steps *steps);

/* As backend_submit; notes_prompts: a slot of the step looks at its prompt (repetition penalty). */
WARN_UNUSED enum error_code cuda_steps_submit(struct cuda_steps *steps,
                                              const struct backend_item *items,
                                              uint32_t item_count, bool notes_prompts,
                                              struct error *error);

/* As backend_collect, of the oldest step; *advanced_rows_out: of sequences that had not ended. */
WARN_UNUSED enum error_code cuda_steps_collect(struct cuda_steps *steps,
                                               struct backend_result *results_out,
                                               uint32_t *result_count_out,
                                               uint64_t *advanced_rows_out,
                                               struct error *error);

/* A view for kernels beside a step: slots and states only. */
struct cuda_step cuda_steps_view(const struct cuda_steps *steps);
