/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/model_files/memory_count.h - counts the heap that a test's code takes.
 *
 * The executable is linked so that malloc and its kin come here first (see meson.build). Counts
 * what is asked for, not what the allocator adds. Thread: one. */
#pragma once

#include <stddef.h>

/* Forgets the peak: from now on, what is alive counts as 0. */
void memory_count_reset(void);

/* The most bytes alive at once since the reset. */
size_t memory_count_peak(void);
