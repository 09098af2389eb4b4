/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_scores.h - log-probabilities of the tokens of a prompt, as the engine reports them.
 *
 * How they look on the wire: server/openai_logprobs.h. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/generation.h"
#include "engine/tokenizer.h"

/* Invariant: everything of token 0 is zero; nothing can be said about it. */
struct prompt_scores {
    const struct tokenizer *tokenizer;
    const int32_t *tokens;           /* [token_count] Borrowed: the prompt. */
    uint32_t token_count;
    uint32_t top_max;                /* Alternatives of a token that are kept. */
    uint32_t shown_max;              /* And shown in "logprobs"; vLLM's list has its own. */
    bool shown_as_ids;               /* "token_id:123" instead of a token's text. */
    float *logprobs;                 /* [token_count] */
    uint32_t *top_counts;            /* [token_count] */
    struct sampled_alternative *top; /* [token_count][top_max] */
    uint32_t *offsets;               /* [token_count] Characters of the prompt before the token. */
    uint32_t characters;             /* Of the whole prompt. */
};

/* Makes room, and counts characters, for scores->tokens. False: the arena is full. */
WARN_UNUSED bool prompt_scores_init(struct prompt_scores *scores, struct arena *arena);

/* Takes a PROMPT event. */
void prompt_scores_take(struct prompt_scores *scores, const struct generation_event *event);
