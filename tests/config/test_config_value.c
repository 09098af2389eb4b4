/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: what a value may be: units, ranges, words.
 * Shown by: both sides of every row's range, every unit, and text that is nearly right.
 * Thread: main. */
#include "config/config_value.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct config_option *find(const char *flag)
{
    const struct config_option *option = config_options_find(text_from(flag));
    ck_assert_ptr_nonnull(option);
    return option;
}

static bool is_accepted(const char *flag, const char *text, union config_value *value)
{
    struct error error;
    return config_value_parse(find(flag), text_from(text), value, &error) == ERROR_NONE;
}

static void check_amount(const char *flag, const char *text, uint64_t amount)
{
    union config_value value;
    ck_assert_msg(is_accepted(flag, text, &value), "%s = %s", flag, text);
    ck_assert_uint_eq(value.amount, amount);
}

static void check_refused(const char *flag, const char *text, const char *message)
{
    union config_value value;
    struct error error = {0};
    const enum error_code code = config_value_parse(find(flag), text_from(text), &value, &error);
    ck_assert_msg(code == ERROR_INVALID_ARGUMENT, "%s = %s", flag, text);
    ck_assert_str_eq(error.message, message);
}

START_TEST(config_value_reads_duration_when_it_has_any_unit_or_none)
{
    check_amount("queue-timeout", "500ms", 500);
    check_amount("queue-timeout", "30s", 30000);
    check_amount("queue-timeout", "2m", 120000);
    check_amount("queue-timeout", "1h", 3600000);
    check_amount("queue-timeout", "30", 30000);
    check_amount("queue-timeout", "30 s", 30000);
    check_amount("target-itl", "30", 30);
}
END_TEST

START_TEST(config_value_reads_bytes_when_they_have_any_unit_or_none)
{
    check_amount("max-body", "4096", 4096);
    check_amount("max-body", "64KiB", 65536);
    check_amount("max-body", "4MiB", 4 << 20);
    check_amount("max-body", "1GiB", 1 << 30);
}
END_TEST

START_TEST(config_value_refuses_amount_when_it_is_nearly_right)
{
    static const char *const durations[] = {"",
                                            "s",
                                            "-1s",
                                            "1.5s",
                                            "1S",
                                            "1 minute",
                                            "0x1s",
                                            "1s1s",
                                            "99999999999999999999s",
                                            "18446744073709551615h"};
    for (size_t index = 0; index < sizeof(durations) / sizeof(durations[0]); index++) {
        check_refused("queue-timeout", durations[index], "allowed 1ms..1h");
    }
    check_refused("max-body", "4MB", "allowed 1KiB..1GiB");
    check_refused("max-body", "4 M", "allowed 1KiB..1GiB");
    check_refused("max-body", "18446744073709551615GiB", "allowed 1KiB..1GiB");
}
END_TEST

/* Writes number as a value of the option: plain, in its smallest unit. */
static void format_number(const struct config_option *option, double number, char text[64])
{
    const char *unit = option->kind == CONFIG_KIND_DURATION_MS ? "ms" : "";
    snprintf(text, 64, "%.15g%s", number, unit);
}

START_TEST(config_value_keeps_every_range_when_at_its_ends_and_past_them)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        if (option->kind != CONFIG_KIND_INTEGER && option->kind != CONFIG_KIND_REAL &&
            option->kind != CONFIG_KIND_DURATION_MS && option->kind != CONFIG_KIND_BYTES) {
            continue;
        }
        const double step = option->kind == CONFIG_KIND_REAL ? 0.001 : 1;
        char text[64];
        union config_value value;
        format_number(option, option->min, text);
        ck_assert_msg(is_accepted(option->flag, text, &value), "%s = %s", option->flag, text);
        format_number(option, option->max, text);
        ck_assert_msg(is_accepted(option->flag, text, &value), "%s = %s", option->flag, text);
        format_number(option, option->min - step, text);
        ck_assert_msg(!is_accepted(option->flag, text, &value), "%s = %s", option->flag, text);
        format_number(option, option->max + step, text);
        ck_assert_msg(!is_accepted(option->flag, text, &value), "%s = %s", option->flag, text);
    }
}
END_TEST

START_TEST(config_value_accepts_word_when_it_is_the_default_only)
{
    union config_value value;
    ck_assert(is_accepted("temperature", "auto", &value));
    ck_assert_double_eq(value.real, CONFIG_UNSET);
    ck_assert(is_accepted("doc-start-token", "none", &value));
    ck_assert_int_eq(value.integer, CONFIG_UNSET);
    check_refused("temperature", "none", "allowed 0..2 or auto");
    check_refused("temperature", "-1", "allowed 0..2 or auto");
    check_refused("temperature", "nan", "allowed 0..2 or auto");
    check_refused("doc-start-token", "-1", "allowed 0..1048575 or none");
    check_refused("port", "auto", "allowed 0..65535");
    check_refused("port", "80.0", "allowed 0..65535");
}
END_TEST

START_TEST(config_value_reads_choice_when_word_is_whole)
{
    union config_value value;
    ck_assert(is_accepted("chat-template", "g1-think", &value));
    ck_assert_int_eq(value.choice, CONFIG_CHAT_TEMPLATE_G1_THINK);
    ck_assert(is_accepted("chat-template", "none", &value));
    ck_assert_int_eq(value.choice, CONFIG_CHAT_TEMPLATE_NONE);
    ck_assert(is_accepted("device", "cuda", &value));
    ck_assert_int_eq(value.choice, CONFIG_DEVICE_CUDA);
    ck_assert(is_accepted("log-level", "debug", &value));
    ck_assert_int_eq(value.choice, LOG_DEBUG);
    ck_assert(is_accepted("log-format", "json", &value));
    ck_assert_int_eq(value.choice, LOG_FORMAT_JSON);
    check_refused("device", "cud", "allowed auto|cpu|cuda");
    check_refused("device", "", "allowed auto|cpu|cuda");
    check_refused("device", "cpu|cuda", "allowed auto|cpu|cuda");
}
END_TEST

START_TEST(config_value_reads_bool_when_it_is_any_usual_word)
{
    union config_value value;
    ck_assert(is_accepted("insecure", "YES", &value) && value.boolean);
    ck_assert(is_accepted("insecure", "1", &value) && value.boolean);
    ck_assert(is_accepted("insecure", "off", &value) && !value.boolean);
    check_refused("insecure", "maybe", "allowed true or false");
}
END_TEST

START_TEST(config_value_bounds_strings_when_at_and_past_their_length)
{
    char name[258];
    union config_value value;
    memset(name, 'n', 257);
    name[257] = '\0';
    check_refused("model-name", name, "257 bytes, allowed 1 to 256");
    name[256] = '\0';
    ck_assert(is_accepted("model-name", name, &value));
    check_refused("model-name", "", "0 bytes, allowed 1 to 256");
    check_refused("model-name", "a\nb", "only UTF-8 without control characters is allowed");
    check_refused("model-name", "a\xff", "only UTF-8 without control characters is allowed");
    check_refused("api-key", "a b", "only printable ASCII without spaces is allowed");
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("config_value");
    tcase_add_test(all, config_value_reads_duration_when_it_has_any_unit_or_none);
    tcase_add_test(all, config_value_reads_bytes_when_they_have_any_unit_or_none);
    tcase_add_test(all, config_value_refuses_amount_when_it_is_nearly_right);
    tcase_add_test(all, config_value_keeps_every_range_when_at_its_ends_and_past_them);
    tcase_add_test(all, config_value_accepts_word_when_it_is_the_default_only);
    tcase_add_test(all, config_value_reads_choice_when_word_is_whole);
    tcase_add_test(all, config_value_reads_bool_when_it_is_any_usual_word);
    tcase_add_test(all, config_value_bounds_strings_when_at_and_past_their_length);
    Suite *suite = suite_create("config/config_value");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
