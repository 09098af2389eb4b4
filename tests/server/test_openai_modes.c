/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: how to answer is what the client said: which model, thinking or not, in which form.
 * Shown by: bodies with each of these fields, read into parameters or refused with a reason. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "params_case.h"

START_TEST(openai_modes_answers_404_when_the_model_is_another)
{
    accept(OPENAI_CHAT, "\"model\":\"gosling\"");
    ck_assert(!read_with(OPENAI_CHAT, "\"model\":\"gpt-4\""));
    ck_assert_uint_eq(error.status, 404);
    ck_assert_str_eq(error.code, "model_not_found");
    ck_assert_str_eq(error.param, "model");
    refuse(OPENAI_CHAT, "\"model\":5", "model", "a string");
}
END_TEST

START_TEST(openai_modes_reads_stream_options_when_given)
{
    accept(OPENAI_CHAT, "\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                        "\"include_obfuscation\":true}");
    ck_assert(params.stream && params.usage_in_stream);
    accept(OPENAI_CHAT, "\"stream\":true,\"stream_options\":{}");
    ck_assert(!params.usage_in_stream);
    refuse(OPENAI_CHAT, "\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage",
           "true or false");
    refuse(OPENAI_CHAT, "\"stream_options\":true", "stream_options", "an object");
    refuse(OPENAI_CHAT, "\"stream\":\"yes\"", "stream", "true or false");
}
END_TEST

START_TEST(openai_modes_refuses_a_field_when_not_supported)
{
    static const char version[] = "not supported by this version";
    refuse(OPENAI_COMPLETIONS, "\"suffix\":\"x\"", "suffix", version);
    refuse(OPENAI_COMPLETIONS, "\"best_of\":2", "best_of", version);
    refuse(OPENAI_CHAT, "\"functions\":[{}]", "functions", "use tools and tool_choice");
    refuse(OPENAI_CHAT, "\"function_call\":\"auto\"", "function_call", "use tools");
    refuse(OPENAI_CHAT, "\"guided_json\":{}", "guided_json", version);
    refuse(OPENAI_CHAT, "\"stream_options\":{\"continuous_usage_stats\":true}",
           "stream_options.continuous_usage_stats", version);
    accept(OPENAI_COMPLETIONS, "\"best_of\":2,\"n\":2");
    accept(OPENAI_CHAT, "\"tools\":[],\"tool_choice\":\"auto\",\"functions\":false");
}
END_TEST

static enum chat_template template_of(const char *members, enum chat_template served)
{
    accept(OPENAI_CHAT, members);
    return openai_prompt_template(&params.prompt, served);
}

START_TEST(openai_modes_chooses_the_template_when_thinking_is_asked_for)
{
    static const struct {
        const char *members;
        enum chat_template expected; /* With G1 served. */
        enum chat_effort effort;
    } cases[] = {
        {"", CHAT_TEMPLATE_G1, CHAT_EFFORT_UNSAID},
        {"\"reasoning_effort\":\"none\"", CHAT_TEMPLATE_G1, CHAT_EFFORT_UNSAID},
        {"\"reasoning_effort\":\"minimal\"", CHAT_TEMPLATE_G1_THINK, CHAT_EFFORT_LOW},
        {"\"reasoning_effort\":\"low\"", CHAT_TEMPLATE_G1_THINK, CHAT_EFFORT_LOW},
        {"\"reasoning_effort\":\"medium\"", CHAT_TEMPLATE_G1_THINK, CHAT_EFFORT_MEDIUM},
        {"\"reasoning_effort\":\"high\"", CHAT_TEMPLATE_G1_THINK, CHAT_EFFORT_HIGH},
        {"\"chat_template_kwargs\":{\"enable_thinking\":true}", CHAT_TEMPLATE_G1_THINK,
         CHAT_EFFORT_UNSAID},
        {"\"chat_template_kwargs\":{\"enable_thinking\":false},\"reasoning_effort\":\"high\"",
         CHAT_TEMPLATE_G1, CHAT_EFFORT_HIGH},
        {"\"chat_template_kwargs\":{\"other\":1,\"enable_thinking\":null}", CHAT_TEMPLATE_G1,
         CHAT_EFFORT_UNSAID},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        const char *members = cases[index].members;
        ck_assert_int_eq(template_of(members, CHAT_TEMPLATE_G1), cases[index].expected);
        ck_assert_int_eq(params.prompt.effort, cases[index].effort);
        ck_assert_int_eq(template_of(members, CHAT_TEMPLATE_WORLD), CHAT_TEMPLATE_WORLD);
    }
    ck_assert_int_eq(template_of("", CHAT_TEMPLATE_G1_THINK), CHAT_TEMPLATE_G1_THINK);
    ck_assert_int_eq(template_of("\"reasoning_effort\":\"none\"", CHAT_TEMPLATE_G1_THINK),
                     CHAT_TEMPLATE_G1);
    refuse(OPENAI_CHAT, "\"reasoning_effort\":\"huge\"", "reasoning_effort", "'huge', must be");
    refuse(OPENAI_CHAT, "\"chat_template_kwargs\":{\"enable_thinking\":1}",
           "chat_template_kwargs.enable_thinking", "true or false");
}
END_TEST

START_TEST(openai_modes_refuses_to_continue_when_a_generation_prompt_is_asked_for)
{
    accept(OPENAI_CHAT, "\"add_generation_prompt\":false");
    ck_assert(params.prompt.omit_generation_prompt);
    accept(OPENAI_CHAT, "\"add_generation_prompt\":true");
    ck_assert(!params.prompt.omit_generation_prompt);
    accept(OPENAI_CHAT, "\"add_generation_prompt\":false,\"continue_final_message\":true");
    refuse(OPENAI_CHAT, "\"add_generation_prompt\":true,\"continue_final_message\":true",
           "continue_final_message", "excludes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_modes");
    TCase *tests = tcase_create("openai_modes");
    tcase_add_checked_fixture(tests, params_case_setup, params_case_teardown);
    tcase_add_test(tests, openai_modes_answers_404_when_the_model_is_another);
    tcase_add_test(tests, openai_modes_reads_stream_options_when_given);
    tcase_add_test(tests, openai_modes_refuses_a_field_when_not_supported);
    tcase_add_test(tests, openai_modes_chooses_the_template_when_thinking_is_asked_for);
    tcase_add_test(tests, openai_modes_refuses_to_continue_when_a_generation_prompt_is_asked_for);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
