/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/scheduler.h - which sequences advance in the next step, and by how many tokens.
 *
 * Pure functions: everything they know is passed in. Decode rows come first, one for every sequence
 * that can decode; prefill fills the rest of the step up to a budget. The oldest prompt gets half
 * of the budget, so that it always moves; the other half goes to the shortest remainders first, so
 * that a short prompt never waits behind a long one. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One sequence that could advance now, oldest first. */
struct scheduler_candidate {
    uint32_t slot;
    uint32_t prompt_left; /* Tokens still to prefill; 0: it decodes one token. */
};

/* One line of the plan: this slot advances by that many tokens. */
struct scheduler_share {
    uint32_t slot;
    uint32_t token_count;
};

struct scheduler_limits {
    uint32_t row_max;              /* Rows of one step. */
    uint32_t prefill_budget;       /* Rows of them that prefill may take while others decode. */
    uint32_t prefill_alone_budget; /* And when nobody decodes. */
    uint32_t turn; /* Counts steps: rotates who waits when decode rows exceed row_max. */
};

/* Plans a step: writes at most candidate_count shares (every slot at most once, every count >= 1)
 * and returns how many. */
uint32_t scheduler_plan(const struct scheduler_candidate *candidates, uint32_t candidate_count,
                        const struct scheduler_limits *limits,
                        struct scheduler_share *shares_out);

/* What the last steps cost. Zeroed: nothing known yet. */
struct scheduler_pace {
    double decode_step_ns; /* Smoothed time of a step that only decodes. */
    double prefill_row_ns; /* Smoothed time that each prefill row adds. */
};

/* Learns from one finished step. */
void scheduler_pace_learn(struct scheduler_pace *pace, uint32_t decode_rows,
                          uint32_t prefill_rows, uint64_t step_ns);

/* Prefill rows that fit a step of target_ns next to the decode rows: at least 16, so that prompts
 * always move, at most row_max. */
uint32_t scheduler_prefill_budget(const struct scheduler_pace *pace, uint64_t target_ns,
                                  uint32_t row_max);
