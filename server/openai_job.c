/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_job.c - one generation: from the engine's events to a reply or a stream.
 *
 * Every call into the exchange may find that the client is gone, and then abandons the job before
 * it returns: is_answered is looked at again after each. Thread: loop. */
#include "server/openai_job.h"

#include <sodium.h>
#include <stdio.h>

#include "base/clock.h"
#include "server/server_internal.h"
#include "server/sse_stream.h"

enum { REPLY_ID_BYTES = 48 };

/* ---- From the prompt to a request ---- */

static bool is_chat(const struct openai_job *job)
{
    return job->prompt.endpoint == OPENAI_CHAT;
}

static bool wants_logprobs(const struct openai_job *job)
{
    return job->request.sampling.logprobs_wanted >= 0;
}

static void make_reply_id(const char *prefix, char id_out[REPLY_ID_BYTES])
{
    unsigned char bytes[12];
    char hex[2 * sizeof(bytes) + 1];
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(hex, sizeof(hex), bytes, sizeof(bytes));
    snprintf(id_out, REPLY_ID_BYTES, "%s%s", prefix, hex);
}

static void fill_request(struct openai_job *job, uint64_t request_id)
{
    const struct openai_params *params = &job->prompt.params;
    const uint64_t queue_timeout_ms = job->prompt.options.config->queue_timeout_ms;
    job->request = (struct generation_request){
        .id = request_id,
        .prompt = job->prompt.tokens,
        .prompt_count = job->prompt.token_count,
        .choice_count = params->choice_count,
        .sampling = params->sampling,
        .stops = params->stops,
        .stop_count = params->stop_count,
        .stops_included = params->stop_included ? params->stop_count : 0,
        .every_token_wanted = params->sampling.logprobs_wanted >= 0,
        .queue_timeout_ns = queue_timeout_ms * 1000000,
    };
    if (!params->seed_given) {
        randombytes_buf(&job->request.sampling.seed, sizeof(job->request.sampling.seed));
    }
}

bool openai_job_prepare(struct openai_job *job, uint64_t request_id)
{
    struct http_exchange *exchange = job->prompt.exchange;
    const struct openai_params *params = &job->prompt.params;
    char id[REPLY_ID_BYTES];
    make_reply_id(is_chat(job) ? "chatcmpl-" : "cmpl-", id);
    fill_request(job, request_id);
    exchange->prompt_tokens = job->request.prompt_count;
    job->choices_open = job->request.choice_count;
    job->choices = arena_alloc(&exchange->arena, job->request.choice_count * sizeof(*job->choices));
    const struct openai_reply_options options = {
        .chat = is_chat(job),
        .stream = params->stream,
        .usage_in_stream = params->stream && params->usage_in_stream,
        .id = id,
        .created = clock_wall_seconds(),
        .model = job->prompt.options.model->id,
    };
    return job->choices != NULL && openai_reply_init(&job->reply, &options, &exchange->arena);
}

/* ---- Endings ---- */

void openai_job_abandon(struct openai_job *job)
{
    if (!job->is_answered) {
        job->is_answered = true;
        job->prompt.exchange->finish = "cancelled";
        if (job->is_submitted && job->choices_open > 0) {
            engine_cancel(job->engine, job->request.id);
        }
    }
}

void openai_job_fail(struct openai_job *job, const struct openai_error *error)
{
    if (job->is_answered) {
        return;
    }
    openai_job_abandon(job); /* First: the reply may find the client gone and come back here. */
    job->prompt.exchange->finish = job->is_submitted ? "error" : NULL;
    openai_error_reply(job->prompt.exchange, error);
}

static void fail_internal(struct openai_job *job, const char *message)
{
    struct openai_error error;
    openai_error_set(&error, OPENAI_ERROR_INTERNAL, NULL, "%s", message);
    openai_job_fail(job, &error);
}

/* What the client reads when the engine ends a choice with a code. */
static const char *reason_of(enum error_code code)
{
    switch (code) {
    case ERROR_OVERLOADED:
        return "the queue is full, try again later";
    case ERROR_TIMEOUT:
        return "no sequence became free in time, try again later";
    case ERROR_DEVICE:
        return "the device failed";
    case ERROR_CANCELLED:
    case ERROR_SHUTTING_DOWN:
        return "the server is shutting down";
    case ERROR_NONE:
    case ERROR_INVALID_ARGUMENT:
    case ERROR_NOT_FOUND:
    case ERROR_TOO_LARGE:
    case ERROR_IO:
    case ERROR_CORRUPT:
    case ERROR_OUT_OF_MEMORY:
        break;
    }
    return NULL;
}

static void fail_with_code(struct openai_job *job, enum error_code code)
{
    struct openai_error error;
    openai_error_from_code(&error, code, reason_of(code));
    openai_job_fail(job, &error);
}

/* ---- Streams ---- */

static void on_pressure(struct http_exchange *exchange, bool pause)
{
    const struct openai_job *job = exchange->context;
    if (job->is_answered || job->choices_open == 0) {
        return; /* The ring drains after the end. */
    }
    if (pause) {
        engine_pause(job->engine, job->request.id);
    } else {
        engine_resume(job->engine, job->request.id);
    }
}

void openai_job_begin_stream(struct openai_job *job)
{
    struct http_exchange *exchange = job->prompt.exchange;
    if (!sse_stream_has_begun(exchange)) {
        sse_stream_set_on_pressure(exchange, on_pressure);
        sse_stream_begin(exchange);
    }
}

static void begin_event(struct openai_job *job, struct json_writer *writer)
{
    json_writer_init(writer, job->chunk, OPENAI_CHUNK_BYTES);
}

static void send_event(struct openai_job *job, const struct json_writer *writer)
{
    if (!json_writer_fits(writer)) {
        fail_internal(job, "an event is too large to be sent");
        return;
    }
    openai_job_begin_stream(job);
    const struct text json = {.bytes = writer->buffer, .len = writer->len};
    if (!job->is_answered && !sse_stream_write(job->prompt.exchange, json)) {
        openai_job_abandon(job);
    }
}

/* Chat opens every choice with its role, at the first sign of it. */
static void send_role_once(struct openai_job *job, uint32_t index)
{
    struct openai_choice *choice = &job->choices[index];
    if (is_chat(job) && !choice->role_sent) {
        choice->role_sent = true;
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_role_chunk(&job->reply, index, &writer);
        send_event(job, &writer);
    }
}

/* token is NULL when no logprobs are wanted. */
static void stream_text(struct openai_job *job, uint32_t index, struct text text,
                        const struct openai_token *token)
{
    send_role_once(job, index);
    if (job->is_answered || (text.len == 0 && token == NULL)) {
        return;
    }
    struct json_writer writer;
    begin_event(job, &writer);
    openai_reply_text_chunk(&job->reply, index, text, token, &writer);
    send_event(job, &writer);
}

static void stream_finish(struct openai_job *job, uint32_t index)
{
    send_role_once(job, index);
    if (!job->is_answered) {
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_finish_chunk(&job->reply, index, job->choices[index].finish, &writer);
        send_event(job, &writer);
    }
}

/* ---- Whole replies ---- */

static void collect_text(struct openai_job *job, uint32_t index, struct text text,
                         const struct openai_token *token)
{
    struct openai_choice *choice = &job->choices[index];
    struct arena *arena = &job->prompt.exchange->arena;
    const enum openai_logprobs_shape shape =
        is_chat(job) ? OPENAI_LOGPROBS_CHAT : OPENAI_LOGPROBS_COMPLETIONS;
    if (!reply_buffer_append(&choice->text, text, arena) ||
        (token != NULL && !openai_logprobs_add(&choice->logprobs, shape, token, arena))) {
        fail_internal(job, "the answer needs more memory than one request may use");
    }
}

static void write_whole(const struct openai_job *job, const struct openai_choice_reply *replies,
                        struct json_writer *writer)
{
    const struct openai_usage usage = {
        .prompt_tokens = job->request.prompt_count,
        .completion_tokens = job->prompt.exchange->completion_tokens,
    };
    openai_reply_whole(&job->reply, replies, job->request.choice_count, &usage, writer);
}

/* Measures, then writes. */
static void reply_whole(struct openai_job *job)
{
    struct http_exchange *exchange = job->prompt.exchange;
    const uint32_t count = job->request.choice_count;
    struct openai_choice_reply *replies = arena_alloc(&exchange->arena, count * sizeof(*replies));
    struct json_writer writer = {0};
    if (replies != NULL) {
        for (uint32_t index = 0; index < count; index++) {
            const struct openai_choice *choice = &job->choices[index];
            replies[index] = (struct openai_choice_reply){
                .text = reply_buffer_text(&choice->text),
                .finish = choice->finish,
                .logprobs = wants_logprobs(job) ? &choice->logprobs : NULL,
            };
        }
        write_whole(job, replies, &writer);
    }
    char *body = replies == NULL ? NULL : arena_alloc(&exchange->arena, writer.len);
    if (body == NULL) {
        fail_internal(job, "the answer needs more memory than one request may use");
        return;
    }
    json_writer_init(&writer, body, writer.len);
    write_whole(job, replies, &writer);
    job->is_answered = true;
    http_exchange_reply(exchange, 200, "application/json",
                        (struct text){.bytes = body, .len = writer.len});
}

static void end_stream(struct openai_job *job)
{
    struct http_exchange *exchange = job->prompt.exchange;
    if (job->prompt.params.usage_in_stream) {
        const struct openai_usage usage = {
            .prompt_tokens = job->request.prompt_count,
            .completion_tokens = exchange->completion_tokens,
        };
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_usage_chunk(&job->reply, &usage, &writer);
        send_event(job, &writer);
    }
    if (!job->is_answered) {
        job->is_answered = true;
        sse_stream_end(exchange);
    }
}

/* ---- Events ---- */

static void take_text(struct openai_job *job, const struct generation_event *event)
{
    struct openai_choice *choice = &job->choices[event->choice];
    struct text text = generation_event_text(event);
    /* The prompt ends with "Assistant:", so the answer begins with a space that is not meant. */
    const bool at_start =
        is_chat(job) && !choice->has_text && !job->prompt.params.prompt.continue_final_message;
    if (at_start && text_starts_with(text, TEXT(" "))) {
        text = (struct text){.bytes = text.bytes + 1, .len = text.len - 1};
    }
    const struct openai_token token = {
        .tokenizer = job->prompt.options.tokenizer,
        .id = event->token,
        .logprob = event->logprob,
        .top = generation_event_top(event),
        .top_count = event->top_count,
        .space_trimmed = at_start,
        .text_offset = choice->characters,
    };
    const bool has_token = wants_logprobs(job) && event->token_valid;
    choice->has_text = choice->has_text || event->text_len > 0;
    if (has_token) {
        choice->characters += (uint32_t)utf8_count(openai_token_text(&token));
    }
    if (job->prompt.params.stream) {
        stream_text(job, event->choice, text, has_token ? &token : NULL);
    } else {
        collect_text(job, event->choice, text, has_token ? &token : NULL);
    }
}

static void take_end(struct openai_job *job, const struct generation_event *event)
{
    struct openai_choice *choice = &job->choices[event->choice];
    choice->finish = generation_end_text(event->end);
    switch (event->end) {
    case GENERATION_ENDED_BY_STOP:
    case GENERATION_ENDED_BY_LENGTH:
        if (job->prompt.params.stream) {
            stream_finish(job, event->choice);
        }
        break;
    case GENERATION_ENDED_BY_CANCEL: /* Not by us, or there would be an answer: the drain's end. */
        fail_with_code(job, ERROR_CANCELLED);
        break;
    case GENERATION_ENDED_BY_ERROR:
        fail_with_code(job, event->error);
        break;
    }
}

bool openai_job_take_event(struct openai_job *job, const struct generation_event *event)
{
    struct http_exchange *exchange = job->prompt.exchange;
    ASSERT_COMPARE(event->choice, <, job->request.choice_count);
    job->has_event = true;
    if (event->type == GENERATION_TEXT) {
        if (!job->is_answered) {
            take_text(job, event);
        }
        return false;
    }
    job->choices_open--;
    exchange->completion_tokens += event->completion_tokens;
    if (!job->is_answered) {
        take_end(job, event);
    }
    if (job->choices_open > 0) {
        return false;
    }
    if (!job->is_answered) {
        exchange->finish = job->choices[0].finish;
        if (job->prompt.params.stream) {
            end_stream(job);
        } else {
            reply_whole(job);
        }
    }
    return true;
}
