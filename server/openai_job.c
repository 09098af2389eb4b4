/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_job.c - one request for completions: from the engine's events to a reply or stream.
 *
 * Every call into the exchange may find that the client is gone, and then abandons the job before
 * it returns: is_answered is looked at again after each. Thread: loop. */
#include "server/openai_job.h"

#include "server/server_internal.h"
#include "server/sse_stream.h"

enum {
    ECHO_CHUNK_BYTES = 16 * 1024, /* Six times as much in JSON is far below a chunk. */
    ECHO_CHUNK_TOKENS = 64,
};

/* ---- Its parts ---- */

static bool is_chat(const struct openai_job *job)
{
    return job->prompt.endpoint == OPENAI_CHAT;
}

static struct arena *arena_of(const struct openai_job *job)
{
    return &job->prompt.exchange->arena;
}

static bool echoes_scores(const struct openai_params *params)
{
    return params->echo && params->logprobs >= 0;
}

/* ---- Endings ---- */

typedef void engine_order(struct engine *engine, uint64_t request_id);

static void order_open_parts(const struct openai_job *job, engine_order *order)
{
    for (uint32_t index = 0; index < job->parts_submitted; index++) {
        if (job->parts[index].choices_open > 0) {
            order(job->engine, job->parts[index].request.id);
        }
    }
}

void openai_job_abandon(struct openai_job *job)
{
    if (!job->is_answered) {
        job->is_answered = true;
        job->prompt.exchange->finish = "cancelled";
        atomic_store_explicit(&job->prompt.is_abandoned, true, memory_order_relaxed);
        order_open_parts(job, engine_cancel);
    }
}

void openai_job_fail(struct openai_job *job, const struct openai_error *error)
{
    if (job->is_answered) {
        return;
    }
    openai_job_abandon(job); /* First: the reply may find the client gone and come back here. */
    job->prompt.exchange->finish = job->parts_submitted > 0 ? "error" : NULL;
    if (job->typed != NULL && sse_stream_has_begun(job->prompt.exchange)) {
        typed_reply_fail(job->typed, error);
    } else {
        openai_error_reply(job->prompt.exchange, error);
    }
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
    struct openai_job *job = exchange->context;
    if (!job->is_answered) { /* Else the ring drains after the end. */
        job->is_paused = pause;
        order_open_parts(job, pause ? engine_pause : engine_resume);
        if (!pause && job->typed != NULL) {
            typed_reply_go_on(job->typed);
        }
    }
}

void openai_job_begin_stream(struct openai_job *job)
{
    struct http_exchange *exchange = job->prompt.exchange;
    if (!sse_stream_has_begun(exchange)) {
        sse_stream_set_on_pressure(exchange, on_pressure);
        sse_stream_begin(exchange);
        if (job->typed != NULL && !job->is_answered) {
            sse_stream_set_ping(exchange, job->typed->shape->ping);
            typed_reply_begin(job->typed);
        }
    }
}

static void begin_event(struct openai_job *job, struct json_writer *writer)
{
    json_writer_init(writer, job->chunk, OPENAI_CHUNK_BYTES);
}

void openai_job_send_named(struct openai_job *job, struct text name,
                           const struct json_writer *writer)
{
    if (!json_writer_fits(writer)) {
        fail_internal(job, "an event is too large to be sent");
        return;
    }
    openai_job_begin_stream(job);
    const struct text json = {.bytes = writer->buffer, .len = writer->len};
    if (!job->is_answered && !sse_stream_write_named(job->prompt.exchange, name, json)) {
        openai_job_abandon(job);
    }
}

static void send_event(struct openai_job *job, const struct json_writer *writer)
{
    openai_job_send_named(job, TEXT(""), writer);
}

static void send_echo(struct openai_part *part, uint32_t choice, struct text text, uint32_t begin,
                      uint32_t end)
{
    struct openai_job *job = part->job;
    const bool scored = echoes_scores(&job->prompt.params);
    struct json_writer writer;
    begin_event(job, &writer);
    openai_reply_echo_chunk(&job->reply, part->first_index + choice, text,
                            scored ? &part->scores : NULL, begin, end, &writer);
    send_event(job, &writer);
}

/* How many bytes can be sent of an echoed text: whole characters, and not too many at once. */
static size_t echo_len(struct text text)
{
    size_t len = text.len < ECHO_CHUNK_BYTES ? text.len : ECHO_CHUNK_BYTES;
    while (len < text.len && len > ECHO_CHUNK_BYTES - 4 &&
           ((unsigned char)text.bytes[len] & 0xc0) == 0x80) {
        len--;
    }
    return len;
}

static void echo_text(struct openai_part *part, uint32_t choice)
{
    struct text rest = part->prompt->text;
    while (rest.len > 0 && !part->job->is_answered) {
        const size_t len = echo_len(rest);
        send_echo(part, choice, (struct text){.bytes = rest.bytes, .len = len}, 0, 0);
        rest.bytes += len;
        rest.len -= len;
    }
}

/* A chunk for each token, or for some that only together are whole characters. */
static void echo_tokens(struct openai_part *part, uint32_t choice)
{
    const struct text whole = part->prompt->text;
    const struct prompt_scores *scores = &part->scores;
    size_t text_begin = 0;
    size_t text_end = 0;
    uint32_t begin = 0;
    for (uint32_t index = 0; index < scores->token_count && !part->job->is_answered; index++) {
        text_end += tokenizer_decode(scores->tokenizer, scores->tokens[index]).len;
        const bool is_last = index + 1 == scores->token_count;
        const bool is_whole =
            text_end == whole.len ||
            (text_end > text_begin && ((unsigned char)whole.bytes[text_end] & 0xc0) != 0x80);
        if (is_last || is_whole || index + 1 - begin == ECHO_CHUNK_TOKENS) {
            const struct text text = {.bytes = whole.bytes + text_begin,
                                      .len = text_end - text_begin};
            send_echo(part, choice, text, begin, index + 1);
            text_begin = text_end;
            begin = index + 1;
        }
    }
}

/* Chat opens every choice with its role, at the first sign of it; echo with the prompt. */
static void open_choice_once(struct openai_part *part, uint32_t choice)
{
    struct openai_job *job = part->job;
    struct openai_answer *answer = &part->answers[choice];
    if (answer->is_opened) {
        return;
    }
    answer->is_opened = true;
    if (is_chat(job)) {
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_role_chunk(&job->reply, part->first_index + choice, &writer);
        send_event(job, &writer);
    } else if (echoes_scores(&job->prompt.params)) {
        echo_tokens(part, choice);
    } else if (job->prompt.params.echo) {
        echo_text(part, choice);
    }
}

static void stream_piece(struct openai_part *part, uint32_t choice,
                         const struct openai_piece *piece)
{
    struct openai_job *job = part->job;
    if (job->typed != NULL) {
        typed_reply_piece(job->typed, piece);
        return;
    }
    open_choice_once(part, choice);
    if (!job->is_answered) {
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_text_chunk(&job->reply, part->first_index + choice, piece, &writer);
        send_event(job, &writer);
    }
}

static void stream_finish(struct openai_part *part, uint32_t choice,
                          const struct openai_token *rest)
{
    struct openai_job *job = part->job;
    if (job->typed != NULL) {
        return; /* It has one choice: openai_job_complete ends it. */
    }
    open_choice_once(part, choice);
    if (!job->is_answered) {
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_finish_chunk(&job->reply, part->first_index + choice, rest,
                                  part->answers[choice].finish, &writer);
        send_event(job, &writer);
    }
}

/* ---- Usage ---- */

struct openai_usage openai_job_usage(const struct openai_job *job)
{
    struct openai_usage usage = {
        .prompt_tokens = job->prompt.exchange->prompt_tokens,
        .completion_tokens = job->prompt.exchange->completion_tokens,
    };
    for (uint32_t index = 0; index < job->part_count * job->prompt.params.choice_count; index++) {
        usage.reasoning_tokens += job->answers[index].reasoning_tokens;
    }
    return usage;
}

/* ---- Whole replies ---- */

static void keep_piece(struct openai_job *job, struct openai_answer *answer,
                       const struct openai_piece *piece)
{
    if (!openai_answer_keep(answer, piece, &job->reply, arena_of(job))) {
        fail_internal(job, "the answer needs more memory than one request may use");
    }
}

/* The texts that a choice's reply points to. */
struct choice_texts {
    struct text thought, token_ids;
};

static void fill_choice(const struct openai_part *part, uint32_t choice, struct choice_texts *texts,
                        struct openai_choice_reply *reply_out)
{
    const struct openai_params *params = &part->job->prompt.params;
    const struct openai_answer *answer = &part->answers[choice];
    *texts = (struct choice_texts){.thought = reply_buffer_text(&answer->thought),
                                   .token_ids = reply_buffer_text(&answer->token_ids)};
    *reply_out = (struct openai_choice_reply){
        .text = reply_buffer_text(&answer->text),
        .thought = answer->thinks ? &texts->thought : NULL,
        .calls = answer->first_call,
        .finish = answer->finish,
        .logprobs = params->logprobs >= 0 ? &answer->logprobs : NULL,
        .echoed = echoes_scores(params) ? &part->scores : NULL,
        .token_ids = params->token_ids ? &texts->token_ids : NULL,
    };
    if (params->token_ids) {
        reply_out->prompt.tokens = part->prompt->tokens;
        reply_out->prompt.token_count = part->prompt->token_count;
    }
    if (params->prompt_logprobs >= 0) {
        reply_out->prompt.scores = &part->scores;
        reply_out->prompt.top_max = (uint32_t)params->prompt_logprobs;
    }
}

static struct openai_choice_reply *fill_choices(const struct openai_job *job)
{
    const uint32_t n = job->prompt.params.choice_count;
    const size_t count = (size_t)job->part_count * n;
    struct openai_choice_reply *replies = arena_alloc(arena_of(job), count * sizeof(*replies));
    struct choice_texts *texts = arena_alloc(arena_of(job), count * sizeof(*texts));
    if (replies == NULL || texts == NULL) {
        return NULL;
    }
    for (size_t index = 0; index < count; index++) {
        fill_choice(&job->parts[index / n], (uint32_t)(index % n), &texts[index], &replies[index]);
    }
    return replies;
}

static void write_whole(const struct openai_job *job, const struct openai_choice_reply *replies,
                        struct json_writer *writer)
{
    const struct openai_usage usage = openai_job_usage(job);
    if (job->typed != NULL) {
        typed_reply_whole(job->typed, writer);
        return;
    }
    openai_reply_whole(&job->reply, replies, job->part_count * job->prompt.params.choice_count,
                       &usage, writer);
}

/* Measures, then writes. */
static void reply_whole(struct openai_job *job)
{
    struct http_exchange *exchange = job->prompt.exchange;
    const struct openai_choice_reply *replies = fill_choices(job);
    struct json_writer writer = {0};
    if (replies != NULL) {
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
    if (job->typed != NULL) {
        typed_reply_end(job->typed);
        return;
    }
    if (job->prompt.params.usage_in_stream) {
        const struct openai_usage usage = openai_job_usage(job);
        struct json_writer writer;
        begin_event(job, &writer);
        openai_reply_usage_chunk(&job->reply, &usage, &writer);
        send_event(job, &writer);
    }
    if (!job->is_answered) {
        job->is_answered = true;
        sse_stream_end(job->prompt.exchange);
    }
}

void openai_job_complete(struct openai_job *job)
{
    if (job->is_answered) {
        return;
    }
    job->prompt.exchange->finish = job->answers[0].finish;
    if (job->prompt.params.stream) {
        end_stream(job);
    } else {
        reply_whole(job);
    }
}

/* ---- Events ---- */

static void send_pieces(struct openai_part *part, uint32_t choice)
{
    struct openai_job *job = part->job;
    struct openai_answer *answer = &part->answers[choice];
    struct openai_piece piece;
    while (!job->is_answered && openai_answer_next(answer, &piece)) {
        if (!job->prompt.params.stream || job->typed != NULL) {
            keep_piece(job, answer, &piece); /* Typed streams repeat it at their end. */
        }
        if (job->prompt.params.stream) {
            stream_piece(part, choice, &piece);
        }
    }
}

static void take_text(struct openai_part *part, const struct generation_event *event)
{
    struct openai_job *job = part->job;
    const struct openai_params *params = &job->prompt.params;
    const uint32_t shown_max = params->logprobs > 0 ? (uint32_t)params->logprobs : 0;
    const struct openai_token token = {
        .tokenizer = job->prompt.options.tokenizer,
        .id = event->token,
        .logprob = event->logprob,
        .top = generation_event_top(event),
        .top_count = event->top_count < shown_max ? event->top_count : shown_max,
        .shown_as_id = params->tokens_as_ids,
    };
    if (!openai_answer_push(&part->answers[event->choice], generation_event_text(event),
                            event->token_valid ? &token : NULL, arena_of(job))) {
        fail_internal(job, "the answer needs more memory than one request may use");
        return;
    }
    send_pieces(part, event->choice);
}

/* As OpenAI has it, an answer with a function that the client named just stops. */
static const char *finish_of(const struct openai_job *job, const struct openai_answer *answer,
                             enum generation_end end)
{
    const bool is_calls = end == GENERATION_ENDED_BY_STOP && openai_answer_is_calls(answer);
    return is_calls && !job->prompt.params.tools.is_named ? "tool_calls"
                                                          : generation_end_text(end);
}

static void finish_choice(struct openai_part *part, const struct generation_event *event)
{
    struct openai_job *job = part->job;
    const uint32_t choice = event->choice;
    struct openai_answer *answer = &part->answers[choice];
    answer->ended_by_length = event->end == GENERATION_ENDED_BY_LENGTH;
    answer->stop_string = event->stop_string;
    openai_answer_end(answer);
    send_pieces(part, choice);
    answer->finish = finish_of(job, answer, event->end);
    if (job->is_answered) {
        return;
    }
    const struct openai_piece rest = {.tokens = openai_answer_take_rest(answer)};
    if (job->prompt.params.stream) {
        stream_finish(part, choice, rest.tokens);
    } else {
        keep_piece(job, answer, &rest);
    }
}

static void take_end(struct openai_part *part, const struct generation_event *event)
{
    switch (event->end) {
    case GENERATION_ENDED_BY_STOP:
    case GENERATION_ENDED_BY_LENGTH:
        finish_choice(part, event);
        break;
    case GENERATION_ENDED_BY_CANCEL: /* Not by us, or there would be an answer: the drain's end. */
        fail_with_code(part->job, ERROR_CANCELLED);
        break;
    case GENERATION_ENDED_BY_ERROR:
        fail_with_code(part->job, event->error);
        break;
    }
}

bool openai_job_take_event(struct openai_part *part, const struct generation_event *event)
{
    struct openai_job *job = part->job;
    ASSERT_COMPARE(event->choice, <, part->request.choice_count);
    ASSERT_COMPARE(part->choices_open, >, 0);
    job->has_event = true;
    switch (event->type) {
    case GENERATION_PROMPT:
        if (!job->is_answered) {
            prompt_scores_take(&part->scores, event);
        }
        return false;
    case GENERATION_TEXT:
        if (!job->is_answered) {
            take_text(part, event);
        }
        return false;
    case GENERATION_ENDED:
        break;
    }
    part->choices_open--;
    job->prompt.exchange->completion_tokens += event->completion_tokens;
    if (!job->is_answered) {
        take_end(part, event);
    }
    if (part->choices_open > 0) {
        return false;
    }
    job->parts_open--;
    return true;
}
