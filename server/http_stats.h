/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_stats.h - what the HTTP side counts, for /metrics.
 *
 * The engine's counters are in engine/engine_stats.h. Thread: loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "server/http_routes.h"

enum { HTTP_STATS_STATUSES = 20 };

/* Why a connection was cut by us. */
enum http_cut {
    HTTP_CUT_HEADER,   /* Its header was not complete within LIMIT_HEADER_MS. */
    HTTP_CUT_BODY,     /* Its body was not, within LIMIT_BODY_MS. */
    HTTP_CUT_IDLE,     /* Kept alive for LIMIT_IDLE_MS without a request. */
    HTTP_CUT_LEFT,     /* The client left in the middle of a request. */
    HTTP_CUT_STALL,    /* Read nothing for --client-stall. */
    HTTP_CUT_OVERFLOW, /* Read less than was under way. */
    HTTP_CUT_SHUTDOWN, /* The server ended. */
    HTTP_CUT_COUNT
};

struct http_stats {
    /* Ended requests by row of the route table (its last row + 1: no route) and status. */
    uint64_t requests[HTTP_ROUTES_MAX + 1][HTTP_STATS_STATUSES];
    uint64_t connections_accepted;
    uint64_t connections_cut[HTTP_CUT_COUNT];
    uint64_t clients_gone; /* Left before their reply was complete. */
    uint64_t spins;        /* Passes of libmicrohttpd that did nothing and asked for another. */
};

/* Statuses that are counted by name; the last index stands for all others, with status 0. */
unsigned http_stats_status_at(size_t index);
void http_stats_count_request(struct http_stats *stats, const struct http_route *route,
                              unsigned status);
const char *http_cut_text(enum http_cut cut);
