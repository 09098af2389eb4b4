/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_memory.c - aligned blocks, with a word to the system about their pages.
 *
 * Thread: any. */
#include "cpu/cpu_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { LARGE_PAGE_BYTES = 2 << 20 };

void *cpu_memory_take(size_t bytes)
{
    const size_t alignment = bytes < LARGE_PAGE_BYTES ? CPU_ALIGNMENT : LARGE_PAGE_BYTES;
    if (bytes > SIZE_MAX - alignment) {
        return NULL;
    }
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(alignment, rounded);
    if (memory != NULL && alignment == LARGE_PAGE_BYTES) {
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* Refused: slower, not wrong. */
    }
    return memory;
}
