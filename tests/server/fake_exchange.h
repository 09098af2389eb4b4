/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/fake_exchange.h - exchanges and event streams without a connection.
 *
 * Linked instead of server/http_exchange.c and server/sse_stream.c: records what handlers send.
 * Thread: main. */
#pragma once

#include <stdbool.h>

#include "server/http_exchange.h"
#include "server/sse_stream.h"

enum { FAKE_EXCHANGE_BYTES = 256 * 1024 };

struct fake_exchange {
    struct http_exchange shared;    /* First: handlers hold a pointer to it. */
    char body[FAKE_EXCHANGE_BYTES]; /* What was replied, or all events, a line each; NUL at the
                                       end. */
    size_t body_len;
    char headers[256]; /* "Name: value\n" each. */
    unsigned status;   /* 0: no reply yet. */
    unsigned holders;
    bool stream_begun;
    bool stream_ended;
    bool ring_is_full; /* The next event cuts the stream. */
    sse_on_pressure *on_pressure;
    struct text ping; /* Set by the handler; else empty. */
};

/* An open exchange with that body; its arena is its own. */
void fake_exchange_init(struct fake_exchange *fake, struct server *server, const char *body);
void fake_exchange_deinit(struct fake_exchange *fake);

/* The client closes its connection. */
void fake_exchange_lose_client(struct fake_exchange *fake);
