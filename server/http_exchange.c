/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_exchange.c - life of one request: who holds it, how its reply leaves, how it ends.
 *
 * How it comes in is http_intake.c's; streams are sse_stream.c's. Thread: loop. */
#include "server/http_exchange_internal.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/log.h"
#include "server/http_cors.h"
#include "server/http_loop.h"
#include "server/server_internal.h"

enum { STATUS_CLIENT_GONE = 499 }; /* Never sent; for log and metrics. */

enum error_code http_exchanges_init(struct http_exchanges *exchanges, uint32_t count_max,
                                    struct error *error)
{
    *exchanges = (struct http_exchanges){.count_max = count_max};
    exchanges->records = calloc(count_max, sizeof(*exchanges->records));
    if (exchanges->records == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "records of %u requests", count_max);
    }
    for (uint32_t index = count_max; index > 0; index--) {
        exchanges->records[index - 1].next_free = exchanges->free;
        exchanges->free = &exchanges->records[index - 1];
    }
    return ERROR_NONE;
}

void http_exchanges_deinit(struct http_exchanges *exchanges)
{
    free(exchanges->records);
    *exchanges = (struct http_exchanges){0};
}

struct http_exchange_record *http_exchange_record(const struct http_exchange *exchange)
{
    return (struct http_exchange_record *)(uintptr_t)exchange;
}

static size_t arena_limit(const struct server *server)
{
    return LIMIT_EXCHANGE_BYTES + 8 * (size_t)server->config->max_body_bytes;
}

struct http_exchange_record *http_exchange_acquire(struct http_loop *http,
                                                   struct http_connection *connection)
{
    struct http_exchanges *exchanges = &http->exchanges;
    struct http_exchange_record *record = exchanges->free;
    if (record == NULL) {
        return NULL;
    }
    exchanges->free = record->next_free;
    exchanges->open_count++;
    *record = (struct http_exchange_record){
        .shared = {.server = http->server,
                   .arena = {.bytes_max = arena_limit(http->server)},
                   .method = "",
                   .path = "",
                   .path_tail = "",
                   .body = TEXT(""),
                   .started_ns = clock_monotonic_ns(&http->server->clock)},
        .http = http,
        .connection = connection,
        .holders = HTTP_HOLDER_CONNECTION,
        .reply_arena = {.bytes_max = 4 * LIMIT_STREAM_BACKLOG_BYTES},
    };
    connection->exchange = record;
    return record;
}

/* One line per request; nothing of its content. */
static void log_request(const struct http_exchange_record *record)
{
    const struct http_exchange *exchange = &record->shared;
    const struct http_route *route = record->verdict.route;
    const uint64_t elapsed_ns = record->ended_ns - exchange->started_ns;
    struct log_field fields[10] = {
        LOG_S("method", exchange->method),
        LOG_S("route", route == NULL ? "none" : route->path),
        LOG_I("status", record->status),
        LOG_I("bytes", record->reply_bytes),
        LOG_R("ms", (double)(elapsed_ns / 1000) / 1e3),
        LOG_S("request_id", exchange->request_id),
    };
    size_t count = 6;
    if (exchange->prompt_tokens > 0) {
        fields[count++] = LOG_I("prompt_tokens", exchange->prompt_tokens);
        fields[count++] = LOG_I("completion_tokens", exchange->completion_tokens);
    }
    if (exchange->finish != NULL) {
        fields[count++] = LOG_S("finish", exchange->finish);
    }
    log_event_fields(LOG_INFO, "http", "request ended", fields);
}

/* The last holder has let go. The line is written only now, because the engine reports the tokens
 * of a lost client later. */
static void recycle(struct http_exchange_record *record)
{
    struct http_exchanges *exchanges = &record->http->exchanges;
    log_request(record);
    http_stats_count_request(&record->http->stats, record->verdict.route, record->status);
    record->http->bodies_bytes -= record->body_capacity;
    arena_reset(&record->shared.arena);
    arena_reset(&record->reply_arena);
    record->next_free = exchanges->free;
    exchanges->free = record;
    exchanges->open_count--;
}

static void let_go(struct http_exchange_record *record, enum http_holder holder)
{
    ASSERT((record->holders & holder) != 0);
    record->holders &= ~(unsigned)holder;
    if (record->holders == 0) {
        recycle(record);
    }
}

void http_exchange_hold(struct http_exchange *exchange, enum http_holder holder)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    ASSERT(holder != HTTP_HOLDER_CONNECTION);
    ASSERT((record->holders & holder) == 0);
    record->holders |= holder;
}

void http_exchange_release(struct http_exchange *exchange, enum http_holder holder)
{
    ASSERT(holder != HTTP_HOLDER_CONNECTION);
    let_go(http_exchange_record(exchange), holder);
}

const char *http_exchange_header(const struct http_exchange *exchange, const char *name)
{
    const struct http_exchange_record *record = http_exchange_record(exchange);
    if (record->connection == NULL) {
        return NULL;
    }
    return MHD_lookup_connection_value(record->connection->mhd, MHD_HEADER_KIND, name);
}

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    ASSERT_COMPARE(record->header_count, <, HTTP_REPLY_HEADERS_MAX);
    struct http_reply_header *header = &record->headers[record->header_count++];
    text_copy_to(text_from(name), header->name, sizeof(header->name));
    text_copy_to(text_from(value), header->value, sizeof(header->value));
}

/* False: there was no memory for one of them. */
static bool add_headers(const struct http_exchange_record *record, struct MHD_Response *response)
{
    const bool closes = record->verdict.closes || record->shared.server->draining;
    bool all_added =
        MHD_add_response_header(response, "X-Request-Id", record->shared.request_id) == MHD_YES;
    if (closes) {
        all_added =
            MHD_add_response_header(response, "Connection", "close") == MHD_YES && all_added;
    }
    for (uint32_t index = 0; index < record->header_count; index++) {
        all_added = MHD_add_response_header(response, record->headers[index].name,
                                            record->headers[index].value) == MHD_YES &&
                    all_added;
    }
    return http_cors_add_headers(record, response) && all_added;
}

void http_exchange_queue(struct http_exchange_record *record, unsigned status,
                         struct MHD_Response *response)
{
    ASSERT(record->phase != HTTP_PHASE_REPLYING);
    const bool queued = response != NULL && add_headers(record, response) &&
                        MHD_queue_response(record->connection->mhd, status, response) == MHD_YES;
    if (response != NULL) {
        MHD_destroy_response(response); /* The queue has its own reference. */
    }
    if (!queued) {
        http_exchange_lose(record);
        return;
    }
    record->phase = HTTP_PHASE_REPLYING;
    record->status = status;
    http_exchange_wake(record);
}

void http_exchange_reply(struct http_exchange *exchange, unsigned status, const char *content_type,
                         struct text body)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    if (exchange->client_gone) {
        return;
    }
    /* With MUST_COPY the buffer is only read. */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)body.bytes, MHD_RESPMEM_MUST_COPY);
    if (content_type != NULL && response != NULL &&
        MHD_add_response_header(response, "Content-Type", content_type) != MHD_YES) {
        MHD_destroy_response(response);
        response = NULL;
    }
    record->reply_bytes = body.len;
    http_exchange_queue(record, status, response);
}

void http_exchange_suspend(struct http_exchange_record *record)
{
    ASSERT(!record->is_suspended);
    if (!record->needs_client) {
        /* Asked for again, because the client may have left before its request was read. */
        http_watch_add(&record->http->watch, record->connection->fd, record->connection);
        record->needs_client = true;
    }
    MHD_suspend_connection(record->connection->mhd);
    record->is_suspended = true;
}

void http_exchange_wake(struct http_exchange_record *record)
{
    if (record->is_suspended) {
        MHD_resume_connection(record->connection->mhd);
        record->is_suspended = false;
        http_loop_request_run(record->http);
    }
}

/* Marks the loss and tells the owner, if one still works for this exchange. */
static void tell_gone(struct http_exchange_record *record)
{
    struct http_exchange *exchange = &record->shared;
    if (exchange->client_gone) {
        return;
    }
    exchange->client_gone = true;
    record->http->stats.clients_gone++;
    if (exchange->on_client_gone != NULL && record->holders != HTTP_HOLDER_CONNECTION) {
        exchange->on_client_gone(exchange);
    }
}

void http_exchange_lose(struct http_exchange_record *record)
{
    tell_gone(record);
    if (record->connection == NULL) {
        return;
    }
    if (record->is_suspended) {
        http_exchange_wake(record); /* Its next callback sees client_gone and ends it. */
        return;
    }
    /* Blocked in a write, or in the middle of a body: only the socket can end it. */
    shutdown(record->connection->fd, SHUT_RDWR);
    http_loop_request_run(record->http);
}

void http_exchange_complete(struct http_exchange_record *record, bool reply_sent)
{
    if (!reply_sent) {
        tell_gone(record);
        record->status = STATUS_CLIENT_GONE;
    }
    record->ended_ns = clock_monotonic_ns(&record->shared.server->clock);
    record->connection->exchange = NULL;
    record->connection = NULL;
    let_go(record, HTTP_HOLDER_CONNECTION);
}
