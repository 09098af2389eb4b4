/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler_row.h - passes over one row of scores: the largest, the masses, who holds a mass.
 *
 * The loops of sampling whose length is the vocabulary; nothing here knows of penalties, slots or
 * truncation. Scores may hold anything: not-a-number counts as -inf. Every function gives the same
 * bits with and without FMA hardware. Thread: any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/sampler_math.h"

enum { SAMPLER_ROW_BLOCK = 64 }; /* Scores are looked at and summed by so many. */

/* How a score becomes a weight: exp((score - best) * scale). */
struct sampler_weighing {
    float best;  /* The largest score of the row, finite. */
    float scale; /* 1 / temperature. */
};

/* A token that may be drawn. Keys are unique; a smaller one comes first. */
struct sampler_candidate {
    uint64_t key; /* Bits of best - score (not negative, so they order as it does), then the id. */
    uint64_t mass;
};

/* Writes the ids of the `wanted` largest scores, largest first, the lower id first among equals;
 * returns how many: fewer when fewer are above -inf. */
size_t sampler_row_top(const float *scores, size_t score_count, size_t wanted, int32_t *ids_out);

/* Returns the sum of the masses, and that of each block in block_masses_out[ceil(score_count / 64)]
 * unless NULL. */
uint64_t sampler_row_weigh(const float *scores, size_t score_count,
                           struct sampler_weighing weighing, uint64_t *block_masses_out);

/* Returns the first token at which the masses, summed in id order, exceed `offset`, which is less
 * than their sum. block_masses: of sampler_row_weigh with the same arguments. */
int32_t sampler_row_find(const float *scores, size_t score_count, struct sampler_weighing weighing,
                         const uint64_t *block_masses, uint64_t offset);

/* Writes every token with (best - score) * scale <= reach and a mass above 0, in id order; returns
 * how many. candidates_out: room for score_count + 1, of which the last is scribbled on. */
size_t sampler_row_gather(const float *scores, size_t score_count, struct sampler_weighing weighing,
                          float reach, struct sampler_candidate *candidates_out);
