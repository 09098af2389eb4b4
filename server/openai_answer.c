/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_answer.c - one answer: from the engine's text and tokens to pieces for the wire.
 *
 * Thread: loop. */
#include "server/openai_answer.h"

#include <stdio.h>

void openai_answer_init(struct openai_answer *answer, enum reasoning_start start,
                        bool follows_tokens)
{
    *answer = (struct openai_answer){
        .follows_tokens = follows_tokens,
        .thinks = start == REASONING_START_OPEN,
    };
    reasoning_split_init(&answer->split, start);
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

/* Goes on to the next part that is shown; false when there is none. */
static bool next_part(struct openai_answer *answer)
{
    struct reasoning_piece piece;
    while (reasoning_split_next(&answer->split, &piece)) {
        switch (piece.part) {
        case REASONING_ANSWER:
        case REASONING_THOUGHT:
            answer->rest = piece.text;
            answer->rest_is_thought = piece.part == REASONING_THOUGHT;
            return true;
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
    return false;
}

/* Says of each token whether it is thought, or where it stands. */
static void place_tokens(struct openai_answer *answer, struct openai_token *first, bool is_thought)
{
    for (struct openai_token *token = first; token != NULL; token = token->next) {
        if (is_thought && !token->is_thought) {
            token->is_thought = true;
            answer->reasoning_tokens++;
        }
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
    *piece_out = (struct openai_piece){.is_thought = answer->rest_is_thought};
    if (!answer->follows_tokens) {
        piece_out->text = answer->rest;
        answer->rest.len = 0;
        return true;
    }
    const struct token_share share = token_queue_next(&answer->queue, &answer->rest);
    place_tokens(answer, share.first, answer->rest_is_thought);
    piece_out->text = share.text;
    piece_out->tokens = share.first;
    return true;
}

const struct openai_token *openai_answer_take_rest(struct openai_answer *answer)
{
    struct openai_token *rest = token_queue_take_rest(&answer->queue);
    place_tokens(answer, rest, false);
    return rest;
}

static bool keep_id(struct openai_answer *answer, int32_t id, struct arena *arena)
{
    char number[16];
    snprintf(number, sizeof(number), "%s%d", answer->token_ids.len > 0 ? "," : "", (int)id);
    return reply_buffer_append(&answer->token_ids, text_from(number), arena);
}

bool openai_answer_keep(struct openai_answer *answer, const struct openai_piece *piece,
                        const struct openai_reply *reply, struct arena *arena)
{
    struct reply_buffer *text = piece->is_thought ? &answer->thought : &answer->text;
    const enum openai_logprobs_shape shape =
        reply->chat ? OPENAI_LOGPROBS_CHAT : OPENAI_LOGPROBS_COMPLETIONS;
    bool fits = reply_buffer_append(text, piece->text, arena);
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
