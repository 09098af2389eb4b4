/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_choice.cuh - truncation and draw: engine/sampler_choice.c on a block.
 *
 * Every truncation keeps a prefix, so that together they are one cutoff of keys; the draw is a
 * prefix too, in the order of ids. Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_select.cuh"

/* ---- Step 4: truncation ------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t sampler_less(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static __device__ __forceinline__ struct sampler_tally sampler_mass_wanted(uint64_t mass)
{
    const struct sampler_tally wanted = {mass > 0 ? mass : 1, UINT32_MAX};
    return wanted;
}

/* The largest key that is kept. */
static __device__ __forceinline__ uint64_t sampler_truncate(struct sampler_shared *shared,
                                                            const struct cuda_sampler_slot *slot)
{
    const bool is_rwkv = slot->rwkv != 0;
    const struct sampler_tally most_likely = {UINT64_MAX, slot->top_k};
    uint64_t total = shared->set.mass;
    uint64_t cutoff = (uint64_t)slot->min_p_reach << 32 | UINT32_MAX;
    if (slot->top_k > 0) {
        const struct sampler_prefix prefix = sampler_select(shared, most_likely);
        cutoff = sampler_less(cutoff, prefix.cutoff);
        total = is_rwkv ? total : prefix.tally.mass;
    }
    if (slot->top_p > 0) {
        const uint64_t share = sampler_mass_share(total, slot->top_p);
        const uint64_t last = sampler_select(shared, sampler_mass_wanted(share)).cutoff;
        cutoff = sampler_less(cutoff, last | (is_rwkv ? UINT32_MAX : 0)); /* With all that tie. */
    }
    return cutoff;
}

/* ---- Step 5: the draw --------------------------------------------------------------------- */

/* The token of the set, by id, at which the summed masses exceed the offset. count: as that of
 * sampler_search; `before`: of the tokens before the set's. */
template <bool is_listed>
static __device__ __forceinline__ int32_t sampler_find(struct sampler_shared *shared,
                                                       uint32_t count, struct sampler_tally before,
                                                       uint64_t offset)
{
    const uint64_t low = (uint64_t)shared->set.first_token << 32;
    const uint64_t high = ((uint64_t)shared->set.end_token << 32) - 1;
    const struct sampler_tally wanted = sampler_mass_wanted(offset + 1);
    return (int32_t)(sampler_search<is_listed>(shared, low, high, count, before, wanted).cutoff >>
                     32);
}

/* The first token, in id order, at which the summed masses exceed the random share of their sum:
 * of the tokens of the set that are kept. */
template <bool is_listed>
static __device__ __forceinline__ int32_t sampler_pick(struct sampler_shared *shared,
                                                       uint64_t random)
{
    const struct sampler_tally nothing = {0, 0};
    const struct sampler_tally kept = sampler_sum<is_listed>(shared);
    const uint64_t offset = sampler_mass_share(kept.mass, random);
    return sampler_find<is_listed>(shared, kept.count, nothing, offset);
}

/* The same when all are kept: of the chunk whose mass holds the offset. masses: of the chunks. */
static __device__ __forceinline__ int32_t sampler_pick_of_all(struct sampler_shared *shared,
                                                              const uint64_t *masses,
                                                              uint32_t chunk_count, uint64_t random)
{
    const uint64_t offset = sampler_mass_share(shared->set.mass, random);
    const struct sampler_tally own = {threadIdx.x < chunk_count ? masses[threadIdx.x] : 0, 0};
    const struct sampler_tally below = sampler_sum_before(shared, own);
    if (below.mass <= offset && offset - below.mass < own.mass) {
        shared->set.first_token = threadIdx.x * CUDA_SAMPLER_CHUNK;
        shared->set.end_token = (threadIdx.x + 1) * CUDA_SAMPLER_CHUNK;
        shared->before = below;
    }
    __syncthreads();
    return sampler_find<false>(shared, CUDA_SAMPLER_CHUNK, shared->before, offset);
}

/* sampler_choice_draw; the set is that of the draw, slot not greedy. */
static __device__ __forceinline__ int32_t sampler_choose(struct sampler_shared *shared,
                                                         const struct cuda_sampler_slot *slot,
                                                         const uint64_t *masses,
                                                         uint32_t chunk_count, uint64_t random)
{
    const bool truncates = slot->truncates != 0;
    const uint64_t cutoff = truncates ? sampler_truncate(shared, slot) : shared->set.last_key;
    const bool is_near = shared->set.is_listed && cutoff <= shared->set.near_key;
    __syncthreads(); /* The order is read no more. */
    if (threadIdx.x == 0) {
        shared->set.order.is_by_id = true;
        shared->set.order.cutoff = cutoff;
        shared->set.order.scale = slot->scale;
    }
    __syncthreads();
    if (!truncates) {
        return sampler_pick_of_all(shared, masses, chunk_count, random);
    }
    return is_near ? sampler_pick<true>(shared, random) : sampler_pick<false>(shared, random);
}
