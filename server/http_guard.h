/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_guard.h - the gate: a request's head in, a verdict out.
 *
 * Refuses what libmicrohttpd lets through and we do not (framing that two parsers may read
 * differently), and everything that can be refused before the body is read. Pure: no sockets, no
 * clock. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "server/http_routes.h"
#include "server/openai_error.h"

struct api_keys;

/* What the gate needs to know of a head. Zeroed, then method, path and version are set and every
 * field is added. All borrowed. */
struct http_head {
    struct text method;
    struct text path;    /* Normalised (http_routes_normalise). */
    struct text version; /* "HTTP/1.1". */
    struct text host, content_length, content_type, content_encoding, expect, authorization;
    struct text api_key; /* X-Api-Key: what Anthropic's clients send. */
    uint32_t host_count, content_length_count, transfer_encoding_count, content_type_count;
    uint32_t expect_count, authorization_count, api_key_count;
    bool malformed; /* A name that is not a token, a control byte in a value, or bytes between the
                       fields that belong to none (http_intake.c finds those). */
};

void http_head_add_field(struct http_head *head, struct text name, struct text value);

/* What the server allows. Borrowed. */
struct http_rules {
    bool bound_to_loopback; /* Only names of this machine are legal in Host. */
    struct text bound_host; /* What --host says; legal too. */
    const struct api_keys *keys;
    uint64_t body_bytes_max;
    bool draining; /* New work is refused. */
};

enum http_action {
    HTTP_ACTION_HANDLE,  /* Read the body, call route->handler. */
    HTTP_ACTION_OPTIONS, /* 204 and Allow. */
    HTTP_ACTION_REFUSE,  /* kind and message. */
};

struct http_verdict {
    enum http_action action;
    const struct http_route *route; /* NULL when refused before it was known. */
    struct text path_tail;          /* What {id} of the route matched. */
    uint64_t body_bytes;            /* Announced. */
    bool reads_body;                /* The body is received (and thrown away when refused), so that
                                       the connection can be kept. */
    bool closes;                    /* The connection ends with this answer. */
    enum openai_error_kind kind;    /* REFUSE. */
    const char *message;            /* REFUSE: constant text. */
};

struct http_verdict http_guard_judge(const struct http_head *head, const struct http_rules *rules);
