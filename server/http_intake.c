/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_intake.c - the steps from a request's head to its handler.
 *
 * A refusal of a request without a body, or with a small one, is sent after the body has been read:
 * libmicrohttpd closes the connection after a reply to the bare head. Upload data is always
 * consumed: left alone, it makes the daemon spin. Thread: loop. */
#include "server/http_intake.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "server/http_exchange_internal.h"
#include "server/http_loop.h"
#include "server/openai_error.h"
#include "server/server_internal.h"

enum {
    BODY_FIRST_BYTES = 64 * 1024, /* Taken for a body at first; what it announces may never come. */
    BODY_GROWTH = 4,              /* At most a third of the memory is left behind in the arena. */
};

/* Reads a head from libmicrohttpd, which keeps it in one buffer with NULs where the separators
 * were. Up to 0.9.77 its parser swallows bytes: it joins folded lines, cuts values and paths at a
 * NUL, takes a bare LF for a line end, and ends the head at a field with an empty name, so that
 * what follows becomes a second request. All of them show as a gap between the parts. Later parsers
 * refuse such heads themselves. */
struct head_walk {
    struct http_head *head;
    const char *next; /* Where the next part must begin. */
    bool has_gap;
};

static void expect_at(struct head_walk *walk, const char *part, size_t bytes_to_next)
{
    walk->has_gap = walk->has_gap || part != walk->next;
    walk->next = part + bytes_to_next;
}

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
    struct head_walk *walk = context;
    (void)kind;
    http_head_add_field(walk->head, text_from(name), text_from(value));
    if (value != NULL) {
        expect_at(walk, name, 0);
        walk->next = value + strlen(value) + 2; /* CR LF. White space before it is not ours. */
    }
    return MHD_YES;
}

static void read_head(const struct http_exchange_record *record, const char *method,
                      const char *version, struct http_head *head)
{
    const struct http_connection *connection = record->connection;
    struct head_walk walk = {.head = head, .next = method};
    expect_at(&walk, method, strlen(method) + 1 + connection->target_bytes + 1);
    expect_at(&walk, version, strlen(version) + 2);
    MHD_get_connection_values(connection->mhd, MHD_HEADER_KIND, on_field, &walk);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL) {
        expect_at(&walk, method + info->header_size - 2, 0);
    }
    if (walk.has_gap && strncmp(MHD_get_version(), "0.9.", 4) == 0) {
        head->malformed = true;
    }
}

/* The client's id is repeated when it cannot do harm in a header or a log line. */
static bool is_sane_request_id(struct text id)
{
    for (size_t index = 0; index < id.len; index++) {
        const char byte = id.bytes[index];
        if (!((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
              (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.')) {
            return false;
        }
    }
    return id.len > 0 && id.len <= LIMIT_REQUEST_ID_BYTES;
}

static void set_request_id(struct http_exchange *exchange)
{
    const struct text given = text_from(http_exchange_header(exchange, "X-Request-Id"));
    if (is_sane_request_id(given)) {
        text_copy_to(given, exchange->request_id, sizeof(exchange->request_id));
        return;
    }
    unsigned char random[12];
    char hex[2 * sizeof(random) + 1];
    randombytes_buf(random, sizeof(random));
    sodium_bin2hex(hex, sizeof(hex), random, sizeof(random));
    snprintf(exchange->request_id, sizeof(exchange->request_id), "req_%s", hex);
}

/* A constant text, because the connection's own goes before the exchange does. */
static const char *method_name(const char *method)
{
    static const char *const names[] = {"GET", "POST",   "HEAD",  "OPTIONS",
                                        "PUT", "DELETE", "PATCH", "TRACE"};
    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        if (strcmp(method, names[index]) == 0) {
            return names[index];
        }
    }
    return "other";
}

static void judge(struct http_exchange_record *record, const struct http_head *head)
{
    const struct http_loop *http = record->http;
    const struct server *server = http->server;
    const struct http_rules rules = {
        .bound_to_loopback = http->listener.is_loopback,
        .bound_host = text_from(server->config->host),
        .keys = server->keys,
        .body_bytes_max = server->config->max_body_bytes,
        .draining = server->draining,
    };
    record->verdict = http_guard_judge(head, &rules);
    record->shared.path_tail = record->verdict.path_tail.bytes;
    record->shared.dialect =
        record->verdict.route == NULL ? HTTP_DIALECT_OPENAI : record->verdict.route->dialect;
}

static void send_refusal(struct http_exchange_record *record)
{
    struct http_exchange *exchange = &record->shared;
    const struct http_verdict *verdict = &record->verdict;
    char allowed[32];
    if (verdict->kind == OPENAI_ERROR_METHOD &&
        http_routes_allowed(text_from(exchange->path), allowed, sizeof(allowed))) {
        http_exchange_add_header(exchange, "Allow", allowed);
    }
    struct openai_error error;
    openai_error_set(&error, verdict->kind, NULL, "%s", verdict->message);
    openai_error_reply(exchange, &error);
}

static void send_options(struct http_exchange *exchange)
{
    char allowed[32];
    if (http_routes_allowed(text_from(exchange->path), allowed, sizeof(allowed))) {
        http_exchange_add_header(exchange, "Allow", allowed);
    }
    http_exchange_reply(exchange, MHD_HTTP_NO_CONTENT, NULL, TEXT(""));
}

/* The gate's answer, or the handler's. */
static void answer(struct http_exchange_record *record)
{
    if (record->body_failed) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_OVERLOADED, NULL,
                         "too many request bodies at once, try again later");
        openai_error_reply(&record->shared, &error);
        return;
    }
    switch (record->verdict.action) {
    case HTTP_ACTION_REFUSE:
        send_refusal(record);
        break;
    case HTTP_ACTION_OPTIONS:
        send_options(&record->shared);
        break;
    case HTTP_ACTION_HANDLE:
        record->verdict.route->handler(&record->shared);
        break;
    }
}

static enum MHD_Result take_head(struct http_loop *http, struct MHD_Connection *mhd,
                                 const char *url, const char *method, const char *version,
                                 void **request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *connection = info == NULL ? NULL : info->socket_context;
    struct http_exchange_record *record =
        connection == NULL ? NULL : http_exchange_acquire(http, connection);
    if (record == NULL) {
        return MHD_NO;
    }
    *request = record;
    http_connection_enter(connection, HTTP_CONNECTION_BODY, http_loop_now_ms(http));
    record->shared.method = method_name(method);
    set_request_id(&record->shared);
    const struct text raw = text_from(url);
    char *path = arena_alloc(&record->shared.arena, raw.len + 1);
    if (path == NULL) {
        return MHD_NO;
    }
    struct http_head head = {
        .method = text_from(method),
        .path = http_routes_normalise(raw, path),
        .version = text_from(version),
    };
    record->shared.path = path;
    read_head(record, method, version, &head);
    judge(record, &head);
    if (!record->verdict.reads_body) {
        http_connection_enter(connection, HTTP_CONNECTION_BUSY, http_loop_now_ms(http));
        answer(record);
    }
    return record->shared.client_gone ? MHD_NO : MHD_YES;
}

/* Room for the next piece and a NUL; false when there is no memory for it. */
static bool grow_body(struct http_exchange_record *record, size_t bytes)
{
    struct http_exchange *exchange = &record->shared;
    struct http_loop *http = record->http;
    const size_t needed = exchange->body.len + bytes + 1;
    if (needed <= record->body_capacity) {
        return true;
    }
    size_t capacity = record->body_capacity == 0 ? BODY_FIRST_BYTES : record->body_capacity;
    while (capacity < needed) {
        capacity *= BODY_GROWTH;
    }
    const size_t whole = (size_t)record->verdict.body_bytes + 1;
    capacity = capacity < whole ? capacity : whole;
    const uint64_t others_bytes = http->bodies_bytes - record->body_capacity;
    if (capacity < needed || (others_bytes > 0 && others_bytes + capacity > LIMIT_BODIES_BYTES)) {
        return false;
    }
    char *buffer = arena_alloc(&exchange->arena, capacity);
    if (buffer == NULL) {
        return false;
    }
    memcpy(buffer, exchange->body.bytes, exchange->body.len);
    exchange->body.bytes = buffer;
    http->bodies_bytes = others_bytes + capacity;
    record->body_capacity = capacity;
    return true;
}

static void take_piece(struct http_exchange_record *record, const char *data, size_t bytes)
{
    struct http_exchange *exchange = &record->shared;
    if (record->verdict.action != HTTP_ACTION_HANDLE || record->body_failed) {
        return;
    }
    if (!grow_body(record, bytes)) {
        record->body_failed = true;
        return;
    }
    /* The arena's memory is ours and zeroed: a NUL follows the last byte. */
    memcpy((char *)(uintptr_t)exchange->body.bytes + exchange->body.len, data, bytes);
    exchange->body.len += bytes;
}

static enum MHD_Result take_end(struct http_exchange_record *record)
{
    if (record->phase == HTTP_PHASE_RECEIVING && !record->shared.client_gone) {
        http_connection_enter(record->connection, HTTP_CONNECTION_BUSY,
                              http_loop_now_ms(record->http));
        record->phase = HTTP_PHASE_HANDLING;
        answer(record);
        if (record->phase == HTTP_PHASE_HANDLING && !record->shared.client_gone) {
            ASSERT(record->holders != HTTP_HOLDER_CONNECTION);
            record->phase = HTTP_PHASE_WAITING;
            http_exchange_suspend(record);
        }
    }
    /* A waiting exchange is called again only when it was woken because its client is gone. */
    return record->shared.client_gone ? MHD_NO : MHD_YES;
}

enum MHD_Result http_intake_handle(void *context, struct MHD_Connection *connection,
                                   const char *url, const char *method, const char *version,
                                   const char *upload_data, size_t *upload_bytes, void **request)
{
    struct http_loop *http = context;
    struct http_exchange_record *record = *request;
    http->callbacks++;
    if (record == NULL) {
        return take_head(http, connection, url, method, version, request);
    }
    if (*upload_bytes > 0) {
        take_piece(record, upload_data, *upload_bytes);
        *upload_bytes = 0;
        return MHD_YES;
    }
    return take_end(record);
}
