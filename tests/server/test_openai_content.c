/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the conversations of three APIs become the same turns, and a wrong one names its place.
 * Shown by: bodies of /v1/responses and /v1/messages read into messages. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "openai_case.h"
#include "server/openai_params.h"

static struct openai_case server;
static struct openai_params params;
static struct openai_error error;

static void setup(void)
{
    openai_case_open(&server);
}

static void teardown(void)
{
    openai_case_close(&server);
}

static bool read_json(enum openai_endpoint endpoint, const char *json)
{
    const struct text body = openai_case_body(&server, text_from(json));
    return openai_params_read(endpoint, body, &server.options, &server.arena, &params, &error);
}

/* Compares the turns: "s:", "u:", "a:", "t:" and what is said, with | between them. */
static void assert_turns(enum openai_endpoint endpoint, const char *json, const char *expected)
{
    static const char letters[] = {'s', 'u', 'a', 't'};
    char turns[1024] = "";
    size_t len = 0;
    ck_assert_msg(read_json(endpoint, json), "%s: %s", json, error.message);
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_MESSAGES);
    for (uint32_t index = 0; index < params.prompt.message_count; index++) {
        const struct chat_message *message = &params.prompt.messages[index];
        len +=
            (size_t)snprintf(turns + len, sizeof(turns) - len, "%s%c:%.*s", index == 0 ? "" : "|",
                             letters[message->role], (int)message->content.len,
                             message->content.len == 0 ? "" : message->content.bytes);
    }
    ck_assert_str_eq(turns, expected);
}

static void refuse(enum openai_endpoint endpoint, const char *json, const char *param,
                   const char *message)
{
    ck_assert_msg(!read_json(endpoint, json), "%s was accepted", json);
    ck_assert_uint_eq(error.status, 400);
    ck_assert_msg(strcmp(error.param, param) == 0, "%s: param '%s'", json, error.param);
    ck_assert_msg(strstr(error.message, message) != NULL, "%s: '%s'", json, error.message);
}

START_TEST(openai_content_reads_an_input_when_it_is_text_or_items)
{
    const enum openai_endpoint endpoint = OPENAI_RESPONSES;
    assert_turns(endpoint, "{\"input\":\"hi\"}", "u:hi");
    assert_turns(endpoint, "{\"input\":\"\"}", "u:");
    assert_turns(endpoint, "{\"input\":\"hi\",\"instructions\":\"be\"}", "s:be|u:hi");
    assert_turns(
        endpoint,
        "{\"input\":[{\"role\":\"developer\",\"content\":\"d\"},"
        "{\"type\":\"message\",\"role\":\"user\",\"content\":["
        "{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\",\"text\":\"b\"}]},"
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]},"
        "{\"type\":\"message\",\"id\":\"msg_1\",\"role\":\"assistant\",\"content\":["
        "{\"type\":\"output_text\",\"text\":\"c\",\"annotations\":[]}]},"
        "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},"
        "{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":\"r\"}]}",
        "s:d|u:a\nb|a:c\n```json\n{\"name\":\"f\",\"arguments\":{}}\n```|t:r");
    ck_assert(!params.prompt.continue_final_message);
}
END_TEST

START_TEST(openai_content_names_the_place_when_an_input_is_wrong)
{
    const enum openai_endpoint endpoint = OPENAI_RESPONSES;
    refuse(endpoint, "{}", "input", "is required");
    refuse(endpoint, "{\"instructions\":\"x\"}", "input", "is required");
    refuse(endpoint, "{\"input\":[]}", "input", "holds no message");
    refuse(endpoint, "{\"input\":[{\"type\":\"reasoning\"}]}", "input", "holds no message");
    refuse(endpoint, "{\"input\":1}", "input", "must be a string or an array");
    refuse(endpoint, "{\"input\":[1]}", "input[0]", "must be an object");
    refuse(endpoint, "{\"input\":[{}]}", "input[0].role", "is required");
    refuse(endpoint, "{\"input\":[{\"role\":\"tool\"}]}", "input[0].role", "'tool', must be");
    refuse(endpoint, "{\"input\":[{\"role\":\"user\",\"content\":1}]}", "input[0].content",
           "must be a string or an array");
    refuse(endpoint, "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_file\"}]}]}",
           "input[0].content[0].type", "'input_file' is not supported");
    refuse(endpoint, "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}]}",
           "input[0].content[0].text", "is required");
    refuse(endpoint, "{\"input\":[{\"type\":\"web_search_call\"}]}", "input[0].type",
           "not supported");
    refuse(endpoint, "{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", "input[0]",
           "keeps no responses");
    refuse(endpoint, "{\"input\":\"x\",\"previous_response_id\":\"r\"}", "previous_response_id",
           "keeps no responses");
    refuse(endpoint, "{\"input\":\"x\",\"conversation\":{\"id\":\"c\"}}", "conversation",
           "keeps no responses");
}
END_TEST

START_TEST(openai_content_checks_metadata_when_it_is_to_be_repeated)
{
    char json[2048];
    char value[514];
    memset(value, 'v', sizeof(value));
    snprintf(json, sizeof(json), "{\"input\":\"x\",\"metadata\":{\"k\":\"%.512s\"}}", value);
    ck_assert(read_json(OPENAI_RESPONSES, json));
    snprintf(json, sizeof(json), "{\"input\":\"x\",\"metadata\":{\"k\":\"%.513s\"}}", value);
    refuse(OPENAI_RESPONSES, json, "metadata.k", "values 512");
    snprintf(json, sizeof(json), "{\"input\":\"x\",\"metadata\":{\"%.65s\":\"v\"}}", value);
    ck_assert(!read_json(OPENAI_RESPONSES, json));
    refuse(OPENAI_RESPONSES, "{\"input\":\"x\",\"metadata\":{\"k\":1}}", "metadata.k", "string");
    size_t len = (size_t)snprintf(json, sizeof(json), "{\"input\":\"x\",\"metadata\":{\"k\":\"\"");
    for (int pair = 1; pair < 17; pair++) {
        len += (size_t)snprintf(json + len, sizeof(json) - len, ",\"k%d\":\"\"", pair);
    }
    snprintf(json + len, sizeof(json) - len, "}}");
    refuse(OPENAI_RESPONSES, json, "metadata", "17 pairs, at most 16");
    ck_assert(
        read_json(OPENAI_RESPONSES, "{\"input\":\"x\",\"metadata\":{\"a\\\"\":\"\\u00e9\\n\"}}"));
    ck_assert(text_equals(params.responses.metadata, TEXT("{\"a\\\"\":\"\u00e9\\n\"}")));
}
END_TEST

START_TEST(openai_content_forgets_instructions_when_they_are_long)
{
    enum { LONG = 64 * 1024 };
    static char json[LONG + 128];
    static char long_text[LONG + 2];
    memset(long_text, 'x', LONG + 1);
    snprintf(json, sizeof(json), "{\"input\":\"x\",\"instructions\":\"%s\"}", long_text);
    ck_assert(read_json(OPENAI_RESPONSES, json));
    ck_assert_ptr_null(params.responses.instructions.bytes);
    ck_assert_uint_eq(params.prompt.messages[0].content.len, LONG + 1);
    long_text[LONG] = '\0';
    snprintf(json, sizeof(json), "{\"input\":\"x\",\"instructions\":\"%s\"}", long_text);
    ck_assert(read_json(OPENAI_RESPONSES, json));
    ck_assert_uint_eq(params.responses.instructions.len, LONG);
}
END_TEST

#define MAX "\"max_tokens\":5"

START_TEST(openai_content_reads_messages_when_they_are_anthropics)
{
    const enum openai_endpoint endpoint = OPENAI_MESSAGES;
    assert_turns(endpoint, "{" MAX ",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                 "u:hi");
    assert_turns(endpoint,
                 "{" MAX ",\"system\":[{\"type\":\"text\",\"text\":\"a\"},"
                 "{\"type\":\"text\",\"text\":\"b\",\"cache_control\":null}],"
                 "\"messages\":[{\"role\":\"user\",\"content\":["
                 "{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]},"
                 "{\"role\":\"assistant\",\"content\":["
                 "{\"type\":\"thinking\",\"thinking\":\"?\",\"signature\":\"\"},"
                 "{\"type\":\"text\",\"text\":\"e\"},"
                 "{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{}},"
                 "{\"type\":\"tool_use\",\"id\":\"2\",\"name\":\"g\","
                 "\"input\":{ \"a\": [1, 2.0] }},"
                 "{\"type\":\"tool_use\",\"id\":\"3\",\"name\":\"f\",\"input\":{}}]},"
                 "{\"role\":\"user\",\"content\":["
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"1\",\"content\":\"f\"},"
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"2\",\"content\":["
                 "{\"type\":\"text\",\"text\":\"g\"}]},"
                 "{\"type\":\"tool_result\",\"tool_use_id\":\"3\"},"
                 "{\"type\":\"text\",\"text\":\"h\"}]}]}",
                 "s:a\nb|u:c\nd|a:e\n"
                 "```json\n{\"name\":\"f\",\"arguments\":{}}\n```\n"
                 "```json\n{\"name\":\"g\",\"arguments\":{\"a\":[1,2.0]}}\n```\n"
                 "```json\n{\"name\":\"f\",\"arguments\":{}}\n```|t:f|t:g|t:|u:h");
    ck_assert(!params.prompt.continue_final_message);
    assert_turns(endpoint,
                 "{" MAX ",\"system\":\"\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
                 "{\"role\":\"assistant\",\"content\":\"He\"}]}",
                 "u:hi|a:He");
    ck_assert(params.prompt.continue_final_message);
    assert_turns(OPENAI_MESSAGES_COUNT, "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}",
                 "u:");
}
END_TEST

START_TEST(openai_content_names_the_place_when_messages_are_wrong)
{
    const enum openai_endpoint endpoint = OPENAI_MESSAGES;
    refuse(endpoint, "{" MAX "}", "messages", "is required");
    refuse(endpoint, "{" MAX ",\"system\":\"x\"}", "messages", "is required");
    refuse(endpoint, "{" MAX ",\"messages\":[]}", "messages", "holds no message");
    refuse(endpoint, "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", "max_tokens",
           "is required");
    refuse(endpoint, "{" MAX ",\"messages\":[{\"role\":\"system\",\"content\":\"\"}]}",
           "messages[0].role", "system is a field of its own");
    refuse(endpoint, "{" MAX ",\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
           "is required");
    refuse(endpoint,
           "{" MAX ",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
           "messages[0].content[0].type", "'image' is not supported");
    refuse(endpoint,
           "{" MAX ",\"messages\":[{\"role\":\"assistant\",\"content\":["
           "{\"type\":\"tool_result\",\"tool_use_id\":\"1\"}]}]}",
           "messages[0].content[0].type", "'tool_result' is not supported here");
    refuse(endpoint,
           "{" MAX ",\"messages\":[{\"role\":\"user\",\"content\":["
           "{\"type\":\"text\",\"text\":[]}]}]}",
           "messages[0].content[0].text", "string");
    refuse(endpoint, "{" MAX ",\"system\":1,\"messages\":[]}", "system", "must be a string");
}
END_TEST

START_TEST(openai_content_counts_messages_when_there_are_too_many)
{
    static char json[64 * (LIMIT_MESSAGES + 1)];
    for (int extra = 0; extra < 2; extra++) {
        size_t len = (size_t)snprintf(json, sizeof(json), "{\"input\":[");
        for (int index = 0; index < LIMIT_MESSAGES + extra; index++) {
            len +=
                (size_t)snprintf(json + len, sizeof(json) - len,
                                 "%s{\"role\":\"user\",\"content\":\"x\"}", index == 0 ? "" : ",");
        }
        snprintf(json + len, sizeof(json) - len, "]}");
        if (extra == 0) {
            ck_assert_msg(read_json(OPENAI_RESPONSES, json), "%s", error.message);
            ck_assert_uint_eq(params.prompt.message_count, LIMIT_MESSAGES);
        } else {
            refuse(OPENAI_RESPONSES, json, "input[1024]", "more than 1024 messages");
        }
    }
}
END_TEST

START_TEST(openai_content_reads_modes_when_they_have_other_names)
{
    ck_assert(read_json(OPENAI_RESPONSES, "{\"input\":\"x\",\"reasoning\":{\"effort\":\"none\"},"
                                          "\"text\":{\"format\":{\"type\":\"text\"}},"
                                          "\"max_output_tokens\":7,\"stop\":\"a\"}"));
    ck_assert_int_eq(params.prompt.thinking, OPENAI_THINKING_OFF);
    ck_assert_uint_eq(params.sampling.max_tokens, 7);
    ck_assert_uint_eq(params.own_stop_count, 1);
    ck_assert_uint_eq(params.stop_count, 2);
    ck_assert_uint_eq(params.choice_count, 1);
    ck_assert_int_eq(params.logprobs, -1);
    const char *thinking = "{" MAX ",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
                           "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},"
                           "\"tools\":[],\"tool_choice\":{\"type\":\"auto\"}}";
    ck_assert(read_json(OPENAI_MESSAGES, thinking));
    ck_assert_int_eq(params.prompt.thinking, OPENAI_THINKING_ON);
    refuse(OPENAI_RESPONSES, "{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"json_schema\"}}}",
           "text.format.schema", "required");
    refuse(OPENAI_RESPONSES, "{\"input\":\"x\",\"background\":true}", "background",
           "not supported");
    refuse(OPENAI_RESPONSES, "{\"input\":\"x\",\"top_logprobs\":1}", "top_logprobs", "0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_content");
    TCase *tests = tcase_create("openai_content");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, openai_content_reads_an_input_when_it_is_text_or_items);
    tcase_add_test(tests, openai_content_names_the_place_when_an_input_is_wrong);
    tcase_add_test(tests, openai_content_checks_metadata_when_it_is_to_be_repeated);
    tcase_add_test(tests, openai_content_forgets_instructions_when_they_are_long);
    tcase_add_test(tests, openai_content_reads_messages_when_they_are_anthropics);
    tcase_add_test(tests, openai_content_names_the_place_when_messages_are_wrong);
    tcase_add_test(tests, openai_content_counts_messages_when_there_are_too_many);
    tcase_add_test(tests, openai_content_reads_modes_when_they_have_other_names);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
