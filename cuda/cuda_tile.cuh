/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_tile.cuh - a matrix product of one tile of outputs by one block, or of several in turn.
 *
 * One order of sums whatever the tile: k from low to high, 32 at a time. Thread: device. */
#pragma once

#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_mma.cuh"

enum { CUDA_TILE_K = 64 }; /* k of a stage. */

/* How a block is cut: DOWN x ACROSS warps of 16 M x 8 N outputs each, all of them with every k.
 * A stage is two halves of 32 k, each [ROWS of a, then COLUMNS rows of b][64 bytes], so that 8
 * lanes read 128 neighbouring bytes. N is even. */
template <uint32_t DOWN, uint32_t ACROSS, uint32_t M_TILES, uint32_t N_TILES, uint32_t DEPTH,
          uint32_t RESIDENT>
struct cuda_tile {
    static constexpr uint32_t M = M_TILES, N = N_TILES;
    static constexpr uint32_t WARPS_ACROSS = ACROSS;
    static constexpr uint32_t ROWS = DOWN * M * 16;
    static constexpr uint32_t COLUMNS = ACROSS * N * 8;
    static constexpr uint32_t THREADS = DOWN * ACROSS * 32;
    static constexpr uint32_t STAGES = DEPTH;
    static constexpr uint32_t BLOCKS = RESIDENT; /* Per multiprocessor: bounds the registers. */
    static constexpr uint32_t HALF_ROWS = ROWS + COLUMNS;
    static constexpr uint32_t PIECES = HALF_ROWS * 8; /* Of 16 bytes in a stage. */
    static constexpr uint32_t SHARED = STAGES * PIECES * 16;
};

/* 64 KiB: what sm_75 has for a block. */
typedef struct cuda_tile<2, 4, 2, 2, 4, 2> cuda_tile_64x64;
/* Half the bytes from the second-level cache for each output; 96 KiB. */
typedef struct cuda_tile<2, 4, 4, 4, 3, 2> cuda_tile_128x128;
/* Three eighths; 192 KiB, one block per multiprocessor. */
typedef struct cuda_tile<4, 4, 4, 4, 4, 1> cuda_tile_256x128;

/* Whether a block of the current device can have so much shared memory. */
static inline bool cuda_tile_fits(uint32_t shared_bytes)
{
    int device = 0, bytes = 0;
    return cudaGetDevice(&device) == cudaSuccess
           && cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)
                  == cudaSuccess
           && (uint32_t)bytes >= shared_bytes;
}

/* ---- Stages into shared memory ----------------------------------------------------------- */

/* What a block multiplies: `tiles` tiles of rows of a, each row_step rows after the one before, by
 * the same rows of b, over k in [first_k, end_k). */
struct cuda_tile_product {
    const cuda_half *from[2]; /* First row of a, of b. */
    uint32_t rows[2];         /* That exist from there on: beyond are zeros. */
    uint32_t K;               /* Stride of rows: a multiple of 8. */
    uint32_t first_k, end_k;  /* Multiples of 8. */
    uint32_t tiles, row_step;
};

/* The same as one thread copies it, and how far it is. */
struct cuda_tile_feed {
    struct cuda_tile_product left; /* From this thread's first piece on; tiles: yet to copy. */
    uint32_t k, slot;              /* Of the next stage. */
};

template <class T>
static __device__ __forceinline__ struct cuda_tile_feed
cuda_tile_begin(const struct cuda_tile_product &product)
{
    const uint32_t row = threadIdx.x / 8;
    struct cuda_tile_feed feed;
    feed.left = product;
#pragma unroll
    for (uint32_t operand = 0; operand < 2; operand++) {
        const uint32_t rows = product.rows[operand];
        feed.left.from[operand] += (size_t)row * product.K + threadIdx.x % 8 * 8;
        feed.left.rows[operand] = rows > row ? rows - row : 0;
    }
    feed.k = product.first_k;
    feed.slot = 0;
    return feed;
}

/* Starts copying one operand's part of a stage. The second half has rows in pairs exchanged, so
 * that 8 lanes writing one row use all banks. */
template <class T, uint32_t OPERAND>
static __device__ __forceinline__ void cuda_tile_copy(const struct cuda_tile_feed &feed,
                                                      uint4 *shared)
{
    constexpr uint32_t STEP = T::THREADS / 8; /* Rows at a time: even. */
    constexpr uint32_t COUNT = (OPERAND == 0 ? T::ROWS : T::COLUMNS) / STEP;
    const uint32_t piece = threadIdx.x % 8;
    const uint32_t half = piece / 4;
    const uint32_t row = half * T::HALF_ROWS + OPERAND * T::ROWS + (threadIdx.x / 8 ^ half);
    uint4 *to = shared + feed.slot * T::PIECES + row * 4 + piece % 4;
    const cuda_half *from = feed.left.from[OPERAND] + feed.k;
    const bool exists = feed.k + piece * 8 < feed.left.end_k;
    if (feed.left.tiles == 0) {
        return;
    }
#pragma unroll
    for (uint32_t n = 0; n < COUNT; n++) {
        cuda_copy_16(to + n * STEP * 4, from + n * STEP * feed.left.K,
                     exists && n * STEP < feed.left.rows[OPERAND]);
    }
}

template <class T>
static __device__ __forceinline__ void cuda_tile_advance(struct cuda_tile_feed *feed)
{
    struct cuda_tile_product *left = &feed->left;
    feed->slot = feed->slot + 1 == T::STAGES ? 0 : feed->slot + 1;
    feed->k += CUDA_TILE_K;
    if (feed->k >= left->end_k && left->tiles != 0) {
        feed->k = left->first_k;
        left->tiles--;
        left->from[0] += (size_t)left->row_step * left->K;
        left->rows[0] = left->rows[0] > left->row_step ? left->rows[0] - left->row_step : 0;
    }
}

/* The first stages of b, which may be what no kernel of the step writes. */
template <class T>
static __device__ __forceinline__ void cuda_tile_begin_b(struct cuda_tile_feed feed, uint4 *shared)
{
#pragma unroll
    for (uint32_t s = 0; s + 1 < T::STAGES; s++) {
        cuda_tile_copy<T, 1>(feed, shared);
        cuda_tile_advance<T>(&feed);
    }
}

/* The same stages of a. After cuda_tile_begin_b. */
template <class T>
static __device__ __forceinline__ void cuda_tile_begin_a(struct cuda_tile_feed *feed,
                                                         uint4 *shared)
{
#pragma unroll
    for (uint32_t s = 0; s + 1 < T::STAGES; s++) {
        cuda_tile_copy<T, 0>(*feed, shared);
        cuda_copy_commit();
        cuda_tile_advance<T>(feed);
    }
}

/* ---- Products ---------------------------------------------------------------------------- */

/* One lane's outputs, in the order of the instruction. The columns of b are dealt out so that two
 * neighbouring n are 4 neighbouring columns of a lane: cuda_tile_quad. */
template <class T> struct cuda_tile_sums {
    float d[T::M][T::N][4];
};

/* First row and column of this lane's outputs. */
template <class T> static __device__ __forceinline__ uint32_t cuda_tile_first_row(void)
{
    return threadIdx.x / 32 / T::WARPS_ACROSS * T::M * 16 + threadIdx.x % 32 / 4;
}

template <class T> static __device__ __forceinline__ uint32_t cuda_tile_first_column(void)
{
    return threadIdx.x / 32 % T::WARPS_ACROSS * T::N * 8 + threadIdx.x % 4 * 4;
}

/* Sums of the first row + 16 m + 8 h, of 4 columns from the first column + 16 pair. */
template <class T>
static __device__ __forceinline__ float4 cuda_tile_quad(const struct cuda_tile_sums<T> &sums,
                                                        uint32_t m, uint32_t pair, uint32_t h)
{
    const float *low = sums.d[m][pair * 2] + h * 2;
    const float *high = sums.d[m][pair * 2 + 1] + h * 2;
    return make_float4(low[0], low[1], high[0], high[1]);
}

template <class T>
static __device__ __forceinline__ void cuda_tile_multiply(struct cuda_tile_sums<T> *sums,
                                                          const uint4 *stage)
{
    const uint32_t g = threadIdx.x % 32 / 4;
    const uint32_t t = threadIdx.x % 4;
    const uint32_t row = cuda_tile_first_row<T>();
    const uint32_t column = threadIdx.x / 32 % T::WARPS_ACROSS * T::N * 8 + g / 2 * 4 + g % 2;
#pragma unroll 1
    for (uint32_t half = 0; half < 2; half++) {
        const uint4 *a = stage + (half * T::HALF_ROWS + (row ^ half)) * 4 + t;
        const uint4 *b = stage + (half * T::HALF_ROWS + T::ROWS + (column ^ half)) * 4 + t;
        uint4 right[T::N];
#pragma unroll
        for (uint32_t n = 0; n < T::N; n++) {
            right[n] = b[(n / 2 * 16 + n % 2 * 2) * 4];
        }
#pragma unroll
        for (uint32_t m = 0; m < T::M; m++) {
            const uint4 low = a[m * 64], high = a[m * 64 + 32];
#pragma unroll
            for (uint32_t n = 0; n < T::N; n++) {
                cuda_mma_16x8x32(sums->d[m][n], low, high, right[n]);
            }
        }
    }
}

/* Sums of the next tile. The stages of the tile after it are then on their way. */
template <class T>
static __device__ __forceinline__ void cuda_tile_run(struct cuda_tile_feed *feed, uint4 *shared,
                                                     struct cuda_tile_sums<T> *sums)
{
#pragma unroll
    for (uint32_t i = 0; i < T::M * T::N * 4; i++) {
        (&sums->d[0][0][0])[i] = 0.0f;
    }
    for (uint32_t k = feed->left.first_k; k < feed->left.end_k; k += CUDA_TILE_K) {
        cuda_copy_wait<T::STAGES - 2>();
        __syncthreads(); /* The stage is there for all, and the one before is no longer read. */
        cuda_tile_copy<T, 0>(*feed, shared);
        cuda_tile_copy<T, 1>(*feed, shared);
        cuda_copy_commit();
        cuda_tile_advance<T>(feed);
        cuda_tile_multiply<T>(sums, shared + feed->slot * T::PIECES);
    }
}
