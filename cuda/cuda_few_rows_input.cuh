/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_input.cuh - the input of a few-row product, made by every block for itself.
 *
 * Computes  n = LN(x) of each row, then n + (n of the row before - n) mix, rounded to f16 as the
 *           planes of the many-row path are, into shared memory [ROWS][C].
 * Bytes     a row: 4 C of x and 4 C of the shift from L2. Norm weights, bias and mix depend on
 *           nothing and are loaded to registers before the dependency wait (C <= 4096).
 * Numerics  f32, two-pass variance, one order of sums in every block: all blocks see the same n.
 * Rows at and beyond the count are zeros. Nothing here multiplies. Thread: device. */
#pragma once

#include <math.h>

#include "cuda/cuda_half.cuh"

enum {
    FEW_ROWS_WARPS = 8,
    FEW_ROWS_THREADS = FEW_ROWS_WARPS * 32,
    FEW_ROWS_CHANNELS_MAX = 8 * FEW_ROWS_THREADS * 4,
};

enum few_rows_kind {
    FEW_ROWS_MIXED,      /* LN and token shift of the first rows; their shift_out is written. */
    FEW_ROWS_NORMALISED, /* LN of the logit rows. */
    FEW_ROWS_PLAIN,      /* f16 rows as they are. */
};

struct few_rows_input {
    struct cuda_step step;
    const float *x;         /* [N][C] */
    const cuda_half *plain; /* [N][C], of FEW_ROWS_PLAIN. */
    const float *ln_weight, *ln_bias;
    size_t shift_at; /* Of this layer and kind in a slot's shifts. */
    uint32_t C;
};

static const float few_rows_ln_epsilon = 1e-5f;

/* Sum over the block, the same in every thread. A buffer may be used again two sums later. */
static __device__ __forceinline__ float few_rows_block_sum(float value, float *buffer)
{
    value = cuda_warp_sum(value);
    if ((threadIdx.x & 31) == 0) {
        buffer[threadIdx.x >> 5] = value;
    }
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < FEW_ROWS_WARPS; warp++) {
        total += buffer[warp];
    }
    return total;
}

/* A vector of C channels, 4 ITEMS a thread; zeros beyond C. */
template <int ITEMS>
static __device__ __forceinline__ void few_rows_load(float4 *to, const float *from, uint32_t C)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = (threadIdx.x + (uint32_t)i * FEW_ROWS_THREADS) * 4;
        to[i] = c < C ? __ldcg((const float4 *)(const void *)(from + c))
                      : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

/* x becomes (x - mean) / deviation. */
template <int ITEMS>
static __device__ __forceinline__ void few_rows_standardise(float4 *x, uint32_t C, float *buffers)
{
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    }
    const float mean = few_rows_block_sum(sum, buffers) / (float)C;
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        x[i] = make_float4(x[i].x - mean, x[i].y - mean, x[i].z - mean, x[i].w - mean);
        if ((threadIdx.x + (uint32_t)i * FEW_ROWS_THREADS) * 4 < C) {
            squares = fmaf(x[i].x, x[i].x, squares);
            squares = fmaf(x[i].y, x[i].y, squares);
            squares = fmaf(x[i].z, x[i].z, squares);
            squares = fmaf(x[i].w, x[i].w, squares);
        }
    }
    const float variance = few_rows_block_sum(squares, buffers + FEW_ROWS_WARPS) / (float)C;
    const float scale = 1.0f / sqrtf(variance + few_rows_ln_epsilon);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        x[i] = make_float4(x[i].x * scale, x[i].y * scale, x[i].z * scale, x[i].w * scale);
    }
}

static __device__ __forceinline__ float4 few_rows_fma(float4 a, float4 b, float4 c)
{
    return make_float4(fmaf(a.x, b.x, c.x), fmaf(a.y, b.y, c.y), fmaf(a.z, b.z, c.z),
                       fmaf(a.w, b.w, c.w));
}

static __device__ __forceinline__ float4 few_rows_minus(float4 a, float4 b)
{
    return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}

/* Zeros in a row of the staged input. */
static __device__ __forceinline__ void few_rows_clear(cuda_half *row, uint32_t C)
{
    for (uint32_t c = threadIdx.x * 4; c < C; c += FEW_ROWS_THREADS * 4) {
        cuda_half4_store(row + c, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
    }
}

/* The vectors that rows share: in registers while a row fits 4 items a thread, else read again. */
template <int ITEMS> struct few_rows_vectors {
    float4 weight[ITEMS], bias[ITEMS], mix[ITEMS];
};

/* Where a row's shift is read and written; NULL where it is not. */
struct few_rows_shift {
    const float *in;
    float *out;
};

/* One block of the grid writes the shift of each row. */
static __device__ __forceinline__ struct few_rows_shift
few_rows_shift_of(const struct few_rows_input &input, uint32_t row, uint32_t item)
{
    const struct cuda_place *place = &input.step.places[item];
    const bool active = place->active != 0;
    struct few_rows_shift shift;
    shift.in = active ? place->shift_in + input.shift_at : NULL;
    shift.out = active && row % gridDim.x == blockIdx.x ? place->shift_out + input.shift_at : NULL;
    return shift;
}

/* `to` [C] from a row and, where it is mixed, its shift. */
template <int ITEMS, int KIND>
static __device__ __forceinline__ void few_rows_make_row(const struct few_rows_input &input,
                                                         const struct few_rows_vectors<ITEMS> &own,
                                                         const float *mix, float4 *x,
                                                         struct few_rows_shift shift,
                                                         float *buffers, cuda_half *to)
{
    const uint32_t C = input.C;
    const bool kept = ITEMS <= 4;
    float4 before[ITEMS];
    if (KIND == FEW_ROWS_MIXED) {
        few_rows_load<ITEMS>(before, shift.in, shift.in != NULL ? C : 0);
    }
    few_rows_standardise<ITEMS>(x, C, buffers);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = (threadIdx.x + (uint32_t)i * FEW_ROWS_THREADS) * 4;
        if (c < C) {
            float4 n = few_rows_fma(x[i],
                                    kept ? own.weight[i] : cuda_float4_load(input.ln_weight + c),
                                    kept ? own.bias[i] : cuda_float4_load(input.ln_bias + c));
            if (KIND == FEW_ROWS_MIXED) {
                if (shift.out != NULL) {
                    cuda_float4_store(shift.out + c, n);
                }
                n = few_rows_fma(few_rows_minus(before[i], n),
                                 kept ? own.mix[i] : cuda_float4_load(mix + c), n);
            }
            cuda_half4_store(to + c, n);
        }
    }
}

/* All rows of a width. Contains the dependency wait; no barrier after the last row. */
template <int ITEMS, int KIND, int ROWS>
static __device__ __forceinline__ void few_rows_make(const struct few_rows_input &input,
                                                     const float *mix, float *buffers,
                                                     cuda_half *to)
{
    struct few_rows_vectors<ITEMS> own;
    if (ITEMS <= 4) {
        few_rows_load<ITEMS>(own.weight, input.ln_weight, input.C);
        few_rows_load<ITEMS>(own.bias, input.ln_bias, input.C);
        if (KIND == FEW_ROWS_MIXED) {
            few_rows_load<ITEMS>(own.mix, mix, input.C);
        }
    }
    cuda_dependency_wait();
    const struct cuda_step_header *header = input.step.header;
    const uint32_t count = KIND == FEW_ROWS_NORMALISED ? header->logit_count : header->row_count;
#pragma unroll 1
    for (uint32_t row = 0; row < ROWS; row++, to += input.C) {
        float4 x[ITEMS];
        uint32_t item = 0;
        if (KIND == FEW_ROWS_MIXED) { /* Within the capacity; does not wait for the count. */
            item = input.step.row_item[row];
            few_rows_load<ITEMS>(x, input.x + (size_t)row * input.C, input.C);
        }
        if (row >= count) {
            few_rows_clear(to, input.C);
            continue;
        }
        struct few_rows_shift shift = {NULL, NULL};
        if (KIND == FEW_ROWS_MIXED) {
            shift = few_rows_shift_of(input, row, item);
        } else {
            const size_t logit_row = input.step.logit_row[row];
            few_rows_load<ITEMS>(x, input.x + logit_row * input.C, input.C);
        }
        few_rows_make_row<ITEMS, KIND>(input, own, mix, x, shift, buffers, to);
    }
}

static __device__ __forceinline__ void few_rows_copy(const struct few_rows_input &input,
                                                     uint32_t rows, cuda_half *to)
{
    cuda_dependency_wait();
    const uint32_t count = input.step.header->row_count;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    for (uint32_t i = threadIdx.x; i < rows * input.C / 8; i += FEW_ROWS_THREADS) {
        const uint4 *from = (const uint4 *)(const void *)input.plain;
        ((uint4 *)(void *)to)[i] = i < count * input.C / 8 ? __ldcg(from + i) : zero;
    }
}

/* The block's input in `to` [ROWS][C], after the dependency wait and ready for every thread.
 * `buffers` f32 [2][FEW_ROWS_WARPS] shared. */
template <int KIND, int ROWS>
static __device__ __forceinline__ void few_rows_stage(const struct few_rows_input &input,
                                                      const float *mix, float *buffers,
                                                      cuda_half *to)
{
    if (KIND == FEW_ROWS_PLAIN) {
        few_rows_copy(input, ROWS, to);
    } else if (input.C <= 1024) {
        few_rows_make<1, KIND, ROWS>(input, mix, buffers, to);
    } else if (input.C <= 2048) {
        few_rows_make<2, KIND, ROWS>(input, mix, buffers, to);
    } else if (input.C <= 4096) {
        few_rows_make<4, KIND, ROWS>(input, mix, buffers, to);
    } else {
        few_rows_make<8, KIND, ROWS>(input, mix, buffers, to);
    }
    __syncthreads();
}
