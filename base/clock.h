/* SPDX-License-Identifier: Apache-2.0
 *
 * base/clock.h - time as a value that is passed in, so that tests can hold it still.
 *
 * Logic never reads the time itself. Thread: any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Zeroed is the system's clock; tests/fakes/fake_clock.c supplies the other one. */
struct clock {
    uint64_t (*monotonic_ns)(void *context); /* NULL: CLOCK_MONOTONIC. */
    void *context;
};

uint64_t clock_monotonic_ns(const struct clock *clock);
uint64_t clock_monotonic_ms(const struct clock *clock);

/* Seconds since 1970 in UTC, for "created" fields and log lines. */
int64_t clock_wall_seconds(void);

/* Writes 2026-11-24T20:00:00.123Z; needs 25 bytes. */
void clock_wall_text(char *buffer, size_t capacity);
