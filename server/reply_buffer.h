/* SPDX-License-Identifier: Apache-2.0
 *
 * server/reply_buffer.h - text that grows in an arena: a reply that is not streamed.
 *
 * Doubles when full; the outgrown copies stay in the arena until its reset, together no larger than
 * the text. Thread: the arena's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/text.h"

/* Zeroed is a valid empty buffer. */
struct reply_buffer {
    char *bytes;
    size_t len;
    size_t capacity;
};

/* Makes room for that many more bytes; they start at bytes + len. False: no memory. */
bool reply_buffer_reserve(struct reply_buffer *buffer, size_t bytes, struct arena *arena);

/* Appends a copy. False: no memory, nothing is appended. */
bool reply_buffer_append(struct reply_buffer *buffer, struct text text, struct arena *arena);

struct text reply_buffer_text(const struct reply_buffer *buffer);
