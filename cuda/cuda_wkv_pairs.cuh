/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_pairs.cuh - what the preparing warps of cuda_wkv_scan.cu do: a warp makes a pair of
 * tokens ready for the scan.
 *
 * A lane has channels 2 lane and 2 lane + 1 of the head. Thread: device. */
#pragma once

#include "cuda/cuda_wkv_rows.cuh"

/* What of a layer a lane needs for its two channels. */
struct lane_weights {
    float2 k_k, k_a, r_k, ln_weight, ln_bias;
};

/* Both sums in every lane. */
static __device__ __forceinline__ float2 warp_sum2(float x, float y, uint32_t lane)
{
    const bool upper = lane >= 16;
    float sum = (upper ? y : x) + __shfl_xor_sync(CUDA_WARP_ALL, upper ? x : y, 16);
#pragma unroll
    for (int offset = 8; offset > 0; offset >>= 1) {
        sum += __shfl_xor_sync(CUDA_WARP_ALL, sum, offset);
    }
    const float other = __shfl_xor_sync(CUDA_WARP_ALL, sum, 16);
    return upper ? make_float2(other, sum) : make_float2(sum, other);
}

/* The sum of v[lane / 8] over all lanes. */
static __device__ __forceinline__ float warp_sum4(const float *v, uint32_t lane)
{
    const bool upper = (lane & 16) != 0;
    const float x = (upper ? v[2] : v[0])
                    + __shfl_xor_sync(CUDA_WARP_ALL, upper ? v[0] : v[2], 16);
    const float y = (upper ? v[3] : v[1])
                    + __shfl_xor_sync(CUDA_WARP_ALL, upper ? v[1] : v[3], 16);
    const bool odd = (lane & 8) != 0;
    float sum = (odd ? y : x) + __shfl_xor_sync(CUDA_WARP_ALL, odd ? x : y, 8);
#pragma unroll
    for (int offset = 4; offset > 0; offset >>= 1) {
        sum += __shfl_xor_sync(CUDA_WARP_ALL, sum, offset);
    }
    return sum;
}

/* Two channels of a prepared token. */
struct lane_token {
    float2 w, a, b, k;
    float bonus; /* The lane's part. */
};

/* exp of the log of a decay, in [-0.6066, 0], as 1 + x P(x) with |error| below 2e-10 before it is
 * rounded: no bias that a slow channel would sum up over thousands of tokens, like cuda_decay, in
 * seven instructions. Coefficients: interpolation at Chebyshev's points, then rounded to f32. */
static __device__ __forceinline__ float short_decay(float x)
{
    float p = fmaf(0.00015849596820771694f, x, 0.0013627507723867893f);
    p = fmaf(p, x, 0.008325270377099514f);
    p = fmaf(p, x, 0.04166553169488907f);
    p = fmaf(p, x, 0.16666661202907562f);
    p = fmaf(p, x, 0.5f);
    p = fmaf(p, x, 1.0f);
    return fmaf(p, x, 1.0f);
}

static __device__ __forceinline__ struct lane_token
lane_token_of(const struct raw_token *raw, float2 kk, const struct lane_weights &weights,
              uint32_t lane)
{
    const float2 r = cuda_half2_load(raw->rkv[0] + lane * 2);
    const float2 k = cuda_half2_load(raw->rkv[1] + lane * 2);
    const float2 log_w = cuda_float2_load(raw->log_w + lane * 2);
    const float2 a = cuda_float2_load(raw->a + lane * 2);
    struct lane_token token;
    token.a = make_float2(-kk.x, -kk.y);
    token.b = make_float2(kk.x * a.x, kk.y * a.y);
    token.w = make_float2(short_decay(log_w.x), short_decay(log_w.y));
    token.k = cuda_replacement_key(k, a, weights.k_a);
    token.bonus = cuda_bonus_part(r, token.k, weights.r_k);
    return token;
}

static __device__ __forceinline__ void token_store(struct token *to,
                                                   const struct lane_token &token, uint32_t lane)
{
    ((float2 *)to->w)[lane] = token.w;
    ((float2 *)to->a)[lane] = token.a;
    ((float2 *)to->b)[lane] = token.b;
    ((float2 *)to->k)[lane] = token.k;
}

static __device__ __forceinline__ void pair_prepare(struct pair *pair, const struct raw_token *raw,
                                                    const struct lane_weights &weights,
                                                    uint32_t lane)
{
    float2 kk[2];
#pragma unroll
    for (int t = 0; t < 2; t++) {
        const float2 k = cuda_half2_load(raw[t].rkv[1] + lane * 2);
        kk[t] = make_float2(k.x * weights.k_k.x, k.y * weights.k_k.y);
    }
    const float2 squares = warp_sum2(cuda_pair_dot(kk[0], kk[0]), cuda_pair_dot(kk[1], kk[1]),
                                     lane);
    const struct lane_token first =
        lane_token_of(&raw[0], cuda_removal_key_of(kk[0], squares.x), weights, lane);
    struct lane_token second =
        lane_token_of(&raw[1], cuda_removal_key_of(kk[1], squares.y), weights, lane);
    const float parts[4] = {cuda_pair_dot(first.b, second.a), cuda_pair_dot(first.k, second.a),
                            first.bonus, second.bonus};
    const float sum = warp_sum4(parts, lane);
    second.a.x *= first.w.x;
    second.a.y *= first.w.y;
    if (lane % 8 == 0) {
        pair->sums[lane / 8] = sum;
    }
    token_store(&pair->token[0], first, lane);
    token_store(&pair->token[1], second, lane);
}
