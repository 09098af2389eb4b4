/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_stats.c - counters by route and status.
 *
 * Thread: loop. */
#include "server/http_stats.h"

#include "base/error.h"

/* 499: the client left before it had its reply. */
static const unsigned statuses[HTTP_STATS_STATUSES] = {
    200, 204, 400, 401, 403, 404, 405, 411, 413, 415, 417, 421, 429, 499, 500, 503, 504, 505,
};

unsigned http_stats_status_at(size_t index)
{
    ASSERT_COMPARE(index, <, HTTP_STATS_STATUSES);
    return statuses[index];
}

void http_stats_count_request(struct http_stats *stats, const struct http_route *route,
                              unsigned status)
{
    size_t index = 0;
    while (index < HTTP_STATS_STATUSES - 1 && statuses[index] != status) {
        index++;
    }
    stats->requests[http_routes_index(route)][index]++;
}

const char *http_cut_text(enum http_cut cut)
{
    switch (cut) {
    case HTTP_CUT_HEADER:
        return "header";
    case HTTP_CUT_BODY:
        return "body";
    case HTTP_CUT_IDLE:
        return "idle";
    case HTTP_CUT_LEFT:
        return "left";
    case HTTP_CUT_STALL:
        return "stall";
    case HTTP_CUT_OVERFLOW:
        return "overflow";
    case HTTP_CUT_SHUTDOWN:
        return "shutdown";
    case HTTP_CUT_COUNT:
        break;
    }
    return "unknown";
}
