/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_logprobs.h - the "logprobs" of a choice, in the two shapes that OpenAI has.
 *
 * Chat: one array of entries. Completions: four parallel arrays, with echo those of the prompt
 * first. Streamed tokens are written at once; tokens of a whole reply are collected as JSON, a
 * column for every array. Scores of a prompt: server/prompt_scores.h. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json_writer.h"
#include "engine/generation.h"
#include "engine/tokenizer.h"
#include "server/prompt_scores.h"
#include "server/reply_buffer.h"

enum openai_logprobs_shape { OPENAI_LOGPROBS_COMPLETIONS, OPENAI_LOGPROBS_CHAT };

enum { OPENAI_LOGPROBS_COLUMNS_MAX = 4 };

/* A generated token and what might have come instead. */
struct openai_token {
    const struct tokenizer *tokenizer;
    struct openai_token *next; /* Explains the same text; NULL: the last. */
    int32_t id;
    float logprob;
    const struct sampled_alternative *top; /* [top_count], most likely first; borrowed. */
    uint32_t top_count;
    uint32_t trimmed_bytes; /* So many of its first bytes are not shown to the client. */
    uint32_t text_offset;   /* Completions: characters of the text before it. */
    bool shown_as_id;       /* "token_id:123" instead of its text. */
    bool is_thought;        /* Not part of the answer: no logprobs. */
};

/* Zeroed: no tokens. */
struct openai_logprobs {
    struct reply_buffer columns[OPENAI_LOGPROBS_COLUMNS_MAX]; /* Elements of the arrays. */
};

/* The token's bytes as the client sees them; borrowed from the tokenizer. */
struct text openai_token_text(const struct openai_token *token);

/* Writes the whole object for a token and those behind it; null when all are thought. */
void openai_logprobs_write_tokens(enum openai_logprobs_shape shape,
                                  const struct openai_token *first, struct json_writer *writer);

/* Collects one token. False: the arena is full. */
bool openai_logprobs_add(struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                         const struct openai_token *token, struct arena *arena);

/* Writes the whole object for all collected tokens. echoed: the scored prompt before them, or
 * NULL; only completions have one. */
void openai_logprobs_write(const struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                           const struct prompt_scores *echoed, struct json_writer *writer);

/* Writes the object of completions for the tokens [begin, end) of a prompt. */
void openai_logprobs_write_prompt(const struct prompt_scores *scores, uint32_t begin, uint32_t end,
                                  struct json_writer *writer);

/* Writes the value of vLLM's "prompt_logprobs": null for the first token, then an object for each
 * with at most top_max alternatives. */
void openai_logprobs_write_vllm(const struct prompt_scores *scores, uint32_t top_max,
                                struct json_writer *writer);
