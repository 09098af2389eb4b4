/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_logprobs.h - the "logprobs" of a choice, in the two shapes that OpenAI has.
 *
 * Chat: one array of entries. Completions: four parallel arrays. A streamed token is written at
 * once; tokens of a whole reply are collected as JSON, a column for every array. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json_writer.h"
#include "engine/generation.h"
#include "engine/tokenizer.h"
#include "server/reply_buffer.h"

enum openai_logprobs_shape { OPENAI_LOGPROBS_COMPLETIONS, OPENAI_LOGPROBS_CHAT };

enum { OPENAI_LOGPROBS_COLUMNS_MAX = 4 };

/* A generated token and what might have come instead. */
struct openai_token {
    const struct tokenizer *tokenizer;
    int32_t id;
    float logprob;
    const struct sampled_alternative *top; /* [top_count], most likely first; borrowed. */
    uint32_t top_count;
    bool space_trimmed;   /* The answer's leading space was cut off: it is cut off here too. */
    uint32_t text_offset; /* Completions: characters of the text before it. */
};

/* Zeroed: no tokens. */
struct openai_logprobs {
    struct reply_buffer columns[OPENAI_LOGPROBS_COLUMNS_MAX]; /* Elements of the arrays. */
};

/* The token's bytes as the client sees them; borrowed from the tokenizer. */
struct text openai_token_text(const struct openai_token *token);

/* Writes the whole object for one token. */
void openai_logprobs_write_token(enum openai_logprobs_shape shape, const struct openai_token *token,
                                 struct json_writer *writer);

/* Collects one token. False: the arena is full. */
bool openai_logprobs_add(struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                         const struct openai_token *token, struct arena *arena);

/* Writes the whole object for all collected tokens. */
void openai_logprobs_write(const struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                           struct json_writer *writer);
