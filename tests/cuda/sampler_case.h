/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/sampler_case.h - random logits and parameters of sampling, with all their accidents.
 *
 * The same for the same state of the generator. Thread: any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/sampler.h"

/* splitmix64 (G. Steele et al., Fast splittable pseudorandom number generators, 2014). */
struct sampler_case_random {
    uint64_t state;
};

uint64_t sampler_case_next(struct sampler_case_random *random);
uint32_t sampler_case_below(struct sampler_case_random *random, uint32_t bound); /* >= 1. */

/* Fills bias[LIMIT_LOGIT_BIAS], which sampling_out borrows. */
void sampler_case_sampling(struct sampler_case_random *random, uint32_t V,
                           struct sampling *sampling_out, struct sampling_bias *bias);
void sampler_case_logits(struct sampler_case_random *random, uint32_t V, float *logits_out);
void sampler_case_mask(struct sampler_case_random *random, size_t words, uint32_t *mask_out);
