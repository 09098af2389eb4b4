/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: numbers and UTF-8 from clients: nothing may be read past its end or half-accepted.
 * Shown by: both sides of every numeric bound; UTF-8 against Unicode 3.9, table 3-7, all code
 * points. Thread: main. */
#include "base/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(text_compares_bytes_when_equal_or_not)
{
    ck_assert(text_equals(TEXT("ab"), TEXT("ab")));
    ck_assert(!text_equals(TEXT("ab"), TEXT("aB")));
    ck_assert(!text_equals(TEXT("ab"), TEXT("abc")));
    ck_assert(text_equals(text_from(NULL), TEXT("")));
    ck_assert(text_equals_ignoring_case(TEXT("Bearer[\xc3\x84"), TEXT("bEARER[\xc3\x84")));
    ck_assert(!text_equals_ignoring_case(TEXT("["), TEXT("{")));
    ck_assert(!text_equals_ignoring_case(TEXT("a"), TEXT("aa")));
    ck_assert(text_starts_with(TEXT("abc"), TEXT("ab")));
    ck_assert(text_starts_with(TEXT("ab"), TEXT("")));
    ck_assert(!text_starts_with(TEXT("a"), TEXT("ab")));
}
END_TEST

START_TEST(text_trim_removes_white_space_when_at_the_ends)
{
    ck_assert(text_equals(text_trim(TEXT(" \t\r\n\v\fa b ")), TEXT("a b")));
    ck_assert_uint_eq(text_trim(TEXT(" \n ")).len, 0);
    ck_assert_uint_eq(text_trim(TEXT("")).len, 0);
}
END_TEST

START_TEST(text_cut_walks_all_fields_when_called_again)
{
    struct text rest = TEXT("a||b");
    ck_assert(text_equals(text_cut(&rest, '|'), TEXT("a")));
    ck_assert(text_equals(text_cut(&rest, '|'), TEXT("")));
    ck_assert(text_equals(rest, TEXT("b")));
    ck_assert(text_equals(text_cut(&rest, '|'), TEXT("b")));
    ck_assert_uint_eq(rest.len, 0);
    ck_assert_uint_eq(text_cut(&rest, '|').len, 0);
}
END_TEST

START_TEST(text_to_int64_accepts_value_when_it_is_the_last_in_range)
{
    int64_t value;
    ck_assert(text_to_int64(TEXT("9223372036854775807"), &value));
    ck_assert_int_eq(value, INT64_MAX);
    ck_assert(text_to_int64(TEXT("-9223372036854775808"), &value));
    ck_assert_int_eq(value, INT64_MIN);
    ck_assert(text_to_int64(TEXT("+007"), &value));
    ck_assert_int_eq(value, 7);
    ck_assert(text_to_int64(TEXT("-0"), &value));
    ck_assert_int_eq(value, 0);
}
END_TEST

START_TEST(text_to_int64_refuses_value_when_it_is_past_the_range)
{
    int64_t value;
    ck_assert(!text_to_int64(TEXT("9223372036854775808"), &value));
    ck_assert(!text_to_int64(TEXT("-9223372036854775809"), &value));
    ck_assert(!text_to_int64(TEXT("99999999999999999999999"), &value));
}
END_TEST

START_TEST(text_to_uint64_keeps_both_bounds_when_at_and_past_them)
{
    uint64_t value;
    ck_assert(text_to_uint64(TEXT("18446744073709551615"), &value));
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert(!text_to_uint64(TEXT("18446744073709551616"), &value));
    ck_assert(text_to_uint64(TEXT("-0"), &value));
    ck_assert(!text_to_uint64(TEXT("-1"), &value));
}
END_TEST

START_TEST(text_to_integer_refuses_text_when_it_is_not_only_digits)
{
    static const char *const bad[] = {"", "+", "-", " 1", "1 ", "1.0", "0x10", "--1", "1e3", "a"};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        int64_t value;
        uint64_t unsigned_value;
        ck_assert_msg(!text_to_int64(text_from(bad[index]), &value), "%s", bad[index]);
        ck_assert_msg(!text_to_uint64(text_from(bad[index]), &unsigned_value), "%s", bad[index]);
    }
}
END_TEST

START_TEST(text_to_double_reads_the_nearest_value_when_finite)
{
    double value;
    ck_assert(text_to_double(TEXT("0.1"), &value));
    ck_assert_double_eq(value, 0.1);
    ck_assert(text_to_double(TEXT("-1.5e+3"), &value));
    ck_assert_double_eq(value, -1500.0);
    ck_assert(text_to_double(TEXT("1.7976931348623157e308"), &value));
    ck_assert(!text_to_double(TEXT("1.8e308"), &value));
    ck_assert(text_to_double((struct text){.bytes = "12", .len = 1}, &value));
    ck_assert_double_eq(value, 1.0);
}
END_TEST

START_TEST(text_to_double_refuses_text_when_strtod_would_be_lenient)
{
    static const char *const bad[] = {"",  " 1", "1 ",  "inf", "nan",   "0x1p3", "1,5",
                                      ".", "1e", "1e+", "-",   "1.2.3", "1f"};
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        double value;
        ck_assert_msg(!text_to_double(text_from(bad[index]), &value), "%s", bad[index]);
    }
    double value;
    ck_assert(!text_to_double((struct text){.bytes = "1\0002", .len = 3}, &value));
}
END_TEST

START_TEST(text_copy_cuts_when_text_is_one_byte_longer_than_room)
{
    char buffer[4];
    text_copy_to(TEXT("abc"), buffer, sizeof(buffer));
    ck_assert_str_eq(buffer, "abc");
    text_copy_to(TEXT("abcd"), buffer, sizeof(buffer));
    ck_assert_str_eq(buffer, "abc");
    text_copy_to((struct text){0}, buffer, 1);
    ck_assert_str_eq(buffer, "");
}
END_TEST

/* Status and length for the start of bytes. */
static void check_next(const char *bytes, size_t count, enum utf8_status status, size_t len)
{
    size_t len_out = 0;
    ck_assert_int_eq(utf8_next((struct text){.bytes = bytes, .len = count}, &len_out), status);
    ck_assert_uint_eq(len_out, len);
}

START_TEST(utf8_next_gives_maximal_subpart_when_sequence_is_ill_formed)
{
    check_next("a", 1, UTF8_COMPLETE, 1);
    check_next("\xc3\xa9", 2, UTF8_COMPLETE, 2);
    check_next("\xe2\x82\xac", 3, UTF8_COMPLETE, 3);
    check_next("\xf0\x9f\xa6\xa2", 4, UTF8_COMPLETE, 4);
    check_next("\xe2\x82", 2, UTF8_INCOMPLETE, 2);
    check_next("\xf0\x9f\xa6", 3, UTF8_INCOMPLETE, 3);
    check_next("\x80", 1, UTF8_INVALID, 1);
    check_next("\xc0\xaf", 2, UTF8_INVALID, 1);         /* Overlong. */
    check_next("\xe0\x80\xaf", 3, UTF8_INVALID, 1);     /* Overlong. */
    check_next("\xed\xa0\x80", 3, UTF8_INVALID, 1);     /* Surrogate. */
    check_next("\xf4\x90\x80\x80", 4, UTF8_INVALID, 1); /* Above U+10FFFF. */
    check_next("\xf1\x80\x80x", 4, UTF8_INVALID, 3);    /* Three bytes become one U+FFFD. */
    check_next("\xe2\x82x", 3, UTF8_INVALID, 2);
    check_next("\xff", 1, UTF8_INVALID, 1);
}
END_TEST

/* Encodes as RFC 3629 does, also surrogates, which are then expected to be refused. */
static size_t encode(uint32_t point, char bytes[4])
{
    static const unsigned char first[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    const size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t index = len; index-- > 0; point >>= 6) {
        const uint32_t lead = index == 0 ? first[len] | point : 0x80 | (point & 0x3f);
        bytes[index] = (char)lead;
    }
    return len;
}

START_TEST(utf8_accepts_every_code_point_when_it_is_not_a_surrogate)
{
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        char bytes[4];
        const struct text text = {.bytes = bytes, .len = encode(point, bytes)};
        const bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
        if (utf8_is_valid(text) == is_surrogate) {
            ck_abort_msg("U+%04X", point);
        }
    }
}
END_TEST

START_TEST(utf8_counts_code_points_when_text_is_valid)
{
    ck_assert_uint_eq(utf8_count(TEXT("")), 0);
    ck_assert_uint_eq(utf8_count(TEXT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\xa2")), 4);
    ck_assert(!utf8_is_valid(TEXT("a\xe2\x82")));
}
END_TEST

int main(void)
{
    TCase *views = tcase_create("views");
    tcase_add_test(views, text_compares_bytes_when_equal_or_not);
    tcase_add_test(views, text_trim_removes_white_space_when_at_the_ends);
    tcase_add_test(views, text_cut_walks_all_fields_when_called_again);
    tcase_add_test(views, text_copy_cuts_when_text_is_one_byte_longer_than_room);
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, text_to_int64_accepts_value_when_it_is_the_last_in_range);
    tcase_add_test(numbers, text_to_int64_refuses_value_when_it_is_past_the_range);
    tcase_add_test(numbers, text_to_uint64_keeps_both_bounds_when_at_and_past_them);
    tcase_add_test(numbers, text_to_integer_refuses_text_when_it_is_not_only_digits);
    tcase_add_test(numbers, text_to_double_reads_the_nearest_value_when_finite);
    tcase_add_test(numbers, text_to_double_refuses_text_when_strtod_would_be_lenient);
    TCase *utf8 = tcase_create("utf8");
    tcase_add_test(utf8, utf8_next_gives_maximal_subpart_when_sequence_is_ill_formed);
    tcase_add_test(utf8, utf8_accepts_every_code_point_when_it_is_not_a_surrogate);
    tcase_add_test(utf8, utf8_counts_code_points_when_text_is_valid);
    Suite *suite = suite_create("base/text");
    suite_add_tcase(suite, views);
    suite_add_tcase(suite, numbers);
    suite_add_tcase(suite, utf8);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
