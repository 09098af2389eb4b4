/* SPDX-License-Identifier: Apache-2.0
 *
 * server/typed_reply.c - which event comes when; what it says is the shape's.
 *
 * Every sending may find that the client is gone: then the job is answered, and nothing more is
 * sent. Thread: loop. */
#include "server/typed_reply.h"

#include <sodium.h>

#include "base/clock.h"
#include "base/limits.h"
#include "server/openai_job.h"
#include "server/sse_stream.h"

/* ---- For the shapes ---- */

static const struct openai_answer *answer_of(const struct typed_reply *reply)
{
    return &reply->job->answers[0];
}

struct text typed_reply_text(const struct typed_reply *reply)
{
    return reply_buffer_text(&answer_of(reply)->text);
}

struct text typed_reply_thought(const struct typed_reply *reply)
{
    return reply_buffer_text(&answer_of(reply)->thought);
}

const struct openai_call *typed_reply_calls(const struct typed_reply *reply)
{
    return answer_of(reply)->first_call;
}

bool typed_reply_is_whole(const struct typed_reply *reply, const struct openai_call *call)
{
    return call->index < answer_of(reply)->call_split.whole_count;
}

bool typed_reply_is_calls(const struct typed_reply *reply)
{
    return !typed_reply_is_cut(reply) && openai_answer_is_calls(answer_of(reply));
}

bool typed_reply_has_text(const struct typed_reply *reply)
{
    return typed_reply_text(reply).len > 0 ||
           (typed_reply_thought(reply).len == 0 && typed_reply_calls(reply) == NULL);
}

const struct openai_params *typed_reply_params(const struct typed_reply *reply)
{
    return &reply->job->prompt.params;
}

struct openai_usage typed_reply_usage(const struct typed_reply *reply)
{
    return openai_job_usage(reply->job);
}

bool typed_reply_is_cut(const struct typed_reply *reply)
{
    return answer_of(reply)->ended_by_length;
}

struct text typed_reply_stop(const struct typed_reply *reply)
{
    const struct openai_params *params = typed_reply_params(reply);
    const uint32_t stop_string = answer_of(reply)->stop_string;
    if (stop_string == 0 || stop_string > params->own_stop_count) {
        return (struct text){0};
    }
    return params->stops[stop_string - 1];
}

struct text typed_reply_model(const struct typed_reply *reply)
{
    return text_from(reply->job->prompt.options.model->id);
}

/* ---- Sending ---- */

struct typed_reply *typed_reply_create(struct openai_job *job, const struct typed_shape *shape)
{
    struct typed_reply *reply = arena_alloc(&job->prompt.exchange->arena, sizeof(*reply));
    if (reply == NULL) {
        return NULL;
    }
    unsigned char bytes[12];
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(reply->id, sizeof(reply->id), bytes, sizeof(bytes));
    reply->shape = shape;
    reply->job = job;
    reply->created = clock_wall_seconds();
    return reply;
}

static void write_event(const struct typed_reply *reply, const char *name, typed_writer *write,
                        struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "type", text_from(name));
    if (reply->shape->numbers_events) {
        json_key_integer(writer, "sequence_number", (int64_t)reply->sequence_number);
    }
    if (write != NULL) {
        write(reply, writer);
    }
    json_object_end(writer);
}

/* Writes into the job's scratch, or into the arena where that is too small. False: the event is
 * larger than any stream may hold. */
static bool format_event(struct typed_reply *reply, const char *name, typed_writer *write,
                         struct json_writer *writer)
{
    json_writer_init(writer, reply->job->chunk, OPENAI_CHUNK_BYTES);
    write_event(reply, name, write, writer);
    if (json_writer_fits(writer)) {
        return true;
    }
    const size_t bytes = writer->len;
    char *buffer = bytes > LIMIT_STREAM_BACKLOG_BYTES - LIMIT_STREAM_RING_BYTES
                       ? NULL
                       : arena_alloc(&reply->job->prompt.exchange->arena, bytes);
    json_writer_init(writer, buffer, buffer == NULL ? 0 : bytes);
    write_event(reply, name, write, writer);
    return buffer != NULL;
}

static const char *event_name(const struct typed_reply *reply, const struct typed_event *event)
{
    if (event->cut_name != NULL && typed_reply_is_cut(reply)) {
        return event->cut_name;
    }
    switch (reply->block) {
    case TYPED_BLOCK_THOUGHT:
        return event->thought_name;
    case TYPED_BLOCK_CALL:
        return event->call_name;
    case TYPED_BLOCK_NONE:
    case TYPED_BLOCK_TEXT:
        break;
    }
    return event->text_name;
}

static void send_event(struct typed_reply *reply, const struct typed_event *event)
{
    const char *name = event_name(reply, event);
    struct json_writer writer;
    if (name == NULL || reply->job->is_answered) {
        return;
    }
    if (!format_event(reply, name, event->write, &writer)) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_INTERNAL, NULL,
                         "the answer is too long to be repeated in an event");
        openai_job_fail(reply->job, &error);
        return;
    }
    reply->sequence_number++;
    openai_job_send_named(reply->job, text_from(name), &writer);
}

static void send_all(struct typed_reply *reply, const struct typed_event *events)
{
    for (size_t index = 0; index < TYPED_EVENTS_MAX; index++) {
        send_event(reply, &events[index]);
    }
}

void typed_reply_begin(struct typed_reply *reply)
{
    if (!reply->has_begun) {
        reply->has_begun = true;
        send_all(reply, reply->shape->begin);
    }
}

/* Changes to another block, or to the first. */
static void open_block(struct typed_reply *reply, enum typed_block block,
                       const struct openai_call *call)
{
    if (reply->block == block && reply->call == call) {
        return;
    }
    if (reply->block != TYPED_BLOCK_NONE) {
        send_all(reply, reply->shape->close);
        reply->block_index++;
    }
    reply->block = block;
    reply->call = call;
    reply->has_thought = reply->has_thought || block == TYPED_BLOCK_THOUGHT;
    send_all(reply, reply->shape->open);
}

void typed_reply_piece(struct typed_reply *reply, const struct openai_piece *piece)
{
    openai_job_begin_stream(reply->job);
    if (piece->text.len == 0) {
        return;
    }
    switch (piece->kind) {
    case OPENAI_PIECE_TEXT:
        open_block(reply, TYPED_BLOCK_TEXT, NULL);
        break;
    case OPENAI_PIECE_THOUGHT:
        open_block(reply, TYPED_BLOCK_THOUGHT, NULL);
        break;
    case OPENAI_PIECE_CALL:
        open_block(reply, TYPED_BLOCK_CALL, answer_of(reply)->last_call);
        return;
    case OPENAI_PIECE_ARGUMENTS:
        break;
    }
    reply->delta = piece->text;
    send_event(reply, &reply->shape->delta);
}

/* ---- Endings ---- */

void typed_reply_end(struct typed_reply *reply)
{
    openai_job_begin_stream(reply->job);
    if (reply->block == TYPED_BLOCK_NONE) {
        open_block(reply, TYPED_BLOCK_TEXT, NULL); /* An answer without text is still an answer. */
    }
    reply->is_ending = true;
    typed_reply_go_on(reply);
}

void typed_reply_go_on(struct typed_reply *reply)
{
    struct openai_job *job = reply->job;
    while (reply->is_ending && !job->is_answered && !job->is_paused) {
        const uint32_t step = reply->ending_step++;
        if (step < TYPED_EVENTS_MAX) {
            send_event(reply, &reply->shape->close[step]);
        } else if (step < 2 * TYPED_EVENTS_MAX) {
            send_event(reply, &reply->shape->end[step - TYPED_EVENTS_MAX]);
        } else {
            job->is_answered = true;
            sse_stream_end_unmarked(job->prompt.exchange);
        }
    }
}

void typed_reply_fail(struct typed_reply *reply, const struct openai_error *error)
{
    struct http_exchange *exchange = reply->job->prompt.exchange;
    const struct typed_event *event = &reply->shape->fail;
    struct json_writer writer;
    reply->error = error;
    if (event->text_name == NULL || !format_event(reply, event->text_name, event->write, &writer)) {
        openai_error_reply(exchange, error);
        return;
    }
    const struct text json = {.bytes = writer.buffer, .len = writer.len};
    if (sse_stream_write_named(exchange, text_from(event->text_name), json)) {
        sse_stream_end_unmarked(exchange);
    }
}

void typed_reply_whole(const struct typed_reply *reply, struct json_writer *writer)
{
    json_object_begin(writer);
    reply->shape->write_whole(reply, writer);
    json_object_end(writer);
}
