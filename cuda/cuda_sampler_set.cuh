/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_set.cuh - the tokens of a row as sets that are ordered, weighed and visited.
 *
 * A set is a part of the row, or the likely tokens, whose keys are in a list in shared memory. Sums
 * are of integers, so that the order in which tokens are met shows nowhere.
 * Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_row.cuh"

enum {
    SAMPLER_BINS = SAMPLER_THREADS,
    SAMPLER_FEW = SAMPLER_THREADS,
};

/* Masses summed and tokens counted over a set. */
struct sampler_tally {
    uint64_t mass;
    uint32_t count;
};

/* How tokens are ordered and weighed. The key of a token is its distance from the best, then its
 * id; where scores are exact their rank, then the id. Its position is its key, or by id its id,
 * then its distance. */
struct sampler_order {
    float best;    /* Largest score of the row. */
    float scale;   /* 1 / temperature: turns distances into masses. */
    bool is_exact; /* Rounding makes more distances equal than scores. Nothing has a mass. */
    bool is_by_id; /* Of the tokens whose keys are at most: */
    uint64_t cutoff;
};

/* What is searched: a row's tokens from first_token up to end_token, or those listed. */
struct sampler_set {
    const struct sampler_row *row;
    uint32_t first_token;
    uint32_t end_token;
    struct sampler_order order;
    uint64_t first_key;        /* At most the best's. */
    uint64_t last_key;         /* Of tokens that matter: possible, and with a mass if not exact. */
    uint64_t near_key;         /* Tokens up to this key are likely; at most last_key. */
    struct sampler_tally near; /* Of the likely tokens. */
    uint64_t mass;             /* Of all tokens. */
    bool is_listed;            /* The list holds the keys of all that are likely. */
};

/* The prefix up to a position. */
struct sampler_prefix {
    uint64_t cutoff; /* SAMPLER_NO_KEY: all there is is not enough. */
    struct sampler_tally tally;
};

struct sampler_member {
    uint64_t position;
    uint64_t mass;
};

/* A block's shared memory. */
struct sampler_shared {
    union { /* First the block's chunk, then the row's list. */
        float4 chunk[CUDA_SAMPLER_CHUNK / 4];
        uint64_t list[CUDA_SAMPLER_LIST]; /* Keys, in no order; up to whole visits no keys. */
    };
    union {
        struct cuda_sampler_peak peaks[SAMPLER_THREADS];
        struct sampler_member few[SAMPLER_FEW];
    };
    uint32_t bin_mass[2][SAMPLER_BINS]; /* Low and high words. */
    uint32_t bin_count[SAMPLER_BINS];
    uint64_t reduced[SAMPLER_WARPS];
    uint64_t near_reduced[SAMPLER_WARPS];
    uint32_t counted[SAMPLER_WARPS];
    struct sampler_row rows[CUDA_SAMPLER_VIEWS];
    struct sampler_set sets[CUDA_SAMPLER_VIEWS];
    struct sampler_set set;                 /* Searched now. */
    uint64_t best_keys[CUDA_SAMPLER_VIEWS]; /* Exact; SAMPLER_NO_KEY: no token is possible. */
    struct sampler_prefix prefix;
    struct sampler_tally total;
    struct sampler_tally before; /* The bin found. */
    uint32_t bin;
    uint32_t few_count;
    uint32_t place;
    struct cuda_sampler_found found;
    bool is_last;
};

static __device__ __forceinline__ struct sampler_tally sampler_add(struct sampler_tally left,
                                                                   struct sampler_tally right)
{
    const struct sampler_tally sum = {left.mass + right.mass, left.count + right.count};
    return sum;
}

static __device__ __forceinline__ bool sampler_suffices(struct sampler_tally tally,
                                                        struct sampler_tally wanted)
{
    return tally.mass >= wanted.mass || tally.count >= wanted.count;
}

/* ---- Keys and positions ------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t sampler_key(const struct sampler_order *order,
                                                       float score, uint32_t token)
{
    const uint32_t high =
        order->is_exact ? sampler_rank(score) : sampler_math_bits(order->best - score);
    return (uint64_t)high << 32 | token;
}

static __device__ __forceinline__ uint64_t sampler_position(const struct sampler_order *order,
                                                            uint64_t key)
{
    if (!order->is_by_id) {
        return key;
    }
    return key <= order->cutoff ? key << 32 | key >> 32 : SAMPLER_NO_KEY;
}

static __device__ __forceinline__ float sampler_distance(const struct sampler_order *order,
                                                         uint64_t position)
{
    if (order->is_exact) {
        return order->best - sampler_score_of_rank((uint32_t)(position >> 32));
    }
    return sampler_math_from_bits((uint32_t)(order->is_by_id ? position : position >> 32));
}

static __device__ __forceinline__ uint64_t sampler_weigh(const struct sampler_order *order,
                                                         uint64_t position)
{
    return order->is_exact ? 0 : sampler_mass_at(sampler_distance(order, position), order->scale);
}

/* ---- Visits ------------------------------------------------------------------------------- */

template <bool is_listed>
static __device__ __forceinline__ uint32_t sampler_visits(const struct sampler_set *set)
{
    const uint32_t count = is_listed ? set->near.count : set->end_token - set->first_token;
    return (count + SAMPLER_VISIT - 1) / SAMPLER_VISIT;
}

static __device__ __forceinline__ uint32_t sampler_token_of(const struct sampler_set *set,
                                                            uint32_t visit)
{
    return set->first_token + visit * SAMPLER_VISIT + 4 * threadIdx.x;
}

/* The logits of a thread's next visit, which are on their way while it works on this one. */
template <bool is_listed>
static __device__ __forceinline__ float4 sampler_fetch(const struct sampler_set *set,
                                                       uint32_t visit)
{
    const struct sampler_row *row = set->row;
    if (is_listed || visit >= sampler_visits<is_listed>(set)) {
        return make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    }
    return sampler_load(row->logits, row->V, row->token_count, sampler_token_of(set, visit));
}

/* The four positions of a thread's visit; SAMPLER_NO_KEY: none. */
template <bool is_listed>
static __device__ __forceinline__ void sampler_meet(const struct sampler_shared *shared,
                                                    uint32_t visit, float4 logits,
                                                    uint64_t positions[4])
{
    const struct sampler_set *set = &shared->set;
    const uint32_t token = sampler_token_of(set, visit);
    float4 scores = logits;
    if (!is_listed) {
        scores = sampler_clean4(sampler_scores(set->row, token, logits));
    }
    const float values[4] = {scores.x, scores.y, scores.z, scores.w};
#pragma unroll
    for (uint32_t index = 0; index < 4; index++) {
        uint64_t key = SAMPLER_NO_KEY;
        if (is_listed) {
            key = shared->list[visit * SAMPLER_VISIT + index * SAMPLER_THREADS + threadIdx.x];
        } else {
            key = sampler_key(&set->order, values[index], token + index);
        }
        positions[index] = sampler_position(&set->order, key);
    }
}

/* All threads get the sum. */
static __device__ __forceinline__ struct sampler_tally
sampler_block_sum(struct sampler_shared *shared, struct sampler_tally own)
{
    const uint64_t mass = sampler_warp_reduce(SAMPLER_SUM, own.mass);
    const uint32_t count = (uint32_t)sampler_warp_reduce(SAMPLER_SUM, own.count);
    if (threadIdx.x % SAMPLER_LANES == 0) {
        shared->reduced[threadIdx.x / SAMPLER_LANES] = mass;
        shared->counted[threadIdx.x / SAMPLER_LANES] = count;
    }
    __syncthreads();
    struct sampler_tally sum = {0, 0};
#pragma unroll
    for (uint32_t warp = 0; warp < SAMPLER_WARPS; warp++) {
        sum.mass += shared->reduced[warp];
        sum.count += shared->counted[warp];
    }
    __syncthreads();
    return sum;
}

/* A walk over the set, four tokens at a time, the next four on their way. */
struct sampler_walk {
    float4 next;
    uint32_t visit;
};

template <bool is_listed>
static __device__ __forceinline__ struct sampler_walk
sampler_walk_begin(const struct sampler_set *set)
{
    struct sampler_walk walk;
    walk.next = sampler_fetch<is_listed>(set, 0);
    walk.visit = 0;
    return walk;
}

/* False: there are no more. */
template <bool is_listed>
static __device__ __forceinline__ bool
sampler_walk_next(struct sampler_shared *shared, struct sampler_walk *walk, uint64_t *positions_out)
{
    const struct sampler_set *set = &shared->set;
    if (walk->visit >= sampler_visits<is_listed>(set)) {
        return false;
    }
    const float4 logits = walk->next;
    walk->next = sampler_fetch<is_listed>(set, walk->visit + 1);
    sampler_meet<is_listed>(shared, walk->visit, logits, positions_out);
    walk->visit++;
    return true;
}

/* Tallies all tokens of the set. */
template <bool is_listed>
static __device__ SAMPLER_APART struct sampler_tally sampler_sum(struct sampler_shared *shared)
{
    const struct sampler_set *set = &shared->set;
    struct sampler_tally tally = {0, 0};
    struct sampler_walk walk = sampler_walk_begin<is_listed>(set);
    uint64_t positions[4];
    while (sampler_walk_next<is_listed>(shared, &walk, positions)) {
#pragma unroll
        for (uint32_t index = 0; index < 4; index++) {
            if (positions[index] != SAMPLER_NO_KEY) {
                tally.count++;
                tally.mass += sampler_weigh(&set->order, positions[index]);
            }
        }
    }
    return sampler_block_sum(shared, tally);
}
