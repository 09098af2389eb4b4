/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: whatever a client sends as JSON must be refused or read, never crash or be misread.
 * Shown by: lists of bodies for either outcome, both sides of every limit, and errors' paths. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "server/json_reader.h"

static struct arena arena;
static struct json_reader reader;
static char *borrowed; /* Of the open document. */
static struct error error;

static void teardown(void)
{
    json_reader_close(&reader);
    arena_reset(&arena);
    free(borrowed);
    borrowed = NULL;
}

/* In memory of exact size, so that reading past the NUL is seen; kept until the next one, as the
 * reader borrows it. */
static enum error_code open_text(struct text text)
{
    free(borrowed);
    borrowed = malloc(text.len + 1);
    ck_assert_ptr_nonnull(borrowed);
    memcpy(borrowed, text.bytes, text.len);
    borrowed[text.len] = '\0';
    error = (struct error){0};
    const struct text copy = {.bytes = borrowed, .len = text.len};
    return json_reader_open(&reader, copy, &arena, &error);
}

static struct json_value open_member(const char *json, const char *name)
{
    const enum error_code code = open_text(text_from(json));
    ck_assert_msg(code == ERROR_NONE, "%s: %s", json, error.message);
    return json_reader_member(json_reader_root(&reader), name);
}

/* TEXT is no constant expression. */
/* clang-format off */
#define BODY(literal) {.bytes = (literal), .len = sizeof(literal) - 1}
/* clang-format on */

static const struct text accepted[] = {
    BODY("{}"),
    BODY(" {\r\n\t} \n"),
    BODY("{\"a\":1,\"A\":2}"),
    BODY("{\"a\":{\"a\":1}}"),
    BODY("{\"a\":\"\\u00e9\\ud83d\\ude00\\n\\\\u0000\"}"),
    BODY("{\"a\":\"\xc3\xa9\xf0\x9f\x98\x80\"}"),
    BODY("{\"a\":\"[[[,,,{{{\"}"),
    BODY("{\"a\":\"\x7f\"}"),
};

START_TEST(json_reader_opens_when_the_body_is_well_formed)
{
    const enum error_code code = open_text(accepted[_i]);
    ck_assert_msg(code == ERROR_NONE, "%s: %s", accepted[_i].bytes, error.message);
}
END_TEST

static const struct {
    struct text body;
    const char *message;
} refused[] = {
    {BODY(""), "no body"},
    {BODY(" \n"), "no body"},
    {BODY("{"), "syntax"},
    {BODY("{\"a\":1"), "syntax"},
    {BODY("{\"a\":1}x"), "syntax"},
    {BODY("{\"a\":1}{}"), "syntax"},
    {BODY("{\"a\":1}]"), "syntax"},
    {BODY("{\"a\":NaN}"), "syntax"},
    {BODY("{\"a\":1,}"), "syntax"},
    {BODY("{'a':1}"), "syntax"},
    {BODY("{\"a\":\"\\x\"}"), "syntax"},
    {BODY("{\"a\":\"\\"), "escape"},
    {BODY("[]"), "must be a JSON object"},
    {BODY("\"a\""), "must be a JSON object"},
    {BODY("null"), "must be a JSON object"},
    {BODY("{\"a\":1,\"b\":2,\"a\":3}"), "a: duplicate key"},
    {BODY("{\"x\":[{\"\\u0061\":1,\"a\":3}]}"), "x[0].a: duplicate key"},
    {BODY("{\"a\":\"\xff\"}"), "invalid UTF-8 at byte 6"},
    {BODY("{\"a\":\"\xc0\xaf\"}"), "invalid UTF-8"},
    {BODY("{\"a\":\"\xed\xa0\x80\"}"), "invalid UTF-8"},
    {BODY("{\"a\":\"\xf4\x90\x80\x80\"}"), "invalid UTF-8"},
    {BODY("{\"a\":\"\xc3"), "invalid UTF-8"},
    {BODY("{\"a\":\"x\0y\"}"), "control character at byte 7"},
    {BODY("{\"a\":1}\0"), "control character"},
    {BODY("{\"a\":\"x\ny\"}"), "control character"},
    {BODY("{\"a\":\x01 1}"), "control character"},
    {BODY("{\"a\":\"\\u0000\"}"), "\\u0000"},
    {BODY("{\"a\":\"\\uZZZZ\"}"), "escape"},
    {BODY("{\"a\":\"\\u12\"}"), "escape"},
    {BODY("{\"a\":\"\\ud800\"}"), "lone surrogate"},
    {BODY("{\"a\":\"\\ud800\\u0041\"}"), "lone surrogate"},
    {BODY("{\"a\":\"\\ude00\\ud83d\"}"), "lone surrogate"},
};

START_TEST(json_reader_refuses_when_the_body_is_malformed)
{
    const enum error_code code = open_text(refused[_i].body);
    ck_assert_msg(code == ERROR_INVALID_ARGUMENT, "%s was accepted", refused[_i].body.bytes);
    ck_assert_msg(strstr(error.message, refused[_i].message) != NULL, "%s: got '%s'",
                  refused[_i].body.bytes, error.message);
    ck_assert_ptr_null(reader.root);
}
END_TEST

/* {"a":[[..]]} with that many levels, the object included. */
static enum error_code open_nested(size_t levels)
{
    char body[1024] = "{\"a\":";
    const size_t start = strlen(body);
    memset(body + start, '[', levels - 1);
    memset(body + start + levels - 1, ']', levels - 1);
    memcpy(body + start + 2 * (levels - 1), "}", 2);
    return open_text(text_from(body));
}

START_TEST(json_reader_opens_when_as_deep_as_the_limit)
{
    ck_assert_int_eq(open_nested(LIMIT_JSON_DEPTH), ERROR_NONE);
}
END_TEST

START_TEST(json_reader_refuses_when_deeper_than_the_limit)
{
    ck_assert_int_eq(open_nested(LIMIT_JSON_DEPTH + 1), ERROR_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(error.message, "64 levels"));
}
END_TEST

/* {"a":[1,1,..]}: the two brackets count, and the commas between. */
static enum error_code open_array(size_t items)
{
    const size_t commas = items - 2;
    char *body = malloc(2 * commas + 16);
    ck_assert_ptr_nonnull(body);
    static const char begin[] = "{\"a\":[1";
    size_t len = sizeof(begin) - 1;
    memcpy(body, begin, len);
    for (size_t index = 0; index < commas; index++) {
        memcpy(body + len, ",1", 2);
        len += 2;
    }
    memcpy(body + len, "]}", 2);
    const enum error_code code = open_text((struct text){.bytes = body, .len = len + 2});
    free(body);
    return code;
}

START_TEST(json_reader_opens_when_as_many_items_as_the_limit)
{
    ck_assert_int_eq(open_array(LIMIT_JSON_ITEMS), ERROR_NONE);
    const struct json_value array = json_reader_member(json_reader_root(&reader), "a");
    ck_assert_uint_eq(json_reader_count(array), LIMIT_JSON_ITEMS - 1);
}
END_TEST

START_TEST(json_reader_refuses_when_more_items_than_the_limit)
{
    ck_assert_int_eq(open_array(LIMIT_JSON_ITEMS + 1), ERROR_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(error.message, "100000 values"));
}
END_TEST

START_TEST(json_reader_finds_nothing_when_null_or_of_another_case)
{
    ck_assert_ptr_null(open_member("{\"a\":null,\"B\":1}", "a").node);
    ck_assert_ptr_null(json_reader_member(json_reader_root(&reader), "b").node);
    ck_assert_ptr_nonnull(json_reader_member(json_reader_root(&reader), "B").node);
}
END_TEST

START_TEST(json_reader_reads_an_integer_when_it_is_whole_and_in_range)
{
    static const struct {
        const char *json;
        int64_t value;
    } cases[] = {
        {"{\"a\":1}", 1}, {"{\"a\":100.0}", 100}, {"{\"a\":1e2}", 100}, {"{\"a\":-5}", -5}};
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        const struct json_value value = open_member(cases[index].json, "a");
        int64_t number = 0;
        ck_assert_int_eq(json_reader_integer(&reader, value, -5, 100, &number, &error), ERROR_NONE);
        ck_assert_int_eq(number, cases[index].value);
        json_reader_close(&reader);
    }
}
END_TEST

START_TEST(json_reader_refuses_an_integer_when_it_is_not_one_or_out_of_range)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"a\":1.5}", "a: 1.5, must be a whole number"},
        {"{\"a\":101}", "a: 101, allowed -5 to 100"},
        {"{\"a\":-6}", "a: -6, allowed -5 to 100"},
        {"{\"a\":1e400}", "a: inf, allowed -5 to 100"},
        {"{\"a\":1e20}", "a: 1e+20, allowed -5 to 100"},
        {"{\"a\":\"5\"}", "a: must be a number"},
        {"{\"a\":true}", "a: must be a number"},
        {"{\"a\":[5]}", "a: must be a number"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        const struct json_value value = open_member(cases[index].json, "a");
        int64_t number = 0;
        ck_assert_int_eq(json_reader_integer(&reader, value, -5, 100, &number, &error),
                         ERROR_INVALID_ARGUMENT);
        ck_assert_str_eq(error.message, cases[index].message);
        ck_assert_str_eq(reader.path, "a");
        json_reader_close(&reader);
    }
}
END_TEST

static const struct {
    const char *json;
    uint64_t bits; /* Of "a". */
} wide[] = {
    {"{\"a\":0}", 0},
    {"{\"a\":-1}", UINT64_MAX},
    {"{\"a\":5.0}", 5},
    {"{\"a\":9007199254740993}", UINT64_C(9007199254740993)},
    {"{\"a\":-9007199254740993}", 0 - UINT64_C(9007199254740993)},
    {"{\"a\":18446744073709551615}", UINT64_MAX},
    {"{\"a\":-9223372036854775808}", UINT64_C(1) << 63},
    {"{\"a\":9.007199254740992e15}", UINT64_C(1) << 53},
    /* The digits are found among other numbers, and not in strings. */
    {"{\"1\":[2,-3.5e1,{\"4\":\"\\\"5 \\u0036\"}],\"a\" :\n9007199254740995,\"b\":7}",
     UINT64_C(9007199254740995)},
};

START_TEST(json_reader_reads_all_bits_when_an_integer_is_wide)
{
    const struct json_value value = open_member(wide[_i].json, "a");
    uint64_t bits = 0;
    ck_assert_int_eq(json_reader_bits(&reader, value, &bits, &error), ERROR_NONE);
    ck_assert_uint_eq(bits, wide[_i].bits);
    int64_t integer = 0;
    if (bits <= INT64_MAX) {
        ck_assert_int_eq(json_reader_integer(&reader, value, 0, INT64_MAX, &integer, &error),
                         ERROR_NONE);
        ck_assert_uint_eq((uint64_t)integer, bits);
    }
}
END_TEST

START_TEST(json_reader_refuses_an_integer_when_wider_than_64_bits)
{
    static const char *const numbers[] = {"18446744073709551616", "-9223372036854775809", "1e20",
                                          "-1e400", "0.5", "\"1\""};
    for (size_t index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        char json[64];
        snprintf(json, sizeof(json), "{\"a\":%s}", numbers[index]);
        const struct json_value value = open_member(json, "a");
        uint64_t bits;
        ck_assert_int_eq(json_reader_bits(&reader, value, &bits, &error), ERROR_INVALID_ARGUMENT);
        ck_assert_str_eq(reader.path, "a");
        json_reader_close(&reader);
    }
}
END_TEST

START_TEST(json_reader_refuses_a_value_when_of_another_type)
{
    const struct json_value array = open_member("{\"a\":[\"x\",null,1]}", "a");
    const struct json_value string = json_reader_first(array);
    const struct json_value null = json_reader_next(string);
    struct text text;
    bool truth;
    ck_assert_int_eq(json_reader_string(&reader, null, &text, &error), ERROR_INVALID_ARGUMENT);
    ck_assert_str_eq(error.message, "a[1]: must be a string");
    ck_assert_int_eq(json_reader_bool(&reader, string, &truth, &error), ERROR_INVALID_ARGUMENT);
    ck_assert_str_eq(error.message, "a[0]: must be true or false");
    ck_assert_int_eq(json_reader_expect(&reader, array, JSON_TYPE_OBJECT, &error),
                     ERROR_INVALID_ARGUMENT);
    ck_assert_str_eq(error.message, "a: must be an object");
}
END_TEST

START_TEST(json_reader_names_the_path_when_a_member_is_missing)
{
    const struct json_value messages =
        open_member("{\"messages\":[{},{\"content\":[1,{\"type\":2}]}]}", "messages");
    const struct json_value second = json_reader_next(json_reader_first(messages));
    const struct json_value part =
        json_reader_next(json_reader_first(json_reader_member(second, "content")));
    ck_assert_int_eq(json_reader_fail(&reader, part, "text", ERROR_INVALID_ARGUMENT, &error,
                                      "is %s", "required"),
                     ERROR_INVALID_ARGUMENT);
    ck_assert_str_eq(reader.path, "messages[1].content[1].text");
    ck_assert_str_eq(error.message, "messages[1].content[1].text: is required");
}
END_TEST

START_TEST(json_reader_cuts_the_path_when_it_is_long)
{
    char json[1024];
    char name[512];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(json, sizeof(json), "{\"%s\":1}", name);
    const struct json_value value = open_member(json, name);
    struct text text;
    ck_assert_int_eq(json_reader_string(&reader, value, &text, &error), ERROR_INVALID_ARGUMENT);
    ck_assert_uint_eq(strlen(reader.path), JSON_PATH_BYTES - 1);
}
END_TEST

START_TEST(json_reader_gives_names_when_an_object_is_walked)
{
    const struct json_value object = open_member("{\"a\":{\"7\":1,\"x\":null}}", "a");
    const struct json_value first = json_reader_first(object);
    ck_assert(text_equals(json_reader_name(first), TEXT("7")));
    ck_assert(text_equals(json_reader_name(json_reader_next(first)), TEXT("x")));
    ck_assert_ptr_null(json_reader_next(json_reader_next(first)).node);
    ck_assert_uint_eq(json_reader_count(object), 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_reader");
    TCase *tests = tcase_create("json_reader");
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_loop_test(tests, json_reader_opens_when_the_body_is_well_formed, 0,
                        sizeof(accepted) / sizeof(accepted[0]));
    tcase_add_loop_test(tests, json_reader_refuses_when_the_body_is_malformed, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tests, json_reader_opens_when_as_deep_as_the_limit);
    tcase_add_test(tests, json_reader_refuses_when_deeper_than_the_limit);
    tcase_add_test(tests, json_reader_opens_when_as_many_items_as_the_limit);
    tcase_add_test(tests, json_reader_refuses_when_more_items_than_the_limit);
    tcase_add_test(tests, json_reader_finds_nothing_when_null_or_of_another_case);
    tcase_add_test(tests, json_reader_reads_an_integer_when_it_is_whole_and_in_range);
    tcase_add_test(tests, json_reader_refuses_an_integer_when_it_is_not_one_or_out_of_range);
    tcase_add_loop_test(tests, json_reader_reads_all_bits_when_an_integer_is_wide, 0,
                        sizeof(wide) / sizeof(wide[0]));
    tcase_add_test(tests, json_reader_refuses_an_integer_when_wider_than_64_bits);
    tcase_add_test(tests, json_reader_refuses_a_value_when_of_another_type);
    tcase_add_test(tests, json_reader_names_the_path_when_a_member_is_missing);
    tcase_add_test(tests, json_reader_cuts_the_path_when_it_is_long);
    tcase_add_test(tests, json_reader_gives_names_when_an_object_is_walked);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
