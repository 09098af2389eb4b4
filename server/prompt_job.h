/* SPDX-License-Identifier: Apache-2.0
 *
 * server/prompt_job.h - from a request's body to tokens: parse, render, tokenize, compile.
 *
 * A small body is done at once on the loop; a larger one would hold up the streams of others and
 * goes to libuv's pool, while the exchange is suspended and its arena is lent. So does every
 * request whose answers a grammar binds, once it is parsed; what takes long is compiled in the
 * background (prompt_grammar.h).
 * Thread: loop; the work itself: loop, pool or background. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "server/background.h"
#include "server/http_exchange.h"
#include "server/openai_error.h"
#include "server/openai_params.h"

struct prompt_job;

/* One prompt as the engine takes it. */
struct prompt_tokens {
    const int32_t *tokens; /* [token_count] For generations at least one: an empty prompt is the
                              token 0. */
    uint32_t token_count;
    struct text text; /* With echo: its bytes, which may be no UTF-8. */
};

typedef void prompt_job_callback(struct prompt_job *job);

/* Lives in the exchange's arena. The caller fills the first part. */
struct prompt_job {
    struct http_exchange *exchange;
    enum openai_endpoint endpoint;
    prompt_job_callback *on_prepared; /* More work of the same kind after success, on the same
                                         thread: may use only job and arena. May be NULL. */
    prompt_job_callback *on_done;     /* On the loop, also when the client is gone meanwhile. It may
                                         hold the exchange; else a missing reply is its fault. */

    struct server_options options;
    struct openai_params params;
    struct prompt_tokens *prompts; /* [prompt_count], at least one. */
    uint32_t prompt_count;
    struct grammar *grammar;  /* Of a generation: compiled, the caller's to release; NULL: none. */
    atomic_bool is_abandoned; /* The caller says that nobody waits any more. */
    bool failed; /* .error is the answer; nothing else but .grammar is valid. */
    struct openai_error error;
    bool is_parsed; /* .params or .failed says what came of it. */
    bool compiles_long; /* .background has to make .grammar before the rest is done. */
    struct background_task background; /* prompt_grammar.c's, as the next. */
    prompt_job_callback *on_compiled;
    uv_work_t work;
};

/* Starts the job: on_done runs before the return (small body, no grammar) or later (the exchange is
 * held with HTTP_HOLDER_JOB until it has run). */
void prompt_job_start(struct prompt_job *job);

/* Ends the job as failed: for on_prepared. */
void prompt_job_fail(struct prompt_job *job, enum error_code code, const char *param,
                     const char *message);
