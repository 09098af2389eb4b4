/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_row.cuh - one row of scores as a block of threads sees it.
 *
 * A row is V tokens cut into one segment of whole tiles for each warp, a tile being 32 lanes of
 * four neighbouring tokens: warps, tiles and lanes stand in the order of ids. A pass visits every
 * tile. The first pass keeps as many tiles as fit in shared memory, where each thread reads only
 * what it wrote; the others it loads (and adjusts) again, from the second-level cache mostly.
 * Truncation and draw: cuda_sampler_choice.cuh. Thread: a block of the device. */
#pragma once

#include "cuda/cuda_device.cuh"
#include "cuda/cuda_sampler.h"
#include "engine/sampler_math.h"

enum {
    SAMPLER_LANES = 32,
    SAMPLER_TILE = 4 * SAMPLER_LANES, /* Tokens. */
    SAMPLER_WARPS_MAX = 32,
    SAMPLER_LIST_MAX = 2048, /* Candidates in shared memory; 16 KiB. */
    SAMPLER_BATCH = 4,       /* Tiles whose loads are under way together. */
};

/* OpenAI: -100 "should result in a ban". */
#define SAMPLER_BIAS_THAT_FORBIDS (-100.0f)
/* Greater than every key of a possible token. */
#define SAMPLER_NO_KEY UINT64_MAX

/* Functions that are called from several places and not worth several copies. */
#ifdef __CUDACC__
#define SAMPLER_APART __noinline__
#else
#define SAMPLER_APART inline
#endif

/* Masses summed and tokens counted over a set. */
struct sampler_tally {
    uint64_t mass;
    uint32_t count;
};

/* What all threads know of the row. */
struct sampler_row {
    const float *logits; /* [V] */
    uint32_t V;
    uint32_t token_count;
    uint32_t tiles; /* Of each warp. */
    uint32_t cached_tiles;
    float4 *cache;                        /* [cached_tiles][blockDim.x] */
    const struct cuda_sampler_slot *slot; /* NULL: scores are logits; else they are adjusted: */
    const float *counts;                  /* [V] */
    const uint32_t *seen_bits;
    const uint32_t *named_bits;
    const uint32_t *prompt_bits; /* NULL: no repetition penalty. */
    const uint32_t *mask;        /* NULL: none. */
    bool ends_are_forbidden;
};

/* A block's static shared memory. */
struct sampler_shared {
    uint64_t reduced[SAMPLER_WARPS_MAX];
    uint64_t list[SAMPLER_LIST_MAX]; /* Keys of candidates. */
    uint64_t cutoff;
    uint32_t list_count; /* Also those that did not fit. */
    int32_t token;
    struct sampler_row row;
};

static __host__ __device__ __forceinline__ uint32_t sampler_words(uint32_t V)
{
    return (V + 31) / 32;
}

static __device__ __forceinline__ uint32_t *sampler_mask(const struct cuda_sampler *sampler,
                                                         uint32_t slot)
{
    return sampler->masks + (size_t)slot * (sampler_words(sampler->V) + 1);
}

/* ---- Sums over a block -------------------------------------------------------------------- */

enum sampler_reduction { SAMPLER_SUM, SAMPLER_MIN, SAMPLER_MAX };

static __device__ __forceinline__ uint64_t sampler_combine(enum sampler_reduction reduction,
                                                           uint64_t left, uint64_t right)
{
    if (reduction == SAMPLER_SUM) {
        return left + right;
    }
    return (left < right) == (reduction == SAMPLER_MIN) ? left : right;
}

static __device__ __forceinline__ uint64_t sampler_warp_reduce(enum sampler_reduction reduction,
                                                               uint64_t value)
{
#pragma unroll
    for (int offset = SAMPLER_LANES / 2; offset > 0; offset >>= 1) {
        const uint64_t other = __shfl_xor_sync(CUDA_WARP_ALL, value, offset);
        value = sampler_combine(reduction, value, other);
    }
    return value;
}

/* All threads get the result; reduced[] may be used again. */
static __device__ __forceinline__ uint64_t sampler_block_reduce(struct sampler_shared *shared,
                                                                enum sampler_reduction reduction,
                                                                uint64_t value)
{
    const uint32_t lane = threadIdx.x % SAMPLER_LANES;
    const uint32_t warps = blockDim.x / SAMPLER_LANES;
    const uint64_t of_warp = sampler_warp_reduce(reduction, value);
    if (lane == 0) {
        shared->reduced[threadIdx.x / SAMPLER_LANES] = of_warp;
    }
    __syncthreads();
    const uint64_t neutral = reduction == SAMPLER_MIN ? UINT64_MAX : 0;
    const uint64_t of_block =
        sampler_warp_reduce(reduction, lane < warps ? shared->reduced[lane] : neutral);
    __syncthreads();
    return of_block;
}

/* ---- Scores: step 1 of sampler_draw ------------------------------------------------------- */

static __device__ __forceinline__ bool sampler_bit(const uint32_t *bits, uint32_t token)
{
    return (bits[token / 32] >> (token % 32) & 1) != 0;
}

/* All entries of one token, in the order given. */
static __device__ SAMPLER_APART float sampler_add_bias(const struct cuda_sampler_slot *slot,
                                                       uint32_t token, float score)
{
    uint32_t begin = 0;
    uint32_t end = slot->bias_count;
    while (begin < end) {
        const uint32_t middle = (begin + end) / 2;
        if ((uint32_t)slot->bias[middle].token < token) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    for (; begin < slot->bias_count && (uint32_t)slot->bias[begin].token == token; begin++) {
        const float bias = slot->bias[begin].bias;
        const float biased = sampler_math_clean(score + bias);
        score = bias <= SAMPLER_BIAS_THAT_FORBIDS ? -INFINITY : biased;
    }
    return score;
}

/* Whether the token ends the row, wherever it is drawn. */
static __device__ SAMPLER_APART bool sampler_is_end(const struct cuda_sampler_slot *slot,
                                                    uint32_t token)
{
    if (token == 0 && slot->ignore_eos == 0) {
        return true;
    }
    for (uint32_t index = 0; index < slot->stop_token_count; index++) {
        if (slot->stop_tokens[index] == (int32_t)token) {
            return true;
        }
    }
    return false;
}

static __device__ SAMPLER_APART float sampler_adjust_one(const struct sampler_row *row,
                                                         uint32_t token, float score)
{
    const struct cuda_sampler_slot *slot = row->slot;
    const bool is_named = sampler_bit(row->named_bits, token);
    const bool is_seen = sampler_bit(row->seen_bits, token);
    if (is_named) {
        score = sampler_add_bias(slot, token, score);
    }
    if (row->prompt_bits != NULL && (is_seen || sampler_bit(row->prompt_bits, token))) {
        const float penalty = slot->repetition_penalty;
        score = sampler_math_clean(score > 0.0f ? score / penalty : score * penalty);
    }
    if (is_seen) {
        const float penalty =
            fmaf(row->counts[token], slot->frequency_penalty, slot->presence_penalty);
        score = sampler_math_clean(score - penalty);
    }
    const bool is_forbidden =
        (row->ends_are_forbidden && is_named && sampler_is_end(slot, token)) ||
        (row->mask != NULL && !sampler_bit(row->mask, token));
    return is_forbidden ? -INFINITY : score;
}

/* Four neighbours share a word of every bit set; mostly none of them is special. token + 3 may be
 * past the end of the vocabulary, where no bit but those of the mask is set. */
static __device__ __forceinline__ float4 sampler_adjust(const struct sampler_row *row,
                                                        uint32_t token, float4 scores)
{
    const uint32_t word = token / 32;
    uint32_t special = row->seen_bits[word] | row->named_bits[word];
    special |= row->prompt_bits != NULL ? row->prompt_bits[word] : 0;
    special |= row->mask != NULL ? ~row->mask[word] : 0;
    special = special >> (token % 32) & 15;
    if (special == 0) {
        return scores;
    }
    scores.x = (special & 1) != 0 ? sampler_adjust_one(row, token, scores.x) : scores.x;
    scores.y = (special & 2) != 0 ? sampler_adjust_one(row, token + 1, scores.y) : scores.y;
    scores.z = (special & 4) != 0 ? sampler_adjust_one(row, token + 2, scores.z) : scores.z;
    scores.w = (special & 8) != 0 ? sampler_adjust_one(row, token + 3, scores.w) : scores.w;
    return scores;
}

/* -inf for ids without a token. */
static __device__ __forceinline__ float4 sampler_load(const struct sampler_row *row, uint32_t token)
{
    const uint32_t count = row->token_count;
    float4 scores = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    if (token + 3 < count && row->V % 4 == 0) {
        return *(const float4 *)(row->logits + token);
    }
    scores.x = token < count ? row->logits[token] : scores.x;
    scores.y = token + 1 < count ? row->logits[token + 1] : scores.y;
    scores.z = token + 2 < count ? row->logits[token + 2] : scores.z;
    scores.w = token + 3 < count ? row->logits[token + 3] : scores.w;
    return scores;
}

static __device__ __forceinline__ float4 sampler_clean4(float4 scores)
{
    return make_float4(sampler_math_clean(scores.x), sampler_math_clean(scores.y),
                       sampler_math_clean(scores.z), sampler_math_clean(scores.w));
}

static __device__ __forceinline__ uint32_t sampler_token_of(const struct sampler_row *row,
                                                            uint32_t tile)
{
    const uint32_t warp = threadIdx.x / SAMPLER_LANES;
    return (warp * row->tiles + tile) * SAMPLER_TILE + threadIdx.x % SAMPLER_LANES * 4;
}

/* The thread's four final scores of a tile: adjusted, and clean; after sampler_best. */
static __device__ __forceinline__ float4 sampler_tile(const struct sampler_row *row, uint32_t tile)
{
    if (tile < row->cached_tiles) {
        return row->cache[tile * blockDim.x + threadIdx.x];
    }
    const uint32_t token = sampler_token_of(row, tile);
    float4 scores = sampler_load(row, token);
    if (row->slot != NULL && token < row->token_count) {
        scores = sampler_adjust(row, token, scores);
    }
    return sampler_clean4(scores);
}

/* ---- The largest -------------------------------------------------------------------------- */

/* Larger scores have smaller ranks; both zeros have the same. */
static __device__ __forceinline__ uint32_t sampler_rank(float score)
{
    const uint32_t bits = sampler_math_bits(score + 0.0f);
    return (bits >> 31) != 0 ? bits : ~(bits | 0x80000000u);
}

/* The score of a rank, with zero for both zeros. */
static __device__ __forceinline__ float sampler_score_of_rank(uint32_t rank)
{
    return sampler_math_from_bits((rank >> 31) != 0 ? rank : ~rank & 0x7fffffffu);
}

/* The key of a token in the order (score descending, id ascending). */
static __device__ __forceinline__ uint64_t sampler_exact_key(float score, uint32_t token)
{
    return (uint64_t)sampler_rank(score) << 32 | token;
}

static __device__ __forceinline__ void sampler_prefer(float score, uint32_t token, float *best,
                                                      uint32_t *best_token)
{
    if (score > *best) {
        *best = score;
        *best_token = token;
    }
}

/* A thread's part of the first pass: fills the cache and returns the exact key of its best. */
static __device__ __forceinline__ uint64_t sampler_best_of_thread(const struct sampler_row *row,
                                                                  bool is_adjusted)
{
    const uint32_t tiles = row->tiles; /* Copies, which the stores below cannot change. */
    const uint32_t cached_tiles = row->cached_tiles;
    float4 *cache = row->cache + threadIdx.x;
    const uint32_t first_token = sampler_token_of(row, 0);
    float best = -INFINITY;
    uint32_t best_token = 0;
    for (uint32_t first = 0; first < tiles; first += SAMPLER_BATCH) {
        float4 batch[SAMPLER_BATCH];
#pragma unroll
        for (uint32_t index = 0; index < SAMPLER_BATCH; index++) {
            const uint32_t token = first_token + (first + index) * SAMPLER_TILE;
            batch[index] = sampler_load(row, first + index < tiles ? token : row->V);
        }
#pragma unroll
        for (uint32_t index = 0; index < SAMPLER_BATCH; index++) {
            const uint32_t tile = first + index;
            const uint32_t token = first_token + tile * SAMPLER_TILE;
            float4 scores = batch[index];
            if (is_adjusted && tile < tiles && token < row->token_count) {
                scores = sampler_adjust(row, token, scores);
            }
            scores = sampler_clean4(scores);
            if (tile < cached_tiles) {
                cache[tile * blockDim.x] = scores;
            }
            sampler_prefer(scores.x, token, &best, &best_token);
            sampler_prefer(scores.y, token + 1, &best, &best_token);
            sampler_prefer(scores.z, token + 2, &best, &best_token);
            sampler_prefer(scores.w, token + 3, &best, &best_token);
        }
    }
    return best > -INFINITY ? sampler_exact_key(best, best_token) : SAMPLER_NO_KEY;
}

/* The first pass: returns the exact key of the largest score, the lowest id among equals;
 * SAMPLER_NO_KEY when no token is possible. */
static __device__ SAMPLER_APART uint64_t sampler_best(struct sampler_shared *shared,
                                                      const struct sampler_row *row)
{
    const uint64_t key =
        row->slot != NULL ? sampler_best_of_thread(row, true) : sampler_best_of_thread(row, false);
    return sampler_block_reduce(shared, SAMPLER_MIN, key);
}

/* ---- Masses: step 3 ----------------------------------------------------------------------- */

/* sampler_math_mass: weight * 2^40 is exact, so that only the conversion rounds, to even. */
static __device__ __forceinline__ uint64_t sampler_mass(float weight)
{
#ifdef __CUDA_ARCH__
    return __float2ull_rn(weight * 0x1p40f);
#else
    return sampler_math_mass(weight);
#endif
}

/* The mass of a token `distance` below the best: in [0, +inf]. */
static __device__ __forceinline__ uint64_t sampler_mass_at(float distance, float scale)
{
    return sampler_mass(sampler_math_exp(-distance * scale));
}

static __device__ SAMPLER_APART uint64_t sampler_total_mass(struct sampler_shared *shared,
                                                            const struct sampler_row *row,
                                                            float best, float scale)
{
    uint64_t mass = 0;
    for (uint32_t tile = 0; tile < row->tiles; tile++) {
        const float4 scores = sampler_tile(row, tile);
        mass += sampler_mass_at(best - scores.x, scale);
        mass += sampler_mass_at(best - scores.y, scale);
        mass += sampler_mass_at(best - scores.z, scale);
        mass += sampler_mass_at(best - scores.w, scale);
    }
    return sampler_block_reduce(shared, SAMPLER_SUM, mass);
}
