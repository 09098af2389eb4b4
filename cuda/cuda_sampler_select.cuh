/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_select.cuh - the smallest prefix of an order that weighs or counts enough.
 *
 * A search tallies a set's tokens in 256 bins of neighbours in the order, goes on in the bin where
 * enough is reached, and compares the last few each with each. Positions are unique, so that bins
 * show nowhere in a result. Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_set.cuh"

enum { SAMPLER_BIN_BITS = 8 };
#define SAMPLER_ANY_BIN UINT32_MAX

/* ---- Ranges ------------------------------------------------------------------------------- */

/* The positions in [low, high], of one bin when it has been found. */
struct sampler_range {
    uint64_t low;
    uint64_t high;
    uint64_t base; /* What low is mapped to. */
    uint32_t shift;
    uint32_t bin; /* SAMPLER_ANY_BIN: all. */
    bool is_raw;  /* Positions are mapped to themselves. */
};

/* Never falls where positions rise. Distances + 1 as bits have bins of equal width up to a distance
 * of 1, and wider ones beyond, where tokens are scarce in the sum. */
static __device__ __forceinline__ uint64_t sampler_map(const struct sampler_order *order,
                                                       bool is_raw, uint64_t position)
{
    return is_raw ? position : sampler_math_bits(sampler_distance(order, position) + 1.0f);
}

static __device__ __forceinline__ struct sampler_range
sampler_range_over(const struct sampler_order *order, uint64_t low, uint64_t high)
{
    struct sampler_range range = {low, high, 0, 0, SAMPLER_ANY_BIN, order->is_by_id};
    range.base = sampler_map(order, range.is_raw, low);
    uint64_t width = sampler_map(order, range.is_raw, high) - range.base;
    if (width == 0) { /* Ties: their ids differ. */
        range.is_raw = true;
        range.base = low;
        width = high - low;
    }
    const int bits = 64 - __clzll((long long)width);
    range.shift = bits > SAMPLER_BIN_BITS ? (uint32_t)(bits - SAMPLER_BIN_BITS) : 0;
    return range;
}

static __device__ __forceinline__ uint32_t sampler_bin_of(const struct sampler_order *order,
                                                          const struct sampler_range *range,
                                                          uint64_t position)
{
    return (uint32_t)((sampler_map(order, range->is_raw, position) - range->base) >> range->shift);
}

static __device__ __forceinline__ bool sampler_holds(const struct sampler_order *order,
                                                     const struct sampler_range *range,
                                                     uint64_t position)
{
    return position >= range->low && position <= range->high &&
           (range->bin == SAMPLER_ANY_BIN || sampler_bin_of(order, range, position) == range->bin);
}

/* From the smallest to the largest position of a range; one at least. */
template <bool is_listed>
static __device__ __forceinline__ struct sampler_range
sampler_tighten(struct sampler_shared *shared, const struct sampler_range *range)
{
    const struct sampler_set *set = &shared->set;
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    struct sampler_walk walk = sampler_walk_begin<is_listed>(set);
    uint64_t positions[4];
    while (sampler_walk_next<is_listed>(shared, &walk, positions)) {
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            const uint64_t position = positions[index];
            if (sampler_holds(&set->order, range, position)) {
                low = position < low ? position : low;
                high = position > high ? position : high;
            }
        }
    }
    low = sampler_block_reduce(shared->reduced, SAMPLER_MIN, low);
    high = sampler_block_reduce(shared->reduced, SAMPLER_MAX, high);
    return sampler_range_over(&set->order, low, high);
}

/* ---- Bins --------------------------------------------------------------------------------- */

/* Two additions of words: shared memory has none of 64 bits. Whoever makes the low word overflow
 * carries. */
static __device__ __forceinline__ void sampler_add_to_bin(struct sampler_shared *shared,
                                                          uint32_t bin, uint64_t mass)
{
    atomicAdd(&shared->bin_count[bin], 1u);
    const uint32_t low = (uint32_t)mass;
    const uint32_t before = atomicAdd(&shared->bin_mass[0][bin], low);
    const uint32_t high = (uint32_t)(mass >> 32) + (before + low < low ? 1 : 0);
    if (high != 0) {
        atomicAdd(&shared->bin_mass[1][bin], high);
    }
}

template <bool is_listed>
static __device__ __forceinline__ void sampler_fill_bins(struct sampler_shared *shared,
                                                         const struct sampler_range *range)
{
    const struct sampler_set *set = &shared->set;
    shared->bin_mass[0][threadIdx.x] = 0;
    shared->bin_mass[1][threadIdx.x] = 0;
    shared->bin_count[threadIdx.x] = 0;
    __syncthreads();
    struct sampler_walk walk = sampler_walk_begin<is_listed>(set);
    uint64_t positions[4];
    while (sampler_walk_next<is_listed>(shared, &walk, positions)) {
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            if (sampler_holds(&set->order, range, positions[index])) {
                sampler_add_to_bin(shared, sampler_bin_of(&set->order, range, positions[index]),
                                   sampler_weigh(&set->order, positions[index]));
            }
        }
    }
    __syncthreads();
}

/* Sum of `own` over the threads before this one. */
static __device__ __forceinline__ struct sampler_tally
sampler_sum_before(struct sampler_shared *shared, struct sampler_tally own)
{
    const uint32_t lane = threadIdx.x % SAMPLER_LANES;
    const uint32_t own_warp = threadIdx.x / SAMPLER_LANES;
    struct sampler_tally sum = own;
#pragma unroll
    for (uint32_t offset = 1; offset < SAMPLER_LANES; offset *= 2) {
        const uint64_t mass = __shfl_up_sync(CUDA_WARP_ALL, sum.mass, offset);
        const uint32_t count = __shfl_up_sync(CUDA_WARP_ALL, sum.count, offset);
        sum.mass += lane >= offset ? mass : 0;
        sum.count += lane >= offset ? count : 0;
    }
    if (lane == SAMPLER_LANES - 1) {
        shared->reduced[own_warp] = sum.mass;
        shared->counted[own_warp] = sum.count;
    }
    __syncthreads();
#pragma unroll
    for (uint32_t warp = 0; warp < SAMPLER_WARPS; warp++) {
        sum.mass += warp < own_warp ? shared->reduced[warp] : 0;
        sum.count += warp < own_warp ? shared->counted[warp] : 0;
    }
    const struct sampler_tally before = {sum.mass - own.mass, sum.count - own.count};
    return before;
}

/* Sets bin and before of `shared` to the bin in which enough is reached, and total to what all come
 * to; SAMPLER_ANY_BIN when that is not enough. */
static __device__ __forceinline__ void sampler_find_bin(struct sampler_shared *shared,
                                                        struct sampler_tally before,
                                                        struct sampler_tally wanted)
{
    const struct sampler_tally own = {(uint64_t)shared->bin_mass[1][threadIdx.x] << 32 |
                                          shared->bin_mass[0][threadIdx.x],
                                      shared->bin_count[threadIdx.x]};
    if (threadIdx.x == 0) {
        shared->bin = SAMPLER_ANY_BIN;
    }
    const struct sampler_tally below = sampler_add(before, sampler_sum_before(shared, own));
    const struct sampler_tally with = sampler_add(below, own);
    if (!sampler_suffices(below, wanted) && sampler_suffices(with, wanted)) {
        shared->bin = threadIdx.x;
        shared->before = below;
    }
    if (threadIdx.x == SAMPLER_BINS - 1) {
        shared->total = with;
    }
    __syncthreads();
}

/* ---- The last few ------------------------------------------------------------------------- */

/* Fills few; returns how many there are, SAMPLER_FEW at most. */
template <bool is_listed>
static __device__ __forceinline__ uint32_t sampler_gather(struct sampler_shared *shared,
                                                          const struct sampler_range *range)
{
    const struct sampler_set *set = &shared->set;
    __syncthreads(); /* The last few are read no more. */
    if (threadIdx.x == 0) {
        shared->few_count = 0;
    }
    __syncthreads();
    struct sampler_walk walk = sampler_walk_begin<is_listed>(set);
    uint64_t positions[4];
    while (sampler_walk_next<is_listed>(shared, &walk, positions)) {
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            const uint64_t position = positions[index];
            if (sampler_holds(&set->order, range, position)) {
                const uint32_t place = atomicAdd(&shared->few_count, 1u);
                shared->few[place].position = position;
                shared->few[place].mass = sampler_weigh(&set->order, position);
            }
        }
    }
    __syncthreads();
    return shared->few_count;
}

/* Tally of the few before a position. */
static __device__ __forceinline__ struct sampler_tally
sampler_tally_before(const struct sampler_shared *shared, uint32_t few_count, uint64_t position)
{
    struct sampler_tally tally = {0, 0};
#pragma unroll 4
    for (uint32_t index = 0; index < few_count; index++) {
        const struct sampler_member other = shared->few[index];
        tally.mass += other.position < position ? other.mass : 0;
        tally.count += other.position < position ? 1 : 0;
    }
    return tally;
}

/* The end of a search, in a range of at most SAMPLER_FEW in which enough is reached. */
template <bool is_listed>
static __device__ __forceinline__ struct sampler_prefix
sampler_settle(struct sampler_shared *shared, const struct sampler_range *range,
               struct sampler_tally before, struct sampler_tally wanted)
{
    const uint32_t few_count = sampler_gather<is_listed>(shared, range);
    if (threadIdx.x < few_count) {
        const struct sampler_member own = shared->few[threadIdx.x];
        const struct sampler_tally below =
            sampler_add(before, sampler_tally_before(shared, few_count, own.position));
        const struct sampler_tally with = {below.mass + own.mass, below.count + 1};
        if (!sampler_suffices(below, wanted) && sampler_suffices(with, wanted)) {
            shared->prefix.cutoff = own.position;
            shared->prefix.tally = with;
        }
    }
    __syncthreads();
    return shared->prefix;
}

/* ---- Searches ----------------------------------------------------------------------------- */

/* The smallest prefix of the set that suffices. Only positions in [low, high] are looked at;
 * `before` is the tally of those below low, which does not suffice; `count` that of those within,
 * or more when they may not suffice either. */
template <bool is_listed>
static __device__ SAMPLER_APART struct sampler_prefix
sampler_search(struct sampler_shared *shared, uint64_t low, uint64_t high, uint32_t count,
               struct sampler_tally before, struct sampler_tally wanted)
{
    struct sampler_range range = sampler_range_over(&shared->set.order, low, high);
    while (count > SAMPLER_FEW) {
        sampler_fill_bins<is_listed>(shared, &range);
        sampler_find_bin(shared, before, wanted);
        if (shared->bin == SAMPLER_ANY_BIN) {
            const struct sampler_prefix none = {SAMPLER_NO_KEY, shared->total};
            __syncthreads(); /* The total has been read. */
            return none;
        }
        range.bin = shared->bin;
        before = shared->before;
        count = shared->bin_count[range.bin];
        if (count > SAMPLER_FEW) {
            range = sampler_tighten<is_listed>(shared, &range);
        }
    }
    return sampler_settle<is_listed>(shared, &range, before, wanted);
}

/* The smallest prefix of the whole order, not by id, that suffices; that of all tokens up to
 * last_key, when it does not. */
static __device__ SAMPLER_APART struct sampler_prefix sampler_select(struct sampler_shared *shared,
                                                                     struct sampler_tally wanted)
{
    const struct sampler_set *set = &shared->set;
    const struct sampler_tally nothing = {0, 0};
    if (sampler_suffices(set->near, wanted)) {
        return set->is_listed ? sampler_search<true>(shared, set->first_key, set->near_key,
                                                     set->near.count, nothing, wanted)
                              : sampler_search<false>(shared, set->first_key, set->near_key,
                                                      set->near.count, nothing, wanted);
    }
    struct sampler_prefix prefix = {SAMPLER_NO_KEY, set->near};
    if (set->near_key < set->last_key) {
        prefix = sampler_search<false>(shared, set->near_key + 1, set->last_key, UINT32_MAX,
                                       set->near, wanted);
    }
    prefix.cutoff = prefix.cutoff != SAMPLER_NO_KEY ? prefix.cutoff : set->last_key;
    return prefix;
}
