/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/golden_reference.h - RWKV-7 on the golden model in float64, with mistakes.
 *
 * Written from the paper for this test alone; shares no code with cpu/. The mistakes are those that
 * implementations have made: a comparison that lets one of them pass has no teeth. Thread: any. */
#pragma once

#include <stdint.h>

#include "tests/fakes/golden_model.h"

enum mistake {
    MISTAKE_NONE,
    MISTAKE_GROUP_NORM_EPSILON,      /* 1e-5 instead of 64e-5. */
    MISTAKE_LN0_SKIPPED,
    MISTAKE_BONUS_DROPPED,
    MISTAKE_VALUE_RESIDUAL_DROPPED,
    MISTAKE_DECAY_DOUBLE_EXP,        /* exp(-exp(wx)), as RWKV-6 has it. */
    MISTAKE_KK_OF_MODIFIED_K,
    MISTAKE_SA_AFTER_DECAY,
    MISTAKE_Y_BEFORE_UPDATE,
    MISTAKE_BONUS_OF_UNMODIFIED_K,
    MISTAKE_FFN_SHIFT_LOST,          /* At the chunk boundary before token 20. */
    MISTAKE_ONLY_LAST_TOKEN,         /* The prompt cut to its last token. */
    MISTAKE_COUNT,
};

const char *mistake_name(enum mistake mistake);

struct golden_reference;

struct golden_reference *golden_reference_create(void);
void golden_reference_destroy(struct golden_reference *reference);

/* Runs a prompt from the zero state with one mistake made; logits_out[token_count][GOLDEN_V], of
 * tokens that were not processed NaN. */
void golden_reference_run(const struct golden_reference *reference, enum mistake mistake,
                          const int32_t *tokens, uint32_t token_count,
                          double (*logits_out)[GOLDEN_V]);
