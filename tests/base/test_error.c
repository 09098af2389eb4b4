/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every refusal a person reads, and that a failed assertion ends the program with facts.
 * Shown by: messages at and past the buffer's end, with line breaks, and from their own old text.
 * Thread: main. */
#include "base/error.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

START_TEST(error_set_fills_code_and_message_when_called)
{
    struct error error = {0};
    const enum error_code code = error_set(&error, ERROR_CORRUPT, "tensor %s: %d", "emb", 3);
    ck_assert_int_eq(code, ERROR_CORRUPT);
    ck_assert_int_eq(error.code, ERROR_CORRUPT);
    ck_assert_str_eq(error.message, "tensor emb: 3");
}
END_TEST

START_TEST(error_set_returns_code_when_error_is_null)
{
    ck_assert_int_eq(error_set(NULL, ERROR_TIMEOUT, "late"), ERROR_TIMEOUT);
}
END_TEST

START_TEST(error_set_keeps_all_when_message_just_fits)
{
    struct error error;
    (void)error_set(&error, ERROR_IO, "%0*d", ERROR_MESSAGE_BYTES - 1, 7);
    ck_assert_uint_eq(strlen(error.message), ERROR_MESSAGE_BYTES - 1);
    ck_assert_int_eq(error.message[ERROR_MESSAGE_BYTES - 2], '7');
}
END_TEST

START_TEST(error_set_cuts_when_message_is_one_byte_too_long)
{
    struct error error;
    (void)error_set(&error, ERROR_IO, "%0*d", ERROR_MESSAGE_BYTES, 7);
    ck_assert_uint_eq(strlen(error.message), ERROR_MESSAGE_BYTES - 1);
    ck_assert_int_eq(error.message[ERROR_MESSAGE_BYTES - 2], '0');
}
END_TEST

START_TEST(error_set_writes_one_line_when_values_have_line_breaks)
{
    struct error error;
    (void)error_set(&error, ERROR_IO, "a%sb", "\r\n\t\x1b\x7f");
    ck_assert_str_eq(error.message, "a     b");
}
END_TEST

START_TEST(error_set_adds_context_when_given_its_own_message)
{
    struct error error;
    (void)error_set(&error, ERROR_IO, "no space");
    (void)error_set(&error, ERROR_IO, "engine_open: %s", error.message);
    ck_assert_str_eq(error.message, "engine_open: no space");
}
END_TEST

START_TEST(error_code_text_names_every_code_when_asked)
{
    ck_assert_str_eq(error_code_text(ERROR_NONE), "none");
    ck_assert_str_eq(error_code_text(ERROR_SHUTTING_DOWN), "shutting down");
    ck_assert_str_eq(error_code_text((enum error_code)1000), "unknown error");
}
END_TEST

START_TEST(error_assert_aborts_when_condition_is_false)
{
    ASSERT(_i != 0);
    ASSERT_COMPARE(_i, ==, 0);
}
END_TEST

START_TEST(error_assert_passes_when_condition_is_true)
{
    ASSERT(_i == 0);
    ASSERT_COMPARE(_i, <, 1);
}
END_TEST

int main(void)
{
    TCase *set = tcase_create("error_set");
    tcase_add_test(set, error_set_fills_code_and_message_when_called);
    tcase_add_test(set, error_set_returns_code_when_error_is_null);
    tcase_add_test(set, error_set_keeps_all_when_message_just_fits);
    tcase_add_test(set, error_set_cuts_when_message_is_one_byte_too_long);
    tcase_add_test(set, error_set_writes_one_line_when_values_have_line_breaks);
    tcase_add_test(set, error_set_adds_context_when_given_its_own_message);
    tcase_add_test(set, error_code_text_names_every_code_when_asked);
    TCase *assertions = tcase_create("assert");
    tcase_add_loop_test_raise_signal(assertions, error_assert_aborts_when_condition_is_false,
                                     SIGABRT, 0, 2);
    tcase_add_test(assertions, error_assert_passes_when_condition_is_true);
    Suite *suite = suite_create("base/error");
    suite_add_tcase(suite, set);
    suite_add_tcase(suite, assertions);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
