/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a pattern's meaning, and that no pattern can take the server's time.
 * Shown by: tables of texts; refusals with their place; patterns that explode elsewhere. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar_case.h"

static void accepts(const char *pattern, const char *const *texts)
{
    grammar_case_check_regex(pattern, GRAMMAR_ACCEPTED, texts);
}

static void refuses(const char *pattern, const char *const *texts)
{
    grammar_case_check_regex(pattern, GRAMMAR_REFUSED, texts);
}

START_TEST(regex_matches_whole_text_when_it_is_a_part)
{
    accepts("abc", GRAMMAR_TEXTS("abc"));
    refuses("abc", GRAMMAR_TEXTS("abcd", "x", "xabc"));
    grammar_case_check_regex("abc", GRAMMAR_PREFIX, GRAMMAR_TEXTS("", "a", "ab"));
    accepts("^abc$", GRAMMAR_TEXTS("abc"));
    accepts("", GRAMMAR_TEXTS(""));
    refuses("", GRAMMAR_TEXTS("a"));
}
END_TEST

START_TEST(regex_repeats_as_often_as_counts_say)
{
    accepts("a{2,3}", GRAMMAR_TEXTS("aa", "aaa"));
    refuses("a{2,3}", GRAMMAR_TEXTS("aaaa", "b"));
    accepts("a{2,}", GRAMMAR_TEXTS("aa", "aaaaaaaa"));
    accepts("a{0}b", GRAMMAR_TEXTS("b"));
    refuses("a{0}b", GRAMMAR_TEXTS("ab"));
    accepts("(ab?)*", GRAMMAR_TEXTS("", "a", "abaab"));
    accepts("a+?b*?c??", GRAMMAR_TEXTS("a", "aabb", "abc"));
    accepts("(a{2}){2}", GRAMMAR_TEXTS("aaaa"));
    refuses("(a{2}){2}", GRAMMAR_TEXTS("aaaaa"));
    char longest[1001];
    memset(longest, 'a', 1000);
    longest[1000] = '\0';
    accepts("a{1000}", GRAMMAR_TEXTS(longest));
}
END_TEST

START_TEST(regex_takes_classes_as_ecma_does)
{
    accepts("[a-c-]+", GRAMMAR_TEXTS("a-c"));
    accepts("[^a-c]", GRAMMAR_TEXTS("d", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80"));
    refuses("[^a-c]", GRAMMAR_TEXTS("b"));
    accepts("\\d\\D\\w\\W\\s\\S", GRAMMAR_TEXTS("0a_- x", "9\xd9\xa1Z\xc3\xa9\xe3\x80\x80\x01"));
    refuses("\\d", GRAMMAR_TEXTS("\xd9\xa1"));
    refuses("\\w", GRAMMAR_TEXTS("\xc3\xa9"));
    accepts("[\\d\\]\\-x]+", GRAMMAR_TEXTS("7]-x"));
    accepts(".", GRAMMAR_TEXTS("\t", "\xf4\x8f\xbf\xbf"));
    refuses(".", GRAMMAR_TEXTS("\n", "\r", "\xe2\x80\xa8", "\xed\xa0\x80", "\xc0\x80", "\xff"));
    accepts("\\x41\\u00e9\\u{1F600}\\t\\/", GRAMMAR_TEXTS("A\xc3\xa9\xf0\x9f\x98\x80\t/"));
    accepts("[\xc3\xa0-\xc3\xbf]", GRAMMAR_TEXTS("\xc3\xa9"));
}
END_TEST

START_TEST(regex_places_anchors_when_they_are_inside)
{
    accepts("(^a|b)c$", GRAMMAR_TEXTS("ac", "bc"));
    accepts("(a$|b)", GRAMMAR_TEXTS("a", "b"));
    refuses("x(^a|b)", GRAMMAR_TEXTS("xa"));
    accepts("x(^a|b)", GRAMMAR_TEXTS("xb"));
    accepts("(a$|a)b?", GRAMMAR_TEXTS("a", "ab"));
    accepts("$^", GRAMMAR_TEXTS(""));
}
END_TEST

START_TEST(regex_searches_when_it_is_a_schemas_pattern)
{
    const char *schema = "{\"type\":\"string\",\"pattern\":\"b+\"}";
    grammar_case_check_schema(schema, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("\"abc\"", "\"b\""));
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS("\"ac\"", "\"\""));
    schema = "{\"type\":\"string\",\"pattern\":\"^a|b$\"}";
    grammar_case_check_schema(schema, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("\"axx\"", "\"xxb\""));
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS("\"xbx\"", "\"b\\n\""));
}
END_TEST

START_TEST(regex_names_the_place_when_it_is_refused)
{
    static const char *const rows[][2] = {{"a(b", "a group without an end at byte 3"},
                                          {"a)b", "a ) without its ( at byte 1"},
                                          {"*a", "nothing to repeat at byte 0"},
                                          {"a**", "a repetition of a repetition at byte 2"},
                                          {"a++", "a repetition of a repetition"},
                                          {"a{2,1}", "n to less than n"},
                                          {"a{1001}", "a repetition above 1000"},
                                          {"a{,2}", "a bad repetition at byte 2"},
                                          {"^*", "a repeated anchor"},
                                          {"[b-a]", "a range that ends before it begins"},
                                          {"[]", "an empty class"},
                                          {"[^]", "an empty class"},
                                          {"[ab", "a class without an end"},
                                          {"[\\d-z]", "a range that starts with a class"},
                                          {"(?=a)", "an unsupported group"},
                                          {"(?!a)", "an unsupported group"},
                                          {"(?<=a)", "an unsupported group"},
                                          {"(?i)a", "an unsupported group"},
                                          {"(a)\\1", "an unsupported escape at byte 4"},
                                          {"\\bword", "an unsupported escape"},
                                          {"\\p{L}", "an unsupported escape"},
                                          {"a\\", "a backslash at the end"},
                                          {"\\ud800", "a bad character code"},
                                          {"\\u{110000}", "a bad character code"},
                                          {"\\xg0", "a bad character code"},
                                          {"\xff", "not UTF-8"}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        grammar_case_check_regex_refused(rows[row][0], rows[row][1]);
    }
}
END_TEST

START_TEST(regex_takes_groups_up_to_depth_32)
{
    char pattern[80];
    for (int depth = 32; depth <= 33; depth++) {
        memset(pattern, '(', (size_t)depth);
        pattern[depth] = 'a';
        memset(pattern + depth + 1, ')', (size_t)depth);
        pattern[2 * depth + 1] = '\0';
        if (depth == 32) {
            accepts(pattern, GRAMMAR_TEXTS("a"));
        } else {
            grammar_case_check_regex_refused(pattern, "groups nested deeper than 32");
        }
    }
}
END_TEST

START_TEST(regex_answers_soon_when_pattern_explodes_elsewhere)
{
    accepts("(a+)+b", GRAMMAR_TEXTS("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
    refuses("(a|a)*b", GRAMMAR_TEXTS("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"));
    accepts("((a*)*)*", GRAMMAR_TEXTS("aaaa", ""));
    grammar_case_check_regex_refused("(a|b)*a(a|b){20}", "too complex");
    grammar_case_check_regex_refused("((a{1000}){1000}){1000}", "too large");
    grammar_case_check_regex_refused("[a-b]x[^\xff]", "not UTF-8");
}
END_TEST

START_TEST(regex_is_refused_when_nothing_matches)
{
    grammar_case_check_regex_refused("a^b", "no finite text");
    grammar_case_check_regex_refused("[^\\d\\D]", "no finite text");
}
END_TEST

int main(void)
{
    TCase *regex = tcase_create("regex");
    tcase_add_test(regex, regex_matches_whole_text_when_it_is_a_part);
    tcase_add_test(regex, regex_repeats_as_often_as_counts_say);
    tcase_add_test(regex, regex_takes_classes_as_ecma_does);
    tcase_add_test(regex, regex_places_anchors_when_they_are_inside);
    tcase_add_test(regex, regex_searches_when_it_is_a_schemas_pattern);
    tcase_add_test(regex, regex_names_the_place_when_it_is_refused);
    tcase_add_test(regex, regex_takes_groups_up_to_depth_32);
    tcase_add_test(regex, regex_answers_soon_when_pattern_explodes_elsewhere);
    tcase_add_test(regex, regex_is_refused_when_nothing_matches);
    Suite *suite = suite_create("grammar/regex");
    suite_add_tcase(suite, regex);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
