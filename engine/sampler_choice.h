/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler_choice.h - from final scores and a random number to one token.
 *
 * Truncation (top-k, top-p, min-p) and the draw. Penalties, bias and masks have been applied
 * before; greedy decoding does not come here. Thread: one at a time for each scratch. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/sampler.h"
#include "engine/sampler_row.h"

/* Opaque in sampler.h. V: rows of the vocabulary. */
struct sampler_scratch {
    float *scores;                        /* [V], final scores of the row being drawn. */
    uint64_t *block_masses;               /* [ceil(V / SAMPLER_ROW_BLOCK)] */
    struct sampler_candidate *candidates; /* [V + 1] */
};

/* Draws one of scratch->scores[score_count]. `best` is their largest, finite; `random` is uniform
 * over all 64 bits. sampling->temperature >= SAMPLING_TEMPERATURE_MIN. */
int32_t sampler_choice_draw(struct sampler_scratch *scratch, const struct sampling *sampling,
                            size_t score_count, float best, uint64_t random);
