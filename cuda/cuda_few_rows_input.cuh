/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_input.cuh - the input of a few-row product, made by every block for itself.
 *
 * Computes  n = LN(x) of each row, then n + (n of the row before - n) mix, rounded to f16 as the
 *           planes of the many-row path are, into shared memory [ROWS][C].
 * Bytes     a row: 4 C of x and 4 C of the shift from L2.
 * Waiting   all but x is settled before the kernel before this one ends: norm weights, bias and mix
 *           go to registers, shifts to shared memory (C <= 4096), while that kernel still runs.
 *           After the dependency wait there is one trip to L2, x of all rows at once, and three
 *           barriers for all rows together.
 * Numerics  f32, two-pass variance, one order of sums in every block and whatever the number of
 *           rows: all blocks see the same n.
 * Rows at and beyond the count are zeros. Nothing here multiplies. Thread: device, the first
 * FEW_ROWS_THREADS of a block. */
#pragma once

#include <math.h>

#include "cuda/cuda_barrier.cuh"
#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_half.cuh"
#include "cuda/cuda_place.cuh"

enum {
    FEW_ROWS_WARPS = 8,
    FEW_ROWS_THREADS = FEW_ROWS_WARPS * 32, /* Of a block, its producer not counted. */
    FEW_ROWS_THREADS_BULK = FEW_ROWS_THREADS + 32,
    FEW_ROWS_ITEM_CHANNELS = FEW_ROWS_THREADS * 4, /* An item: 4 channels a thread. */
    FEW_ROWS_ITEMS_MAX = 8,
    FEW_ROWS_CHANNELS_MAX = FEW_ROWS_ITEMS_MAX * FEW_ROWS_ITEM_CHANNELS,
    FEW_ROWS_ITEMS_EARLY = 4, /* More: no room to load anything before the wait. */
    FEW_ROWS_BARRIER = 1,     /* Of those threads. */
    FEW_ROWS_BUFFERS = 2 * FEW_ROWS_WARPS / 4, /* float4 of a row, for sums over the threads. */
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
    size_t shift_at;   /* Of this layer and kind in a copy of a slot's shifts, */
    size_t slot_shift; /* which has so many floats. */
    uint32_t C;
};

static const float few_rows_ln_epsilon = 1e-5f;

/* Bytes of shared memory for the shifts. */
static __host__ __device__ constexpr uint32_t few_rows_shift_bytes(int kind, int items, int rows,
                                                                   bool bulk, uint32_t C)
{
    const bool is_early = bulk && kind == FEW_ROWS_MIXED && items <= FEW_ROWS_ITEMS_EARLY;
    return is_early ? (uint32_t)rows * C * (uint32_t)sizeof(float) : 0;
}

/* Rows whose input is wanted. */
template <int KIND>
static __device__ __forceinline__ uint32_t few_rows_count(const struct few_rows_input &input)
{
    const struct cuda_step_header *header = input.step.header;
    return __ldcg(KIND == FEW_ROWS_NORMALISED ? &header->logit_count : &header->row_count);
}

/* ---- Before the wait --------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t few_rows_channel(int item)
{
    return threadIdx.x * 4 + (uint32_t)item * FEW_ROWS_ITEM_CHANNELS;
}

/* A vector of C channels, 4 ITEMS a thread; zeros beyond C. */
template <int ITEMS>
static __device__ __forceinline__ void few_rows_load(float4 *to, const float *from, uint32_t C)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = few_rows_channel(i);
        to[i] = c < C ? __ldcg((const float4 *)(const void *)(from + c))
                      : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

/* The vectors that rows share: in registers where there is room for them, else read when needed. */
template <int ITEMS> struct few_rows_vectors {
    float4 weight[ITEMS], bias[ITEMS], mix[ITEMS];
};

/* Where a row's numbers lie. */
struct few_rows_source {
    uint32_t x_row;
    bool is_there;         /* Before the count. */
    bool is_mixed;         /* Has a shift: the item is active. */
    const float *shift_in; /* Of the layer and kind. */
    float *shift_out;      /* NULL: not written by this block. */
};

/* In a step of the few-row path item i has row i, so that both are asked for at once; should it be
 * another one, it is asked for again. One block of the grid writes the shift of a row. */
static __device__ __forceinline__ struct few_rows_source
few_rows_mixed_source(const struct few_rows_input &input, uint32_t row)
{
    struct cuda_item item = input.step.items[row];
    const uint32_t index = input.step.row_item[row];
    if (index != row) {
        item = input.step.items[index];
    }
    const struct cuda_copies copies = cuda_copies_of(input.step, item);
    const uint32_t writer = row < gridDim.x ? row : gridDim.x - 1;
    struct few_rows_source source;
    source.x_row = row;
    source.is_there = true;
    source.is_mixed = cuda_item_is_active(input.step, item);
    source.shift_in = input.step.shift + copies.in * input.slot_shift + input.shift_at;
    float *out = input.step.shift + copies.out * input.slot_shift + input.shift_at;
    source.shift_out = source.is_mixed && blockIdx.x == writer ? out : NULL;
    return source;
}

/* Rows beyond the count have numbers that nobody looks at. */
template <int KIND>
static __device__ __forceinline__ struct few_rows_source
few_rows_source_of(const struct few_rows_input &input, uint32_t row, uint32_t count)
{
    struct few_rows_source source = {row, row < count, false, input.step.shift, NULL};
    if (row < count) {
        if (KIND == FEW_ROWS_MIXED) {
            return few_rows_mixed_source(input, row);
        }
        source.x_row = input.step.logit_row[row];
    }
    return source;
}

/* A row's shift into this thread's own places; zeros where there is none. */
template <int ITEMS>
static __device__ __forceinline__ void few_rows_copy_shift(const struct few_rows_source &source,
                                                           uint32_t C, float *to)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = few_rows_channel(i);
        if (c < C) {
            cuda_copy_16(to + c, source.shift_in + c, source.is_mixed);
        }
    }
}

/* ---- After the wait ---------------------------------------------------------------------- */

/* Sums over the threads, the same in every one. `buffer` [ROWS][FEW_ROWS_WARPS] is used once. */
template <int ROWS>
static __device__ __forceinline__ void few_rows_block_sums(float *values, float4 *buffer)
{
    const uint32_t warp = threadIdx.x >> 5;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        values[row] = cuda_warp_sum(values[row]);
        if ((threadIdx.x & 31) == 0) {
            ((float *)buffer)[row * FEW_ROWS_WARPS + warp] = values[row];
        }
    }
    cuda_barrier_sync(FEW_ROWS_BARRIER, FEW_ROWS_THREADS);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float4 low = buffer[row * 2], high = buffer[row * 2 + 1];
        values[row] = low.x + low.y + low.z + low.w + high.x + high.y + high.z + high.w;
    }
}

template <int ITEMS>
static __device__ __forceinline__ float few_rows_squares(const float4 *x, uint32_t C)
{
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (few_rows_channel(i) < C) {
            squares = fmaf(x[i].x, x[i].x, squares);
            squares = fmaf(x[i].y, x[i].y, squares);
            squares = fmaf(x[i].z, x[i].z, squares);
            squares = fmaf(x[i].w, x[i].w, squares);
        }
    }
    return squares;
}

/* x of each row becomes (x - mean) / deviation. `buffers` f32 [2][ROWS][FEW_ROWS_WARPS]. */
template <int ITEMS, int ROWS>
static __device__ __forceinline__ void few_rows_standardise(float4 (*x)[ITEMS], uint32_t C,
                                                            float4 *buffers)
{
    float sums[ROWS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        sums[row] = 0.0f;
#pragma unroll
        for (int i = 0; i < ITEMS; i++) {
            sums[row] += (x[row][i].x + x[row][i].y) + (x[row][i].z + x[row][i].w);
        }
    }
    few_rows_block_sums<ROWS>(sums, buffers);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float mean = sums[row] / (float)C;
#pragma unroll
        for (int i = 0; i < ITEMS; i++) {
            const float4 v = x[row][i];
            x[row][i] = make_float4(v.x - mean, v.y - mean, v.z - mean, v.w - mean);
        }
        sums[row] = few_rows_squares<ITEMS>(x[row], C);
    }
    few_rows_block_sums<ROWS>(sums, buffers + ROWS * 2);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float scale = 1.0f / sqrtf(sums[row] / (float)C + few_rows_ln_epsilon);
#pragma unroll
        for (int i = 0; i < ITEMS; i++) {
            const float4 v = x[row][i];
            x[row][i] = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
        }
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

/* Constant during the kernel, whatever is stored meanwhile. */
static __device__ __forceinline__ float4 few_rows_constant(const float *from)
{
    return __ldg((const float4 *)(const void *)from);
}

/* Four channels of a row, standardised, to their input. `shift` is what was copied, or NULL. */
template <int KIND>
static __device__ __forceinline__ float4 few_rows_finish(const struct few_rows_source &source,
                                                         float4 x,
                                                         const struct few_rows_vectors<1> &own,
                                                         const float *shift, uint32_t c)
{
    float4 n = few_rows_fma(x, own.weight[0], own.bias[0]);
    if (KIND == FEW_ROWS_MIXED) {
        if (source.shift_out != NULL) {
            cuda_float4_store(source.shift_out + c, n);
        }
        float4 before = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (shift != NULL) {
            before = cuda_float4_load(shift + c);
        } else if (source.is_mixed) {
            before = __ldcg((const float4 *)(const void *)(source.shift_in + c));
        }
        n = few_rows_fma(few_rows_minus(before, n), own.mix[0], n);
    }
    return source.is_there ? n : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

/* What a block works with, all in shared memory. */
struct few_rows_places {
    cuda_half *to;   /* [ROWS][C] */
    float *shifts;   /* [ROWS][C], when few_rows_shift_bytes has room for them. */
    float4 *buffers; /* [ROWS][FEW_ROWS_BUFFERS] */
};

/* Whether the shared vectors are in registers. */
static __host__ __device__ constexpr bool few_rows_are_kept(int items, int rows, bool bulk)
{
    return items <= FEW_ROWS_ITEMS_EARLY && items * rows <= (bulk ? 8 : 4);
}

/* Rows from `first` on, their x on the way at once. */
template <int KIND, int ITEMS, int ROWS, bool KEPT, bool EARLY>
static __device__ __forceinline__ void
few_rows_make_rows(const struct few_rows_input &input, const float *mix, uint32_t first,
                   const struct few_rows_vectors<KEPT ? ITEMS : 1> &own,
                   const struct few_rows_source *sources, const struct few_rows_places &at)
{
    const uint32_t C = input.C;
    float4 x[ROWS][ITEMS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        few_rows_load<ITEMS>(x[row], input.x + (size_t)sources[row].x_row * C, C);
    }
    few_rows_standardise<ITEMS, ROWS>(x, C, at.buffers + first * FEW_ROWS_BUFFERS);
    cuda_copy_wait<0>();
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const uint32_t c = few_rows_channel(i);
        if (c >= C) {
            continue;
        }
        struct few_rows_vectors<1> v;
        v.weight[0] = KEPT ? own.weight[KEPT ? i : 0] : few_rows_constant(input.ln_weight + c);
        v.bias[0] = KEPT ? own.bias[KEPT ? i : 0] : few_rows_constant(input.ln_bias + c);
        v.mix[0] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (KIND == FEW_ROWS_MIXED) {
            v.mix[0] = KEPT ? own.mix[KEPT ? i : 0] : few_rows_constant(mix + c);
        }
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const float *shift = EARLY ? at.shifts + (first + row) * C : NULL;
            const float4 n = few_rows_finish<KIND>(sources[row], x[row][i], v, shift, c);
            cuda_half4_store(at.to + (first + row) * C + c, n);
        }
    }
}

template <int KIND, int ITEMS, int ROWS, bool BULK>
static __device__ __forceinline__ void few_rows_make(const struct few_rows_input &input,
                                                     const float *mix, uint32_t count,
                                                     const struct few_rows_places &at)
{
    constexpr bool KEPT = few_rows_are_kept(ITEMS, ROWS, BULK);
    constexpr bool EARLY = few_rows_shift_bytes(KIND, ITEMS, ROWS, BULK, 1) != 0;
    constexpr int TURN = ITEMS * ROWS <= (BULK ? 16 : 12) ? ROWS : 2; /* Registers for x. */
    constexpr int REST = ROWS - TURN;
    struct few_rows_vectors<KEPT ? ITEMS : 1> own = {};
    struct few_rows_source sources[ROWS];
    if (KEPT) {
        few_rows_load<KEPT ? ITEMS : 1>(own.weight, input.ln_weight, input.C);
        few_rows_load<KEPT ? ITEMS : 1>(own.bias, input.ln_bias, input.C);
        few_rows_load<KEPT ? ITEMS : 1>(own.mix, mix, KIND == FEW_ROWS_MIXED ? input.C : 0);
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        sources[row] = few_rows_source_of<KIND>(input, (uint32_t)row, count);
        if (EARLY) {
            few_rows_copy_shift<ITEMS>(sources[row], input.C, at.shifts + row * input.C);
        }
    }
    cuda_copy_commit();
    cuda_dependency_wait();
    few_rows_make_rows<KIND, ITEMS, TURN, KEPT, EARLY>(input, mix, 0, own, sources, at);
    if (REST > 0) {
        few_rows_make_rows<KIND, ITEMS, REST == 0 ? 1 : REST, KEPT, EARLY>(
            input, mix, TURN, own, sources + TURN % ROWS, at);
    }
}

/* All loads are on the way at once. */
template <int ITEMS, int ROWS>
static __device__ __forceinline__ void few_rows_copy(const struct few_rows_input &input,
                                                     uint32_t count, cuda_half *to)
{
    constexpr int LOADS = (ROWS * ITEMS + 1) / 2; /* 8 numbers each. */
    const uint4 *from = (const uint4 *)(const void *)input.plain;
    uint4 loaded[LOADS];
    cuda_dependency_wait();
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const uint32_t at = threadIdx.x + (uint32_t)i * FEW_ROWS_THREADS;
        loaded[i] = at < count * input.C / 8 ? __ldcg(from + at) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const uint32_t at = threadIdx.x + (uint32_t)i * FEW_ROWS_THREADS;
        if (at < ROWS * input.C / 8) {
            ((uint4 *)(void *)to)[at] = loaded[i];
        }
    }
}

/* The block's input in at.to, after the dependency wait and ready for each of those threads. */
template <int KIND, int ITEMS, int ROWS, bool BULK>
static __device__ __forceinline__ void few_rows_stage(const struct few_rows_input &input,
                                                      const float *mix, uint32_t count,
                                                      const struct few_rows_places &at)
{
    if (KIND == FEW_ROWS_PLAIN) {
        few_rows_copy<ITEMS, ROWS>(input, count, at.to);
    } else {
        few_rows_make<KIND, ITEMS, ROWS, BULK>(input, mix, count, at);
    }
    cuda_barrier_sync(FEW_ROWS_BARRIER, FEW_ROWS_THREADS);
}
