/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_low_rank_up.cu - the low-rank products of the time mix, from Q to C channels.
 *
 * Computes  s[g][N][C] = hidden[g][N][Q] up[g][C][Q]^T, then, all groups in one launch,
 *           log_w = -e^-0.5 sigmoid(w0 + s)   a = sigmoid(a0 + s)   gate = s
 *           v += (v_first - v) sigmoid(v0 + s)
 * Bytes     weights 2 C sum(Q): 7.2B (Q 128 128 480 96) 6.8 MB = 1.6 us at 4.3 TB/s; per row
 *           2 sum(Q) + 18 C in and out: 4096 rows 310 MB, 72 us.
 * Flops     2 C sum(Q) per row: 4096 rows 28 G, 45 us at the 620 Tflop/s of mma.sync.
 * Floor     weights up to some 50 rows, then outputs. From the second-level cache, at 5.2 TB/s:
 *           hidden once per tile of channels, weights once per part of the rows: 7.2B, 128 rows,
 *           64 channels: 20 MB, 4 us; 320 rows: 41 MB, 8 us; 4096 rows, 128 channels: 44 us.
 * Grid      a block has some channels of one role: the gate, or W, A and V, which are as long. So
 *           blocks are equal, and 7.2B has 128 of them, all at once. The weights of its channels
 *           are in shared memory for good, asked for before the wait.
 *           Few rows: all of them come at once, a warp has 16 channels. More: each warp walks over
 *           rows of its own, all channels of the block, through a ring of its own: no barrier but
 *           one, so that one warp finishes while others multiply, and the ring runs on meanwhile.
 *           Wide (128 channels, 32 rows a warp) when that leaves no warp without rows.
 * Numerics  f16 in, f32 sums, v f16, the rest f32. Every variant adds k from low to high, 16 at a
 *           time: a row has the same bits whatever the number of rows. low_rank_sigmoid_2.
 * Requires  Q a multiple of 16, C of 64; all pointers aligned to 16 bytes; the weights of a role
 *           for 16 channels in half of the shared memory: at 64 KiB 960 Q. */

#include "cuda/cuda_low_rank.h"
#include "cuda/cuda_low_rank_up.cuh"

enum {
    FEW_ROWS = 32,
    FEW_CHANNELS = 16, /* Of a warp. */
    MANY_WARPS = 8,
    MANY_THREADS = MANY_WARPS * 32,
    BIASED = 3,        /* Groups of a role that have biases, at most. */
};

/* Copies a role's biases to `biases` [BIASED][CHANNELS], and its weights, chunk after chunk, each
 * with the block's channels from first_channel; beyond C zeros. */
template <uint32_t CHANNELS, uint32_t THREADS>
static __device__ __forceinline__ void copy_weights(const struct up &p, uint32_t role,
                                                    uint32_t first_channel, float *biases,
                                                    uint4 *to)
{
    constexpr uint32_t COUNT = (CHANNELS * CUDA_TILE_PIECES + THREADS - 1) / THREADS;
    const uint32_t piece = threadIdx.x % CUDA_TILE_PIECES;
    const uint32_t row = threadIdx.x / CUDA_TILE_PIECES;
#pragma unroll 1
    for (uint32_t g = p.end[role]; g < p.end[role + 1]; g++) {
        const cuda_half *from = p.group[g].weights;
        const float *bias = p.group[g].bias;
        const uint32_t rank = p.group[g].rank;
        if (bias != NULL && threadIdx.x * 4 < CHANNELS) {
            cuda_copy_16(biases + threadIdx.x * 4, bias + first_channel + threadIdx.x * 4,
                         first_channel + threadIdx.x * 4 < p.C);
        }
        biases += CHANNELS;
#pragma unroll 1
        for (uint32_t k = piece * 8; k - piece * 8 < rank; k += CUDA_TILE_K) {
#pragma unroll
            for (uint32_t n = 0; n < COUNT; n++) {
                const uint32_t at = row + n * (THREADS / CUDA_TILE_PIECES);
                const uint32_t channel = first_channel + cuda_tile_column(at);
                if (CHANNELS * CUDA_TILE_PIECES % THREADS == 0 || at < CHANNELS) {
                    cuda_copy_16(to + cuda_tile_place(at, piece), from + (size_t)channel * rank + k,
                                 channel < p.C && k < rank);
                }
            }
            to += CHANNELS * CUDA_TILE_PIECES;
        }
    }
}

/* ---- Few rows ---------------------------------------------------------------------------- */

/* All rows of a role's hidden, in chunks of ROWS rows. */
template <uint32_t ROWS, uint32_t THREADS>
static __device__ __forceinline__ void few_copy_rows(const struct up &p, uint32_t role, uint4 *to)
{
    const uint32_t piece = threadIdx.x % CUDA_TILE_PIECES;
    const uint32_t row = threadIdx.x / CUDA_TILE_PIECES;
#pragma unroll 1
    for (uint32_t g = p.end[role]; g < p.end[role + 1]; g++) {
        const cuda_half *from = p.group[g].in;
        const uint32_t rank = p.group[g].rank;
#pragma unroll 1
        for (uint32_t k = piece * 8; k - piece * 8 < rank; k += CUDA_TILE_K) {
#pragma unroll
            for (uint32_t n = 0; n < ROWS * CUDA_TILE_PIECES / THREADS; n++) {
                const uint32_t at = row + n * (THREADS / CUDA_TILE_PIECES);
                cuda_copy_16(to + cuda_tile_place(at, piece), from + at * rank + k,
                             at < p.rows && k < rank);
            }
            to += ROWS * CUDA_TILE_PIECES;
        }
    }
}

/* Block (x, y): 16 channels for each warp, role y; up to 16 M rows. */
template <uint32_t M, uint32_t WARPS>
__global__ void __launch_bounds__(WARPS * 32) up_few_kernel(const __grid_constant__ struct up p)
{
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared_bytes);
    constexpr uint32_t CHANNELS = WARPS * FEW_CHANNELS;
    const uint32_t role = blockIdx.y;
    const uint32_t first_channel = blockIdx.x * CHANNELS;
    const uint4 *weights = (uint4 *)(void *)shared_bytes;
    const uint4 *rows = weights + p.chunks * CHANNELS * CUDA_TILE_PIECES;
    const float *biases = (float *)(void *)(rows + p.chunks * M * 16 * CUDA_TILE_PIECES);
    copy_weights<CHANNELS, WARPS * 32>(p, role, first_channel, (float *)biases, (uint4 *)weights);
    const uint32_t row_count = p.header->row_count;
    cuda_dependency_wait();
    few_copy_rows<M * 16, WARPS * 32>(p, role, (uint4 *)rows);
    cuda_copy_commit();
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t channel = warp * FEW_CHANNELS + threadIdx.x % 4 * 4; /* Of the block's. */
    struct up_place place = up_place_of(p, threadIdx.x % 32 / 4, p.rows, first_channel + channel,
                                        FEW_CHANNELS);
    struct up_values<2> values[M * 2];
#pragma unroll
    for (uint32_t i = 0; i < M * 2; i++) {
        values[i] = {};
        if (role != 0 && !p.keeps_v) {
            up_load_values<2>(p, place, i, &values[i]);
        }
    }
    place.rows = row_count;
    cuda_copy_wait<0>();
    __syncthreads();
    weights += warp * FEW_CHANNELS * CUDA_TILE_PIECES;
    biases += channel;
#pragma unroll 1
    for (uint32_t g = p.end[role]; g < p.end[role + 1]; g++) {
        const struct up_group &group = p.group[g];
        float d[M][2][4] = {};
        __syncwarp(); /* Finishing a group parts the lanes. */
#pragma unroll 1
        for (uint32_t k = 0; k < group.rank; k += CUDA_TILE_K) {
            cuda_tile_chunk<M, 2>(d, rows, weights, group.rank - k);
            weights += CHANNELS * CUDA_TILE_PIECES;
            rows += 16 * M * CUDA_TILE_PIECES;
        }
        if (group.kind != CUDA_LOW_V) {
            up_finish<M, 2>(p, group, biases, d, place);
        } else {
#pragma unroll
            for (uint32_t i = 0; i < M * 2; i++) {
                up_mix_values<M, 2>(p, biases, d, place, i, values[i]);
            }
        }
        biases += CHANNELS;
    }
}

/* ---- Many rows --------------------------------------------------------------------------- */

template <uint32_t M_TILES, uint32_t N_TILES, uint32_t DEPTH> struct many {
    static constexpr uint32_t M = M_TILES, N = N_TILES;
    static constexpr uint32_t ROWS = M * 16;    /* Of a warp at a time. */
    static constexpr uint32_t CHANNELS = N * 8; /* Of a block. */
    static constexpr uint32_t STAGES = DEPTH;   /* Of each warp's ring. */
    static constexpr uint32_t PIECES = ROWS * CUDA_TILE_PIECES; /* Of a stage. */
    static constexpr uint32_t RINGS = MANY_WARPS * STAGES * PIECES * 16;
    static constexpr uint32_t BIASES = BIASED * CHANNELS * sizeof(float);
    static constexpr uint32_t CHUNK = CHANNELS * CUDA_TILE_PIECES * 16;
};

typedef struct many<2, 16, 3> many_wide;
typedef struct many<1, 8, 4> many_narrow;
typedef struct many<1, 8, 2> many_shallow; /* 96 KiB at 512 k. */
typedef struct many<1, 2, 2> many_least;   /* 64 KiB at 1000 k. */

/* What a warp copies next: chunk after chunk, group after group, rows after rows. */
struct feed {
    uint32_t row; /* Of this lane's first piece. */
    uint32_t group, k, slot;
};

/* Starts copying the next chunk of the warp's rows: T::ROWS from row on, then row_step later. */
template <class T>
static __device__ __forceinline__ void feed_copy(const struct up &p, uint32_t role,
                                                 uint32_t row_step, struct feed *feed, uint4 *ring)
{
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t piece = lane % CUDA_TILE_PIECES;
    const uint32_t rank = p.group[feed->group].rank;
    const uint32_t at = feed->k + piece * 8;
    const cuda_half *from = p.group[feed->group].in + (size_t)feed->row * rank + at;
    uint4 *to = ring + feed->slot * T::PIECES;
    if (feed->row - lane / CUDA_TILE_PIECES < p.rows) {
#pragma unroll
        for (uint32_t n = 0; n < T::ROWS / 4; n++) {
            cuda_copy_16(to + cuda_tile_place(lane / CUDA_TILE_PIECES + n * 4, piece),
                         from + n * 4 * rank, feed->row + n * 4 < p.rows && at < rank);
        }
    }
    cuda_copy_commit();
    feed->slot = feed->slot + 1 == T::STAGES ? 0 : feed->slot + 1;
    feed->k += CUDA_TILE_K;
    if (feed->k >= rank) {
        feed->k = 0;
        feed->group++;
        if (feed->group == p.end[role + 1]) {
            feed->group = p.end[role];
            feed->row += row_step;
        }
    }
}

/* Brings a warp's v and v_first into the second-level cache: otherwise it would wait for memory,
 * row after row. */
template <class T>
static __device__ __forceinline__ void prefetch_values(const struct up &p, uint32_t first_row,
                                                       uint32_t first_channel, uint32_t row_count)
{
    enum { LINE = 64 }; /* Halves. */
    constexpr uint32_t LINES = (T::CHANNELS + LINE - 1) / LINE;
#pragma unroll
    for (uint32_t i = threadIdx.x % 32; i < T::ROWS * LINES; i += 32) {
        const uint32_t row = first_row + i / LINES;
        const uint32_t channel = first_channel + i % LINES * LINE;
        if (row < row_count && channel < p.C) {
            low_rank_prefetch(p.v + (size_t)row * p.C + channel);
            low_rank_prefetch(p.v_first + (size_t)row * p.C + channel);
        }
    }
}

template <class T>
static __device__ __forceinline__ void many_finish(const struct up &p, const struct up_group &group,
                                                   const float *bias_of, const float (*d)[T::N][4],
                                                   struct up_place place)
{
    if (group.kind != CUDA_LOW_V) {
        up_finish<T::M, T::N>(p, group, bias_of, d, place);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < T::M * 2; i++) {
        struct up_values<T::N> values;
        up_load_values<T::N>(p, place, i, &values);
        up_mix_values<T::M, T::N>(p, bias_of, d, place, i, values);
    }
}

/* A warp's rows from first_row on, one group. `weights` moves on to the next group's. */
template <class T>
static __device__ __forceinline__ void
many_multiply(const struct up &p, uint32_t rank, uint32_t role, uint32_t row_step,
              struct feed *feed, uint4 *ring, const uint4 **weights, float (*d)[T::N][4])
{
#pragma unroll 1
    for (uint32_t k = 0; k < rank; k += CUDA_TILE_K) {
        cuda_copy_wait<T::STAGES - 2>();
        __syncwarp(); /* The stage is there for all, and the one before is no longer read. */
        /* The slot before the one to be filled: STAGES - 1 later it comes around. */
        const uint32_t slot = feed->slot + 1 == T::STAGES ? 0 : feed->slot + 1;
        feed_copy<T>(p, role, row_step, feed, ring);
        cuda_tile_chunk<T::M, T::N>(d, ring + slot * T::PIECES, *weights, rank - k);
        *weights += T::CHANNELS * CUDA_TILE_PIECES;
    }
}

/* Block (x, y, z): a tile of channels, role y, part z of the rows. */
template <class T>
__global__ void __launch_bounds__(MANY_THREADS, 1)
up_many_kernel(const __grid_constant__ struct up p)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    if (T::RINGS + T::BIASES >= 65536) { /* More than a block has there: never launched. */
        return;
    }
#endif
    cuda_dependency_trigger();
    CUDA_DYNAMIC_SHARED(shared_bytes);
    const uint32_t role = blockIdx.y;
    const uint32_t first_channel = blockIdx.x * T::CHANNELS;
    const uint32_t warp = threadIdx.x / 32;
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t row_step = gridDim.z * MANY_WARPS * T::ROWS;
    const uint32_t first_row = (warp * gridDim.z + blockIdx.z) * T::ROWS;
    float *biases = (float *)(void *)shared_bytes;
    uint4 *weights = (uint4 *)(void *)(shared_bytes + T::BIASES);
    uint4 *ring = weights + p.chunks * T::CHANNELS * CUDA_TILE_PIECES
                  + warp * T::STAGES * T::PIECES;
    copy_weights<T::CHANNELS, MANY_THREADS>(p, role, first_channel, biases, weights);
    cuda_copy_commit();
    const uint32_t row_count = p.header->row_count;
    cuda_dependency_wait();
    struct feed feed = {first_row + lane / CUDA_TILE_PIECES, p.end[role], 0, 0};
#pragma unroll 1
    for (uint32_t s = 0; s + 1 < T::STAGES; s++) {
        feed_copy<T>(p, role, row_step, &feed, ring);
    }
    cuda_copy_wait<T::STAGES - 1>(); /* The weights. */
    __syncthreads();
#pragma unroll 1
    for (uint32_t row = first_row; row < row_count; row += row_step) {
        const struct up_place place = up_place_of(p, row + lane / 4, row_count,
                                                  first_channel + lane % 4 * 4,
                                                  p.C - first_channel);
        const uint4 *left = weights;
        const float *bias = biases + lane % 4 * 4;
        if (role != 0) {
            prefetch_values<T>(p, row, first_channel, row_count);
        }
#pragma unroll 1
        for (uint32_t g = p.end[role]; g < p.end[role + 1]; g++) {
            float d[T::M][T::N][4] = {};
            many_multiply<T>(p, p.group[g].rank, role, row_step, &feed, ring, &left, d);
            many_finish<T>(p, p.group[g], bias, d, place);
            bias += T::CHANNELS;
        }
    }
    cuda_copy_wait<0>();
}

/* ---- Launchers --------------------------------------------------------------------------- */

static void add_group(struct up *p, const struct cuda_shape *shape,
                      const struct cuda_layer *layer, const struct cuda_activations *act,
                      enum cuda_low_rank kind, const float *bias, float *out)
{
    const uint32_t role = kind == CUDA_LOW_G ? 0 : 1;
    struct up_group *group = &p->group[p->end[role + 1]];
    group->weights = layer->up[kind];
    group->in = act->hidden[kind];
    group->bias = bias;
    group->out = out;
    group->rank = shape->rank[kind];
    group->kind = (uint32_t)kind;
    p->end[role + 1]++;
}

static struct up up_of(const struct cuda_launch *launch, struct cuda_step step,
                       const struct cuda_shape *shape, const struct cuda_layer *layer,
                       const struct cuda_activations *act)
{
    struct up p = {};
    p.header = step.header;
    p.rows = launch->row_capacity;
    p.v = act->rkv + (size_t)2 * act->N * shape->C;
    p.v_first = act->v_first;
    p.C = shape->C;
    p.keeps_v = layer->up[CUDA_LOW_V] == NULL;
    add_group(&p, shape, layer, act, CUDA_LOW_G, NULL, act->gate);
    p.end[2] = p.end[1];
    add_group(&p, shape, layer, act, CUDA_LOW_W, layer->w0, act->log_w);
    add_group(&p, shape, layer, act, CUDA_LOW_A, layer->a0, act->a);
    if (!p.keeps_v) {
        add_group(&p, shape, layer, act, CUDA_LOW_V, layer->v0, NULL);
    }
    for (uint32_t role = 0; role < UP_ROLES; role++) {
        uint32_t chunks = 0;
        for (uint32_t g = p.end[role]; g < p.end[role + 1]; g++) {
            chunks += cuda_divide_up(p.group[g].rank, CUDA_TILE_K);
        }
        p.chunks = chunks > p.chunks ? chunks : p.chunks;
    }
    return p;
}

static cudaError_t start(const struct cuda_launch *launch, const struct up *p,
                         void (*kernel)(struct up), dim3 grid, uint32_t threads,
                         uint32_t shared_needed)
{
    const uint32_t shared =
        cuda_alone_bytes(launch, (uint64_t)grid.x * grid.y * grid.z, shared_needed);
    return cuda_launch_shared(launch, kernel, grid, threads, shared, *p);
}

template <uint32_t M, uint32_t WARPS>
static cudaError_t launch_few(const struct cuda_launch *launch, const struct up *p)
{
    const uint32_t shared =
        p->chunks * (WARPS * FEW_CHANNELS + M * 16) * CUDA_TILE_PIECES * 16
        + BIASED * WARPS * FEW_CHANNELS * (uint32_t)sizeof(float);
    if (shared > cuda_shared_bytes_max() || launch->row_capacity > M * 16) {
        return cudaErrorInvalidValue;
    }
    return start(launch, p, up_few_kernel<M, WARPS>, dim3(p->C / (WARPS * FEW_CHANNELS), UP_ROLES),
                 WARPS * 32, shared);
}

/* Parts of the rows, so that there is a block for every multiprocessor, and rows for half of a
 * block's warps. */
template <class T> static uint32_t parts_of(const struct cuda_launch *launch, const struct up *p)
{
    const uint32_t blocks = cuda_divide_up(p->C, T::CHANNELS) * UP_ROLES;
    const uint32_t tiles = cuda_divide_up(launch->row_capacity, T::ROWS);
    const uint32_t most = cuda_divide_up(tiles, MANY_WARPS / 2);
    const uint32_t parts = launch->multiprocessors / blocks;
    return parts <= 1 ? 1 : parts < most ? parts : most;
}

template <class T>
static cudaError_t launch_many(const struct cuda_launch *launch, const struct up *p)
{
    const uint32_t shared = T::BIASES + p->chunks * T::CHUNK + T::RINGS;
    if (shared > cuda_shared_bytes_max()) {
        return cudaErrorInvalidValue;
    }
    const dim3 grid(cuda_divide_up(p->C, T::CHANNELS), UP_ROLES, parts_of<T>(launch, p));
    return start(launch, p, up_many_kernel<T>, grid, MANY_THREADS, shared);
}

static cudaError_t launch_by(const struct cuda_launch *launch, const struct up *p,
                             enum cuda_up_way way)
{
    /* Halves of the blocks for few rows where whole ones would leave half of the device without. */
    const bool whole = p->C / (4 * FEW_CHANNELS) * UP_ROLES * 2 > launch->multiprocessors;
    switch (way) {
    case CUDA_UP_FEW:
        return launch->row_capacity <= 16
                   ? (whole ? launch_few<1, 4> : launch_few<1, 2>)(launch, p)
                   : (whole ? launch_few<2, 4> : launch_few<2, 2>)(launch, p);
    case CUDA_UP_WIDE:
        return launch_many<many_wide>(launch, p);
    case CUDA_UP_NARROW:
        return launch_many<many_narrow>(launch, p);
    case CUDA_UP_SHALLOW:
        return launch_many<many_shallow>(launch, p);
    case CUDA_UP_LEAST:
        return launch_many<many_least>(launch, p);
    case CUDA_UP_WAYS:
        break;
    }
    return cudaErrorInvalidValue;
}

cudaError_t cuda_low_rank_up_by(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_layer *layer,
                                const struct cuda_activations *act, enum cuda_up_way way)
{
    if (!low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    const struct up p = up_of(launch, step, shape, layer, act);
    return launch_by(launch, &p, way);
}

cudaError_t cuda_low_rank_up(const struct cuda_launch *launch, struct cuda_step step,
                             const struct cuda_shape *shape, const struct cuda_layer *layer,
                             const struct cuda_activations *act)
{
    if (!low_rank_is_possible(shape)) {
        return cudaErrorInvalidValue;
    }
    const struct up p = up_of(launch, step, shape, layer, act);
    /* Wide where every warp then has rows; what does not fit leaves it to the next. */
    uint32_t way = launch->row_capacity <= FEW_ROWS ? CUDA_UP_FEW
                   : launch->row_capacity
                           >= parts_of<many_wide>(launch, &p) * MANY_WARPS * many_wide::ROWS
                       ? CUDA_UP_WIDE
                       : CUDA_UP_NARROW;
    cudaError_t status = launch_by(launch, &p, (enum cuda_up_way)way);
    while (status == cudaErrorInvalidValue && ++way < CUDA_UP_WAYS) {
        status = launch_by(launch, &p, (enum cuda_up_way)way);
    }
    return status;
}
