/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_connections.h - one record per open connection: what it is doing, and since when.
 *
 * libmicrohttpd's own timeout restarts with every byte, so a client that drips would stay for ever.
 * The deadlines here count from the start of a state. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct MHD_Connection;
struct http_exchange_record;

enum http_connection_state {
    HTTP_CONNECTION_HEADER, /* From accept, or from the request line of a later request. */
    HTTP_CONNECTION_BODY,   /* The head is complete, the body comes. */
    HTTP_CONNECTION_BUSY,   /* The request is complete, the reply is not. */
    HTTP_CONNECTION_IDLE,   /* Kept alive between requests. */
};

struct http_connection {
    struct http_connection *next, *previous; /* In the list of open, or (next) of free records. */
    struct MHD_Connection *mhd;
    struct http_exchange_record *exchange; /* The request being served, or NULL. */
    int fd;                                /* libmicrohttpd's. */
    enum http_connection_state state;
    uint64_t since_ms;   /* When the state began. */
    bool has_left;       /* The client sends nothing more. */
    uint64_t left_ms;    /* When that was noticed. */
    size_t target_bytes; /* Of the request line's target, with its query. */
    bool is_cut;         /* Shut down by us; the record ends soon. */
};

struct http_connections {
    struct http_connection *records; /* [count_max] */
    struct http_connection *open, *free;
    uint32_t count_max, open_count;
};

/* OUT_OF_MEMORY. */
WARN_UNUSED enum error_code http_connections_init(struct http_connections *connections,
                                                  uint32_t count_max, struct error *error);
void http_connections_deinit(struct http_connections *connections);

/* A new record in state HEADER; NULL when all are in use. */
struct http_connection *http_connections_acquire(struct http_connections *connections,
                                                 struct MHD_Connection *mhd, int fd,
                                                 uint64_t now_ms);
void http_connections_release(struct http_connections *connections,
                              struct http_connection *connection);

void http_connection_enter(struct http_connection *connection, enum http_connection_state state,
                           uint64_t now_ms);

/* Tells whether the state has lasted longer than its limit, which is short for a client that has
 * left. BUSY has none: streams are watched by sse_stream.c, other replies by libmicrohttpd. */
bool http_connection_is_late(const struct http_connection *connection, uint64_t now_ms);

/* Open connections with a request under way. */
uint32_t http_connections_busy_count(const struct http_connections *connections);
