/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: an operator's setting is obeyed or refused aloud; nobody listens in public unawares.
 * Shown by: all sources against each other, all mistakes at once, addresses on both sides.
 * Thread: main. */
#include "config/config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/config/config_case.h"

START_TEST(config_has_documented_defaults_when_nothing_is_given)
{
    case_load_ok(NULL, NULL, NULL);
    const struct config *config = &last_case.config;
    ck_assert_str_eq(config->host, "127.0.0.1");
    ck_assert_int_eq(config->port, 8000);
    ck_assert_ptr_null(config->model);
    ck_assert_int_eq(config->device, CONFIG_DEVICE_AUTO);
    ck_assert_int_eq(config->slots, 0);
    ck_assert_int_eq(config->queue, 256);
    ck_assert_uint_eq(config->queue_timeout_ms, 60000);
    ck_assert_uint_eq(config->drain_delay_ms, 0);
    ck_assert_uint_eq(config->drain_timeout_ms, 30000);
    ck_assert_uint_eq(config->client_stall_ms, 30000);
    ck_assert_uint_eq(config->target_itl_ms, 50);
    ck_assert_uint_eq(config->max_body_bytes, 4 << 20);
    ck_assert_int_eq(config->max_n, 128);
    ck_assert_int_eq(config->max_tokens_default, 4096);
    ck_assert_int_eq(config->max_tokens_limit, 65536);
    ck_assert_double_eq(config->temperature, CONFIG_UNSET);
    ck_assert_double_eq(config->top_p, CONFIG_UNSET);
    ck_assert_int_eq(config->chat_template, CONFIG_CHAT_TEMPLATE_AUTO);
    ck_assert_int_eq(config->doc_start_token, CONFIG_UNSET);
    ck_assert_ptr_null(config->api_key);
    ck_assert(!config->insecure);
    ck_assert_int_eq(config->log_level, LOG_INFO);
    ck_assert_int_eq(config->log_format, LOG_FORMAT_TEXT);
}
END_TEST

START_TEST(config_prefers_flag_then_environment_then_file_when_all_are_given)
{
    case_load_ok("--config @ --port 3", "SKEIN_PORT=2 SKEIN_QUEUE=2",
                 "port = 1\nqueue = 1\nslots = 1\n");
    ck_assert_int_eq(last_case.config.port, 3);
    ck_assert_int_eq(last_case.config.queue, 2);
    ck_assert_int_eq(last_case.config.slots, 1);
    const struct config_origin *origins = last_case.config.origins;
    ck_assert_int_eq(origins[CONFIG_OPTION_port].source, CONFIG_SOURCE_FLAG);
    ck_assert_int_eq(origins[CONFIG_OPTION_queue].source, CONFIG_SOURCE_ENVIRONMENT);
    ck_assert_int_eq(origins[CONFIG_OPTION_slots].source, CONFIG_SOURCE_FILE);
    ck_assert_uint_eq(origins[CONFIG_OPTION_slots].line, 3);
    ck_assert_int_eq(origins[CONFIG_OPTION_host].source, CONFIG_SOURCE_DEFAULT);
}
END_TEST

START_TEST(config_reads_file_when_the_environment_names_it)
{
    const char *path = case_write_file("port = 7\n", 9);
    char variable[80];
    snprintf(variable, sizeof(variable), "SKEIN_CONFIG=%s", path);
    case_load_ok(NULL, variable, NULL);
    ck_assert_int_eq(last_case.config.port, 7);
    unlink(path);
}
END_TEST

START_TEST(config_reports_every_mistake_when_there_are_several)
{
    case_load_bad("--config @ --port 65536 --quue 3", "SKEIN_TOP_P=1.1 SKEIN_SLOTS=x",
                  "slots = 4097\nprot = 1\n",
                  "flag --port: 65536, allowed 0..65535\n"
                  "flag --quue: unknown, did you mean --queue?\n"
                  "environment SKEIN_TOP_P: 1.1, allowed 0..1 or auto\n"
                  "environment SKEIN_SLOTS: x, allowed 0..4096\n"
                  "file @ line 1: slots = 4097, allowed 0..4096\n"
                  "file @ line 2: prot is unknown, did you mean port?\n");
    ck_assert_str_eq(last_case.error.message, "6 mistakes in the options");
}
END_TEST

START_TEST(config_reports_bad_value_when_a_stronger_source_hides_it)
{
    case_load_bad("--port 1", "SKEIN_PORT=-1", NULL,
                  "environment SKEIN_PORT: -1, allowed 0..65535\n");
}
END_TEST

START_TEST(config_warns_and_goes_on_when_a_variable_looks_misspelt)
{
    case_load(NULL, "SKEIN_PROT=1 SKEIN_PORT_8000_TCP_ADDR=1 SKEIN_= SKEIN_QUEUE= X=1", NULL);
    ck_assert_int_eq(last_case.code, ERROR_NONE);
    ck_assert_str_eq(last_case.said,
                     "warning: environment SKEIN_PROT: unknown, did you mean SKEIN_PORT?\n");
    ck_assert_int_eq(last_case.config.queue, 256);
}
END_TEST

START_TEST(config_refuses_public_host_when_there_is_no_key)
{
    const char *rest = " can be reached from other machines and there is no API key: give "
                       "--api-key-file FILE or SKEIN_API_KEY, or --insecure to do without\n";
    char expected[256];
    snprintf(expected, sizeof(expected), "flag --host: host 0.0.0.0%s", rest);
    case_load_bad("--host 0.0.0.0", NULL, NULL, expected);
    snprintf(expected, sizeof(expected), "environment SKEIN_HOST: host ::%s", rest);
    case_load_bad(NULL, "SKEIN_HOST=::", NULL, expected);
}
END_TEST

START_TEST(config_accepts_public_host_when_there_is_a_key_or_consent)
{
    case_load_ok("--host 0.0.0.0 --insecure", NULL, NULL);
    case_load_ok("--host 0.0.0.0", "SKEIN_API_KEY=sesame", NULL);
    case_load_ok("--host localhost", NULL, NULL);
}
END_TEST

START_TEST(config_refuses_cors_origin_when_it_is_none)
{
    case_load_ok("--cors-origin *", NULL, NULL);
    case_load_ok("--cors-origin https://a.example,http://localhost:3000", NULL, NULL);
    static const char *const wrong[] = {"a.example", "https://a.example/", "https://",
                                        "://a.example", "null"};
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        char arguments[128];
        char expected[256];
        snprintf(arguments, sizeof(arguments), "--cors-origin https://a.example,%s", wrong[index]);
        snprintf(expected, sizeof(expected),
                 "flag --cors-origin: cors-origin '%s' is neither * nor an origin such as "
                 "https://chat.example:8443, without a path\n",
                 wrong[index]);
        case_load_bad(arguments, NULL, NULL, expected);
    }
}
END_TEST

START_TEST(config_accepts_public_host_when_the_command_never_listens)
{
    char *arguments[] = {(char *)"--host", (char *)"0.0.0.0"};
    const struct config_input input = {.argc = 2, .argv = arguments, .never_listens = true};
    struct config config;
    struct error error;
    ck_assert_int_eq(config_load(&config, &input, stderr, &error), ERROR_NONE);
    config_deinit(&config);
}
END_TEST

START_TEST(config_knows_loopback_when_address_is_at_its_borders)
{
    static const char *const inside[] = {"127.0.0.0", "127.255.255.255", "::1", "localhost",
                                         "LocalHost"};
    static const char *const outside[] = {
        "126.255.255.255",   "128.0.0.0",         "0.0.0.0", "::", "::2",
        "localhost.example", "127.0.0.1.example", ""};
    for (size_t index = 0; index < sizeof(inside) / sizeof(inside[0]); index++) {
        ck_assert_msg(config_host_is_loopback(inside[index]), "%s", inside[index]);
    }
    for (size_t index = 0; index < sizeof(outside) / sizeof(outside[0]); index++) {
        ck_assert_msg(!config_host_is_loopback(outside[index]), "%s", outside[index]);
    }
}
END_TEST

START_TEST(config_never_repeats_a_key_when_it_is_bad)
{
    case_load_bad("--api-key s\xc3\xa9same", NULL, NULL,
                  "flag --api-key: (not shown), only printable ASCII without spaces is allowed\n");
}
END_TEST

START_TEST(config_refuses_path_when_nothing_is_there)
{
    case_load_bad("--model missing.pth --config missing.ini", "SKEIN_VOCAB=missing.txt", NULL,
                  "flag --config: missing.ini: No such file or directory\n"
                  "flag --model: missing.pth: No such file or directory\n"
                  "environment SKEIN_VOCAB: missing.txt: No such file or directory\n");
}
END_TEST

START_TEST(config_bounds_default_tokens_by_the_limit_when_both_are_given)
{
    case_load_ok("--max-tokens-default 100 --max-tokens-limit 100", NULL, NULL);
    case_load_bad("--max-tokens-default 101 --max-tokens-limit 100", NULL, NULL,
                  "flag --max-tokens-default: max-tokens-default = 101 is above "
                  "max-tokens-limit = 100\n");
}
END_TEST

START_TEST(config_lowers_default_tokens_when_only_the_limit_is_given)
{
    case_load_ok("--max-tokens-limit 100", NULL, NULL);
    ck_assert_int_eq(last_case.config.max_tokens_default, 100);
}
END_TEST

START_TEST(config_log_hides_the_key_when_it_is_set)
{
    FILE *caught = tmpfile();
    ck_assert_int_ge(dup2(fileno(caught), STDERR_FILENO), 0);
    case_load_ok("--api-key sesame --port 81", NULL, NULL);
    config_log_effective(&last_case.config);
    static char line[8192];
    rewind(caught);
    line[fread(line, 1, sizeof(line) - 1, caught)] = '\0';
    ck_assert_ptr_null(strstr(line, "sesame"));
    ck_assert_ptr_nonnull(strstr(line, " port=81 api-key=set api-key-file=\"not set\" "));
    ck_assert_ptr_nonnull(strstr(line, " target-itl=50ms queue=256 queue-timeout=1m "));
    ck_assert_ptr_nonnull(strstr(line, " max-body=4MiB "));
    ck_assert_ptr_nonnull(strstr(line, " temperature=auto "));
    ck_assert_ptr_nonnull(strstr(line, " drain-delay=0 "));
}
END_TEST

START_TEST(config_deinit_accepts_null_and_zero_when_called_twice)
{
    struct config config = {0};
    config_deinit(NULL);
    config_deinit(&config);
    config_deinit(&config);
}
END_TEST

int main(void)
{
    TCase *sources = tcase_create("sources");
    tcase_add_checked_fixture(sources, NULL, case_end);
    tcase_add_test(sources, config_has_documented_defaults_when_nothing_is_given);
    tcase_add_test(sources, config_prefers_flag_then_environment_then_file_when_all_are_given);
    tcase_add_test(sources, config_reads_file_when_the_environment_names_it);
    tcase_add_test(sources, config_reports_every_mistake_when_there_are_several);
    tcase_add_test(sources, config_reports_bad_value_when_a_stronger_source_hides_it);
    tcase_add_test(sources, config_warns_and_goes_on_when_a_variable_looks_misspelt);
    tcase_add_test(sources, config_log_hides_the_key_when_it_is_set);
    tcase_add_test(sources, config_deinit_accepts_null_and_zero_when_called_twice);
    TCase *checks = tcase_create("checks");
    tcase_add_checked_fixture(checks, NULL, case_end);
    tcase_add_test(checks, config_refuses_public_host_when_there_is_no_key);
    tcase_add_test(checks, config_accepts_public_host_when_there_is_a_key_or_consent);
    tcase_add_test(checks, config_refuses_cors_origin_when_it_is_none);
    tcase_add_test(checks, config_accepts_public_host_when_the_command_never_listens);
    tcase_add_test(checks, config_knows_loopback_when_address_is_at_its_borders);
    tcase_add_test(checks, config_never_repeats_a_key_when_it_is_bad);
    tcase_add_test(checks, config_refuses_path_when_nothing_is_there);
    tcase_add_test(checks, config_bounds_default_tokens_by_the_limit_when_both_are_given);
    tcase_add_test(checks, config_lowers_default_tokens_when_only_the_limit_is_given);
    Suite *suite = suite_create("config/config");
    suite_add_tcase(suite, sources);
    suite_add_tcase(suite, checks);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
