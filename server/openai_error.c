/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_error.c - why a client gets a 4xx or 5xx: one switch of answers, one of codes.
 *
 * Official clients retry 5xx answers and honour Retry-After. Thread: any; the reply: loop. */
#include "server/openai_error.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json_writer.h"
#include "server/http_exchange.h"
#include "server/messages_error.h"
#include "server/sse_stream.h"

enum {
    RETRY_SOON_S = 1,  /* A slot frees within seconds. */
    RETRY_LATER_S = 5, /* A restart takes longer. */
};

_Static_assert(OPENAI_ERROR_BODY_BYTES >=
                   6 * (ERROR_MESSAGE_BYTES + OPENAI_ERROR_PARAM_BYTES) + 256,
               "every byte of message and param may be escaped to six");

struct answer {
    unsigned status;
    uint32_t retry_after_s;
    const char *type;
    const char *code; /* NULL is null. */
};

static struct answer answer_of(enum openai_error_kind kind)
{
    static const char request[] = "invalid_request_error";
    static const char unavailable[] = "unavailable_error";
    static const char server[] = "server_error";
    switch (kind) {
    case OPENAI_ERROR_INVALID_REQUEST:
        return (struct answer){400, 0, request, NULL};
    case OPENAI_ERROR_INVALID_KEY:
        return (struct answer){401, 0, request, "invalid_api_key"};
    case OPENAI_ERROR_ROUTE_NOT_FOUND:
        return (struct answer){404, 0, request, NULL};
    case OPENAI_ERROR_MODEL_NOT_FOUND:
        return (struct answer){404, 0, request, "model_not_found"};
    case OPENAI_ERROR_METHOD:
        return (struct answer){405, 0, request, NULL};
    case OPENAI_ERROR_LENGTH_REQUIRED:
        return (struct answer){411, 0, request, NULL};
    case OPENAI_ERROR_BODY_TOO_LARGE:
        return (struct answer){413, 0, request, NULL};
    case OPENAI_ERROR_CONTENT_TYPE:
        return (struct answer){415, 0, request, NULL};
    case OPENAI_ERROR_EXPECTATION:
        return (struct answer){417, 0, request, NULL};
    case OPENAI_ERROR_MISDIRECTED:
        return (struct answer){421, 0, request, NULL};
    case OPENAI_ERROR_INTERNAL:
        return (struct answer){500, 0, server, NULL};
    case OPENAI_ERROR_OVERLOADED:
        return (struct answer){503, RETRY_SOON_S, unavailable, "overloaded"};
    case OPENAI_ERROR_UNAVAILABLE:
        return (struct answer){503, RETRY_LATER_S, unavailable, "unavailable"};
    case OPENAI_ERROR_TIMEOUT:
        return (struct answer){504, 0, server, "timeout"};
    case OPENAI_ERROR_HTTP_VERSION:
        return (struct answer){505, 0, request, NULL};
    }
    return (struct answer){500, 0, server, NULL};
}

void openai_error_set(struct openai_error *error_out, enum openai_error_kind kind,
                      const char *param, const char *format, ...)
{
    const struct answer answer = answer_of(kind);
    *error_out = (struct openai_error){
        .status = answer.status,
        .type = answer.type,
        .code = answer.code,
        .retry_after_s = answer.retry_after_s,
    };
    text_copy_to(text_from(param), error_out->param, sizeof(error_out->param));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_out->message, sizeof(error_out->message), format, arguments);
    va_end(arguments);
}

static enum openai_error_kind kind_of_code(enum error_code code)
{
    switch (code) {
    case ERROR_INVALID_ARGUMENT:
    case ERROR_TOO_LARGE:
        return OPENAI_ERROR_INVALID_REQUEST;
    case ERROR_NOT_FOUND: /* All that a request can name and the engine not have. */
        return OPENAI_ERROR_MODEL_NOT_FOUND;
    case ERROR_OVERLOADED:
    case ERROR_TIMEOUT: /* It waited too long for a slot: the server is full. */
        return OPENAI_ERROR_OVERLOADED;
    case ERROR_CANCELLED: /* By the end of a drain; a client that cancels gets no answer. */
    case ERROR_DEVICE:
    case ERROR_SHUTTING_DOWN:
        return OPENAI_ERROR_UNAVAILABLE;
    case ERROR_NONE:
    case ERROR_IO:
    case ERROR_CORRUPT:
    case ERROR_OUT_OF_MEMORY:
        break;
    }
    return OPENAI_ERROR_INTERNAL;
}

void openai_error_from_code(struct openai_error *error_out, enum error_code code,
                            const char *message)
{
    openai_error_set(error_out, kind_of_code(code), NULL, "%s",
                     message == NULL ? error_code_text(code) : message);
}

static void write_text_or_null(struct json_writer *writer, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0') {
        json_key_null(writer, key);
    } else {
        json_key_string(writer, key, text_from(value));
    }
}

size_t openai_error_body(const struct openai_error *error, char *buffer, size_t capacity)
{
    ASSERT_COMPARE(capacity, >=, OPENAI_ERROR_BODY_BYTES);
    struct json_writer writer;
    json_writer_init(&writer, buffer, capacity);
    json_object_begin(&writer);
    json_key(&writer, "error");
    json_object_begin(&writer);
    json_key_string(&writer, "message", text_from(error->message));
    json_key_string(&writer, "type", text_from(error->type));
    write_text_or_null(&writer, "param", error->param);
    write_text_or_null(&writer, "code", error->code);
    json_object_end(&writer);
    json_object_end(&writer);
    ASSERT(json_writer_fits(&writer));
    return writer.len;
}

static void add_headers(struct http_exchange *exchange, const struct openai_error *error)
{
    if (error->retry_after_s > 0) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%u", (unsigned)error->retry_after_s);
        http_exchange_add_header(exchange, "Retry-After", seconds);
    }
    if (error->status == 401) {
        http_exchange_add_header(exchange, "WWW-Authenticate", "Bearer");
    }
}

void openai_error_reply(struct http_exchange *exchange, const struct openai_error *error)
{
    char buffer[OPENAI_ERROR_BODY_BYTES];
    const bool is_anthropic = exchange->dialect == HTTP_DIALECT_ANTHROPIC;
    struct text body = {.bytes = buffer};
    body.len = is_anthropic
                   ? messages_error_body(error, exchange->request_id, buffer, sizeof(buffer))
                   : openai_error_body(error, buffer, sizeof(buffer));
    if (!sse_stream_has_begun(exchange)) {
        add_headers(exchange, error);
        http_exchange_reply(exchange, error->status, "application/json", body);
    } else if (is_anthropic) {
        if (sse_stream_write_named(exchange, TEXT("error"), body)) {
            sse_stream_end_unmarked(exchange);
        }
    } else if (sse_stream_write(exchange, body)) {
        sse_stream_end(exchange);
    }
}
