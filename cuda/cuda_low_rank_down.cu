/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank_down.cu - the low-rank products of the time mix, from C to Q channels.
 *
 * Computes  hidden[g][N][Q] = act_g(plane[mix of g][N][C] down[g][Q][C]^T), all groups at once.
 * Bytes     weights 2 C sum(Q): 7.2B (Q 128 128 480 96) 6.8 MB = 1.6 us at 4.3 TB/s; 8 C + 2 sum(Q)
 *           in and out per row.
 * Flops     2 C sum(Q) per row: 4096 rows 28 G.
 * Floor     weights up to some 100 rows. Then what tiles read from the second-level cache, at some
 *           5.2 TB/s: 7.2B, 320 rows, 128 x 128: 44 MB, 8.5 us; 4096 rows, 256 x 128: 352 MB, 68 us
 *           (products 45 us at the 620 Tflop/s of mma.sync).
 * Grid      few rows: a block per 8 rows of weights, each warp a part of k with its weights in
 *           registers before the wait, rows in sixteens. More: tiles (cuda_tile.cuh) x parts of k.
 *           Large tiles read less, small ones and parts keep more multiprocessors busy, parts have
 *           to be joined: `cost_of` adds these up and the cheapest of all is taken.
 * Join      a part leaves its sums in scratch; the last of a tile to arrive adds them in the order
 *           of parts. The arrival counter returns to zero.
 * Numerics  f16 in, f32 sums, f16 out. The order of a sum follows from shape, row_capacity and
 *           device alone (they choose the variant and the parts of k), never from row_count.
 * Requires  Q a multiple of 16, C of 64; all pointers aligned to 16 bytes. */

#include "cuda/cuda_low_rank.cuh"
#include "cuda/cuda_low_rank.h"

enum {
    FEW_ROWS = 32,
    FEW_INPUTS = 65536, /* Rows x C: every block of the variant for few rows reads them all. */
    FEW_WARPS = 16,     /* They share the sum over k. */
    FEW_THREADS = FEW_WARPS * 32,
    FEW_STEPS_MAX = 12, /* Of 32 k per warp: C up to 6144. */
    FEW_COLUMNS = 8,    /* Outputs of a block. */
    FEW_TILE = 16,      /* Rows at a time. */
    PARTS_MAX = CUDA_DOWN_PARTS_MAX,
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
    struct group group[CUDA_LOW_RANKS]; /* rank 0: not in this layer; only the last. */
    uint32_t first_tile[CUDA_LOW_RANKS];
    const struct cuda_step_header *header;
    uint32_t C, parts, part_k;
    uint32_t rows;     /* There is room for. Those beyond the step's are read, never used. */
    uint32_t *arrived; /* [tiles] */
    float4 *sums;      /* [tiles][parts][quads][threads] */
};

/* Which group a tile of columns belongs to. */
static __device__ __forceinline__ uint32_t group_of(const struct down &p, uint32_t tile)
{
    return (tile >= p.first_tile[1]) + (tile >= p.first_tile[2]) + (tile >= p.first_tile[3]);
}

static __device__ __forceinline__ float activation(float x, uint32_t kind)
{
    if (kind != CUDA_LOW_W && kind != CUDA_LOW_G) {
        return x;
    }
    return low_rank_curve(x, kind == CUDA_LOW_W ? 2.0f : 1.0f);
}

/* ---- Few rows ---------------------------------------------------------------------------- */

/* A warp's product of 16 rows from first_row with its 8 rows of weights, over its part of k. */
template <int STEPS>
static __device__ __forceinline__ void few_part(const uint4 *weights, const cuda_half *in,
                                                uint32_t C, uint32_t first_row, uint32_t rows,
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
        cuda_mma_16x8x32(d, low_rank_load(row < rows && at < C, low + at),
                         low_rank_load(row + 8 < rows && at < C, high + at), weights[s]);
    }
}

template <int STEPS>
__global__ void __launch_bounds__(FEW_THREADS, 1)
down_few_kernel(const __grid_constant__ struct down p)
{
    cuda_dependency_trigger();
    __shared__ float parts[FEW_WARPS][FEW_TILE * FEW_COLUMNS];
    const uint32_t index = group_of(p, blockIdx.x);
    const struct group &group = p.group[index];
    const uint32_t tile = blockIdx.x - p.first_tile[index];
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t g = threadIdx.x % 32 / 4;
    const uint32_t t = threadIdx.x % 4;
    const cuda_half *from = group.weights + (size_t)(tile * FEW_COLUMNS + g) * p.C + t * 8;
    uint4 weights[STEPS];
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const uint32_t at = (warp + (uint32_t)s * FEW_WARPS) * 32;
        weights[s] = low_rank_load(at < p.C, from + at);
    }
    const uint32_t row_count = p.header->row_count;
    cuda_dependency_wait();
    for (uint32_t first = 0; first < row_count; first += FEW_TILE) {
        float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        few_part<STEPS>(weights, group.in, p.C, first, p.rows, d);
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

/* Where k is short, in parts, a block asks for all or most of it at once: stages are waits. */
typedef struct cuda_tile<2, 4, 1, 2, 8, 2> tile_32x64;  /* 96 KiB. */
typedef struct cuda_tile<2, 4, 2, 2, 6, 2> tile_64x64;  /* 96 KiB. */
typedef struct cuda_tile<4, 2, 2, 4, 4, 2> tile_128x64; /* 96 KiB. */
typedef struct cuda_tile<2, 4, 4, 4, 6, 1> tile_128x128; /* 192 KiB. */
typedef struct cuda_tile<2, 4, 4, 4, 3, 2> tile_128x128_twice; /* 96 KiB: two blocks beside. */
/* 192 KiB. A warp has 64 x 64 outputs: with fewer, shared memory would be slower than products. */
typedef struct cuda_tile<4, 2, 4, 8, 4, 1> tile_256x128;
typedef struct cuda_tile<2, 4, 2, 2, 4, 2> tile_least; /* 64 KiB: what sm_75 has for a block. */

/* The outputs of a thread are M N quads of columns; quad i is (m, pair, h) of cuda_tile_quad. */
template <class T> static __device__ __forceinline__ uint32_t row_of_quad(uint32_t i)
{
    return blockIdx.y * T::ROWS + cuda_tile_first_row<T>() + i / T::N * 16 + i % 2 * 8;
}

template <class T>
static __device__ __forceinline__ float4 quad_of(const struct cuda_tile_sums<T> &sums, uint32_t i)
{
    return cuda_tile_quad<T::N>(sums.d, i / T::N, i / 2 % (T::N / 2), i % 2);
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

/* Block (x, y, z): tile x of all groups' columns, tile y of rows, part z of k. PARTS: at most. */
template <class T, uint32_t PARTS>
__global__ void __launch_bounds__(T::THREADS, T::BLOCKS)
down_tile_kernel(const __grid_constant__ struct down p)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    if (T::SHARED > 65536) { /* More than a block has there: never launched. */
        return;
    }
#endif
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared_bytes);
    uint4 *shared = (uint4 *)(void *)shared_bytes;
    const uint32_t index = group_of(p, blockIdx.x);
    const struct group &group = p.group[index];
    const uint32_t first_column = (blockIdx.x - p.first_tile[index]) * T::COLUMNS;
    const uint32_t first_row = blockIdx.y * T::ROWS;
    const uint32_t first_k = blockIdx.z * p.part_k;
    struct cuda_tile_product product;
    product.from[0] = group.in + (size_t)first_row * p.C + first_k;
    product.from[1] = group.weights + (size_t)first_column * p.C + first_k;
    product.rows[0] = p.rows - first_row;
    product.rows[1] = group.rank - first_column;
    product.K = p.C;
    product.chunks = (first_k + p.part_k < p.C ? p.part_k : p.C - first_k) / CUDA_TILE_K;
    const struct cuda_tile_feed<T> feed = cuda_tile_begin<T>(product);
    cuda_tile_begin_b<T>(feed, shared, product.chunks);
    const uint32_t row_count = p.header->row_count;
    cuda_dependency_wait();
    cuda_tile_begin_a<T>(feed, shared, product.chunks);
    if (first_row >= row_count) {
        cuda_copy_wait<0>();
        return;
    }
    struct cuda_tile_sums<T> sums;
    cuda_tile_run<T>(feed, shared, product.chunks, &sums);
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

static size_t counter_bytes(uint32_t multiprocessors)
{
    return cuda_divide_up(PART_BLOCKS * multiprocessors * sizeof(uint32_t), 256) * (size_t)256;
}

size_t cuda_low_rank_scratch_bytes(uint32_t multiprocessors)
{
    return counter_bytes(multiprocessors) + (size_t)PART_BLOCKS * multiprocessors * TILE_BYTES_MAX;
}

static struct down down_of(const struct cuda_launch *launch, struct cuda_step step,
                           const struct cuda_shape *shape, const struct cuda_layer *layer,
                           const struct cuda_activations *act)
{
    static const enum cuda_mix mix_of[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G,
                                                         CUDA_MIX_V};
    struct down p = {};
    p.header = step.header;
    p.C = shape->C;
    p.rows = launch->row_capacity;
    if (act->low_rank_scratch != NULL) {
        unsigned char *scratch = (unsigned char *)act->low_rank_scratch;
        p.arrived = (uint32_t *)(void *)scratch;
        p.sums = (float4 *)(void *)(scratch + counter_bytes(launch->multiprocessors));
    }
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        p.group[g].weights = layer->down[g];
        p.group[g].in = act->planes + (size_t)mix_of[g] * act->N * shape->C;
        p.group[g].out = act->hidden[g];
        p.group[g].rank = layer->down[g] == NULL ? 0 : shape->rank[g];
        p.group[g].kind = (uint32_t)g;
    }
    return p;
}

/* Tiles of `size` columns that all groups are cut into; fills first_tile. */
static uint32_t tiles_across(struct down *p, uint32_t size)
{
    uint32_t tiles = 0;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        p->first_tile[g] = tiles;
        tiles += cuda_divide_up(p->group[g].rank, size);
    }
    return tiles;
}

static cudaError_t launch_few(const struct cuda_launch *launch, struct down *p, uint32_t steps)
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

template <class T, uint32_t PARTS>
static cudaError_t launch_tiles(const struct cuda_launch *launch, struct down *p, uint32_t parts)
{
    p->part_k = cuda_divide_up(cuda_divide_up(p->C, parts), CUDA_TILE_K) * CUDA_TILE_K;
    p->parts = cuda_divide_up(p->C, p->part_k);
    const dim3 grid(tiles_across(p, T::COLUMNS), cuda_divide_up(launch->row_capacity, T::ROWS),
                    p->parts);
    const uint32_t shared =
        cuda_alone_bytes(launch, (uint64_t)grid.x * grid.y * grid.z, T::SHARED);
    return cuda_launch_shared(launch, down_tile_kernel<T, PARTS>, grid, T::THREADS, shared, *p);
}

/* A size of tiles as the choice sees it. */
struct size {
    uint32_t rows, columns, stages, resident, shared, parts_max;
    cudaError_t (*launch)(const struct cuda_launch *launch, struct down *p, uint32_t parts);
};

#define SIZE(T, PARTS)                                                                            \
    {T::ROWS, T::COLUMNS, T::STAGES, T::BLOCKS, T::SHARED, PARTS, launch_tiles<T, PARTS>}

static const struct size sizes[] = { /* By enum cuda_down_tile. */
    SIZE(tile_32x64, PARTS_MAX),
    SIZE(tile_64x64, PARTS_MAX),
    SIZE(tile_128x64, PARTS_MAX),
    SIZE(tile_128x128, PARTS_MAX),
    SIZE(tile_128x128_twice, 1),
    SIZE(tile_256x128, 1),
    SIZE(tile_least, PARTS_MAX),
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What tiles of this size with so many parts take, in nanoseconds of a device with 132
 * multiprocessors at 1.75 GHz; UINT64_MAX where they cannot be. A multiprocessor has 1270 products
 * a cycle from mma.sync and 64 bytes from the second-level cache, all together 5200 bytes a
 * nanosecond; a stage is on its way for about 900 ns, all but one of a block at a time; a join
 * begins after about 2 us of arrivals and reads some 100 bytes a nanosecond. */
static uint64_t cost_of(const struct cuda_launch *launch, struct down *p, const struct size *size,
                        uint32_t parts)
{
    enum {
        PRODUCTS = 2200,
        BYTES = 112,
        BYTES_OF_ALL = 5200,
        ON_ITS_WAY = 900,
        ARRIVALS = 2000,
        BYTES_OF_JOIN = 100,
    };
    const uint64_t tiles = (uint64_t)tiles_across(p, size->columns)
                           * cuda_divide_up(launch->row_capacity, size->rows);
    const uint64_t blocks = tiles * parts;
    const uint64_t places = launch->multiprocessors;
    if (parts > 1 && (p->arrived == NULL || p->C / parts < PART_K_MIN
                      || blocks > PART_BLOCKS * places)) {
        return UINT64_MAX;
    }
    const uint64_t bytes = (size->rows + size->columns) * CUDA_TILE_K * sizeof(cuda_half);
    const uint64_t outputs = (uint64_t)size->rows * size->columns;
    const uint64_t chunk = larger(bytes / BYTES, outputs * CUDA_TILE_K / PRODUCTS);
    const uint64_t chunks = cuda_divide_up(p->C / CUDA_TILE_K, parts);
    const uint64_t busy = (blocks + places - 1) / places * chunks * chunk;
    const uint64_t waits = (blocks + places * size->resident - 1) / (places * size->resident)
                           * (chunks * ON_ITS_WAY / (size->stages - 1));
    const uint64_t all = tiles * bytes * (p->C / CUDA_TILE_K) / BYTES_OF_ALL;
    const uint64_t join =
        ARRIVALS + (parts + 1) * outputs * sizeof(float) / BYTES_OF_JOIN;
    return larger(larger(busy, waits), all) + (parts == 1 ? 0 : join);
}

static bool is_for_few(const struct cuda_launch *launch, uint32_t C)
{
    return launch->row_capacity <= FEW_ROWS && launch->row_capacity * (uint64_t)C <= FEW_INPUTS
           && C <= FEW_STEPS_MAX * FEW_WARPS * 32;
}

cudaError_t cuda_low_rank_down_by(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape, const struct cuda_layer *layer,
                                  const struct cuda_activations *act, uint32_t tile, uint32_t parts)
{
    if (!low_rank_is_possible(shape) || tile >= sizeof sizes / sizeof sizes[0] || parts == 0
        || parts > sizes[tile].parts_max || sizes[tile].shared > cuda_shared_bytes_max()) {
        return cudaErrorInvalidValue;
    }
    struct down p = down_of(launch, step, shape, layer, act);
    if (cost_of(launch, &p, &sizes[tile], parts) == UINT64_MAX) {
        return cudaErrorInvalidValue;
    }
    return sizes[tile].launch(launch, &p, parts);
}

cudaError_t cuda_low_rank_down(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const struct cuda_layer *layer,
                               const struct cuda_activations *act)
{
    if (!low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    struct down p = down_of(launch, step, shape, layer, act);
    if (is_for_few(launch, p.C)) {
        return launch_few(launch, &p, cuda_divide_up(p.C / 32, FEW_WARPS));
    }
    const uint32_t shared_max = cuda_shared_bytes_max();
    const struct size *best = NULL; /* The cheapest. */
    uint32_t best_parts = 1;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t tile = 0; tile < CUDA_DOWN_TILES; tile++) {
        const struct size *size = &sizes[tile];
        for (uint32_t parts = 1; size->shared <= shared_max && parts <= size->parts_max; parts++) {
            const uint64_t cost = cost_of(launch, &p, size, parts);
            if (cost < best_cost) {
                best = size;
                best_parts = parts;
                best_cost = cost;
            }
        }
    }
    return best == NULL ? cudaErrorInvalidValue : best->launch(launch, &p, best_parts);
}
