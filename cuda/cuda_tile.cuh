/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_tile.cuh - matrix products of f16 rows in shared memory by warps, and of one tile of
 * outputs by a block.
 *
 * Rows lie in chunks of 64 k: 128 bytes a row, its 8 pieces of 16 bytes exchanged by the row's
 * number, so that 8 lanes use all banks whether they write one row or read a piece of 8 rows. One
 * order of sums whatever the tile: k from low to high, 16 at a time. Thread: device. */
#pragma once

#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_mma.cuh"

enum {
    CUDA_TILE_K = 64,     /* Of a chunk. */
    CUDA_TILE_PIECES = 8, /* Of 16 bytes, in a row of a chunk. */
    CUDA_TILE_STEPS = 4,  /* Of 16 k. */
};

static __device__ __forceinline__ uint32_t cuda_tile_place(uint32_t row, uint32_t piece)
{
    return row * CUDA_TILE_PIECES + (piece ^ row % 8);
}

/* Which column of b lies in a row of its chunk: dealt out so that a lane's sums of two
 * neighbouring n are 4 neighbouring columns. */
static __device__ __forceinline__ uint32_t cuda_tile_column(uint32_t row)
{
    return (row & ~15u) | (row & 6) << 1 | (row & 8) >> 2 | (row & 1);
}

/* ---- One warp ---------------------------------------------------------------------------- */

/* d += 16 M rows of a by 8 N columns of b (N even), over STEPS times 16 k of a chunk from
 * first_step on. a and b: first row of the warp's, a multiple of 8. What the next products take is
 * on its way during those before. */
template <uint32_t M, uint32_t N, uint32_t STEPS>
static __device__ __forceinline__ void cuda_tile_steps(float (*d)[N][4], const uint4 *a,
                                                       const uint4 *b, uint32_t first_step)
{
    constexpr uint32_t PAIRS = N / 2;
    const uint32_t r = threadIdx.x % 8;
    const uint32_t i = threadIdx.x % 32 / 8;
    const uint32_t from_a = (i % 2 * 8 + r) * CUDA_TILE_PIECES + (i / 2 ^ r);
    const uint32_t from_b = (i / 2 * 8 + r) * CUDA_TILE_PIECES + (i % 2 ^ r);
    constexpr uint32_t NEXT = 16 * CUDA_TILE_PIECES; /* The next 16 rows. */
    uint32_t left[2][M][4], right[2][4];
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
        cuda_matrices_load(left[0][m], a + (from_a ^ first_step * 2) + m * NEXT);
    }
    cuda_matrices_load(right[0], b + (from_b ^ first_step * 2));
#pragma unroll
    for (uint32_t n = 0; n < STEPS * PAIRS; n++) {
        const uint32_t s = n / PAIRS, pair = n % PAIRS;
        if (n + 1 < STEPS * PAIRS) {
            const uint32_t place = from_b ^ (first_step + (n + 1) / PAIRS) * 2;
            cuda_matrices_load(right[(n + 1) % 2], b + place + (n + 1) % PAIRS * NEXT);
        }
        if (pair == 0 && s + 1 < STEPS) {
#pragma unroll
            for (uint32_t m = 0; m < M; m++) {
                cuda_matrices_load(left[(s + 1) % 2][m],
                                   a + (from_a ^ (first_step + s + 1) * 2) + m * NEXT);
            }
        }
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            cuda_mma_16x8x16(d[m][pair * 2], left[s % 2][m], right[n % 2]);
            cuda_mma_16x8x16(d[m][pair * 2 + 1], left[s % 2][m], right[n % 2] + 2);
        }
    }
}

/* The same for what is left of k: a multiple of 16; more than a chunk's is a whole chunk. */
template <uint32_t M, uint32_t N>
static __device__ __forceinline__ void cuda_tile_chunk(float (*d)[N][4], const uint4 *a,
                                                       const uint4 *b, uint32_t k_left)
{
    if (k_left >= CUDA_TILE_K) {
        cuda_tile_steps<M, N, CUDA_TILE_STEPS>(d, a, b, 0);
        return;
    }
#pragma unroll 1
    for (uint32_t s = 0; s * 16 < k_left; s++) {
        cuda_tile_steps<M, N, 1>(d, a, b, s);
    }
}

/* A lane's sums of row 16 m + 8 h, of 4 columns from column 16 pair, both counted from
 * lane / 4 and lane % 4 * 4 of the warp's. */
template <uint32_t N>
static __device__ __forceinline__ float4 cuda_tile_quad(const float (*d)[N][4], uint32_t m,
                                                        uint32_t pair, uint32_t h)
{
    const float *low = d[m][pair * 2] + h * 2;
    const float *high = d[m][pair * 2 + 1] + h * 2;
    return make_float4(low[0], low[1], high[0], high[1]);
}

/* ---- One block --------------------------------------------------------------------------- */

/* How a block is cut: DOWN x ACROSS warps of 16 M x 8 N outputs each, all of them with every k.
 * A stage is a chunk of ROWS of a, then COLUMNS of b. */
template <uint32_t DOWN, uint32_t ACROSS, uint32_t M_TILES, uint32_t N_TILES, uint32_t DEPTH,
          uint32_t RESIDENT>
struct cuda_tile {
    static constexpr uint32_t M = M_TILES, N = N_TILES;
    static constexpr uint32_t WARPS_ACROSS = ACROSS;
    static constexpr uint32_t ROWS = DOWN * M * 16;
    static constexpr uint32_t COLUMNS = ACROSS * N * 8;
    static constexpr uint32_t THREADS = DOWN * ACROSS * 32; /* A multiple of 128. */
    static constexpr uint32_t STAGES = DEPTH;
    static constexpr uint32_t BLOCKS = RESIDENT; /* Per multiprocessor: bounds the registers. */
    static constexpr uint32_t STEP = THREADS / CUDA_TILE_PIECES; /* Rows copied at a time. */
    static constexpr uint32_t PIECES = (ROWS + COLUMNS) * CUDA_TILE_PIECES;
    static constexpr uint32_t SHARED = STAGES * PIECES * 16;
};

/* What a block multiplies. */
struct cuda_tile_product {
    const cuda_half *from[2]; /* First row of a, of b, at the first k. */
    uint32_t rows[2];         /* That exist from there on, at least 1: beyond is the last again. */
    uint32_t K;               /* Stride of rows: a multiple of 8. */
    uint32_t chunks;          /* Of 64 k, all whole. */
};

/* The same as one thread copies it. */
template <class T> struct cuda_tile_feed {
    const cuda_half *from[2];      /* At this thread's piece, k of the next chunk. */
    uint32_t a[T::ROWS / T::STEP]; /* Where its rows begin. */
    uint32_t b[T::COLUMNS / T::STEP];
    uint32_t place;
};

template <class T>
static __device__ __forceinline__ struct cuda_tile_feed<T>
cuda_tile_begin(const struct cuda_tile_product &product)
{
    const uint32_t row = threadIdx.x / CUDA_TILE_PIECES;
    const uint32_t piece = threadIdx.x % CUDA_TILE_PIECES;
    struct cuda_tile_feed<T> feed;
    feed.from[0] = product.from[0] + piece * 8;
    feed.from[1] = product.from[1] + piece * 8;
    feed.place = cuda_tile_place(row, piece);
#pragma unroll
    for (uint32_t n = 0; n < T::ROWS / T::STEP; n++) {
        const uint32_t at = row + n * T::STEP;
        feed.a[n] = (at < product.rows[0] ? at : product.rows[0] - 1) * product.K;
    }
#pragma unroll
    for (uint32_t n = 0; n < T::COLUMNS / T::STEP; n++) {
        const uint32_t at = cuda_tile_column(row) + n * T::STEP;
        feed.b[n] = (at < product.rows[1] ? at : product.rows[1] - 1) * product.K;
    }
    return feed;
}

template <class T>
static __device__ __forceinline__ void cuda_tile_copy_a(const struct cuda_tile_feed<T> &feed,
                                                        uint4 *stage, uint32_t k)
{
#pragma unroll
    for (uint32_t n = 0; n < T::ROWS / T::STEP; n++) {
        cuda_copy_16(stage + feed.place + n * T::STEP * CUDA_TILE_PIECES,
                     feed.from[0] + k + feed.a[n], true);
    }
}

template <class T>
static __device__ __forceinline__ void cuda_tile_copy_b(const struct cuda_tile_feed<T> &feed,
                                                        uint4 *stage, uint32_t k)
{
#pragma unroll
    for (uint32_t n = 0; n < T::COLUMNS / T::STEP; n++) {
        cuda_copy_16(stage + feed.place + (T::ROWS + n * T::STEP) * CUDA_TILE_PIECES,
                     feed.from[1] + k + feed.b[n], true);
    }
}

/* The first stages of b, which may be what no kernel of the step writes. */
template <class T>
static __device__ __forceinline__ void cuda_tile_begin_b(const struct cuda_tile_feed<T> &feed,
                                                         uint4 *shared, uint32_t chunks)
{
#pragma unroll
    for (uint32_t s = 0; s + 1 < T::STAGES; s++) {
        if (s < chunks) {
            cuda_tile_copy_b<T>(feed, shared + s * T::PIECES, s * CUDA_TILE_K);
        }
    }
}

/* The same stages of a. After cuda_tile_begin_b. */
template <class T>
static __device__ __forceinline__ void cuda_tile_begin_a(const struct cuda_tile_feed<T> &feed,
                                                         uint4 *shared, uint32_t chunks)
{
#pragma unroll
    for (uint32_t s = 0; s + 1 < T::STAGES; s++) {
        if (s < chunks) {
            cuda_tile_copy_a<T>(feed, shared + s * T::PIECES, s * CUDA_TILE_K);
        }
        cuda_copy_commit();
    }
}

template <class T> struct cuda_tile_sums {
    float d[T::M][T::N][4];
};

/* First row and column of this lane's quads. */
template <class T> static __device__ __forceinline__ uint32_t cuda_tile_first_row(void)
{
    return threadIdx.x / 32 / T::WARPS_ACROSS * T::M * 16 + threadIdx.x % 32 / 4;
}

template <class T> static __device__ __forceinline__ uint32_t cuda_tile_first_column(void)
{
    return threadIdx.x / 32 % T::WARPS_ACROSS * T::N * 8 + threadIdx.x % 4 * 4;
}

/* The sums of the tile, after both begins. */
template <class T>
static __device__ __forceinline__ void cuda_tile_run(struct cuda_tile_feed<T> feed, uint4 *shared,
                                                     uint32_t chunks,
                                                     struct cuda_tile_sums<T> *sums)
{
#pragma unroll
    for (uint32_t i = 0; i < T::M * T::N * 4; i++) {
        (&sums->d[0][0][0])[i] = 0.0f;
    }
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t a = warp / T::WARPS_ACROSS * T::M * 16 * CUDA_TILE_PIECES;
    const uint32_t b = (T::ROWS + warp % T::WARPS_ACROSS * T::N * 8) * CUDA_TILE_PIECES;
    uint32_t read = 0, write = T::STAGES - 1; /* Stages. */
    feed.from[0] += (T::STAGES - 1) * CUDA_TILE_K;
    feed.from[1] += (T::STAGES - 1) * CUDA_TILE_K;
#pragma unroll 1
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        cuda_copy_wait<T::STAGES - 2>();
        __syncthreads(); /* The stage is there for all, and the one before is no longer read. */
        if (chunk + T::STAGES - 1 < chunks) {
            cuda_tile_copy_a<T>(feed, shared + write * T::PIECES, 0);
            cuda_tile_copy_b<T>(feed, shared + write * T::PIECES, 0);
        }
        cuda_copy_commit();
        feed.from[0] += CUDA_TILE_K;
        feed.from[1] += CUDA_TILE_K;
        write = read;
        const uint4 *stage = shared + read * T::PIECES;
        cuda_tile_steps<T::M, T::N, CUDA_TILE_STEPS>(sums->d, stage + a, stage + b, 0);
        read = read + 1 == T::STAGES ? 0 : read + 1;
    }
}
