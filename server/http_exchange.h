/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_exchange.h - one request and its reply, whatever the protocol below.
 *
 * A handler gets an exchange whose body is complete and within the limit. It answers at once, or
 * suspends the exchange and answers later; a stream (server/sse_stream.h) is one way to answer.
 * Up to three parties hold an exchange: the connection, the prompt job, the engine. When the last
 * lets go, the arena is reset and the exchange is free. libmicrohttpd stays in http_*.c.
 * Thread: loop, except the arena and body while the prompt job holds them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"

struct server;
struct http_exchange;

enum http_holder {
    HTTP_HOLDER_CONNECTION = 1, /* libmicrohttpd: from the first header to the reply's end. */
    HTTP_HOLDER_JOB = 2,        /* The pool parses and tokenizes. */
    HTTP_HOLDER_ENGINE = 4,     /* The engine borrows the request's memory. */
};

/* Whose clients ask: the shape of errors. */
enum http_dialect {
    HTTP_DIALECT_OPENAI,
    HTTP_DIALECT_ANTHROPIC,
};

/* The part that handlers see; http_exchange.c embeds it first in its own struct. */
struct http_exchange {
    struct server *server;
    struct arena arena;          /* Everything of this request lives here. */
    const char *method;          /* "GET", "POST", .. */
    const char *path;            /* Without query, slashes collapsed, not decoded. */
    const char *path_tail;       /* What {id} of the route matched, not decoded; else "". */
    enum http_dialect dialect; /* Of the route. */
    struct text body;            /* Complete; NUL follows the last byte. */
    char request_id[68];         /* The client's X-Request-Id when it is sane, else ours. */
    uint64_t started_ns;
    bool client_gone;            /* The connection ended before the reply did. */

    /* Set by a handler that suspends. */
    void *context; /* The handler's own record (in the arena). */
    /* Cancels what runs for it. Called once, only while the job or the engine holds. */
    void (*on_client_gone)(struct http_exchange *);

    /* For the access log; set by handlers. */
    uint32_t prompt_tokens, completion_tokens;
    const char *finish;          /* "stop", "length", "cancelled", ..; constant text or NULL. */
};

typedef void http_handler(struct http_exchange *exchange);

/* Request header by name, case ignored; NULL when absent. */
const char *http_exchange_header(const struct http_exchange *exchange, const char *name);

/* Adds a header to the reply to come; both strings are copied. */
void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value);

/* Sends the whole reply; the body is copied. At most once, and not after sse_stream_begin. Works
 * inside the handler and later; does nothing when the client is gone. */
void http_exchange_reply(struct http_exchange *exchange, unsigned status,
                         const char *content_type, struct text body);

/* Adds and removes a holder (never CONNECTION, which is http_exchange.c's). A handler that has
 * not replied when it returns must have added one: the exchange is then suspended. */
void http_exchange_hold(struct http_exchange *exchange, enum http_holder holder);
void http_exchange_release(struct http_exchange *exchange, enum http_holder holder);
