/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank_up.cuh - what becomes of the sums of cuda_low_rank_up.cu. Thread: device. */
#pragma once

#include "cuda/cuda_low_rank.cuh"

#define UP_DECAY_SCALE 0.6065306597126334f /* e^-0.5: the definition of the model. */

struct up_group {
    const cuda_half *weights; /* [C][Q] */
    const cuda_half *in;      /* [N][Q] */
    const float *bias;        /* [C]; NULL for the gate. */
    float *out;               /* [N][C]; NULL for v. */
    uint32_t rank;
    uint32_t kind;            /* enum cuda_low_rank */
};

/* The groups in two roles: the gate, whose k is as long as that of all others, and those. */
enum { UP_ROLES = 2 };

struct up {
    struct up_group group[CUDA_LOW_RANKS]; /* Gate, W, A, V. */
    const struct cuda_step_header *header;
    cuda_half *v;       /* [N][C] */
    cuda_half *v_first; /* [N][C] */
    uint32_t C;
    uint32_t rows; /* That there is room for: what lies beyond the step's is read, never used. */
    uint32_t end[UP_ROLES + 1]; /* Groups of role r: from end[r] to end[r + 1]. */
    uint32_t chunks;            /* Of 64 k: of a role at most. */
    bool keeps_v;               /* Layer 0: v_first = v. */
};

/* Below, bias_of is in shared memory: the first of a lane's channels. */

/* Where a lane's quads of 4 channels are: 8 rows apart, and 16 channels. */
struct up_place {
    size_t first; /* Of all [N][C] numbers. */
    uint32_t row;
    uint32_t rows;     /* That exist: up to this one. */
    uint32_t channels; /* That exist from the warp's first on: a multiple of 16. */
};

static __device__ __forceinline__ struct up_place up_place_of(const struct up &p, uint32_t row,
                                                              uint32_t rows, uint32_t channel,
                                                              uint32_t channels)
{
    return {(size_t)row * p.C + channel, row, rows, channels};
}

static __device__ __forceinline__ bool up_has_row(struct up_place place, uint32_t i)
{
    return place.row + i * 8 < place.rows;
}

static __device__ __forceinline__ size_t up_offset(const struct up &p, struct up_place place,
                                                   uint32_t i)
{
    return place.first + i * 8 * p.C;
}

static __device__ __forceinline__ float4 up_sigmoids(float4 sum, float4 bias, float scale)
{
    return make_float4(scale * low_rank_sigmoid_2(-LOW_RANK_LOG2_E * (sum.x + bias.x)),
                       scale * low_rank_sigmoid_2(-LOW_RANK_LOG2_E * (sum.y + bias.y)),
                       scale * low_rank_sigmoid_2(-LOW_RANK_LOG2_E * (sum.z + bias.z)),
                       scale * low_rank_sigmoid_2(-LOW_RANK_LOG2_E * (sum.w + bias.w)));
}

/* Below, bias_of is in shared memory: of the first of the lane's channels. */

/* The gate, W and A. */
template <uint32_t M, uint32_t N>
static __device__ __forceinline__ void up_store(const struct up &p, const struct up_group &group,
                                                const float *bias_of, const float (*d)[N][4],
                                                struct up_place place)
{
    const float scale = group.kind == CUDA_LOW_W ? -UP_DECAY_SCALE : 1.0f;
#pragma unroll
    for (uint32_t i = 0; i < M * 2; i++) {
        if (!up_has_row(place, i)) {
            break;
        }
        float *const out = group.out + up_offset(p, place, i);
#pragma unroll
        for (uint32_t pair = 0; pair < N / 2; pair++) {
            float4 sum = cuda_tile_quad<N>(d, i / 2, pair, i % 2);
            if (group.kind != CUDA_LOW_G) {
                sum = up_sigmoids(sum, cuda_float4_load(bias_of + pair * 16), scale);
            }
            if (pair * 16 < place.channels) {
                cuda_float4_store(out + pair * 16, sum);
            }
        }
    }
}

/* Layer 0: v_first = v. */
template <uint32_t M, uint32_t N>
static __device__ __forceinline__ void up_keep_values(const struct up &p, struct up_place place)
{
#pragma unroll 1
    for (uint32_t i = 0; i < M * 2; i++) {
#pragma unroll
        for (uint32_t pair = 0; pair < N / 2; pair++) {
            if (up_has_row(place, i) && pair * 16 < place.channels) {
                const size_t at = up_offset(p, place, i) + pair * 16;
                *(uint2 *)(void *)(p.v_first + at) = *(const uint2 *)(const void *)(p.v + at);
            }
        }
    }
}

/* v and v_first of the quads of one row; undefined where there is no row or channel. */
template <uint32_t N> struct up_values {
    uint2 v[N / 2], first[N / 2];
};

template <uint32_t N>
static __device__ __forceinline__ void up_load_values(const struct up &p, struct up_place place,
                                                      uint32_t i, struct up_values<N> *values)
{
    const size_t at = up_offset(p, place, i);
#pragma unroll
    for (uint32_t pair = 0; pair < N / 2; pair++) {
        if (up_has_row(place, i) && pair * 16 < place.channels) {
            values->v[pair] = *(const uint2 *)(const void *)(p.v + at + pair * 16);
            values->first[pair] = *(const uint2 *)(const void *)(p.v_first + at + pair * 16);
        }
    }
}

static __device__ __forceinline__ void up_mix_value(cuda_half *v, uint2 v_bits, uint2 first_bits,
                                                    float4 part)
{
    const float2 low = cuda_half2_unpack(v_bits.x), high = cuda_half2_unpack(v_bits.y);
    const float2 first_low = cuda_half2_unpack(first_bits.x);
    const float2 first_high = cuda_half2_unpack(first_bits.y);
    cuda_half4_store(v, make_float4(fmaf(first_low.x - low.x, part.x, low.x),
                                    fmaf(first_low.y - low.y, part.y, low.y),
                                    fmaf(first_high.x - high.x, part.z, high.x),
                                    fmaf(first_high.y - high.y, part.w, high.y)));
}

/* v += (v_first - v) sigmoid(..) for row i of the lane's. */
template <uint32_t M, uint32_t N>
static __device__ __forceinline__ void
up_mix_values(const struct up &p, const float *bias_of, const float (*d)[N][4],
              struct up_place place, uint32_t i, const struct up_values<N> &values)
{
    if (!up_has_row(place, i)) {
        return;
    }
    cuda_half *const v = p.v + up_offset(p, place, i);
#pragma unroll
    for (uint32_t pair = 0; pair < N / 2; pair++) {
        if (pair * 16 < place.channels) {
            up_mix_value(v + pair * 16, values.v[pair], values.first[pair],
                         up_sigmoids(cuda_tile_quad<N>(d, i / 2, pair, i % 2),
                                     cuda_float4_load(bias_of + pair * 16), 1.0f));
        }
    }
}

/* Everything but V. */
template <uint32_t M, uint32_t N>
static __device__ __forceinline__ void up_finish(const struct up &p, const struct up_group &group,
                                                 const float *bias_of, const float (*d)[N][4],
                                                 struct up_place place)
{
    up_store<M, N>(p, group, bias_of, d, place);
    if (group.kind == CUDA_LOW_W && p.keeps_v) {
        up_keep_values<M, N>(p, place);
    }
}
