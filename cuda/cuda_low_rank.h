/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank.h - the variants of the low-rank products, one by one.
 *
 * cuda_low_rank_down and cuda_low_rank_up choose among them; tests and measurements call each.
 * cudaErrorInvalidValue: not for this shape, number of rows or device. Thread: the engine's. */
#pragma once

#include "cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum cuda_down_tile {
    CUDA_DOWN_32X64,
    CUDA_DOWN_64X64,
    CUDA_DOWN_128X64,
    CUDA_DOWN_128X128,
    CUDA_DOWN_128X128_TWICE, /* Two blocks per multiprocessor. */
    CUDA_DOWN_256X128,
    CUDA_DOWN_LEAST,         /* 64 x 64, in 64 KiB of shared memory. */
    CUDA_DOWN_TILES,
    CUDA_DOWN_PARTS_MAX = 8, /* Of k; where there is scratch, and enough k. */
};

cudaError_t cuda_low_rank_down_by(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  const struct cuda_activations *act, uint32_t tile,
                                  uint32_t parts);

enum cuda_up_way {
    CUDA_UP_FEW,     /* Up to 32 rows. */
    CUDA_UP_WIDE,
    CUDA_UP_NARROW,
    CUDA_UP_SHALLOW, /* Where shared memory is small. */
    CUDA_UP_LEAST,
    CUDA_UP_WAYS,
};

cudaError_t cuda_low_rank_up_by(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_layer *layer,
                                const struct cuda_activations *act, enum cuda_up_way way);

#ifdef __cplusplus
}
#endif
