/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_answer.h - one answer: from the engine's text and tokens to pieces for the wire.
 *
 * Text is cut into thought, answer and calls of functions, and goes together with the tokens that
 * it is made of. Calls have no log-probabilities. Who sends the pieces is openai_job.c's.
 * Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/openai_reply.h"
#include "server/reasoning_split.h"
#include "server/token_queue.h"
#include "server/tool_call_split.h"

struct openai_answer {
    struct reasoning_split split;
    struct tool_call_split call_split; /* Of what is no thought. */
    struct token_queue queue; /* Empty unless follows_tokens. */
    bool follows_tokens;      /* Every token of the answer will be pushed. */
    bool thinks;              /* It begins with a thought. */
    bool is_opened;           /* Streamed: role or echo has been sent. */
    struct text rest;         /* Of the part that is being cut into pieces. */
    enum openai_piece_kind rest_kind;
    char call_id[OPENAI_CALL_ID_BYTES]; /* Of the call that began last. */
    uint32_t characters;       /* Shown so far, by tokens: the next one's text_offset. */
    uint32_t reasoning_tokens; /* So far; 0 unless follows_tokens. */
    const char *finish;        /* Why it ended; NULL: it goes on. */
    bool ended_by_length;
    uint32_t stop_string; /* 1 + index of the stop string that ended it; 0: none did. */

    /* Not streamed: all pieces. */
    struct reply_buffer text, thought, token_ids;
    struct openai_logprobs logprobs;
    struct openai_call *first_call, *last_call;
};

void openai_answer_init(struct openai_answer *answer, enum reasoning_start start,
                        enum tool_call_start call_start, bool follows_tokens);

/* Adds text that was released, and the token that released it (NULL: the end did). All pieces
 * must have been taken before. False: the arena is full. */
WARN_UNUSED bool openai_answer_push(struct openai_answer *answer, struct text text,
                                    const struct openai_token *token, struct arena *arena);

/* No more text comes. */
void openai_answer_end(struct openai_answer *answer);

/* Takes the next piece; its text and tokens are valid until the next call. False: there is none
 * now. */
bool openai_answer_next(struct openai_answer *answer, struct openai_piece *piece_out);

/* After the end and its last piece: tokens that no text came of. */
const struct openai_token *openai_answer_take_rest(struct openai_answer *answer);

/* Whether it is calls of functions, all of them whole. */
bool openai_answer_is_calls(const struct openai_answer *answer);

/* Keeps a piece, or the rest without text, for the whole reply; of its tokens what the reply shows.
 * False: the arena is full. */
WARN_UNUSED bool openai_answer_keep(struct openai_answer *answer, const struct openai_piece *piece,
                                    const struct openai_reply *reply, struct arena *arena);
