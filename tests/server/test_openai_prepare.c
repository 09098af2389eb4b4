/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: of several prompts each gets its own answers, in order; scores stand at their tokens.
 * Shown by: requests with several prompts, echo and thoughts, between fake exchange and engine. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_case.h"

#define PROMPTS "\"prompt\":[[2],[3,4],[5]]"

/* Of a completion's stream. */
#define TEXT_CHUNK(index, text)                                                                    \
    "{\"index\":" #index ",\"text\":\"" text "\",\"logprobs\":null,\"finish_reason\":null}]}\n"
#define TEXT_END(index)                                                                            \
    "{\"index\":" #index ",\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n"

static void start(http_handler *handler, const char *body, uint32_t submits)
{
    fake_exchange_init(&fake, &server, body);
    handler(&fake.shared);
    ck_assert_msg(fake_engine.submits == submits, "%u: %s", fake_engine.submits, fake.body);
}

static void assert_body_has(const char *text)
{
    ck_assert_msg(strstr(fake.body, text) != NULL, "no %s in %s", text, fake.body);
}

static uint64_t id_of(uint32_t part)
{
    ck_assert_uint_lt(part, fake_engine.submits);
    return fake_engine.requests[part]->id;
}

START_TEST(openai_prepare_asks_once_for_each_prompt)
{
    start(openai_completions_handle, "{" PROMPTS ",\"seed\":3,\"max_tokens\":2}", 3);
    for (uint32_t part = 0; part < 3; part++) {
        const struct generation_request *request = fake_engine.requests[part];
        ck_assert_uint_eq(request->prompt_count, part == 1 ? 2 : 1);
        ck_assert_uint_eq(request->sampling.seed, 3);
        ck_assert(!request->prompt_scored);
        ck_assert_uint_eq(id_of(part), id_of(0) + part);
    }
    ck_assert_uint_eq(fake.shared.prompt_tokens, 4);
    /* In any order. */
    fake_engine_text(id_of(2), 0, 'c' + 1, "c");
    jobs_case_stop(id_of(2), 0, 1);
    fake_engine_text(id_of(0), 0, 'a' + 1, "a");
    jobs_case_stop(id_of(0), 0, 2);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 0);
    jobs_case_stop(id_of(1), 0, 4);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 200);
    assert_body_has("{\"index\":0,\"text\":\"a\"");
    assert_body_has("{\"index\":1,\"text\":\"\"");
    assert_body_has("{\"index\":2,\"text\":\"c\"");
    assert_body_has("\"prompt_tokens\":4,\"completion_tokens\":7,\"total_tokens\":11");
}
END_TEST

START_TEST(openai_prepare_numbers_choices_by_prompt_when_n_is_several)
{
    start(openai_completions_handle, "{" PROMPTS ",\"n\":2,\"stream\":true}", 2);
    fake_engine_text(id_of(1), 1, 'x' + 1, "x");
    jobs_case_stop(id_of(1), 1, 1);
    jobs_case_stop(id_of(1), 0, 0);
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.submits, 3); /* 4 slots hold two prompts; now the third. */
    for (uint32_t part = 0; part < 3; part += 2) {
        jobs_case_stop(id_of(part), 0, 0);
        jobs_case_stop(id_of(part), 1, 0);
    }
    jobs_case_take_events();
    jobs_case_assert_choices(TEXT_CHUNK(3, "x") TEXT_END(3) TEXT_END(2) TEXT_END(0) TEXT_END(1)
                                 TEXT_END(4) TEXT_END(5) DONE);
}
END_TEST

START_TEST(openai_prepare_gives_each_prompt_its_own_seed_when_none_is_said)
{
    start(openai_completions_handle, "{" PROMPTS "}", 3);
    ck_assert_uint_ne(fake_engine.requests[0]->sampling.seed,
                      fake_engine.requests[1]->sampling.seed);
    for (uint32_t part = 0; part < 3; part++) {
        jobs_case_stop(id_of(part), 0, 0);
    }
    jobs_case_take_events();
}
END_TEST

START_TEST(openai_prepare_cancels_the_other_prompts_when_one_fails)
{
    start(openai_completions_handle, "{" PROMPTS ",\"n\":2}", 2);
    fake_engine_end(id_of(0), 0, GENERATION_ENDED_BY_ERROR, ERROR_OVERLOADED, 0);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_uint_eq(fake_engine.cancels, 2);
    fake_engine_end(id_of(0), 1, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    fake_engine_end(id_of(1), 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    fake_engine_end(id_of(1), 1, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.submits, 2); /* The third never began. */
}
END_TEST

START_TEST(openai_prepare_fails_once_when_the_engine_takes_only_some)
{
    fake_engine.submit_code = ERROR_OVERLOADED;
    fake_engine.submits_refused_at = 2;
    start(openai_completions_handle, "{" PROMPTS "}", 2);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_uint_eq(fake_engine.cancels, 2);
    fake_engine_end(id_of(0), 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    fake_engine_end(id_of(1), 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    jobs_case_take_events();
}
END_TEST

START_TEST(openai_prepare_fails_late_when_a_later_prompt_is_refused)
{
    start(openai_completions_handle, "{" PROMPTS ",\"n\":4}", 1);
    fake_engine.submit_code = ERROR_OVERLOADED;
    for (uint32_t choice = 0; choice < 4; choice++) {
        jobs_case_stop(id_of(0), choice, 0);
    }
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 503);
}
END_TEST

START_TEST(openai_prepare_pauses_every_prompt_when_the_client_is_slow)
{
    start(openai_completions_handle, "{" PROMPTS ",\"n\":2,\"stream\":true}", 2);
    fake_engine_text(id_of(0), 0, 'x' + 1, "x");
    jobs_case_take_events();
    fake.on_pressure(&fake.shared, true);
    ck_assert_uint_eq(fake_engine.pauses, 2);
    for (uint32_t choice = 0; choice < 2; choice++) {
        jobs_case_stop(id_of(0), choice, 0);
        jobs_case_stop(id_of(1), choice, 0);
    }
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.submits, 3);
    ck_assert_uint_eq(fake_engine.pauses, 3); /* The one that began meanwhile too. */
    fake.on_pressure(&fake.shared, false);
    ck_assert_uint_eq(fake_engine.resumes, 1); /* Only that one is open. */
    jobs_case_stop(id_of(2), 0, 0);
    jobs_case_stop(id_of(2), 1, 0);
    jobs_case_take_events();
    ck_assert(fake.stream_ended);
}
END_TEST

START_TEST(openai_prepare_scores_the_prompt_when_echoed_with_logprobs)
{
    static const int32_t top[] = {'z' + 1};
    start(openai_completions_handle,
          "{\"prompt\":\"ab Paris\",\"echo\":true,\"logprobs\":1,\"max_tokens\":0}", 1);
    ck_assert(fake_engine.request->prompt_scored);
    ck_assert_uint_eq(fake_engine.request->sampling.max_tokens, 0);
    fake_engine_set_top(top, 1);
    fake_engine_score(id_of(0), 1, 'b' + 1);
    fake_engine_score(id_of(0), 2, TOKEN_SPACE_PARIS);
    fake_engine_end(id_of(0), 0, GENERATION_ENDED_BY_LENGTH, ERROR_NONE, 0);
    jobs_case_take_events();
    assert_body_has("\"text\":\"ab Paris\",\"logprobs\":{\"tokens\":[\"a\",\"b\",\" Paris\"],"
                    "\"token_logprobs\":[null,-0.25,-0.5],"
                    "\"top_logprobs\":[null,{\"z\":-0.5,\"b\":-0.25},{\"z\":-0.5,\" Paris\":-0.5}],"
                    "\"text_offset\":[0,1,2]},\"finish_reason\":\"length\"");
    assert_body_has("\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3");
}
END_TEST

START_TEST(openai_prepare_joins_prompt_and_answer_when_echoed)
{
    start(openai_completions_handle,
          "{\"prompt\":\"\\u20ac\",\"echo\":true,\"logprobs\":0,\"n\":2}", 1);
    fake_engine_score(id_of(0), 1, 0xac + 1);
    for (uint32_t choice = 0; choice < 2; choice++) {
        fake_engine_text(id_of(0), choice, 'x' + 1 + (int32_t)choice, choice == 0 ? "x" : "y");
        jobs_case_stop(id_of(0), choice, 1);
    }
    jobs_case_take_events();
    assert_body_has("\"text\":\"\xe2\x82\xacx\"");
    assert_body_has("\"tokens\":[\"bytes:\\\\xe2\\\\x82\",\"bytes:\\\\xac\",\"x\"],"
                    "\"token_logprobs\":[null,-0.25,-0.5]");
    assert_body_has("\"text\":\"\xe2\x82\xacy\"");
    assert_body_has("\"text_offset\":[0,1,1]");
}
END_TEST

START_TEST(openai_prepare_echoes_the_prompt_first_when_streamed)
{
    start(openai_completions_handle,
          "{\"prompt\":[258,173,98],\"echo\":true,\"stream\":true}", 1);
    fake_engine_text(id_of(0), 0, 'x' + 1, "x");
    jobs_case_stop(id_of(0), 0, 1);
    jobs_case_take_events();
    jobs_case_assert_choices(TEXT_CHUNK(0, "\xe2\x82\xac" "a") TEXT_CHUNK(0, "x") TEXT_END(0)
                                 DONE);
}
END_TEST

START_TEST(openai_prepare_echoes_whole_characters_when_scores_are_streamed)
{
    start(openai_completions_handle,
          "{\"prompt\":[258,173,98],\"echo\":true,\"stream\":true,\"logprobs\":0,"
          "\"max_tokens\":0}",
          1);
    fake_engine_score(id_of(0), 1, 173);
    fake_engine_score(id_of(0), 2, 98);
    fake_engine_end(id_of(0), 0, GENERATION_ENDED_BY_LENGTH, ERROR_NONE, 0);
    jobs_case_take_events();
    jobs_case_assert_choices(
        "{\"index\":0,\"text\":\"\xe2\x82\xac\",\"logprobs\":{\"tokens\":["
        "\"bytes:\\\\xe2\\\\x82\",\"bytes:\\\\xac\"],\"token_logprobs\":[null,-0.25],"
        "\"top_logprobs\":[null,{\"bytes:\\\\xac\":-0.25}],\"text_offset\":[0,1]},"
        "\"finish_reason\":null}]}\n"
        "{\"index\":0,\"text\":\"a\",\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[-0.5],"
        "\"top_logprobs\":[{\"a\":-0.5}],\"text_offset\":[1]},\"finish_reason\":null}]}\n"
        "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\"}]}\n" DONE);
}
END_TEST

START_TEST(openai_prepare_refuses_an_echo_when_it_is_too_long_to_stream)
{
    enum { BODY_BYTES = LIMIT_ECHO_BYTES + 256 };
    static char body[BODY_BYTES];
    const int len = snprintf(
        body, BODY_BYTES, "{\"echo\":true,\"stream\":true,\"logprobs\":0,\"prompt\":\"");
    memset(body + len, 'x', LIMIT_ECHO_TOKENS + 1);
    memcpy(body + len + LIMIT_ECHO_TOKENS + 1, "\"}", 3);
    start(openai_completions_handle, body, 0);
    ck_assert_uint_eq(fake.status, 400);
    assert_body_has("\"param\":\"echo\"");
    fake_exchange_deinit(&fake);
    memcpy(body + len + LIMIT_ECHO_TOKENS, "\"}", 3);
    start(openai_completions_handle, body, 1);
    jobs_case_stop(id_of(0), 0, 0);
    jobs_case_take_events();
    ck_assert(fake.stream_ended);
}
END_TEST

START_TEST(openai_prepare_tells_scores_and_ids_in_the_form_of_vllm)
{
    static const int32_t top[] = {'b' + 1, 'z' + 1};
    start(openai_completions_handle,
          "{\"prompt\":\"ab\",\"prompt_logprobs\":1,\"return_token_ids\":true}", 1);
    ck_assert_int_eq(fake_engine.request->sampling.logprobs_wanted, 1);
    fake_engine_set_top(top, 1);
    fake_engine_score(id_of(0), 1, 'b' + 1);
    fake_engine_text(id_of(0), 0, 'x' + 1, "x");
    fake_engine_text(id_of(0), 0, 0, ""); /* A token without text. */
    jobs_case_stop(id_of(0), 0, 2);
    jobs_case_take_events();
    assert_body_has("\"text\":\"x\",\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"token_ids\":[121,0],\"prompt_logprobs\":[null,{\"99\":{\"logprob\":-0.25,"
                    "\"rank\":1,\"decoded_token\":\"b\"}}],\"prompt_token_ids\":[98,99]");
}
END_TEST

START_TEST(openai_prepare_shows_ids_as_tokens_when_asked)
{
    start(openai_chat_handle,
          "{" CHAT ",\"logprobs\":true,\"return_tokens_as_token_ids\":true}", 1);
    fake_engine_text(id_of(0), 0, 'x' + 1, "x");
    jobs_case_stop(id_of(0), 0, 1);
    jobs_case_take_events();
    assert_body_has("{\"token\":\"token_id:121\",\"logprob\":-0.5,\"bytes\":[120]");
}
END_TEST

static void say(uint64_t id, const char *text)
{
    for (const char *byte = text; *byte != '\0'; byte++) {
        const char piece[2] = {*byte, '\0'};
        fake_engine_text(id, 0, (unsigned char)*byte + 1, piece);
    }
}

START_TEST(openai_prepare_splits_the_thought_off_when_the_model_thinks)
{
    openai_case.model.chat_template = CHAT_TEMPLATE_G1;
    start(openai_chat_handle, "{" CHAT ",\"reasoning_effort\":\"low\"}", 1);
    ck_assert(fake_engine.request->every_token_wanted); /* To count them. */
    say(id_of(0), ">\nhm</think>\n\nyes");
    jobs_case_stop(id_of(0), 0, 17);
    jobs_case_take_events();
    assert_body_has("\"content\":\"yes\"");
    assert_body_has("\"reasoning_content\":\"hm\"");
    assert_body_has("\"reasoning_tokens\":14");
}
END_TEST

START_TEST(openai_prepare_streams_the_thought_when_the_model_thinks)
{
    openai_case.model.chat_template = CHAT_TEMPLATE_G1_THINK;
    start(openai_chat_handle, "{" CHAT ",\"stream\":true}", 1);
    fake_engine_text(id_of(0), 0, '>' + 1, ">hm");
    fake_engine_text(id_of(0), 0, '<' + 1, "\n</th");
    fake_engine_text(id_of(0), 0, '>' + 1, "ink>\nyes");
    jobs_case_stop(id_of(0), 0, 3);
    jobs_case_take_events();
    jobs_case_assert_choices(
        ROLE(0) "{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"},\"logprobs\":null,"
                "\"finish_reason\":null}]}\n" DELTA(0, "yes") FINISH(0, "stop") DONE);
}
END_TEST

START_TEST(openai_prepare_has_no_thought_when_it_is_off)
{
    openai_case.model.chat_template = CHAT_TEMPLATE_G1_THINK;
    start(openai_chat_handle, "{" CHAT ",\"chat_template_kwargs\":{\"enable_thinking\":false}}", 1);
    say(id_of(0), ">\n\nyes");
    jobs_case_stop(id_of(0), 0, 6);
    jobs_case_take_events();
    assert_body_has("\"content\":\"yes\"");
    ck_assert_ptr_null(strstr(fake.body, "reasoning_content"));
    assert_body_has("\"reasoning_tokens\":0");
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, openai_prepare_asks_once_for_each_prompt);
    tcase_add_test(tests, openai_prepare_numbers_choices_by_prompt_when_n_is_several);
    tcase_add_test(tests, openai_prepare_gives_each_prompt_its_own_seed_when_none_is_said);
    tcase_add_test(tests, openai_prepare_cancels_the_other_prompts_when_one_fails);
    tcase_add_test(tests, openai_prepare_fails_once_when_the_engine_takes_only_some);
    tcase_add_test(tests, openai_prepare_fails_late_when_a_later_prompt_is_refused);
    tcase_add_test(tests, openai_prepare_pauses_every_prompt_when_the_client_is_slow);
    tcase_add_test(tests, openai_prepare_scores_the_prompt_when_echoed_with_logprobs);
    tcase_add_test(tests, openai_prepare_joins_prompt_and_answer_when_echoed);
    tcase_add_test(tests, openai_prepare_echoes_the_prompt_first_when_streamed);
    tcase_add_test(tests, openai_prepare_echoes_whole_characters_when_scores_are_streamed);
    tcase_add_test(tests, openai_prepare_refuses_an_echo_when_it_is_too_long_to_stream);
    tcase_add_test(tests, openai_prepare_tells_scores_and_ids_in_the_form_of_vllm);
    tcase_add_test(tests, openai_prepare_shows_ids_as_tokens_when_asked);
    tcase_add_test(tests, openai_prepare_splits_the_thought_off_when_the_model_thinks);
    tcase_add_test(tests, openai_prepare_streams_the_thought_when_the_model_thinks);
    tcase_add_test(tests, openai_prepare_has_no_thought_when_it_is_off);
}

int main(void)
{
    Suite *suite = suite_create("openai_prepare");
    TCase *tests = tcase_create("openai_prepare");
    tcase_add_checked_fixture(tests, jobs_case_setup, jobs_case_teardown);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
