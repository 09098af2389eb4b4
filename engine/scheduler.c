/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/scheduler.c - decode first, then prefill within a budget. */
#include "engine/scheduler.h"

#include "base/error.h"

/* Below this many rows a chunk pays the whole pass over the weights for almost nothing. */
enum { PREFILL_ROWS_MIN = 16 };

/* Weight of the newest step in the smoothed times: follows a change within about ten steps. */
static const double PACE_WEIGHT = 0.2;

static uint32_t min_u32(uint32_t left, uint32_t right)
{
    return left < right ? left : right;
}

/* One row for every sequence that decodes; when they exceed row_max, a window that moves by
 * row_max every turn, so that everyone waits equally often. */
static uint32_t plan_decode(const struct scheduler_candidate *candidates, uint32_t candidate_count,
                            const struct scheduler_limits *limits,
                            struct scheduler_share *shares_out)
{
    uint32_t decode_count = 0;
    for (uint32_t i = 0; i < candidate_count; i++) {
        decode_count += candidates[i].prompt_left == 0;
    }
    uint32_t skip = 0;
    if (decode_count > limits->row_max) {
        skip = (uint32_t)((uint64_t)limits->turn * limits->row_max % decode_count);
    }
    const uint32_t wanted = min_u32(decode_count, limits->row_max);
    uint32_t seen = 0;
    uint32_t share_count = 0;
    for (uint32_t pass = 0; pass < 2 && share_count < wanted; pass++) {
        for (uint32_t i = 0; i < candidate_count && share_count < wanted; i++) {
            if (candidates[i].prompt_left != 0 || seen++ < skip) {
                continue;
            }
            shares_out[share_count++] =
                (struct scheduler_share){.slot = candidates[i].slot, .token_count = 1};
        }
    }
    return share_count;
}

/* The candidate with the shortest prompt left that has no share yet; the older of equals. */
static uint32_t shortest_without_share(const struct scheduler_candidate *candidates,
                                       uint32_t candidate_count,
                                       const struct scheduler_share *shares, uint32_t share_count)
{
    uint32_t best = candidate_count;
    for (uint32_t i = 0; i < candidate_count; i++) {
        if (candidates[i].prompt_left == 0 ||
            (best < candidate_count && candidates[i].prompt_left >= candidates[best].prompt_left)) {
            continue;
        }
        bool has_share = false;
        for (uint32_t j = 0; j < share_count; j++) {
            has_share = has_share || shares[j].slot == candidates[i].slot;
        }
        if (!has_share) {
            best = i;
        }
    }
    return best;
}

static uint32_t plan_prefill(const struct scheduler_candidate *candidates,
                             uint32_t candidate_count, uint32_t budget,
                             struct scheduler_share *shares_out)
{
    uint32_t oldest = 0;
    while (oldest < candidate_count && candidates[oldest].prompt_left == 0) {
        oldest++;
    }
    if (oldest == candidate_count || budget == 0) {
        return 0;
    }
    struct scheduler_share *first = &shares_out[0];
    *first = (struct scheduler_share){
        .slot = candidates[oldest].slot,
        .token_count = min_u32(candidates[oldest].prompt_left, (budget + 1) / 2),
    };
    budget -= first->token_count;
    uint32_t share_count = 1;
    while (budget > 0) {
        const uint32_t next =
            shortest_without_share(candidates, candidate_count, shares_out, share_count);
        if (next == candidate_count) {
            break;
        }
        const uint32_t rows = min_u32(candidates[next].prompt_left, budget);
        shares_out[share_count++] =
            (struct scheduler_share){.slot = candidates[next].slot, .token_count = rows};
        budget -= rows;
    }
    first->token_count += min_u32(candidates[oldest].prompt_left - first->token_count, budget);
    return share_count;
}

uint32_t scheduler_plan(const struct scheduler_candidate *candidates, uint32_t candidate_count,
                        const struct scheduler_limits *limits, struct scheduler_share *shares_out)
{
    ASSERT(limits->row_max > 0);
    const uint32_t decode_count = plan_decode(candidates, candidate_count, limits, shares_out);
    const uint32_t room = limits->row_max - decode_count;
    const uint32_t allowed =
        decode_count == 0 ? limits->prefill_alone_budget : limits->prefill_budget;
    const uint32_t budget = min_u32(room, allowed);
    return decode_count +
           plan_prefill(candidates, candidate_count, budget, shares_out + decode_count);
}

static void smooth(double *value, double observed)
{
    *value = *value == 0.0 ? observed : *value + PACE_WEIGHT * (observed - *value);
}

void scheduler_pace_learn(struct scheduler_pace *pace, uint32_t decode_rows,
                          uint32_t prefill_rows, uint64_t step_ns)
{
    if (prefill_rows == 0) {
        smooth(&pace->decode_step_ns, (double)step_ns);
        return;
    }
    const double base = decode_rows > 0 ? pace->decode_step_ns : 0.0;
    const double added = (double)step_ns > base ? (double)step_ns - base : 0.0;
    smooth(&pace->prefill_row_ns, added / prefill_rows);
}

uint32_t scheduler_prefill_budget(const struct scheduler_pace *pace, uint64_t target_ns,
                                  uint32_t row_max)
{
    if (pace->prefill_row_ns == 0.0) {
        return min_u32(4 * PREFILL_ROWS_MIN, row_max);
    }
    const double left = (double)target_ns - pace->decode_step_ns;
    const double rows = left / pace->prefill_row_ns;
    if (rows < PREFILL_ROWS_MIN) {
        return min_u32(PREFILL_ROWS_MIN, row_max);
    }
    return rows > row_max ? row_max : (uint32_t)rows;
}
