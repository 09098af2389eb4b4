/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_routes.h - which URLs exist, and who answers them.
 *
 * The table itself is at the top of http_routes.c. Pure. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"
#include "server/http_exchange.h"

enum http_access {
    HTTP_ACCESS_KEY,    /* Needs an API key when the server has keys. */
    HTTP_ACCESS_PUBLIC, /* For probes, which carry no key. */
};

enum { HTTP_ROUTES_MAX = 32 }; /* Rows of the table, for arrays by route. */

struct http_route {
    const char *method; /* "GET" (answers HEAD too) or "POST". */
    const char *path;   /* A last "{id}" matches the rest of the path, also with slashes in it. */
    http_handler *handler;
    enum http_access access;
    enum http_dialect dialect;
};

size_t http_routes_count(void);
const struct http_route *http_routes_at(size_t index);

/* Index of a row of the table; http_routes_count() for NULL. */
size_t http_routes_index(const struct http_route *route);

/* Row that answers method and path (normalised), or NULL. *tail_out: what {id} matched. */
const struct http_route *http_routes_find(struct text method, struct text path,
                                          struct text *tail_out);

/* Writes the methods that a path answers, as for the Allow header: "GET, HEAD, OPTIONS". False, and
 * nothing written, when no row has the path. 32 bytes are enough. */
bool http_routes_allowed(struct text path, char *buffer, size_t capacity);

/* Copies a path without double and trailing slashes ("/v1//models/" is "/v1/models") into buffer
 * [path.len + 1] and terminates it. */
struct text http_routes_normalise(struct text path, char *buffer);
