/* SPDX-License-Identifier: Apache-2.0
 *
 * server/reply_buffer.c - text that grows in an arena.
 *
 * Thread: the arena's. */
#include "server/reply_buffer.h"

#include <string.h>

enum { CAPACITY_MIN = 256 };

bool reply_buffer_reserve(struct reply_buffer *buffer, size_t bytes, struct arena *arena)
{
    if (bytes <= buffer->capacity - buffer->len) {
        return true;
    }
    size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
    while (capacity - buffer->len < bytes) {
        capacity *= 2;
    }
    char *grown = arena_alloc(arena, capacity);
    if (grown == NULL) {
        return false;
    }
    if (buffer->len > 0) {
        memcpy(grown, buffer->bytes, buffer->len);
    }
    buffer->bytes = grown;
    buffer->capacity = capacity;
    return true;
}

bool reply_buffer_append(struct reply_buffer *buffer, struct text text, struct arena *arena)
{
    if (!reply_buffer_reserve(buffer, text.len, arena)) {
        return false;
    }
    if (text.len > 0) {
        memcpy(buffer->bytes + buffer->len, text.bytes, text.len);
        buffer->len += text.len;
    }
    return true;
}

struct text reply_buffer_text(const struct reply_buffer *buffer)
{
    return (struct text){.bytes = buffer->bytes, .len = buffer->len};
}
