/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_forward.h - the order of the kernels: rows in, logits out.
 *
 * Three ways through the layers. Up to CUDA_FEW_ROWS_MAX rows, all of them decode: matrix-vector
 * kernels, 5 launches a layer. Up to CUDA_SKINNY_ROWS_MAX rows on GPUs with warpgroup products:
 * those, 8 launches. Else: products of cuBLASLt, 10 launches. Nothing here waits,
 * allocates or knows a request, so that a step can be captured into a graph. Thread: the
 * engine's. */
#pragma once

#include "cuda/cuda_gemm.h"
#include "cuda/cuda_model.h"
#include "cuda/cuda_profile.h"

/* What launches of a step are made for; a graph serves all steps of its size. */
struct cuda_step_size {
    uint32_t rows;       /* A value of cuda_forward_rows: header->row_count or more. */
    uint32_t items;      /* header->item_count or more. */
    uint32_t logit_rows; /* header->logit_count or more; 0: no logits. */
    bool has_decode;     /* Some items have one row, */
    uint32_t scan_items; /* so many have more. */
};

struct cuda_forward;

struct cuda_forward_options {
    uint32_t row_count_max;
    uint32_t logit_count_max;
    bool programmatic;        /* The device takes programmatic dependent launches. */
    bool bulk_copies;         /* And bulk copies into shared memory, */
    bool warpgroup_products;  /* and products by warpgroups, of compute capability 9.0 alone. */
    uint32_t multiprocessors;
    const char *cache_path;   /* Of cuda_gemms_create. */
    struct cuda_profile *profile; /* Borrowed. */
};

/* Device memory of the activations and logits. */
size_t cuda_forward_bytes(const struct cuda_shape *shape,
                          const struct cuda_forward_options *options);

/* The model must outlive it. DEVICE, OUT_OF_MEMORY. */
WARN_UNUSED enum error_code cuda_forward_create(const struct cuda_model *model,
                                                const struct cuda_forward_options *options,
                                                cudaStream_t stream,
                                                struct cuda_forward **forward_out,
                                                struct error *error);
void cuda_forward_destroy(struct cuda_forward *forward);

/* The number of rows that launches are made for when there are `rows`: few distinct values, at most
 * an eighth more than asked for above 64. */
uint32_t cuda_forward_rows(uint32_t rows, bool is_decode);

/* Makes the plans that a step of this size needs; the stream may be waited for. Before the step,
 * never while capturing. DEVICE. */
WARN_UNUSED enum error_code cuda_forward_prepare(struct cuda_forward *forward,
                                                 const struct cuda_step_size *size,
                                                 struct error *error);

/* Embedding and all layers. DEVICE. */
WARN_UNUSED enum error_code cuda_forward_layers(struct cuda_forward *forward,
                                                const struct cuda_step *step,
                                                const struct cuda_step_size *size,
                                                struct error *error);

/* Logits of step->logit_row; `advance` with the last head of a step, which may have no rows:
 * afterwards the slots stand behind the step. DEVICE. */
WARN_UNUSED enum error_code cuda_forward_head(struct cuda_forward *forward,
                                              const struct cuda_step *step,
                                              const struct cuda_step_size *size, bool advance,
                                              struct error *error);

/* [logit_count_max][V], device. */
float *cuda_forward_logits(const struct cuda_forward *forward);

/* The launch of a kernel beside the model's, in a step of this size. */
struct cuda_launch cuda_forward_launch(const struct cuda_forward *forward,
                                       const struct cuda_step_size *size);

/* Around a launch beside the model's, for the profile. */
void cuda_forward_begin(const struct cuda_forward *forward, enum cuda_kernel kernel,
                        const struct cuda_step_size *size);
void cuda_forward_end(const struct cuda_forward *forward);
