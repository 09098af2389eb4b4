/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the engine's events become exactly the answer that OpenAI's clients expect.
 * Shown by: requests with a fake engine's events, the reply or the stream compared. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_case.h"

/* Copies what stands between the first `from` at or after *at and the next `to`; moves *at. */
static void cut_out(const char **at, const char *from, const char *to, char *out, size_t capacity)
{
    const char *begin = strstr(*at, from);
    ck_assert_msg(begin != NULL, "no %s in %s", from, *at);
    begin += strlen(from);
    const char *end = strstr(begin, to);
    ck_assert_ptr_nonnull(end);
    snprintf(out, capacity, "%.*s", (int)(end - begin), begin);
    *at = end;
}

START_TEST(openai_job_submits_what_was_asked_when_completions)
{
    const uint64_t id = jobs_case_start(openai_completions_handle,
                                        "{\"prompt\":[5,6],\"n\":2,\"seed\":42,\"stop\":\"x\","
                                        "\"max_tokens\":3}");
    const struct generation_request *request = fake_engine.request;
    ck_assert_uint_eq(request->prompt_count, 2);
    ck_assert_int_eq(request->prompt[1], 6);
    ck_assert_uint_eq(request->choice_count, 2);
    ck_assert_uint_eq(request->sampling.seed, 42);
    ck_assert_uint_eq(request->sampling.max_tokens, 3);
    ck_assert_uint_eq(request->stop_count, 1);
    ck_assert(!request->every_token_wanted);
    ck_assert_uint_eq(request->queue_timeout_ns, 60000 * MS);
    ck_assert_uint_eq(fake.shared.prompt_tokens, 2);
    jobs_case_stop(id, 0, 1);
    jobs_case_stop(id, 1, 1);
    jobs_case_take_events();
}
END_TEST

START_TEST(openai_job_feeds_token_zero_when_the_prompt_is_empty)
{
    const uint64_t id = jobs_case_start(openai_completions_handle, "{\"prompt\":\"\"}");
    ck_assert_uint_eq(fake_engine.request->prompt_count, 1);
    ck_assert_int_eq(fake_engine.request->prompt[0], TOKEN_END_OF_TEXT);
    jobs_case_stop(id, 0, 0);
    jobs_case_take_events();
}
END_TEST

START_TEST(openai_job_puts_the_start_token_first_when_configured)
{
    openai_case.config.doc_start_token = 0;
    const uint64_t id = jobs_case_start(openai_completions_handle, "{\"prompt\":\"a\"}");
    ck_assert_uint_eq(fake_engine.request->prompt_count, 2);
    ck_assert_int_eq(fake_engine.request->prompt[0], 0);
    ck_assert_int_eq(fake_engine.request->prompt[1], 'a' + 1);
    jobs_case_stop(id, 0, 0);
    jobs_case_take_events();
}
END_TEST

START_TEST(openai_job_draws_another_seed_when_none_is_given)
{
    uint64_t seeds[2];
    for (int turn = 0; turn < 2; turn++) {
        fake_engine_reset();
        const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT "}");
        seeds[turn] = fake_engine.request->sampling.seed;
        jobs_case_stop(id, 0, 0);
        jobs_case_take_events();
        fake_exchange_deinit(&fake);
    }
    ck_assert_uint_ne(seeds[0], seeds[1]);
}
END_TEST

START_TEST(openai_job_replies_whole_when_not_streamed)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"n\":2}");
    fake_engine_text(id, 0, 257, " Paris");
    fake_engine_text(id, 1, 2, "  x");
    fake_engine_text(id, 0, 3, " y");
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 0);
    jobs_case_stop(id, 0, 2);
    fake_engine_end(id, 1, GENERATION_ENDED_BY_LENGTH, ERROR_NONE, 7);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 200);
    char text[64];
    const char *at = fake.body;
    cut_out(&at, "\"content\":\"", "\"", text, sizeof(text));
    ck_assert_str_eq(text, "Paris y"); /* One leading space is cut, the others stay. */
    cut_out(&at, "\"finish_reason\":\"", "\"", text, sizeof(text));
    ck_assert_str_eq(text, "stop");
    cut_out(&at, "\"content\":\"", "\"", text, sizeof(text));
    ck_assert_str_eq(text, " x");
    cut_out(&at, "\"finish_reason\":\"", "\"", text, sizeof(text));
    ck_assert_str_eq(text, "length");
    cut_out(&at, "\"completion_tokens\":", ",", text, sizeof(text));
    ck_assert_str_eq(text, "9");
    ck_assert_uint_eq(fake.shared.completion_tokens, 9);
    ck_assert_str_eq(fake.shared.finish, "stop");
}
END_TEST

START_TEST(openai_job_keeps_the_space_when_completions_or_continued)
{
    uint64_t id = jobs_case_start(openai_completions_handle, "{\"prompt\":\"a\"}");
    fake_engine_text(id, 0, 257, " Paris");
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    ck_assert_ptr_nonnull(strstr(fake.body, "\"text\":\" Paris\""));
    fake_exchange_deinit(&fake);
    fake_engine_reset();
    id = jobs_case_start(
        openai_chat_handle,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
        "{\"role\":\"assistant\",\"content\":\"b\"}],\"continue_final_message\":true}");
    fake_engine_text(id, 0, 257, " Paris");
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    ck_assert_ptr_nonnull(strstr(fake.body, "\"content\":\" Paris\""));
}
END_TEST

START_TEST(openai_job_streams_role_deltas_and_finish_when_chat)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true,\"n\":2}");
    ck_assert(!fake.stream_begun);
    fake_engine_text(id, 1, 33, " "); /* Nothing is left of it: no empty delta. */
    fake_engine_text(id, 1, 257, " Paris");
    fake_engine_text(id, 0, 3, "b");
    fake_engine_held_text(id, 0, "c");
    jobs_case_stop(id, 1, 2);
    fake_engine_end(id, 0, GENERATION_ENDED_BY_LENGTH, ERROR_NONE, 1);
    jobs_case_take_events();
    jobs_case_assert_choices(ROLE(1) DELTA(1, " Paris") ROLE(0) DELTA(0, "b") DELTA(0, "c")
                                 FINISH(1, "stop") FINISH(0, "length") DONE);
    ck_assert(fake.stream_ended);
}
END_TEST

START_TEST(openai_job_sends_the_same_id_and_time_when_streamed)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    char first[256], other[256];
    const char *at = fake.body;
    cut_out(&at, "{\"id\":", "\"choices\"", first, sizeof(first));
    ck_assert_ptr_nonnull(strstr(first, "chatcmpl-"));
    for (int event = 1; event < 3; event++) {
        cut_out(&at, "{\"id\":", "\"choices\"", other, sizeof(other));
        ck_assert_str_eq(other, first);
    }
}
END_TEST

START_TEST(openai_job_opens_and_closes_a_choice_when_it_is_empty)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    jobs_case_stop(id, 0, 0);
    jobs_case_take_events();
    jobs_case_assert_choices(ROLE(0) FINISH(0, "stop") DONE);
}
END_TEST

START_TEST(openai_job_streams_usage_when_wanted)
{
    const uint64_t id =
        jobs_case_start(openai_completions_handle, "{\"prompt\":\"abc\",\"stream\":true,"
                                                   "\"stream_options\":{\"include_usage\":true}}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    jobs_case_assert_choices(
        "{\"index\":0,\"text\":\"b\",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n"
        "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":null}\n"
        "],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}\n" DONE);
}
END_TEST

START_TEST(openai_job_counts_characters_when_logprobs_are_wanted)
{
    const uint64_t id =
        jobs_case_start(openai_completions_handle, "{\"prompt\":\"a\",\"logprobs\":1}");
    const int32_t top[] = {257};
    ck_assert(fake_engine.request->every_token_wanted);
    ck_assert_int_eq(fake_engine.request->sampling.logprobs_wanted, 1);
    fake_engine_set_top(top, 1);
    fake_engine_text(id, 0, 257, " Paris");
    fake_engine_text(id, 0, 258, ""); /* Half of a character: released later. */
    fake_engine_text(id, 0, 0xac + 1, "\xe2\x82\xac");
    fake_engine_text(id, 0, '.' + 1, ".");
    jobs_case_stop(id, 0, 4);
    jobs_case_take_events();
    ck_assert_ptr_nonnull(strstr(fake.body, "\"tokens\":[\" Paris\",\"bytes:\\\\xe2\\\\x82\","
                                            "\"bytes:\\\\xac\",\".\"]"));
    ck_assert_ptr_nonnull(strstr(fake.body, "\"token_logprobs\":[-0.5,-0.5,-0.5,-0.5]"));
    ck_assert_ptr_nonnull(strstr(fake.body, "\"text_offset\":[0,6,7,7]"));
}
END_TEST

START_TEST(openai_job_sends_a_chunk_per_token_when_logprobs_are_streamed)
{
    const uint64_t id =
        jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true,\"logprobs\":true}");
    fake_engine_text(id, 0, 257, " Paris");
    fake_engine_text(id, 0, 'x' + 1, ""); /* Held back, it may begin a stop string. */
    fake_engine_held_text(id, 0, "x");
    jobs_case_stop(id, 0, 2);
    jobs_case_take_events();
    jobs_case_assert_choices(ROLE(
        0) "{\"index\":0,\"delta\":{\"content\":\"Paris\"},\"logprobs\":{\"content\":[{\"token\":"
           "\"Paris\",\"logprob\":-0.5,\"bytes\":[80,97,114,105,115],\"top_logprobs\":[]}],"
           "\"refusal\":null},\"finish_reason\":null}]}\n"
           "{\"index\":0,\"delta\":{\"content\":\"x\"},\"logprobs\":{\"content\":[{\"token\":"
           "\"x\",\"logprob\":-0.5,\"bytes\":[120],\"top_logprobs\":[]}],"
           "\"refusal\":null},\"finish_reason\":null}]}\n" FINISH(0, "stop") DONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_job");
    TCase *tests = tcase_create("openai_job");
    tcase_add_checked_fixture(tests, jobs_case_setup, jobs_case_teardown);
    tcase_add_test(tests, openai_job_submits_what_was_asked_when_completions);
    tcase_add_test(tests, openai_job_feeds_token_zero_when_the_prompt_is_empty);
    tcase_add_test(tests, openai_job_puts_the_start_token_first_when_configured);
    tcase_add_test(tests, openai_job_draws_another_seed_when_none_is_given);
    tcase_add_test(tests, openai_job_replies_whole_when_not_streamed);
    tcase_add_test(tests, openai_job_keeps_the_space_when_completions_or_continued);
    tcase_add_test(tests, openai_job_streams_role_deltas_and_finish_when_chat);
    tcase_add_test(tests, openai_job_sends_the_same_id_and_time_when_streamed);
    tcase_add_test(tests, openai_job_opens_and_closes_a_choice_when_it_is_empty);
    tcase_add_test(tests, openai_job_streams_usage_when_wanted);
    tcase_add_test(tests, openai_job_counts_characters_when_logprobs_are_wanted);
    tcase_add_test(tests, openai_job_sends_a_chunk_per_token_when_logprobs_are_streamed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
