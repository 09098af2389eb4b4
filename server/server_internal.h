/* SPDX-License-Identifier: Apache-2.0
 *
 * server/server_internal.h - what the files of server/ share: the daemon's one record.
 *
 * Not for other folders. Thread: loop. */
#pragma once

#include <uv.h>

#include "base/clock.h"
#include "server/server.h"

struct api_keys;
struct background;
struct grammar_cache;
struct http_loop;
struct openai_jobs;

struct server {
    const struct config *config;
    const struct server_model *model;
    const struct tokenizer *tokenizer;
    struct engine *engine;       /* Set by server_run. */
    struct clock clock;
    uv_loop_t loop;
    struct http_loop *http;      /* libmicrohttpd on the loop, connections, deadlines. */
    struct openai_jobs *jobs;    /* Open generations by id: where events go (openai_jobs.h). */
    struct grammar_cache *grammars; /* Compiled ones, shared by all requests. */
    struct background *background; /* Where forms are compiled that take long. */
    struct api_keys *keys;       /* Empty: every client may ask. */
    bool ready;                  /* server_run has begun. */
    bool leaving;                /* A signal came or the device failed: /readyz says 404. */
    bool draining;               /* The listener is closed and new work is refused with 503. */
};
