/* SPDX-License-Identifier: Apache-2.0
 *
 * base/arena.h - bump allocator: many allocations, one release.
 *
 * Blocks come from malloc; under AddressSanitizer, memory given back by a reset is poisoned.
 * Thread: one at a time (an exchange lends its arena to the prompt job and takes it back). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* Zeroed is a valid empty arena without limit. */
struct arena {
    struct arena_block *blocks; /* Newest first. */
    size_t bytes_used;          /* Sum of allocations since the last reset. */
    size_t bytes_max;           /* 0: no limit. */
};

/* Returns zeroed memory of that many bytes, aligned to 16, or NULL when the limit or memory is
 * exhausted: the caller reports ERROR_TOO_LARGE or ERROR_OUT_OF_MEMORY for its one request. */
void *arena_alloc(struct arena *arena, size_t bytes);

/* Copies bytes and appends a NUL; .bytes is NULL when there is no memory. */
struct text arena_copy(struct arena *arena, struct text text);

/* Gives everything back; the arena can be used again. Keeps no block. */
void arena_reset(struct arena *arena);
