/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler_choice.c - truncation and draw, defined on sets so that no sort is needed.
 *
 * Tokens are ordered by (score descending, id ascending). Every truncation keeps a prefix of that
 * order, found by bisection over the keys; masses are integers, so neither the order in which they
 * are summed nor that in which candidates lie in memory can change the token. Thread: any. */
#include "engine/sampler_choice.h"

#include <stdbool.h>

#include "base/error.h"

/* Candidates are collected by distance from the best, in natural logarithms, and further out only
 * when that was not enough. Four holds the 0.9 prefix of most rows of a trained model; past 28 a
 * mass rounds to 0, so 64 holds everything that can be drawn. */
#define REACH_FIRST 4.0f
#define REACH_FACTOR 4.0f
#define REACH_LAST 64.0f

/* The parameters as comparisons of integers; 0 everywhere: off. */
struct truncation {
    size_t top_k;
    uint64_t top_p; /* In units of 2^-64. */
    uint64_t min_mass;
};

static struct truncation truncation_from(const struct sampling *sampling, size_t score_count)
{
    struct truncation truncation = {0};
    if (sampling->top_k > 0 && sampling->top_k < score_count) {
        truncation.top_k = sampling->top_k;
    }
    if (sampling->top_p > 0.0f && sampling->top_p < 1.0f) {
        /* At least 1, so that a tiny top_p is not "off". */
        truncation.top_p = (uint64_t)(sampling->top_p * 0x1p64f) | 1;
    }
    if (sampling->min_p > 0.0f) {
        truncation.min_mass = sampler_math_mass(sampling->min_p < 1.0f ? sampling->min_p : 1.0f);
    }
    return truncation;
}

static bool truncation_is_off(const struct truncation *truncation)
{
    return truncation->top_k == 0 && truncation->top_p == 0 && truncation->min_mass == 0;
}

/* floor(mass * fraction / 2^64): less than mass. */
static uint64_t mass_share(uint64_t mass, uint64_t fraction)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)mass * fraction >> 64);
}

/* The mass that a top-p prefix must reach; its smallest prefix has at least the best token. */
static uint64_t top_p_mass(uint64_t total, uint64_t top_p)
{
    const uint64_t share = mass_share(total, top_p);
    return share > 0 ? share : 1;
}

static uint64_t sum_masses(const struct sampler_candidate *candidates, size_t count)
{
    uint64_t total = 0;
    for (size_t index = 0; index < count; index++) {
        total += candidates[index].mass;
    }
    return total;
}

static void swap(struct sampler_candidate *left, struct sampler_candidate *right)
{
    const struct sampler_candidate kept = *left;
    *left = *right;
    *right = kept;
}

/* Halfway between the smallest and the largest key: less than the largest. count >= 2. */
static uint64_t middle_key(const struct sampler_candidate *candidates, size_t count)
{
    uint64_t low = candidates[0].key;
    uint64_t high = low;
    for (size_t index = 1; index < count; index++) {
        const uint64_t key = candidates[index].key;
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    return low + (high - low) / 2;
}

/* Moves the candidates with keys up to pivot to the front; returns how many. */
static size_t partition(struct sampler_candidate *candidates, size_t count, uint64_t pivot,
                        uint64_t *mass_out)
{
    size_t split = 0;
    uint64_t mass = 0;
    for (size_t index = 0; index < count; index++) {
        if (candidates[index].key <= pivot) {
            mass += candidates[index].mass;
            swap(&candidates[split], &candidates[index]);
            split++;
        }
    }
    *mass_out = mass;
    return split;
}

/* Moves to the front the smallest prefix, in order of keys, that has count_wanted members or
 * mass_wanted mass (all, when neither is reached) and returns its length; its last member in the
 * order is its last in memory. Every round halves the range of keys in question: at most 64 rounds,
 * and about two passes over the candidates where keys are spread evenly. */
static size_t select_prefix(struct sampler_candidate *candidates, size_t count, size_t count_wanted,
                            uint64_t mass_wanted)
{
    size_t begin = 0;   /* Candidates before begin are in the prefix, */
    size_t end = count; /* those from end on are not: its last member is in between. */
    uint64_t mass_before = 0;
    while (end - begin > 1) {
        const uint64_t pivot = middle_key(candidates + begin, end - begin);
        uint64_t mass;
        const size_t split = begin + partition(candidates + begin, end - begin, pivot, &mass);
        if (split >= count_wanted || mass_before + mass >= mass_wanted) {
            end = split;
        } else {
            begin = split;
            mass_before += mass;
        }
    }
    return end;
}

/* Extends a prefix by the candidates whose score equals that of its last member. */
static size_t extend_by_ties(struct sampler_candidate *candidates, size_t kept, size_t count)
{
    const uint64_t cutoff = candidates[kept - 1].key >> 32;
    for (size_t index = kept; index < count; index++) {
        if (candidates[index].key >> 32 == cutoff) {
            swap(&candidates[kept], &candidates[index]);
            kept++;
        }
    }
    return kept;
}

static size_t keep_heavy(struct sampler_candidate *candidates, size_t count, uint64_t min_mass)
{
    size_t kept = 0;
    for (size_t index = 0; index < count; index++) {
        if (candidates[index].mass >= min_mass) {
            swap(&candidates[kept], &candidates[index]);
            kept++;
        }
    }
    return kept;
}

/* Top-k, then top-p of what is left, then min-p. */
static size_t truncate_openai(struct sampler_candidate *candidates, size_t count, uint64_t total,
                              const struct truncation *truncation)
{
    if (truncation->top_k > 0) {
        count = select_prefix(candidates, count, truncation->top_k, UINT64_MAX);
        total = sum_masses(candidates, count);
    }
    if (truncation->top_p > 0) {
        const uint64_t wanted = top_p_mass(total, truncation->top_p);
        count = select_prefix(candidates, count, SIZE_MAX, wanted);
    }
    return keep_heavy(candidates, count, truncation->min_mass);
}

/* Top-p, which keeps all that tie with its last token, then top-k, then min-p. */
static size_t truncate_rwkv(struct sampler_candidate *candidates, size_t count, uint64_t total,
                            const struct truncation *truncation)
{
    if (truncation->top_p > 0) {
        const uint64_t wanted = top_p_mass(total, truncation->top_p);
        const size_t kept = select_prefix(candidates, count, SIZE_MAX, wanted);
        count = extend_by_ties(candidates, kept, count);
    }
    if (truncation->top_k > 0) {
        count = select_prefix(candidates, count, truncation->top_k, UINT64_MAX);
    }
    return keep_heavy(candidates, count, truncation->min_mass);
}

/* Whether no token beyond `reach` can survive: the first truncation decides. */
static bool reach_suffices(const struct truncation *truncation, enum sampling_order order,
                           size_t count, uint64_t mass, uint64_t total, float reach)
{
    const bool top_k_first = order == SAMPLING_ORDER_OPENAI || truncation->top_p == 0;
    if (reach >= REACH_LAST) {
        return true;
    }
    if (truncation->top_k > 0 && top_k_first) {
        return count >= truncation->top_k;
    }
    if (truncation->top_p > 0) {
        return mass >= top_p_mass(total, truncation->top_p);
    }
    return sampler_math_mass(sampler_math_exp(-reach)) < truncation->min_mass;
}

static size_t gather_enough(struct sampler_scratch *scratch, size_t score_count,
                            struct sampler_weighing weighing, const struct truncation *truncation,
                            enum sampling_order order, uint64_t total)
{
    float reach = REACH_FIRST;
    for (;;) {
        const size_t count =
            sampler_row_gather(scratch->scores, score_count, weighing, reach, scratch->candidates);
        const uint64_t mass = sum_masses(scratch->candidates, count);
        if (reach_suffices(truncation, order, count, mass, total, reach)) {
            return count;
        }
        reach *= REACH_FACTOR;
    }
}

static void weigh_again(struct sampler_candidate *candidates, size_t count, float scale)
{
    for (size_t index = 0; index < count; index++) {
        const float distance = sampler_math_from_bits((uint32_t)(candidates[index].key >> 32));
        candidates[index].mass = sampler_math_mass(sampler_math_exp(-distance * scale));
    }
}

/* The first token, in id order, at which the summed masses exceed the random share of their sum. */
static int32_t pick(struct sampler_candidate *candidates, size_t count, uint64_t random)
{
    const uint64_t offset = mass_share(sum_masses(candidates, count), random);
    for (size_t index = 0; index < count; index++) {
        candidates[index].key &= UINT32_MAX;
    }
    const size_t prefix = select_prefix(candidates, count, SIZE_MAX, offset + 1);
    ASSERT_COMPARE(prefix, >=, 1);
    return (int32_t)candidates[prefix - 1].key;
}

int32_t sampler_choice_draw(struct sampler_scratch *scratch, const struct sampling *sampling,
                            size_t score_count, float best, uint64_t random)
{
    ASSERT(sampling->temperature >= SAMPLING_TEMPERATURE_MIN);
    const float scale = 1.0f / sampling->temperature;
    const struct truncation truncation = truncation_from(sampling, score_count);
    /* Not -0, from which the distance of a tie at 0 would be -0, which is no key. */
    struct sampler_weighing weighing = {.best = best + 0.0f, .scale = scale};
    if (truncation_is_off(&truncation)) {
        const uint64_t total =
            sampler_row_weigh(scratch->scores, score_count, weighing, scratch->block_masses);
        return sampler_row_find(scratch->scores, score_count, weighing, scratch->block_masses,
                                mass_share(total, random));
    }
    const bool rwkv = sampling->order == SAMPLING_ORDER_RWKV;
    weighing.scale = rwkv ? 1.0f : scale;
    const uint64_t total =
        truncation.top_p > 0 ? sampler_row_weigh(scratch->scores, score_count, weighing, NULL) : 0;
    struct sampler_candidate *candidates = scratch->candidates;
    size_t count =
        gather_enough(scratch, score_count, weighing, &truncation, sampling->order, total);
    if (rwkv) {
        count = truncate_rwkv(candidates, count, total, &truncation);
        weigh_again(candidates, count, scale);
    } else {
        count = truncate_openai(candidates, count, total, &truncation);
    }
    return pick(candidates, count, random);
}
