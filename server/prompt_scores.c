/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_scores.c - log-probabilities of the tokens of a prompt, as the engine reports them.
 *
 * Thread: loop. */
#include "server/prompt_scores.h"

#include <string.h>

bool prompt_scores_init(struct prompt_scores *scores, struct arena *arena)
{
    const size_t count = scores->token_count;
    scores->logprobs = arena_alloc(arena, count * sizeof(*scores->logprobs));
    scores->top_counts = arena_alloc(arena, count * sizeof(*scores->top_counts));
    scores->offsets = arena_alloc(arena, count * sizeof(*scores->offsets));
    scores->top = arena_alloc(arena, count * scores->top_max * sizeof(*scores->top));
    if (scores->logprobs == NULL || scores->top_counts == NULL || scores->offsets == NULL ||
        scores->top == NULL) {
        return false;
    }
    scores->characters = 0;
    for (size_t index = 0; index < count; index++) {
        const struct text text = tokenizer_decode(scores->tokenizer, scores->tokens[index]);
        scores->offsets[index] = scores->characters;
        scores->characters += (uint32_t)utf8_count(text);
    }
    return true;
}

void prompt_scores_take(struct prompt_scores *scores, const struct generation_event *event)
{
    ASSERT_COMPARE(event->position, >=, 1);
    ASSERT_COMPARE(event->position, <, scores->token_count);
    ASSERT_COMPARE(event->token, ==, scores->tokens[event->position]);
    const uint32_t kept = event->top_count < scores->top_max ? event->top_count : scores->top_max;
    scores->logprobs[event->position] = event->logprob;
    scores->top_counts[event->position] = kept;
    memcpy(scores->top + (size_t)event->position * scores->top_max, generation_event_top(event),
           kept * sizeof(*scores->top));
}
