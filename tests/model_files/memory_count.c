/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/model_files/memory_count.c - the functions that the linker puts before malloc and its kin.
 *
 * Thread: one. */
#include "tests/model_files/memory_count.h"

#include <malloc.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *memory);

static size_t alive;
static size_t peak;
static size_t base;

static void *note(void *memory)
{
    alive += memory == NULL ? 0 : malloc_usable_size(memory);
    peak = alive > peak ? alive : peak;
    return memory;
}

static void forget(void *memory)
{
    const size_t bytes = memory == NULL ? 0 : malloc_usable_size(memory);
    alive -= bytes < alive ? bytes : alive; /* Others may free here what they took elsewhere. */
}

void *__wrap_malloc(size_t bytes)
{
    return note(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return note(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    forget(memory);
    return note(__real_realloc(memory, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return note(__real_aligned_alloc(alignment, bytes));
}

void __wrap_free(void *memory)
{
    forget(memory);
    __real_free(memory);
}

void memory_count_reset(void)
{
    base = alive;
    peak = alive;
}

size_t memory_count_peak(void)
{
    return peak - base;
}
