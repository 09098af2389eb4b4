/* SPDX-License-Identifier: Apache-2.0
 *
 * base/clock.c - the system's clocks.
 *
 * Thread: any. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/error.h"

enum { WALL_TEXT_BYTES = 25 }; /* 2026-11-24T20:00:00.123Z and its NUL. */

uint64_t clock_monotonic_ns(const struct clock *clock)
{
    if (clock->monotonic_ns != NULL) {
        return clock->monotonic_ns(clock->context);
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ms(const struct clock *clock)
{
    return clock_monotonic_ns(clock) / 1000000u;
}

int64_t clock_wall_seconds(void)
{
    return (int64_t)time(NULL);
}

void clock_wall_text(char *buffer, size_t capacity)
{
    ASSERT_COMPARE(capacity, >=, WALL_TEXT_BYTES);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    char seconds[sizeof("2026-11-24T20:00:00")];
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buffer, capacity, "%s.%03uZ", seconds, (unsigned)(now.tv_nsec / 1000000) % 1000);
}
