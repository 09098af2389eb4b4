/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_memory.h - blocks of memory that every step goes through.
 *
 * The weights stream past once a step, and with them the processor forgets where other addresses
 * lie; on pages of 2 MB instead of 4 kB there is little to look up again. Thread: any. */
#pragma once

#include <stddef.h>

#include "base/error.h"

enum { CPU_ALIGNMENT = 64 }; /* A cache line, and a vector of AVX-512. */

/* Aligned to CPU_ALIGNMENT at least, on large pages where the system lends them, not zeroed. The
 * caller owns it and gives it to free. NULL: out of memory. */
WARN_UNUSED void *cpu_memory_take(size_t bytes);
