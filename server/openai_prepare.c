/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_prepare.c - from the prompts of a request to what the engine is asked: its parts.
 *
 * Each prompt is one part with n answers. All memory is the exchange's. Thread: loop. */
#include <sodium.h>
#include <stdio.h>

#include "base/clock.h"
#include "server/openai_job.h"

enum { REPLY_ID_BYTES = 48 };

static bool is_chat(const struct openai_job *job)
{
    return job->prompt.endpoint == OPENAI_CHAT;
}

static struct arena *arena_of(const struct openai_job *job)
{
    return &job->prompt.exchange->arena;
}

static void make_reply_id(const char *prefix, char id_out[REPLY_ID_BYTES])
{
    unsigned char bytes[12];
    char hex[2 * sizeof(bytes) + 1];
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(hex, sizeof(hex), bytes, sizeof(bytes));
    snprintf(id_out, REPLY_ID_BYTES, "%s%s", prefix, hex);
}

static bool echoes_scores(const struct openai_params *params)
{
    return params->echo && params->logprobs >= 0;
}

static void fill_request(struct openai_part *part, uint64_t request_id, bool follows_tokens)
{
    const struct prompt_job *prompt = &part->job->prompt;
    const struct openai_params *params = &prompt->params;
    const uint64_t queue_timeout_ms = prompt->options.config->queue_timeout_ms;
    part->request = (struct generation_request){
        .id = request_id,
        .prompt = part->prompt->tokens,
        .prompt_count = part->prompt->token_count,
        .choice_count = params->choice_count,
        .sampling = params->sampling,
        .stops = params->stops,
        .stop_count = params->stop_count,
        .stops_included = params->stops_included,
        .grammar = prompt->grammar,
        .every_token_wanted = follows_tokens,
        .prompt_scored = echoes_scores(params) || params->prompt_logprobs >= 0,
        .queue_timeout_ns = queue_timeout_ms * 1000000,
    };
    if (!params->seed_given) {
        randombytes_buf(&part->request.sampling.seed, sizeof(part->request.sampling.seed));
    }
}

static bool prepare_scores(struct openai_part *part)
{
    const struct openai_params *params = &part->job->prompt.params;
    const int32_t wanted = params->sampling.logprobs_wanted;
    part->scores = (struct prompt_scores){
        .tokenizer = part->job->prompt.options.tokenizer,
        .tokens = part->prompt->tokens,
        .token_count = part->prompt->token_count,
        .top_max = wanted > 0 ? (uint32_t)wanted : 0,
        .shown_max = params->logprobs > 0 ? (uint32_t)params->logprobs : 0,
        .shown_as_ids = params->tokens_as_ids,
    };
    return prompt_scores_init(&part->scores, arena_of(part->job));
}

static bool prepare_part(struct openai_job *job, uint32_t index, uint64_t request_id)
{
    const struct openai_params *params = &job->prompt.params;
    const enum reasoning_start start =
        openai_params_answer_start(params, job->prompt.options.model->chat_template);
    const bool follows_tokens =
        params->logprobs >= 0 || params->token_ids || start == REASONING_START_OPEN;
    struct openai_part *part = &job->parts[index];
    part->job = job;
    part->prompt = &job->prompt.prompts[index];
    part->first_index = index * params->choice_count;
    part->answers = &job->answers[part->first_index];
    fill_request(part, request_id, follows_tokens);
    if (part->request.prompt_scored && !prepare_scores(part)) {
        return false;
    }
    for (uint32_t choice = 0; choice < params->choice_count; choice++) {
        struct openai_answer *answer = &part->answers[choice];
        openai_answer_init(answer, start, openai_params_call_start(params), follows_tokens);
        answer->characters = params->echo ? part->scores.characters : 0;
        if (params->echo && !params->stream &&
            !reply_buffer_append(&answer->text, part->prompt->text, arena_of(job))) {
            return false;
        }
    }
    return true;
}

/* NULL: the API has no named events. */
static const struct typed_shape *typed_shape_of(enum openai_endpoint endpoint)
{
    if (endpoint == OPENAI_RESPONSES) {
        return &responses_reply_shape;
    }
    return endpoint == OPENAI_MESSAGES ? &messages_reply_shape : NULL;
}

static bool init_reply(struct openai_job *job)
{
    const struct openai_params *params = &job->prompt.params;
    const struct typed_shape *shape = typed_shape_of(job->prompt.endpoint);
    if (shape != NULL) {
        job->typed = typed_reply_create(job, shape);
        return job->typed != NULL;
    }
    char id[REPLY_ID_BYTES];
    make_reply_id(is_chat(job) ? "chatcmpl-" : "cmpl-", id);
    const struct openai_reply_options options = {
        .chat = is_chat(job),
        .stream = params->stream,
        .usage_in_stream = params->stream && params->usage_in_stream,
        .logprobs = params->logprobs >= 0,
        .token_ids = params->token_ids,
        .id = id,
        .created = clock_wall_seconds(),
        .model = job->prompt.options.model->id,
    };
    return openai_reply_init(&job->reply, &options, arena_of(job));
}

bool openai_job_prepare(struct openai_job *job, uint64_t first_id)
{
    const size_t n = job->prompt.params.choice_count;
    job->part_count = job->prompt.prompt_count;
    job->parts = arena_alloc(arena_of(job), job->part_count * sizeof(*job->parts));
    job->answers = arena_alloc(arena_of(job), job->part_count * n * sizeof(*job->answers));
    if (job->parts == NULL || job->answers == NULL || !init_reply(job)) {
        return false;
    }
    for (uint32_t index = 0; index < job->part_count; index++) {
        if (!prepare_part(job, index, first_id + index)) {
            return false;
        }
        job->prompt.exchange->prompt_tokens += job->parts[index].request.prompt_count;
    }
    return true;
}
