/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a configuration file does what it says, line by line, and the shipped one is true.
 * Shown by: odd but legal lines, every kind of bad line with its number, config/skein.ini itself.
 * Thread: main. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_options.h"
#include "config/config_value.h"
#include "tests/config/config_case.h"

START_TEST(config_file_reads_values_when_lines_are_odd_but_legal)
{
    case_load_ok("--config @", NULL,
                 "; comment\n# comment\n[section]\n\n  port=1\n\tqueue : 2\r\nslots = 3 ; note\n"
                 "insecure = yes\nmodel-name = two words\nmodel =\ntarget-itl = 1s");
    const struct config *config = &last_case.config;
    ck_assert_int_eq(config->port, 1);
    ck_assert_int_eq(config->queue, 2);
    ck_assert_int_eq(config->slots, 3);
    ck_assert(config->insecure);
    ck_assert_str_eq(config->model_name, "two words");
    ck_assert_ptr_null(config->model);
    ck_assert_uint_eq(config->target_itl_ms, 1000);
}
END_TEST

START_TEST(config_file_reports_line_when_it_is_bad)
{
    case_load_bad("--config @", NULL, "port\nport = 1\nport = 2\nconfig = x\nzzz = 1\nqueue = -1\n",
                  "file @ line 1: not of the form key = value\n"
                  "file @ line 3: port was given before\n"
                  "file @ line 4: config cannot be set in the file itself\n"
                  "file @ line 5: zzz is unknown\n"
                  "file @ line 6: queue = -1, allowed 1..65536\n");
}
END_TEST

START_TEST(config_file_reads_line_when_it_is_as_long_as_libinih_can_read)
{
    char line[256];
    snprintf(line, sizeof(line), "model-name = %0*d\nport = 1\n", 197 - 13, 7);
    case_load_ok("--config @", NULL, line);
    ck_assert_uint_eq(strlen(last_case.config.model_name), 197 - 13);
    ck_assert_int_eq(last_case.config.port, 1);
}
END_TEST

START_TEST(config_file_refuses_line_when_it_is_one_byte_longer)
{
    char line[256];
    snprintf(line, sizeof(line), "model-name = %0*d\nport = 1\n", 198 - 13, 7);
    case_load_bad("--config @", NULL, line, "file @ line 1: longer than 197 bytes\n");
    ck_assert_ptr_null(last_case.config.model_name);
    ck_assert_int_eq(last_case.config.port, 1);
}
END_TEST

START_TEST(config_file_refuses_line_when_it_has_a_nul)
{
    const char *path = case_write_file("port = 1\0 2\n", 12);
    char arguments[128];
    char expected[128];
    snprintf(arguments, sizeof(arguments), "--config %s", path);
    snprintf(expected, sizeof(expected), "file %s line 1: contains a NUL byte\n", path);
    case_load_bad(arguments, NULL, NULL, expected);
    unlink(path);
}
END_TEST

START_TEST(config_file_reports_when_it_is_a_directory)
{
    case_load_bad("--config .", NULL, NULL, "flag --config: .: Is a directory\n");
}
END_TEST

/* The shipped file with "#key" turned into "key"; prose comments start with "# ". */
static char *read_shipped_file(void)
{
    FILE *stream = fopen(SOURCE_ROOT "/config/skein.ini", "r");
    ck_assert_ptr_nonnull(stream);
    char *text = calloc(1, 1 << 16);
    ck_assert_uint_gt(fread(text, 1, (1 << 16) - 1, stream), 0);
    fclose(stream);
    for (char *byte = text; *byte != '\0'; byte++) {
        const bool starts_line = byte == text || byte[-1] == '\n';
        if (starts_line && byte[0] == '#' && byte[1] >= 'a' && byte[1] <= 'z') {
            *byte = ' ';
        }
    }
    return text;
}

START_TEST(config_file_changes_nothing_when_it_is_the_shipped_one)
{
    case_load_ok("--config " SOURCE_ROOT "/config/skein.ini", NULL, NULL);
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_origin origin = last_case.config.origins[index];
        ck_assert_int_ne(origin.source, CONFIG_SOURCE_FILE);
    }
}
END_TEST

START_TEST(config_file_names_every_default_when_it_is_the_shipped_one_uncommented)
{
    char *text = read_shipped_file();
    case_load_ok("--config @", NULL, text);
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        char line[CONFIG_VALUE_BYTES];
        snprintf(line, sizeof(line), "\n %s =%s%s\n", option->flag,
                 option->default_text == NULL ? "" : " ",
                 option->default_text == NULL ? "" : option->default_text);
        const bool is_named = strstr(text, line) != NULL;
        ck_assert_msg(is_named == (index != CONFIG_OPTION_config_file), "%s", option->flag);
    }
    free(text);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("config_file");
    tcase_add_checked_fixture(all, NULL, case_end);
    tcase_add_test(all, config_file_reads_values_when_lines_are_odd_but_legal);
    tcase_add_test(all, config_file_reports_line_when_it_is_bad);
    tcase_add_test(all, config_file_reads_line_when_it_is_as_long_as_libinih_can_read);
    tcase_add_test(all, config_file_refuses_line_when_it_is_one_byte_longer);
    tcase_add_test(all, config_file_refuses_line_when_it_has_a_nul);
    tcase_add_test(all, config_file_reports_when_it_is_a_directory);
    tcase_add_test(all, config_file_changes_nothing_when_it_is_the_shipped_one);
    tcase_add_test(all, config_file_names_every_default_when_it_is_the_shipped_one_uncommented);
    Suite *suite = suite_create("config/config_file");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
