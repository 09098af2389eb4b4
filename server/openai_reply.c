/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_reply.c - every JSON of a generation: chunks of a stream, the whole reply, usage.
 *
 * Key order is free in JSON; this one is what people expect to read. Thread: loop. */
#include "server/openai_reply.h"

#define FINGERPRINT "skein-" SKEIN_VERSION

/* Appends prepared JSON that brings its own commas. */
static void put(struct json_writer *writer, struct text json)
{
    writer->needs_comma = false;
    json_raw(writer, json);
    writer->needs_comma = false;
}

/* ---- What all events share ---- */

static const char *object_name(const struct openai_reply_options *options)
{
    if (!options->chat) {
        return "text_completion"; /* In a stream too. */
    }
    return options->stream ? "chat.completion.chunk" : "chat.completion";
}

static void write_head(const struct openai_reply_options *options, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "id", text_from(options->id));
    json_key_string(writer, "object", text_from(object_name(options)));
    json_key_integer(writer, "created", options->created);
    json_key_string(writer, "model", text_from(options->model));
    if (options->chat && options->stream) {
        json_key_string(writer, "system_fingerprint", TEXT(FINGERPRINT));
    }
    json_key(writer, "choices");
    json_array_begin(writer);
}

bool openai_reply_init(struct openai_reply *reply, const struct openai_reply_options *options,
                       struct arena *arena)
{
    struct json_writer writer;
    json_writer_init(&writer, NULL, 0);
    write_head(options, &writer);
    char *head = arena_alloc(arena, writer.len);
    if (head == NULL) {
        return false;
    }
    json_writer_init(&writer, head, writer.len);
    write_head(options, &writer);
    *reply = (struct openai_reply){
        .chat = options->chat,
        .logprobs = options->logprobs,
        .token_ids = options->token_ids,
        .head = {.bytes = head, .len = writer.len},
        .chunk_end = options->usage_in_stream ? TEXT("}],\"usage\":null}") : TEXT("}]}"),
    };
    return true;
}

/* ---- A stream ---- */

static void begin_chunk(const struct openai_reply *reply, uint32_t choice,
                        struct json_writer *writer)
{
    put(writer, reply->head);
    put(writer, TEXT("{\"index\":"));
    json_unsigned(writer, choice);
}

void openai_reply_role_chunk(const struct openai_reply *reply, uint32_t choice,
                             struct json_writer *writer)
{
    begin_chunk(reply, choice, writer);
    put(writer, TEXT(",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                     "\"logprobs\":null,\"finish_reason\":null"));
    put(writer, reply->chunk_end);
}

static enum openai_logprobs_shape shape_of(const struct openai_reply *reply)
{
    return reply->chat ? OPENAI_LOGPROBS_CHAT : OPENAI_LOGPROBS_COMPLETIONS;
}

/* The ids of the chunk's tokens, those of thoughts too. */
static void write_token_ids(const struct openai_token *tokens, struct json_writer *writer)
{
    writer->needs_comma = true;
    json_key(writer, "token_ids");
    json_array_begin(writer);
    for (const struct openai_token *token = tokens; token != NULL; token = token->next) {
        json_integer(writer, token->id);
    }
    json_array_end(writer);
}

/* What follows the text of a chunk. */
static void write_tokens(const struct openai_reply *reply, const struct openai_token *tokens,
                         struct json_writer *writer)
{
    put(writer, TEXT(",\"logprobs\":"));
    openai_logprobs_write_tokens(shape_of(reply), reply->logprobs ? tokens : NULL, writer);
    if (reply->token_ids) {
        write_token_ids(tokens, writer);
    }
}

/* {"name":..,"arguments":..}; without a name while a call goes on. */
static void write_function(struct text name, struct text arguments, struct json_writer *writer)
{
    json_key(writer, "function");
    json_object_begin(writer);
    if (name.len > 0) {
        json_key_string(writer, "name", name);
    }
    json_key_string(writer, "arguments", arguments);
    json_object_end(writer);
}

static void write_call_head(const char *id, struct json_writer *writer)
{
    char prefixed[OPENAI_CALL_ID_BYTES + sizeof("call_")] = "call_";
    text_copy_to(text_from(id), prefixed + 5, sizeof(prefixed) - 5);
    json_key_string(writer, "id", text_from(prefixed));
    json_key_string(writer, "type", TEXT("function"));
}

/* Id, type and name only when the call begins. */
static void write_call_delta(const struct openai_piece *piece, struct json_writer *writer)
{
    const bool begins = piece->kind == OPENAI_PIECE_CALL;
    json_key(writer, "tool_calls");
    json_array_begin(writer);
    json_object_begin(writer);
    json_key_integer(writer, "index", piece->call_index);
    if (begins) {
        write_call_head(piece->call_id, writer);
    }
    write_function(begins ? piece->text : TEXT(""), begins ? TEXT("") : piece->text, writer);
    json_object_end(writer);
    json_array_end(writer);
}

static void write_delta(const struct openai_piece *piece, struct json_writer *writer)
{
    put(writer, TEXT(",\"delta\":{"));
    switch (piece->kind) {
    case OPENAI_PIECE_TEXT:
        json_key_string(writer, "content", piece->text);
        break;
    case OPENAI_PIECE_THOUGHT:
        json_key_string(writer, "reasoning_content", piece->text);
        break;
    case OPENAI_PIECE_CALL:
    case OPENAI_PIECE_ARGUMENTS:
        write_call_delta(piece, writer);
        break;
    }
    put(writer, TEXT("}"));
}

void openai_reply_text_chunk(const struct openai_reply *reply, uint32_t choice,
                             const struct openai_piece *piece, struct json_writer *writer)
{
    begin_chunk(reply, choice, writer);
    if (reply->chat) {
        write_delta(piece, writer);
    } else {
        put(writer, TEXT(",\"text\":"));
        json_string(writer, piece->text);
    }
    write_tokens(reply, piece->tokens, writer);
    put(writer, TEXT(",\"finish_reason\":null"));
    put(writer, reply->chunk_end);
}

void openai_reply_finish_chunk(const struct openai_reply *reply, uint32_t choice,
                               const struct openai_token *rest, const char *finish,
                               struct json_writer *writer)
{
    begin_chunk(reply, choice, writer);
    put(writer, reply->chat ? TEXT(",\"delta\":{}") : TEXT(",\"text\":\"\""));
    write_tokens(reply, rest, writer);
    put(writer, TEXT(",\"finish_reason\":"));
    json_string(writer, text_from(finish));
    put(writer, reply->chunk_end);
}

void openai_reply_echo_chunk(const struct openai_reply *reply, uint32_t choice, struct text text,
                             const struct prompt_scores *scores, uint32_t begin, uint32_t end,
                             struct json_writer *writer)
{
    begin_chunk(reply, choice, writer);
    put(writer, TEXT(",\"text\":"));
    json_string(writer, text);
    put(writer, TEXT(",\"logprobs\":"));
    if (scores == NULL) {
        json_null(writer);
    } else {
        openai_logprobs_write_prompt(scores, begin, end, writer);
    }
    put(writer, TEXT(",\"finish_reason\":null"));
    put(writer, reply->chunk_end);
}

static void write_usage(const struct openai_usage *usage, struct json_writer *writer)
{
    json_key(writer, "usage");
    json_object_begin(writer);
    json_key_integer(writer, "prompt_tokens", usage->prompt_tokens);
    json_key_integer(writer, "completion_tokens", usage->completion_tokens);
    json_key_integer(writer, "total_tokens",
                     (int64_t)usage->prompt_tokens + usage->completion_tokens);
    json_key(writer, "prompt_tokens_details");
    json_raw(writer, TEXT("{\"cached_tokens\":0}"));
    json_key(writer, "completion_tokens_details");
    json_object_begin(writer);
    json_key_integer(writer, "reasoning_tokens", usage->reasoning_tokens);
    json_object_end(writer);
    json_object_end(writer);
}

void openai_reply_usage_chunk(const struct openai_reply *reply, const struct openai_usage *usage,
                              struct json_writer *writer)
{
    put(writer, reply->head);
    json_array_end(writer);
    write_usage(usage, writer);
    json_object_end(writer);
}

/* ---- A whole reply ---- */

static void write_calls(const struct openai_call *calls, struct json_writer *writer)
{
    json_key(writer, "tool_calls");
    json_array_begin(writer);
    for (const struct openai_call *call = calls; call != NULL; call = call->next) {
        json_object_begin(writer);
        write_call_head(call->id, writer);
        write_function(call->name, reply_buffer_text(&call->arguments), writer);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void write_message(const struct openai_choice_reply *choice, struct json_writer *writer)
{
    json_key(writer, "message");
    json_object_begin(writer);
    json_key_string(writer, "role", TEXT("assistant"));
    if (choice->calls != NULL && choice->text.len == 0) {
        json_key_null(writer, "content");
    } else {
        json_key_string(writer, "content", choice->text);
    }
    json_key_null(writer, "refusal");
    json_key(writer, "annotations");
    json_array_begin(writer);
    json_array_end(writer);
    if (choice->thought != NULL) {
        json_key_string(writer, "reasoning_content", *choice->thought);
    }
    if (choice->calls != NULL) { /* An empty array would tell some clients of a call. */
        write_calls(choice->calls, writer);
    }
    json_object_end(writer);
}

/* vLLM has these beside a completion's text, and once for a whole chat. */
static void write_prompt(const struct openai_prompt_reply *prompt, struct json_writer *writer)
{
    if (prompt->scores != NULL) {
        json_key(writer, "prompt_logprobs");
        openai_logprobs_write_vllm(prompt->scores, prompt->top_max, writer);
    }
    if (prompt->tokens != NULL) {
        json_key(writer, "prompt_token_ids");
        json_array_begin(writer);
        for (uint32_t index = 0; index < prompt->token_count; index++) {
            json_integer(writer, prompt->tokens[index]);
        }
        json_array_end(writer);
    }
}

static void write_choice(const struct openai_reply *reply, uint32_t index,
                         const struct openai_choice_reply *choice, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_integer(writer, "index", index);
    if (reply->chat) {
        write_message(choice, writer);
    } else {
        json_key_string(writer, "text", choice->text);
    }
    json_key(writer, "logprobs");
    if (choice->logprobs == NULL) {
        json_null(writer);
    } else {
        openai_logprobs_write(choice->logprobs, shape_of(reply), choice->echoed, writer);
    }
    json_key_string(writer, "finish_reason", text_from(choice->finish));
    if (choice->token_ids != NULL) {
        json_key(writer, "token_ids");
        json_array_begin(writer);
        put(writer, *choice->token_ids);
        json_array_end(writer);
    }
    if (!reply->chat) {
        write_prompt(&choice->prompt, writer);
    }
    json_object_end(writer);
}

void openai_reply_whole(const struct openai_reply *reply, const struct openai_choice_reply *choices,
                        uint32_t choice_count, const struct openai_usage *usage,
                        struct json_writer *writer)
{
    put(writer, reply->head);
    for (uint32_t index = 0; index < choice_count; index++) {
        write_choice(reply, index, &choices[index], writer);
    }
    json_array_end(writer);
    write_usage(usage, writer);
    if (reply->chat) {
        json_key_string(writer, "service_tier", TEXT("default"));
        write_prompt(&choices[0].prompt, writer);
    }
    json_key_string(writer, "system_fingerprint", TEXT(FINGERPRINT));
    json_object_end(writer);
}
