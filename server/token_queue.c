/* SPDX-License-Identifier: Apache-2.0
 *
 * server/token_queue.c - generated tokens until the text that they explain can be shown.
 *
 * Bytes are counted, not compared. Where the model writes invalid UTF-8, a bad byte is shown as
 * three, and a token may go out with the text before its own; with each text that is used up the
 * two are in step again. Thread: loop. */
#include "server/token_queue.h"

#include <string.h>

struct queued_token {
    struct openai_token token; /* First: others hold pointers to it. */
    struct queued_token *next;
    uint32_t bytes_left; /* Not shown or skipped yet. */
    struct sampled_alternative top[LIMIT_TOP_LOGPROBS];
};

static void free_given(struct token_queue *queue)
{
    while (queue->given != NULL) {
        struct queued_token *token = queue->given;
        queue->given = token->next;
        token->next = queue->free;
        queue->free = token;
    }
}

static struct queued_token *new_token(struct token_queue *queue, struct arena *arena)
{
    struct queued_token *token = queue->free;
    if (token == NULL) {
        return arena_alloc(arena, sizeof(*token));
    }
    queue->free = token->next;
    return token;
}

bool token_queue_add(struct token_queue *queue, const struct openai_token *token,
                     struct arena *arena)
{
    ASSERT_COMPARE(token->top_count, <=, LIMIT_TOP_LOGPROBS);
    struct queued_token *added = new_token(queue, arena);
    if (added == NULL) {
        return false;
    }
    added->token = *token;
    added->token.next = NULL;
    added->token.top = added->top;
    if (token->top_count > 0) {
        memcpy(added->top, token->top, token->top_count * sizeof(*token->top));
    }
    added->next = NULL;
    added->bytes_left = (uint32_t)tokenizer_decode(token->tokenizer, token->id).len;
    if (queue->first == NULL) {
        queue->first = added;
    } else {
        queue->last->next = added;
    }
    queue->last = added;
    return true;
}

/* Gives out the tokens before `end`, as a list. */
static struct openai_token *give(struct token_queue *queue, const struct queued_token *end)
{
    struct queued_token *given = queue->first;
    struct queued_token *last = NULL;
    for (struct queued_token *token = given; token != end; token = token->next) {
        token->token.next = token->next == end ? NULL : &token->next->token;
        last = token;
    }
    if (last == NULL) {
        return NULL;
    }
    queue->first = last->next;
    last->next = NULL;
    queue->given = given;
    return &given->token;
}

static bool is_boundary(struct text text, size_t at)
{
    return at == text.len || ((unsigned char)text.bytes[at] & 0xc0) != 0x80;
}

struct token_share token_queue_next(struct token_queue *queue, struct text *text)
{
    ASSERT_COMPARE(text->len, >, 0);
    free_given(queue);
    size_t end = queue->residue_bytes;
    const struct queued_token *token = queue->first;
    while (end < text->len && (end == 0 || !is_boundary(*text, end))) {
        if (token == NULL) {
            end = text->len; /* More text than tokens: bad bytes, shown as three. */
            break;
        }
        end += token->bytes_left;
        token = token->next;
    }
    const size_t shown = end < text->len ? end : text->len;
    const struct token_share share = {
        .text = {.bytes = text->bytes, .len = shown},
        .first = give(queue, token),
    };
    queue->residue_bytes = (uint32_t)(end - shown);
    text->bytes += shown;
    text->len -= shown;
    return share;
}

uint32_t token_queue_skip(struct token_queue *queue, size_t bytes, bool as_thought)
{
    uint32_t thoughts = 0;
    free_given(queue);
    const size_t of_given = bytes < queue->residue_bytes ? bytes : queue->residue_bytes;
    queue->residue_bytes -= (uint32_t)of_given;
    bytes -= of_given;
    for (struct queued_token *token = queue->first; token != NULL && bytes > 0;
         token = token->next) {
        const uint32_t skipped = bytes < token->bytes_left ? (uint32_t)bytes : token->bytes_left;
        const bool has_bytes = token->bytes_left > 0;
        token->bytes_left -= skipped;
        token->token.trimmed_bytes += skipped;
        bytes -= skipped;
        if (as_thought && has_bytes && token->bytes_left == 0) {
            token->token.is_thought = true;
            thoughts++;
        }
    }
    return thoughts;
}

struct openai_token *token_queue_take_rest(struct token_queue *queue)
{
    free_given(queue);
    queue->residue_bytes = 0;
    for (struct queued_token *token = queue->first; token != NULL; token = token->next) {
        token->token.is_thought = token->token.is_thought || token->bytes_left > 0;
    }
    return give(queue, NULL);
}
