/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_http.h - skein bench --http: the decode rows again, through the server.
 *
 * Server, engine and load client run in this process, over loopback. Thread: main. */
#pragma once

#include "base/clock.h"
#include "cli/runtime.h"

struct http_load_result;

struct bench_http_options {
    const struct config *config;
    const struct model_spec *spec;
    struct backend *backend;
    const struct tokenizer *tokenizer; /* Whose ids the backend may draw. */
    const struct clock *clock;
};

/* Serves until all streams have decoded token_count tokens, and drains. The backend may be used
 * again afterwards only to be closed. IO, TIMEOUT, DEVICE, OUT_OF_MEMORY. */
WARN_UNUSED enum error_code bench_http_measure(const struct bench_http_options *options,
                                               uint32_t stream_count, uint32_t token_count,
                                               struct http_load_result *result_out,
                                               struct error *error);
