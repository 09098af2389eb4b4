/* SPDX-License-Identifier: Apache-2.0
 *
 * server/reasoning_split.h - the text of a chat, cut into thought, answer and what is neither.
 *
 * A prompt ends inside the turn that the model fills: after "Assistant:", so that the answer begins
 * with a space nobody meant; or inside a think tag, whose ">" the model writes first. What may
 * become "</think>" waits. Every byte comes out once, in order. Owns no memory. Thread: any. */
#pragma once

#include <stdbool.h>

#include "base/text.h"

enum reasoning_start {
    REASONING_START_TEXT,   /* Everything is the answer. */
    REASONING_START_TURN,   /* After "Assistant:": one leading space is not. */
    REASONING_START_CLOSED, /* After "<think></think": ">" and white space, then the answer. */
    REASONING_START_OPEN,   /* After "<think": ">" and white space, the thought, its end. */
};

enum reasoning_part {
    REASONING_ANSWER,
    REASONING_SPACE,   /* The leading space of an answer. */
    REASONING_THOUGHT,
    REASONING_MARK,    /* Tags, and white space around them. */
};

/* Where the bytes to come belong. */
enum reasoning_state {
    REASONING_STATE_ANSWER,
    REASONING_STATE_TURN,
    REASONING_STATE_OPENING, /* Before the ">" that ends an opening tag. */
    REASONING_STATE_THOUGHT_SPACE,
    REASONING_STATE_THOUGHT,
    REASONING_STATE_CLOSING, /* Before the ">" that ends a closing tag. */
    REASONING_STATE_ANSWER_SPACE,
};

struct reasoning_piece {
    enum reasoning_part part;
    struct text text; /* Not empty; valid until the next call. */
};

enum { REASONING_HELD_BYTES = sizeof("\n</think>") };

struct reasoning_split {
    enum reasoning_state state;
    struct text rest; /* Of the text pushed last; borrowed. */
    bool has_ended;
    size_t held_len;
    char held[REASONING_HELD_BYTES]; /* The start of what may become a closing tag. */
    char out[REASONING_HELD_BYTES];  /* Held bytes on their way out. */
};

void reasoning_split_init(struct reasoning_split *split, enum reasoning_start start);

/* Adds text, whole UTF-8; the text before must have been taken. */
void reasoning_split_push(struct reasoning_split *split, struct text text);

/* No more text comes: what was held is thought after all. */
void reasoning_split_end(struct reasoning_split *split);

/* Takes the next piece; false when there is none. */
bool reasoning_split_next(struct reasoning_split *split, struct reasoning_piece *piece_out);
