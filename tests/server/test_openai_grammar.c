/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a model that must answer in a form can still write what its template wants before the
 * answer, and nothing of a thought, however it ends, frees the answer from its form.
 *
 * Thread: main. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/openai_grammar.h"

static struct grammar_cache *cache;

static void setup(void)
{
    cache = grammar_cache_create(1 << 20);
    ck_assert_ptr_nonnull(cache);
}

static void teardown(void)
{
    grammar_cache_destroy(cache);
}

static struct grammar *compile(enum reasoning_start start, struct grammar_part root)
{
    const struct openai_grammar grammar = {
        .root = &root, .objects = GRAMMAR_OBJECTS_CLOSED, .order = GRAMMAR_ORDER_SCHEMA};
    const struct openai_grammar_options options = {.cache = cache, .start = start};
    struct grammar *compiled = NULL;
    struct error error = {0};
    ck_assert_msg(openai_grammar_compile(&grammar, &options, &compiled, &error) == ERROR_NONE,
                  "%s", error.message);
    return compiled;
}

/* Answers are "no", or a JSON object. */
static const struct {
    enum reasoning_start start;
    const char *text;
    bool is_prefix;
    bool is_whole;
} cases[] = {
    {REASONING_START_TEXT, "no", true, true},
    {REASONING_START_TEXT, " no", false, false},
    {REASONING_START_TURN, "no", true, true},
    {REASONING_START_TURN, " no", true, true},
    {REASONING_START_TURN, " {\"a\": 1}", true, true},
    {REASONING_START_TURN, "  no", false, false},
    {REASONING_START_TURN, "no ", false, false},
    {REASONING_START_CLOSED, ">no", true, true},
    {REASONING_START_CLOSED, ">\nno", true, true},
    {REASONING_START_CLOSED, ">\n\nno", true, true},
    {REASONING_START_CLOSED, "no", false, false},
    {REASONING_START_OPEN, ">I think so.\n</think>\nno", true, true},
    {REASONING_START_OPEN, ">no", true, false},
    {REASONING_START_OPEN, "></think>no", true, true},
    {REASONING_START_OPEN, ">a</think>\n{}", true, true},
    {REASONING_START_OPEN, ">a </ <<think> </thin</think>\n\nno", true, true},
    {REASONING_START_OPEN, "><</think>no", true, true},
    {REASONING_START_OPEN, "></thi</thin</think>no", true, true},
    {REASONING_START_OPEN, ">a</think>a", false, false},
    {REASONING_START_OPEN, ">a</think>no</think>no", false, false},
    {REASONING_START_OPEN, ">a<</think></think>no", false, false},
    {REASONING_START_OPEN, ">\xe6\x97\xa5\xe6\x9c\xac</think>no", true, true},
};

START_TEST(openai_grammar_allows_what_the_template_wants_when_an_answer_is_bound)
{
    static const struct grammar_part answers[] = {
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "no", .len = 2}},
        {.kind = GRAMMAR_PART_OBJECT},
    };
    const struct grammar_part root = {
        .kind = GRAMMAR_PART_CHOICE, .parts = answers, .part_count = 2};
    struct grammar *grammar = compile(cases[_i].start, root);
    struct grammar_state *state = grammar_state_create(grammar);
    ck_assert_ptr_nonnull(state);
    const bool fits = grammar_advance(state, text_from(cases[_i].text));
    ck_assert_msg(fits == cases[_i].is_prefix, "%s", cases[_i].text);
    ck_assert_msg((fits && grammar_is_complete(state)) == cases[_i].is_whole, "%s",
                  cases[_i].text);
    grammar_state_destroy(state);
    grammar_release(grammar);
}
END_TEST

START_TEST(openai_grammar_names_the_place_when_it_refuses)
{
    const struct grammar_part root = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = TEXT("{\"type\":\"array\",\"items\":{\"not\":{}}}"),
                                      .name = TEXT("response_format.json_schema.schema")};
    const struct openai_grammar grammar = {.root = &root};
    const struct openai_grammar_options options = {.cache = cache, .start = REASONING_START_TURN};
    struct grammar *compiled = NULL;
    struct error error = {0};
    ck_assert_int_eq(openai_grammar_compile(&grammar, &options, &compiled, &error),
                     ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(compiled);
    const char place[] = "response_format.json_schema.schema #/items";
    ck_assert_msg(strncmp(error.message, place, sizeof(place) - 1) == 0, "%s", error.message);
}
END_TEST

START_TEST(openai_grammar_compiles_once_when_two_ask_for_the_same)
{
    const struct grammar_part root = {.kind = GRAMMAR_PART_OBJECT};
    struct grammar *first = compile(REASONING_START_TURN, root);
    struct grammar *second = compile(REASONING_START_TURN, root);
    ck_assert_ptr_eq(first, second);
    struct grammar *other = compile(REASONING_START_TEXT, root);
    ck_assert_ptr_ne(first, other);
    grammar_release(first);
    grammar_release(second);
    grammar_release(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_grammar");
    TCase *tests = tcase_create("openai_grammar");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests,
                        openai_grammar_allows_what_the_template_wants_when_an_answer_is_bound, 0,
                        sizeof(cases) / sizeof(cases[0]));
    tcase_add_test(tests, openai_grammar_names_the_place_when_it_refuses);
    tcase_add_test(tests, openai_grammar_compiles_once_when_two_ask_for_the_same);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
