/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_job.h - one generation: from the engine's events to a reply or a stream.
 *
 * Which jobs there are, and when they start, is openai_jobs.c's. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/openai_reply.h"
#include "server/prompt_job.h"

enum { OPENAI_CHUNK_BYTES = 256 * 1024 }; /* 21 tokens of LIMIT_TOKEN_BYTES, text and bytes. */

/* One of the n answers. */
struct openai_choice {
    bool has_text; /* Text has come: a leading space is no longer the first. */
    bool role_sent;
    uint32_t characters; /* Of the tokens so far: the next one's text_offset. */
    const char *finish;
    struct reply_buffer text;        /* Not streamed: the whole answer. */
    struct openai_logprobs logprobs; /* Not streamed. */
};

/* Lives in the exchange's arena until the engine has ended every choice. Invariants: from
 * is_submitted on, exactly choices_open ENDED events are to come; once is_answered, nothing more is
 * sent and events are only counted. */
struct openai_job {
    struct prompt_job prompt; /* First: its callbacks get the job by it. */
    struct openai_jobs *jobs;
    struct openai_job *next; /* In its bucket of the table. */
    struct engine *engine;
    char *chunk;                       /* [OPENAI_CHUNK_BYTES] Scratch, shared by all jobs. */
    struct generation_request request; /* Lent to the engine. */
    struct openai_reply reply;
    struct openai_choice *choices; /* [request.choice_count] */
    uint32_t choices_open;
    uint64_t submitted_ns;
    bool is_submitted;
    bool has_event;   /* The engine has shown a sign of life. */
    bool is_answered; /* The reply is complete, or an error, or of no use. */
};

/* Fills request and reply from the prompt job; draws a seed and an id for the client. False: the
 * arena is full. */
WARN_UNUSED bool openai_job_prepare(struct openai_job *job, uint64_t request_id);

/* Takes one event; returns true when it was the last: the reply has been sent. */
bool openai_job_take_event(struct openai_job *job, const struct generation_event *event);

/* Commits the stream's status before there is anything to send. */
void openai_job_begin_stream(struct openai_job *job);

/* Answers with the error, if there is no answer yet, and cancels what runs. */
void openai_job_fail(struct openai_job *job, const struct openai_error *error);

/* Nobody waits for the answer any more. */
void openai_job_abandon(struct openai_job *job);
