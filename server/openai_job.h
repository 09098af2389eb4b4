/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_job.h - one request for completions: from the engine's events to a reply or stream.
 *
 * Which jobs there are, and when their prompts start, is openai_jobs.c's. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/openai_answer.h"
#include "server/openai_reply.h"
#include "server/prompt_job.h"
#include "server/typed_reply.h"

enum { OPENAI_CHUNK_BYTES = 256 * 1024 }; /* 21 tokens of LIMIT_TOKEN_BYTES, text and bytes. */

/* One of the prompts, and what the engine does with it. */
struct openai_part {
    struct openai_job *job;
    struct openai_part *next;          /* In its bucket of the table. */
    struct generation_request request; /* Lent to the engine. */
    const struct prompt_tokens *prompt;
    struct openai_answer *answers; /* [request.choice_count] */
    uint32_t first_index;          /* Of the first answer among all. */
    uint32_t choices_open;         /* ENDED events to come; 0 before it is submitted. */
    struct prompt_scores scores;   /* Unless request.prompt_scored, empty. */
};

/* Lives in the exchange's arena until the engine has ended every part. Invariants: from its
 * submission on, a part has exactly choices_open ENDED events to come; once is_answered, nothing
 * more is sent or submitted and events are only counted. */
struct openai_job {
    struct prompt_job prompt; /* First: its callbacks get the job by it. */
    struct openai_jobs *jobs;
    struct engine *engine;
    char *chunk; /* [OPENAI_CHUNK_BYTES] Scratch, shared by all jobs. */
    struct openai_reply reply;
    struct typed_reply *typed;     /* Instead of .reply, for APIs of named events; else NULL. */
    struct openai_part *parts;     /* [part_count] */
    struct openai_answer *answers; /* [part_count * n] */
    uint32_t part_count;
    uint32_t parts_submitted; /* The first so many. */
    uint32_t parts_open;      /* Submitted and not ended. */
    uint64_t submitted_ns;
    bool is_paused;
    bool has_event;   /* The engine has shown a sign of life. */
    bool is_answered; /* The reply is complete, or an error, or of no use. */
};

/* Fills parts and reply from the prompt job; draws seeds and an id for the client. The parts get
 * the ids from first_id on. False: the arena is full. openai_prepare.c. */
WARN_UNUSED bool openai_job_prepare(struct openai_job *job, uint64_t first_id);

/* Takes one event; returns true when it was the part's last. */
bool openai_job_take_event(struct openai_part *part, const struct generation_event *event);

/* All parts have ended: completes the reply, if there is none yet. */
void openai_job_complete(struct openai_job *job);

/* Commits the stream's status before there is anything to send. */
void openai_job_begin_stream(struct openai_job *job);

/* Sends an event of a stream under that name; begins the stream. */
void openai_job_send_named(struct openai_job *job, struct text name,
                           const struct json_writer *writer);

/* Tokens so far. */
struct openai_usage openai_job_usage(const struct openai_job *job);

/* Answers with the error, if there is no answer yet, and cancels what runs. */
void openai_job_fail(struct openai_job *job, const struct openai_error *error);

/* Nobody waits for the answer any more. */
void openai_job_abandon(struct openai_job *job);
