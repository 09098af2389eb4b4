/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank_down.cu - the low-rank products of the time mix, from C to Q channels.
 *
 * Computes  hidden[g][N][Q] = act_g(plane[mix of g][N][C] down[g][Q][C]^T), all groups at once.
 * Bytes     weights 2 C sum(Q): 7.2B (Q 128 128 480 96) 6.8 MB = 1.6 us at 4.3 TB/s; 8 C + 2 sum(Q)
 *           in and out per row.
 * Flops     2 C sum(Q) per row: 4096 rows 28 G.
 * Floor     weights up to some 100 rows. Then what tiles read from the second-level cache, at some
 *           5.2 TB/s: 7.2B, 320 rows, 128 x 128: 38 MB, 7 us; 4096 rows, 256 x 128: 344 MB, 66 us.
 * Grid      few rows: a block per 8 rows of weights, each warp a part of k with its weights in
 *           registers before the wait, rows in sixteens. More: tiles (cuda_tile.cuh) x parts of k,
 *           as large and as many as give the device about two blocks per multiprocessor.
 * Join      a part leaves its sums in scratch; the last of a tile to arrive adds them in the order
 *           of parts. The arrival counter returns to zero.
 * Numerics  f16 in, f32 sums, f16 out. The order of a sum follows from shape, row_capacity and
 *           device alone (they choose the variant and the parts of k), never from row_count.
 * Requires  Q a multiple of 16, C of 64; all pointers aligned to 16 bytes. */
#include <math.h>

#include "cuda/cuda_low_rank.cuh"

enum {
    FEW_ROWS = 32,
    FEW_INPUTS = 65536, /* Rows x C: every block of the variant for few rows reads them all. */
    FEW_WARPS = 16,     /* They share the sum over k. */
    FEW_THREADS = FEW_WARPS * 32,
    FEW_STEPS_MAX = 16, /* Of 32 k per warp: C up to 8192. */
    FEW_COLUMNS = 8,    /* Outputs of a block. */
    FEW_TILE = 16,      /* Rows at a time. */
    PARTS_OF_NARROW = 8, /* At most, of k. */
    PARTS_OF_WIDE = 4,   /* With more the join takes longer than they save. */
    PART_K_MIN = 256,
    PART_BLOCKS = 2,    /* At most, per multiprocessor, when k is in parts. */
    TILE_BYTES_MAX = 128 * 128 * 4, /* Of the tiles that have parts. */
};

struct group {
    const cuda_half *weights; /* [Q][C] */
    const cuda_half *in;      /* [N][C] */
    cuda_half *out;           /* [N][Q] */
    uint32_t rank;            /* Q */
    uint32_t kind;            /* enum cuda_low_rank */
};

struct down {
    struct cuda_step step;
    struct group group[CUDA_LOW_RANKS]; /* rank 0: not in this layer. */
    float4 *sums;                       /* [tiles][parts][quads][threads] */
    uint32_t *arrived;                  /* [tiles] */
    uint32_t C, parts, part_k;
};

/* The group of a block's tile, when groups are cut into tiles of `size`; *tile_inout becomes the
 * tile within it. */
static __device__ __forceinline__ struct group group_of(const struct down &p, uint32_t size,
                                                        uint32_t *tile_inout)
{
    uint32_t tile = *tile_inout;
    struct group found = p.group[0];
    bool is_found = false;
#pragma unroll
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const uint32_t tiles = (p.group[g].rank + size - 1) / size;
        if (!is_found && tile < tiles) {
            found = p.group[g];
            is_found = true;
        }
        tile -= is_found ? 0 : tiles;
    }
    *tile_inout = tile;
    return found;
}

static __device__ __forceinline__ float activation(float x, uint32_t kind)
{
    return kind == CUDA_LOW_W ? tanhf(x) : kind == CUDA_LOW_G ? cuda_sigmoid(x) : x;
}

/* ---- Few rows ---------------------------------------------------------------------------- */

/* A warp's product of 16 rows from first_row with its 8 rows of weights, over its part of k. */
template <int STEPS>
static __device__ __forceinline__ void few_part(const uint4 *weights, const cuda_half *in,
                                                uint32_t C, uint32_t first_row, uint32_t row_count,
                                                float *d)
{
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t k = threadIdx.x % 4 * 8;
    const uint32_t row = first_row + threadIdx.x % 32 / 4;
    const cuda_half *low = in + (size_t)row * C + k;
    const cuda_half *high = low + (size_t)8 * C;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const uint32_t at = (warp + (uint32_t)s * FEW_WARPS) * 32;
        cuda_mma_16x8x32(d, low_rank_load(row < row_count && at < C, low + at),
                         low_rank_load(row + 8 < row_count && at < C, high + at), weights[s]);
    }
}

template <int STEPS>
__global__ void __launch_bounds__(FEW_THREADS, 1) down_few_kernel(struct down p)
{
    cuda_dependency_trigger();
    __shared__ float parts[FEW_WARPS][FEW_TILE * FEW_COLUMNS];
    uint32_t tile = blockIdx.x;
    const struct group group = group_of(p, FEW_COLUMNS, &tile);
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t g = threadIdx.x % 32 / 4;
    const uint32_t t = threadIdx.x % 4;
    const cuda_half *from = group.weights + (size_t)(tile * FEW_COLUMNS + g) * p.C + t * 8;
    const uint32_t row_count = p.step.header->row_count;
    uint4 weights[STEPS];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const uint32_t at = (warp + (uint32_t)s * FEW_WARPS) * 32;
        weights[s] = low_rank_load(at < p.C, from + at);
    }
    cuda_dependency_wait();
    for (uint32_t first = 0; first < row_count; first += FEW_TILE) {
        float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        few_part<STEPS>(weights, group.in, p.C, first, row_count, d);
        float2 *part = (float2 *)parts[warp];
        part[g * 4 + t] = make_float2(d[0], d[1]);
        part[(g + 8) * 4 + t] = make_float2(d[2], d[3]);
        __syncthreads();
        const uint32_t row = first + threadIdx.x / FEW_COLUMNS;
        if (threadIdx.x < FEW_TILE * FEW_COLUMNS && row < row_count) {
            float sum = parts[0][threadIdx.x];
#pragma unroll
            for (int other = 1; other < FEW_WARPS; other++) {
                sum += parts[other][threadIdx.x];
            }
            group.out[(size_t)row * group.rank + tile * FEW_COLUMNS + threadIdx.x % FEW_COLUMNS] =
                __float2half_rn(activation(sum, group.kind));
        }
        __syncthreads();
    }
}

/* ---- Tiles ------------------------------------------------------------------------------- */

/* The outputs of a thread are M N quads of columns; quad i is (m, pair, h) of cuda_tile_quad. */
template <class T> static __device__ __forceinline__ uint32_t row_of_quad(uint32_t i)
{
    return blockIdx.y * T::ROWS + cuda_tile_first_row<T>() + i / T::N * 16 + i % 2 * 8;
}

template <class T>
static __device__ __forceinline__ float4 quad_of(const struct cuda_tile_sums<T> &sums, uint32_t i)
{
    return cuda_tile_quad<T>(sums, i / T::N, i / 2 % (T::N / 2), i % 2);
}

template <class T>
static __device__ __forceinline__ void store_quad(const struct group &group, uint32_t i,
                                                  uint32_t first_column, float4 sum)
{
    const uint32_t column = first_column + cuda_tile_first_column<T>() + i / 2 % (T::N / 2) * 16;
    if (column < group.rank) {
        cuda_half4_store(group.out + (size_t)row_of_quad<T>(i) * group.rank + column,
                         make_float4(activation(sum.x, group.kind), activation(sum.y, group.kind),
                                     activation(sum.z, group.kind), activation(sum.w, group.kind)));
    }
}

/* Leaves this part's sums in scratch. Whether this block is the last of its tile: the sums of the
 * others are then visible. */
template <class T>
static __device__ __forceinline__ bool leave(const struct down &p,
                                             const struct cuda_tile_sums<T> &sums, uint32_t tile,
                                             uint32_t row_count, float4 *tile_sums)
{
    int is_last = 0;
    float4 *to = tile_sums + (size_t)blockIdx.z * T::M * T::N * T::THREADS + threadIdx.x;
#pragma unroll
    for (uint32_t i = 0; i < T::M * T::N; i++) {
        if (row_of_quad<T>(i) < row_count) {
            to[i * T::THREADS] = quad_of<T>(sums, i);
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* What the block wrote before the barrier comes before the arrival. */
        const uint32_t before = atomicAdd(&p.arrived[tile], 1u);
        __threadfence();
        if (before + 1 == p.parts) {
            is_last = 1;
            p.arrived[tile] = 0; /* For the next launch. */
        }
    }
    return __syncthreads_or(is_last) != 0;
}

/* All parts of quad i, in order. */
template <class T, uint32_t PARTS>
static __device__ __forceinline__ float4 join_quad(const struct down &p, const float4 *tile_sums,
                                                   uint32_t i)
{
    const float4 *from = tile_sums + i * T::THREADS + threadIdx.x;
    float4 part[PARTS];
#pragma unroll
    for (uint32_t n = 0; n < PARTS; n++) {
        part[n] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (n < p.parts) {
            part[n] = __ldcg(from + (size_t)n * T::M * T::N * T::THREADS);
        }
    }
    float4 sum = part[0];
#pragma unroll
    for (uint32_t n = 1; n < PARTS; n++) {
        sum = make_float4(sum.x + part[n].x, sum.y + part[n].y, sum.z + part[n].z,
                          sum.w + part[n].w);
    }
    return sum;
}

/* Two quads at a time: rows 8 apart, whose loads go out together. */
template <class T, uint32_t PARTS>
static __device__ __forceinline__ void join(const struct down &p, const struct group &group,
                                            uint32_t first_column, uint32_t row_count,
                                            const float4 *tile_sums)
{
#pragma unroll 1
    for (uint32_t i = 0; i < T::M * T::N; i += 2) {
        /* A row beyond row_count was not left: numbers of an earlier launch, not stored below. */
        const float4 low = join_quad<T, PARTS>(p, tile_sums, i);
        const float4 high = join_quad<T, PARTS>(p, tile_sums, i + 1);
        if (row_of_quad<T>(i) < row_count) {
            store_quad<T>(group, i, first_column, low);
        }
        if (row_of_quad<T>(i + 1) < row_count) {
            store_quad<T>(group, i + 1, first_column, high);
        }
    }
}

/* Block (x, y, z): tile x of all groups' columns, tile y of rows, part z of k; PARTS at most. */
template <class T, uint32_t PARTS>
__global__ void __launch_bounds__(T::THREADS, T::BLOCKS) down_tile_kernel(struct down p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared_bytes);
    uint4 *shared = (uint4 *)(void *)shared_bytes;
    uint32_t column_tile = blockIdx.x;
    const struct group group = group_of(p, T::COLUMNS, &column_tile);
    const uint32_t first_column = column_tile * T::COLUMNS;
    const uint32_t first_row = blockIdx.y * T::ROWS;
    const uint32_t row_count = p.step.header->row_count;
    if (first_row >= row_count) {
        cuda_dependency_wait();
        return;
    }
    struct cuda_tile_product product;
    product.from[0] = group.in + (size_t)first_row * p.C;
    product.from[1] = group.weights + (size_t)first_column * p.C;
    product.rows[0] = row_count - first_row;
    product.rows[1] = group.rank - first_column;
    product.K = p.C;
    product.first_k = blockIdx.z * p.part_k;
    product.end_k = product.first_k + p.part_k < p.C ? product.first_k + p.part_k : p.C;
    product.tiles = 1;
    product.row_step = T::ROWS;
    struct cuda_tile_feed feed = cuda_tile_begin<T>(product);
    cuda_tile_begin_b<T>(feed, shared);
    cuda_dependency_wait();
    cuda_tile_begin_a<T>(&feed, shared);
    struct cuda_tile_sums<T> sums;
    cuda_tile_run<T>(&feed, shared, &sums);
    if (PARTS > 1 && p.parts > 1) {
        const uint32_t tile = blockIdx.y * gridDim.x + blockIdx.x;
        const size_t part_quads = (size_t)T::M * T::N * T::THREADS;
        float4 *tile_sums = p.sums + tile * p.parts * part_quads;
        if (leave<T>(p, sums, tile, row_count, tile_sums)) {
            join<T, PARTS>(p, group, first_column, row_count, tile_sums);
        }
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < T::M * T::N; i++) {
        if (row_of_quad<T>(i) < row_count) {
            store_quad<T>(group, i, first_column, quad_of<T>(sums, i));
        }
    }
}

/* ---- Launchers --------------------------------------------------------------------------- */

static struct down down_of(struct cuda_step step, const struct cuda_shape *shape,
                           const struct cuda_layer *layer, const struct cuda_activations *act)
{
    static const enum cuda_mix mix_of[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G,
                                                         CUDA_MIX_V};
    struct down p = {};
    p.step = step;
    p.C = shape->C;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        p.group[g].weights = layer->down[g];
        p.group[g].in = act->planes + (size_t)mix_of[g] * act->N * shape->C;
        p.group[g].out = act->hidden[g];
        p.group[g].rank = layer->down[g] == NULL ? 0 : shape->rank[g];
        p.group[g].kind = (uint32_t)g;
    }
    return p;
}

static uint32_t tiles_across(const struct down *p, uint32_t size)
{
    uint32_t tiles = 0;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        tiles += low_rank_blocks(p->group[g].rank, size);
    }
    return tiles;
}

static cudaError_t launch_few(const struct cuda_launch *launch, const struct down *p,
                              uint32_t steps)
{
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(tiles_across(p, FEW_COLUMNS)), dim3(FEW_THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config,
                              steps <= 1   ? down_few_kernel<1>
                              : steps <= 4 ? down_few_kernel<4>
                              : steps <= 8 ? down_few_kernel<8>
                                           : down_few_kernel<FEW_STEPS_MAX>,
                              *p);
}

/* Parts of k so that `tiles` tiles become PART_BLOCKS blocks per multiprocessor at most. */
static uint32_t parts_for(const struct cuda_launch *launch, uint32_t C, uint32_t tiles,
                          uint32_t parts_max)
{
    uint32_t parts = 1;
    while (parts * 2 <= parts_max && C / (parts * 2) >= PART_K_MIN
           && tiles * parts * 2 <= PART_BLOCKS * launch->multiprocessors) {
        parts *= 2;
    }
    return parts;
}

static size_t counter_bytes(uint32_t multiprocessors)
{
    return low_rank_blocks(PART_BLOCKS * multiprocessors * sizeof(uint32_t), 256) * (size_t)256;
}

size_t cuda_low_rank_scratch_bytes(uint32_t multiprocessors)
{
    return counter_bytes(multiprocessors) + (size_t)PART_BLOCKS * multiprocessors * TILE_BYTES_MAX;
}

template <class T>
static uint32_t tiles_of(const struct cuda_launch *launch, const struct down *p)
{
    return tiles_across(p, T::COLUMNS) * low_rank_blocks(launch->row_capacity, T::ROWS);
}

template <class T, uint32_t PARTS>
static cudaError_t launch_tiles(const struct cuda_launch *launch, const struct down *p)
{
    struct down own = *p;
    const uint32_t parts = p->arrived == NULL
                               ? 1
                               : parts_for(launch, p->C, tiles_of<T>(launch, p), PARTS);
    own.part_k = low_rank_blocks(low_rank_blocks(p->C, parts), CUDA_TILE_K) * CUDA_TILE_K;
    own.parts = low_rank_blocks(p->C, own.part_k);
    const cudaError_t status =
        cudaFuncSetAttribute((const void *)down_tile_kernel<T, PARTS>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)T::SHARED);
    if (status != cudaSuccess) {
        return status;
    }
    const dim3 grid(tiles_across(p, T::COLUMNS), low_rank_blocks(launch->row_capacity, T::ROWS),
                    own.parts);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(T::THREADS), T::SHARED, attributes);
    return cudaLaunchKernelEx(&config, down_tile_kernel<T, PARTS>, own);
}

cudaError_t cuda_low_rank_down(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const struct cuda_layer *layer,
                               const struct cuda_activations *act)
{
    if (!low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    struct down p = down_of(step, shape, layer, act);
    const uint32_t rows = launch->row_capacity;
    const uint32_t steps = low_rank_blocks(shape->C / 32, FEW_WARPS);
    if (rows <= FEW_ROWS && rows * (uint64_t)shape->C <= FEW_INPUTS && steps <= FEW_STEPS_MAX) {
        return launch_few(launch, &p, steps);
    }
    if (act->low_rank_scratch != NULL) {
        unsigned char *scratch = (unsigned char *)act->low_rank_scratch;
        p.arrived = (uint32_t *)(void *)scratch;
        p.sums = (float4 *)(void *)(scratch + counter_bytes(launch->multiprocessors));
    }
    if (tiles_of<cuda_tile_256x128>(launch, &p) * 4 >= launch->multiprocessors * 3
        && cuda_tile_fits(cuda_tile_256x128::SHARED)) {
        return launch_tiles<cuda_tile_256x128, 1>(launch, &p);
    }
    if (tiles_of<cuda_tile_128x128>(launch, &p) * PARTS_OF_WIDE * 2 >= launch->multiprocessors
        && cuda_tile_fits(cuda_tile_128x128::SHARED)) {
        return launch_tiles<cuda_tile_128x128, PARTS_OF_WIDE>(launch, &p);
    }
    return launch_tiles<cuda_tile_64x64, PARTS_OF_NARROW>(launch, &p);
}
