/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_ceiling.h - what this machine can do at most: reading memory, multiplying and adding.
 *
 * The two roofs that `skein bench` holds the model's steps against. Measured with as many threads
 * as the backend has, by loops that do nothing else. Thread: one at a time. */
#pragma once

#include "base/clock.h"
#include "base/error.h"

struct cpu_ceiling;

/* Takes threads and a buffer of 512 MB, which no cache holds. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code cpu_ceiling_create(uint32_t thread_count, const struct clock *clock,
                                               struct cpu_ceiling **ceiling_out,
                                               struct error *error);
void cpu_ceiling_destroy(struct cpu_ceiling *ceiling);

/* Bytes a second, reading the buffer in order by all threads. Takes about seconds_min. */
double cpu_ceiling_read_rate(struct cpu_ceiling *ceiling, double seconds_min);

/* f32 operations a second, a fused multiply-add being two, in registers, by all threads. */
double cpu_ceiling_multiply_rate(struct cpu_ceiling *ceiling, double seconds_min);
