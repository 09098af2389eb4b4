/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: headers of weight files are hostile JSON, read in place. Shown by: what each function
 * takes and refuses, and every prefix and bit flip of a header, in memory of exact size. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/json_scan.h"

static struct json_scan scan_of(const char *text)
{
    return json_scan_from(text_from(text));
}

START_TEST(json_scan_takes_strings_when_they_end)
{
    static const struct {
        const char *json, *text; /* NULL: refused. */
    } cases[] = {
        {"\"\"", ""},
        {" \t\r\n\"a b\"x", "a b"},
        {"\"\\\"\"", "\\\""},
        {"\"\\\\\"", "\\\\"},
        {"\"\\u0041\"", "\\u0041"},
        {"\"\xff\"", "\xff"},
        {"\"open", NULL},
        {"\"a\nb\"", NULL},
        {"\"a\\\nb\"", NULL},
        {"\"\\\"", NULL},
        {"a", NULL},
        {"", NULL},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct json_scan scan = scan_of(cases[index].json);
        struct text text;
        const bool is_taken = json_scan_string(&scan, &text);
        ck_assert_msg(is_taken == (cases[index].text != NULL), "%s", cases[index].json);
        ck_assert(!is_taken || text_equals(text, text_from(cases[index].text)));
    }
}
END_TEST

START_TEST(json_scan_takes_whole_numbers_when_they_fit_64_bits)
{
    static const struct {
        const char *json;
        bool is_taken;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},    {" 42,", true, 42}, {"18446744073709551615", true, UINT64_MAX},
        {"007", false, 0}, {"-1", false, 0},   {"18446744073709551616", false, 0},
        {"", false, 0},    {"+1", false, 0},   {"x", false, 0},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct json_scan scan = scan_of(cases[index].json);
        uint64_t value = 0;
        ck_assert_msg(json_scan_whole(&scan, &value) == cases[index].is_taken, "%s",
                      cases[index].json);
        ck_assert(!cases[index].is_taken || value == cases[index].value);
    }
    /* A fraction is not taken with the number: whatever comes next does not fit. */
    struct json_scan scan = scan_of("1.5]");
    uint64_t value;
    ck_assert(json_scan_whole(&scan, &value) && !json_scan_take(&scan, ']'));
}
END_TEST

START_TEST(json_scan_skips_values_when_their_brackets_match)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"1e-5,", "1e-5"},
        {" true}", "true"},
        {"null", "null"},
        {"\"a}\"]", "\"a}\""},
        {"{\"a\":[1,{\"b\":\"]\"}]},", "{\"a\":[1,{\"b\":\"]\"}]}"},
        {"[]", "[]"},
        {"[1}", NULL},
        {"{\"a\":[1}", NULL},
        {"[", NULL},
        {"]", NULL},
        {",", NULL},
        {"", NULL},
        {"@", NULL},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct json_scan scan = scan_of(cases[index].json);
        struct text text;
        const bool is_taken = json_scan_value(&scan, &text);
        ck_assert_msg(is_taken == (cases[index].text != NULL), "%s", cases[index].json);
        ck_assert(!is_taken || text_equals(text, text_from(cases[index].text)));
    }
}
END_TEST

START_TEST(json_scan_refuses_when_nested_deeper_than_32)
{
    char deep[2 * 33 + 1] = {0};
    struct text text;
    memset(deep, '[', 32);
    memset(deep + 32, ']', 32);
    struct json_scan scan = scan_of(deep);
    ck_assert(json_scan_value(&scan, &text) && json_scan_is_done(&scan));
    memset(deep, '[', 33);
    memset(deep + 33, ']', 33);
    scan = scan_of(deep);
    ck_assert(!json_scan_value(&scan, &text));
}
END_TEST

/* Takes everything in any order, as a reader would. */
static void take_all(const char *bytes, size_t len)
{
    struct json_scan scan = json_scan_from((struct text){.bytes = bytes, .len = len});
    struct text text;
    uint64_t value;
    while (!json_scan_is_done(&scan) &&
           (json_scan_take(&scan, '{') || json_scan_take(&scan, ',') ||
            json_scan_take(&scan, ':') || json_scan_string(&scan, &text) ||
            json_scan_whole(&scan, &value) || json_scan_value(&scan, &text))) {
        ck_assert(scan.at <= bytes + len);
    }
}

START_TEST(json_scan_stays_within_the_text_when_it_is_cut_or_flipped)
{
    static const char header[] =
        " {\"__metadata__\":{\"k\":\"v\\\"\"},\"t.w\":{\"dtype\":\"BF16\","
        "\"shape\":[2,3],\"data_offsets\":[0,12]}, \"x\" : [ {} , -1.5 ] } ";
    for (size_t len = 0; len < sizeof(header); len++) {
        for (int bit = -1; bit < (len == 0 ? 0 : 8); bit++) {
            char *exact = malloc(len + (len == 0));
            memcpy(exact, header, len);
            if (bit >= 0) {
                exact[len - 1] = (char)(exact[len - 1] ^ 1 << bit);
            }
            take_all(exact, len);
            free(exact);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json scan");
    TCase *tests = tcase_create("json scan");
    tcase_add_test(tests, json_scan_takes_strings_when_they_end);
    tcase_add_test(tests, json_scan_takes_whole_numbers_when_they_fit_64_bits);
    tcase_add_test(tests, json_scan_skips_values_when_their_brackets_match);
    tcase_add_test(tests, json_scan_refuses_when_nested_deeper_than_32);
    tcase_add_test(tests, json_scan_stays_within_the_text_when_it_is_cut_or_flipped);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
