/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: with functions at hand a model writes a call that is none, or can no longer just talk.
 * Shown by: texts that the grammar must take, must go on with, must refuse; every text of a call
 * goes through tool_call_split.c as one; whatever was taken can be completed. */
#include "server/tool_grammar.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/tool_call_split.h"

#define FENCE "```json"
#define CALL(name, arguments) "\n{\"name\":\"" name "\",\"arguments\":" arguments "}\n```"
#define PRICE CALL("get_price", "{\"item\":\"plum\"}")
#define TIMES CALL("multiply", "{\"a\":3,\"b\":-7}")

enum verdict { REFUSED, BEGUN, WHOLE };

static struct arena arena;
static struct grammar *grammar;

static struct openai_tool functions[] = {
    {.name = {.bytes = "get_price", .len = 9},
     .schema = {.bytes = "{\"type\":\"object\",\"properties\":{\"item\":{\"type\":\"string\"}},"
                         "\"required\":[\"item\"]}",
                .len = 80}},
    {.name = {.bytes = "multiply", .len = 8},
     .schema = {.bytes = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},"
                         "\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"]}",
                .len = 102}},
    {.name = {.bytes = "get", .len = 3}},
    {.name = {.bytes = "any", .len = 3}, .schema = {.bytes = "{}", .len = 2}},
};

static void setup(void)
{
    functions[0].schema = text_from(functions[0].schema.bytes);
    functions[1].schema = text_from(functions[1].schema.bytes);
}

static void teardown(void)
{
    grammar_release(grammar);
    grammar = NULL;
    arena_reset(&arena);
}

static void compile(enum chat_calls calls, bool is_single, const struct grammar_part *text)
{
    const struct openai_tools tools = {
        .items = functions, .count = 4, .calls = calls, .is_single = is_single};
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_CLOSED,
                                            .white_space_max = 4};
    struct error error = {0};
    const struct grammar_part *root = tool_grammar_make(&tools, text, &arena);
    ck_assert_ptr_nonnull(root);
    ck_assert_msg(grammar_compile(root, &options, &grammar, &error) == ERROR_NONE, "%s",
                  error.message);
}

/* Byte by byte; what was taken can be completed. */
static enum verdict judge(const char *text)
{
    char end[1024];
    struct grammar_state *state = grammar_state_create(grammar);
    enum verdict verdict = WHOLE;
    ck_assert_ptr_nonnull(state);
    for (const char *byte = text; *byte != '\0' && verdict != REFUSED; byte++) {
        if (!grammar_advance(state, (struct text){.bytes = byte, .len = 1})) {
            verdict = REFUSED;
        }
    }
    ck_assert_uint_le(grammar_find_end(state, end, sizeof(end)), sizeof(end));
    if (verdict != REFUSED && !grammar_is_complete(state)) {
        verdict = BEGUN;
    }
    grammar_state_destroy(state);
    return verdict;
}

static void check(const char *text, enum verdict expected)
{
    const enum verdict verdict = judge(text);
    ck_assert_msg(verdict == expected, "'%s': %d, expected %d", text, (int)verdict, (int)expected);
}

START_TEST(tool_grammar_takes_calls_only_when_required)
{
    compile(CHAT_CALLS_REQUIRED, false, NULL);
    check("", BEGUN);
    check("21", REFUSED);
    check(" ", REFUSED);
    check(FENCE, REFUSED); /* The prompt has it. */
    check("\n{\"name\":\"get_pr", BEGUN);
    check("\n{\"name\":\"get\"", BEGUN);
    check("\n{\"name\":\"gets", REFUSED);
    check(PRICE, WHOLE);
    check(TIMES, WHOLE);
    check(CALL("get", "{}"), WHOLE);
    check(CALL("get", "{\"a\":1}"), REFUSED);
    check(CALL("any", "{\"a\":[1,{}]}"), WHOLE);
    check(CALL("any", "[]"), REFUSED);
    check(CALL("get_price", "{}"), REFUSED);
    check(CALL("get_price", "{\"item\":1}"), REFUSED);
    check(CALL("get_price", "{\"item\":\"a\",\"b\":1}"), REFUSED);
    check(CALL("get_price", "{ \"item\" : \"\xc3\xa9\" }"), WHOLE);
    check(CALL("multiply", "{\"b\":1,\"a\":2}"), WHOLE);
    check(CALL("multiply", "{\"a\":1.5,\"b\":2}"), REFUSED);
    check(PRICE "\n", BEGUN);
    check(PRICE "x", REFUSED);
    check(PRICE "\n21", REFUSED);
    check(PRICE "\n" FENCE TIMES, WHOLE);
    check(PRICE FENCE TIMES, REFUSED);
}
END_TEST

START_TEST(tool_grammar_takes_one_call_when_they_are_not_parallel)
{
    compile(CHAT_CALLS_REQUIRED, true, NULL);
    check(PRICE, WHOLE);
    check(PRICE "\n", REFUSED);
    grammar_release(grammar);
    compile(CHAT_CALLS_OFFERED, true, NULL);
    check(FENCE PRICE, WHOLE);
    check(FENCE PRICE "\n", REFUSED);
    check(FENCE PRICE FENCE, REFUSED);
    check("21", WHOLE);
}
END_TEST

START_TEST(tool_grammar_takes_calls_or_any_text_when_offered)
{
    static const char *const texts[] = {"",
                                        "21",
                                        " 21\n\n",
                                        "\n\n\n\n\n x",
                                        "`",
                                        "``",
                                        "```",
                                        "```j",
                                        "```jso",
                                        "```jsx",
                                        "```c\nint x;\n```",
                                        "`json`",
                                        "` ```json",
                                        "{}",
                                        "x" FENCE,
                                        "x\n" FENCE "\n{\"name\":1",
                                        "\xc3\xa9",
                                        "``\xf0\x9f\x98\x80",
                                        "\"",
                                        "```\njson"};
    compile(CHAT_CALLS_OFFERED, false, NULL);
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        check(texts[index], WHOLE);
    }
    check(FENCE, BEGUN);
    check(" " FENCE "\n{", BEGUN);
    check("\n\n" FENCE PRICE, WHOLE);
    check("\n\n\n" FENCE, REFUSED); /* White space without end is no way to a call. */
    check(FENCE "x", REFUSED);
    check(FENCE "\n[", REFUSED);
    check(FENCE "\n{\"name\":\"other", REFUSED);
    check(FENCE PRICE, WHOLE);
    check(FENCE PRICE "\n" FENCE TIMES, WHOLE);
    check(FENCE PRICE "\n" FENCE "\n{\"name\":\"m", BEGUN);
    check(FENCE PRICE " and", REFUSED);
    check(FENCE CALL("get_price", "{\"item\":1}"), REFUSED);
    check("\xff", REFUSED);
}
END_TEST

START_TEST(tool_grammar_takes_no_more_calls_than_the_bound)
{
    char text[2048] = "";
    size_t len = 0;
    compile(CHAT_CALLS_OFFERED, false, NULL);
    for (int index = 0; index < 16; index++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", FENCE CALL("get", "{}") "\n");
    }
    text[len - 1] = '\0';
    check(text, WHOLE);
    text[len - 1] = '\n';
    check(text, REFUSED);
}
END_TEST

START_TEST(tool_grammar_takes_calls_or_the_form_of_an_answer_when_it_has_one)
{
    const struct grammar_part form = {.kind = GRAMMAR_PART_OBJECT};
    compile(CHAT_CALLS_OFFERED, false, &form);
    check("{\"a\":1}", WHOLE);
    check("21", REFUSED);
    check(FENCE PRICE, WHOLE);
}
END_TEST

/* What the grammar completes, the splitter must see as whole calls, or as text. */
START_TEST(tool_grammar_agrees_with_the_splitter)
{
    static const char *const begins[] = {
        "", " ", FENCE, FENCE "\n{\"name\":\"g", FENCE PRICE "\n", "x", "```js"};
    for (int required = 0; required < 2; required++) {
        compile(required != 0 ? CHAT_CALLS_REQUIRED : CHAT_CALLS_OFFERED, false, NULL);
        for (size_t index = 0; index < sizeof(begins) / sizeof(begins[0]); index++) {
            char text[1024];
            struct grammar_state *state = grammar_state_create(grammar);
            const struct text begin = text_from(begins[index]);
            struct tool_call_split split;
            struct tool_call_piece piece;
            text_copy_to(begin, text, sizeof(text));
            if (grammar_advance(state, begin)) {
                const size_t len =
                    grammar_find_end(state, text + begin.len, sizeof(text) - begin.len);
                tool_call_split_init(&split,
                                     required != 0 ? TOOL_CALL_START_NAME : TOOL_CALL_START_FENCE);
                tool_call_split_push(&split, (struct text){text, begin.len + len});
                bool has_content = false;
                while (tool_call_split_next(&split, &piece)) {
                    has_content = has_content || piece.part == TOOL_CALL_CONTENT;
                }
                ck_assert_uint_eq(split.call_count, split.whole_count);
                ck_assert(split.call_count == 0 || !has_content);
                ck_assert(split.call_count > 0 || required == 0);
                ck_assert(split.call_count > 0 || split.state != TOOL_CALL_STATE_IGNORED);
            }
            grammar_state_destroy(state);
        }
        teardown();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tool_grammar");
    TCase *tests = tcase_create("tool_grammar");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, tool_grammar_takes_calls_only_when_required);
    tcase_add_test(tests, tool_grammar_takes_one_call_when_they_are_not_parallel);
    tcase_add_test(tests, tool_grammar_takes_calls_or_any_text_when_offered);
    tcase_add_test(tests, tool_grammar_takes_no_more_calls_than_the_bound);
    tcase_add_test(tests, tool_grammar_takes_calls_or_the_form_of_an_answer_when_it_has_one);
    tcase_add_test(tests, tool_grammar_agrees_with_the_splitter);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
