/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_skinny_tile.cuh - the sums of a tile on their way out: alone, or joined with those of
 * the blocks that have other parts of the same tile.
 *
 * A thread's sums are those of cuda_wgmma: d[i] of its warpgroup's 64 outputs x ROWS rows. Only
 * cuda_skinny.cu includes this. Thread: device. */
#pragma once

#include "cuda/cuda_skinny_line.cuh"

#if CUDA_HAS_WARPGROUP

/* ---- Outputs ------------------------------------------------------------------------------ */

/* Where a thread's d[i] belongs: row and output of its tile. Quad q is d[4 q .. 4 q + 3]. */
static __device__ __forceinline__ uint32_t row_of(uint32_t i)
{
    return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
}

static __device__ __forceinline__ uint32_t output_of(uint32_t i)
{
    return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8;
}

template <int KIND, int COUNT>
static __device__ __forceinline__ void apply(uint32_t after, float (&d)[COUNT])
{
    if (KIND == FFN_KEY) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) {
            d[i] = cuda_relu_squared_of(d[i]);
        }
    } else if (KIND == ATT_IN && after != AFTER_F16) {
        const float scale = after == AFTER_TANH ? 2.0f : 1.0f;
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) {
            d[i] = low_rank_curve(d[i], scale);
        }
    }
}

/* COUNT quads of a tile, of which those below `end` exist, `step` apart. What is read of x is on
 * the way at once. */
template <int KIND, int COUNT>
static __device__ __forceinline__ void store_quads(const struct problem &problem,
                                                   uint32_t first_output, uint32_t row_count,
                                                   uint32_t quad, uint32_t step, uint32_t end,
                                                   float (&d)[COUNT * 4])
{
    constexpr bool ADDS = KIND == ATT_OUT || KIND == FFN_VALUE;
    apply<KIND>(problem.after, d);
    float before[COUNT * 4];
#pragma unroll
    for (uint32_t i = 0; i < COUNT * 4; i++) {
        const uint32_t at = (quad + i / 4 * step) * 4 + i % 4;
        const uint32_t row = row_of(at), output = first_output + output_of(at);
        const bool exists = at < end * 4 && row < row_count && output < problem.outputs;
        before[i] = 0.0f;
        if (ADDS && exists) {
            before[i] = __ldcg((const float *)problem.out + (size_t)row * problem.stride + output);
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < COUNT * 4; i++) {
        const uint32_t at = (quad + i / 4 * step) * 4 + i % 4;
        const uint32_t row = row_of(at), output = first_output + output_of(at);
        const size_t place = (size_t)row * problem.stride + output;
        if (at < end * 4 && row < row_count && output < problem.outputs) {
            if (ADDS) {
                ((float *)problem.out)[place] = before[i] + d[i];
            } else {
                ((cuda_half *)problem.out)[place] = __float2half_rn(d[i]);
            }
        }
    }
}

/* A whole tile as f16, through `staged` [ROWS][STAGED_PITCH], so that rows are written at once. */
template <int ROWS, int KIND>
static __device__ __forceinline__ void store_tile(const struct problem &problem,
                                                  uint32_t first_output, uint32_t row_count,
                                                  float (&d)[ROWS / 2], cuda_half *staged)
{
    constexpr uint32_t VECTORS = TILE / 8; /* Of a row. */
    apply<KIND>(problem.after, d);
    cuda_barrier_sync(MULTIPLIERS_BARRIER, MULTIPLIERS); /* The tile before has been stored. */
#pragma unroll
    for (uint32_t i = 0; i < ROWS / 2; i++) {
        staged[row_of(i) * STAGED_PITCH + output_of(i)] = __float2half_rn(d[i]);
    }
    cuda_barrier_sync(MULTIPLIERS_BARRIER, MULTIPLIERS);
    cuda_half *out = (cuda_half *)problem.out + first_output;
    const uint32_t output = threadIdx.x % VECTORS * 8;
    if (first_output + output < problem.outputs) {
        for (uint32_t row = threadIdx.x / VECTORS; row < ROWS && row < row_count;
             row += MULTIPLIERS / VECTORS) {
            *(uint4 *)(void *)(out + (size_t)row * problem.stride + output) =
                *(const uint4 *)(const void *)(staged + row * STAGED_PITCH + output);
        }
    }
}

/* A tile of which this block has all sums. */
template <int ROWS, int KIND>
static __device__ __forceinline__ void finish_tile(const struct problem &problem,
                                                   uint32_t first_output, uint32_t row_count,
                                                   float (&d)[ROWS / 2], cuda_half *staged)
{
    constexpr uint32_t BATCH = ROWS / 8 < ADD_QUADS ? ROWS / 8 : (uint32_t)ADD_QUADS;
    if (KIND == ATT_IN || KIND == FFN_KEY) {
        store_tile<ROWS, KIND>(problem, first_output, row_count, d, staged);
    } else {
#pragma unroll
        for (uint32_t quad = 0; quad < ROWS / 8; quad += BATCH) {
            float part[BATCH * 4];
#pragma unroll
            for (uint32_t i = 0; i < BATCH * 4; i++) {
                part[i] = d[quad * 4 + i];
            }
            store_quads<KIND, BATCH>(problem, first_output, row_count, quad, 1, ROWS / 8, part);
        }
    }
}

/* ---- Joining ------------------------------------------------------------------------------ */

/* Where the block with part `part` of a tile leaves its sums. */
template <int ROWS>
static __device__ __forceinline__ float4 *sums_of(const struct skinny &p, uint32_t tile,
                                                  uint32_t part)
{
    return p.sums + (size_t)(tile * p.parts + part) * (ROWS / 8) * MULTIPLIERS + threadIdx.x;
}

/* Waits until all parts of the tile have left their sums; all blocks of the grid are resident at
 * once, so that they come. [*first_out, *end_out): the shares of the quads that this block adds up,
 * its own. The emulator runs one block after the other: there the last one adds up all. */
static __device__ __forceinline__ void meet(const struct skinny &p, uint32_t tile, uint32_t *seen,
                                            uint32_t *first_out, uint32_t *end_out)
{
    __threadfence();
    cuda_barrier_sync(MULTIPLIERS_BARRIER, MULTIPLIERS);
    if (threadIdx.x == 0) {
        uint32_t arrived = atomicAdd(&p.arrived[tile], 1u) + 1;
#ifndef SKEIN_CUDA_EMULATOR
        while (arrived < p.parts) {
            arrived = *(volatile uint32_t *)&p.arrived[tile];
        }
#endif
        __threadfence();
        *seen = arrived;
    }
    cuda_barrier_sync(MULTIPLIERS_BARRIER, MULTIPLIERS);
#ifdef SKEIN_CUDA_EMULATOR
    *first_out = 0;
    *end_out = *seen == p.parts ? p.parts : 0;
    const uint32_t leaving = *seen == p.parts ? p.parts : 0;
#else
    *first_out = blockIdx.x % p.parts;
    *end_out = *first_out + 1;
    const uint32_t leaving = 1;
#endif
    if (threadIdx.x == 0 && leaving > 0
        && atomicAdd(&p.arrived[tile], leaving) + leaving == 2 * p.parts) {
        p.arrived[tile] = 0; /* For the next launch: everybody has seen that all are here. */
    }
}

/* Adds up share `share` of the tile's quads, sums of PARTS or fewer parts each. */
template <int ROWS, int KIND, int PARTS>
static __device__ __forceinline__ void join_share(const struct skinny &p, uint32_t tile,
                                                  uint32_t share, const struct problem &problem,
                                                  uint32_t first_output, uint32_t row_count)
{
    constexpr uint32_t QUADS = ROWS / 8;
    constexpr uint32_t WANTED = JOIN_LOADS / PARTS;
    constexpr uint32_t BATCH = QUADS < WANTED ? QUADS : WANTED;
    for (uint32_t quad = share; quad < QUADS; quad += BATCH * p.parts) {
        float4 parts[PARTS][BATCH];
#pragma unroll
        for (uint32_t index = 0; index < PARTS; index++) {
            const float4 *from = sums_of<ROWS>(p, tile, index);
#pragma unroll
            for (uint32_t i = 0; i < BATCH; i++) {
                const uint32_t at = quad + i * p.parts;
                parts[index][i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (index < p.parts && at < QUADS) {
                    parts[index][i] = __ldcg(from + at * MULTIPLIERS);
                }
            }
        }
        float d[BATCH * 4];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            float4 sum = parts[0][i];
#pragma unroll
            for (uint32_t index = 1; index < PARTS; index++) {
                sum = make_float4(sum.x + parts[index][i].x, sum.y + parts[index][i].y,
                                  sum.z + parts[index][i].z, sum.w + parts[index][i].w);
            }
            d[i * 4] = sum.x;
            d[i * 4 + 1] = sum.y;
            d[i * 4 + 2] = sum.z;
            d[i * 4 + 3] = sum.w;
        }
        store_quads<KIND, BATCH>(problem, first_output, row_count, quad, p.parts, QUADS, d);
    }
}

template <int ROWS, int KIND>
static __device__ __forceinline__ void join_tile(const struct skinny &p, uint32_t tile,
                                                 const struct problem &problem,
                                                 uint32_t first_output, uint32_t row_count,
                                                 const float (&d)[ROWS / 2], uint32_t *seen)
{
    float4 *own = sums_of<ROWS>(p, tile, blockIdx.x % p.parts);
#pragma unroll
    for (uint32_t i = 0; i < ROWS / 8; i++) {
        own[i * MULTIPLIERS] = make_float4(d[i * 4], d[i * 4 + 1], d[i * 4 + 2], d[i * 4 + 3]);
    }
    uint32_t share = 0, end = 0;
    meet(p, tile, seen, &share, &end);
    for (; share < end; share++) {
        if (p.parts <= 2) {
            join_share<ROWS, KIND, 2>(p, tile, share, problem, first_output, row_count);
        } else if (p.parts <= 4) {
            join_share<ROWS, KIND, 4>(p, tile, share, problem, first_output, row_count);
        } else {
            join_share<ROWS, KIND, PARTS_MAX>(p, tile, share, problem, first_output, row_count);
        }
    }
}

#endif
