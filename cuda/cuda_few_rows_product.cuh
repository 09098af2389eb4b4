/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_product.cuh - a warp's part of a few-row product: some rows of weights times
 * all input rows, summed over the warp, and what becomes of a sum.
 *
 * R rows of weights at once, so that the input is read and converted once for them; loads of
 * weights stand before the sums they feed. A sum's order does not depend on R, nor on the number of
 * input rows. Only cuda_few_rows.cu includes this. Thread: device. */
#pragma once

#include "cuda/cuda_half.cuh"

enum after { AFTER_NOTHING, AFTER_TANH, AFTER_SIGMOID, AFTER_RELU_SQUARED };

/* Rows of a slot. A warp has no other work meanwhile: more rows, a longer last slot. */
static __host__ __device__ constexpr int rows_of_slot(int rows, int items, bool bulk)
{
    const int most = rows <= 2 || items >= 4 ? 4 : 8; /* Where conversions weigh, twice as many. */
    const int fit = most / items < 1 ? 1 : most / items;
    return !bulk ? 1 : fit > 4 ? 4 : fit;
}

/* ---- Sums -------------------------------------------------------------------------------- */

static __device__ __forceinline__ void unpack_8(float2 *to, uint4 halves)
{
    to[0] = cuda_half2_unpack(halves.x);
    to[1] = cuda_half2_unpack(halves.y);
    to[2] = cuda_half2_unpack(halves.z);
    to[3] = cuda_half2_unpack(halves.w);
}

/* sums[r][row] += 8 weights of row r times 8 channels of each input row. Two sums each, for shorter
 * chains. */
template <int ROWS, int R>
static __device__ __forceinline__ void multiply_8(float (*sums)[ROWS][2], const uint4 *weights,
                                                  const cuda_half *in, uint32_t C)
{
    float2 w[R][4];
#pragma unroll
    for (int r = 0; r < R; r++) {
        unpack_8(w[r], weights[r]);
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float2 x[4];
        unpack_8(x, *(const uint4 *)(const void *)(in + row * C));
#pragma unroll
        for (int r = 0; r < R; r++) {
            float *sum = sums[r][row];
            sum[0] = fmaf(w[r][0].x, x[0].x, sum[0]);
            sum[1] = fmaf(w[r][1].x, x[1].x, sum[1]);
            sum[0] = fmaf(w[r][0].y, x[0].y, sum[0]);
            sum[1] = fmaf(w[r][1].y, x[1].y, sum[1]);
            sum[0] = fmaf(w[r][2].x, x[2].x, sum[0]);
            sum[1] = fmaf(w[r][3].x, x[3].x, sum[1]);
            sum[0] = fmaf(w[r][2].y, x[2].y, sum[0]);
            sum[1] = fmaf(w[r][3].y, x[3].y, sum[1]);
        }
    }
}

/* STEPS times 32 pieces of 8 channels; the loads of weights stand before all else. */
template <int ROWS, int R, int STEPS, bool BULK>
static __device__ __forceinline__ void multiply_steps(float (*sums)[ROWS][2], const uint4 *weights,
                                                      const cuda_half *in, uint32_t C)
{
    uint4 w[STEPS][R];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            const uint4 *from = weights + r * (C / 8) + step * 32;
            w[step][r] = BULK ? *from : __ldcs(from);
        }
    }
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        multiply_8<ROWS, R>(sums, w[step], in + step * 256, C);
    }
}

/* A slot of weights from shared memory, or a row of the matrix itself. */
template <int ROWS, int R, bool BULK>
static __device__ __forceinline__ void multiply_slot(float (*sums)[ROWS][2], const uint4 *weights,
                                                     const cuda_half *in, uint32_t C)
{
    constexpr int STEPS = R * ROWS <= 4 ? 4 : R * ROWS <= 8 ? 2 : 1;
    const uint32_t vectors = C / 8;
    uint32_t at = threadIdx.x & 31;
    uint32_t left = vectors / 32; /* Steps of the whole warp. */
#pragma unroll 1
    for (; left >= STEPS; left -= STEPS, at += STEPS * 32) {
        multiply_steps<ROWS, R, STEPS, BULK>(sums, weights + at, in + at * 8, C);
    }
#pragma unroll 1
    for (; at < vectors; at += 32) {
        multiply_steps<ROWS, R, 1, BULK>(sums, weights + at, in + at * 8, C);
    }
}

/* One step of a butterfly for COUNT values: half of them stay in a lane. */
template <int COUNT> static __device__ __forceinline__ void warp_fold(float *values, int offset)
{
    const bool is_upper = (threadIdx.x & (uint32_t)offset) != 0;
    if (COUNT == 1) {
        values[0] += __shfl_xor_sync(CUDA_WARP_ALL, values[0], offset);
    }
#pragma unroll
    for (int i = 0; i < COUNT / 2; i++) {
        const float mine = is_upper ? values[i + COUNT / 2] : values[i];
        const float given = is_upper ? values[i] : values[i + COUNT / 2];
        values[i] = mine + __shfl_xor_sync(CUDA_WARP_ALL, given, offset);
    }
}

/* The sum over the warp of each of COUNT values: lanes from i * 32 / COUNT on get that of value i.
 * Every value goes through the same butterfly whatever the count, a power of two up to 16. */
template <int COUNT> static __device__ __forceinline__ float warp_sums(float *values)
{
    warp_fold<COUNT>(values, 16);
    warp_fold<(COUNT + 1) / 2>(values, 8);
    warp_fold<(COUNT + 3) / 4>(values, 4);
    warp_fold<(COUNT + 7) / 8>(values, 2);
    warp_fold<(COUNT + 15) / 16>(values, 1);
    return values[0];
}

/* ---- Outputs ----------------------------------------------------------------------------- */

static __device__ __forceinline__ cuda_half activated(uint32_t after, float sum)
{
    switch (after) {
    case AFTER_TANH:
        return __float2half_rn(tanhf(sum));
    case AFTER_SIGMOID:
        return __float2half_rn(cuda_sigmoid(sum));
    case AFTER_RELU_SQUARED:
        return __float2half_rn(cuda_relu_squared_of(sum));
    default:
        return __float2half_rn(sum);
    }
}

/* Where a lane's sum of a slot of outputs goes. */
struct target {
    uint32_t r, row;
    bool is_first; /* Of the lanes that have the same one. */
};

template <int ROWS, int R> static __device__ __forceinline__ struct target target_of_lane(void)
{
    constexpr uint32_t ROWS_PADDED = ROWS == 3 ? 4 : ROWS;
    constexpr uint32_t LANES = 32 / (R * ROWS_PADDED);
    const uint32_t lane = threadIdx.x & 31;
    struct target target;
    target.r = lane / LANES / ROWS_PADDED;
    target.row = lane / LANES % ROWS_PADDED;
    target.is_first = lane % LANES == 0;
    return target;
}

template <int ROWS, int R>
static __device__ __forceinline__ float sum_of_lane(const float (*sums)[ROWS][2])
{
    constexpr int ROWS_PADDED = ROWS == 3 ? 4 : ROWS;
    float values[R * ROWS_PADDED];
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int row = 0; row < ROWS_PADDED; row++) {
            values[r * ROWS_PADDED + row] = row < ROWS ? sums[r][row < ROWS ? row : 0][0]
                                                             + sums[r][row < ROWS ? row : 0][1]
                                                       : 0.0f;
        }
    }
    return warp_sums<R * ROWS_PADDED>(values);
}
