/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_job.c - from a request's body to tokens: parse, render, tokenize.
 *
 * Thread: loop; the work itself: loop or pool. */
#include "server/prompt_job.h"

#include "base/limits.h"
#include "server/server_internal.h"

void prompt_job_fail(struct prompt_job *job, enum error_code code, const char *param,
                     const char *message)
{
    job->failed = true;
    openai_error_from_code(&job->error, code, message);
    text_copy_to(text_from(param), job->error.param, sizeof(job->error.param));
}

static bool is_generation(const struct prompt_job *job)
{
    return job->endpoint == OPENAI_COMPLETIONS || job->endpoint == OPENAI_CHAT;
}

/* Tokens of a text, behind --doc-start-token where a generation wants it. */
static void encode(struct prompt_job *job, struct text text)
{
    const int64_t start_token = job->options.config->doc_start_token;
    const uint32_t start_count = is_generation(job) && start_token != CONFIG_UNSET ? 1 : 0;
    /* A token has at least one byte. */
    const size_t capacity = start_count + text.len;
    int32_t *tokens = arena_alloc(&job->exchange->arena, capacity * sizeof(*tokens));
    if (tokens == NULL) {
        prompt_job_fail(job, ERROR_TOO_LARGE, NULL,
                        "the prompt needs more memory than one "
                        "request may use");
        return;
    }
    if (start_count > 0) {
        tokens[0] = (int32_t)start_token;
    }
    const size_t count =
        tokenizer_encode(job->options.tokenizer, text, tokens + start_count, text.len);
    job->tokens = tokens;
    job->token_count = start_count + (uint32_t)count;
}

static void render_and_encode(struct prompt_job *job)
{
    const struct openai_prompt *prompt = &job->params.prompt;
    const struct chat_options options = {.continue_final_message = prompt->continue_final_message};
    struct text text;
    struct error error = {0};
    const enum error_code code =
        chat_template_render(job->options.model->chat_template, prompt->messages,
                             prompt->message_count, &options, &job->exchange->arena, &text, &error);
    if (code != ERROR_NONE) {
        prompt_job_fail(job, code, "messages", error.message);
        return;
    }
    encode(job, text);
}

static void make_tokens(struct prompt_job *job)
{
    static const int32_t empty_prompt[] = {TOKEN_END_OF_TEXT};
    switch (job->params.prompt.kind) {
    case OPENAI_PROMPT_TEXT:
        encode(job, job->params.prompt.text);
        break;
    case OPENAI_PROMPT_TOKENS:
        job->tokens = job->params.prompt.tokens;
        job->token_count = job->params.prompt.token_count;
        break;
    case OPENAI_PROMPT_MESSAGES:
        render_and_encode(job);
        break;
    case OPENAI_PROMPT_ABSENT:
        ASSERT(job->params.prompt.kind != OPENAI_PROMPT_ABSENT);
        break;
    }
    if (!job->failed && job->token_count == 0 && is_generation(job)) {
        job->tokens = empty_prompt;
        job->token_count = 1;
    }
}

static void work(struct prompt_job *job)
{
    struct http_exchange *exchange = job->exchange;
    job->failed = !openai_params_read(job->endpoint, exchange->body, &job->options,
                                      &exchange->arena, &job->params, &job->error);
    if (!job->failed) {
        make_tokens(job);
    }
    if (!job->failed && job->on_prepared != NULL) {
        job->on_prepared(job);
    }
}

static void work_on_pool(uv_work_t *request)
{
    work(request->data);
}

static void on_pool_done(uv_work_t *request, int status)
{
    struct prompt_job *job = request->data;
    struct http_exchange *exchange = job->exchange;
    if (status != 0) {
        prompt_job_fail(job, ERROR_SHUTTING_DOWN, NULL, "the server is shutting down");
    }
    job->on_done(job);
    http_exchange_release(exchange, HTTP_HOLDER_JOB); /* May take the job's memory with it. */
}

void prompt_job_start(struct prompt_job *job)
{
    struct server *server = job->exchange->server;
    job->options = (struct server_options){
        .config = server->config, .model = server->model, .tokenizer = server->tokenizer};
    if (job->exchange->body.len <= LIMIT_LOOP_PARSE_BYTES) {
        work(job);
        job->on_done(job);
        return;
    }
    http_exchange_hold(job->exchange, HTTP_HOLDER_JOB);
    job->work.data = job;
    const int status = uv_queue_work(&server->loop, &job->work, work_on_pool, on_pool_done);
    ASSERT(status == 0); /* It fails only without a callback. */
}
