/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_call_split.h - the answer of a chat with tools, cut into content and calls.
 *
 * A call is written as engine/chat_template.h says: fence, name, arguments, fence. Only at the
 * beginning of an answer can calls begin, and only another call or the end follows one. What may
 * become a call waits; arguments do not. Every byte comes out once, in order. Owns no memory.
 * Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

enum tool_call_start {
    TOOL_CALL_START_NONE,  /* No call can come: everything is content. */
    TOOL_CALL_START_FENCE, /* White space and a fence begin a call; other text is content. */
    TOOL_CALL_START_NAME,  /* The prompt ends with the fence. */
};

enum tool_call_part {
    TOOL_CALL_CONTENT,
    TOOL_CALL_NAME,      /* The whole name: a call begins. */
    TOOL_CALL_ARGUMENTS, /* The next piece of its JSON object. */
    TOOL_CALL_SPACE,     /* White space before content or a call. */
    TOOL_CALL_MARK,      /* What is around name and arguments, and what no call should have. */
};

enum tool_call_state {
    TOOL_CALL_STATE_CONTENT,
    TOOL_CALL_STATE_SPACE,    /* Before a fence, or content. */
    TOOL_CALL_STATE_HEAD,     /* From the fence, or from what follows it, to the arguments. */
    TOOL_CALL_STATE_HEAD_OUT, /* The head is complete and on its way out. */
    TOOL_CALL_STATE_VALUE,    /* Before the arguments' first brace. */
    TOOL_CALL_STATE_ARGUMENTS,
    TOOL_CALL_STATE_CLOSE,
    TOOL_CALL_STATE_IGNORED, /* After calls, something that is none. */
};

struct tool_call_piece {
    enum tool_call_part part;
    struct text text; /* Not empty; valid until the next call. */
};

enum { TOOL_CALL_NAME_MAX = 64, TOOL_CALL_HELD_BYTES = 128 };

struct tool_call_split {
    enum tool_call_state state;
    bool has_fence; /* The head to come begins with the fence. */
    bool has_ended;
    uint32_t call_count;  /* Whose name came out. */
    uint32_t whole_count; /* Whose arguments came out to the last brace. */
    struct text rest;     /* Of the text pushed last; borrowed. */
    uint32_t depth;       /* Of the arguments: open brackets, */
    bool in_string;       /* and whether the next byte is within a string */
    bool is_escaped;      /* behind a backslash. */
    size_t close_len;     /* So much of the closing fence was there. */
    size_t held_len, out_len;
    char held[TOOL_CALL_HELD_BYTES]; /* The head so far. */
};

void tool_call_split_init(struct tool_call_split *split, enum tool_call_start start);

/* Adds text, whole UTF-8; the text before must have been taken. */
void tool_call_split_push(struct tool_call_split *split, struct text text);

/* No more text comes: a head that was held is part of a call that was cut. */
void tool_call_split_end(struct tool_call_split *split);

/* Takes the next piece; false when there is none. */
bool tool_call_split_next(struct tool_call_split *split, struct tool_call_piece *piece_out);

/* Whether there are calls and all of them are whole. */
bool tool_call_split_is_whole(const struct tool_call_split *split);
