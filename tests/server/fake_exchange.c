/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/fake_exchange.c - exchanges and event streams without a connection.
 *
 * Thread: main. */
#include "fake_exchange.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static struct fake_exchange *fake_of(const struct http_exchange *exchange)
{
    return (struct fake_exchange *)(uintptr_t)exchange;
}

void fake_exchange_init(struct fake_exchange *fake, struct server *server, const char *body)
{
    *fake = (struct fake_exchange){.shared = {.server = server,
                                              .method = "POST",
                                              .path = "/",
                                              .path_tail = "",
                                              .body = text_from(body)}};
}

void fake_exchange_deinit(struct fake_exchange *fake)
{
    ck_assert_uint_eq(fake->holders, 0);
    arena_reset(&fake->shared.arena);
}

void fake_exchange_lose_client(struct fake_exchange *fake)
{
    fake->shared.client_gone = true;
    if (fake->holders != 0 && fake->shared.on_client_gone != NULL) {
        fake->shared.on_client_gone(&fake->shared);
    }
}

static void append(struct fake_exchange *fake, struct text text)
{
    ck_assert_uint_lt(fake->body_len + text.len, FAKE_EXCHANGE_BYTES);
    memcpy(fake->body + fake->body_len, text.bytes, text.len);
    fake->body_len += text.len;
}

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value)
{
    struct fake_exchange *fake = fake_of(exchange);
    const size_t len = strlen(fake->headers);
    snprintf(fake->headers + len, sizeof(fake->headers) - len, "%s: %s\n", name, value);
}

void http_exchange_reply(struct http_exchange *exchange, unsigned status, const char *content_type,
                         struct text body)
{
    struct fake_exchange *fake = fake_of(exchange);
    if (exchange->client_gone) {
        return;
    }
    ck_assert_uint_eq(fake->status, 0);
    ck_assert_str_eq(content_type, "application/json");
    fake->status = status;
    append(fake, body);
}

void http_exchange_hold(struct http_exchange *exchange, enum http_holder holder)
{
    ck_assert((fake_of(exchange)->holders & holder) == 0);
    fake_of(exchange)->holders |= holder;
}

void http_exchange_release(struct http_exchange *exchange, enum http_holder holder)
{
    ck_assert((fake_of(exchange)->holders & holder) != 0);
    fake_of(exchange)->holders &= ~(unsigned)holder;
}

void sse_stream_begin(struct http_exchange *exchange)
{
    struct fake_exchange *fake = fake_of(exchange);
    ck_assert(!fake->stream_begun && fake->status == 0);
    fake->stream_begun = true;
    fake->status = 200;
}

bool sse_stream_has_begun(const struct http_exchange *exchange)
{
    return fake_of(exchange)->stream_begun;
}

bool sse_stream_write_named(struct http_exchange *exchange, struct text name, struct text json)
{
    struct fake_exchange *fake = fake_of(exchange);
    ck_assert(fake->stream_begun && !fake->stream_ended);
    if (exchange->client_gone) {
        return false;
    }
    if (fake->ring_is_full) {
        fake_exchange_lose_client(fake);
        return false;
    }
    if (name.len > 0) {
        append(fake, name);
        append(fake, TEXT(" "));
    }
    append(fake, json);
    append(fake, TEXT("\n"));
    return true;
}

bool sse_stream_write(struct http_exchange *exchange, struct text json)
{
    return sse_stream_write_named(exchange, TEXT(""), json);
}

void sse_stream_end(struct http_exchange *exchange)
{
    struct fake_exchange *fake = fake_of(exchange);
    ck_assert(fake->stream_begun && !fake->stream_ended);
    fake->stream_ended = true;
    append(fake, TEXT("[DONE]\n"));
}

void sse_stream_end_unmarked(struct http_exchange *exchange)
{
    struct fake_exchange *fake = fake_of(exchange);
    ck_assert(fake->stream_begun && !fake->stream_ended);
    fake->stream_ended = true;
}

void sse_stream_set_ping(struct http_exchange *exchange, struct text ping)
{
    fake_of(exchange)->ping = ping;
}

void sse_stream_set_on_pressure(struct http_exchange *exchange, sse_on_pressure *on_pressure)
{
    fake_of(exchange)->on_pressure = on_pressure;
}
