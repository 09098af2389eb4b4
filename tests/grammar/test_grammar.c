/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: what an agent calls: tool calls built from parts, states that never end in a corner.
 * Shown by: a grammar for tools; all-or-nothing tokens; ends found for every prefix; budgets. */
#include "grammar/grammar.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar_case.h"

#define PARTS(...)                                                                                 \
    .parts = (const struct grammar_part[]){__VA_ARGS__},                                           \
    .part_count = sizeof((const struct grammar_part[]){__VA_ARGS__}) / sizeof(struct grammar_part)
#define LITERAL(literal)                                                                           \
    {                                                                                              \
        .kind = GRAMMAR_PART_TEXT, .text = TEXT(literal)                                           \
    }
#define SCHEMA(literal)                                                                            \
    {                                                                                              \
        .kind = GRAMMAR_PART_SCHEMA, .text = TEXT(literal)                                         \
    }
#define REGEX(literal)                                                                             \
    {                                                                                              \
        .kind = GRAMMAR_PART_REGEX, .text = TEXT(literal)                                          \
    }
#define SEQUENCE(...)                                                                              \
    {                                                                                              \
        .kind = GRAMMAR_PART_SEQUENCE, PARTS(__VA_ARGS__)                                          \
    }
#define CHOICE(...)                                                                                \
    {                                                                                              \
        .kind = GRAMMAR_PART_CHOICE, PARTS(__VA_ARGS__)                                            \
    }

#define CITY                                                                                       \
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"                        \
    "\"required\":[\"city\"],\"additionalProperties\":false}"
#define NOTHING "{\"type\":\"object\",\"additionalProperties\":false}"
#define FENCE "```json\n"

START_TEST(grammar_takes_tool_calls_when_built_from_parts)
{
    const struct grammar_part part =
        SEQUENCE(LITERAL(FENCE),
                 CHOICE(SEQUENCE(LITERAL("{\"name\": \"get_weather\", \"arguments\": "),
                                 SCHEMA(CITY), LITERAL("}")),
                        SEQUENCE(LITERAL("{\"name\": \"get_time\", \"arguments\": "),
                                 SCHEMA(NOTHING), LITERAL("}"))),
                 LITERAL("\n```"));
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(
        grammar, GRAMMAR_ACCEPTED,
        GRAMMAR_TEXTS(FENCE "{\"name\": \"get_weather\", \"arguments\": {\"city\":\"Rome\"}}\n```",
                      FENCE "{\"name\": \"get_time\", \"arguments\": {}}\n```"));
    grammar_case_check(grammar, GRAMMAR_PREFIX,
                       GRAMMAR_TEXTS("", "```", FENCE "{\"name\": \"get_",
                                     FENCE "{\"name\": \"get_time\", \"arguments\": {}}"));
    grammar_case_check(grammar, GRAMMAR_REFUSED,
                       GRAMMAR_TEXTS("{", FENCE "{\"name\": \"get_x",
                                     FENCE "{\"name\": \"get_time\", \"arguments\": {\"city",
                                     FENCE "{\"name\": \"get_time\", \"arguments\": {}}\n```\n"));
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_takes_the_longest_of_choices_that_begin_alike)
{
    const struct grammar_part part =
        CHOICE(LITERAL("yes"), LITERAL("yesterday"), LITERAL("no"), LITERAL("yes"), LITERAL(""));
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("yes", "yesterday", "no", ""));
    grammar_case_check(grammar, GRAMMAR_PREFIX, GRAMMAR_TEXTS("y", "yest", "n"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("yesx", "maybe", "noo"));
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_keeps_alternatives_apart_when_their_text_is_the_same)
{
    const struct grammar_part part =
        CHOICE(SEQUENCE(LITERAL("a"), LITERAL("1")), SEQUENCE(LITERAL("a"), REGEX("[23]+")),
               LITERAL("a"), SEQUENCE(LITERAL("ab"), LITERAL("c")), REGEX("a?z"));
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED,
                       GRAMMAR_TEXTS("a", "a1", "a232", "abc", "az", "z"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("a11", "a12", "ac", "zz", "b"));
    grammar_case_check(grammar, GRAMMAR_PREFIX, GRAMMAR_TEXTS("", "ab"));
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_follows_all_readings_when_parts_are_ambiguous)
{
    const struct grammar_part part =
        SEQUENCE(SCHEMA("{\"type\":\"integer\"}"), LITERAL("0"), REGEX("1*"), LITERAL("1"));
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("501", "5001", "50111", "001"));
    grammar_case_check(grammar, GRAMMAR_PREFIX, GRAMMAR_TEXTS("51", "5", "50", "500"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("x", "00x", "01x"));
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_repeats_between_min_and_max)
{
    struct grammar_part part = {.kind = GRAMMAR_PART_REPEAT,
                                .min = 2,
                                .max = 3,
                                PARTS(SEQUENCE(SCHEMA("{\"type\":\"boolean\"}"), LITERAL(";")))};
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED,
                       GRAMMAR_TEXTS("true;false;", "true; true;false;"));
    grammar_case_check(grammar, GRAMMAR_PREFIX, GRAMMAR_TEXTS("", "true;", "true;false;t"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("true;true;true;t"));
    grammar_release(grammar);
    part.min = 0;
    part.max = 0;
    grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED,
                       GRAMMAR_TEXTS("", "true;", "true;true;true;true;true;"));
    grammar_release(grammar);
    part.parts = (const struct grammar_part[]){REGEX("a*")};
    grammar_case_check_refused(&part, &grammar_case_options, "a repetition of what may be empty");
}
END_TEST

START_TEST(grammar_takes_any_object_when_asked_to)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_OBJECT};
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED,
                       GRAMMAR_TEXTS("{}", "{\"a\":[1,{\"\":null}],\"b\":\"\\u00e9\"}"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("[", "1", "null", "{}}"));
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_names_the_part_when_it_is_refused)
{
    static const struct grammar_part parts[] = {
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "ok", .len = 2}},
        {.kind = GRAMMAR_PART_SCHEMA,
         .text = {.bytes = "{\"type\":\"object\"}", .len = 17},
         .name = {.bytes = "tools[1]", .len = 8}}};
    struct grammar_part part = {.kind = GRAMMAR_PART_SEQUENCE, .parts = parts, .part_count = 2};
    grammar_case_check_refused(&part, &grammar_case_options,
                               "tools[1] #: additionalProperties is missing");
    part = (struct grammar_part){.kind = GRAMMAR_PART_TEXT, .text = TEXT("\xff")};
    grammar_case_check_refused(&part, &grammar_case_options, "the text is not UTF-8");
    part = (struct grammar_part){.kind = GRAMMAR_PART_CHOICE};
    grammar_case_check_refused(&part, &grammar_case_options, "no alternative");
    struct grammar_part nested[9] = {[0] = {.kind = GRAMMAR_PART_TEXT, .text = TEXT("x")}};
    for (int level = 1; level < 9; level++) {
        nested[level] = (struct grammar_part){
            .kind = GRAMMAR_PART_SEQUENCE, .parts = &nested[level - 1], .part_count = 1};
    }
    grammar_release(grammar_case_compile(&nested[7], &grammar_case_options));
    grammar_case_check_refused(&nested[8], &grammar_case_options, "more than 8 levels of parts");
}
END_TEST

START_TEST(grammar_leaves_state_as_it_was_when_token_is_refused)
{
    struct grammar *grammar = grammar_case_schema("{\"type\":\"array\",\"items\":{\"enum\":[1]}}");
    struct grammar_state *state = grammar_state_create(grammar);
    ck_assert(grammar_advance(state, TEXT("[1,1")));
    ck_assert(!grammar_advance(state, TEXT(",1,2")));
    ck_assert(!grammar_advance(state, TEXT("]]")));
    ck_assert(!grammar_is_complete(state));
    ck_assert(grammar_advance(state, TEXT("")));
    ck_assert(grammar_advance(state, TEXT(",1]")));
    ck_assert(grammar_is_complete(state));
    grammar_state_destroy(state);
    grammar_release(grammar);
}
END_TEST

START_TEST(grammar_state_goes_its_own_way_when_copied)
{
    struct grammar *grammar = grammar_case_schema("{\"type\":\"array\",\"maxItems\":2}");
    struct grammar_state *one = grammar_state_create(grammar);
    struct grammar_state *two = grammar_state_create(grammar);
    grammar_release(grammar); /* The states hold it. */
    ck_assert(grammar_advance(one, TEXT("[[\"a\", {")));
    grammar_state_copy(two, one);
    ck_assert(grammar_advance(one, TEXT("}],1]")));
    ck_assert(grammar_is_complete(one));
    ck_assert(!grammar_is_complete(two));
    ck_assert(grammar_advance(two, TEXT("\"k\":2}]]")));
    ck_assert(grammar_is_complete(two));
    grammar_state_reset(two);
    ck_assert(!grammar_is_complete(two));
    ck_assert(grammar_advance(two, TEXT("[]")));
    grammar_state_destroy(two);
    grammar_state_destroy(one);
}
END_TEST

START_TEST(grammar_takes_a_long_text_in_one_piece)
{
    struct grammar *grammar = grammar_case_schema("{\"type\":\"array\",\"minItems\":3000}");
    static char text[3 * 3000 + 3];
    size_t len = 0;
    for (int item = 0; item < 3000; item++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s[]", item == 0 ? "[" : ",");
    }
    struct grammar_state *state = grammar_state_create(grammar);
    ck_assert(grammar_advance(state, (struct text){.bytes = text, .len = len}));
    ck_assert(!grammar_is_complete(state));
    ck_assert(!grammar_advance(state, TEXT("}")));
    ck_assert(grammar_advance(state, TEXT("]")));
    ck_assert(grammar_is_complete(state));
    grammar_state_destroy(state);
    grammar_release(grammar);
}
END_TEST

/* Every prefix of the text must find an end, and with it be accepted. */
static void check_ends(const char *schema, const char *text)
{
    struct grammar *grammar = grammar_case_schema(schema);
    struct grammar_state *state = grammar_state_create(grammar);
    char end[600];
    for (size_t at = 0; at <= strlen(text); at++) {
        const size_t len = grammar_find_end(state, end, sizeof(end));
        ck_assert_msg(len != SIZE_MAX, "no end after '%.*s'", (int)at, text);
        struct grammar_state *ended = grammar_state_create(grammar);
        grammar_state_copy(ended, state);
        ck_assert(grammar_advance(ended, (struct text){.bytes = end, .len = len}));
        ck_assert(grammar_is_complete(ended));
        grammar_state_destroy(ended);
        ck_assert(at == strlen(text) ||
                  grammar_advance(state, (struct text){.bytes = text + at, .len = 1}));
    }
    grammar_state_destroy(state);
    grammar_release(grammar);
}

START_TEST(grammar_finds_an_end_after_every_prefix)
{
    check_ends("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\","
               "\"minLength\":4},\"when\":{\"type\":\"string\",\"format\":\"date-time\"},"
               "\"n\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":10},"
               "\"minItems\":3}},\"required\":[\"when\",\"name\"],"
               "\"additionalProperties\":{\"type\":\"null\"}}",
               "{ \"x\\u00e9\" :null,\"n\":[10,11,12],\"name\":\"\\ud83d\\ude00abc\", "
               "\"when\":\"2024-02-29T12:00:00Z\"}");
    check_ends("{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"anyOf\":[{\"type\":\"array\","
               "\"items\":{\"$ref\":\"#/$defs/t\"},\"minItems\":2},{\"const\":\"leaf\"}]}}}",
               "[\"leaf\",[[\"leaf\",\"leaf\"],\"l\\u0065af\"]]");
}
END_TEST

static bool cancel_at_once(void *context)
{
    ++*(int *)context;
    return true;
}

START_TEST(grammar_stops_when_cancelled)
{
    int asked = 0;
    const struct grammar_part part = REGEX("[a-z]{1,1000}x[0-9]{1,1000}");
    const struct grammar_options options = {.is_cancelled = cancel_at_once, .context = &asked};
    struct grammar *grammar;
    struct error error = {0};
    ck_assert_int_eq(grammar_compile(&part, &options, &grammar, &error), ERROR_CANCELLED);
    ck_assert_ptr_null(grammar);
    ck_assert_int_eq(asked, 1);
}
END_TEST

START_TEST(grammar_gives_up_alternatives_beyond_its_limit_without_a_corner)
{
    /* Each level doubles the readings of "[[[[": all end in the same way. */
    struct grammar *grammar =
        grammar_case_schema("{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":"
                            "{\"$ref\":\"#\"},\"maxItems\":7},{\"type\":\"array\",\"items\":"
                            "{\"$ref\":\"#\"},\"maxItems\":8}]}");
    struct grammar_state *state = grammar_state_create(grammar);
    for (int depth = 0; depth < 30; depth++) {
        ck_assert(grammar_advance(state, TEXT("[")));
    }
    char end[64];
    const size_t len = grammar_find_end(state, end, sizeof(end));
    ck_assert_uint_eq(len, 30);
    ck_assert(grammar_advance(state, (struct text){.bytes = end, .len = len}));
    grammar_state_destroy(state);
    grammar_release(grammar);
}
END_TEST

int main(void)
{
    TCase *grammar = tcase_create("grammar");
    tcase_set_timeout(grammar, 60);
    tcase_add_test(grammar, grammar_takes_tool_calls_when_built_from_parts);
    tcase_add_test(grammar, grammar_takes_the_longest_of_choices_that_begin_alike);
    tcase_add_test(grammar, grammar_keeps_alternatives_apart_when_their_text_is_the_same);
    tcase_add_test(grammar, grammar_follows_all_readings_when_parts_are_ambiguous);
    tcase_add_test(grammar, grammar_repeats_between_min_and_max);
    tcase_add_test(grammar, grammar_takes_any_object_when_asked_to);
    tcase_add_test(grammar, grammar_names_the_part_when_it_is_refused);
    tcase_add_test(grammar, grammar_leaves_state_as_it_was_when_token_is_refused);
    tcase_add_test(grammar, grammar_state_goes_its_own_way_when_copied);
    tcase_add_test(grammar, grammar_takes_a_long_text_in_one_piece);
    tcase_add_test(grammar, grammar_finds_an_end_after_every_prefix);
    tcase_add_test(grammar, grammar_stops_when_cancelled);
    tcase_add_test(grammar, grammar_gives_up_alternatives_beyond_its_limit_without_a_corner);
    Suite *suite = suite_create("grammar/grammar");
    suite_add_tcase(suite, grammar);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
