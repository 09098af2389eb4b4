/* SPDX-License-Identifier: Apache-2.0
 *
 * server/typed_reply.h - replies that are one answer in blocks, streamed as named events.
 *
 * What /v1/responses and /v1/messages have in common: a stream opens, blocks of thought, text and
 * calls begin, grow and end one after the other, the stream closes. Their JSON is in
 * responses_reply.c and messages_reply.c. Last events that repeat the answer wait for a slow
 * client, one by one.
 * Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json_writer.h"
#include "server/openai_error.h"
#include "server/openai_params.h"
#include "server/openai_reply.h"

struct openai_job;
struct typed_reply;

/* Writes what an event, or the whole reply, says: the inside of an object. */
typedef void typed_writer(const struct typed_reply *reply, struct json_writer *writer);

enum typed_block { TYPED_BLOCK_NONE, TYPED_BLOCK_THOUGHT, TYPED_BLOCK_TEXT, TYPED_BLOCK_CALL };

/* An event that may be sent in a place: for each kind of block it has another name. */
struct typed_event {
    const char *thought_name, *text_name, *call_name; /* NULL: no such event. */
    typed_writer *write;                  /* NULL: it says nothing but its name. */
    const char *cut_name;                 /* After an answer cut by max_tokens; NULL: as ever. */
};

enum { TYPED_EVENTS_MAX = 3 };

/* What one API sends, in order. A zeroed event is none. */
struct typed_shape {
    const char *id_prefix;
    bool numbers_events; /* Each has a sequence_number. */
    struct text ping;    /* In silence; empty: a comment. */
    struct typed_event begin[TYPED_EVENTS_MAX];
    struct typed_event open[TYPED_EVENTS_MAX]; /* A block begins. */
    struct typed_event delta;
    struct typed_event close[TYPED_EVENTS_MAX]; /* A block ends. */
    struct typed_event end[TYPED_EVENTS_MAX];
    struct typed_event fail; /* In the stream; none: openai_error_reply says it. */
    typed_writer *write_whole;
};

extern const struct typed_shape responses_reply_shape;
extern const struct typed_shape messages_reply_shape;

enum { TYPED_ID_BYTES = 32 };

/* Lives in the exchange's arena. */
struct typed_reply {
    const struct typed_shape *shape;
    struct openai_job *job;
    char id[TYPED_ID_BYTES]; /* Random, for the prefixes of all parts. */
    int64_t created;         /* Seconds since 1970. */
    bool has_begun;
    bool is_ending;
    uint32_t ending_step;
    enum typed_block block; /* That is open; NONE: none yet. */
    bool has_thought;       /* A block of thought has been opened. */
    const struct openai_call *call; /* Of the block that is open, when it is a call. */
    uint32_t block_index;
    uint64_t sequence_number;
    struct text delta;                /* While one is written. */
    const struct openai_error *error; /* While a failure is written. */
};

/* A reply of the job; NULL: the arena is full. */
struct typed_reply *typed_reply_create(struct openai_job *job, const struct typed_shape *shape);

/* The events that open the stream, once. */
void typed_reply_begin(struct typed_reply *reply);

/* Sends a piece of the answer, which the job has kept. */
void typed_reply_piece(struct typed_reply *reply, const struct openai_piece *piece);

/* The answer is complete: sends the last events, as far as the client takes them. */
void typed_reply_end(struct typed_reply *reply);

/* The client has taken what was sent: goes on with the last events. */
void typed_reply_go_on(struct typed_reply *reply);

/* Ends a begun stream by the error. */
void typed_reply_fail(struct typed_reply *reply, const struct openai_error *error);

/* Writes the reply that is not streamed. */
void typed_reply_whole(const struct typed_reply *reply, struct json_writer *writer);

/* For the shapes: the parts of the answer, and why it ended. */
struct text typed_reply_text(const struct typed_reply *reply);
struct text typed_reply_thought(const struct typed_reply *reply);
const struct openai_call *typed_reply_calls(const struct typed_reply *reply); /* Linked. */
/* Whether the call's arguments have come to their end. */
bool typed_reply_is_whole(const struct typed_reply *reply, const struct openai_call *call);
/* Whether there are calls, and the answer was not cut in one. */
bool typed_reply_is_calls(const struct typed_reply *reply);
/* Whether there is a block of text: one without text, if there is no other. */
bool typed_reply_has_text(const struct typed_reply *reply);
const struct openai_params *typed_reply_params(const struct typed_reply *reply);
struct openai_usage typed_reply_usage(const struct typed_reply *reply);
bool typed_reply_is_cut(const struct typed_reply *reply); /* By max_tokens. */
/* The stop string of the request that ended it; .bytes is NULL when none did. */
struct text typed_reply_stop(const struct typed_reply *reply);
struct text typed_reply_model(const struct typed_reply *reply);
