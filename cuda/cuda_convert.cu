/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_convert.cu - weights as a file has them to weights as the kernels read them.
 *
 * Runs while a model is loaded and never in a step. The link from the host delivers some 50 GB/s;
 * one element per thread and trip is far faster than that.
 * Numerics  bf16 and f32 to f16 round to nearest; a finite number that becomes infinite is
 *           reported. Vectors become f32: exact.
 * Grid      plain: threads along a row, blocks loop over rows. Transposed: tiles of 32 x 32 through
 *           shared memory, so that both sides are read and written along rows. */
#include <math.h>

#include "cuda/cuda_half.cuh"

enum {
    THREADS = 256,
    TILE = 32,
    TILE_LINES = THREADS / TILE,
    GRID_MAX = 65535, /* Of the second dimension of a grid. */
    FILL_BLOCKS_MAX = 4096,
};

template <int SOURCE>
static __device__ __forceinline__ float element(const void *from, size_t index)
{
    if (SOURCE == CUDA_FROM_BF16) {
        const uint32_t bits = (uint32_t)((const uint16_t *)from)[index] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    if (SOURCE == CUDA_FROM_F16) {
        return __half2float(((const cuda_half *)from)[index]);
    }
    return ((const float *)from)[index];
}

static __device__ __forceinline__ cuda_half narrowed(float value, uint32_t *overflowed_out)
{
    /* 65520 and above round to infinity. */
    if (fabsf(value) >= 65520.0f && fabsf(value) < INFINITY) {
        *overflowed_out = 1;
    }
    return __float2half_rn(value);
}

struct matrix {
    const void *from;
    cuda_half *to;
    uint32_t *overflowed_out;
    uint32_t rows, columns, padded;
};

template <int SOURCE> __global__ void __launch_bounds__(THREADS) matrix_kernel(struct matrix p)
{
    const uint32_t column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= p.padded) {
        return;
    }
    for (uint32_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        const float value = column < p.columns
                                ? element<SOURCE>(p.from, (size_t)row * p.columns + column)
                                : 0.0f;
        p.to[(size_t)row * p.padded + column] = narrowed(value, p.overflowed_out);
    }
}

/* Block (x, y): rows from x * TILE, columns from y * TILE and then every gridDim.y tiles. */
template <int SOURCE> __global__ void __launch_bounds__(THREADS) transpose_kernel(struct matrix p)
{
    __shared__ float tile[TILE][TILE + 1];
    const uint32_t x = threadIdx.x % TILE;
    const uint32_t y = threadIdx.x / TILE;
    const uint32_t first_row = blockIdx.x * TILE;
    for (uint32_t first = blockIdx.y * TILE; first < p.columns; first += gridDim.y * TILE) {
        for (uint32_t i = y; i < TILE; i += TILE_LINES) {
            const uint32_t row = first_row + i;
            const uint32_t column = first + x;
            tile[i][x] = row < p.rows && column < p.columns
                             ? element<SOURCE>(p.from, (size_t)row * p.columns + column)
                             : 0.0f;
        }
        __syncthreads();
        for (uint32_t i = y; i < TILE; i += TILE_LINES) {
            const uint32_t column = first + i;
            const uint32_t row = first_row + x;
            if (column < p.columns && row < p.padded) {
                p.to[(size_t)column * p.padded + row] = narrowed(tile[x][i], p.overflowed_out);
            }
        }
        __syncthreads();
    }
}

template <int SOURCE>
__global__ void __launch_bounds__(THREADS)
    vector_kernel(const void *from, uint64_t count, float *to)
{
    const uint64_t stride = (uint64_t)gridDim.x * THREADS;
    for (uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        to[i] = element<SOURCE>(from, i);
    }
}

/* splitmix64 of seed and index: uniform in [-1, 1). */
static __device__ __forceinline__ float random_at(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return (float)(z >> 40) * (2.0f / 16777216.0f) - 1.0f;
}

__global__ void __launch_bounds__(THREADS)
    fill_f16_kernel(cuda_half *to, uint64_t count, float scale, float offset, uint64_t seed)
{
    const uint64_t stride = (uint64_t)gridDim.x * THREADS;
    for (uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        to[i] = __float2half_rn(fmaf(random_at(seed, i), scale, offset));
    }
}

__global__ void __launch_bounds__(THREADS)
    fill_f32_kernel(float *to, uint64_t count, float scale, float offset, uint64_t seed)
{
    const uint64_t stride = (uint64_t)gridDim.x * THREADS;
    for (uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += stride) {
        to[i] = fmaf(random_at(seed, i), scale, offset);
    }
}

/* ---- Launchers --------------------------------------------------------------------------- */

static cudaLaunchConfig_t plain_config(cudaStream_t stream, dim3 grid)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    return config;
}

static uint32_t at_most(uint64_t count, uint32_t limit)
{
    return count < limit ? (uint32_t)count : limit;
}

static uint64_t blocks_for(uint64_t count, uint32_t of)
{
    return (count + of - 1) / of;
}

typedef void (*matrix_function)(struct matrix);

static matrix_function matrix_kernel_of(enum cuda_source source, bool transpose)
{
    switch (source) {
    case CUDA_FROM_BF16:
        return transpose ? transpose_kernel<CUDA_FROM_BF16> : matrix_kernel<CUDA_FROM_BF16>;
    case CUDA_FROM_F16:
        return transpose ? transpose_kernel<CUDA_FROM_F16> : matrix_kernel<CUDA_FROM_F16>;
    case CUDA_FROM_F32:
        return transpose ? transpose_kernel<CUDA_FROM_F32> : matrix_kernel<CUDA_FROM_F32>;
    }
    return NULL;
}

cudaError_t cuda_convert_matrix(cudaStream_t stream, enum cuda_source source, const void *from,
                                uint32_t rows, uint32_t columns, bool transpose, uint32_t padded,
                                cuda_half *to, uint32_t *overflowed_out)
{
    matrix_function kernel = matrix_kernel_of(source, transpose);
    if (rows == 0 || columns == 0 || padded < (transpose ? rows : columns) || kernel == NULL) {
        return cudaErrorInvalidValue;
    }
    struct matrix p = {};
    p.from = from;
    p.to = to;
    p.overflowed_out = overflowed_out;
    p.rows = rows;
    p.columns = columns;
    p.padded = padded;
    const dim3 grid = transpose ? dim3((uint32_t)blocks_for(padded, TILE),
                                       at_most(blocks_for(columns, TILE), GRID_MAX))
                                : dim3((uint32_t)blocks_for(padded, THREADS),
                                       at_most(rows, GRID_MAX));
    const cudaLaunchConfig_t config = plain_config(stream, grid);
    return cudaLaunchKernelEx(&config, kernel, p);
}

cudaError_t cuda_convert_vector(cudaStream_t stream, enum cuda_source source, const void *from,
                                uint64_t count, float *to)
{
    if (count == 0) {
        return cudaErrorInvalidValue;
    }
    const cudaLaunchConfig_t config =
        plain_config(stream, dim3(at_most(blocks_for(count, THREADS), FILL_BLOCKS_MAX)));
    void (*kernel)(const void *, uint64_t, float *) =
        source == CUDA_FROM_BF16  ? vector_kernel<CUDA_FROM_BF16>
        : source == CUDA_FROM_F16 ? vector_kernel<CUDA_FROM_F16>
                                  : vector_kernel<CUDA_FROM_F32>;
    return cudaLaunchKernelEx(&config, kernel, from, count, to);
}

cudaError_t cuda_fill_f16(cudaStream_t stream, cuda_half *to, uint64_t count, float scale,
                          float offset, uint64_t seed)
{
    const cudaLaunchConfig_t config =
        plain_config(stream, dim3(at_most(blocks_for(count, THREADS), FILL_BLOCKS_MAX)));
    return cudaLaunchKernelEx(&config, fill_f16_kernel, to, count, scale, offset, seed);
}

cudaError_t cuda_fill_f32(cudaStream_t stream, float *to, uint64_t count, float scale, float offset,
                          uint64_t seed)
{
    const cudaLaunchConfig_t config =
        plain_config(stream, dim3(at_most(blocks_for(count, THREADS), FILL_BLOCKS_MAX)));
    return cudaLaunchKernelEx(&config, fill_f32_kernel, to, count, scale, offset, seed);
}
