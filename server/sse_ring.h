/* SPDX-License-Identifier: Apache-2.0
 *
 * server/sse_ring.h - the unsent bytes of one event stream; every event is in it whole or not.
 *
 * The memory is the caller's. No sockets, no clock. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* Zeroed is an empty ring without room. The bytes waiting are buffer[start, start + len), moved to
 * the front when the end is reached: moves are rare and the reader always gets one piece. */
struct sse_ring {
    char *buffer; /* [capacity] borrowed. */
    size_t capacity;
    size_t start;
    size_t len;
};

/* Changes to a buffer at least as large as what waits, and copies that over. */
void sse_ring_move(struct sse_ring *ring, char *buffer, size_t capacity);

/* Bytes that "event: <name>" (none for an empty name), "data: <json>" and the blank line take. */
size_t sse_ring_event_bytes(struct text name, struct text json);

/* Free bytes for events. The end of a stream has room of its own and always fits. */
size_t sse_ring_space(const struct sse_ring *ring);

/* Append an event, any bytes, or "data: [DONE]"; false and nothing done when it does not fit. */
bool sse_ring_put_event(struct sse_ring *ring, struct text name, struct text json);
bool sse_ring_put(struct sse_ring *ring, struct text bytes);
void sse_ring_put_done(struct sse_ring *ring);

/* Moves at most capacity bytes out; returns how many. */
size_t sse_ring_take(struct sse_ring *ring, char *buffer, size_t capacity);
