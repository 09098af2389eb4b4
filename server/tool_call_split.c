/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_call_split.c - the answer of a chat with tools, cut into content and calls.
 *
 * The grammar of tool_grammar.c lets nothing else through than what is cut here; text that is
 * malformed all the same becomes content, or is ignored behind a call. Thread: any. */
#include "server/tool_call_split.h"

#include <string.h>

#include "base/error.h"
#include "engine/chat_template.h"

static const struct text fence = {.bytes = CHAT_CALL_FENCE, .len = sizeof(CHAT_CALL_FENCE) - 1};
static const struct text opening = {.bytes = CHAT_CALL_OPEN, .len = sizeof(CHAT_CALL_OPEN) - 1};
static const struct text middle = {.bytes = CHAT_CALL_MIDDLE, .len = sizeof(CHAT_CALL_MIDDLE) - 1};
static const struct text closing = {.bytes = CHAT_CALL_CLOSE, .len = sizeof(CHAT_CALL_CLOSE) - 1};

_Static_assert(sizeof(CHAT_CALL_FENCE CHAT_CALL_OPEN CHAT_CALL_MIDDLE) + TOOL_CALL_NAME_MAX <=
                   TOOL_CALL_HELD_BYTES,
               "the longest head can be held");

void tool_call_split_init(struct tool_call_split *split, enum tool_call_start start)
{
    static const enum tool_call_state states[] = {
        [TOOL_CALL_START_NONE] = TOOL_CALL_STATE_CONTENT,
        [TOOL_CALL_START_FENCE] = TOOL_CALL_STATE_SPACE,
        [TOOL_CALL_START_NAME] = TOOL_CALL_STATE_HEAD,
    };
    *split = (struct tool_call_split){.state = states[start],
                                      .has_fence = start != TOOL_CALL_START_NAME};
}

void tool_call_split_push(struct tool_call_split *split, struct text text)
{
    ASSERT_COMPARE(split->rest.len, ==, 0);
    split->rest = text;
}

void tool_call_split_end(struct tool_call_split *split)
{
    split->has_ended = true;
}

bool tool_call_split_is_whole(const struct tool_call_split *split)
{
    return split->call_count > 0 && split->whole_count == split->call_count;
}

static struct text take(struct tool_call_split *split, size_t len)
{
    const struct text taken = {.bytes = split->rest.bytes, .len = len};
    split->rest.bytes += len;
    split->rest.len -= len;
    return taken;
}

static size_t space_len(struct text text)
{
    size_t len = 0;
    while (len < text.len && strchr(" \n\r\t", text.bytes[len]) != NULL &&
           text.bytes[len] != '\0') {
        len++;
    }
    return len;
}

/* ---- The head of a call ---- */

/* How much of what was looked for is there. */
enum match { MATCH_NONE, MATCH_BEGUN, MATCH_WHOLE };

static enum match take_literal(struct text *rest, struct text literal)
{
    if (!text_starts_with(*rest, literal)) {
        return text_starts_with(literal, *rest) ? MATCH_BEGUN : MATCH_NONE;
    }
    rest->bytes += literal.len;
    rest->len -= literal.len;
    return MATCH_WHOLE;
}

static bool is_name_byte(char byte)
{
    const char letter = (char)(byte | 0x20);
    return (letter >= 'a' && letter <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' ||
           byte == '-';
}

static enum match take_name(struct text *rest, struct text *name_out)
{
    size_t len = 0;
    while (len < rest->len && is_name_byte(rest->bytes[len])) {
        len++;
    }
    *name_out = (struct text){.bytes = rest->bytes, .len = len};
    rest->bytes += len;
    rest->len -= len;
    if (len > TOOL_CALL_NAME_MAX || (len == 0 && rest->len > 0)) {
        return MATCH_NONE;
    }
    return rest->len == 0 ? MATCH_BEGUN : MATCH_WHOLE;
}

static enum match match_head(const struct tool_call_split *split, struct text *name_out)
{
    struct text rest = {.bytes = split->held, .len = split->held_len};
    enum match match = split->has_fence ? take_literal(&rest, fence) : MATCH_WHOLE;
    if (match == MATCH_WHOLE) {
        match = take_literal(&rest, opening);
    }
    if (match == MATCH_WHOLE) {
        match = take_name(&rest, name_out);
    }
    if (match == MATCH_WHOLE) {
        match = take_literal(&rest, middle);
    }
    return match;
}

/* Gives out the bytes that are held: content, or what follows a call. False: there are none. */
static bool give_up_head(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    const bool is_content = split->call_count == 0;
    split->state = is_content ? TOOL_CALL_STATE_CONTENT : TOOL_CALL_STATE_IGNORED;
    *piece_out = (struct tool_call_piece){is_content ? TOOL_CALL_CONTENT : TOOL_CALL_MARK,
                                          {.bytes = split->held, .len = split->held_len}};
    split->held_len = 0;
    return piece_out->text.len > 0;
}

/* Holds bytes as long as they may be a head. True: they are none, and piece_out has them. */
static bool next_of_head(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    struct text name;
    while (split->rest.len > 0) {
        split->held[split->held_len++] = split->rest.bytes[0];
        const enum match match = match_head(split, &name);
        if (match == MATCH_NONE) {
            split->held_len--;
            return give_up_head(split, piece_out);
        }
        take(split, 1);
        if (match == MATCH_WHOLE) {
            split->state = TOOL_CALL_STATE_HEAD_OUT;
            split->out_len = 0;
            return false;
        }
    }
    return false;
}

/* What is held at the end: a call that was cut, unless not even its fence is there. */
static bool end_head(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    const bool has_begun = !split->has_fence || split->held_len >= fence.len;
    const bool is_given = give_up_head(split, piece_out);
    if (has_begun) {
        piece_out->part = TOOL_CALL_MARK;
    }
    return is_given;
}

/* A whole head goes out as mark, name, mark. */
static void give_head(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    struct text name = {0};
    const enum match match = match_head(split, &name);
    ASSERT_COMPARE(match, ==, MATCH_WHOLE);
    const size_t begin = (size_t)(name.bytes - split->held);
    size_t end = split->held_len;
    piece_out->part = TOOL_CALL_MARK;
    if (split->out_len < begin) {
        end = begin;
    } else if (split->out_len == begin) {
        end = begin + name.len;
        piece_out->part = TOOL_CALL_NAME;
        split->call_count++;
    } else {
        split->state = TOOL_CALL_STATE_VALUE;
        split->held_len = 0;
    }
    piece_out->text =
        (struct text){.bytes = split->held + split->out_len, .len = end - split->out_len};
    split->out_len = end;
}

/* ---- Arguments ---- */

/* Takes the next byte of a JSON object; true when it is the last. */
static bool ends_object(struct tool_call_split *split, char byte)
{
    if (split->in_string) {
        split->in_string = split->is_escaped || byte != '"';
        split->is_escaped = !split->is_escaped && byte == '\\';
        return false;
    }
    split->in_string = byte == '"';
    if (byte == '{' || byte == '[') {
        split->depth++;
    } else if (byte == '}' || byte == ']') {
        split->depth--;
        return split->depth == 0;
    }
    return false;
}

static struct text take_arguments(struct tool_call_split *split)
{
    for (size_t len = 0; len < split->rest.len; len++) {
        if (ends_object(split, split->rest.bytes[len])) {
            split->whole_count++;
            split->close_len = 0;
            split->state = TOOL_CALL_STATE_CLOSE;
            return take(split, len + 1);
        }
    }
    return take(split, split->rest.len);
}

/* How much of what comes next is the closing fence. */
static size_t take_close(struct tool_call_split *split)
{
    size_t len = 0;
    while (len < split->rest.len && split->close_len < closing.len &&
           split->rest.bytes[len] == closing.bytes[split->close_len]) {
        len++;
        split->close_len++;
    }
    if (split->close_len == closing.len) {
        split->has_fence = true;
        split->state = TOOL_CALL_STATE_SPACE;
    } else if (len < split->rest.len) {
        split->state = TOOL_CALL_STATE_IGNORED;
    }
    return len;
}

/* ---- All of it ---- */

/* One step; true when piece_out was set. */
static bool step(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    size_t len = 0;
    piece_out->part = TOOL_CALL_MARK;
    switch (split->state) {
    case TOOL_CALL_STATE_CONTENT:
        *piece_out = (struct tool_call_piece){TOOL_CALL_CONTENT, take(split, split->rest.len)};
        return true;
    case TOOL_CALL_STATE_IGNORED:
        len = split->rest.len;
        break;
    case TOOL_CALL_STATE_SPACE:
        len = space_len(split->rest);
        piece_out->part = split->call_count == 0 ? TOOL_CALL_SPACE : TOOL_CALL_MARK;
        split->state = len < split->rest.len ? TOOL_CALL_STATE_HEAD : split->state;
        break;
    case TOOL_CALL_STATE_HEAD:
        return next_of_head(split, piece_out);
    case TOOL_CALL_STATE_HEAD_OUT:
        give_head(split, piece_out);
        return true;
    case TOOL_CALL_STATE_VALUE:
        len = space_len(split->rest);
        if (len < split->rest.len) {
            split->state =
                split->rest.bytes[len] == '{' ? TOOL_CALL_STATE_ARGUMENTS : TOOL_CALL_STATE_IGNORED;
        }
        break;
    case TOOL_CALL_STATE_ARGUMENTS:
        *piece_out = (struct tool_call_piece){TOOL_CALL_ARGUMENTS, take_arguments(split)};
        return true;
    case TOOL_CALL_STATE_CLOSE:
        len = take_close(split);
        break;
    }
    piece_out->text = take(split, len);
    return len > 0;
}

bool tool_call_split_next(struct tool_call_split *split, struct tool_call_piece *piece_out)
{
    while (split->rest.len > 0 || split->state == TOOL_CALL_STATE_HEAD_OUT) {
        if (step(split, piece_out)) {
            return true;
        }
    }
    return split->has_ended && split->held_len > 0 && end_head(split, piece_out);
}
