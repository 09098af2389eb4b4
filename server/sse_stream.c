/* SPDX-License-Identifier: Apache-2.0
 *
 * server/sse_stream.c - from the owner's events to the connection: ring, marks, pings, stalls.
 *
 * While there is nothing to send the connection sleeps; an event wakes it. Everything that waits in
 * the ring leaves in one chunk, so a slow loop sends larger pieces, not more. Thread: loop. */
#include "server/sse_stream.h"

#include <microhttpd.h>

#include "base/limits.h"
#include "server/http_connections.h"
#include "server/http_exchange_internal.h"
#include "server/http_loop.h"
#include "server/server_internal.h"

enum {
    PAUSE_ABOVE_BYTES = LIMIT_STREAM_RING_BYTES / 2,
    RESUME_BELOW_BYTES = LIMIT_STREAM_RING_BYTES / 4,
    BLOCK_BYTES = 1024, /* libmicrohttpd uses it for HTTP/1.0 clients only. */
};

static void set_paused(struct http_exchange_record *record, bool pause)
{
    struct sse_stream *stream = &record->stream;
    if (stream->is_paused == pause || stream->has_ended) {
        return;
    }
    stream->is_paused = pause;
    if (stream->on_pressure != NULL) {
        stream->on_pressure(&record->shared, pause);
    }
}

/* Called by libmicrohttpd when the socket can take more. */
static ssize_t on_read(void *context, uint64_t position, char *buffer, size_t capacity)
{
    struct http_exchange_record *record = context;
    struct sse_stream *stream = &record->stream;
    (void)position;
    record->http->callbacks++;
    stream->taken_ms = http_loop_now_ms(record->http);
    if (record->shared.client_gone) {
        return MHD_CONTENT_READER_END_WITH_ERROR; /* The chunked body is visibly cut. */
    }
    const size_t bytes = sse_ring_take(&stream->ring, buffer, capacity);
    if (bytes > 0) {
        record->reply_bytes += bytes;
        if (stream->ring.len < RESUME_BELOW_BYTES) {
            set_paused(record, false);
        }
        return (ssize_t)bytes;
    }
    if (stream->has_ended) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    http_exchange_suspend(record); /* Returning 0 without this would spin. */
    return 0;
}

/* Makes room for that many bytes; false when the backlog's limit or memory is reached. */
static bool make_room(struct http_exchange_record *record, size_t bytes)
{
    struct sse_ring *ring = &record->stream.ring;
    size_t capacity = ring->capacity == 0 ? LIMIT_STREAM_RING_BYTES : ring->capacity;
    while (capacity < LIMIT_STREAM_BACKLOG_BYTES &&
           capacity - (ring->capacity - sse_ring_space(ring)) < bytes) {
        capacity *= 2;
    }
    if (capacity > ring->capacity) {
        char *buffer = arena_alloc(&record->reply_arena, capacity);
        if (buffer == NULL) {
            return false;
        }
        sse_ring_move(ring, buffer, capacity);
    }
    return sse_ring_space(ring) >= bytes;
}

/* Headers that keep proxies from storing or collecting the stream. */
static bool add_stream_headers(struct MHD_Response *response)
{
    return MHD_add_response_header(response, "Content-Type", "text/event-stream; charset=utf-8") ==
               MHD_YES &&
           MHD_add_response_header(response, "Cache-Control", "no-cache") == MHD_YES &&
           MHD_add_response_header(response, "X-Accel-Buffering", "no") == MHD_YES;
}

void sse_stream_begin(struct http_exchange *exchange)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    struct sse_stream *stream = &record->stream;
    ASSERT(!stream->has_begun);
    stream->has_begun = true;
    if (exchange->client_gone) {
        return;
    }
    stream->put_ms = http_loop_now_ms(record->http);
    stream->taken_ms = stream->put_ms;
    struct MHD_Response *response = NULL;
    if (make_room(record, 1)) {
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, on_read, record, NULL);
    }
    if (response != NULL && !add_stream_headers(response)) {
        MHD_destroy_response(response);
        response = NULL;
    }
    http_exchange_queue(record, MHD_HTTP_OK, response);
}

bool sse_stream_has_begun(const struct http_exchange *exchange)
{
    return http_exchange_record(exchange)->stream.has_begun;
}

/* After bytes were put into the ring. */
static void announce(struct http_exchange_record *record)
{
    record->stream.put_ms = http_loop_now_ms(record->http);
    if (record->stream.ring.len > PAUSE_ABOVE_BYTES) {
        set_paused(record, true);
    }
    http_exchange_wake(record);
}

bool sse_stream_write_named(struct http_exchange *exchange, struct text name, struct text json)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    struct sse_ring *ring = &record->stream.ring;
    ASSERT(record->stream.has_begun && !record->stream.has_ended);
    if (exchange->client_gone) {
        return false;
    }
    if (!sse_ring_put_event(ring, name, json) &&
        !(make_room(record, sse_ring_event_bytes(name, json)) &&
          sse_ring_put_event(ring, name, json))) {
        http_loop_cut(record->http, record->connection, HTTP_CUT_OVERFLOW);
        return false;
    }
    announce(record);
    return true;
}

bool sse_stream_write(struct http_exchange *exchange, struct text json)
{
    return sse_stream_write_named(exchange, TEXT(""), json);
}

void sse_stream_end_unmarked(struct http_exchange *exchange)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    ASSERT(record->stream.has_begun && !record->stream.has_ended);
    record->stream.has_ended = true;
    if (!exchange->client_gone) {
        announce(record);
    }
}

void sse_stream_end(struct http_exchange *exchange)
{
    struct http_exchange_record *record = http_exchange_record(exchange);
    ASSERT(record->stream.has_begun && !record->stream.has_ended);
    if (!exchange->client_gone) {
        sse_ring_put_done(&record->stream.ring);
    }
    sse_stream_end_unmarked(exchange);
}

void sse_stream_set_ping(struct http_exchange *exchange, struct text ping)
{
    http_exchange_record(exchange)->stream.ping = ping;
}

void sse_stream_set_on_pressure(struct http_exchange *exchange, sse_on_pressure *on_pressure)
{
    http_exchange_record(exchange)->stream.on_pressure = on_pressure;
}

void sse_stream_tick(struct http_exchange_record *record, uint64_t now_ms)
{
    struct sse_stream *stream = &record->stream;
    /* Awake means that the connection owes the client bytes, in the ring or in its own buffer. */
    if (!record->is_suspended &&
        now_ms - stream->taken_ms > record->shared.server->config->client_stall_ms) {
        http_loop_cut(record->http, record->connection, HTTP_CUT_STALL);
        return;
    }
    const struct text ping = stream->ping.len > 0 ? stream->ping : TEXT(": ping\n\n");
    if (record->is_suspended && !stream->has_ended && now_ms - stream->put_ms > LIMIT_PING_MS &&
        sse_ring_put(&stream->ring, ping)) {
        announce(record);
    }
}
