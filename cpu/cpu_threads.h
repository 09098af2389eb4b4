/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_threads.h - fork-join pool: one loop's iterations over several cores.
 *
 * Invisible outside cpu/. The caller works too; between two loops of one step the others spin, so
 * that a join costs about a microsecond, and later they sleep.
 * Thread: create, run and destroy on one thread; tasks run on any. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct cpu_threads;

/* One iteration. `thread` < thread_count tells the threads apart, for scratch memory. */
typedef void cpu_task(void *context, uint32_t task, uint32_t thread);

/* thread_count >= 1 counts the caller. OUT_OF_MEMORY: also when the system starts no thread. */
WARN_UNUSED enum error_code cpu_threads_create(uint32_t thread_count,
                                               struct cpu_threads **threads_out,
                                               struct error *error);
void cpu_threads_destroy(struct cpu_threads *threads);

uint32_t cpu_threads_count(const struct cpu_threads *threads);

/* Calls task(context, 0..task_count-1, thread) once each, in any order, and returns when all have
 * returned. What the tasks wrote is then visible to the caller. */
void cpu_threads_run(struct cpu_threads *threads, uint32_t task_count, cpu_task *task,
                     void *context);
