/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_internal.h - the engine's one record, shared by its four files.
 *
 * engine.c: boundary, thread, commands. engine_admission.c: the queue and the slots.
 * engine_step.c: plan, submit, collect, events. engine_grammar.c: masks.
 * Internal to engine/. Thread: engine. */
#pragma once

#include <pthread.h>

#include "base/mailbox.h"
#include "engine/backend.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/state_slots.h"
#include "grammar/grammar_mask.h"

enum { ENGINE_STEPS_IN_FLIGHT_MAX = 2 };

/* Where a result of a submitted step belongs. */
struct engine_row {
    uint32_t slot;
    uint32_t epoch;       /* The sequence's at submission. */
    uint32_t position;    /* In the prompt, of the first token scored. */
    bool reads_to_end;    /* The last row of a request that draws no token. */
};

/* A step between submit and collect. */
struct engine_step {
    uint32_t row_count; /* Items. */
    uint32_t decode_rows, prefill_rows;
    uint64_t submitted_ns;
    struct engine_row *rows; /* [slot_count] */
};

/* A request in the queue. */
struct engine_waiting {
    const struct generation_request *request;
    uint64_t submitted_ns;
    bool paused;
};

struct engine {
    struct backend *backend;
    const struct tokenizer *tokenizer;
    struct engine_options options;
    struct mailbox *commands; /* Loop to engine. */
    struct mailbox *events;   /* Engine to loop. */
    pthread_t thread;
    bool thread_started;
    bool stopping;            /* The shutdown command was taken. */
    enum error_code failure;  /* ERROR_DEVICE once the device failed: final. */
    size_t turn_event_bytes;  /* The most that one turn can post. */

    struct state_slots *slots;
    struct sequence *sequences;  /* [slot_count], index = slot. */
    struct open_request *open;   /* [slot_count]; a record is free when its request is NULL. */
    uint32_t *acquired;          /* [slot_count] scratch of an admission. */
    uint32_t *ordered;           /* [ordered_count] slots in use, oldest admission first. */
    uint32_t ordered_count;
    uint64_t admission_count;

    struct grammar_vocabulary *vocabulary;
    struct grammar_masks *masks;
    uint32_t mask_first; /* Index in `ordered` of the row whose mask comes first. */
    struct sequence *mask_in_work; /* Whose mask takes several turns: one at a time, or the parts of
                                      many would drive each other out of the cache. */

    struct engine_waiting *waiting; /* [queue_max], oldest first. */
    uint32_t waiting_count;

    struct scheduler_candidate *candidates; /* [slot_count] */
    struct scheduler_share *shares;         /* [slot_count] */
    struct scheduler_pace pace;
    struct backend_item *items;             /* [slot_count] */
    struct backend_result *results;         /* [slot_count] */
    struct engine_step steps[ENGINE_STEPS_IN_FLIGHT_MAX]; /* Oldest first. */
    uint32_t step_count;                    /* In flight. */
    uint32_t turn;
    uint64_t collected_ns;

    struct engine_stats stats;
};

/* engine_admission.c */

/* Queues a request, or ends it at once with the error that it meets. */
void engine_admission_add(struct engine *engine, const struct generation_request *request);

/* Moves requests from the queue to slots, strictly in order, as long as the oldest fits. */
void engine_admission_run(struct engine *engine);

/* Ends the requests that waited longer than they may. */
void engine_admission_expire(struct engine *engine);

/* Time until the next request in the queue expires; UINT64_MAX when none can. */
uint64_t engine_admission_next_expiry_ns(const struct engine *engine);

/* Ends the sequence in a slot: ENDED event, slot back, counters. */
void engine_end_sequence(struct engine *engine, uint32_t slot, enum generation_end end,
                         enum error_code error);

/* Ends all choices of one request, or of all requests, wherever they are. */
void engine_end_request(struct engine *engine, uint64_t request_id, enum generation_end end,
                        enum error_code error);
void engine_end_all(struct engine *engine, enum error_code error);

void engine_set_paused(struct engine *engine, uint64_t request_id, bool paused);

/* engine_grammar.c */

/* Prepares the vocabulary and the cache of masks. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code engine_grammar_open(struct engine *engine, struct error *error);
void engine_grammar_close(struct engine *engine);

/* Gives a state to each of the acquired slots, if the request has a grammar. False: no memory, and
 * none has one. The only memory that a request takes of the engine; sequence_end gives it back. */
WARN_UNUSED bool engine_grammar_admit(struct engine *engine,
                                      const struct generation_request *request);

/* Hands the device the masks of rows that will draw, at least a part of one, within a share of a
 * step. True: others still wait for theirs. */
bool engine_grammar_prepare(struct engine *engine);

/* Takes a drawn token into the text of its sequence. False: it does not fit there, the sequence
 * must end. */
WARN_UNUSED bool engine_grammar_follow(const struct engine *engine, struct sequence *sequence,
                                       const struct sampled *sampled);

/* engine_step.c */

/* Plans and submits a step when there is one, collects one when there must be; true when either
 * happened. */
bool engine_step_run(struct engine *engine);

/* Posts an event with its alternatives and text; there is room (turn_event_bytes was checked).
 * `text` may be NULL when the event has none. */
void engine_post_event(struct engine *engine, const struct generation_event *event,
                       const struct sampled_alternative *top, const char *text);
