/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank.cuh - what both ways of the low-rank products share.
 *
 * Thread: device functions, and the engine's for the rest. */
#pragma once

#include <math.h>

#include "cuda/cuda_half.cuh"
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

/* 1 / (1 + 2^x) = sigmoid(-x ln 2) by the two instructions for it, each within 2 units in the last
 * place. Where 2^x is beyond the range of f32 it is 0. The x of a caller that multiplied by log2 e
 * is rounded: |x| 6e-8 of the power, which leaves an absolute error below 2e-7 everywhere. */
static __device__ __forceinline__ float low_rank_sigmoid_2(float x)
{
#if defined(__CUDA_ARCH__)
    float power, quotient;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(quotient) : "f"(1.0f + power));
    return quotient;
#else
    return 1.0f / (1.0f + exp2f(x));
#endif
}

#define LOW_RANK_LOG2_E 1.4426950408889634f

/* scale sigmoid(scale x) + 1 - scale: sigmoid for 1; for 2 tanh, within 3e-7, where f16 numbers are
 * 6e-8 apart at least. */
static __device__ __forceinline__ float low_rank_curve(float x, float scale)
{
    return fmaf(low_rank_sigmoid_2(x * (-LOW_RANK_LOG2_E * scale)), scale, 1.0f - scale);
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
