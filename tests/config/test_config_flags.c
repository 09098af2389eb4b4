/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the command line: nothing swallowed, nothing guessed.
 * Shown by: every way to write a flag, and every way to get it wrong.
 * Thread: main. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/config/config_case.h"

START_TEST(config_flags_take_value_when_separate_or_behind_equals)
{
    case_load_ok("--port 1 --queue=2 --insecure --top-p=0.5 --model-name=a=b", NULL, NULL);
    ck_assert_int_eq(last_case.config.port, 1);
    ck_assert_int_eq(last_case.config.queue, 2);
    ck_assert(last_case.config.insecure);
    ck_assert_double_eq(last_case.config.top_p, 0.5);
    ck_assert_str_eq(last_case.config.model_name, "a=b");
}
END_TEST

START_TEST(config_flags_let_the_last_win_when_one_is_repeated)
{
    case_load_ok("--port 1 --port 2 --insecure --insecure=false", NULL, NULL);
    ck_assert_int_eq(last_case.config.port, 2);
    ck_assert(!last_case.config.insecure);
}
END_TEST

START_TEST(config_flags_leave_arguments_when_they_are_not_flags)
{
    case_load_ok("one --port 1 - -- --port -x", NULL, NULL);
    ck_assert_uint_eq(last_case.config.argument_count, 4);
    ck_assert_str_eq(last_case.config.arguments[0], "one");
    ck_assert_str_eq(last_case.config.arguments[1], "-");
    ck_assert_str_eq(last_case.config.arguments[2], "--port");
    ck_assert_str_eq(last_case.config.arguments[3], "-x");
}
END_TEST

START_TEST(config_flags_report_when_value_is_missing)
{
    case_load_bad("--port --insecure --model-name= --queue", NULL, NULL,
                  "flag --port: needs a value\n"
                  "flag --model-name: (empty), 0 bytes, allowed 1 to 256\n"
                  "flag --queue: needs a value\n");
    ck_assert(last_case.config.insecure);
}
END_TEST

START_TEST(config_flags_report_when_flag_is_unknown)
{
    case_load_bad("--prot=1 -p --something-else --", NULL, NULL,
                  "flag --prot: unknown, did you mean --port?\n"
                  "-p: unknown, flags start with two dashes\n"
                  "flag --something-else: unknown, see --help\n");
}
END_TEST

START_TEST(config_flags_ask_for_help_when_told_to_and_skip_validation)
{
    case_load("--host 0.0.0.0 --help", NULL, NULL);
    ck_assert_int_eq(last_case.code, ERROR_NONE);
    ck_assert(last_case.config.help_wanted);
    case_load_ok("-h", NULL, NULL);
    ck_assert(last_case.config.help_wanted);
}
END_TEST

START_TEST(config_flags_fill_extra_flags_when_the_command_has_some)
{
    char *arguments[] = {(char *)"--synthetic", (char *)"0.4b", (char *)"--port=1",
                         (char *)"--verify"};
    struct config_extra_flag extra[] = {
        {.flag = "synthetic", .kind = CONFIG_EXTRA_VALUE},
        {.flag = "verify", .kind = CONFIG_EXTRA_SWITCH},
        {.flag = "other", .kind = CONFIG_EXTRA_SWITCH},
    };
    const struct config_input input = {
        .argc = 4, .argv = arguments, .extra_flags = extra, .extra_flag_count = 3};
    struct config config;
    struct error error;
    ck_assert_int_eq(config_load(&config, &input, stderr, &error), ERROR_NONE);
    ck_assert_str_eq(extra[0].value, "0.4b");
    ck_assert_str_eq(extra[1].value, "");
    ck_assert_ptr_null(extra[2].value);
    ck_assert_int_eq(config.port, 1);
    ck_assert_uint_eq(config.argument_count, 0);
    config_deinit(&config);
}
END_TEST

START_TEST(config_flags_refuse_value_when_extra_flag_is_a_switch)
{
    char *arguments[] = {(char *)"--verify=1", (char *)"--synthetic"};
    struct config_extra_flag extra[] = {
        {.flag = "synthetic", .kind = CONFIG_EXTRA_VALUE},
        {.flag = "verify", .kind = CONFIG_EXTRA_SWITCH},
    };
    const struct config_input input = {
        .argc = 2, .argv = arguments, .extra_flags = extra, .extra_flag_count = 2};
    struct config config;
    struct error error;
    char *said;
    size_t said_bytes;
    FILE *stream = open_memstream(&said, &said_bytes);
    ck_assert_int_eq(config_load(&config, &input, stream, &error), ERROR_INVALID_ARGUMENT);
    fclose(stream);
    ck_assert_str_eq(said, "flag --verify: takes no value\nflag --synthetic: needs a value\n");
    free(said);
    config_deinit(&config);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("config_flags");
    tcase_add_checked_fixture(all, NULL, case_end);
    tcase_add_test(all, config_flags_take_value_when_separate_or_behind_equals);
    tcase_add_test(all, config_flags_let_the_last_win_when_one_is_repeated);
    tcase_add_test(all, config_flags_leave_arguments_when_they_are_not_flags);
    tcase_add_test(all, config_flags_report_when_value_is_missing);
    tcase_add_test(all, config_flags_report_when_flag_is_unknown);
    tcase_add_test(all, config_flags_ask_for_help_when_told_to_and_skip_validation);
    tcase_add_test(all, config_flags_fill_extra_flags_when_the_command_has_some);
    tcase_add_test(all, config_flags_refuse_value_when_extra_flag_is_a_switch);
    Suite *suite = suite_create("config/config_flags");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
