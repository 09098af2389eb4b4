/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/http_load.h - a load client: streams of completions over HTTP, and when their tokens came.
 *
 * One thread and epoll, so that it costs little beside the server it measures. Speaks to loopback
 * only. Thread: the caller's. */
#pragma once

#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

struct http_load_options {
    uint16_t port;
    const char *api_key;    /* NULL: none. */
    uint32_t stream_count;  /* Streams at once, one request each. */
    uint32_t prompt_tokens; /* Of each prompt; ids 1 to 9 over and over. */
    uint32_t token_count;   /* Of each answer. */
};

/* Seconds, but for the rate. */
struct http_load_result {
    double tokens_per_second; /* While every stream was decoding: from the first token of the last
                                 one to begin until the first one ends. */
    double first_p50, first_p99; /* From the request to its first token. */
    double inter_p50, inter_p99; /* Between two tokens of a stream, in that time. */
    uint64_t token_count;        /* Seen in that time. */
};

/* IO: a connection failed or ended early, or an answer was not 200; the message says which.
 * TIMEOUT: nothing came for a minute. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code http_load_run(const struct http_load_options *options,
                                          const struct clock *clock,
                                          struct http_load_result *result_out,
                                          struct error *error);
