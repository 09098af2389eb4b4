/* SPDX-License-Identifier: Apache-2.0
 *
 * server/token_queue.h - generated tokens until the text that they explain can be shown.
 *
 * Text may come later than its token: half a character, the start of what may be a stop string. The
 * queue keeps both in step, so that a piece of text goes out together with exactly its tokens. A
 * token belongs to the piece that its first byte is in. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "server/openai_logprobs.h"

struct queued_token;

/* Zeroed is a valid empty queue. Tokens given out are used again for later ones. */
struct token_queue {
    struct queued_token *first, *last;
    struct queued_token *given; /* By the last call; free at the next one. */
    struct queued_token *free;
    uint32_t residue_bytes; /* Text to come of a token that was given out already. */
};

/* Text, and the tokens that begin in it. */
struct token_share {
    struct text text;           /* A part of what was asked for. */
    struct openai_token *first; /* Linked; NULL: none. Valid until the next call. */
};

/* Adds a token behind the others; its .top is copied. False: the arena is full. */
WARN_UNUSED bool token_queue_add(struct token_queue *queue, const struct openai_token *token,
                                 struct arena *arena);

/* Takes from *text (not empty, whole UTF-8; moved on) at least one character, up to where a token
 * ends, and the tokens that it explains. */
struct token_share token_queue_next(struct token_queue *queue, struct text *text);

/* So many bytes of text will not be shown. as_thought: tokens that lie in them are no part of the
 * answer, and are counted in the result; else the next token is shown without them. */
uint32_t token_queue_skip(struct token_queue *queue, size_t bytes, bool as_thought);

/* Takes all that is left, after the last text. Tokens with bytes that never became text (a stop
 * string) count as no part of the answer. */
struct openai_token *token_queue_take_rest(struct token_queue *queue);
