/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_select.cuh - the smallest prefix of an order that weighs or counts enough.
 *
 * A prefix is its largest key, its cutoff. Passes over the row narrow the range of keys in which
 * the cutoff lies until it fits a list in shared memory; the list is sorted and its masses summed
 * in order. Masses are integers and keys unique, so that how the range was narrowed shows nowhere.
 * Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_row.cuh"

/* As engine/sampler_choice.c: distances from the best, in natural logarithms. */
#define SAMPLER_REACH_FIRST 4.0f
#define SAMPLER_REACH_FACTOR 1.5f
#define SAMPLER_REACH_LAST 64.0f

/* How a prefix is asked for. */
struct sampler_order {
    float best;    /* Largest score of the row. */
    float scale;   /* 1 / temperature: turns distances into masses. */
    bool is_exact; /* Keys hold scores; else distances, whose rounding makes more of them equal. */
    bool weighs;   /* Masses are wanted beside counts. */
};

static __device__ __forceinline__ uint64_t sampler_key(const struct sampler_order *order,
                                                       float score, uint32_t token)
{
    const uint32_t high =
        order->is_exact ? sampler_rank(score) : sampler_math_bits(order->best - score);
    return (uint64_t)high << 32 | token;
}

static __device__ __forceinline__ uint64_t sampler_key_mass(const struct sampler_order *order,
                                                            uint64_t key)
{
    const float distance = sampler_math_from_bits((uint32_t)(key >> 32));
    return order->weighs ? sampler_mass_at(distance, order->scale) : 0;
}

/* The largest key of a possible token. */
static __device__ __forceinline__ uint64_t sampler_last_key(const struct sampler_order *order)
{
    const uint32_t impossible =
        order->is_exact ? sampler_rank(-INFINITY) : sampler_math_bits(INFINITY);
    return ((uint64_t)impossible << 32) - 1;
}

/* The largest key within `reach`. */
static __device__ __forceinline__ uint64_t sampler_reach_key(const struct sampler_order *order,
                                                             float reach)
{
    const uint64_t last = sampler_last_key(order);
    if (reach >= SAMPLER_REACH_LAST) {
        return last;
    }
    const uint32_t high = order->is_exact ? sampler_rank(order->best - reach)
                                          : sampler_math_bits(reach / order->scale);
    const uint64_t key = (uint64_t)high << 32 | UINT32_MAX;
    return key < last ? key : last;
}

/* ---- Passes over keys --------------------------------------------------------------------- */

static __device__ __forceinline__ void sampler_tally_one(struct sampler_shared *shared,
                                                         const struct sampler_order *order,
                                                         uint64_t key, uint64_t low, uint64_t high,
                                                         struct sampler_tally *tally)
{
    if (key < low || key > high) {
        return;
    }
    tally->count++;
    tally->mass += sampler_key_mass(order, key);
    /* The look ahead of the addition spares a row of many candidates a queue of 65536. */
    if (*(volatile uint32_t *)&shared->list_count <= SAMPLER_LIST_MAX) {
        const uint32_t place = atomicAdd(&shared->list_count, 1u);
        if (place < SAMPLER_LIST_MAX) {
            shared->list[place] = key;
        }
    }
}

/* Counts and weighs the keys in [low, high]; lists them too when they are SAMPLER_LIST_MAX at
 * most. */
static __device__ SAMPLER_APART struct sampler_tally
sampler_measure(struct sampler_shared *shared, const struct sampler_row *row,
                const struct sampler_order *order, uint64_t low, uint64_t high)
{
    __syncthreads(); /* The list is read no more. */
    if (threadIdx.x == 0) {
        shared->list_count = 0;
    }
    __syncthreads();
    struct sampler_tally tally = {0, 0};
    for (uint32_t tile = 0; tile < row->tiles; tile++) {
        const float4 scores = sampler_tile(row, tile);
        const uint32_t token = sampler_token_of(row, tile);
        sampler_tally_one(shared, order, sampler_key(order, scores.x, token), low, high, &tally);
        sampler_tally_one(shared, order, sampler_key(order, scores.y, token + 1), low, high,
                          &tally);
        sampler_tally_one(shared, order, sampler_key(order, scores.z, token + 2), low, high,
                          &tally);
        sampler_tally_one(shared, order, sampler_key(order, scores.w, token + 3), low, high,
                          &tally);
    }
    tally.count = (uint32_t)sampler_block_reduce(shared, SAMPLER_SUM, tally.count);
    tally.mass = sampler_block_reduce(shared, SAMPLER_SUM, tally.mass);
    return tally;
}

/* Halfway between the smallest and the largest key in [low, high]: less than the largest. There
 * are two at least. */
static __device__ SAMPLER_APART uint64_t sampler_middle(struct sampler_shared *shared,
                                                        const struct sampler_row *row,
                                                        const struct sampler_order *order,
                                                        uint64_t low, uint64_t high)
{
    uint64_t smallest = UINT64_MAX;
    uint64_t largest = 0;
    for (uint32_t tile = 0; tile < row->tiles; tile++) {
        const float4 scores = sampler_tile(row, tile);
        const float values[4] = {scores.x, scores.y, scores.z, scores.w};
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            const uint64_t key =
                sampler_key(order, values[index], sampler_token_of(row, tile) + index);
            if (key >= low && key <= high) {
                smallest = key < smallest ? key : smallest;
                largest = key > largest ? key : largest;
            }
        }
    }
    smallest = sampler_block_reduce(shared, SAMPLER_MIN, smallest);
    largest = sampler_block_reduce(shared, SAMPLER_MAX, largest);
    return smallest + (largest - smallest) / 2;
}

/* ---- The list ----------------------------------------------------------------------------- */

static __device__ __forceinline__ void sampler_sort_pair(uint64_t *list, uint32_t pair,
                                                         uint32_t stride, uint32_t length)
{
    const uint32_t low = 2 * pair - (pair & (stride - 1));
    const uint32_t high = low + stride;
    const uint64_t first = list[low];
    const uint64_t second = list[high];
    const bool rises = (low & length) == 0;
    if ((first > second) == rises) {
        list[low] = second;
        list[high] = first;
    }
}

/* Sorts the list's first `count` keys (K. Batcher, Sorting networks and their applications, 1968).
 * Strides up to 32 stay within 64 keys that one warp owns. */
static __device__ SAMPLER_APART void sampler_sort(struct sampler_shared *shared, uint32_t count)
{
    uint32_t padded = 2 * SAMPLER_LANES;
    while (padded < count) {
        padded *= 2;
    }
    for (uint32_t index = count + threadIdx.x; index < padded; index += blockDim.x) {
        shared->list[index] = UINT64_MAX;
    }
    __syncthreads();
    for (uint32_t length = 2; length <= padded; length *= 2) {
        for (uint32_t stride = length / 2; stride > 0; stride /= 2) {
            for (uint32_t pair = threadIdx.x; pair < padded / 2; pair += blockDim.x) {
                sampler_sort_pair(shared->list, pair, stride, length);
            }
            const uint32_t next = stride > 1 ? stride / 2 : length;
            if (stride > SAMPLER_LANES || next > SAMPLER_LANES) {
                __syncthreads();
            } else {
                __syncwarp();
            }
        }
    }
    __syncthreads();
}

/* Sum of `value` over the threads before this one. */
static __device__ __forceinline__ uint64_t sampler_sum_before(struct sampler_shared *shared,
                                                              uint64_t value)
{
    const uint32_t lane = threadIdx.x % SAMPLER_LANES;
    uint64_t sum = value;
#pragma unroll
    for (uint32_t offset = 1; offset < SAMPLER_LANES; offset *= 2) {
        const uint64_t before = __shfl_up_sync(CUDA_WARP_ALL, sum, offset);
        sum += lane >= offset ? before : 0;
    }
    if (lane == SAMPLER_LANES - 1) {
        shared->reduced[threadIdx.x / SAMPLER_LANES] = sum;
    }
    __syncthreads();
    for (uint32_t warp = 0; warp < threadIdx.x / SAMPLER_LANES; warp++) {
        sum += shared->reduced[warp];
    }
    __syncthreads();
    return sum - value;
}

/* The key of the sorted list at which `before` and the keys up to it reach what is wanted; the
 * last, when none does. count >= 1. */
static __device__ SAMPLER_APART uint64_t sampler_list_cutoff(struct sampler_shared *shared,
                                                             const struct sampler_order *order,
                                                             uint32_t count,
                                                             struct sampler_tally before,
                                                             struct sampler_tally wanted)
{
    const uint32_t share = (count + blockDim.x - 1) / blockDim.x;
    const uint32_t first = threadIdx.x * share < count ? threadIdx.x * share : count;
    const uint32_t end = first + share < count ? first + share : count;
    uint64_t mass = 0;
    for (uint32_t index = first; index < end; index++) {
        mass += sampler_key_mass(order, shared->list[index]);
    }
    if (threadIdx.x == 0) {
        shared->cutoff = shared->list[count - 1];
    }
    uint64_t sum = before.mass + sampler_sum_before(shared, mass);
    bool reached = sum >= wanted.mass || before.count + first >= wanted.count;
    for (uint32_t index = first; index < end && !reached; index++) {
        sum += sampler_key_mass(order, shared->list[index]);
        reached = sum >= wanted.mass || before.count + index + 1 >= wanted.count;
        if (reached) {
            shared->cutoff = shared->list[index];
        }
    }
    __syncthreads();
    const uint64_t cutoff = shared->cutoff;
    __syncthreads();
    return cutoff;
}

/* ---- Prefixes ----------------------------------------------------------------------------- */

/* The cutoff of the smallest prefix that has wanted.count members or wanted.mass (both at least 1);
 * `last` when those up to it have neither. */
static __device__ SAMPLER_APART uint64_t sampler_select(struct sampler_shared *shared,
                                                        const struct sampler_row *row,
                                                        const struct sampler_order *order,
                                                        uint64_t last, struct sampler_tally wanted)
{
    float reach = SAMPLER_REACH_FIRST;
    uint64_t low = 0;     /* The cutoff is in [low, high], which holds `count` keys once it is */
    uint64_t high = last; /* bounded by a pass. */
    uint32_t count = UINT32_MAX;
    bool is_bounded = false;
    struct sampler_tally before = {0, 0}; /* Of the keys below low. */
    for (;;) {
        const uint64_t near_key = sampler_reach_key(order, reach);
        uint64_t pivot = near_key < last ? near_key : last;
        if (is_bounded) {
            pivot =
                count <= SAMPLER_LIST_MAX ? high : sampler_middle(shared, row, order, low, high);
        }
        const struct sampler_tally tally = sampler_measure(shared, row, order, low, pivot);
        if (before.mass + tally.mass >= wanted.mass || before.count + tally.count >= wanted.count) {
            if (tally.count <= SAMPLER_LIST_MAX) {
                sampler_sort(shared, tally.count);
                return sampler_list_cutoff(shared, order, tally.count, before, wanted);
            }
            is_bounded = true;
            high = pivot;
            count = tally.count;
            continue;
        }
        if (pivot == last) {
            return last;
        }
        before.mass += tally.mass;
        before.count += tally.count;
        low = pivot + 1;
        reach *= SAMPLER_REACH_FACTOR;
        count -= is_bounded ? tally.count : 0;
    }
}
