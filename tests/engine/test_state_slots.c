/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: two sequences must never share a state, and no state may be lost.
 * Shown by: acquiring and releasing in many orders, at the limit and one past it. */
#include <check.h>
#include <stdlib.h>

#include "engine/state_slots.h"

START_TEST(state_slots_gives_all_or_none_when_asked_for_several)
{
    struct state_slots *slots = state_slots_create(4);
    uint32_t taken[5];
    ck_assert(state_slots_acquire(slots, 3, taken));
    ck_assert(!state_slots_acquire(slots, 2, taken + 3));
    ck_assert_uint_eq(state_slots_free_count(slots), 1);
    ck_assert(state_slots_acquire(slots, 1, taken + 3));
    ck_assert(!state_slots_acquire(slots, 1, taken + 4));
    state_slots_destroy(slots);
}
END_TEST

START_TEST(state_slots_are_distinct_when_used_for_long)
{
    enum { COUNT = 7 };
    struct state_slots *slots = state_slots_create(COUNT);
    bool held[COUNT] = {false};
    uint32_t random = 1;
    for (uint32_t turn = 0; turn < 10000; turn++) {
        random = random * 1664525u + 1013904223u;
        const uint32_t slot = (random >> 16) % COUNT;
        if (held[slot]) {
            state_slots_release(slots, slot);
            held[slot] = false;
            continue;
        }
        uint32_t taken = COUNT;
        ck_assert(state_slots_acquire(slots, 1, &taken));
        ck_assert_uint_lt(taken, COUNT);
        ck_assert_msg(!held[taken], "slot %u was given twice", taken);
        held[taken] = true;
    }
    state_slots_destroy(slots);
}
END_TEST

START_TEST(state_slots_gives_the_longest_free_first_when_released)
{
    struct state_slots *slots = state_slots_create(3);
    uint32_t taken[3];
    ck_assert(state_slots_acquire(slots, 3, taken));
    state_slots_release(slots, 2);
    state_slots_release(slots, 0);
    ck_assert(state_slots_acquire(slots, 1, taken));
    ck_assert_uint_eq(taken[0], 2);
    state_slots_destroy(slots);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state_slots");
    TCase *tests = tcase_create("acquire and release");
    tcase_add_test(tests, state_slots_gives_all_or_none_when_asked_for_several);
    tcase_add_test(tests, state_slots_are_distinct_when_used_for_long);
    tcase_add_test(tests, state_slots_gives_the_longest_free_first_when_released);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
