/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/fake_engine.c - an engine that does what the test says.
 *
 * Thread: main. */
#include "fake_engine.h"

#include <check.h>
#include <stdalign.h>
#include <string.h>

enum { EVENTS_MAX = 32 };

struct fake_engine fake_engine;

static struct queue {
    alignas(8) unsigned char bytes[EVENTS_MAX][GENERATION_EVENT_BYTES_MAX];
    uint32_t put, taken;
} queue;

static struct {
    int32_t tokens[LIMIT_TOP_LOGPROBS];
    uint32_t count;
} top;

void fake_engine_reset(void)
{
    memset(&fake_engine, 0, sizeof(fake_engine));
    queue.put = 0;
    queue.taken = 0;
    top.count = 0;
}

void fake_engine_set_top(const int32_t *tokens, uint32_t count)
{
    memcpy(top.tokens, tokens, count * sizeof(*tokens));
    top.count = count;
}

static void put(const struct generation_event *head, struct text text)
{
    ck_assert_uint_lt(queue.put, EVENTS_MAX);
    struct generation_event *event = (void *)queue.bytes[queue.put++];
    *event = *head;
    event->text_len = (uint32_t)text.len;
    struct sampled_alternative *alternatives = (struct sampled_alternative *)(event + 1);
    for (uint32_t index = 0; index < event->top_count; index++) {
        alternatives[index].token = top.tokens[index];
        alternatives[index].logprob = -0.5f - (float)index;
    }
    memcpy(alternatives + event->top_count, text.bytes, text.len);
}

void fake_engine_text(uint64_t id, uint32_t choice, int32_t token, const char *text)
{
    put(&(struct generation_event){.request_id = id,
                                   .choice = choice,
                                   .type = GENERATION_TEXT,
                                   .token_valid = true,
                                   .token = token,
                                   .logprob = -0.5f,
                                   .top_count = top.count},
        text_from(text));
}

void fake_engine_held_text(uint64_t id, uint32_t choice, const char *text)
{
    put(&(struct generation_event){.request_id = id, .choice = choice, .type = GENERATION_TEXT},
        text_from(text));
}

void fake_engine_score(uint64_t id, uint32_t position, int32_t token)
{
    put(&(struct generation_event){.request_id = id,
                                   .type = GENERATION_PROMPT,
                                   .position = position,
                                   .token = token,
                                   .token_valid = true,
                                   .logprob = -0.25f * (float)position,
                                   .top_count = top.count},
        TEXT(""));
}

void fake_engine_end(uint64_t id, uint32_t choice, enum generation_end end, enum error_code code,
                     uint32_t completion_tokens)
{
    put(&(struct generation_event){.request_id = id,
                                   .choice = choice,
                                   .type = GENERATION_ENDED,
                                   .end = end,
                                   .error = code,
                                   .completion_tokens = completion_tokens},
        TEXT(""));
}

void fake_engine_end_by_string(uint64_t id, uint32_t choice, uint32_t stop_string)
{
    put(&(struct generation_event){.request_id = id,
                                   .choice = choice,
                                   .type = GENERATION_ENDED,
                                   .end = GENERATION_ENDED_BY_STOP,
                                   .stop_string = stop_string},
        TEXT(""));
}

enum error_code engine_submit(struct engine *engine, const struct generation_request *request,
                              struct error *error)
{
    (void)engine;
    if (fake_engine.submit_code != ERROR_NONE &&
        fake_engine.submits >= fake_engine.submits_refused_at) {
        return error_set(error, fake_engine.submit_code, "the mailbox is full");
    }
    ck_assert_uint_lt(fake_engine.submits, FAKE_ENGINE_REQUESTS);
    fake_engine.request = request;
    fake_engine.requests[fake_engine.submits++] = request;
    return ERROR_NONE;
}

void engine_cancel(struct engine *engine, uint64_t request_id)
{
    (void)engine;
    fake_engine.cancels++;
    fake_engine.cancelled_id = request_id;
}

void engine_pause(struct engine *engine, uint64_t request_id)
{
    (void)engine;
    ck_assert_uint_le(request_id, fake_engine.request->id);
    fake_engine.pauses++;
}

void engine_resume(struct engine *engine, uint64_t request_id)
{
    (void)engine;
    ck_assert_uint_le(request_id, fake_engine.request->id);
    fake_engine.resumes++;
}

const struct generation_event *engine_take_event(struct engine *engine, void *buffer)
{
    (void)engine;
    if (queue.taken == queue.put) {
        return NULL;
    }
    memcpy(buffer, queue.bytes[queue.taken++], GENERATION_EVENT_BYTES_MAX);
    return buffer;
}

const struct engine_stats *engine_stats(const struct engine *engine)
{
    (void)engine;
    return &fake_engine.stats;
}
