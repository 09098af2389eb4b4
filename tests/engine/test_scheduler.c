/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: who advances. A wrong plan starves a stream or lets one prompt stall all others.
 * Shown by: plans written as text, "D(a) P(b,16)", for every rule; and random plans checked for
 * the limits that must always hold. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/scheduler.h"

/* Plans for candidates written as "a0 b512": slot letter, prompt left; returns the plan as text. */
static const char *plan_text(const char *candidates, uint32_t row_max, uint32_t budget,
                             uint32_t turn)
{
    static char text[256];
    struct scheduler_candidate list[16];
    struct scheduler_share shares[16];
    uint32_t count = 0;
    const char *cursor = candidates;
    while (*cursor != '\0') {
        list[count].slot = (uint32_t)(*cursor++ - 'a');
        list[count++].prompt_left = (uint32_t)strtoul(cursor, (char **)&cursor, 10);
        cursor += *cursor == ' ';
    }
    const struct scheduler_limits limits = {.row_max = row_max,
                                            .prefill_budget = budget,
                                            .prefill_alone_budget = 500,
                                            .turn = turn};
    const uint32_t share_count = scheduler_plan(list, count, &limits, shares);
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < share_count; i++) {
        bool decodes = false;
        for (uint32_t j = 0; j < count; j++) {
            decodes = decodes || (list[j].slot == shares[i].slot && list[j].prompt_left == 0);
        }
        const char letter = (char)('a' + shares[i].slot);
        len += (size_t)(decodes ? snprintf(text + len, sizeof text - len, "D(%c) ", letter)
                                : snprintf(text + len, sizeof text - len, "P(%c,%u) ", letter,
                                           shares[i].token_count));
    }
    text[len > 0 ? len - 1 : 0] = '\0';
    return text;
}

START_TEST(scheduler_plan_is_empty_when_nobody_waits)
{
    ck_assert_str_eq(plan_text("", 512, 64, 0), "");
}
END_TEST

START_TEST(scheduler_plan_puts_decode_first_when_mixed)
{
    ck_assert_str_eq(plan_text("a0 b100 c0", 512, 64, 0), "D(a) D(c) P(b,64)");
}
END_TEST

START_TEST(scheduler_plan_gives_prefill_its_own_budget_when_nobody_decodes)
{
    ck_assert_str_eq(plan_text("a1000", 400, 64, 0), "P(a,400)");
    ck_assert_str_eq(plan_text("a1000", 512, 64, 0), "P(a,500)");
    ck_assert_str_eq(plan_text("a500", 512, 64, 0), "P(a,500)");
}
END_TEST

START_TEST(scheduler_plan_lets_short_prompts_pass_when_the_oldest_is_long)
{
    ck_assert_str_eq(plan_text("a1000 b5 c40 d0", 512, 64, 0), "D(d) P(a,32) P(b,5) P(c,27)");
}
END_TEST

START_TEST(scheduler_plan_gives_what_is_left_to_the_oldest_when_others_are_short)
{
    ck_assert_str_eq(plan_text("a1000 b5 d0", 512, 64, 0), "D(d) P(a,59) P(b,5)");
}
END_TEST

START_TEST(scheduler_plan_keeps_half_for_the_oldest_when_many_short_ones_come)
{
    ck_assert_str_eq(plan_text("a1000 b20 c20 d20 e0", 512, 64, 0),
                     "D(e) P(a,32) P(b,20) P(c,12)");
}
END_TEST

START_TEST(scheduler_plan_rotates_when_decode_rows_exceed_the_step)
{
    ck_assert_str_eq(plan_text("a0 b0 c0", 2, 16, 0), "D(a) D(b)");
    ck_assert_str_eq(plan_text("a0 b0 c0", 2, 16, 1), "D(c) D(a)");
    ck_assert_str_eq(plan_text("a0 b0 c0", 2, 16, 2), "D(b) D(c)");
    ck_assert_str_eq(plan_text("a0 b0 c9", 2, 16, 0), "D(a) D(b)");
}
END_TEST

START_TEST(scheduler_plan_keeps_its_limits_when_random)
{
    uint32_t random = 7;
    for (uint32_t round = 0; round < 20000; round++) {
        struct scheduler_candidate list[12];
        struct scheduler_share shares[12];
        random = random * 1664525u + 1013904223u;
        const uint32_t count = (random >> 24) % 13;
        uint32_t decodes = 0;
        for (uint32_t i = 0; i < count; i++) {
            random = random * 1664525u + 1013904223u;
            const uint32_t left = (random >> 28) < 8 ? 0 : (random >> 16) % 300;
            list[i] = (struct scheduler_candidate){.slot = i, .prompt_left = left};
            decodes += left == 0;
        }
        const struct scheduler_limits limits = {
            .row_max = 1 + random % 64,
            .prefill_budget = random % 40,
            .prefill_alone_budget = 1 + random % 40,
            .turn = round};
        const uint32_t share_count = scheduler_plan(list, count, &limits, shares);
        uint32_t rows = 0;
        uint32_t prefill = 0;
        uint32_t seen = 0;
        for (uint32_t i = 0; i < share_count; i++) {
            const struct scheduler_share *share = &shares[i];
            ck_assert_uint_lt(share->slot, count);
            ck_assert_uint_eq(seen >> share->slot & 1, 0);
            seen |= 1u << share->slot;
            const uint32_t left = list[share->slot].prompt_left;
            ck_assert_uint_ge(share->token_count, 1);
            ck_assert_uint_le(share->token_count, left == 0 ? 1 : left);
            rows += share->token_count;
            prefill += left == 0 ? 0 : share->token_count;
        }
        ck_assert_uint_le(rows, limits.row_max);
        ck_assert(decodes == 0 || prefill <= limits.prefill_budget);
        ck_assert(count == 0 || share_count > 0);
    }
}
END_TEST

START_TEST(scheduler_budget_follows_the_measured_pace)
{
    struct scheduler_pace pace = {0};
    ck_assert_uint_eq(scheduler_prefill_budget(&pace, 50000000, 512), 64);
    scheduler_pace_learn(&pace, 8, 0, 10000000);  /* 10 ms of decoding. */
    scheduler_pace_learn(&pace, 8, 10, 20000000); /* 10 rows added 10 ms. */
    ck_assert_uint_eq(scheduler_prefill_budget(&pace, 50000000, 512), 40);
    ck_assert_uint_eq(scheduler_prefill_budget(&pace, 5000000, 512), 16);
    ck_assert_uint_eq(scheduler_prefill_budget(&pace, UINT64_C(5000000000), 512), 512);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *tests = tcase_create("plan and budget");
    tcase_add_test(tests, scheduler_plan_is_empty_when_nobody_waits);
    tcase_add_test(tests, scheduler_plan_puts_decode_first_when_mixed);
    tcase_add_test(tests, scheduler_plan_gives_prefill_its_own_budget_when_nobody_decodes);
    tcase_add_test(tests, scheduler_plan_lets_short_prompts_pass_when_the_oldest_is_long);
    tcase_add_test(tests, scheduler_plan_gives_what_is_left_to_the_oldest_when_others_are_short);
    tcase_add_test(tests, scheduler_plan_keeps_half_for_the_oldest_when_many_short_ones_come);
    tcase_add_test(tests, scheduler_plan_rotates_when_decode_rows_exceed_the_step);
    tcase_add_test(tests, scheduler_plan_keeps_its_limits_when_random);
    tcase_add_test(tests, scheduler_budget_follows_the_measured_pace);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
