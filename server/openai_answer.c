/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_answer.c - one answer: from the engine's text and tokens to pieces for the wire.
 *
 * Thread: loop. */
#include "server/openai_answer.h"

#include <sodium.h>
#include <stdio.h>

void openai_answer_init(struct openai_answer *answer, enum reasoning_start start,
                        enum tool_call_start call_start, bool follows_tokens)
{
    *answer = (struct openai_answer){
        .follows_tokens = follows_tokens,
        .thinks = start == REASONING_START_OPEN,
    };
    reasoning_split_init(&answer->split, start);
    tool_call_split_init(&answer->call_split, call_start);
}

bool openai_answer_push(struct openai_answer *answer, struct text text,
                        const struct openai_token *token, struct arena *arena)
{
    ASSERT_COMPARE(answer->rest.len, ==, 0);
    reasoning_split_push(&answer->split, text);
    return token == NULL || !answer->follows_tokens ||
           token_queue_add(&answer->queue, token, arena);
}

void openai_answer_end(struct openai_answer *answer)
{
    reasoning_split_end(&answer->split);
}

static bool show(struct openai_answer *answer, enum openai_piece_kind kind, struct text text)
{
    answer->rest = text;
    answer->rest_kind = kind;
    return true;
}

static void make_call_id(struct openai_answer *answer)
{
    unsigned char bytes[(OPENAI_CALL_ID_BYTES - 1) / 2];
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(answer->call_id, sizeof(answer->call_id), bytes, sizeof(bytes));
}

/* Goes on within what is no thought; false when there is nothing to show. */
static bool next_of_answer(struct openai_answer *answer)
{
    struct tool_call_piece piece;
    while (tool_call_split_next(&answer->call_split, &piece)) {
        switch (piece.part) {
        case TOOL_CALL_CONTENT:
            return show(answer, OPENAI_PIECE_TEXT, piece.text);
        case TOOL_CALL_ARGUMENTS:
            return show(answer, OPENAI_PIECE_ARGUMENTS, piece.text);
        case TOOL_CALL_NAME:
            make_call_id(answer);
            token_queue_skip(&answer->queue, piece.text.len, true);
            return show(answer, OPENAI_PIECE_CALL, piece.text);
        case TOOL_CALL_SPACE:
        case TOOL_CALL_MARK:
            token_queue_skip(&answer->queue, piece.text.len, piece.part == TOOL_CALL_MARK);
            break;
        }
    }
    return false;
}

/* Goes on to the next part that is shown; false when there is none. */
static bool next_part(struct openai_answer *answer)
{
    struct reasoning_piece piece;
    if (next_of_answer(answer)) {
        return true;
    }
    while (reasoning_split_next(&answer->split, &piece)) {
        switch (piece.part) {
        case REASONING_ANSWER:
            tool_call_split_push(&answer->call_split, piece.text);
            if (next_of_answer(answer)) {
                return true;
            }
            break;
        case REASONING_THOUGHT:
            return show(answer, OPENAI_PIECE_THOUGHT, piece.text);
        case REASONING_SPACE:
            token_queue_skip(&answer->queue, piece.text.len, false);
            break;
        case REASONING_MARK: {
            const uint32_t skipped = token_queue_skip(&answer->queue, piece.text.len, true);
            answer->reasoning_tokens += answer->thinks ? skipped : 0;
            break;
        }
        }
    }
    if (answer->split.has_ended) {
        tool_call_split_end(&answer->call_split);
    }
    return next_of_answer(answer);
}

/* Says of each token whether it has no log-probability, or where it stands. */
static void place_tokens(struct openai_answer *answer, struct openai_token *first,
                         enum openai_piece_kind kind)
{
    for (struct openai_token *token = first; token != NULL; token = token->next) {
        if (kind == OPENAI_PIECE_THOUGHT && !token->is_thought) {
            answer->reasoning_tokens++;
        }
        token->is_thought = token->is_thought || kind != OPENAI_PIECE_TEXT;
        if (!token->is_thought) {
            token->text_offset = answer->characters;
            answer->characters += (uint32_t)utf8_count(openai_token_text(token));
        }
    }
}

bool openai_answer_next(struct openai_answer *answer, struct openai_piece *piece_out)
{
    if (answer->rest.len == 0 && !next_part(answer)) {
        return false;
    }
    *piece_out = (struct openai_piece){.kind = answer->rest_kind,
                                       .call_index = answer->call_split.call_count > 0
                                                     ? answer->call_split.call_count - 1
                                                     : 0,
                                       .call_id = answer->call_id};
    if (!answer->follows_tokens || answer->rest_kind == OPENAI_PIECE_CALL) {
        piece_out->text = answer->rest;
        answer->rest.len = 0;
        return true;
    }
    const struct token_share share = token_queue_next(&answer->queue, &answer->rest);
    place_tokens(answer, share.first, answer->rest_kind);
    piece_out->text = share.text;
    piece_out->tokens = share.first;
    return true;
}

const struct openai_token *openai_answer_take_rest(struct openai_answer *answer)
{
    struct openai_token *rest = token_queue_take_rest(&answer->queue);
    place_tokens(answer, rest,
                 answer->call_split.call_count > 0 ? OPENAI_PIECE_ARGUMENTS : OPENAI_PIECE_TEXT);
    return rest;
}

bool openai_answer_is_calls(const struct openai_answer *answer)
{
    return tool_call_split_is_whole(&answer->call_split);
}

static bool keep_id(struct openai_answer *answer, int32_t id, struct arena *arena)
{
    char number[16];
    snprintf(number, sizeof(number), "%s%d", answer->token_ids.len > 0 ? "," : "", (int)id);
    return reply_buffer_append(&answer->token_ids, text_from(number), arena);
}

static bool keep_call(struct openai_answer *answer, const struct openai_piece *piece,
                      struct arena *arena)
{
    struct openai_call *call = arena_alloc(arena, sizeof(*call));
    if (call == NULL) {
        return false;
    }
    call->index = piece->call_index;
    call->name = arena_copy(arena, piece->text);
    text_copy_to(text_from(piece->call_id), call->id, sizeof(call->id));
    if (answer->last_call == NULL) {
        answer->first_call = call;
    } else {
        answer->last_call->next = call;
    }
    answer->last_call = call;
    return call->name.bytes != NULL;
}

static bool keep_text(struct openai_answer *answer, const struct openai_piece *piece,
                      struct arena *arena)
{
    switch (piece->kind) {
    case OPENAI_PIECE_TEXT:
        break;
    case OPENAI_PIECE_THOUGHT:
        return reply_buffer_append(&answer->thought, piece->text, arena);
    case OPENAI_PIECE_CALL:
        return keep_call(answer, piece, arena);
    case OPENAI_PIECE_ARGUMENTS:
        return reply_buffer_append(&answer->last_call->arguments, piece->text, arena);
    }
    return reply_buffer_append(&answer->text, piece->text, arena);
}

bool openai_answer_keep(struct openai_answer *answer, const struct openai_piece *piece,
                        const struct openai_reply *reply, struct arena *arena)
{
    const enum openai_logprobs_shape shape =
        reply->chat ? OPENAI_LOGPROBS_CHAT : OPENAI_LOGPROBS_COMPLETIONS;
    bool fits = keep_text(answer, piece, arena);
    for (const struct openai_token *token = piece->tokens; token != NULL; token = token->next) {
        if (reply->token_ids) {
            fits = fits && keep_id(answer, token->id, arena);
        }
        if (reply->logprobs && !token->is_thought) {
            fits = fits && openai_logprobs_add(&answer->logprobs, shape, token, arena);
        }
    }
    return fits;
}
