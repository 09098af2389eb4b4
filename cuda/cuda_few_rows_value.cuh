/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_value.cuh - the steps of the second product of the channel mix: the list of
 * channels that are left, the sums over them, and the joining of warps and slices.
 *
 * Who does what in which order: cuda_few_rows_value.cu, which alone includes this.
 * Thread: device. */
#pragma once

#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_half.cuh"

enum {
    WARPS = 8,
    THREADS = WARPS * 32,
    VECTOR = 8,                     /* f16 numbers of a 16-byte load. */
    WARP_COLUMNS = 32 * VECTOR,     /* Columns of a 16-byte load of a warp. */
    VECTORS_MAX = 4,                /* Loads for a slot; columns of a stripe / WARP_COLUMNS. */
    SLOT_BYTES = VECTORS_MAX * WARP_COLUMNS * 2,
    STAGES_MAX = 12,                /* All in flight when the list is there. */
    SUMS_BYTES = WARP_COLUMNS * 4,  /* Of a warp's sums, for a vector of columns and a row. */
    SLICE_CHANNELS_MAX = 1024,
    LIST_LOADS = SLICE_CHANNELS_MAX / THREADS, /* Channels of a lane. */
};

struct value {
    struct cuda_step step;
    const cuda_half *weight; /* [F][C] */
    const cuda_half *hidden; /* [N][F] */
    float *x;                /* [N][C] */
    float *partial;          /* [slices][ROWS][C] */
    uint32_t *arrived;       /* [stripes][WARPS] */
    uint32_t C, F, slices;
    uint32_t stages, warp_bytes, list_capacity; /* Of a warp; bytes: struct layout. */
};

/* A warp's shared memory, in bytes from its start. Its sums take the place of its ring. */
struct layout {
    uint32_t list;   /* u32 [list_capacity] channels. */
    uint32_t values; /* f32 [list_capacity][ROWS] */
    uint32_t bytes;
};

static __host__ __device__ __forceinline__ struct layout layout_of(uint32_t capacity, uint32_t rows,
                                                                   uint32_t vectors,
                                                                   uint32_t stages)
{
    const uint32_t ring = stages * SLOT_BYTES;
    const uint32_t sums = rows * vectors * SUMS_BYTES;
    struct layout at;
    at.list = ring > sums ? ring : sums;
    at.values = at.list + capacity * 4;
    at.bytes = (at.values + capacity * rows * 4 + 127) & ~127u;
    return at;
}

/* ---- List -------------------------------------------------------------------------------- */

/* What a warp reads. */
struct stream {
    const cuda_half *weight; /* value, from the stripe's first column on. */
    uint32_t *list;
    float *values;           /* [..][ROWS] */
    uint32_t list_count;
    uint32_t columns;        /* Of the stripe: fewer in the last one. */
    uint32_t C;
};

/* The warp's channels that are not zero in all rows, ascending, and their values. All loads are on
 * the way at once. */
template <int ROWS>
static __device__ __forceinline__ void list_channels(const struct value &p, uint32_t count,
                                                     struct stream *s)
{
    const uint32_t lane = threadIdx.x & 31;
    const uint32_t warps = p.slices * WARPS;
    const uint32_t first = blockIdx.y * WARPS + (threadIdx.x >> 5) + lane * warps;
    float values[LIST_LOADS][ROWS];
#pragma unroll
    for (uint32_t i = 0; i < LIST_LOADS; i++) {
        const uint32_t channel = first + i * 32 * warps;
#pragma unroll
        for (uint32_t row = 0; row < ROWS; row++) {
            const bool is_there = channel < p.F && row < count;
            const unsigned short *from =
                (const unsigned short *)(const void *)(p.hidden + (size_t)row * p.F + channel);
            const uint32_t bits = is_there ? __ldcg(from) : 0;
            values[i][row] = cuda_half2_unpack(bits).x;
        }
    }
    s->list_count = 0;
#pragma unroll
    for (uint32_t i = 0; i < LIST_LOADS; i++) {
        bool is_left = false;
#pragma unroll
        for (uint32_t row = 0; row < ROWS; row++) {
            is_left = is_left || values[i][row] != 0.0f; /* Not a number is left. */
        }
        const uint32_t left = __ballot_sync(CUDA_WARP_ALL, is_left);
        const uint32_t at = s->list_count + (uint32_t)__popc(left & ((1u << lane) - 1));
        if (is_left) {
            s->list[at] = first + i * 32 * warps;
#pragma unroll
            for (uint32_t row = 0; row < ROWS; row++) {
                s->values[at * ROWS + row] = values[i][row];
            }
        }
        s->list_count += (uint32_t)__popc(left);
    }
    __syncwarp();
}

/* ---- Sums -------------------------------------------------------------------------------- */

/* The copies of one group, by one lane. */
template <int VECTORS>
static __device__ __forceinline__ void copy_group(const struct stream &s, uint32_t first,
                                                  unsigned char *slot, uint64_t *full)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    if (first >= s.list_count) {
        return;
    }
    const uint32_t bytes = s.columns * (uint32_t)sizeof(cuda_half);
    const uint32_t segments = s.list_count - first < GROUP ? s.list_count - first : GROUP;
    cuda_mbarrier_expect(full, segments * bytes);
#pragma unroll
    for (uint32_t i = 0; i < GROUP; i++) {
        if (i < segments) {
            cuda_bulk_load(slot + i * (VECTORS * WARP_COLUMNS * sizeof(cuda_half)),
                           s.weight + (size_t)s.list[first + i] * s.C, bytes, full);
        }
    }
}

/* sums[row][..] += hidden value of each row times 8 weights. */
template <int ROWS>
static __device__ __forceinline__ void add_vector(float (*sums)[VECTOR], uint4 weights,
                                                  const float *values)
{
    const float2 w0 = cuda_half2_unpack(weights.x), w1 = cuda_half2_unpack(weights.y);
    const float2 w2 = cuda_half2_unpack(weights.z), w3 = cuda_half2_unpack(weights.w);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const float value = values[row];
        sums[row][0] = fmaf(value, w0.x, sums[row][0]);
        sums[row][1] = fmaf(value, w0.y, sums[row][1]);
        sums[row][2] = fmaf(value, w1.x, sums[row][2]);
        sums[row][3] = fmaf(value, w1.y, sums[row][3]);
        sums[row][4] = fmaf(value, w2.x, sums[row][4]);
        sums[row][5] = fmaf(value, w2.y, sums[row][5]);
        sums[row][6] = fmaf(value, w3.x, sums[row][6]);
        sums[row][7] = fmaf(value, w3.y, sums[row][7]);
    }
}

/* A group of channels: their segments in a slot, or in the matrix itself. */
template <int ROWS, int VECTORS, bool BULK>
static __device__ __forceinline__ void add_group(float (*sums)[ROWS][VECTOR],
                                                 const struct stream &s, uint32_t first,
                                                 const unsigned char *slot)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    const uint32_t lane = threadIdx.x & 31;
    uint4 weights[GROUP][VECTORS];
#pragma unroll
    for (uint32_t i = 0; i < GROUP; i++) {
        const bool is_there = first + i < s.list_count;
        const cuda_half *row = (const cuda_half *)(const void *)slot + i * VECTORS * WARP_COLUMNS;
        if (!BULK) {
            row = s.weight + (size_t)(is_there ? s.list[first + i] : 0) * s.C;
        }
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const uint32_t column = v * WARP_COLUMNS + lane * VECTOR;
            const uint4 *from = (const uint4 *)(const void *)(row + column);
            weights[i][v] = make_uint4(0, 0, 0, 0);
            if (is_there && column < s.columns) {
                weights[i][v] = BULK ? *from : __ldcs(from);
            }
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < GROUP; i++) {
        if (first + i < s.list_count) {
#pragma unroll
            for (uint32_t v = 0; v < VECTORS; v++) {
                add_vector<ROWS>(sums[v], weights[i][v], s.values + (first + i) * ROWS);
            }
        }
    }
}

/* All groups of this warp. `ring` and `full` [stages] are its own. */
template <int ROWS, int VECTORS, bool BULK>
static __device__ __forceinline__ void add_groups(float (*sums)[ROWS][VECTOR],
                                                  const struct stream &s, unsigned char *ring,
                                                  uint64_t *full, uint32_t stages)
{
    constexpr uint32_t GROUP = VECTORS_MAX / VECTORS;
    const uint32_t lane = threadIdx.x & 31;
    uint32_t stage = 0, parity = 0;
    if (BULK && lane < stages) {
        copy_group<VECTORS>(s, lane * GROUP, ring + lane * SLOT_BYTES, &full[lane]);
    }
#pragma unroll 1
    for (uint32_t first = 0; first < s.list_count; first += GROUP) {
        unsigned char *slot = ring + stage * SLOT_BYTES;
        if (BULK) {
            cuda_mbarrier_wait(&full[stage], parity);
        }
        add_group<ROWS, VECTORS, BULK>(sums, s, first, slot);
        if (BULK) {
            __syncwarp();
            if (lane == 0) {
                copy_group<VECTORS>(s, first + stages * GROUP, slot, &full[stage]);
            }
            stage = stage + 1 < stages ? stage + 1 : 0;
            parity ^= stage == 0 ? 1 : 0;
        }
    }
}

/* ---- Joining ----------------------------------------------------------------------------- */

/* VECTORS floats of a lane: neighbours, in one load. */
template <int VECTORS>
static __device__ __forceinline__ void load_columns(float *to, const float *from)
{
    if (VECTORS == 4) {
        const float4 loaded = __ldcg((const float4 *)(const void *)from);
        to[0] = loaded.x;
        to[1 % VECTORS] = loaded.y;
        to[2 % VECTORS] = loaded.z;
        to[3 % VECTORS] = loaded.w;
    } else if (VECTORS == 2) {
        const float2 loaded = __ldcg((const float2 *)(const void *)from);
        to[0] = loaded.x;
        to[1 % VECTORS] = loaded.y;
    } else {
        to[0] = __ldcg(from);
    }
}

template <int VECTORS>
static __device__ __forceinline__ void store_columns(float *to, const float *from)
{
    if (VECTORS == 4) {
        cuda_float4_store(to, make_float4(from[0], from[1 % VECTORS], from[2 % VECTORS],
                                          from[3 % VECTORS]));
    } else if (VECTORS == 2) {
        *(float2 *)(void *)to = make_float2(from[0], from[1 % VECTORS]);
    } else {
        to[0] = from[0];
    }
}

/* Leaves the warp's sums [ROWS][COLUMNS] where its ring was: nobody else touches that. */
template <int ROWS, int VECTORS>
static __device__ __forceinline__ void leave_sums(const float (*sums)[ROWS][VECTOR], float *to)
{
    to += (threadIdx.x & 31) * VECTOR;
#pragma unroll
    for (uint32_t row = 0; row < ROWS; row++) {
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const float *from = sums[v][row];
            float *at = to + (row * VECTORS + v) * WARP_COLUMNS;
            cuda_float4_store(at, make_float4(from[0], from[1], from[2], from[3]));
            cuda_float4_store(at + 4, make_float4(from[4], from[5], from[6], from[7]));
        }
    }
}

/* The sums of all warps for this lane's columns, from `column` of the stripe on, in the order of
 * warps, into this slice's partial sums. */
template <int ROWS, int VECTORS>
static __device__ __forceinline__ void join_warps(const struct value &p, const unsigned char *left,
                                                  uint32_t column, float *partial)
{
#pragma unroll
    for (uint32_t row = 0; row < ROWS; row++) {
        float sums[VECTORS];
#pragma unroll
        for (uint32_t v = 0; v < VECTORS; v++) {
            const uint32_t at = row * VECTORS * WARP_COLUMNS + column + v;
            sums[v] = ((const float *)(const void *)left)[at];
#pragma unroll
            for (uint32_t warp = 1; warp < WARPS; warp++) {
                sums[v] += ((const float *)(const void *)(left + warp * p.warp_bytes))[at];
            }
        }
        store_columns<VECTORS>(partial + row * p.C, sums);
    }
}

/* Whether this warp is the last of its columns; the partial sums of the others are then visible. */
static __device__ __forceinline__ bool arrive(const struct value &p)
{
    uint32_t is_last = 0;
    __syncwarp();
    if ((threadIdx.x & 31) == 0) {
        uint32_t *arrived = &p.arrived[blockIdx.x * WARPS + (threadIdx.x >> 5)];
        __threadfence(); /* What the warp wrote before the barrier comes before the arrival. */
        is_last = atomicAdd(arrived, 1u) + 1 == p.slices ? 1 : 0;
        __threadfence();
        if (is_last != 0) {
            *arrived = 0; /* For the next launch. */
        }
    }
    return __shfl_sync(CUDA_WARP_ALL, is_last, 0) != 0;
}

/* x += all slices of this lane's columns of one row, in order; LOADS slices are on the way at a
 * time. */
template <int ROWS, int VECTORS, int LOADS>
static __device__ __forceinline__ void join_slices(const struct value &p, const float *partial,
                                                   float *x)
{
    float sums[VECTORS] = {}, before[VECTORS];
    load_columns<VECTORS>(before, x);
#pragma unroll 1
    for (uint32_t slice = 0; slice < p.slices; slice += LOADS) {
        float loaded[LOADS][VECTORS] = {};
#pragma unroll
        for (uint32_t i = 0; i < LOADS; i++) {
            if (slice + i < p.slices) {
                load_columns<VECTORS>(loaded[i], partial + (size_t)(slice + i) * ROWS * p.C);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < LOADS; i++) {
#pragma unroll
            for (uint32_t v = 0; v < VECTORS; v++) {
                sums[v] += loaded[i][v];
            }
        }
    }
#pragma unroll
    for (uint32_t v = 0; v < VECTORS; v++) {
        before[v] += sums[v];
    }
    store_columns<VECTORS>(x, before);
}
