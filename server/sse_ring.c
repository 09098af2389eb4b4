/* SPDX-License-Identifier: Apache-2.0
 *
 * server/sse_ring.c - a queue of bytes in one piece of memory.
 *
 * Thread: any. */
#include "server/sse_ring.h"

#include <string.h>

#include "base/error.h"

#define EVENT_NAME_HEAD TEXT("event: ")
#define EVENT_NAME_TAIL TEXT("\n")
#define EVENT_HEAD TEXT("data: ")
#define EVENT_TAIL TEXT("\n\n")
#define EVENT_DONE TEXT("data: [DONE]\n\n")

void sse_ring_move(struct sse_ring *ring, char *buffer, size_t capacity)
{
    ASSERT_COMPARE(ring->len, <=, capacity);
    if (ring->len > 0) {
        memcpy(buffer, ring->buffer + ring->start, ring->len);
    }
    *ring = (struct sse_ring){.buffer = buffer, .capacity = capacity, .len = ring->len};
}

size_t sse_ring_event_bytes(struct text name, struct text json)
{
    const size_t named = name.len == 0 ? 0 : EVENT_NAME_HEAD.len + name.len + EVENT_NAME_TAIL.len;
    return named + EVENT_HEAD.len + json.len + EVENT_TAIL.len;
}

size_t sse_ring_space(const struct sse_ring *ring)
{
    const size_t taken = ring->len + EVENT_DONE.len;
    return taken < ring->capacity ? ring->capacity - taken : 0;
}

/* The caller has made sure that it fits. */
static void append(struct sse_ring *ring, struct text bytes)
{
    if (ring->capacity - ring->start - ring->len < bytes.len) {
        memmove(ring->buffer, ring->buffer + ring->start, ring->len);
        ring->start = 0;
    }
    if (bytes.len > 0) {
        memcpy(ring->buffer + ring->start + ring->len, bytes.bytes, bytes.len);
        ring->len += bytes.len;
    }
}

bool sse_ring_put_event(struct sse_ring *ring, struct text name, struct text json)
{
    if (sse_ring_space(ring) < sse_ring_event_bytes(name, json)) {
        return false;
    }
    if (name.len > 0) {
        append(ring, EVENT_NAME_HEAD);
        append(ring, name);
        append(ring, EVENT_NAME_TAIL);
    }
    append(ring, EVENT_HEAD);
    append(ring, json);
    append(ring, EVENT_TAIL);
    return true;
}

bool sse_ring_put(struct sse_ring *ring, struct text bytes)
{
    if (sse_ring_space(ring) < bytes.len) {
        return false;
    }
    append(ring, bytes);
    return true;
}

void sse_ring_put_done(struct sse_ring *ring)
{
    ASSERT_COMPARE(ring->len + EVENT_DONE.len, <=, ring->capacity);
    append(ring, EVENT_DONE);
}

size_t sse_ring_take(struct sse_ring *ring, char *buffer, size_t capacity)
{
    const size_t bytes = ring->len < capacity ? ring->len : capacity;
    if (bytes > 0) {
        memcpy(buffer, ring->buffer + ring->start, bytes);
    }
    ring->start += bytes;
    ring->len -= bytes;
    if (ring->len == 0) {
        ring->start = 0;
    }
    return bytes;
}
