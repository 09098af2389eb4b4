/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_loop.h - libmicrohttpd as a guest on the libuv loop, and what belongs to it.
 *
 * server.c calls the functions; the fields are for http_*.c, sse_stream.c and metrics.c.
 * Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "server/http_connections.h"
#include "server/http_exchange_internal.h"
#include "server/http_listener.h"
#include "server/http_stats.h"
#include "server/http_watch.h"

struct MHD_Daemon;
struct server;

struct http_loop {
    struct server *server;
    struct MHD_Daemon *daemon;
    struct http_listener listener; /* fd: -1 once the listener is closed. */
    bool needs_run;                /* The daemon must run before the loop sleeps. */
    bool has_poll;                 /* poll is open. */
    uint64_t callbacks;            /* Calls that the daemon made to us: signs of progress. */
    uint64_t ticks, spins_reported;
    uint32_t log_lines_left; /* Of the daemon's own log, until the next tick. */
    uint32_t connections_max;
    uint64_t bodies_bytes; /* Memory of the bodies of open requests. */
    uv_poll_t poll;        /* On the daemon's epoll descriptor. */
    uv_timer_t timer;      /* When the daemon asked to be run again. */
    uv_idle_t idle;        /* Active: the daemon has work, the loop must not sleep. */
    uv_prepare_t prepare;
    uv_check_t check;
    struct http_watch watch;
    struct http_connections connections;
    struct http_exchanges exchanges;
    struct http_stats stats;
};

/* Opens listener and daemon. Errors as http_listener_open, IO and OUT_OF_MEMORY. After an error,
 * too, the caller goes on with stop, a run of the loop, and destroy. */
WARN_UNUSED enum error_code http_loop_create(struct server *server, struct http_loop **http_out,
                                             struct error *error);

/* Lets the daemon run once before the loop sleeps, however often it is called: wake-ups of many
 * streams cost one pass. */
void http_loop_request_run(struct http_loop *http);
uint64_t http_loop_now_ms(const struct http_loop *http);

/* Every 100 ms: cuts late connections, looks after streams. */
void http_loop_tick(struct http_loop *http);

/* Ends a connection now, whatever it is doing; an open request is told that its client is gone. */
void http_loop_cut(struct http_loop *http, struct http_connection *connection, enum http_cut cut);

/* Closes the listening socket; new clients are refused by the kernel. */
void http_loop_stop_listening(struct http_loop *http);

/* Cuts all connections. Their records go as the daemon runs: until open_count is 0. */
void http_loop_cut_all(struct http_loop *http);

/* Stops the daemon and starts closing the handles; no connection may be suspended. Accepts NULL. */
void http_loop_stop(struct http_loop *http);

/* Frees the memory, after the loop has run the close callbacks. Accepts NULL. */
void http_loop_destroy(struct http_loop *http);
