/* SPDX-License-Identifier: Apache-2.0
 *
 * base/arena.c - bump allocator over a list of blocks.
 *
 * Under AddressSanitizer the part of a block that is not yet allocated is poisoned, so that writing
 * past an allocation is seen; a reset hands the blocks to free, which poisons them.
 * Thread: one at a time. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_HAS_ASAN 1
#endif

#ifdef ARENA_HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

enum {
    ALIGNMENT = 16,
    BLOCK_BYTES = 16 * 1024, /* A chat request of usual length fits one block. */
};

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t capacity;
    alignas(ALIGNMENT) unsigned char bytes[]; /* Zeroed by calloc. */
};

static struct arena_block *block_create(size_t bytes_min)
{
    const size_t capacity = bytes_min > BLOCK_BYTES ? bytes_min : BLOCK_BYTES;
    if (capacity > SIZE_MAX - sizeof(struct arena_block)) {
        return NULL;
    }
    struct arena_block *block = calloc(1, sizeof(*block) + capacity);
    if (block != NULL) {
        block->capacity = capacity;
        ASAN_POISON_MEMORY_REGION(block->bytes, capacity);
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGNMENT) {
        return NULL;
    }
    /* An empty allocation still gets an address of its own. */
    const size_t wanted = bytes == 0 ? 1 : bytes;
    const size_t cost = (wanted + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (cost > SIZE_MAX - arena->bytes_used ||
        (arena->bytes_max > 0 && arena->bytes_used + cost > arena->bytes_max)) {
        return NULL;
    }
    struct arena_block *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < cost) {
        block = block_create(cost);
        if (block == NULL) {
            return NULL;
        }
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->bytes + block->used;
    block->used += cost;
    arena->bytes_used += cost;
    ASAN_UNPOISON_MEMORY_REGION(memory, wanted);
    return memory;
}

struct text arena_copy(struct arena *arena, struct text text)
{
    char *bytes = text.len == SIZE_MAX ? NULL : arena_alloc(arena, text.len + 1);
    if (bytes == NULL) {
        return (struct text){0};
    }
    if (text.len > 0) {
        memcpy(bytes, text.bytes, text.len); /* The NUL is there: memory comes zeroed. */
    }
    return (struct text){.bytes = bytes, .len = text.len};
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->bytes_used = 0;
}
