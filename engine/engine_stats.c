/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/engine_stats.c - histogram bounds, and what "live" means. */
#include "engine/engine_stats.h"

/* From a GPU's step to the patience of a person; one set serves all four histograms. */
const double engine_histogram_bounds[ENGINE_HISTOGRAM_BUCKETS - 1] = {
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
};

const char *engine_outcome_text(enum engine_outcome outcome)
{
    switch (outcome) {
    case ENGINE_OUTCOME_STOP:
        return "stop";
    case ENGINE_OUTCOME_LENGTH:
        return "length";
    case ENGINE_OUTCOME_CANCELLED:
        return "cancelled";
    case ENGINE_OUTCOME_OVERLOADED:
        return "overloaded";
    case ENGINE_OUTCOME_TIMEOUT:
        return "timeout";
    case ENGINE_OUTCOME_ERROR:
        return "error";
    case ENGINE_OUTCOME_COUNT:
        break;
    }
    return "";
}

void engine_histogram_add(struct engine_histogram *histogram, uint64_t duration_ns)
{
    const double seconds = (double)duration_ns * 1e-9;
    uint32_t bucket = 0;
    while (bucket < ENGINE_HISTOGRAM_BUCKETS - 1 && seconds > engine_histogram_bounds[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_ns, duration_ns, memory_order_relaxed);
}

bool engine_stats_is_live(const struct engine_stats *stats, uint64_t now_ns, uint64_t stall_ns)
{
    if (atomic_load_explicit(&stats->device_failed, memory_order_relaxed)) {
        return false;
    }
    const bool busy =
        atomic_load_explicit(&stats->requests_waiting, memory_order_relaxed) > 0 ||
        atomic_load_explicit(&stats->requests_running, memory_order_relaxed) > 0;
    const uint64_t progress = atomic_load_explicit(&stats->progress_ns, memory_order_relaxed);
    return !busy || now_ns <= progress || now_ns - progress < stall_ns;
}
