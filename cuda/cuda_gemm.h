/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_gemm.h - the large matrix products of a step, by cuBLASLt with choices that were timed.
 *
 * Every product has a plan for its shape and number of rows: descriptors and one algorithm. A plan
 * is made on first use, by timing what the library suggests on the caller's own buffers, and is
 * kept in memory and in a file, so that the next start finds it. Thread: the engine's. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cuda/cuda_kernels.h"

/* Y[m][n] (+)= sum_k X[m][k] W[n][k], `batch` of them. W, X f16; sums f32; Y f16 or f32. */
struct cuda_gemm {
    uint32_t n, k, batch;
    bool weights_by_input; /* W is stored [k][n]. */
    bool adds;             /* Y += instead of Y =. */
    bool f32_out;
    int64_t x_stride, y_stride; /* Elements from one of the batch to the next. */
};

struct cuda_gemms;

/* cache_path NULL: nothing is read or written; else the file, whose folder exists. DEVICE,
 * OUT_OF_MEMORY. */
WARN_UNUSED enum error_code cuda_gemms_create(const char *cache_path, struct cuda_gemms **gemms_out,
                                              struct error *error);
void cuda_gemms_destroy(struct cuda_gemms *gemms);

/* Makes sure there is a plan for m rows. Where one must be made, candidates run with these buffers
 * (weights [weight_count] of equal shape, so that they are cold; y is overwritten) and the stream
 * is waited for. DEVICE. */
WARN_UNUSED enum error_code cuda_gemm_prepare(struct cuda_gemms *gemms,
                                              const struct cuda_gemm *gemm, uint32_t m,
                                              const cuda_half *const *weights,
                                              uint32_t weight_count, const cuda_half *x, void *y,
                                              cudaStream_t stream, struct error *error);

/* Enqueues the product; cuda_gemm_prepare went before. May be captured. DEVICE. */
WARN_UNUSED enum error_code cuda_gemm_run(struct cuda_gemms *gemms, const struct cuda_gemm *gemm,
                                          uint32_t m, const cuda_half *weights,
                                          const cuda_half *x, void *y, cudaStream_t stream,
                                          struct error *error);
