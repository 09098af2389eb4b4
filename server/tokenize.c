/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tokenize.c - POST /tokenize and /detokenize, what a prompt becomes, how long it is.
 *
 * {"prompt"|"content"|"text": ".."} or {"messages": [..]} to {"tokens":[..],"count":n}, and
 * {"tokens":[..]} back to {"prompt":".."}. /apply-template gives the text of a chat's prompt. The
 * counts of the three APIs differ in their shape only. Thread: loop; the writing of replies: loop
 * or pool. */
#include "base/json_writer.h"
#include "server/openai_error.h"
#include "server/openai_handlers.h"
#include "server/prompt_job.h"
#include "server/reply_buffer.h"
#include "server/server_internal.h"

struct token_job {
    struct prompt_job prompt; /* First: its callbacks get the job by it. */
    struct text reply;
};

typedef void write_reply(const struct token_job *job, struct json_writer *writer);

/* Measures, then writes. */
static void make_reply(struct token_job *job, write_reply *write)
{
    struct json_writer writer;
    json_writer_init(&writer, NULL, 0);
    write(job, &writer);
    char *bytes = arena_alloc(&job->prompt.exchange->arena, writer.len);
    if (bytes == NULL) {
        prompt_job_fail(&job->prompt, ERROR_TOO_LARGE, NULL,
                        "the answer needs more memory than one request may use");
        return;
    }
    json_writer_init(&writer, bytes, writer.len);
    write(job, &writer);
    job->reply = (struct text){.bytes = bytes, .len = writer.len};
}

static void write_tokens(const struct token_job *job, struct json_writer *writer)
{
    const struct prompt_tokens *prompt = &job->prompt.prompts[0];
    json_object_begin(writer);
    json_key(writer, "tokens");
    json_array_begin(writer);
    for (uint32_t index = 0; index < prompt->token_count; index++) {
        json_integer(writer, prompt->tokens[index]);
    }
    json_array_end(writer);
    json_key_integer(writer, "count", prompt->token_count);
    json_object_end(writer);
}

static void on_tokenized(struct prompt_job *prompt)
{
    make_reply((struct token_job *)prompt, write_tokens);
}

static void write_text(const struct token_job *job, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "prompt", job->reply);
    json_object_end(writer);
}

/* Joins the bytes first: a character may be spread over tokens. */
static void on_tokens_read(struct prompt_job *prompt)
{
    struct token_job *job = (struct token_job *)prompt;
    struct reply_buffer text = {0};
    const struct prompt_tokens *tokens = &prompt->prompts[0];
    for (uint32_t index = 0; index < tokens->token_count; index++) {
        const struct text bytes =
            tokenizer_decode(prompt->options.tokenizer, tokens->tokens[index]);
        if (!reply_buffer_append(&text, bytes, &prompt->exchange->arena)) {
            prompt_job_fail(prompt, ERROR_TOO_LARGE, "tokens",
                            "the text needs more memory than one request may use");
            return;
        }
    }
    job->reply = reply_buffer_text(&text);
    make_reply(job, write_text);
}

static void write_template(const struct token_job *job, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "prompt", job->prompt.prompts[0].text);
    json_object_end(writer);
}

static void on_rendered(struct prompt_job *prompt)
{
    make_reply((struct token_job *)prompt, write_template);
}

static void write_count(const struct token_job *job, struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_integer(writer, "count", job->prompt.prompts[0].token_count);
    json_object_end(writer);
}

static void on_counted(struct prompt_job *prompt)
{
    make_reply((struct token_job *)prompt, write_count);
}

static void write_input_tokens(const struct token_job *job, struct json_writer *writer)
{
    json_object_begin(writer);
    if (job->prompt.endpoint == OPENAI_RESPONSES_COUNT) {
        json_key_string(writer, "object", TEXT("response.input_tokens"));
    }
    json_key_integer(writer, "input_tokens", job->prompt.prompts[0].token_count);
    json_object_end(writer);
}

static void on_input_counted(struct prompt_job *prompt)
{
    make_reply((struct token_job *)prompt, write_input_tokens);
}

static void on_done(struct prompt_job *prompt)
{
    const struct token_job *job = (const struct token_job *)prompt;
    if (prompt->failed) {
        openai_error_reply(prompt->exchange, &prompt->error);
    } else {
        http_exchange_reply(prompt->exchange, 200, "application/json", job->reply);
    }
}

static void start(struct http_exchange *exchange, enum openai_endpoint endpoint,
                  prompt_job_callback *on_prepared)
{
    struct token_job *job = arena_alloc(&exchange->arena, sizeof(*job));
    if (job == NULL) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_INTERNAL, NULL, "no memory for the request");
        openai_error_reply(exchange, &error);
        return;
    }
    job->prompt.exchange = exchange;
    job->prompt.endpoint = endpoint;
    job->prompt.on_prepared = on_prepared;
    job->prompt.on_done = on_done;
    prompt_job_start(&job->prompt);
}

void tokenize_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_TOKENIZE, on_tokenized);
}

void detokenize_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_DETOKENIZE, on_tokens_read);
}

void apply_template_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_TEMPLATE, on_rendered);
}

void tokens_count_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_TOKENIZE, on_counted);
}

void responses_count_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_RESPONSES_COUNT, on_input_counted);
}

void messages_count_handle(struct http_exchange *exchange)
{
    start(exchange, OPENAI_MESSAGES_COUNT, on_input_counted);
}
