/* SPDX-License-Identifier: Apache-2.0
 *
 * server/reasoning_split.c - the text of a chat, cut into thought, answer and what is neither.
 *
 * The line feed before a closing tag belongs to the tag, so that two spellings of it are looked
 * for. Thread: any. */
#include "server/reasoning_split.h"

#include <string.h>

#include "base/error.h"

static const struct text tags[] = {
    {.bytes = "\n</think>", .len = sizeof("\n</think>") - 1},
    {.bytes = "</think>", .len = sizeof("</think>") - 1},
};

enum { TAG_COUNT = sizeof(tags) / sizeof(tags[0]) };

void reasoning_split_init(struct reasoning_split *split, enum reasoning_start start)
{
    static const enum reasoning_state states[] = {
        [REASONING_START_TEXT] = REASONING_STATE_ANSWER,
        [REASONING_START_TURN] = REASONING_STATE_TURN,
        [REASONING_START_CLOSED] = REASONING_STATE_CLOSING,
        [REASONING_START_OPEN] = REASONING_STATE_OPENING,
    };
    *split = (struct reasoning_split){.state = states[start]};
}

void reasoning_split_push(struct reasoning_split *split, struct text text)
{
    ASSERT_COMPARE(split->rest.len, ==, 0);
    split->rest = text;
}

void reasoning_split_end(struct reasoning_split *split)
{
    split->has_ended = true;
}

static struct text take(struct reasoning_split *split, size_t len)
{
    const struct text taken = {.bytes = split->rest.bytes, .len = len};
    split->rest.bytes += len;
    split->rest.len -= len;
    return taken;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static size_t space_len(struct text text)
{
    size_t len = 0;
    while (len < text.len && is_space(text.bytes[len])) {
        len++;
    }
    return len;
}

/* Whether the bytes begin a closing tag, or are one: *whole_out. */
static bool begins_tag(struct text text, bool *whole_out)
{
    *whole_out = false;
    for (size_t index = 0; index < TAG_COUNT; index++) {
        if (text_starts_with(tags[index], text)) {
            *whole_out = text.len == tags[index].len;
            return true;
        }
    }
    return false;
}

/* Moves the first held bytes out. */
static struct text release(struct reasoning_split *split, size_t len)
{
    memcpy(split->out, split->held, len);
    split->held_len -= len;
    memmove(split->held, split->held + len, split->held_len);
    return (struct text){.bytes = split->out, .len = len};
}

/* How many of the held bytes are no part of a tag, with the next byte behind them. */
static size_t plain_held_len(const struct reasoning_split *split, bool *whole_out)
{
    char bytes[REASONING_HELD_BYTES];
    memcpy(bytes, split->held, split->held_len);
    bytes[split->held_len] = split->rest.bytes[0];
    for (size_t begin = 0; begin < split->held_len; begin++) {
        const struct text text = {.bytes = bytes + begin, .len = split->held_len + 1 - begin};
        if (begins_tag(text, whole_out)) {
            return begin;
        }
    }
    return split->held_len;
}

static bool can_begin_tag(char byte)
{
    return byte == '\n' || byte == '<';
}

/* Only ASCII is held, so that pieces are whole characters. */
static bool next_of_thought(struct reasoning_split *split, struct reasoning_piece *piece_out)
{
    piece_out->part = REASONING_THOUGHT;
    while (split->rest.len > 0) {
        bool whole = false;
        const size_t plain = plain_held_len(split, &whole);
        if (plain > 0) {
            piece_out->text = release(split, plain);
            return true;
        }
        size_t len = 0;
        while (split->held_len == 0 && len < split->rest.len &&
               !can_begin_tag(split->rest.bytes[len])) {
            len++;
        }
        if (len > 0) {
            piece_out->text = take(split, len);
            return true;
        }
        split->held[split->held_len++] = take(split, 1).bytes[0];
        if (whole) {
            split->state = REASONING_STATE_ANSWER_SPACE;
            piece_out->part = REASONING_MARK;
            piece_out->text = release(split, split->held_len);
            return true;
        }
    }
    if (split->has_ended && split->held_len > 0) {
        piece_out->text = release(split, split->held_len);
        return true;
    }
    return false;
}

/* Takes the ">" of a tag that the prompt left open, if it is there. */
static size_t tag_end_len(const struct reasoning_split *split)
{
    return split->rest.bytes[0] == '>' ? 1 : 0;
}

bool reasoning_split_next(struct reasoning_split *split, struct reasoning_piece *piece_out)
{
    while (split->rest.len > 0 || (split->has_ended && split->held_len > 0)) {
        size_t len = 0;
        enum reasoning_part part = REASONING_MARK;
        switch (split->state) {
        case REASONING_STATE_ANSWER:
            *piece_out = (struct reasoning_piece){REASONING_ANSWER, take(split, split->rest.len)};
            return true;
        case REASONING_STATE_THOUGHT:
            return next_of_thought(split, piece_out);
        case REASONING_STATE_TURN:
            part = REASONING_SPACE;
            len = split->rest.bytes[0] == ' ' ? 1 : 0;
            split->state = REASONING_STATE_ANSWER;
            break;
        case REASONING_STATE_OPENING:
            len = tag_end_len(split);
            split->state = REASONING_STATE_THOUGHT_SPACE;
            break;
        case REASONING_STATE_CLOSING:
            len = tag_end_len(split);
            split->state = REASONING_STATE_ANSWER_SPACE;
            break;
        case REASONING_STATE_THOUGHT_SPACE:
            len = space_len(split->rest);
            split->state = len < split->rest.len ? REASONING_STATE_THOUGHT : split->state;
            break;
        case REASONING_STATE_ANSWER_SPACE:
            len = space_len(split->rest);
            split->state = len < split->rest.len ? REASONING_STATE_ANSWER : split->state;
            break;
        }
        if (len > 0) {
            *piece_out = (struct reasoning_piece){part, take(split, len)};
            return true;
        }
    }
    return false;
}
