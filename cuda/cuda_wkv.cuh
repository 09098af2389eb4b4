/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv.cuh - what one token and one head are before and after the recurrence.
 *
 * Shared by the kernels of one token and of many, so that both compute the same. A warp works on a
 * head: each lane has channels 2 lane and 2 lane + 1. Source: cpu/cpu_kernels_reference.c,
 * time_mix_inputs and time_mix_output. Thread: device. */
#pragma once

#include <math.h>

#include "cuda/cuda_half.cuh"

static __device__ __forceinline__ float cuda_pair_dot(float2 x, float2 y)
{
    return fmaf(x.y, y.y, x.x * y.x);
}

/* kk: k k_k divided by its length in the head, from the sum of its squares; of k = 0 it is 0. */
static __device__ __forceinline__ float2 cuda_removal_key_of(float2 kk, float squares)
{
    const float scale = rsqrtf(fmaxf(squares, 1e-24f));
    return make_float2(kk.x * scale, kk.y * scale);
}

static __device__ __forceinline__ float2 cuda_removal_key(float2 k, float2 k_k)
{
    const float2 kk = make_float2(k.x * k_k.x, k.y * k_k.y);
    return cuda_removal_key_of(kk, cuda_warp_sum(cuda_pair_dot(kk, kk)));
}

/* k (1 + (a - 1) k_a) */
static __device__ __forceinline__ float2 cuda_replacement_key(float2 k, float2 a, float2 k_a)
{
    return make_float2(k.x * fmaf(a.x - 1.0f, k_a.x, 1.0f), k.y * fmaf(a.y - 1.0f, k_a.y, 1.0f));
}

/* Two terms of sum_j r k' r_k; the sum, in every lane. */
static __device__ __forceinline__ float cuda_bonus_part(float2 r, float2 k, float2 r_k)
{
    return cuda_pair_dot(make_float2(r.x * k.x, r.y * k.y), r_k);
}

static __device__ __forceinline__ float cuda_bonus(float2 r, float2 k, float2 r_k)
{
    return cuda_warp_sum(cuda_bonus_part(r, k, r_k));
}

/* (group norm of y + bonus v) gate; the epsilon is 1e-5 times the head size. `difference`: of y
 * from its mean; `squares`: the sum of its squares. */
static __device__ __forceinline__ float2 cuda_head_output_of(float2 difference, float squares,
                                                             float2 ln_weight, float2 ln_bias,
                                                             float bonus, float2 v, float2 gate)
{
    const float scale = 1.0f / sqrtf(squares * (1.0f / CUDA_HEAD) + 64e-5f);
    const float2 norm = make_float2(fmaf(difference.x * scale, ln_weight.x, ln_bias.x),
                                    fmaf(difference.y * scale, ln_weight.y, ln_bias.y));
    return make_float2(fmaf(bonus, v.x, norm.x) * gate.x, fmaf(bonus, v.y, norm.y) * gate.y);
}

static __device__ __forceinline__ float2 cuda_head_output(float2 y, float2 ln_weight,
                                                          float2 ln_bias, float bonus, float2 v,
                                                          float2 gate)
{
    const float mean = cuda_warp_sum(y.x + y.y) * (1.0f / CUDA_HEAD);
    const float2 d = make_float2(y.x - mean, y.y - mean);
    return cuda_head_output_of(d, cuda_warp_sum(cuda_pair_dot(d, d)), ln_weight, ln_bias, bonus, v,
                               gate);
}
