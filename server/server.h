/* SPDX-License-Identifier: Apache-2.0
 *
 * server/server.h - life of the daemon: start, ready, drain, stop.
 *
 * cli/serve.c builds the engine and hands it over here. Thread: main, which becomes the loop. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "engine/chat_template.h"
#include "engine/engine.h"
#include "engine/tokenizer.h"

/* What the server tells about the model it serves, and its defaults. Borrowed strings. */
struct server_model {
    const char *id;               /* The name in requests and replies. */
    const char *device;           /* "cpu" or "cuda", for /version and metrics. */
    int64_t created;              /* Seconds since 1970; the same in every answer. */
    uint64_t parameter_count;
    uint64_t state_bytes;         /* Of one sequence. */
    uint32_t token_count;         /* Ids below this are legal in a request (the model's rows and the
                                     vocabulary both have them). */
    uint32_t slot_count;
    enum chat_template chat_template;
    double temperature_default;   /* Resolved: the option's, or the model's. */
    double top_p_default;
};

struct server_options {
    const struct config *config;
    const struct server_model *model;
    const struct tokenizer *tokenizer;
};

struct server;

/* Opens the loop, the listening socket and the HTTP daemon. IO: the address is taken or not ours;
 * the message names it and says what to do. INVALID_ARGUMENT: unreadable key file, unknown host, or
 * one that others can reach and no key. */
WARN_UNUSED enum error_code server_open(const struct server_options *options,
                                        struct server **server_out, struct error *error);

/* To be passed to engine_open as wake and wake_context: wakes the loop. Thread: any. */
void server_wake(void *server);

/* The port listened on (--port 0 lets the system choose). */
uint16_t server_port(const struct server *server);

/* Serves until drained (SIGTERM, SIGINT) or the device fails: returns NONE or DEVICE. Borrows the
 * started engine until it returns; every generation has then ended. */
WARN_UNUSED enum error_code server_run(struct server *server, struct engine *engine,
                                       struct error *error);
void server_close(struct server *server);
