/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: time that tests can hold still, and the form of the time in logs and replies.
 * Shown by: the fake clock through the real interface, and the system's clock read twice.
 * Thread: main. */
#include "base/clock.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/fake_clock.h"

START_TEST(clock_stands_still_when_fake_is_not_advanced)
{
    struct fake_clock fake = {0};
    const struct clock clock = fake_clock_view(&fake);
    ck_assert_uint_eq(clock_monotonic_ns(&clock), 0);
    ck_assert_uint_eq(clock_monotonic_ns(&clock), 0);
}
END_TEST

START_TEST(clock_moves_by_the_step_when_fake_is_advanced)
{
    struct fake_clock fake = {0};
    const struct clock clock = fake_clock_view(&fake);
    fake_clock_advance_ms(&fake, 1500);
    ck_assert_uint_eq(clock_monotonic_ns(&clock), 1500000000u);
    ck_assert_uint_eq(clock_monotonic_ms(&clock), 1500);
}
END_TEST

START_TEST(clock_never_goes_back_when_it_is_the_systems)
{
    const struct clock clock = {0};
    const uint64_t before = clock_monotonic_ns(&clock);
    ck_assert_uint_gt(before, 0);
    ck_assert_uint_ge(clock_monotonic_ns(&clock), before);
}
END_TEST

START_TEST(clock_wall_text_is_rfc3339_when_buffer_just_fits)
{
    char text[25];
    clock_wall_text(text, sizeof(text));
    ck_assert_uint_eq(strlen(text), 24);
    ck_assert_int_eq(text[10], 'T');
    ck_assert_int_eq(text[19], '.');
    ck_assert_int_eq(text[23], 'Z');
    ck_assert_int_gt(clock_wall_seconds(), 1600000000);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("clock");
    tcase_add_test(all, clock_stands_still_when_fake_is_not_advanced);
    tcase_add_test(all, clock_moves_by_the_step_when_fake_is_advanced);
    tcase_add_test(all, clock_never_goes_back_when_it_is_the_systems);
    tcase_add_test(all, clock_wall_text_is_rfc3339_when_buffer_just_fits);
    Suite *suite = suite_create("base/clock");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
