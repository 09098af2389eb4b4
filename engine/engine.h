/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine.h - public boundary of the engine: requests in, events out, one thread in between.
 *
 * The engine thread owns backend, slots, scheduler and text streams. It talks to its caller through
 * two bounded mailboxes and never waits for a client. No sockets, no JSON, no device names here.
 * Thread: every function is called by one thread, the loop, except where it says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/generation.h"

struct backend;
struct tokenizer;
struct engine_stats;
struct engine;

/* Called on the engine thread when events wait after there were none. */
typedef void engine_wake(void *context);

struct engine_options {
    uint32_t queue_max;       /* Requests that may wait for a slot; >= 1. */
    uint64_t target_itl_ns;   /* Prefill may stretch a step that decodes others up to this. */
    struct clock clock;       /* Zeroed: the system's. */
    engine_wake *wake;        /* May be NULL when the caller polls. */
    void *wake_context;
    const void *initial_state; /* [backend->state_bytes] what new sequences begin with; borrowed
                                  until engine_close; NULL: zeros. */
};

/* Allocates everything the engine will ever need. Borrows backend and tokenizer until
 * engine_close; starts no thread. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code engine_open(const struct engine_options *options,
                                        struct backend *backend,
                                        const struct tokenizer *tokenizer,
                                        struct engine **engine_out, struct error *error);

/* Starts the engine thread. IO: no thread could be made. */
WARN_UNUSED enum error_code engine_start(struct engine *engine, struct error *error);

/* Ends every open generation with SHUTTING_DOWN, joins the thread, frees everything. Events not
 * taken are lost: drain first. Accepts NULL. */
void engine_close(struct engine *engine);

/* Lends the request (see generation.h). OVERLOADED: the command mailbox is full. Whether the queue
 * is full shows in an ENDED event with ERROR_OVERLOADED. */
WARN_UNUSED enum error_code engine_submit(struct engine *engine,
                                          const struct generation_request *request,
                                          struct error *error);

/* Ends all choices of a request between two steps; its ENDED events still come, unless it had
 * already ended. Never fails: a full mailbox is retried by the engine's own command list. */
void engine_cancel(struct engine *engine, uint64_t request_id);

/* Stops and resumes the advance of a request whose client reads slowly; it keeps its slots. */
void engine_pause(struct engine *engine, uint64_t request_id);
void engine_resume(struct engine *engine, uint64_t request_id);

/* Copies the oldest event into buffer (GENERATION_EVENT_BYTES_MAX, aligned to 8) and returns it;
 * NULL when there is none. */
const struct generation_event *engine_take_event(struct engine *engine, void *buffer);

/* Counters and gauges, readable from any thread at any time. */
const struct engine_stats *engine_stats(const struct engine *engine);

/* One turn of the engine thread's loop, for callers without that thread: takes all commands,
 * advances at most one step. False when there was nothing to do. Never after engine_start. */
bool engine_turn(struct engine *engine);
