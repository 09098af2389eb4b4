/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_skinny_line.cuh - what a launch of skinny products is told, and its line of chunks.
 *
 * The work of a launch is a line: tiles of 128 outputs, problem after problem, each cut along k
 * into chunks. Block b has the chunks from first_chunk_of(b) to first_chunk_of(b + 1): one of
 * `parts` equal parts of a tile, or one or more whole tiles. A piece that ended anywhere would make
 * a block wait for the one before it in its first tile and for the one behind it in its last, all
 * of them one after the other. Only cuda_skinny.cu includes this. Thread: device. */
#pragma once

#include "cuda/cuda_half.cuh"
#include "cuda/cuda_low_rank.cuh"
#include "cuda/cuda_skinny.h"
#include "cuda/cuda_warpgroup.cuh"

enum {
    DEEP = CUDA_BOX_COLUMNS, /* k of a chunk. */
    SLICES = DEEP / 16,
    TILE = CUDA_SKINNY_TILE,
    GROUPS = 2,              /* Warpgroups that multiply, */
    GROUP_THREADS = 128,     /* each of so many threads */
    GROUP_TILE = TILE / GROUPS, /* and outputs. */
    MULTIPLIERS = GROUPS * GROUP_THREADS,
    THREADS = MULTIPLIERS + 32, /* And the producer. */
    STAGES_MAX = 12,
    WEIGHT_BYTES = TILE * DEEP * 2,
    SHARED_BYTES_MAX = 216 * 1024,
    AHEAD_BYTES = 64 * 1024,    /* Of weights before the wait: more make the rows wait in line. */
    PROBLEMS_MAX = 3 + CUDA_LOW_RANKS,
    PARTS_MAX = 8,       /* Of a tile, when all have the same, */
    PART_CHUNKS_MIN = 2, /* with so many chunks at least. */
    MULTIPLIERS_BARRIER = 1,
    JOIN_LOADS = 12,     /* Quads of sums on the way at a time, */
    ADD_QUADS = 4,       /* and of x. */
    STAGED_PITCH = TILE + 8, /* Halves of a row on its way out: 4 rows in different banks. */
};

/* What a launch does. A kernel has the code for one of them. */
enum kind { ATT_IN, ATT_OUT, FFN_KEY, FFN_VALUE };

/* What becomes of a sum of ATT_IN. */
enum after { AFTER_F16, AFTER_TANH, AFTER_SIGMOID };

/* One product of a launch. */
struct problem {
    void *out; /* [rows][stride] */
    uint32_t outputs, stride, after;
    uint32_t map;        /* Of its weights, */
    uint32_t map_output; /* where they begin; */
    uint32_t in_row;     /* and where its rows begin in the map of the inputs. */
    uint32_t first_tile;
};

struct skinny {
    struct cuda_tensor_map in;
    struct cuda_tensor_map weights[1 + CUDA_LOW_RANKS];
    struct problem problems[PROBLEMS_MAX];
    uint32_t problem_count;
    uint32_t tiles, tile_chunks; /* Chunks of a tile. */
    uint32_t parts;              /* Of each tile; more than one: a block for each. */
    uint32_t stages, ahead;
    const struct cuda_step_header *header;
    float4 *sums;      /* [grid][quads][MULTIPLIERS] */
    uint32_t *arrived; /* [tiles] */
};

static __host__ __device__ constexpr uint32_t stage_bytes_of(uint32_t rows)
{
    return WEIGHT_BYTES + rows * DEEP * 2;
}

/* ---- The line of chunks ------------------------------------------------------------------- */

static __device__ __forceinline__ uint32_t first_chunk_of(const struct skinny &p, uint32_t block)
{
    const uint32_t unit = p.tiles * p.parts * block / gridDim.x;
    return unit / p.parts * p.tile_chunks + unit % p.parts * p.tile_chunks / p.parts;
}

static __device__ __forceinline__ const struct problem &problem_of(const struct skinny &p,
                                                                   uint32_t tile)
{
    uint32_t index = 0;
    while (index + 1 < p.problem_count && tile >= p.problems[index + 1].first_tile) {
        index++;
    }
    return p.problems[index];
}
