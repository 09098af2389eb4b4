/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a bound that lets one number too many through.
 * Shown by: every integer of a range against every pair of bounds; decimals in hundredths likewise;
 * reading and comparing of decimals at their limits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/decimal.h"
#include "grammar_case.h"

static void check_integers(int low, int high, int multiple)
{
    char schema[160];
    snprintf(schema, sizeof(schema),
             "{\"type\":\"integer\",\"minimum\":%d,\"exclusiveMaximum\":%d,\"multipleOf\":%d}", low,
             high, multiple);
    struct grammar *grammar = grammar_case_schema(schema);
    for (int value = -130; value <= 1030; value++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", value);
        const bool right = value >= low && value < high && value % multiple == 0;
        const enum grammar_verdict found = grammar_case_verdict(grammar, text_from(text));
        ck_assert_msg((found == GRAMMAR_ACCEPTED) == right, "%d for %s", value, schema);
    }
    grammar_release(grammar);
}

START_TEST(number_accepts_exactly_the_integers_within_bounds)
{
    static const int bounds[] = {-120, -100, -99, -10, -9, -1, 0, 1, 9, 10, 11, 99, 100, 101, 1000};
    const size_t count = sizeof(bounds) / sizeof(bounds[0]);
    for (size_t low = 0; low < count; low++) {
        for (size_t high = low + 1; high < count; high++) {
            check_integers(bounds[low], bounds[high], 1);
        }
    }
    check_integers(-50, 1000, 7);
    check_integers(-50, 1000, 12);
    check_integers(0, 1001, 100);
}
END_TEST

static void check_hundredths(int low, int high)
{
    char schema[160];
    snprintf(schema, sizeof(schema),
             "{\"type\":\"number\",\"exclusiveMinimum\":%.2f,\"maximum\":%.2f}", low / 100.0,
             high / 100.0);
    struct grammar *grammar = grammar_case_schema(schema);
    for (int value = -250; value <= 250; value++) {
        char text[16];
        snprintf(text, sizeof(text), "%.2f", value / 100.0);
        const bool right = value > low && value <= high;
        const enum grammar_verdict found = grammar_case_verdict(grammar, text_from(text));
        ck_assert_msg((found == GRAMMAR_ACCEPTED) == right, "%s for %s", text, schema);
    }
    grammar_release(grammar);
}

START_TEST(number_accepts_exactly_the_decimals_within_bounds)
{
    static const int bounds[] = {-210, -200, -101, -100, -10, -1, 0, 1, 9, 10, 99, 100, 150, 205};
    const size_t count = sizeof(bounds) / sizeof(bounds[0]);
    for (size_t low = 0; low < count; low++) {
        for (size_t high = low + 1; high < count; high++) {
            check_hundredths(bounds[low], bounds[high]);
        }
    }
}
END_TEST

START_TEST(number_never_begins_what_no_digit_can_end)
{
    const char *schema = "{\"type\":\"integer\",\"minimum\":5,\"maximum\":7}";
    grammar_case_check_schema(schema, GRAMMAR_REFUSED,
                              GRAMMAR_TEXTS("1", "4", "8", "0", "-", "50", "5.", "5e"));
    schema = "{\"type\":\"number\",\"minimum\":0.995,\"exclusiveMaximum\":1}";
    grammar_case_check_schema(schema, GRAMMAR_PREFIX, GRAMMAR_TEXTS("0", "0.", "0.9", "0.99"));
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS("0.8", "0.994", "1", "-"));
    schema = "{\"type\":\"integer\",\"minimum\":100,\"maximum\":199,\"multipleOf\":64}";
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS("10", "18", "129", "2"));
    grammar_case_check_schema(schema, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("128", "192"));
}
END_TEST

START_TEST(number_limits_digits_as_documented)
{
    grammar_case_check_schema("{\"type\":\"integer\"}", GRAMMAR_ACCEPTED,
                              GRAMMAR_TEXTS("-9999999999999999999", "0", "-0"));
    grammar_case_check_schema("{\"type\":\"integer\"}", GRAMMAR_REFUSED,
                              GRAMMAR_TEXTS("10000000000000000000", "01", "1.0", "1e3", "+1"));
    grammar_case_check_schema("{\"type\":\"number\"}", GRAMMAR_ACCEPTED,
                              GRAMMAR_TEXTS("1e99", "-0.5E-12", "1.0", "12.3400"));
    grammar_case_check_schema("{\"type\":\"number\"}", GRAMMAR_REFUSED,
                              GRAMMAR_TEXTS("1e100", ".5", "-.", "1.e"));
    grammar_case_check_schema("{\"type\":\"number\",\"minimum\":0}", GRAMMAR_ACCEPTED,
                              GRAMMAR_TEXTS("123456789012345", "0.12345678901234", "-0.0"));
    grammar_case_check_schema("{\"type\":\"number\",\"minimum\":0}", GRAMMAR_REFUSED,
                              GRAMMAR_TEXTS("1234567890123456", "0.123456789012345", "1e2"));
}
END_TEST

static int compare(const char *left, const char *right)
{
    struct decimal left_value;
    struct decimal right_value;
    ck_assert(decimal_parse(text_from(left), &left_value));
    ck_assert(decimal_parse(text_from(right), &right_value));
    return decimal_compare(&left_value, &right_value);
}

START_TEST(decimal_compares_by_value_however_written)
{
    ck_assert_int_eq(compare("1e2", "100.0"), 0);
    ck_assert_int_eq(compare("0.000", "-0e9"), 0);
    ck_assert_int_eq(compare("123.456e-2", "1.23456"), 0);
    ck_assert_int_eq(compare("0.0012e4", "12"), 0);
    ck_assert_int_eq(compare("-2", "-10"), 1);
    ck_assert_int_eq(compare("0.1", "0.10000001"), -1);
    ck_assert_int_eq(compare("9.99", "10"), -1);
    ck_assert_int_eq(compare("-1", "0"), -1);
}
END_TEST

START_TEST(decimal_refuses_what_has_more_than_40_digits_on_a_side)
{
    struct decimal decimal;
    ck_assert(decimal_parse(TEXT("1e39"), &decimal));
    ck_assert(!decimal_parse(TEXT("1e40"), &decimal));
    ck_assert(decimal_parse(TEXT("1e-40"), &decimal));
    ck_assert(!decimal_parse(TEXT("1e-41"), &decimal));
    ck_assert(!decimal_parse(TEXT("1e999999999999999999999"), &decimal));
    ck_assert(!decimal_parse(TEXT("1e-999999999999999999999"), &decimal));
    ck_assert(decimal_parse(TEXT("0e999999999999999999999"), &decimal));
    ck_assert(decimal_is_zero(&decimal));
}
END_TEST

START_TEST(decimal_prints_the_shortest_plain_form)
{
    static const char *const rows[][2] = {{"1.50e1", "15"}, {"-0", "0"},         {"12e-3", "0.012"},
                                          {"1E3", "1000"},  {"-7.250", "-7.25"}, {"0.0e5", "0"}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct decimal decimal;
        char buffer[2 * DECIMAL_DIGITS_MAX + 4];
        ck_assert(decimal_parse(text_from(rows[row][0]), &decimal));
        ck_assert_uint_eq(decimal_print(&decimal, buffer), strlen(rows[row][1]));
        ck_assert_str_eq(buffer, rows[row][1]);
    }
}
END_TEST

int main(void)
{
    TCase *number = tcase_create("number");
    tcase_set_timeout(number, 100);
    tcase_add_test(number, number_accepts_exactly_the_integers_within_bounds);
    tcase_add_test(number, number_accepts_exactly_the_decimals_within_bounds);
    tcase_add_test(number, number_never_begins_what_no_digit_can_end);
    tcase_add_test(number, number_limits_digits_as_documented);
    TCase *decimal = tcase_create("decimal");
    tcase_add_test(decimal, decimal_compares_by_value_however_written);
    tcase_add_test(decimal, decimal_refuses_what_has_more_than_40_digits_on_a_side);
    tcase_add_test(decimal, decimal_prints_the_shortest_plain_form);
    Suite *suite = suite_create("grammar/number");
    suite_add_tcase(suite, number);
    suite_add_tcase(suite, decimal);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
