/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_exchange_internal.h - the side of an exchange that handlers do not see.
 *
 * For http_*.c and sse_stream.c only. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "server/http_exchange.h"
#include "server/http_guard.h"
#include "server/sse_ring.h"
#include "server/sse_stream.h"

struct MHD_Response;
struct http_connection;
struct http_loop;

enum { HTTP_REPLY_HEADERS_MAX = 6 };

struct http_reply_header {
    char name[32];
    char value[128];
};

enum http_phase {
    HTTP_PHASE_RECEIVING, /* The head is judged, the body comes. */
    HTTP_PHASE_HANDLING,  /* The handler runs. */
    HTTP_PHASE_WAITING,   /* The handler has returned without a reply: it comes later. */
    HTTP_PHASE_REPLYING,  /* libmicrohttpd has the response. */
};

/* The state of a stream; its functions are in sse_stream.c. */
struct sse_stream {
    struct sse_ring ring;
    bool has_begun, has_ended;
    bool is_paused;    /* The owner was asked to pause. */
    uint64_t put_ms;   /* Last event or comment. */
    uint64_t taken_ms; /* The connection last asked for bytes. */
    sse_on_pressure *on_pressure;
    struct text ping; /* Empty: a comment. */
};

/* Invariants: the connection is suspended exactly while is_suspended; client_gone never goes back
 * to false; the record is free when no holder is left. */
struct http_exchange_record {
    struct http_exchange shared; /* First: handlers hold a pointer to it. */
    struct http_exchange_record *next_free;
    struct http_loop *http;
    struct http_connection *connection; /* NULL once the connection has let go. */
    struct http_verdict verdict;
    enum http_phase phase;
    unsigned holders; /* Bits of enum http_holder. */
    bool is_suspended;
    bool needs_client; /* Ends when the client leaves: it has waited once. A
                          reply that is ready at once is sent regardless. */
    size_t body_capacity;
    bool body_failed; /* No memory for it: answered 503. */
    unsigned status;  /* Of the reply; 0: none yet. */
    uint64_t reply_bytes;
    uint64_t ended_ns;        /* When the connection let go. */
    struct arena reply_arena; /* As .arena, but never lent: rings live here. */
    struct http_reply_header headers[HTTP_REPLY_HEADERS_MAX];
    uint32_t header_count;
    struct sse_stream stream;
};

/* A fixed pool of records. */
struct http_exchanges {
    struct http_exchange_record *records; /* [count_max] */
    struct http_exchange_record *free;
    uint32_t count_max, open_count;
};

/* OUT_OF_MEMORY. */
WARN_UNUSED enum error_code http_exchanges_init(struct http_exchanges *exchanges,
                                                uint32_t count_max, struct error *error);
void http_exchanges_deinit(struct http_exchanges *exchanges);

/* A record held by the connection; NULL when all are in use. */
struct http_exchange_record *http_exchange_acquire(struct http_loop *http,
                                                   struct http_connection *connection);

/* The connection lets go: the whole reply was sent, or never will be. */
void http_exchange_complete(struct http_exchange_record *record, bool reply_sent);

struct http_exchange_record *http_exchange_record(const struct http_exchange *exchange);

/* Gives libmicrohttpd the response (taken; NULL: there was no memory) and goes on. */
void http_exchange_queue(struct http_exchange_record *record, unsigned status,
                         struct MHD_Response *response);

/* Puts the connection to sleep; only inside one of its own libmicrohttpd callbacks. */
void http_exchange_suspend(struct http_exchange_record *record);

/* Wakes it, if it sleeps; it goes on at the daemon's next run. */
void http_exchange_wake(struct http_exchange_record *record);

/* The client is gone or is being cut: tells the owner and ends the connection. Once. */
void http_exchange_lose(struct http_exchange_record *record);

/* Every 100 ms for a begun stream: comment line when silent, cut when the client stalls. */
void sse_stream_tick(struct http_exchange_record *record, uint64_t now_ms);
