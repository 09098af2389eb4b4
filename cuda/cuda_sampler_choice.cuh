/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_choice.cuh - truncation and draw: engine/sampler_choice.c on a block.
 *
 * Top-k and top-p become a cutoff of keys (cuda_sampler_select.cuh), min-p a smallest mass; the
 * draw is two more passes over the tokens that pass both. Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_select.cuh"

/* ---- Step 4: truncation ------------------------------------------------------------------- */

/* floor(mass * fraction / 2^64) */
static __device__ __forceinline__ uint64_t sampler_mass_share(uint64_t mass, uint64_t fraction)
{
    return __umul64hi(mass, fraction);
}

static __device__ __forceinline__ struct sampler_tally sampler_top_p_wanted(uint64_t total,
                                                                            uint64_t top_p)
{
    const uint64_t share = sampler_mass_share(total, top_p);
    const struct sampler_tally wanted = {share > 0 ? share : 1, UINT32_MAX};
    return wanted;
}

/* Step 4 but for min-p. */
static __device__ SAMPLER_APART uint64_t sampler_truncate(struct sampler_shared *shared,
                                                          const struct sampler_row *row,
                                                          const struct cuda_sampler_slot *slot,
                                                          struct sampler_order *order)
{
    uint64_t cutoff = sampler_last_key(order);
    const struct sampler_tally most_likely = {UINT64_MAX, slot->top_k};
    if (slot->top_k > 0 && slot->rwkv == 0) {
        order->weighs = false;
        cutoff = sampler_select(shared, row, order, cutoff, most_likely);
    }
    if (slot->top_p > 0) {
        order->weighs = true;
        const uint64_t total = slot->top_k > 0 && slot->rwkv == 0
                                   ? sampler_measure(shared, row, order, 0, cutoff).mass
                                   : sampler_total_mass(shared, row, order->best, order->scale);
        const struct sampler_tally wanted = sampler_top_p_wanted(total, slot->top_p);
        cutoff = sampler_select(shared, row, order, cutoff, wanted);
        cutoff |= slot->rwkv != 0 ? UINT32_MAX : 0; /* With all that tie. */
    }
    if (slot->top_k > 0 && slot->rwkv != 0) {
        order->weighs = false;
        cutoff = sampler_select(shared, row, order, cutoff, most_likely);
    }
    return cutoff;
}

/* ---- Step 5: the draw --------------------------------------------------------------------- */

/* The set drawn from, as what a token weighs in it. */
struct sampler_kept {
    float best;
    float scale;
    uint64_t cutoff;
    uint64_t min_mass; /* At temperature 1 if at_one, else at the draw's own. */
    bool at_one;
};

static __device__ __forceinline__ uint64_t sampler_kept_mass(const struct sampler_kept *kept,
                                                             float score, uint32_t token)
{
    const float distance = kept->best - score;
    const uint64_t key = (uint64_t)sampler_math_bits(distance) << 32 | token;
    if (key > kept->cutoff) {
        return 0;
    }
    const uint64_t mass = sampler_mass_at(distance, kept->scale);
    const uint64_t judged = kept->at_one ? sampler_mass_at(distance, 1.0f) : mass;
    return judged >= kept->min_mass ? mass : 0;
}

/* A thread's part of a tile. */
struct sampler_kept_tile {
    uint64_t mass[4];
    uint64_t sum;
};

static __device__ __forceinline__ struct sampler_kept_tile
sampler_weigh_tile(const struct sampler_row *row, const struct sampler_kept *kept, uint32_t tile)
{
    const float4 scores = sampler_tile(row, tile);
    const uint32_t token = sampler_token_of(row, tile);
    struct sampler_kept_tile weighed;
    weighed.mass[0] = sampler_kept_mass(kept, scores.x, token);
    weighed.mass[1] = sampler_kept_mass(kept, scores.y, token + 1);
    weighed.mass[2] = sampler_kept_mass(kept, scores.z, token + 2);
    weighed.mass[3] = sampler_kept_mass(kept, scores.w, token + 3);
    weighed.sum = weighed.mass[0] + weighed.mass[1] + weighed.mass[2] + weighed.mass[3];
    return weighed;
}

/* Of the warp whose segment holds the offset: finds its token. */
static __device__ __forceinline__ void sampler_find(struct sampler_shared *shared,
                                                    const struct sampler_row *row,
                                                    const struct sampler_kept *kept,
                                                    uint64_t offset)
{
    for (uint32_t tile = 0; tile < row->tiles; tile++) {
        const struct sampler_kept_tile weighed = sampler_weigh_tile(row, kept, tile);
        const uint64_t of_tile = sampler_warp_reduce(SAMPLER_SUM, weighed.sum);
        if (offset >= of_tile) {
            offset -= of_tile;
            continue;
        }
        uint64_t sum = weighed.sum; /* Up to and with this lane. */
#pragma unroll
        for (uint32_t distance = 1; distance < SAMPLER_LANES; distance *= 2) {
            const uint64_t before = __shfl_up_sync(CUDA_WARP_ALL, sum, distance);
            sum += threadIdx.x % SAMPLER_LANES >= distance ? before : 0;
        }
        uint64_t begin = sum - weighed.sum;
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            if (offset >= begin && offset - begin < weighed.mass[index]) {
                shared->token = (int32_t)(sampler_token_of(row, tile) + index);
            }
            begin += weighed.mass[index];
        }
        return;
    }
}

/* The first token, in id order, at which the summed masses exceed the random share of their sum. */
static __device__ SAMPLER_APART int32_t sampler_pick(struct sampler_shared *shared,
                                                     const struct sampler_row *row,
                                                     const struct sampler_kept *kept,
                                                     uint64_t random)
{
    uint64_t mass = 0;
    for (uint32_t tile = 0; tile < row->tiles; tile++) {
        mass += sampler_weigh_tile(row, kept, tile).sum;
    }
    mass = sampler_warp_reduce(SAMPLER_SUM, mass);
    const uint32_t own_warp = threadIdx.x / SAMPLER_LANES;
    if (threadIdx.x % SAMPLER_LANES == 0) {
        shared->reduced[own_warp] = mass;
    }
    __syncthreads();
    const uint32_t warps = blockDim.x / SAMPLER_LANES;
    uint64_t total = 0; /* More than 0: the best is kept. */
    for (uint32_t warp = 0; warp < warps; warp++) {
        total += shared->reduced[warp];
    }
    uint64_t offset = sampler_mass_share(total, random);
    uint32_t chosen_warp = 0;
    while (chosen_warp + 1 < warps && offset >= shared->reduced[chosen_warp]) {
        offset -= shared->reduced[chosen_warp];
        chosen_warp++;
    }
    if (own_warp == chosen_warp) {
        sampler_find(shared, row, kept, offset);
    }
    __syncthreads();
    const int32_t token = shared->token;
    __syncthreads();
    return token;
}

/* sampler_choice_draw: row after sampler_best, slot not greedy. */
static __device__ __forceinline__ int32_t sampler_choose(struct sampler_shared *shared,
                                                         const struct sampler_row *row,
                                                         const struct cuda_sampler_slot *slot,
                                                         float best, uint64_t random)
{
    struct sampler_kept kept = {best, slot->scale, UINT64_MAX, 0, false};
    if (slot->top_k > 0 || slot->top_p > 0 || slot->min_mass > 0) {
        struct sampler_order order = {best, slot->rwkv != 0 ? 1.0f : slot->scale, false, false};
        kept.at_one = slot->rwkv != 0;
        kept.cutoff = sampler_truncate(shared, row, slot, &order);
        kept.min_mass = slot->min_mass > 0 ? slot->min_mass : 1;
    }
    return sampler_pick(shared, row, &kept, random);
}
