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
};

typedef void write_element(const struct openai_token *token, struct json_writer *writer);

struct column {
    const char *name;
    write_element *write;
};

struct text openai_token_text(const struct openai_token *token)
{
    struct text text = tokenizer_decode(token->tokenizer, token->id);
    if (token->space_trimmed && text_starts_with(text, TEXT(" "))) {
        text = (struct text){.bytes = text.bytes + 1, .len = text.len - 1};
    }
    return text;
}

/* Another token at the same place. */
static struct text alternative_text(const struct openai_token *token, int32_t id)
{
    struct openai_token other = *token;
    other.id = id;
    return openai_token_text(&other);
}

/* ---- Chat ---- */

static void write_entry_members(struct text text, float logprob, struct json_writer *writer)
{
    json_key_string(writer, "token", text);
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
    write_entry_members(openai_token_text(token), token->logprob, writer);
    json_key(writer, "top_logprobs");
    json_array_begin(writer);
    for (uint32_t index = 0; index < token->top_count; index++) {
        const struct sampled_alternative *other = &token->top[index];
        json_object_begin(writer);
        write_entry_members(alternative_text(token, other->token), other->logprob, writer);
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

static void write_name(const struct openai_token *token, struct json_writer *writer)
{
    char name[NAME_BYTES];
    json_string(writer, token_name(openai_token_text(token), name));
}

static void write_logprob(const struct openai_token *token, struct json_writer *writer)
{
    json_real(writer, (double)token->logprob);
}

static void write_name_and_logprob(struct text text, float logprob, struct json_writer *writer)
{
    char name[NAME_BYTES];
    json_string(writer, token_name(text, name));
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
        write_name_and_logprob(alternative_text(token, other->token), other->logprob, writer);
        chosen_written = chosen_written || other->token == token->id;
    }
    if (!chosen_written) {
        write_name_and_logprob(openai_token_text(token), token->logprob, writer);
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

void openai_logprobs_write_token(enum openai_logprobs_shape shape, const struct openai_token *token,
                                 struct json_writer *writer)
{
    json_object_begin(writer);
    for (const struct column *column = columns_of(shape); column->name != NULL; column++) {
        json_key(writer, column->name);
        json_array_begin(writer);
        column->write(token, writer);
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

void openai_logprobs_write(const struct openai_logprobs *logprobs, enum openai_logprobs_shape shape,
                           struct json_writer *writer)
{
    const struct reply_buffer *buffer = logprobs->columns;
    json_object_begin(writer);
    for (const struct column *column = columns_of(shape); column->name != NULL; column++) {
        json_key(writer, column->name);
        json_array_begin(writer);
        json_raw(writer, reply_buffer_text(buffer++));
        json_array_end(writer);
    }
    end_object(shape, writer);
}
