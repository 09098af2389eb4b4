/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank.cuh - what both ways of the low-rank products share.
 *
 * Thread: device functions, and the engine's for the rest. */
#pragma once

#include "cuda/cuda_tile.cuh"

static __device__ __forceinline__ uint4 low_rank_load(bool valid, const cuda_half *from)
{
    return valid ? *(const uint4 *)(const void *)from : make_uint4(0, 0, 0, 0);
}

/* Brings the 128 bytes around `from` into the second-level cache: they will be loaded soon. */
static __device__ __forceinline__ void low_rank_prefetch(const cuda_half *from)
{
#if defined(__CUDA_ARCH__)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#else
    (void)from;
#endif
}

static inline uint32_t low_rank_blocks(uint32_t count, uint32_t of)
{
    return (count + of - 1) / of;
}

static inline bool low_rank_is_possible(const struct cuda_shape *shape)
{
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        if (shape->rank[g] == 0 || shape->rank[g] % 16 != 0) {
            return false;
        }
    }
    return shape->C != 0 && shape->C % 64 == 0;
}
