/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_cors.h - which web pages of other sites may read our answers (--cors-origin).
 *
 * No credentials: a page sends its key itself, and never our cookies, because there are none.
 * Thread: any; the headers: loop. */
#pragma once

#include <stdbool.h>

#include "base/text.h"

struct MHD_Response;
struct http_exchange_record;

enum http_cors_verdict {
    HTTP_CORS_REFUSED, /* No header: the browser keeps the answer from the page. */
    HTTP_CORS_ANY,     /* "*" */
    HTTP_CORS_LISTED,  /* The origin itself; the answer depends on it. */
};

/* Looks an Origin up in the option's list: "*", or origins with commas between them. */
enum http_cors_verdict http_cors_judge(struct text list, struct text origin);

/* Adds what the request's Origin is entitled to; false: there was no memory. Thread: loop. */
bool http_cors_add_headers(const struct http_exchange_record *record,
                           struct MHD_Response *response);
