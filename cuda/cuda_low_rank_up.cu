/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank_up.cu - the low-rank products of the time mix, from Q to C channels.
 *
 * Computes  s[g][N][C] = hidden[g][N][Q] up[g][C][Q]^T, then, all groups in one launch,
 *           log_w = -e^-0.5 sigmoid(w0 + s)   a = sigmoid(a0 + s)   gate = s
 *           v += (v_first - v) sigmoid(v0 + s)
 * Bytes     weights 2 C sum(Q): 7.2B (Q 128 128 480 96) 6.8 MB = 1.6 us at 4.3 TB/s; per row
 *           2 sum(Q) + 18 C in and out: 4096 rows 310 MB, 72 us.
 * Flops     2 C sum(Q) per row: 4096 rows 28 G.
 * Floor     weights up to some 50 rows, then outputs. At 4096 rows tiles of 128 x 128 read 436 MB
 *           from the second-level cache, some 85 us at 5.2 TB/s.
 * Grid      few rows (up to FEW_ROWS): a warp per 8 channels with all its k in registers before the
 *           wait; the rows come once for 4 warps. More: tiles (cuda_tile.cuh); a block walks over
 *           tiles of rows, so that the next one is on its way while this one is finished. k is so
 *           short that nothing else hides the first stage. The gate goes first: its k is longest.
 * Numerics  f16 in, f32 sums, v f16, the rest f32. Every variant adds k from low to high, 32 at a
 *           time: a row has the same bits whatever the number of rows. The sigmoid is within some
 *           4 units in the last place (expf 2, quotient 2).
 * Requires  Q a multiple of 16, C of 64; all pointers aligned to 16 bytes. */
#include <math.h>

#include "cuda/cuda_low_rank.cuh"

enum {
    FEW_ROWS = 32,
    FEW_WARPS = 4,
    FEW_THREADS = FEW_WARPS * 32,
    FEW_STEPS_MAX = 16, /* Of 32 k: Q up to 512. */
    FEW_COLUMNS = 8,    /* Channels of a warp. */
    FEW_BLOCKS = 4,     /* Per multiprocessor. */
    WALK_BLOCKS = 8,    /* Per multiprocessor: with more, blocks walk. */
};

#define DECAY_SCALE 0.6065306597126334f /* e^-0.5: the definition of the model. */

struct group {
    const cuda_half *weights; /* [C][Q] */
    const cuda_half *in;      /* [N][Q] */
    const float *bias;        /* [C]; NULL for the gate. */
    float *out;               /* [N][C]; NULL for v. */
    uint32_t rank;
    uint32_t kind;            /* enum cuda_low_rank */
};

struct up {
    struct cuda_step step;
    struct group group[CUDA_LOW_RANKS];
    cuda_half *v;       /* [N][C] */
    cuda_half *v_first; /* [N][C] */
    uint32_t C;
    bool keeps_v; /* Layer 0: v_first = v. */
};

/* The groups in the order of blocks: the gate first. */
static __device__ __forceinline__ struct group group_at(const struct up &p, uint32_t place)
{
    struct group found = p.group[CUDA_LOW_G];
    if (place == 1) {
        found = p.group[CUDA_LOW_W];
    } else if (place == 2) {
        found = p.group[CUDA_LOW_A];
    } else if (place == 3) {
        found = p.group[CUDA_LOW_V];
    }
    return found;
}

/* 1 / (1 + e^-x). The quotient is 0 where e^-x is beyond 2^126. */
static __device__ __forceinline__ float quick_sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + expf(-x));
}

/* What a sum becomes; for V how much of v_first is taken. */
static __device__ __forceinline__ float curve(float sum, uint32_t kind)
{
    if (kind == CUDA_LOW_G) {
        return sum;
    }
    const float gate = quick_sigmoid(sum);
    return kind == CUDA_LOW_W ? -DECAY_SCALE * gate : gate;
}

static __device__ __forceinline__ float4 curves(float4 sum, float4 bias, uint32_t kind)
{
    return make_float4(curve(sum.x + bias.x, kind), curve(sum.y + bias.y, kind),
                       curve(sum.z + bias.z, kind), curve(sum.w + bias.w, kind));
}

/* ---- Few rows ---------------------------------------------------------------------------- */

/* Rows lie in chunks of 32 k, [FEW_ROWS][64 bytes], odd chunks with rows in pairs exchanged: 8
 * lanes use all banks, writing a row or reading two. */
static __device__ __forceinline__ uint32_t few_place(uint32_t chunk, uint32_t row, uint32_t piece)
{
    return (chunk * FEW_ROWS + (row ^ (chunk & 1))) * 4 + piece;
}

static __device__ __forceinline__ void few_copy_rows(const struct group &group,
                                                     uint32_t row_count, uint4 *rows)
{
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t pieces = (group.rank + 31) / 32 * 4;
#pragma unroll
    for (uint32_t n = 0; n < FEW_ROWS / FEW_WARPS; n++) {
        const uint32_t row = n * FEW_WARPS + threadIdx.x / 32;
        for (uint32_t piece = lane; piece < pieces; piece += 32) {
            cuda_copy_16(&rows[few_place(piece / 4, row, piece % 4)],
                         group.in + (size_t)row * group.rank + piece * 8,
                         row < row_count && piece * 8 < group.rank);
        }
    }
    cuda_copy_commit();
}

/* v and v_first of the lane's two channels in the rows of its sums: 8 apart. */
struct few_values {
    uint32_t v[FEW_ROWS / 8], first[FEW_ROWS / 8];
};

static __device__ __forceinline__ struct few_values
few_load_values(const struct up &p, uint32_t row_count, uint32_t channel)
{
    struct few_values values;
#pragma unroll
    for (uint32_t i = 0; i < FEW_ROWS / 8; i++) {
        const uint32_t row = i * 8 + threadIdx.x % 32 / 4;
        const size_t at = (size_t)row * p.C + channel;
        values.v[i] = 0;
        values.first[i] = 0;
        if (row < row_count) {
            values.v[i] = *(const uint32_t *)(const void *)(p.v + at);
            values.first[i] = *(const uint32_t *)(const void *)(p.v_first + at);
        }
    }
    return values;
}

static __device__ __forceinline__ void few_finish(const struct up &p, const struct group &group,
                                                  uint32_t row, uint32_t channel, float2 sum,
                                                  uint32_t v_bits, uint32_t first_bits)
{
    const size_t at = (size_t)row * p.C + channel;
    const float2 out = make_float2(curve(sum.x, group.kind), curve(sum.y, group.kind));
    if (group.kind == CUDA_LOW_V) {
        const float2 v = cuda_half2_unpack(v_bits);
        const float2 first = cuda_half2_unpack(first_bits);
        cuda_half2_store(p.v + at, fmaf(first.x - v.x, out.x, v.x),
                         fmaf(first.y - v.y, out.y, v.y));
        return;
    }
    if (group.kind == CUDA_LOW_W && p.keeps_v) {
        *(uint32_t *)(void *)(p.v_first + at) = v_bits;
    }
    *(float2 *)(void *)(group.out + at) = out;
}

/* A warp's sums of 32 rows and its 8 channels: d[i] is 16 rows. */
static __device__ __forceinline__ void few_multiply(const uint4 *weights, const uint4 *rows,
                                                    uint32_t rank, uint32_t row_count,
                                                    float (*d)[4])
{
    const uint32_t g = threadIdx.x % 32 / 4;
    const uint32_t t = threadIdx.x % 4;
#pragma unroll
    for (uint32_t s = 0; s < FEW_STEPS_MAX; s++) {
        if (s * 32 < rank) {
            const uint4 *from = rows + few_place(s, g, t);
            cuda_mma_16x8x32(d[0], from[0], from[32], weights[s]);
            if (row_count > 16) {
                cuda_mma_16x8x32(d[1], from[64], from[96], weights[s]);
            }
        }
    }
}

/* Block (x, y): group y, 8 channels a warp. */
__global__ void __launch_bounds__(FEW_THREADS, FEW_BLOCKS) up_few_kernel(struct up p)
{
    cuda_dependency_trigger();
    __shared__ uint4 rows[FEW_STEPS_MAX * FEW_ROWS * 4];
    const struct group group = group_at(p, blockIdx.y);
    const uint32_t g = threadIdx.x % 32 / 4;
    const uint32_t k = threadIdx.x % 4 * 8;
    const uint32_t first_channel = (blockIdx.x * FEW_WARPS + threadIdx.x / 32) * FEW_COLUMNS;
    const uint32_t channel = first_channel + threadIdx.x % 4 * 2;
    const bool exists = first_channel < p.C;
    const cuda_half *from = group.weights + (size_t)(first_channel + g) * group.rank + k;
    const uint32_t row_count = p.step.header->row_count;
    uint4 weights[FEW_STEPS_MAX];
#pragma unroll
    for (uint32_t s = 0; s < FEW_STEPS_MAX; s++) {
        weights[s] = low_rank_load(exists && s * 32 + k < group.rank, from + s * 32);
    }
    float2 bias = make_float2(0.0f, 0.0f);
    if (exists && group.bias != NULL) {
        bias = cuda_float2_load(group.bias + channel);
    }
    cuda_dependency_wait();
    few_copy_rows(group, row_count, rows);
    struct few_values values = {};
    if (exists && (group.kind == CUDA_LOW_V || (group.kind == CUDA_LOW_W && p.keeps_v))) {
        values = few_load_values(p, row_count, channel);
    }
    cuda_copy_wait<0>();
    __syncthreads();
    float d[2][4] = {};
    few_multiply(weights, rows, group.rank, row_count, d);
#pragma unroll
    for (uint32_t i = 0; i < FEW_ROWS / 8; i++) {
        const uint32_t row = i * 8 + g;
        if (exists && row < row_count) {
            const float *sum = d[i / 2] + i % 2 * 2;
            few_finish(p, group, row, channel, make_float2(sum[0] + bias.x, sum[1] + bias.y),
                       values.v[i], values.first[i]);
        }
    }
}

/* ---- Tiles ------------------------------------------------------------------------------- */

/* Where this lane's quads of 4 channels are. */
struct place {
    uint32_t row, channel; /* Of the first one. */
    uint32_t row_count;
};

template <class T>
static __device__ __forceinline__ void store_gates(const struct up &p, const struct group &group,
                                                   const struct cuda_tile_sums<T> &sums,
                                                   struct place place)
{
#pragma unroll
    for (uint32_t pair = 0; pair < T::N / 2; pair++) {
        const uint32_t channel = place.channel + pair * 16;
        if (channel >= p.C) {
            continue;
        }
        const float4 bias = group.bias == NULL ? make_float4(0.0f, 0.0f, 0.0f, 0.0f)
                                               : cuda_float4_load(group.bias + channel);
#pragma unroll
        for (uint32_t i = 0; i < T::M * 2; i++) {
            const uint32_t row = place.row + i * 8;
            if (row < place.row_count) {
                cuda_float4_store(group.out + (size_t)row * p.C + channel,
                                  curves(cuda_tile_quad<T>(sums, i / 2, pair, i % 2), bias,
                                         group.kind));
            }
        }
    }
}

/* Layer 0: v_first = v. */
template <class T>
static __device__ __forceinline__ void keep_values(const struct up &p, struct place place)
{
#pragma unroll
    for (uint32_t i = 0; i < T::M * T::N; i++) {
        const uint32_t row = place.row + i / (T::N / 2) * 8;
        const uint32_t channel = place.channel + i % (T::N / 2) * 16;
        if (row < place.row_count && channel < p.C) {
            const size_t at = (size_t)row * p.C + channel;
            *(uint2 *)(void *)(p.v_first + at) = *(const uint2 *)(const void *)(p.v + at);
        }
    }
}

static __device__ __forceinline__ void mix_value(cuda_half *v, uint2 v_bits, uint2 first_bits,
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

/* What mix_values will load of v and v_first: otherwise it would wait for memory, row after row. */
template <class T>
static __device__ __forceinline__ void prefetch_values(const struct up &p, uint32_t first_row,
                                                       uint32_t first_channel, uint32_t row_count)
{
    enum { LINE = 64 }; /* Halves. */
    for (uint32_t i = threadIdx.x; i < T::ROWS * (T::COLUMNS / LINE); i += T::THREADS) {
        const uint32_t row = first_row + i / (T::COLUMNS / LINE);
        const uint32_t channel = first_channel + i % (T::COLUMNS / LINE) * LINE;
        if (row < row_count && channel < p.C) {
            low_rank_prefetch(p.v + (size_t)row * p.C + channel);
            low_rank_prefetch(p.v_first + (size_t)row * p.C + channel);
        }
    }
}

/* v += (v_first - v) sigmoid(..), some rows at a time: their loads go out together. */
template <class T>
static __device__ __forceinline__ void mix_values(const struct up &p, const struct group &group,
                                                  const struct cuda_tile_sums<T> &sums,
                                                  struct place place)
{
    constexpr uint32_t AT_ONCE = 8 / T::M; /* What registers are left for. */
#pragma unroll
    for (uint32_t n = 0; n < T::N / 2 * T::M * 2; n += AT_ONCE) {
        const uint32_t pair = n / (T::M * 2);
        const uint32_t channel = place.channel + pair * 16;
        if (channel >= p.C) {
            continue;
        }
        uint2 v[AT_ONCE], first[AT_ONCE];
        const float4 bias = cuda_float4_load(group.bias + channel);
#pragma unroll
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            const uint32_t row = place.row + (n + i) % (T::M * 2) * 8;
            if (row < place.row_count) {
                v[i] = *(const uint2 *)(const void *)(p.v + (size_t)row * p.C + channel);
                first[i] = *(const uint2 *)(const void *)(p.v_first + (size_t)row * p.C + channel);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            const uint32_t at = (n + i) % (T::M * 2);
            const uint32_t row = place.row + at * 8;
            if (row < place.row_count) {
                mix_value(p.v + (size_t)row * p.C + channel, v[i], first[i],
                          curves(cuda_tile_quad<T>(sums, at / 2, pair, at % 2), bias, CUDA_LOW_V));
            }
        }
    }
}

template <class T>
static __device__ __forceinline__ void finish(const struct up &p, const struct group &group,
                                              const struct cuda_tile_sums<T> &sums,
                                              struct place place)
{
    if (group.kind == CUDA_LOW_V) {
        mix_values<T>(p, group, sums, place);
        return;
    }
    store_gates<T>(p, group, sums, place);
    if (group.kind == CUDA_LOW_W && p.keeps_v) {
        keep_values<T>(p, place);
    }
}

/* Block (x, y, z): a tile of channels, every gridDim.y-th tile of rows from y on, group z. */
template <class T>
__global__ void __launch_bounds__(T::THREADS, T::BLOCKS) up_tile_kernel(struct up p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared_bytes);
    uint4 *shared = (uint4 *)(void *)shared_bytes;
    const struct group group = group_at(p, blockIdx.z);
    const uint32_t first_channel = blockIdx.x * T::COLUMNS;
    const uint32_t first_row = blockIdx.y * T::ROWS;
    const uint32_t row_step = gridDim.y * T::ROWS;
    const uint32_t row_count = p.step.header->row_count;
    if (first_row >= row_count) {
        cuda_dependency_wait();
        return;
    }
    struct cuda_tile_product product;
    product.from[0] = group.in + (size_t)first_row * group.rank;
    product.from[1] = group.weights + (size_t)first_channel * group.rank;
    product.rows[0] = row_count - first_row;
    product.rows[1] = p.C - first_channel;
    product.K = group.rank;
    product.first_k = 0;
    product.end_k = group.rank;
    product.tiles = (row_count - first_row + row_step - 1) / row_step;
    product.row_step = row_step;
    struct cuda_tile_feed feed = cuda_tile_begin<T>(product);
    cuda_tile_begin_b<T>(feed, shared);
    cuda_dependency_wait();
    cuda_tile_begin_a<T>(&feed, shared);
    for (uint32_t row = first_row; row < row_count; row += row_step) {
        struct cuda_tile_sums<T> sums;
        if (group.kind == CUDA_LOW_V) {
            prefetch_values<T>(p, row, first_channel, row_count);
        }
        cuda_tile_run<T>(&feed, shared, &sums);
        const struct place place = {row + cuda_tile_first_row<T>(),
                                    first_channel + cuda_tile_first_column<T>(), row_count};
        finish<T>(p, group_at(p, blockIdx.z), sums, place);
    }
}

/* ---- Launchers --------------------------------------------------------------------------- */

static struct up up_of(struct cuda_step step, const struct cuda_shape *shape,
                       const struct cuda_layer *layer, const struct cuda_activations *act)
{
    struct up p = {};
    p.step = step;
    p.v = act->rkv + (size_t)2 * act->N * shape->C;
    p.v_first = act->v_first;
    p.C = shape->C;
    p.keeps_v = layer->up[CUDA_LOW_V] == NULL;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        p.group[g].weights = layer->up[g];
        p.group[g].in = act->hidden[g];
        p.group[g].rank = shape->rank[g];
        p.group[g].kind = (uint32_t)g;
    }
    p.group[CUDA_LOW_W].bias = layer->w0;
    p.group[CUDA_LOW_A].bias = layer->a0;
    p.group[CUDA_LOW_V].bias = layer->v0;
    p.group[CUDA_LOW_W].out = act->log_w;
    p.group[CUDA_LOW_A].out = act->a;
    p.group[CUDA_LOW_G].out = act->gate;
    return p;
}

static cudaError_t launch_few(const struct cuda_launch *launch, const struct up *p,
                              uint32_t groups)
{
    const dim3 grid(low_rank_blocks(p->C, FEW_WARPS * FEW_COLUMNS), groups);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(FEW_THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config, up_few_kernel, *p);
}

template <class T>
static cudaError_t launch_tiles(const struct cuda_launch *launch, const struct up *p,
                                uint32_t groups)
{
    const cudaError_t status =
        cudaFuncSetAttribute((const void *)up_tile_kernel<T>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)T::SHARED);
    if (status != cudaSuccess) {
        return status;
    }
    const uint32_t across = low_rank_blocks(p->C, T::COLUMNS);
    const uint32_t tiles = low_rank_blocks(launch->row_capacity, T::ROWS);
    const uint32_t walk = across * tiles * groups / (WALK_BLOCKS * launch->multiprocessors + 1);
    const dim3 grid(across, low_rank_blocks(tiles, walk == 0 ? 1 : walk), groups);
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(T::THREADS), T::SHARED, attributes);
    return cudaLaunchKernelEx(&config, up_tile_kernel<T>, *p);
}

cudaError_t cuda_low_rank_up(const struct cuda_launch *launch, struct cuda_step step,
                             const struct cuda_shape *shape, const struct cuda_layer *layer,
                             const struct cuda_activations *act)
{
    if (!low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    const struct up p = up_of(step, shape, layer, act);
    const uint32_t groups = p.keeps_v ? CUDA_LOW_V : CUDA_LOW_RANKS; /* V is the last. */
    uint32_t widest = 0;
    for (uint32_t g = 0; g < groups; g++) {
        widest = shape->rank[g] > widest ? shape->rank[g] : widest;
    }
    if (launch->row_capacity <= FEW_ROWS && widest <= FEW_STEPS_MAX * 32) {
        return launch_few(launch, &p, groups);
    }
    /* The larger tiles where they are more than half full, and enough for most multiprocessors. */
    const uint32_t blocks = low_rank_blocks(shape->C, cuda_tile_128x128::COLUMNS) * groups
                            * low_rank_blocks(launch->row_capacity, cuda_tile_128x128::ROWS);
    if (launch->row_capacity > cuda_tile_128x128::ROWS / 2
        && blocks * 4 >= launch->multiprocessors * 3
        && cuda_tile_fits(cuda_tile_128x128::SHARED)) {
        return launch_tiles<cuda_tile_128x128>(launch, &p, groups);
    }
    return launch_tiles<cuda_tile_64x64>(launch, &p, groups);
}
