/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_row.cuh - one row of scores as a block of threads sees it.
 *
 * A thread takes four neighbouring tokens at a time, so that a block's visit is of 1024 tokens and
 * four visits are a chunk. Scores are made from logits where they are needed, never stored.
 * Thread: a block of the device. */
#pragma once

#include "cuda/cuda_device.cuh"
#include "cuda/cuda_sampler.h"
#include "engine/sampler_math.h"

enum {
    SAMPLER_LANES = 32,
    SAMPLER_THREADS = 256, /* Of every block. */
    SAMPLER_WARPS = SAMPLER_THREADS / SAMPLER_LANES,
    SAMPLER_VISIT = 4 * SAMPLER_THREADS,
    SAMPLER_VISITS = CUDA_SAMPLER_CHUNK / SAMPLER_VISIT, /* Of a chunk. */
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

/* What all threads know of the row. */
struct sampler_row {
    const float *logits; /* [V] */
    uint32_t V;
    uint32_t token_count;
    const struct cuda_sampler_slot *slot; /* NULL: scores are logits; else they are adjusted: */
    const float *counts;                  /* [V] */
    const uint32_t *seen_bits;
    const uint32_t *named_bits;
    const uint32_t *prompt_bits; /* NULL: no repetition penalty. */
    const uint32_t *mask;        /* NULL: none. */
    bool ends_are_forbidden;
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

/* All threads get the result. reduced [SAMPLER_WARPS], shared: not used by anything else since the
 * barrier before. */
static __device__ __forceinline__ uint64_t sampler_block_reduce(uint64_t *reduced,
                                                                enum sampler_reduction reduction,
                                                                uint64_t value)
{
    const uint64_t of_warp = sampler_warp_reduce(reduction, value);
    if (threadIdx.x % SAMPLER_LANES == 0) {
        reduced[threadIdx.x / SAMPLER_LANES] = of_warp;
    }
    __syncthreads();
    uint64_t of_block = reduced[0];
#pragma unroll
    for (uint32_t warp = 1; warp < SAMPLER_WARPS; warp++) {
        of_block = sampler_combine(reduction, of_block, reduced[warp]);
    }
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

/* Logits of four neighbours; -inf for ids without a token. */
static __device__ __forceinline__ float4 sampler_load(const float *logits, uint32_t V,
                                                      uint32_t token_count, uint32_t token)
{
    if (token + 3 < token_count && V % 4 == 0) {
        return *(const float4 *)(logits + token);
    }
    float4 scores = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    scores.x = token < token_count ? logits[token] : scores.x;
    scores.y = token + 1 < token_count ? logits[token + 1] : scores.y;
    scores.z = token + 2 < token_count ? logits[token + 2] : scores.z;
    scores.w = token + 3 < token_count ? logits[token + 3] : scores.w;
    return scores;
}

/* sampler_math_clean in two instructions: the maximum of NaN and a number is the number. */
static __device__ __forceinline__ float sampler_clean(float score)
{
    return fminf(fmaxf(score, -INFINITY), FLT_MAX);
}

static __device__ __forceinline__ float4 sampler_clean4(float4 scores)
{
    return make_float4(sampler_clean(scores.x), sampler_clean(scores.y), sampler_clean(scores.z),
                       sampler_clean(scores.w));
}

/* The scores of four neighbours' logits: adjusted, not yet clean. */
static __device__ __forceinline__ float4 sampler_scores(const struct sampler_row *row,
                                                        uint32_t token, float4 logits)
{
    return row->slot != NULL && token < row->token_count ? sampler_adjust(row, token, logits)
                                                         : logits;
}

/* ---- The order of scores ------------------------------------------------------------------ */

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

/* floor(mass * fraction / 2^64) */
static __device__ __forceinline__ uint64_t sampler_mass_share(uint64_t mass, uint64_t fraction)
{
    return __umul64hi(mass, fraction);
}
