/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_job.c - from a request's body to tokens: parse, render, tokenize, compile.
 *
 * Thread: loop; the work itself: loop or pool. */
#include "server/prompt_job.h"

#include "base/limits.h"
#include "server/prompt_grammar.h"
#include "server/reply_buffer.h"
#include "server/server_internal.h"

void prompt_job_fail(struct prompt_job *job, enum error_code code, const char *param,
                     const char *message)
{
    job->failed = true;
    openai_error_from_code(&job->error, code, message);
    text_copy_to(text_from(param), job->error.param, sizeof(job->error.param));
}

/* A generation, or the count of what one would read. */
static bool is_as_generation(const struct prompt_job *job)
{
    return (job->endpoint & OPENAI_READERS) != 0;
}

static void fail_for_memory(struct prompt_job *job)
{
    prompt_job_fail(job, ERROR_TOO_LARGE, NULL,
                    "the prompt needs more memory than one request may use");
}

/* Tokens of a text, behind --doc-start-token where a generation wants it. */
static void encode(struct prompt_job *job, struct text text, struct prompt_tokens *prompt_out)
{
    const int64_t start_token = job->options.config->doc_start_token;
    const uint32_t start_count = is_as_generation(job) && start_token != CONFIG_UNSET ? 1 : 0;
    /* A token has at least one byte. */
    const size_t capacity = start_count + text.len;
    int32_t *tokens = arena_alloc(&job->exchange->arena, capacity * sizeof(*tokens));
    if (tokens == NULL) {
        fail_for_memory(job);
        return;
    }
    if (start_count > 0) {
        tokens[0] = (int32_t)start_token;
    }
    const size_t count =
        tokenizer_encode(job->options.tokenizer, text, tokens + start_count, text.len);
    prompt_out->tokens = tokens;
    prompt_out->token_count = start_count + (uint32_t)count;
    prompt_out->text = text;
}

static void render_and_encode(struct prompt_job *job)
{
    const struct openai_prompt *prompt = &job->params.prompt;
    const struct chat_options options = {
        .continue_final_message = prompt->continue_final_message,
        .omit_generation_prompt = prompt->omit_generation_prompt,
        .effort = prompt->continue_final_message ? CHAT_EFFORT_UNSAID : prompt->effort,
        .calls = job->params.tools.calls,
        .tools = job->params.tools.shown,
    };
    struct text text;
    struct error error = {0};
    const enum error_code code = chat_template_render(
        openai_prompt_template(prompt, job->options.model->chat_template), prompt->messages,
        prompt->message_count, &options, &job->exchange->arena, &text, &error);
    if (code != ERROR_NONE) {
        prompt_job_fail(job, code, "messages", error.message);
        return;
    }
    encode(job, text, &job->prompts[0]);
}

/* The bytes of the tokens, for echo. */
static void decode(struct prompt_job *job, struct prompt_tokens *prompt)
{
    struct reply_buffer text = {0};
    for (uint32_t index = 0; index < prompt->token_count; index++) {
        const struct text bytes = tokenizer_decode(job->options.tokenizer, prompt->tokens[index]);
        if (!reply_buffer_append(&text, bytes, &job->exchange->arena)) {
            fail_for_memory(job);
            return;
        }
    }
    prompt->text = reply_buffer_text(&text);
}

static void take_tokens(struct prompt_job *job, const struct openai_input *input,
                        struct prompt_tokens *prompt_out)
{
    prompt_out->tokens = input->tokens;
    prompt_out->token_count = input->token_count;
    if (job->params.echo) {
        decode(job, prompt_out);
    }
}

static void make_prompt(struct prompt_job *job, uint32_t index)
{
    static const int32_t empty_prompt[] = {TOKEN_END_OF_TEXT};
    const struct openai_prompt *prompt = &job->params.prompt;
    struct prompt_tokens *made = &job->prompts[index];
    switch (prompt->kind) {
    case OPENAI_PROMPT_TEXT:
        encode(job, prompt->inputs[index].text, made);
        break;
    case OPENAI_PROMPT_TOKENS:
        take_tokens(job, &prompt->inputs[index], made);
        break;
    case OPENAI_PROMPT_MESSAGES:
        render_and_encode(job);
        break;
    case OPENAI_PROMPT_ABSENT:
        ASSERT(prompt->kind != OPENAI_PROMPT_ABSENT);
        break;
    }
    if (!job->failed && made->token_count == 0 && is_as_generation(job)) {
        made->tokens = empty_prompt;
        made->token_count = 1;
    }
}

/* What is echoed in a stream is sent at once, with no regard to how fast the client reads. */
static void check_echo(struct prompt_job *job)
{
    const struct openai_params *params = &job->params;
    size_t bytes = 0;
    size_t tokens = 0;
    if (!params->echo || !params->stream) {
        return;
    }
    for (uint32_t index = 0; index < job->prompt_count; index++) {
        bytes += job->prompts[index].text.len * params->choice_count;
        tokens += (size_t)job->prompts[index].token_count * params->choice_count;
    }
    if (bytes > LIMIT_ECHO_BYTES) {
        prompt_job_fail(job, ERROR_TOO_LARGE, "echo",
                        "prompts times n are too long to be echoed in a stream");
    } else if (params->logprobs >= 0 && tokens > LIMIT_ECHO_TOKENS) {
        prompt_job_fail(job, ERROR_TOO_LARGE, "echo",
                        "prompts times n are too long to be echoed in a stream with logprobs");
    }
}

static void make_prompts(struct prompt_job *job)
{
    const struct openai_prompt *prompt = &job->params.prompt;
    const uint32_t count = prompt->kind == OPENAI_PROMPT_MESSAGES ? 1 : prompt->input_count;
    job->prompts = arena_alloc(&job->exchange->arena, count * sizeof(*job->prompts));
    if (job->prompts == NULL) {
        fail_for_memory(job);
        return;
    }
    job->prompt_count = count;
    for (uint32_t index = 0; index < count && !job->failed; index++) {
        make_prompt(job, index);
    }
    if (!job->failed) {
        check_echo(job);
    }
}

static void parse(struct prompt_job *job)
{
    struct http_exchange *exchange = job->exchange;
    job->is_parsed = true;
    job->failed = !openai_params_read(job->endpoint, exchange->body, &job->options,
                                      &exchange->arena, &job->params, &job->error);
}

/* All that follows the parsing, but what takes long. */
static void prepare(struct prompt_job *job)
{
    if (!job->failed && prompt_grammar_is_wanted(job)) {
        prompt_grammar_try(job);
    }
    if (!job->failed && !job->compiles_long) {
        make_prompts(job);
        if (!job->failed && job->on_prepared != NULL) {
            job->on_prepared(job);
        }
    }
}

static void finish(struct prompt_job *job)
{
    struct http_exchange *exchange = job->exchange;
    job->on_done(job);
    http_exchange_release(exchange, HTTP_HOLDER_JOB); /* May take the job's memory with it. */
}

static void work_on_pool(uv_work_t *request)
{
    struct prompt_job *job = request->data;
    if (!job->is_parsed) {
        parse(job);
    }
    prepare(job);
}

static void on_pool_done(uv_work_t *request, int status);

static void start_on_pool(struct prompt_job *job)
{
    job->work.data = job;
    const int status =
        uv_queue_work(&job->exchange->server->loop, &job->work, work_on_pool, on_pool_done);
    ASSERT(status == 0); /* It fails only without a callback. */
}

static void on_compiled(struct prompt_job *job)
{
    if (job->failed) {
        finish(job);
    } else {
        start_on_pool(job);
    }
}

static void on_pool_done(uv_work_t *request, int status)
{
    struct prompt_job *job = request->data;
    if (status != 0) {
        prompt_job_fail(job, ERROR_SHUTTING_DOWN, NULL, "the server is shutting down");
    }
    if (job->failed || !job->compiles_long || !prompt_grammar_defer(job, on_compiled)) {
        finish(job);
    }
}

void prompt_job_start(struct prompt_job *job)
{
    struct server *server = job->exchange->server;
    job->options = (struct server_options){
        .config = server->config, .model = server->model, .tokenizer = server->tokenizer};
    const bool is_small = job->exchange->body.len <= LIMIT_LOOP_PARSE_BYTES;
    if (is_small) {
        parse(job);
    }
    if (is_small && (job->failed || !prompt_grammar_is_wanted(job))) {
        prepare(job);
        job->on_done(job);
        return;
    }
    http_exchange_hold(job->exchange, HTTP_HOLDER_JOB);
    start_on_pool(job);
}
