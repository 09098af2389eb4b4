/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages_reply.c - the JSON of /v1/messages: the message, and the events of its stream.
 *
 * Which event comes when is typed_reply.c's. Thread: loop. */
#include "server/typed_reply.h"

static void write_usage(const struct typed_reply *reply, struct json_writer *writer)
{
    const struct openai_usage usage = typed_reply_usage(reply);
    json_key(writer, "usage");
    json_object_begin(writer);
    json_key_integer(writer, "input_tokens", usage.prompt_tokens);
    json_key_integer(writer, "output_tokens", usage.completion_tokens);
    json_key_integer(writer, "cache_creation_input_tokens", 0);
    json_key_integer(writer, "cache_read_input_tokens", 0);
    json_object_end(writer);
}

/* Why it ended; both null while it goes on. */
static void write_stop(const struct typed_reply *reply, bool has_ended, struct json_writer *writer)
{
    const struct text stop = typed_reply_stop(reply);
    if (!has_ended) {
        json_key_null(writer, "stop_reason");
        json_key_null(writer, "stop_sequence");
        return;
    }
    if (stop.bytes != NULL) {
        json_key_string(writer, "stop_reason", TEXT("stop_sequence"));
        json_key_string(writer, "stop_sequence", stop);
        return;
    }
    json_key_string(writer, "stop_reason",
                    typed_reply_is_cut(reply)     ? TEXT("max_tokens")
                    : typed_reply_is_calls(reply) ? TEXT("tool_use")
                                                  : TEXT("end_turn"));
    json_key_null(writer, "stop_sequence");
}

static void write_head(const struct typed_reply *reply, struct json_writer *writer)
{
    char id[TYPED_ID_BYTES + 8] = "msg_";
    text_copy_to(text_from(reply->id), id + 4, sizeof(id) - 4);
    json_key_string(writer, "id", text_from(id));
    json_key_string(writer, "type", TEXT("message"));
    json_key_string(writer, "role", TEXT("assistant"));
    json_key_string(writer, "model", typed_reply_model(reply));
}

/* A block with that text in it. The signature of a thought would prove that it is ours; thoughts
 * that come back are not used, so there is nothing to prove. */
static void write_block(enum typed_block block, struct text text, struct json_writer *writer)
{
    json_object_begin(writer);
    if (block == TYPED_BLOCK_THOUGHT) {
        json_key_string(writer, "type", TEXT("thinking"));
        json_key_string(writer, "thinking", text);
        json_key_string(writer, "signature", TEXT(""));
    } else {
        json_key_string(writer, "type", TEXT("text"));
        json_key_string(writer, "text", text);
    }
    json_object_end(writer);
}

/* A call of a function. Input that was cut is no JSON: then it is empty, as at a block's begin. */
static void write_call(const struct openai_call *call, struct text input,
                       struct json_writer *writer)
{
    char id[OPENAI_CALL_ID_BYTES + 8] = "toolu_";
    text_copy_to(text_from(call->id), id + 6, sizeof(id) - 6);
    json_object_begin(writer);
    json_key_string(writer, "type", TEXT("tool_use"));
    json_key_string(writer, "id", text_from(id));
    json_key_string(writer, "name", call->name);
    json_key(writer, "input");
    json_raw(writer, input);
    json_object_end(writer);
}

static void write_calls(const struct typed_reply *reply, struct json_writer *writer)
{
    for (const struct openai_call *call = typed_reply_calls(reply); call != NULL;
         call = call->next) {
        write_call(call,
                   typed_reply_is_whole(reply, call) ? reply_buffer_text(&call->arguments)
                                                     : TEXT("{}"),
                   writer);
    }
}

static void write_whole(const struct typed_reply *reply, struct json_writer *writer)
{
    const struct text thought = typed_reply_thought(reply);
    const struct text text = typed_reply_text(reply);
    write_head(reply, writer);
    json_key(writer, "content");
    json_array_begin(writer);
    if (thought.len > 0) {
        write_block(TYPED_BLOCK_THOUGHT, thought, writer);
    }
    if (typed_reply_has_text(reply)) {
        write_block(TYPED_BLOCK_TEXT, text, writer);
    }
    write_calls(reply, writer);
    json_array_end(writer);
    write_stop(reply, true, writer);
    write_usage(reply, writer);
}

/* ---- Events ---- */

static void write_start(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key(writer, "message");
    json_object_begin(writer);
    write_head(reply, writer);
    json_key(writer, "content");
    json_array_begin(writer);
    json_array_end(writer);
    write_stop(reply, false, writer);
    write_usage(reply, writer);
    json_object_end(writer);
}

static void write_index(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key_integer(writer, "index", reply->block_index);
}

static void write_block_start(const struct typed_reply *reply, struct json_writer *writer)
{
    write_index(reply, writer);
    json_key(writer, "content_block");
    if (reply->block == TYPED_BLOCK_CALL) {
        write_call(reply->call, TEXT("{}"), writer);
    } else {
        write_block(reply->block, TEXT(""), writer);
    }
}

static void write_delta(const struct typed_reply *reply, struct json_writer *writer)
{
    static const struct {
        const char *type, *member;
    } deltas[] = {
        [TYPED_BLOCK_NONE] = {"text_delta", "text"}, /* Never: a block is open. */
        [TYPED_BLOCK_THOUGHT] = {"thinking_delta", "thinking"},
        [TYPED_BLOCK_TEXT] = {"text_delta", "text"},
        [TYPED_BLOCK_CALL] = {"input_json_delta", "partial_json"},
    };
    write_index(reply, writer);
    json_key(writer, "delta");
    json_object_begin(writer);
    json_key_string(writer, "type", text_from(deltas[reply->block].type));
    json_key_string(writer, deltas[reply->block].member, reply->delta);
    json_object_end(writer);
}

static void write_message_delta(const struct typed_reply *reply, struct json_writer *writer)
{
    json_key(writer, "delta");
    json_object_begin(writer);
    write_stop(reply, true, writer);
    json_object_end(writer);
    write_usage(reply, writer);
}

#define ALL(name, write)                                                                           \
    {                                                                                              \
        name, name, name, write                                                                    \
    }

const struct typed_shape messages_reply_shape = {
    .ping = {.bytes = "event: ping\ndata: {\"type\":\"ping\"}\n\n", .len = 35},
    .begin = {ALL("message_start", write_start), ALL("ping", NULL)},
    .open = {ALL("content_block_start", write_block_start)},
    .delta = ALL("content_block_delta", write_delta),
    .close = {ALL("content_block_stop", write_index)},
    .end = {ALL("message_delta", write_message_delta), ALL("message_stop", NULL)},
    .write_whole = write_whole,
};
_Static_assert(sizeof("event: ping\ndata: {\"type\":\"ping\"}\n\n") - 1 == 35, "the ping's length");
