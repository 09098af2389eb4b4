/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every reply: valid JSON whatever a model or client wrote, and no byte past the buffer.
 * Shown by: buffers at and one below the needed length; hostile bytes; doubles read back.
 * Thread: main. */
#include "base/json_writer.h"

#include <check.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char buffer[4096];
static struct json_writer writer;

static void begin(void)
{
    memset(buffer, '#', sizeof(buffer));
    json_writer_init(&writer, buffer, sizeof(buffer));
}

static void check_written(const char *expected)
{
    ck_assert(json_writer_fits(&writer));
    buffer[writer.len] = '\0';
    ck_assert_str_eq(buffer, expected);
}

START_TEST(json_writer_places_commas_when_values_are_nested)
{
    begin();
    json_object_begin(&writer);
    json_key(&writer, "a");
    json_array_begin(&writer);
    json_integer(&writer, INT64_MIN);
    json_unsigned(&writer, UINT64_MAX);
    json_array_begin(&writer);
    json_array_end(&writer);
    json_object_begin(&writer);
    json_object_end(&writer);
    json_null(&writer);
    json_array_end(&writer);
    json_key_bool(&writer, "b", true);
    json_key_null(&writer, "c");
    json_key_integer(&writer, "d", -1);
    json_key_string(&writer, "e", TEXT("x"));
    json_key_real(&writer, "f", 0.5);
    json_key(&writer, "g");
    json_raw(&writer, TEXT("[1]"));
    json_object_end(&writer);
    check_written("{\"a\":[-9223372036854775808,18446744073709551615,[],{},null],\"b\":true,"
                  "\"c\":null,\"d\":-1,\"e\":\"x\",\"f\":0.5,\"g\":[1]}");
}
END_TEST

START_TEST(json_string_escapes_when_bytes_are_special)
{
    begin();
    json_string(&writer, (struct text){.bytes = "\"\\/\b\f\n\r\t\x01\x1f\x7f\0z", .len = 13});
    check_written("\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000z\"");
}
END_TEST

START_TEST(json_string_keeps_utf8_when_valid_and_replaces_it_when_not)
{
    begin();
    json_string(&writer, TEXT("\xc3\xa9\xf0\x9f\xa6\xa2"));
    check_written("\"\xc3\xa9\xf0\x9f\xa6\xa2\"");
    begin();
    json_string(&writer, TEXT("a\xff"
                              "b\xed\xa0\x80\xe2\x82"));
    check_written("\"a\xef\xbf\xbd"
                  "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}
END_TEST

START_TEST(json_writer_fits_when_buffer_has_exactly_the_length)
{
    begin();
    json_writer_init(&writer, buffer, 7);
    json_string(&writer, TEXT("hello"));
    ck_assert(json_writer_fits(&writer));
    ck_assert_int_eq(buffer[7], '#');
}
END_TEST

START_TEST(json_writer_counts_on_when_buffer_is_one_byte_short)
{
    begin();
    json_writer_init(&writer, buffer, 6);
    json_string(&writer, TEXT("hello"));
    ck_assert(!json_writer_fits(&writer));
    ck_assert_uint_eq(writer.len, 7);
    ck_assert_int_eq(buffer[6], '#');
}
END_TEST

START_TEST(json_writer_measures_when_buffer_is_null)
{
    json_writer_init(&writer, NULL, 0);
    json_string(&writer, TEXT("\n"));
    ck_assert_uint_eq(writer.len, 4);
}
END_TEST

START_TEST(json_real_is_shortest_when_it_reads_back_the_same)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0"},
        {-0.0, "-0"},
        {1.0, "1"},
        {0.1, "0.1"},
        {-1.5, "-1.5"},
        {1e300, "1e+300"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {5e-324, "4.94065645841247e-324"},
        {INFINITY, "-9999.0"},
        {-INFINITY, "-9999.0"},
        {NAN, "-9999.0"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        begin();
        json_real(&writer, cases[index].value);
        check_written(cases[index].text);
    }
}
END_TEST

START_TEST(json_real_writes_a_point_when_the_locale_has_a_comma)
{
    const locale_t german = newlocale(LC_ALL_MASK, "de_DE.UTF-8", (locale_t)0);
    if (german == (locale_t)0) {
        return; /* The machine has no such locale; use_decimal_point is all that depends on it. */
    }
    const locale_t before = uselocale(german);
    begin();
    json_real(&writer, 0.5);
    double value;
    const bool is_read = text_to_double(TEXT("0.5"), &value);
    uselocale(before);
    freelocale(german);
    check_written("0.5");
    ck_assert(is_read);
}
END_TEST

START_TEST(json_escape_suffices_with_six_times_when_every_byte_is_escaped)
{
    char text[8];
    memset(text, 1, sizeof(text));
    char out[6 * sizeof(text) + 6];
    ck_assert_uint_eq(json_escape((struct text){text, sizeof(text)}, out, sizeof(out)), 48);
    ck_assert_int_eq(memcmp(out, "\\u0001\\u0001", 12), 0);
}
END_TEST

START_TEST(json_escape_stops_between_pieces_when_buffer_is_short)
{
    char out[16];
    memset(out, '#', sizeof(out));
    ck_assert_uint_eq(json_escape(TEXT("\n\x01"), out, 7), 2);
    ck_assert_int_eq(memcmp(out, "\\n#", 3), 0);
    ck_assert_uint_eq(json_escape(TEXT("\n\x01"), out, 8), 8);
    ck_assert_uint_eq(json_escape((struct text){0}, out, 0), 0);
}
END_TEST

int main(void)
{
    TCase *structure = tcase_create("structure");
    tcase_add_test(structure, json_writer_places_commas_when_values_are_nested);
    tcase_add_test(structure, json_writer_fits_when_buffer_has_exactly_the_length);
    tcase_add_test(structure, json_writer_counts_on_when_buffer_is_one_byte_short);
    tcase_add_test(structure, json_writer_measures_when_buffer_is_null);
    TCase *strings = tcase_create("strings");
    tcase_add_test(strings, json_string_escapes_when_bytes_are_special);
    tcase_add_test(strings, json_string_keeps_utf8_when_valid_and_replaces_it_when_not);
    tcase_add_test(strings, json_escape_suffices_with_six_times_when_every_byte_is_escaped);
    tcase_add_test(strings, json_escape_stops_between_pieces_when_buffer_is_short);
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, json_real_is_shortest_when_it_reads_back_the_same);
    tcase_add_test(numbers, json_real_writes_a_point_when_the_locale_has_a_comma);
    Suite *suite = suite_create("base/json_writer");
    suite_add_tcase(suite, structure);
    suite_add_tcase(suite, strings);
    suite_add_tcase(suite, numbers);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
