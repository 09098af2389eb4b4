/* SPDX-License-Identifier: Apache-2.0
 *
 * server/responses_reply.c - the JSON of /v1/responses: the response, and the events of its stream.
 *
 * A thought and an answer are items of their own, each with one part. Which event comes when is
 * typed_reply.c's. Thread: loop. */
#include "server/typed_reply.h"

#include <math.h>

enum status { STATUS_IN_PROGRESS, STATUS_DONE, STATUS_FAILED };

/* ---- Items ---- */

static void write_id(const struct typed_reply *reply, const char *key, const char *prefix,
                     struct json_writer *writer)
{
    char id[TYPED_ID_BYTES + 8];
    text_copy_to(text_from(prefix), id, sizeof(id));
    const size_t prefix_len = text_from(prefix).len;
    text_copy_to(text_from(reply->id), id + prefix_len, sizeof(id) - prefix_len);
    json_key_string(writer, key, text_from(id));
}

/* The same for a call, whose id is its own. */
static void write_call_id(const struct openai_call *call, const char *key, const char *prefix,
                          struct json_writer *writer)
{
    char id[OPENAI_CALL_ID_BYTES + 8];
    const size_t prefix_len = text_from(prefix).len;
    text_copy_to(text_from(prefix), id, sizeof(id));
    text_copy_to(text_from(call->id), id + prefix_len, sizeof(id) - prefix_len);
    json_key_string(writer, key, text_from(id));
}

static const char *item_prefix(enum typed_block block)
{
    return block == TYPED_BLOCK_THOUGHT ? "rs_" : "msg_";
}

static void write_part(enum typed_block block, struct text text, struct json_writer *writer)
{
    json_object_begin(writer);
    if (block == TYPED_BLOCK_THOUGHT) {
        json_key_string(writer, "type", TEXT("reasoning_text"));
        json_key_string(writer, "text", text);
    } else {
        json_key_string(writer, "type", TEXT("output_text"));
        json_key_string(writer, "text", text);
        json_key(writer, "annotations");
        json_raw(writer, TEXT("[]"));
        json_key(writer, "logprobs");
        json_raw(writer, TEXT("[]"));
    }
    json_object_end(writer);
}

static struct text status_text(const struct typed_reply *reply, enum status status)
{
    switch (status) {
    case STATUS_IN_PROGRESS:
        return TEXT("in_progress");
    case STATUS_FAILED:
        return TEXT("failed");
    case STATUS_DONE:
        break;
    }
    return typed_reply_is_cut(reply) ? TEXT("incomplete") : TEXT("completed");
}

/* Without its part while it is in progress. */
static void write_item(const struct typed_reply *reply, enum typed_block block, enum status status,
                       struct json_writer *writer)
{
    const bool is_thought = block == TYPED_BLOCK_THOUGHT;
    json_object_begin(writer);
    write_id(reply, "id", item_prefix(block), writer);
    json_key_string(writer, "type", is_thought ? TEXT("reasoning") : TEXT("message"));
    /* A thought that is followed by an answer is whole, wherever the answer was cut. */
    const bool is_whole = is_thought && (typed_reply_text(reply).len > 0 ||
                                         typed_reply_calls(reply) != NULL);
    json_key_string(writer, "status",
                    status == STATUS_DONE && is_whole ? TEXT("completed")
                                                      : status_text(reply, status));
    if (is_thought) {
        json_key(writer, "summary");
        json_raw(writer, TEXT("[]"));
    } else {
        json_key_string(writer, "role", TEXT("assistant"));
    }
    json_key(writer, "content");
    json_array_begin(writer);
    if (status == STATUS_DONE) {
        write_part(block, is_thought ? typed_reply_thought(reply) : typed_reply_text(reply),
                   writer);
    }
    json_array_end(writer);
    json_object_end(writer);
}

/* A call of a function; without its arguments while it is in progress. */
static void write_call(const struct typed_reply *reply, const struct openai_call *call,
                       enum status status, struct json_writer *writer)
{
    const bool is_whole = status == STATUS_DONE && typed_reply_is_whole(reply, call);
    json_object_begin(writer);
    write_call_id(call, "id", "fc_", writer);
    json_key_string(writer, "type", TEXT("function_call"));
    json_key_string(writer, "status",
                    is_whole ? TEXT("completed") : status_text(reply, status));
    json_key_string(writer, "arguments",
                    status == STATUS_DONE ? reply_buffer_text(&call->arguments) : TEXT(""));
    write_call_id(call, "call_id", "call_", writer);
    json_key_string(writer, "name", call->name);
    json_object_end(writer);
}

/* The item of the block that is open. */
static void write_open_item(const struct typed_reply *reply, enum status status,
                            struct json_writer *writer)
{
    if (reply->block == TYPED_BLOCK_CALL) {
        write_call(reply, reply->call, status, writer);
    } else {
        write_item(reply, reply->block, status, writer);
    }
}

/* ---- The response ---- */

static void write_usage(const struct typed_reply *reply, struct json_writer *writer)
{
    const struct openai_usage usage = typed_reply_usage(reply);
    json_key(writer, "usage");
    json_object_begin(writer);
    json_key_integer(writer, "input_tokens", usage.prompt_tokens);
    json_key(writer, "input_tokens_details");
    json_raw(writer, TEXT("{\"cached_tokens\":0,\"cache_write_tokens\":0}"));
    json_key_integer(writer, "output_tokens", usage.completion_tokens);
    json_key(writer, "output_tokens_details");
    json_object_begin(writer);
    json_key_integer(writer, "reasoning_tokens", usage.reasoning_tokens);
    json_object_end(writer);
    json_key_integer(writer, "total_tokens",
                     (int64_t)usage.prompt_tokens + usage.completion_tokens);
    json_object_end(writer);
}

static void write_output(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key(writer, "output");
    json_array_begin(writer);
    if (typed_reply_thought(reply).len > 0) {
        write_item(reply, TYPED_BLOCK_THOUGHT, STATUS_DONE, writer);
    }
    if (typed_reply_has_text(reply)) {
        write_item(reply, TYPED_BLOCK_TEXT, STATUS_DONE, writer);
    }
    for (const struct openai_call *call = typed_reply_calls(reply); call != NULL;
         call = call->next) {
        write_call(reply, call, STATUS_DONE, writer);
    }
    json_array_end(writer);
}

static void write_text_or_null(struct json_writer *writer, const char *key, struct text text)
{
    if (text.bytes == NULL) {
        json_key_null(writer, key);
    } else {
        json_key_string(writer, key, text);
    }
}

/* As it was written: 0.7, not the nearest float. */
static void write_real(struct json_writer *writer, const char *key, float value)
{
    json_key_real(writer, key, round((double)value * 1e6) / 1e6);
}

/* What the request asked for. */
static void write_request(const struct typed_reply *reply, struct json_writer *writer)
{
    const struct openai_params *params = typed_reply_params(reply);
    const struct responses_params *own = &params->responses;
    write_text_or_null(writer, "instructions", own->instructions);
    json_key_integer(writer, "max_output_tokens", params->sampling.max_tokens);
    json_key(writer, "metadata");
    json_raw(writer, own->metadata.len > 0 ? own->metadata : TEXT("{}"));
    json_key_bool(writer, "parallel_tool_calls", !params->tools.is_single);
    json_key_null(writer, "previous_response_id");
    json_key(writer, "reasoning");
    json_object_begin(writer);
    write_text_or_null(writer, "effort", own->effort);
    json_key_null(writer, "summary");
    json_object_end(writer);
    json_key_string(writer, "service_tier", TEXT("default"));
    json_key_bool(writer, "store", false);
    write_real(writer, "temperature", params->sampling.temperature);
    json_key(writer, "text");
    json_object_begin(writer);
    json_key(writer, "format");
    json_raw(writer, own->form.len > 0 ? own->form : TEXT("{\"type\":\"text\"}"));
    json_object_end(writer);
    json_key(writer, "tool_choice");
    json_raw(writer, params->tools.choice_repeated.len > 0 ? params->tools.choice_repeated
                                                          : TEXT("\"auto\""));
    json_key(writer, "tools");
    json_raw(writer, params->tools.repeated.len > 0 ? params->tools.repeated : TEXT("[]"));
    json_key_integer(writer, "top_logprobs", 0);
    write_real(writer, "top_p", params->sampling.top_p);
    json_key_string(writer, "truncation", TEXT("disabled"));
}

static void write_error(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key(writer, "error");
    if (reply->error == NULL) {
        json_null(writer);
        return;
    }
    json_object_begin(writer);
    json_key_string(writer, "code", TEXT("server_error"));
    json_key_string(writer, "message", text_from(reply->error->message));
    json_object_end(writer);
}

static void write_response(const struct typed_reply *reply, enum status status,
                           struct json_writer *writer)
{
    const bool is_cut = status == STATUS_DONE && typed_reply_is_cut(reply);
    write_id(reply, "id", "resp_", writer);
    json_key_string(writer, "object", TEXT("response"));
    json_key_integer(writer, "created_at", reply->created);
    json_key_string(writer, "status", status_text(reply, status));
    json_key_bool(writer, "background", false);
    write_error(reply, writer);
    json_key(writer, "incomplete_details");
    json_raw(writer, is_cut ? TEXT("{\"reason\":\"max_output_tokens\"}") : TEXT("null"));
    json_key_string(writer, "model", typed_reply_model(reply));
    if (status == STATUS_DONE) {
        write_output(reply, writer);
        write_usage(reply, writer);
    } else {
        json_key(writer, "output");
        json_raw(writer, TEXT("[]"));
        json_key_null(writer, "usage");
    }
    write_request(reply, writer);
}

static void write_whole(const struct typed_reply *reply, struct json_writer *writer)
{
    write_response(reply, STATUS_DONE, writer);
}

/* ---- Events ---- */

static void write_response_member(const struct typed_reply *reply, enum status status,
                                  struct json_writer *writer)
{
    json_key(writer, "response");
    json_object_begin(writer);
    write_response(reply, status, writer);
    json_object_end(writer);
}

static void write_in_progress(const struct typed_reply *reply, struct json_writer *writer)
{
    write_response_member(reply, STATUS_IN_PROGRESS, writer);
}

static void write_done(const struct typed_reply *reply, struct json_writer *writer)
{
    write_response_member(reply, STATUS_DONE, writer);
}

static void write_failed(const struct typed_reply *reply, struct json_writer *writer)
{
    write_response_member(reply, STATUS_FAILED, writer);
}

static void write_item_added(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key_integer(writer, "output_index", reply->block_index);
    json_key(writer, "item");
    write_open_item(reply, STATUS_IN_PROGRESS, writer);
}

static void write_item_done(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key_integer(writer, "output_index", reply->block_index);
    json_key(writer, "item");
    write_open_item(reply, STATUS_DONE, writer);
}

/* Where in the response the part is. */
static void write_place(const struct typed_reply *reply, struct json_writer *writer)
{
    write_id(reply, "item_id", item_prefix(reply->block), writer);
    json_key_integer(writer, "output_index", reply->block_index);
    json_key_integer(writer, "content_index", 0);
}

static struct text block_text(const struct typed_reply *reply)
{
    return reply->block == TYPED_BLOCK_THOUGHT ? typed_reply_thought(reply)
                                               : typed_reply_text(reply);
}

static void write_part_added(const struct typed_reply *reply, struct json_writer *writer)
{
    write_place(reply, writer);
    json_key(writer, "part");
    write_part(reply->block, TEXT(""), writer);
}

static void write_part_done(const struct typed_reply *reply, struct json_writer *writer)
{
    write_place(reply, writer);
    json_key(writer, "part");
    write_part(reply->block, block_text(reply), writer);
}

/* The text of an answer can have logprobs, that of a thought cannot. */
static void write_text(const struct typed_reply *reply, const char *key, struct text text,
                       struct json_writer *writer)
{
    write_place(reply, writer);
    json_key_string(writer, key, text);
    if (reply->block == TYPED_BLOCK_TEXT) {
        json_key(writer, "logprobs");
        json_raw(writer, TEXT("[]"));
    }
}

/* The arguments of a call, or a piece of them. */
static void write_arguments(const struct typed_reply *reply, const char *key, struct text text,
                            struct json_writer *writer)
{
    write_call_id(reply->call, "item_id", "fc_", writer);
    json_key_integer(writer, "output_index", reply->block_index);
    json_key_string(writer, key, text);
}

static void write_delta(const struct typed_reply *reply, struct json_writer *writer)
{
    if (reply->block == TYPED_BLOCK_CALL) {
        write_arguments(reply, "delta", reply->delta, writer);
        return;
    }
    write_text(reply, "delta", reply->delta, writer);
}

static void write_text_done(const struct typed_reply *reply, struct json_writer *writer)
{
    if (reply->block == TYPED_BLOCK_CALL) {
        json_key_string(writer, "name", reply->call->name);
        write_arguments(reply, "arguments", reply_buffer_text(&reply->call->arguments), writer);
        return;
    }
    write_text(reply, "text", block_text(reply), writer);
}

#define ALL(name, write)                                                                           \
    {                                                                                              \
        name, name, name, write                                                                    \
    }
#define PARTS(name, write) /* A call has none. */                                                  \
    {                                                                                              \
        name, name, NULL, write                                                                    \
    }

const struct typed_shape responses_reply_shape = {
    .numbers_events = true,
    .begin = {ALL("response.created", write_in_progress),
              ALL("response.in_progress", write_in_progress)},
    .open = {ALL("response.output_item.added", write_item_added),
             PARTS("response.content_part.added", write_part_added)},
    .delta = {"response.reasoning_text.delta", "response.output_text.delta",
              "response.function_call_arguments.delta", write_delta},
    .close = {{"response.reasoning_text.done", "response.output_text.done",
               "response.function_call_arguments.done", write_text_done},
              PARTS("response.content_part.done", write_part_done),
              ALL("response.output_item.done", write_item_done)},
    .end = {{"response.completed", "response.completed", "response.completed", write_done,
             "response.incomplete"}},
    .fail = ALL("response.failed", write_failed),
    .write_whole = write_whole,
};
