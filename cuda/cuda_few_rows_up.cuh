/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_up.cuh - the low-rank products up of one head, for one or two rows.
 *
 * 64 channels of a matrix up [C][Q] are one piece of memory. It comes as two copies, 32 channels
 * each, the second of them 64 bytes further in the 32 banks: a warp's tile takes its 16 channels
 * from both in turn, so that 8 lanes read 16 bytes each from all banks whatever Q is.
 * cuda_mma_16x8x32 with the channels as its rows; its columns are the rows of the step.
 * Thread: device functions, and the engine's for the rest. */
#pragma once

#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_copy.cuh"
#include "cuda/cuda_low_rank_up.cuh"

enum {
    FEW_UP_HALF = CUDA_HEAD / 2,          /* Channels of one copy. */
    FEW_UP_TILE = 16,                     /* Channels of a warp. */
    FEW_UP_TILES = CUDA_HEAD / FEW_UP_TILE,
    FEW_UP_WARPS = 2 * FEW_UP_TILES,
    FEW_UP_THREADS = FEW_UP_WARPS * 32,
    FEW_UP_K = 32,                        /* Of a step. */
    FEW_UP_STEPS = 4,                     /* Of a tile in registers. */
    FEW_UP_PIECE = 8,                     /* Halves of 16 bytes. */
    FEW_UP_GAP = 64,                      /* Bytes between the copies. */
    FEW_UP_ALIGNMENT = 128,
};

struct few_up_group {
    const cuda_half *weights; /* [C][Q] */
    const cuda_half *hidden;  /* [N][Q] */
    const float *bias;        /* [C]; NULL for the gate. */
    uint32_t rank;            /* Q; 0 for V in layer 0. */
    uint32_t weights_at;      /* In a block's shared memory. */
    uint32_t first_piece;     /* In a row of hidden in shared memory. */
};

struct few_up {
    struct few_up_group group[CUDA_LOW_RANKS]; /* By enum cuda_low_rank; V is the last. */
    uint32_t pieces;        /* Of a row of hidden, all groups. */
    uint32_t hidden_at;     /* In a block's shared memory. */
    uint32_t hidden_stride; /* Of its rows, in bytes. */
};

/* What the rows' channels become: [ROWS][64]. The gate comes in two parts. */
template <int ROWS> struct few_up_results {
    float w[ROWS][CUDA_HEAD];        /* The decay itself. */
    float a[ROWS][CUDA_HEAD];
    float v_part[ROWS][CUDA_HEAD];   /* Of v_first in v. */
    float gate[2][ROWS][CUDA_HEAD];
};

/* ---- Into shared memory ------------------------------------------------------------------ */

/* By the first lane of warp g, for group g: both halves of its weights. */
static __device__ __forceinline__ void few_up_bring(const struct few_up_group &group,
                                                    uint32_t first_channel, unsigned char *shared,
                                                    uint64_t *full)
{
    const uint32_t bytes = FEW_UP_HALF * group.rank * (uint32_t)sizeof(cuda_half);
    const cuda_half *from = group.weights + (size_t)first_channel * group.rank;
    unsigned char *to = shared + group.weights_at;
    cuda_mbarrier_init(full, 1);
    cuda_mbarrier_init_fence();
    cuda_mbarrier_expect(full, 2 * bytes);
    cuda_bulk_load(to, from, bytes, full);
    cuda_bulk_load(to + bytes + FEW_UP_GAP, (const unsigned char *)from + bytes, bytes, full);
}

/* The same by all threads of the block and without bulk copies; to be committed. */
static __device__ __forceinline__ void few_up_copy(const struct few_up_group &group,
                                                   uint32_t first_channel, unsigned char *shared)
{
    const uint32_t half_pieces = FEW_UP_HALF * group.rank / FEW_UP_PIECE;
    const cuda_half *from = group.weights + (size_t)first_channel * group.rank;
    unsigned char *to = shared + group.weights_at;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < 2 * half_pieces; i += blockDim.x) {
        cuda_copy_16(to + i * 16 + (i < half_pieces ? 0 : FEW_UP_GAP), from + i * FEW_UP_PIECE,
                     true);
    }
}

/* Where piece i of a row of hidden is. */
static __device__ __forceinline__ const cuda_half *few_up_piece(const struct few_up &p, uint32_t i,
                                                                uint32_t row)
{
    uint32_t g = 0;
    while (g + 1 < CUDA_LOW_RANKS && i >= p.group[g + 1].first_piece) {
        g++;
    }
    const struct few_up_group &group = p.group[g];
    return group.hidden + (size_t)row * group.rank + (i - group.first_piece) * FEW_UP_PIECE;
}

/* ---- Products ---------------------------------------------------------------------------- */

/* A lane's part of its warp's tile. */
struct few_up_lane {
    uint32_t half, row; /* Of its first channel; the second is 4 further. */
    uint32_t column;    /* Row of the block, where it exists. */
    uint32_t piece;     /* In each step of 32 k. */
};

static __device__ __forceinline__ struct few_up_lane few_up_lane_of(uint32_t tile)
{
    const uint32_t g = threadIdx.x % 32 / 4;
    struct few_up_lane lane;
    lane.half = g % 2;
    lane.row = tile * (FEW_UP_TILE / 2) + g / 2;
    lane.column = g;
    lane.piece = threadIdx.x % 4;
    return lane;
}

static __device__ __forceinline__ uint32_t few_up_channel(struct few_up_lane lane)
{
    return lane.half * FEW_UP_HALF + lane.row;
}

/* What a lane multiplies: steps of 32 k that begin at `first` and then every `stride`. */
struct few_up_range {
    const unsigned char *low, *high, *hidden; /* At k = 0. */
    uint32_t rank, first, stride, own;        /* The lane's own k in a step. */
    bool has_column;
};

template <int ROWS>
static __device__ __forceinline__ struct few_up_range
few_up_range_of(const struct few_up &p, const struct few_up_group &group, struct few_up_lane lane,
                const unsigned char *shared, uint32_t first, uint32_t stride)
{
    const uint32_t row_bytes = group.rank * (uint32_t)sizeof(cuda_half);
    struct few_up_range range;
    range.low = shared + group.weights_at + lane.half * (FEW_UP_HALF * row_bytes + FEW_UP_GAP)
                + lane.row * row_bytes + lane.piece * 16;
    range.high = range.low + 4 * row_bytes;
    range.hidden = shared + p.hidden_at + lane.column * p.hidden_stride
                   + (group.first_piece + lane.piece) * 16;
    range.rank = group.rank;
    range.first = first;
    range.stride = stride;
    range.own = lane.piece * FEW_UP_PIECE;
    range.has_column = lane.column < ROWS;
    return range;
}

static __device__ __forceinline__ uint4 few_up_load(const unsigned char *from, uint32_t k,
                                                    bool exists)
{
    return exists ? *(const uint4 *)(const void *)(from + k * sizeof(cuda_half))
                  : make_uint4(0, 0, 0, 0);
}

/* Weights of a tile in registers. */
struct few_up_tile {
    uint4 low[FEW_UP_STEPS], high[FEW_UP_STEPS];
};

/* Loads the steps from k on; zeros beyond the rank. */
static __device__ __forceinline__ void few_up_tile_load(struct few_up_tile *tile,
                                                        const struct few_up_range &range,
                                                        uint32_t k)
{
#pragma unroll
    for (uint32_t n = 0; n < FEW_UP_STEPS; n++) {
        const uint32_t at = k + n * range.stride;
        tile->low[n] = few_up_load(range.low, at, at + range.own < range.rank);
        tile->high[n] = few_up_load(range.high, at, at + range.own < range.rank);
    }
}

static __device__ __forceinline__ void few_up_tile_multiply(float (*d)[4],
                                                            const struct few_up_tile &tile,
                                                            const struct few_up_range &range,
                                                            uint32_t k)
{
    uint4 hidden[FEW_UP_STEPS];
#pragma unroll
    for (uint32_t n = 0; n < FEW_UP_STEPS; n++) {
        const uint32_t at = k + n * range.stride;
        hidden[n] = few_up_load(range.hidden, at,
                                range.has_column && at + range.own < range.rank);
    }
#pragma unroll
    for (uint32_t n = 0; n < FEW_UP_STEPS; n++) {
        cuda_mma_16x8x32(d[n], tile.low[n], tile.high[n], hidden[n]);
    }
}

/* Sums of a tile whose first steps are loaded: x y of the lane's first channel, z w of its second;
 * x z of the block's first row, y w of its second. Only of lanes whose piece is 0. */
static __device__ __forceinline__ float4 few_up_multiply(struct few_up_tile *tile,
                                                         const struct few_up_range &range)
{
    float d[FEW_UP_STEPS][4] = {};
    few_up_tile_multiply(d, *tile, range, range.first);
    const uint32_t round = FEW_UP_STEPS * range.stride;
#pragma unroll 1
    for (uint32_t k = range.first + round; k < range.rank; k += round) {
        few_up_tile_load(tile, range, k);
        few_up_tile_multiply(d, *tile, range, k);
    }
    return make_float4((d[0][0] + d[1][0]) + (d[2][0] + d[3][0]),
                       (d[0][1] + d[1][1]) + (d[2][1] + d[3][1]),
                       (d[0][2] + d[1][2]) + (d[2][2] + d[3][2]),
                       (d[0][3] + d[1][3]) + (d[2][3] + d[3][3]));
}

/* to [ROWS][64]: what a lane has of a tile. */
template <int ROWS>
static __device__ __forceinline__ void few_up_store(float (*to)[CUDA_HEAD],
                                                    struct few_up_lane lane, float4 values)
{
    const uint32_t channel = few_up_channel(lane);
    if (lane.piece == 0) {
        to[0][channel] = values.x;
        to[0][channel + 4] = values.z;
        if (ROWS > 1) {
            to[ROWS - 1][channel] = values.y;
            to[ROWS - 1][channel + 4] = values.w;
        }
    }
}

/* A bias of the lane's channels, in the order of few_up_multiply. */
static __device__ __forceinline__ float4 few_up_bias(const float *bias, uint32_t channel)
{
    const float low = bias[channel], high = bias[channel + 4];
    return make_float4(low, low, high, high);
}

/* ---- Launch ------------------------------------------------------------------------------ */

/* Lays the shared memory out; returns its bytes. */
static inline uint32_t few_up_lay_out(struct few_up *p, uint32_t rows)
{
    uint32_t bytes = 0;
    p->pieces = 0;
    for (uint32_t g = 0; g < CUDA_LOW_RANKS; g++) {
        struct few_up_group *group = &p->group[g];
        group->weights_at = bytes;
        group->first_piece = p->pieces;
        p->pieces += group->rank / FEW_UP_PIECE;
        if (group->rank != 0) {
            bytes += CUDA_HEAD * group->rank * (uint32_t)sizeof(cuda_half) + FEW_UP_ALIGNMENT;
        }
    }
    p->hidden_at = bytes;
    p->hidden_stride = cuda_divide_up(p->pieces * 16, FEW_UP_ALIGNMENT) * FEW_UP_ALIGNMENT
                       + FEW_UP_GAP;
    return bytes + rows * p->hidden_stride;
}

static inline struct few_up few_up_of(const struct cuda_shape *shape,
                                      const struct cuda_layer *layer,
                                      const struct cuda_activations *act)
{
    const float *const biases[CUDA_LOW_RANKS] = {layer->w0, layer->a0, NULL, layer->v0};
    struct few_up p = {};
    for (uint32_t g = 0; g < CUDA_LOW_RANKS; g++) {
        struct few_up_group *group = &p.group[g];
        group->weights = layer->up[g];
        group->hidden = act->hidden[g];
        group->bias = biases[g];
        group->rank = layer->up[g] == NULL ? 0 : shape->rank[g];
    }
    return p;
}
