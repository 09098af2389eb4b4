/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler_row.c - passes over one row of scores.
 *
 * Each pass is one inlined body compiled twice: for any processor (where fmaf may be a call into
 * the C library) and for AVX2 with FMA. Inner loops have the fixed length of a block, so that
 * compilers turn them into vectors; maxima and integer sums do not depend on order. Thread: any. */
#include "engine/sampler_row.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

/* SAMPLER_ROW_PORTABLE leaves the first variant only: the tests compare the two. */
#if defined(__x86_64__) && !defined(SAMPLER_ROW_PORTABLE)
#define WITH_FMA __attribute__((target("avx2,fma")))
static bool cpu_has_fma(void)
{
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}
#else
#define WITH_FMA
static bool cpu_has_fma(void)
{
    return false;
}
#endif

enum { BLOCK = SAMPLER_ROW_BLOCK };

/* The block that starts at `first`: in place where it is whole, else a padded copy. */
SAMPLER_MATH_INLINE const float *block_at(const float *scores, size_t score_count, size_t first,
                                          float padded[BLOCK])
{
    if (score_count - first >= BLOCK) {
        return scores + first;
    }
    for (size_t lane = 0; lane < BLOCK; lane++) {
        padded[lane] = first + lane < score_count ? scores[first + lane] : -INFINITY;
    }
    return padded;
}

SAMPLER_MATH_INLINE float block_best(const float *block)
{
    enum { LANES = 16 };
    float lanes[LANES];
    for (size_t lane = 0; lane < LANES; lane++) {
        lanes[lane] = -INFINITY;
    }
    for (size_t first = 0; first < BLOCK; first += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const float score = block[first + lane];
            lanes[lane] = score > lanes[lane] ? score : lanes[lane]; /* False for NaN. */
        }
    }
    float best = -INFINITY;
    for (size_t lane = 0; lane < LANES; lane++) {
        best = lanes[lane] > best ? lanes[lane] : best;
    }
    return best;
}

SAMPLER_MATH_INLINE uint64_t block_weigh(const float *block, struct sampler_weighing weighing,
                                         uint64_t masses_out[BLOCK])
{
    float weights[BLOCK];
    for (size_t lane = 0; lane < BLOCK; lane++) {
        /* +inf is FLT_MAX, as in sampler_math_clean; the exponential of NaN is 0. */
        const float score = block[lane] > FLT_MAX ? FLT_MAX : block[lane];
        weights[lane] = sampler_math_exp((score - weighing.best) * weighing.scale);
    }
    uint64_t total = 0;
    for (size_t lane = 0; lane < BLOCK; lane++) {
        masses_out[lane] = sampler_math_mass(weights[lane]);
        total += masses_out[lane];
    }
    return total;
}

/* Puts token into the ordered list ids[count], which drops its last entry when it is full. Later
 * tokens have higher ids, so among equals they go behind. */
static size_t top_insert(const float *scores, int32_t token, size_t wanted, int32_t *ids,
                         size_t count)
{
    const float score = sampler_math_clean(scores[token]);
    size_t place = count < wanted ? count : wanted - 1;
    for (; place > 0 && sampler_math_clean(scores[ids[place - 1]]) < score; place--) {
        ids[place] = ids[place - 1];
    }
    ids[place] = token;
    return count < wanted ? count + 1 : count;
}

SAMPLER_MATH_INLINE size_t top_body(const float *scores, size_t score_count, size_t wanted,
                                    int32_t *ids_out)
{
    float padded[BLOCK];
    size_t count = 0;
    float threshold = -INFINITY; /* A score must be above to enter the list. */
    for (size_t first = 0; first < score_count; first += BLOCK) {
        const float *block = block_at(scores, score_count, first, padded);
        if (!(block_best(block) > threshold)) {
            continue;
        }
        for (size_t lane = 0; lane < BLOCK; lane++) {
            if (sampler_math_clean(block[lane]) > threshold) {
                count = top_insert(scores, (int32_t)(first + lane), wanted, ids_out, count);
                threshold =
                    count == wanted ? sampler_math_clean(scores[ids_out[count - 1]]) : -INFINITY;
            }
        }
    }
    return count;
}

WITH_FMA static size_t top_fma(const float *scores, size_t score_count, size_t wanted,
                               int32_t *ids_out)
{
    return top_body(scores, score_count, wanted, ids_out);
}

size_t sampler_row_top(const float *scores, size_t score_count, size_t wanted, int32_t *ids_out)
{
    if (wanted == 0) {
        return 0;
    }
    return cpu_has_fma() ? top_fma(scores, score_count, wanted, ids_out)
                         : top_body(scores, score_count, wanted, ids_out);
}

SAMPLER_MATH_INLINE uint64_t weigh_body(const float *scores, size_t score_count,
                                        struct sampler_weighing weighing,
                                        uint64_t *block_masses_out)
{
    float padded[BLOCK];
    uint64_t masses[BLOCK];
    uint64_t total = 0;
    for (size_t first = 0; first < score_count; first += BLOCK) {
        const float *block = block_at(scores, score_count, first, padded);
        const uint64_t mass = block_weigh(block, weighing, masses);
        if (block_masses_out != NULL) {
            block_masses_out[first / BLOCK] = mass;
        }
        total += mass;
    }
    return total;
}

WITH_FMA static uint64_t weigh_fma(const float *scores, size_t score_count,
                                   struct sampler_weighing weighing, uint64_t *block_masses_out)
{
    return weigh_body(scores, score_count, weighing, block_masses_out);
}

uint64_t sampler_row_weigh(const float *scores, size_t score_count,
                           struct sampler_weighing weighing, uint64_t *block_masses_out)
{
    return cpu_has_fma() ? weigh_fma(scores, score_count, weighing, block_masses_out)
                         : weigh_body(scores, score_count, weighing, block_masses_out);
}

int32_t sampler_row_find(const float *scores, size_t score_count, struct sampler_weighing weighing,
                         const uint64_t *block_masses, uint64_t offset)
{
    size_t first = 0;
    while (offset >= block_masses[first / BLOCK]) {
        offset -= block_masses[first / BLOCK];
        first += BLOCK;
        ASSERT_COMPARE(first, <, score_count);
    }
    float padded[BLOCK];
    uint64_t masses[BLOCK];
    block_weigh(block_at(scores, score_count, first, padded), weighing, masses);
    size_t lane = 0;
    while (offset >= masses[lane]) {
        offset -= masses[lane];
        lane++;
        ASSERT_COMPARE(lane, <, BLOCK);
    }
    return (int32_t)(first + lane);
}

SAMPLER_MATH_INLINE size_t gather_body(const float *scores, size_t score_count,
                                       struct sampler_weighing weighing, float reach,
                                       struct sampler_candidate *candidates_out)
{
    float padded[BLOCK];
    uint64_t masses[BLOCK];
    size_t count = 0;
    for (size_t first = 0; first < score_count; first += BLOCK) {
        const float *block = block_at(scores, score_count, first, padded);
        const float nearest = weighing.best - sampler_math_clean(block_best(block));
        if (!(nearest * weighing.scale <= reach)) {
            continue;
        }
        block_weigh(block, weighing, masses);
        for (size_t lane = 0; lane < BLOCK; lane++) {
            const float distance = weighing.best - sampler_math_clean(block[lane]);
            candidates_out[count] = (struct sampler_candidate){
                .key = (uint64_t)sampler_math_bits(distance) << 32 | (first + lane),
                .mass = masses[lane],
            };
            count += distance * weighing.scale <= reach && masses[lane] > 0 ? 1 : 0;
        }
    }
    return count;
}

WITH_FMA static size_t gather_fma(const float *scores, size_t score_count,
                                  struct sampler_weighing weighing, float reach,
                                  struct sampler_candidate *candidates_out)
{
    return gather_body(scores, score_count, weighing, reach, candidates_out);
}

size_t sampler_row_gather(const float *scores, size_t score_count, struct sampler_weighing weighing,
                          float reach, struct sampler_candidate *candidates_out)
{
    return cpu_has_fma() ? gather_fma(scores, score_count, weighing, reach, candidates_out)
                         : gather_body(scores, score_count, weighing, reach, candidates_out);
}
