/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: functions of a request that are not shown to the model, or not as it knows them; a bad
 * one that is taken; a call or a result in the history that is lost.
 * Shown by: requests to the three APIs, what is read of them, and the prompt that comes of it. */
#include <check.h>
#include <stdlib.h>

#include "params_case.h"

#define SCHEMA "{\"type\":\"object\",\"properties\":{\"item\":{\"type\":\"string\"}}}"
#define PRICE                                                                                      \
    "{\"type\":\"function\",\"function\":{\"name\":\"get_price\",\"description\":\"The price\","   \
    "\"parameters\": " SCHEMA "}}"
#define NOW "{\"type\":\"function\",\"function\":{\"name\":\"now\",\"description\":\"\"}}"
#define TOOLS "\"tools\":[" PRICE "," NOW "]"
#define SHOWN_PRICE                                                                                \
    "{\"name\":\"get_price\",\"description\":\"The price\",\"arguments\":" SCHEMA "}"
#define SHOWN_NOW "{\"name\":\"now\",\"arguments\":{}}"
#define ANY "Return a JSON function call when one is needed, else answer."
#define ONLY "Return only a JSON function call."

/* The prompt of the request that was read. */
static void assert_prompt(enum chat_template served, const char *expected)
{
    const struct openai_prompt *prompt = &params.prompt;
    const struct chat_options options = {.continue_final_message = prompt->continue_final_message,
                                         .omit_generation_prompt = prompt->omit_generation_prompt,
                                         .calls = params.tools.calls,
                                         .tools = params.tools.shown};
    struct text text;
    struct error failure = {0};
    ck_assert_int_eq(chat_template_render(openai_prompt_template(prompt, served), prompt->messages,
                                          prompt->message_count, &options, &server.arena, &text,
                                          &failure),
                     ERROR_NONE);
    ck_assert_msg(text_equals(text, text_from(expected)), "%.*s", (int)text.len, text.bytes);
}

START_TEST(openai_tools_are_shown_when_they_are_offered)
{
    accept(OPENAI_CHAT, TOOLS);
    ck_assert_int_eq(params.tools.calls, CHAT_CALLS_OFFERED);
    ck_assert(!params.tools.is_single);
    ck_assert_ptr_nonnull(params.grammar.root);
    ck_assert_int_eq(params.grammar.objects, GRAMMAR_OBJECTS_CLOSED);
    ck_assert_int_eq(openai_params_call_start(&params), TOOL_CALL_START_FENCE);
    assert_prompt(CHAT_TEMPLATE_WORLD, "System: Tools:\n[" SHOWN_PRICE "," SHOWN_NOW "]\n" ANY
                                       "\n\nUser: hi\n\nAssistant:");
    assert_prompt(CHAT_TEMPLATE_G1_THINK, "System: Tools:\n[" SHOWN_PRICE "," SHOWN_NOW "]\n" ANY
                                          "\n\nUser: hi\n\nAssistant: <think");
    accept(OPENAI_CHAT, TOOLS ",\"parallel_tool_calls\":false,\"tool_choice\":\"auto\"");
    ck_assert(params.tools.is_single);
}
END_TEST

START_TEST(openai_tools_begin_the_call_when_one_is_required)
{
    accept(OPENAI_CHAT, TOOLS ",\"tool_choice\":\"required\"");
    ck_assert_int_eq(openai_params_call_start(&params), TOOL_CALL_START_NAME);
    ck_assert_int_eq(openai_params_answer_start(&params, CHAT_TEMPLATE_G1_THINK),
                     REASONING_START_TEXT);
    ck_assert(!params.tools.is_named);
    assert_prompt(CHAT_TEMPLATE_WORLD, "System: Tools:\n[" SHOWN_PRICE "," SHOWN_NOW "]\n" ONLY
                                       "\n\nUser: hi\n\nAssistant: ```json");
    assert_prompt(CHAT_TEMPLATE_G1_THINK, "System: Tools:\n[" SHOWN_PRICE "," SHOWN_NOW "]\n" ONLY
                                          "\n\nUser: hi\n\nAssistant: <think>\n</think>\n```json");
    accept(OPENAI_CHAT,
           TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"now\"}}");
    ck_assert(params.tools.is_named);
    ck_assert_uint_eq(params.tools.count, 1);
    assert_prompt(CHAT_TEMPLATE_WORLD,
                  "System: Tools:\n[" SHOWN_NOW "]\n" ONLY "\n\nUser: hi\n\nAssistant: ```json");
}
END_TEST

START_TEST(openai_tools_say_nothing_when_none_is_to_be_called)
{
    static const char *const members[] = {TOOLS ",\"tool_choice\":\"none\"", "\"tools\":[]",
                                          "\"tools\":null,\"tool_choice\":\"auto\"",
                                          "\"tool_choice\":\"none\",\"parallel_tool_calls\":true"};
    for (size_t index = 0; index < sizeof(members) / sizeof(members[0]); index++) {
        accept(OPENAI_CHAT, members[index]);
        ck_assert_int_eq(params.tools.calls, CHAT_CALLS_NONE);
        ck_assert_ptr_null(params.grammar.root);
        ck_assert_int_eq(openai_params_call_start(&params), TOOL_CALL_START_NONE);
        assert_prompt(CHAT_TEMPLATE_WORLD, "User: hi\n\nAssistant:");
    }
}
END_TEST

START_TEST(openai_tools_stand_behind_the_text_of_the_system)
{
    ck_assert(read_json(OPENAI_TEMPLATE, "{" TOOLS ",\"messages\":["
                                         "{\"role\":\"system\",\"content\":\" Be\\n\\n\\nkind. \"},"
                                         "{\"role\":\"user\",\"content\":\"hi\"}]}"));
    ck_assert_ptr_null(params.grammar.root); /* Nothing is generated. */
    assert_prompt(CHAT_TEMPLATE_WORLD, "System: Be\nkind.\nTools:\n[" SHOWN_PRICE "," SHOWN_NOW
                                       "]\n" ANY "\n\nUser: hi\n\nAssistant:");
}
END_TEST

START_TEST(openai_tools_keep_numbers_order_and_letters_of_a_schema)
{
    accept(OPENAI_CHAT,
           "\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\": {\"properties\" : "
           "{\"b\": {\"maximum\": 9223372036854775807, \"minimum\": -1.50e2, \"type\": "
           "\"integer\"}, \"a\": {\"enum\": [\"\\u00e9\\n\\\"\", null, true, []]}}, "
           "\"type\": \"object\"}, \"name\": \"f\"}}]");
    ck_assert(text_equals(
        params.tools.shown,
        TEXT("[{\"name\":\"f\",\"arguments\":{\"properties\":{\"b\":{\"maximum\":"
             "9223372036854775807,\"minimum\":-1.50e2,\"type\":\"integer\"},\"a\":{\"enum\":["
             "\"\u00e9\\n\\\"\",null,true,[]]}},\"type\":\"object\"}}]")));
}
END_TEST

START_TEST(openai_tools_want_explicit_objects_when_all_are_strict)
{
#define STRICT(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"strict\":true}}"
    accept(OPENAI_CHAT, "\"tools\":[" STRICT("a") "," STRICT("b") "]");
    ck_assert_int_eq(params.grammar.objects, GRAMMAR_OBJECTS_EXPLICIT);
    accept(OPENAI_CHAT, "\"tools\":[" STRICT("a") "," NOW "]");
    ck_assert_int_eq(params.grammar.objects, GRAMMAR_OBJECTS_CLOSED);
    accept(OPENAI_CHAT,
           "\"tools\":[" STRICT("a") "],\"response_format\":{\"type\":\"json_object\"}");
    ck_assert_int_eq(params.grammar.objects, GRAMMAR_OBJECTS_CLOSED);
    ck_assert_int_eq(params.grammar.root->kind, GRAMMAR_PART_CHOICE);
    ck_assert_int_eq(params.grammar.root->parts[0].kind, GRAMMAR_PART_OBJECT);
}
END_TEST

#define FUNCTION(members) "\"tools\":[{\"type\":\"function\",\"function\":{" members "}}]"

static const struct {
    const char *members, *param, *message;
} bad[] = {
    {"\"tools\":{}", "tools", "array"},
    {"\"tools\":[1]", "tools[0]", "object"},
    {"\"tools\":[{}]", "tools[0].type", "is required"},
    {"\"tools\":[{\"type\":\"web_search\"}]", "tools[0].type", "'web_search' is not supported"},
    {"\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]", "tools[0].function", "is required"},
    {"\"tools\":[{\"type\":\"function\",\"function\":1}]", "tools[0].function", "object"},
    {FUNCTION(""), "tools[0].function.name", "is required"},
    {FUNCTION("\"name\":\"\""), "tools[0].function.name", "1 to 64 letters"},
    {FUNCTION("\"name\":\"a b\""), "tools[0].function.name", "1 to 64 letters"},
    {FUNCTION("\"name\":\"\u00e9\""), "tools[0].function.name", "1 to 64 letters"},
    {FUNCTION("\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""),
     "tools[0].function.name", "1 to 64 letters"},
    {FUNCTION("\"name\":\"f\",\"description\":1"), "tools[0].function.description", "string"},
    {FUNCTION("\"name\":\"f\",\"parameters\":[]"), "tools[0].function.parameters", "object"},
    {FUNCTION("\"name\":\"f\",\"parameters\":{\"type\":\"string\"}"),
     "tools[0].function.parameters.type", "'object'"},
    {FUNCTION("\"name\":\"f\",\"parameters\":{\"properties\":{}}"),
     "tools[0].function.parameters.type", "'object'"},
    {FUNCTION("\"name\":\"f\",\"strict\":\"yes\""), "tools[0].function.strict", "true or false"},
    {"\"tools\":[" NOW "," PRICE "," NOW "]", "tools[2].function.name", "there twice"},
    {"\"tool_choice\":\"required\"", "tool_choice", "needs tools"},
    {TOOLS ",\"tool_choice\":\"any\"", "tool_choice", "'any', must be"},
    {TOOLS ",\"tool_choice\":1", "tool_choice", "object"},
    {TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\"}", "tool_choice.type",
     "'allowed_tools' is not supported"},
    {TOOLS ",\"tool_choice\":{\"type\":\"function\"}", "tool_choice.function", "is required"},
    {TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{}}", "tool_choice.function.name",
     "is required"},
    {TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"x\"}}", "tool_choice",
     "'x' is the name of no tool"},
    {TOOLS ",\"tool_choice\":\"required\",\"add_generation_prompt\":false", "tool_choice",
     "a call begins the assistant's turn"},
    {TOOLS ",\"parallel_tool_calls\":1", "parallel_tool_calls", "true or false"},
};

START_TEST(openai_tools_names_the_place_when_something_is_wrong)
{
    refuse(OPENAI_CHAT, bad[_i].members, bad[_i].param, bad[_i].message);
}
END_TEST

START_TEST(openai_tools_counts_them)
{
    static char json[128 * 128];
    for (unsigned count = 128; count <= 129; count++) {
        size_t len = (size_t)snprintf(json, sizeof(json),
                                      "{\"messages\":[{\"role\":\"user\","
                                      "\"content\":\"x\"}],\"tools\":[");
        for (unsigned index = 0; index < count; index++) {
            len += (size_t)snprintf(json + len, sizeof(json) - len,
                                    "%s{\"type\":\"function\",\"function\":{\"name\":\"f%u\"}}",
                                    index == 0 ? "" : ",", index);
        }
        snprintf(json + len, sizeof(json) - len, "]}");
        ck_assert(read_json(OPENAI_CHAT, json) == (count == 128));
    }
    ck_assert_str_eq(error.message, "tools: 129 tools, at most 128");
}
END_TEST

START_TEST(openai_tools_have_other_forms_in_other_apis)
{
#define FLAT                                                                                       \
    "{\"type\":\"function\",\"name\":\"now\",\"parameters\":null,\"strict\":null,"                 \
    "\"description\":null}"
    ck_assert_msg(read_json(OPENAI_RESPONSES,
                            "{\"input\":\"hi\",\"tools\":[" FLAT "],\"tool_choice\":"
                            "{\"type\":\"function\",\"name\":\"now\"}}"),
                  "%s", error.message);
    ck_assert_int_eq(params.tools.calls, CHAT_CALLS_REQUIRED);
    ck_assert(text_equals(params.tools.repeated,
                          TEXT("[{\"type\":\"function\",\"name\":\"now\",\"description\":null,"
                               "\"parameters\":null,\"strict\":false}]")));
    ck_assert(text_equals(params.tools.choice_repeated,
                          TEXT("{\"type\":\"function\",\"name\":\"now\"}")));
    ck_assert(!read_json(OPENAI_RESPONSES, "{\"input\":\"hi\",\"tools\":[" NOW "]}"));
    ck_assert_str_eq(error.param, "tools[0].name");
#define CLAUDE(more)                                                                               \
    "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":["          \
    "{\"name\":\"get_price\",\"description\":\"The price\",\"input_schema\":" SCHEMA "}]" more "}"
    ck_assert_msg(read_json(OPENAI_MESSAGES, CLAUDE("")), "%s", error.message);
    ck_assert(text_equals(params.tools.shown, TEXT("[" SHOWN_PRICE "]")));
    ck_assert_str_eq(params.tools.items[0].path.bytes, "tools[0].input_schema");
    ck_assert(read_json(OPENAI_MESSAGES, CLAUDE(",\"tool_choice\":{\"type\":\"any\","
                                                "\"disable_parallel_tool_use\":true}")));
    ck_assert_int_eq(params.tools.calls, CHAT_CALLS_REQUIRED);
    ck_assert(params.tools.is_single);
    ck_assert(read_json(OPENAI_MESSAGES_COUNT,
                        CLAUDE(",\"tool_choice\":{\"type\":\"tool\",\"name\":\"get_price\"}")));
    ck_assert_int_eq(params.tools.calls, CHAT_CALLS_REQUIRED);
    ck_assert(!read_json(OPENAI_MESSAGES, CLAUDE(",\"tool_choice\":{\"type\":\"tool\"}")));
    ck_assert_str_eq(error.param, "tool_choice.name");
    ck_assert(!read_json(OPENAI_MESSAGES, CLAUDE(",\"tool_choice\":{\"type\":\"required\"}")));
    ck_assert_str_eq(error.param, "tool_choice.type");
    ck_assert(!read_json(OPENAI_MESSAGES,
                         "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                         "\"tools\":[{\"name\":\"f\"}]}"));
    ck_assert_str_eq(error.param, "tools[0].input_schema");
}
END_TEST

#define CALL(id, name, arguments)                                                                  \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name                      \
    "\",\"arguments\":\"" arguments "\"}}"

START_TEST(openai_tools_stay_in_the_history)
{
    ck_assert_msg(
        read_json(
            OPENAI_CHAT,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"What?\"},"
            "{\"role\":\"assistant\",\"content\":\"Let me see.\\n\",\"tool_calls\":[" CALL(
                "1", "get_price",
                "{ \\\"item\\\" : \\\"pl um\\\" }") "," CALL("2", "now",
                                                             "") "]},"
                                                                 "{\"role\":\"tool\",\"tool_call_"
                                                                 "id\":\"2\",\"content\":\"noon\"},"
                                                                 "{\"role\":\"tool\",\"tool_call_"
                                                                 "id\":\"1\",\"content\":\"{"
                                                                 "\\\"price\\\":7}\"}]}"),
        "%s", error.message);
    assert_prompt(CHAT_TEMPLATE_WORLD,
                  "User: What?\n\nAssistant: Let me see.\n"
                  "```json\n{\"name\":\"get_price\",\"arguments\":{\"item\":\"pl um\"}}\n```\n"
                  "```json\n{\"name\":\"now\",\"arguments\":{}}\n```\n\n"
                  "User: Function output:\nnoon\n\nUser: Function output:\n{\"price\":7}\n\n"
                  "Assistant:");
}
END_TEST

static const struct {
    const char *messages, *param, *message;
} bad_history[] = {
    {"{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"x\"}", "messages[0].tool_call_id",
     "'1' is the id of no call before"},
    {"{\"role\":\"assistant\",\"tool_calls\":[" CALL(
         "1", "f", "{}") "]},"
                         "{\"role\":\"tool\",\"tool_call_id\":\"2\",\"content\":\"x\"}",
     "messages[1].tool_call_id", "'2' is the id of no call before"},
    {"{\"role\":\"assistant\",\"tool_calls\":{}}", "messages[0].tool_calls", "array"},
    {"{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\"}]}", "messages[0].tool_calls[0].type",
     "is required"},
    {"{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"custom\"}]}",
     "messages[0].tool_calls[0].type", "'custom' is not supported"},
    {"{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\"}]}",
     "messages[0].tool_calls[0].id", "is required"},
    {"{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\"}]}",
     "messages[0].tool_calls[0].function", "is required"},
    {"{\"role\":\"assistant\",\"tool_calls\":[" CALL("1", "f", "{") "]}",
     "messages[0].tool_calls[0].function.arguments", "JSON object"},
    {"{\"role\":\"assistant\",\"tool_calls\":[" CALL("1", "f", "[1]") "]}",
     "messages[0].tool_calls[0].function.arguments", "JSON object"},
};

START_TEST(openai_tools_names_the_place_when_the_history_is_wrong)
{
    char json[1024];
    snprintf(json, sizeof(json), "{\"messages\":[%s]}", bad_history[_i].messages);
    ck_assert_msg(!read_json(OPENAI_CHAT, json), "%s", json);
    ck_assert_str_eq(error.param, bad_history[_i].param);
    ck_assert_msg(strstr(error.message, bad_history[_i].message) != NULL, "%s", error.message);
}
END_TEST

START_TEST(openai_tools_want_a_call_for_each_result_in_other_apis)
{
    ck_assert(!read_json(OPENAI_RESPONSES, "{\"input\":[{\"type\":\"function_call_output\","
                                           "\"call_id\":\"1\",\"output\":\"x\"}]}"));
    ck_assert_str_eq(error.param, "input[0].call_id");
    ck_assert(!read_json(OPENAI_RESPONSES, "{\"input\":[{\"type\":\"function_call\"}]}"));
    ck_assert_str_eq(error.param, "input[0].call_id");
    ck_assert(!read_json(OPENAI_MESSAGES,
                         "{\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{"
                         "\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":\"x\"}]}]}"));
    ck_assert_str_eq(error.param, "messages[0].content[0].tool_use_id");
    ck_assert(!read_json(OPENAI_MESSAGES,
                         "{\"max_tokens\":5,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
                         "\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":\"x\"}]}]}"));
    ck_assert_str_eq(error.param, "messages[0].content[0].input");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_tools");
    TCase *tests = tcase_create("openai_tools");
    tcase_add_checked_fixture(tests, params_case_setup, params_case_teardown);
    tcase_add_test(tests, openai_tools_are_shown_when_they_are_offered);
    tcase_add_test(tests, openai_tools_begin_the_call_when_one_is_required);
    tcase_add_test(tests, openai_tools_say_nothing_when_none_is_to_be_called);
    tcase_add_test(tests, openai_tools_stand_behind_the_text_of_the_system);
    tcase_add_test(tests, openai_tools_keep_numbers_order_and_letters_of_a_schema);
    tcase_add_test(tests, openai_tools_want_explicit_objects_when_all_are_strict);
    tcase_add_loop_test(tests, openai_tools_names_the_place_when_something_is_wrong, 0,
                        sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tests, openai_tools_counts_them);
    tcase_add_test(tests, openai_tools_have_other_forms_in_other_apis);
    tcase_add_test(tests, openai_tools_stay_in_the_history);
    tcase_add_loop_test(tests, openai_tools_names_the_place_when_the_history_is_wrong, 0,
                        sizeof(bad_history) / sizeof(bad_history[0]));
    tcase_add_test(tests, openai_tools_want_a_call_for_each_result_in_other_apis);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
