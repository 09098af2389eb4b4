/* SPDX-License-Identifier: Apache-2.0
 *
 * server/sse_stream.h - an event stream as the reply of an exchange.
 *
 * A ring of LIMIT_STREAM_RING_BYTES holds what the client has not taken. Past half of it the
 * owner is asked to pause, below a quarter to go on. Events that were under way before the pause
 * took effect still fit: the ring grows up to LIMIT_STREAM_BACKLOG_BYTES. A client that takes
 * nothing for --client-stall is cut. Comment lines keep silent streams open. Thread: loop. */
#pragma once

#include <stdbool.h>

#include "base/text.h"
#include "server/http_exchange.h"

/* Commits status 200 and the headers of an event stream. The exchange must not have replied. */
void sse_stream_begin(struct http_exchange *exchange);
bool sse_stream_has_begun(const struct http_exchange *exchange);

/* Appends "data: <json>\n\n", whole or not at all. False: the ring is full or the client is gone;
 * the stream is then being cut, and on_client_gone has been called before this returns. */
bool sse_stream_write(struct http_exchange *exchange, struct text json);

/* The same with "event: <name>" before it. */
bool sse_stream_write_named(struct http_exchange *exchange, struct text name, struct text json);

/* Appends "data: [DONE]\n\n" and ends the reply when everything is sent. */
void sse_stream_end(struct http_exchange *exchange);

/* Ends the reply without that mark: in the protocols that have a last event of their own. */
void sse_stream_end_unmarked(struct http_exchange *exchange);

/* What is sent in silence, with its blank line, instead of a comment. Borrowed constant text. */
void sse_stream_set_ping(struct http_exchange *exchange, struct text ping);

/* Called when the ring crosses its marks: true asks to pause, false to go on. */
typedef void sse_on_pressure(struct http_exchange *exchange, bool pause);
void sse_stream_set_on_pressure(struct http_exchange *exchange, sse_on_pressure *on_pressure);
