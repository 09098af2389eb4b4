/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_stats.h - what the engine counts, for /metrics and the health probes.
 *
 * One writer (the engine thread), any reader: relaxed atomics, so a probe is answered even when
 * the engine hangs on its device. Thread: written by the engine, read from any. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { ENGINE_HISTOGRAM_BUCKETS = 16 };

/* Upper bounds in seconds, the last bucket is +Inf. */
extern const double engine_histogram_bounds[ENGINE_HISTOGRAM_BUCKETS - 1];

struct engine_histogram {
    _Atomic uint64_t buckets[ENGINE_HISTOGRAM_BUCKETS]; /* Not cumulative. */
    _Atomic uint64_t sum_ns;
};

enum engine_outcome {
    ENGINE_OUTCOME_STOP,
    ENGINE_OUTCOME_LENGTH,
    ENGINE_OUTCOME_CANCELLED,
    ENGINE_OUTCOME_OVERLOADED, /* Refused: the queue was full. */
    ENGINE_OUTCOME_TIMEOUT,    /* Waited too long for a slot. */
    ENGINE_OUTCOME_ERROR,
    ENGINE_OUTCOME_COUNT
};

struct engine_stats {
    _Atomic uint32_t slots_total, slots_used;
    _Atomic uint32_t requests_waiting, requests_running;
    _Atomic uint32_t requests_paused;    /* Of the running ones: their client reads slowly. */
    _Atomic uint64_t choices_ended[ENGINE_OUTCOME_COUNT];
    _Atomic uint64_t prompt_tokens, generated_tokens;
    _Atomic uint64_t steps, step_rows;
    _Atomic uint64_t step_ns;            /* Time spent in steps. */
    _Atomic uint64_t state_copied_bytes; /* As backend_counters. */
    _Atomic uint64_t masks_found;        /* Parts of token masks that were kept, */
    _Atomic uint64_t masks_built;        /* and that had to be worked out. */
    _Atomic uint64_t progress_ns;        /* Monotonic time of the last turn of the engine's loop. */
    _Atomic bool device_failed;          /* Final: every request ends with ERROR_DEVICE. */
    struct engine_histogram queue_time, time_to_first_token, inter_token, request_time;
};

const char *engine_outcome_text(enum engine_outcome outcome);

/* Adds one observation. Thread: engine. */
void engine_histogram_add(struct engine_histogram *histogram, uint64_t duration_ns);

/* Whether the engine makes progress: true when idle, or when its loop turned within stall_ns. */
bool engine_stats_is_live(const struct engine_stats *stats, uint64_t now_ns, uint64_t stall_ns);
