/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_logprobs.c - the "logprobs" of a choice, in the two shapes that OpenAI has.
 *
 * A token may be a part of a character. Chat then shows U+FFFD and the exact bytes beside it;
 * completions have no place for bytes and show "bytes:\xe2\x80", as OpenAI did. Thread: loop. */
#include "server/openai_logprobs.h"

#include <stdio.h>

enum {
    ELEMENT_BYTES_GUESS = 512,                             /* One without alternatives. */
    NAME_BYTES = sizeof("bytes:") + 4 * LIMIT_TOKEN_BYTES, /* Every byte as \xNN. */
    ID_NAME_BYTES = sizeof("token_id:-2147483648"),
};

typedef void write_element(const struct openai_token *token, struct json_writer *writer);

struct column {
    const char *name;
    write_element *write;
};

struct text openai_token_text(const struct openai_token *token)
{
    const struct text text = tokenizer_decode(token->tokenizer, token->id);
    const size_t trimmed = token->trimmed_bytes < text.len ? token->trimmed_bytes : text.len;
    return (struct text){.bytes = text.bytes + trimmed, .len = text.len - trimmed};
}

/* Another token at the same place: it loses the bytes that the token lost, if it has them. */
static struct text alternative_text(const struct openai_token *token, int32_t id)
{
    const struct text whole = tokenizer_decode(token->tokenizer, token->id);
    const struct text lost = {.bytes = whole.bytes,
                              .len = whole.len - openai_token_text(token).len};
    const struct text text = tokenizer_decode(token->tokenizer, id);
    const size_t trimmed = text_starts_with(text, lost) ? lost.len : 0;
    return (struct text){.bytes = text.bytes + trimmed, .len = text.len - trimmed};
}

static struct text id_name(int32_t id, char name[ID_NAME_BYTES])
{
    snprintf(name, ID_NAME_BYTES, "token_id:%d", (int)id);
    return text_from(name);
}

/* ---- Chat ---- */

static void write_entry_members(const struct openai_token *token, int32_t id, struct text text,
                                float logprob, struct json_writer *writer)
{
    char name[ID_NAME_BYTES];
    json_key_string(writer, "token", token->shown_as_id ? id_name(id, name) : text);
    json_key_real(writer, "logprob", (double)logprob);
    json_key(writer, "bytes");
    json_array_begin(writer);
    for (size_t index = 0; index < text.len; index++) {
        json_unsigned(writer, (unsigned char)text.bytes[index]);
    }
    json_array_end(writer);
}

static void write_entry(const struct openai_token *token, struct json_writer *writer)
{
    json_object_begin(writer);
    write_entry_members(token, token->id, openai_token_text(token), token->logprob, writer);
    json_key(writer, "top_logprobs");
    json_array_begin(writer);
    for (uint32_t index = 0; index < token->top_count; index++) {
        const struct sampled_alternative *other = &token->top[index];
        json_object_begin(writer);
        write_entry_members(token, other->token, alternative_text(token, other->token),
                            other->logprob, writer);
        json_object_end(writer);
    }
    json_array_end(writer);
    json_object_end(writer);
}

/* ---- Completions ---- */

/* The token's text, or a name in ASCII for a part of a character: unlike U+FFFD, no other token has
 * it, and the names are keys of an object. */
static struct text token_name(struct text bytes, char name[NAME_BYTES])
{
    if (utf8_is_valid(bytes) || bytes.len > LIMIT_TOKEN_BYTES) {
        return bytes;
    }
    size_t len = (size_t)snprintf(name, NAME_BYTES, "bytes:");
    for (size_t index = 0; index < bytes.len; index++) {
        len += (size_t)snprintf(name + len, NAME_BYTES - len, "\\x%02x",
                                (unsigned)(unsigned char)bytes.bytes[index]);
    }
    return (struct text){.bytes = name, .len = len};
}

/* How completions show one of the tokens at the token's place. */
static void write_name_of(const struct openai_token *token, int32_t id, struct text text,
                          struct json_writer *writer)
{
    char name[NAME_BYTES];
    char by_id[ID_NAME_BYTES];
    json_string(writer, token->shown_as_id ? id_name(id, by_id) : token_name(text, name));
}

static void write_name(const struct openai_token *token, struct json_writer *writer)
{
    write_name_of(token, token->id, openai_token_text(token), writer);
}

static void write_logprob(const struct openai_token *token, struct json_writer *writer)
{
    json_real(writer, (double)token->logprob);
}

static void write_name_and_logprob(const struct openai_token *token, int32_t id, struct text text,
                                   float logprob, struct json_writer *writer)
{
    write_name_of(token, id, text, writer);
    writer->needs_comma = false;
    json_raw(writer, TEXT(":"));
    writer->needs_comma = false;
    json_real(writer, (double)logprob);
}

/* The chosen token is always there, also when it is none of the most likely. */
static void write_top(const struct openai_token *token, struct json_writer *writer)
{
    bool chosen_written = false;
    json_object_begin(writer);
    for (uint32_t index = 0; index < token->top_count; index++) {
        const struct sampled_alternative *other = &token->top[index];
        write_name_and_logprob(token, other->token, alternative_text(token, other->token),
                               other->logprob, writer);
        chosen_written = chosen_written || other->token == token->id;
    }
    if (!chosen_written) {
        write_name_and_logprob(token, token->id, openai_token_text(token), token->logprob, writer);
    }
    json_object_end(writer);
}

static void write_offset(const struct openai_token *token, struct json_writer *writer)
{
    json_unsigned(writer, token->text_offset);
}

/* ---- Both ---- */

/* The arrays of a shape; the last one has no name. */
static const struct column *columns_of(enum openai_logprobs_shape shape)
{
    static const struct column chat[] = {{"content", write_entry}, {0}};
    static const struct column completions[] = {{"tokens", write_name},
                                                {"token_logprobs", write_logprob},
                                                {"top_logprobs", write_top},
                                                {"text_offset", write_offset},
                                                {0}};
    _Static_assert(sizeof(completions) / sizeof(completions[0]) == OPENAI_LOGPROBS_COLUMNS_MAX + 1,
                   "a buffer for every column");
    return shape == OPENAI_LOGPROBS_CHAT ? chat : completions;
}

static void end_object(enum openai_logprobs_shape shape, struct json_writer *writer)
{
    if (shape == OPENAI_LOGPROBS_CHAT) {
        json_key_null(writer, "refusal");
    }
    json_object_end(writer);
}

void openai_logprobs_write_tokens(enum openai_logprobs_shape shape,
                                  const struct openai_token *first, struct json_writer *writer)
{
    while (first != NULL && first->is_thought) {
        first = first->next;
    }
    if (first == NULL) {
        json_null(writer);
        return;
    }
    json_object_begin(writer);
    for (const struct column *column = columns_of(shape); column->name != NULL; column++) {
        json_key(writer, column->name);
        json_array_begin(writer);
        for (const struct openai_token *token = first; token != NULL; token = token->next) {
            if (!token->is_thought) {
                column->write(token, writer);
            }
        }
        json_array_end(writer);
    }
    end_object(shape, writer);
}

/* Writes the element behind the others; again, with more room, when it did not fit. */
static bool append_element(struct reply_buffer *buffer, const struct column *column,
                           const struct openai_token *token, struct arena *arena)
{
    if (buffer->len > 0 && !reply_buffer_append(buffer, TEXT(","), arena)) {
        return false;
    }
    for (size_t needed = ELEMENT_BYTES_GUESS;;) {
        if (!reply_buffer_reserve(buffer, needed, arena)) {
            return false;
        }
        struct json_writer writer;
        json_writer_init(&writer, buffer->bytes + buffer->len, buffer->capacity - buffer->len);
        column->write(token, &writer);
        if (json_writer_fits(&writer)) {
            buffer->len += writer.len;
            return true;
        }
        needed = writer.len;
    }
}

bool openai_logprobs_add(struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                         const struct openai_token *token, struct arena *arena)
{
    struct reply_buffer *buffer = logprobs->columns;
    for (const struct column *column = columns_of(shape); column->name != NULL; column++) {
        if (!append_element(buffer++, column, token, arena)) {
            return false;
        }
    }
    return true;
}

/* ---- The prompt ---- */

static struct openai_token prompt_token(const struct prompt_scores *scores, uint32_t index,
                                        uint32_t shown_max)
{
    const uint32_t kept = scores->top_counts[index];
    return (struct openai_token){
        .tokenizer = scores->tokenizer,
        .id = scores->tokens[index],
        .logprob = scores->logprobs[index],
        .top = scores->top + (size_t)index * scores->top_max,
        .top_count = kept < shown_max ? kept : shown_max,
        .text_offset = scores->offsets[index],
        .shown_as_id = scores->shown_as_ids,
    };
}

/* Nothing can be said about the first token but what and where it is. */
static void write_prompt_column(const struct prompt_scores *scores, const struct column *column,
                                uint32_t begin, uint32_t end, struct json_writer *writer)
{
    const bool needs_score = column->write == write_logprob || column->write == write_top;
    for (uint32_t index = begin; index < end; index++) {
        const struct openai_token token = prompt_token(scores, index, scores->shown_max);
        if (index == 0 && needs_score) {
            json_null(writer);
        } else {
            column->write(&token, writer);
        }
    }
}

void openai_logprobs_write_prompt(const struct prompt_scores *scores, uint32_t begin, uint32_t end,
                                  struct json_writer *writer)
{
    const struct column *column = columns_of(OPENAI_LOGPROBS_COMPLETIONS);
    json_object_begin(writer);
    for (; column->name != NULL; column++) {
        json_key(writer, column->name);
        json_array_begin(writer);
        write_prompt_column(scores, column, begin, end, writer);
        json_array_end(writer);
    }
    json_object_end(writer);
}

void openai_logprobs_write(const struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                           const struct prompt_scores *echoed, struct json_writer *writer)
{
    const struct reply_buffer *buffer = logprobs->columns;
    ASSERT(echoed == NULL || shape == OPENAI_LOGPROBS_COMPLETIONS);
    json_object_begin(writer);
    for (const struct column *column = columns_of(shape); column->name != NULL; column++) {
        json_key(writer, column->name);
        json_array_begin(writer);
        if (echoed != NULL) {
            write_prompt_column(echoed, column, 0, echoed->token_count, writer);
        }
        const struct text collected = reply_buffer_text(buffer++);
        if (collected.len > 0) {
            json_raw(writer, collected);
        }
        json_array_end(writer);
    }
    end_object(shape, writer);
}

/* rank: 1 for the most likely; 0: not known. */
static void write_vllm_entry(const struct openai_token *token, int32_t id, float logprob,
                             uint32_t rank, struct json_writer *writer)
{
    char key[16];
    snprintf(key, sizeof(key), "%d", (int)id);
    json_key(writer, key);
    json_object_begin(writer);
    json_key_real(writer, "logprob", (double)logprob);
    if (rank > 0) {
        json_key_integer(writer, "rank", rank);
    } else {
        json_key_null(writer, "rank");
    }
    json_key_string(writer, "decoded_token", tokenizer_decode(token->tokenizer, id));
    json_object_end(writer);
}

/* The prompt's own token first, then the others. */
static void write_vllm_token(const struct openai_token *token, uint32_t top_max,
                             struct json_writer *writer)
{
    const uint32_t count = token->top_count < top_max ? token->top_count : top_max;
    uint32_t rank = 0;
    for (uint32_t index = 0; index < token->top_count; index++) {
        rank = token->top[index].token == token->id ? index + 1 : rank;
    }
    json_object_begin(writer);
    write_vllm_entry(token, token->id, token->logprob, rank, writer);
    for (uint32_t index = 0; index < count; index++) {
        const struct sampled_alternative *other = &token->top[index];
        if (other->token != token->id) {
            write_vllm_entry(token, other->token, other->logprob, index + 1, writer);
        }
    }
    json_object_end(writer);
}

void openai_logprobs_write_vllm(const struct prompt_scores *scores, uint32_t top_max,
                                struct json_writer *writer)
{
    json_array_begin(writer);
    json_null(writer);
    for (uint32_t index = 1; index < scores->token_count; index++) {
        const struct openai_token token = prompt_token(scores, index, scores->top_max);
        write_vllm_token(&token, top_max, writer);
    }
    json_array_end(writer);
}
