/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the one table: names that never collide, and a useful guess at a misspelt one.
 * Shown by: every row looked up by name; slips of one, two and three letters.
 * Thread: main. */
#include "config/config_options.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(config_options_find_the_row_when_flag_is_exact)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        ck_assert_ptr_eq(config_options_find(text_from(option->flag)), option);
        ck_assert_uint_lt(strlen("SKEIN_") + strlen(option->flag), CONFIG_NAME_BYTES);
    }
    ck_assert_ptr_null(config_options_find(TEXT("por")));
    ck_assert_ptr_null(config_options_find(TEXT("Port")));
}
END_TEST

START_TEST(config_options_guess_the_flag_when_at_most_two_letters_differ)
{
    ck_assert_str_eq(config_options_nearest(TEXT("slot")), "slots");
    ck_assert_str_eq(config_options_nearest(TEXT("prot")), "port");
    ck_assert_str_eq(config_options_nearest(TEXT("queue_timeout")), "queue-timeout");
    ck_assert_str_eq(config_options_nearest(TEXT("max_tokenslimit")), "max-tokens-limit");
    ck_assert_ptr_null(config_options_nearest(TEXT("max_tokns_limt")));
    ck_assert_ptr_null(config_options_nearest(TEXT("")));
}
END_TEST

START_TEST(config_options_guess_nothing_when_name_is_very_long)
{
    char name[200];
    memset(name, 'a', sizeof(name));
    ck_assert_ptr_null(config_options_nearest((struct text){name, CONFIG_NAME_BYTES - 1}));
    ck_assert_ptr_null(config_options_nearest((struct text){name, CONFIG_NAME_BYTES}));
    ck_assert_ptr_null(config_options_nearest((struct text){name, sizeof(name)}));
}
END_TEST

START_TEST(config_options_name_the_variable_when_flag_has_dashes)
{
    char name[CONFIG_NAME_BYTES];
    config_options_environment_name("max-tokens-limit", name);
    ck_assert_str_eq(name, "SKEIN_MAX_TOKENS_LIMIT");
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("config_options");
    tcase_add_test(all, config_options_find_the_row_when_flag_is_exact);
    tcase_add_test(all, config_options_guess_the_flag_when_at_most_two_letters_differ);
    tcase_add_test(all, config_options_guess_nothing_when_name_is_very_long);
    tcase_add_test(all, config_options_name_the_variable_when_flag_has_dashes);
    Suite *suite = suite_create("config/config_options");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
