/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_error.h - everything that can go wrong, as OpenAI puts it on the wire.
 *
 * The only place that knows HTTP statuses of errors. Thread: any, except openai_error_reply. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    OPENAI_ERROR_PARAM_BYTES = 128,
    OPENAI_ERROR_BODY_BYTES = 4096, /* Buffer that holds every openai_error_body. */
};

/* One error answer. */
struct openai_error {
    unsigned status;                      /* HTTP. */
    uint32_t retry_after_s;               /* 0: no Retry-After header. */
    const char *type;                     /* "invalid_request_error", .. constant text. */
    const char *code;                     /* "model_not_found", ..; NULL is null. Constant text. */
    char param[OPENAI_ERROR_PARAM_BYTES]; /* The field at fault, "messages[0].role"; "" is null. */
    char message[ERROR_MESSAGE_BYTES];
};

enum openai_error_kind {
    OPENAI_ERROR_INVALID_REQUEST, /* 400 */
    OPENAI_ERROR_INVALID_KEY,     /* 401 */
    OPENAI_ERROR_ROUTE_NOT_FOUND, /* 404 */
    OPENAI_ERROR_MODEL_NOT_FOUND, /* 404 */
    OPENAI_ERROR_METHOD,          /* 405 */
    OPENAI_ERROR_LENGTH_REQUIRED, /* 411 */
    OPENAI_ERROR_BODY_TOO_LARGE,  /* 413 */
    OPENAI_ERROR_CONTENT_TYPE,    /* 415 */
    OPENAI_ERROR_EXPECTATION,     /* 417 */
    OPENAI_ERROR_MISDIRECTED,     /* 421: Host is not ours. */
    OPENAI_ERROR_INTERNAL,        /* 500 */
    OPENAI_ERROR_OVERLOADED,      /* 503 + Retry-After: the queue is full. */
    OPENAI_ERROR_UNAVAILABLE,     /* 503 + Retry-After: draining, loading, engine gone. */
    OPENAI_ERROR_TIMEOUT,         /* 504: no first token in time. */
    OPENAI_ERROR_HTTP_VERSION,    /* 505: neither HTTP/1.1 nor HTTP/1.0. */
};

/* Fills status, type and code of the kind; param may be NULL. */
void openai_error_set(struct openai_error *error_out, enum openai_error_kind kind,
                      const char *param, const char *format, ...) PRINTF_LIKE(4, 5);

/* The one switch from the engine's codes to the wire; message may be NULL: the code's own text. */
void openai_error_from_code(struct openai_error *error_out, enum error_code code,
                            const char *message);

/* Writes {"error":{"message":..,"type":..,"param":..,"code":..}}; returns its length.
 * capacity >= OPENAI_ERROR_BODY_BYTES. */
size_t openai_error_body(const struct openai_error *error, char *buffer, size_t capacity);

struct http_exchange;

/* Replies with it (status, Retry-After, body); in a begun stream: an error event, then the end.
 * Thread: loop. */
void openai_error_reply(struct http_exchange *exchange, const struct openai_error *error);
