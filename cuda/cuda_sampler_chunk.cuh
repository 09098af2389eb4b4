/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_chunk.cuh - what the two kernels of sampling find out about one chunk of a row.
 *
 * Masses need the best score of the whole row: so the first kernel looks for it alone, and for a
 * score above which some 3 % of the tokens lie. The second weighs all tokens and lists those above.
 * Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_job.cuh"
#include "cuda/cuda_sampler_set.cuh"

enum { SAMPLER_GROUP_LANES = 8 }; /* With 16 tokens each. */

/* ---- The chunk ----------------------------------------------------------------------------- */

/* A thread's first token of a visit to the chunk. */
static __device__ __forceinline__ uint32_t sampler_chunk_token(uint32_t visit)
{
    return blockIdx.x * CUDA_SAMPLER_CHUNK + visit * SAMPLER_VISIT + 4 * threadIdx.x;
}

/* Fills chunk [SAMPLER_VISITS][SAMPLER_THREADS], shared, with the row's logits. Each thread meets
 * only what it wrote. From here loops over visits need not be unrolled: a kernel of a step starts
 * with its program in no cache near by. */
static __device__ __forceinline__ void sampler_load_chunk(const struct cuda_sampler *sampler,
                                                          const float *logits, float4 *chunk)
{
    float4 loaded[SAMPLER_VISITS];
    const uint32_t whole_end = sampler->V % 4 == 0 ? sampler->token_count / 4 * 4 : 0;
#pragma unroll
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        const uint32_t token = sampler_chunk_token(visit);
        if (token < whole_end) {
            loaded[visit] = *(const float4 *)(logits + token);
        }
    }
#pragma unroll
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        if (sampler_chunk_token(visit) < whole_end) {
            chunk[visit * SAMPLER_THREADS + threadIdx.x] = loaded[visit];
        }
    }
#pragma unroll 1
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        const uint32_t token = sampler_chunk_token(visit);
        if (token >= whole_end) {
            chunk[visit * SAMPLER_THREADS + threadIdx.x] =
                sampler_load(logits, sampler->V, sampler->token_count, token);
        }
    }
}

/* Makes scores of the chunk's logits, not yet clean. */
static __device__ __forceinline__ void sampler_adjust_chunk(const struct sampler_row *row,
                                                            float4 *chunk)
{
    if (row->slot == NULL) {
        return;
    }
#pragma unroll 1
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        float4 *scores = &chunk[visit * SAMPLER_THREADS + threadIdx.x];
        *scores = sampler_scores(row, sampler_chunk_token(visit), *scores);
    }
}

static __device__ __forceinline__ float4 sampler_chunk_scores(const float4 *chunk, uint32_t visit)
{
    return sampler_clean4(chunk[visit * SAMPLER_THREADS + threadIdx.x]);
}

/* ---- The first kernel: peaks -------------------------------------------------------------- */

static __device__ __forceinline__ void sampler_prefer(float score, uint32_t token, float *best,
                                                      uint32_t *best_token)
{
    if (score > *best) {
        *best = score;
        *best_token = token;
    }
}

/* The exact key of the thread's largest score, the lowest id among equals. */
static __device__ __forceinline__ uint64_t sampler_best_of_thread(const float4 *chunk)
{
    float best = -INFINITY;
    uint32_t best_token = 0;
#pragma unroll
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        const uint32_t token = sampler_chunk_token(visit);
        const float4 scores = sampler_chunk_scores(chunk, visit);
        sampler_prefer(scores.x, token, &best, &best_token);
        sampler_prefer(scores.y, token + 1, &best, &best_token);
        sampler_prefer(scores.z, token + 2, &best, &best_token);
        sampler_prefer(scores.w, token + 3, &best, &best_token);
    }
    return best > -INFINITY ? (uint64_t)sampler_rank(best) << 32 | best_token : SAMPLER_NO_KEY;
}

/* A chunk's floor is the lowest of the best scores of its groups of 128 tokens: about 3 % of tokens
 * that are spread evenly reach it. Groups in which nothing is possible do not count. */
static __device__ __forceinline__ void sampler_find_peak(const float4 *chunk,
                                                         uint64_t reduced[SAMPLER_WARPS],
                                                         uint32_t floors[SAMPLER_WARPS],
                                                         struct cuda_sampler_peak *peak)
{
    uint64_t best = sampler_best_of_thread(chunk);
#pragma unroll
    for (uint32_t offset = 1; offset < SAMPLER_GROUP_LANES; offset *= 2) {
        best = sampler_combine(SAMPLER_MIN, best, __shfl_xor_sync(CUDA_WARP_ALL, best, offset));
    }
    uint32_t floor = best != SAMPLER_NO_KEY ? (uint32_t)(best >> 32) : 0;
#pragma unroll
    for (uint32_t offset = SAMPLER_GROUP_LANES; offset < SAMPLER_LANES; offset *= 2) {
        best = sampler_combine(SAMPLER_MIN, best, __shfl_xor_sync(CUDA_WARP_ALL, best, offset));
        const uint32_t other = __shfl_xor_sync(CUDA_WARP_ALL, floor, offset);
        floor = other > floor ? other : floor;
    }
    if (threadIdx.x % SAMPLER_LANES == 0) {
        reduced[threadIdx.x / SAMPLER_LANES] = best;
        floors[threadIdx.x / SAMPLER_LANES] = floor;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
        for (uint32_t warp = 1; warp < SAMPLER_WARPS; warp++) {
            best = sampler_combine(SAMPLER_MIN, best, reduced[warp]);
            floor = floors[warp] > floor ? floors[warp] : floor;
        }
        peak->best_key = best;
        peak->floor = floor;
    }
}

/* ---- The second kernel: a view of a row --------------------------------------------------- */

static __device__ __forceinline__ uint64_t sampler_whole_key(uint32_t high)
{
    return (uint64_t)high << 32 | UINT32_MAX;
}

/* Order and bounds of a view; best_key of a possible token. */
static __device__ __forceinline__ void sampler_order_view(const struct cuda_sampler_slot *slot,
                                                          uint32_t view, uint64_t best_key,
                                                          uint32_t floor, struct sampler_set *set)
{
    const float best = sampler_score_of_rank((uint32_t)(best_key >> 32));
    const bool is_raw = view == SAMPLER_RAW;
    set->order.best = best;
    set->order.is_exact = is_raw;
    if (is_raw) {
        set->order.scale = 1.0f;
        set->first_key = best_key;
        set->last_key = sampler_whole_key(sampler_rank(-INFINITY) - 1);
        set->near_key = sampler_whole_key(floor);
        return;
    }
    const bool truncates = slot->truncates != 0;
    const uint64_t near_key =
        sampler_whole_key(sampler_math_bits(best - sampler_score_of_rank(floor)));
    set->order.scale = truncates && slot->rwkv != 0 ? 1.0f : slot->scale;
    set->last_key = sampler_whole_key(truncates ? slot->reach : sampler_math_bits(INFINITY) - 1);
    set->near_key = near_key < set->last_key ? near_key : set->last_key;
}

/* The peak of the thread's chunk, of which there may be fewer than threads. */
static __device__ __forceinline__ struct cuda_sampler_peak
sampler_load_peak(const struct cuda_sampler *sampler, uint32_t row, uint32_t view)
{
    const struct cuda_sampler_peak none = {SAMPLER_NO_KEY, 0, 0};
    return threadIdx.x < sampler->chunk_count
               ? sampler->peaks[sampler_first_chunk(sampler, row, view) + threadIdx.x]
               : none;
}

/* Sets shared->best_keys[view] and, if a token is possible, shared->sets[view] from the threads'
 * peaks; returns the best's exact key. The row's floor is the middle one of its chunks. All
 * threads. */
static __device__ __forceinline__ uint64_t sampler_open_view(struct sampler_shared *shared,
                                                             const struct cuda_sampler *sampler,
                                                             const struct sampler_job *job,
                                                             uint32_t view,
                                                             struct cuda_sampler_peak own)
{
    struct cuda_sampler_peak *peaks = shared->peaks;
    __syncthreads(); /* The last view's peaks are read no more. */
    peaks[threadIdx.x] = own;
    __syncthreads();
    uint64_t best_key = SAMPLER_NO_KEY;
    uint32_t floors = 0;
    uint32_t place = 0; /* Of the own floor among them. */
    for (uint32_t chunk = 0; chunk < sampler->chunk_count; chunk++) {
        const struct cuda_sampler_peak other = peaks[chunk];
        const bool is_before =
            other.floor < own.floor || (other.floor == own.floor && chunk < threadIdx.x);
        best_key = other.best_key < best_key ? other.best_key : best_key;
        floors += other.floor != 0 ? 1 : 0;
        place += other.floor != 0 && is_before ? 1 : 0;
    }
    if (threadIdx.x == 0) {
        shared->best_keys[view] = best_key;
    }
    if (own.floor != 0 && place == (floors - 1) / 2) {
        struct sampler_set set = {};
        set.row = &shared->rows[view];
        set.end_token = sampler->V;
        sampler_order_view(&sampler->slots[job->slot], view, best_key, own.floor, &set);
        shared->sets[view] = set;
    }
    __syncthreads();
    return best_key;
}

/* ---- The second kernel: weighing ---------------------------------------------------------- */

/* Of a thread's tokens of the chunk. */
struct sampler_weights {
    uint64_t mass;
    uint64_t near_mass;
    uint32_t near; /* A bit for each token that is likely. */
};

template <bool is_exact>
static __device__ __forceinline__ struct sampler_weights
sampler_weigh_chunk(const struct sampler_set *set, bool lists, const float4 *chunk)
{
    const float best = set->order.best;
    const float scale = set->order.scale;
    const uint32_t near_end = lists ? (uint32_t)(set->near_key >> 32) + 1 : 0;
    struct sampler_weights weights = {0, 0, 0};
#pragma unroll 1
    for (uint32_t visit = 0; visit < SAMPLER_VISITS; visit++) {
        const float4 scores = sampler_chunk_scores(chunk, visit);
        const float values[4] = {scores.x, scores.y, scores.z, scores.w};
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            const float distance = best - values[index];
            const uint64_t mass = sampler_mass_at(distance, scale);
            const uint32_t high =
                is_exact ? sampler_rank(values[index]) : sampler_math_bits(distance);
            weights.mass += mass;
            if (high < near_end) {
                weights.near_mass += mass;
                weights.near |= 1u << (4 * visit + index);
            }
        }
    }
    return weights;
}

/* Writes the chunk's mass, adds to what is found in the row, and so reserves room in the list;
 * returns the thread's first place. */
static __device__ __forceinline__ uint32_t sampler_add_chunk(struct sampler_shared *shared,
                                                             const struct sampler_weights *weights,
                                                             uint32_t view,
                                                             struct cuda_sampler_found *found,
                                                             uint64_t *mass_out)
{
    const uint32_t lane = threadIdx.x % SAMPLER_LANES;
    const uint32_t own_warp = threadIdx.x / SAMPLER_LANES;
    const uint64_t mass = sampler_warp_reduce(SAMPLER_SUM, weights->mass);
    const uint64_t near_mass = sampler_warp_reduce(SAMPLER_SUM, weights->near_mass);
    const uint32_t own_count = (uint32_t)__popc(weights->near);
    uint32_t count = own_count; /* Up to and with this lane. */
#pragma unroll
    for (uint32_t offset = 1; offset < SAMPLER_LANES; offset *= 2) {
        const uint32_t before = __shfl_up_sync(CUDA_WARP_ALL, count, offset);
        count += lane >= offset ? before : 0;
    }
    if (lane == SAMPLER_LANES - 1) {
        shared->reduced[own_warp] = mass;
        shared->near_reduced[own_warp] = near_mass;
        shared->counted[own_warp] = count;
    }
    __syncthreads();
    uint32_t place = count - own_count;
#pragma unroll
    for (uint32_t warp = 0; warp < SAMPLER_WARPS; warp++) {
        place += warp < own_warp ? shared->counted[warp] : 0;
    }
    if (threadIdx.x == SAMPLER_THREADS - 1) {
        const uint32_t of_block = place + own_count;
        uint64_t block_mass = 0;
        uint64_t block_near = 0;
#pragma unroll
        for (uint32_t warp = 0; warp < SAMPLER_WARPS; warp++) {
            block_mass += shared->reduced[warp];
            block_near += shared->near_reduced[warp];
        }
        shared->place = of_block > 0 ? atomicAdd(&found->listed[view], of_block) : 0;
        atomicAdd((unsigned long long *)&found->mass[view], (unsigned long long)block_mass);
        atomicAdd((unsigned long long *)&found->near_mass[view], (unsigned long long)block_near);
        *mass_out = block_mass;
    }
    __syncthreads();
    return shared->place + place;
}

/* Weighs and lists the block's chunk; all threads. */
template <uint32_t view>
static __device__ __forceinline__ void
sampler_weigh_view(struct sampler_shared *shared, const struct cuda_sampler *sampler,
                   const struct sampler_job *job, bool lists, const float4 *chunk)
{
    const struct sampler_set *set = &shared->sets[view];
    const struct sampler_weights weights =
        sampler_weigh_chunk<view == SAMPLER_RAW>(set, lists, chunk);
    uint64_t *mass = &sampler->masses[sampler_first_chunk(sampler, job->row, view) + blockIdx.x];
    uint32_t place = sampler_add_chunk(shared, &weights, view, &sampler->found[job->row], mass);
    uint64_t *keys = sampler_near_keys(sampler, job->row, view);
    for (uint32_t near = weights.near; near != 0 && place < CUDA_SAMPLER_LIST; near &= near - 1) {
        const uint32_t index = (uint32_t)__ffs((int)near) - 1;
        const float4 *four = &chunk[index / 4 * SAMPLER_THREADS + threadIdx.x];
        const float score = sampler_clean(((const float *)four)[index % 4]);
        keys[place] = sampler_key(&set->order, score, sampler_chunk_token(index / 4) + index % 4);
        place++;
    }
}
