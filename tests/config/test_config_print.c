/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: --help and the README name every option as it is.
 * Shown by: every row found in both prints; line width; bars escaped in table cells.
 * Thread: main. */
#include "config/config_print.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_options.h"

/* What a print function wrote; the caller frees it. */
static char *printed(void (*print)(FILE *))
{
    char *text;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    print(stream);
    fclose(stream);
    return text;
}

START_TEST(config_print_help_names_every_option_when_printed)
{
    char *help = printed(config_print_help);
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        char flag[CONFIG_NAME_BYTES + 8];
        snprintf(flag, sizeof(flag), "\n  --%s", option->flag);
        ck_assert_msg(strstr(help, flag) != NULL, "%s", option->flag);
        ck_assert_msg(strstr(help, option->help) != NULL, "%s", option->flag);
    }
    ck_assert_ptr_nonnull(strstr(help, "\n  --queue-timeout <s>\n      longest wait for a slot, "
                                       "then 503 (60s)\n"));
    ck_assert_ptr_nonnull(strstr(help, "\n  --insecure\n"));
    free(help);
}
END_TEST

START_TEST(config_print_help_stays_within_100_columns_when_printed)
{
    char *help = printed(config_print_help);
    char *rest = help;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        ck_assert_msg(strlen(line) <= 100, "%s", line);
    }
    free(help);
}
END_TEST

START_TEST(config_print_markdown_escapes_bars_when_options_are_choices)
{
    char *table = printed(config_print_markdown);
    ck_assert_ptr_nonnull(strstr(table, "| `--device auto\\|cpu\\|cuda` | `auto` |  | where "));
    ck_assert_ptr_nonnull(strstr(table, "| `--port <number>` | `8000` | `0..65535` | TCP port "));
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        char flag[CONFIG_NAME_BYTES + 8];
        snprintf(flag, sizeof(flag), "\n| `--%s", config_options_table[index].flag);
        ck_assert_msg(strstr(table, flag) != NULL, "%s", flag);
    }
    free(table);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("config_print");
    tcase_add_test(all, config_print_help_names_every_option_when_printed);
    tcase_add_test(all, config_print_help_stays_within_100_columns_when_printed);
    tcase_add_test(all, config_print_markdown_escapes_bars_when_options_are_choices);
    Suite *suite = suite_create("config/config_print");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
