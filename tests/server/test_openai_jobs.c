/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: whatever fails or leaves, each client gets one answer and nothing leaks.
 * Shown by: a fake engine that refuses, is silent or ends; clients that are slow or go. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "jobs_case.h"

static const struct {
    enum generation_end end;
    enum error_code code;
    unsigned status;
    const char *message;
} failures[] = {
    {GENERATION_ENDED_BY_ERROR, ERROR_OVERLOADED, 503, "the queue is full"},
    {GENERATION_ENDED_BY_ERROR, ERROR_TIMEOUT, 503, "no sequence became free in time"},
    {GENERATION_ENDED_BY_ERROR, ERROR_DEVICE, 503, "the device failed"},
    {GENERATION_ENDED_BY_ERROR, ERROR_SHUTTING_DOWN, 503, "the server is shutting down"},
    {GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 503, "the server is shutting down"},
};

START_TEST(openai_jobs_answers_with_a_status_when_the_engine_refuses)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true,\"n\":2}");
    fake_engine_end(id, 0, failures[_i].end, failures[_i].code, 0);
    fake_engine_end(id, 1, failures[_i].end, failures[_i].code, 0);
    jobs_case_take_events();
    ck_assert(!fake.stream_begun);
    ck_assert_uint_eq(fake.status, failures[_i].status);
    ck_assert_ptr_nonnull(strstr(fake.headers, "Retry-After"));
    ck_assert_ptr_nonnull(strstr(fake.body, failures[_i].message));
    ck_assert_str_eq(fake.shared.finish, "error");
}
END_TEST

START_TEST(openai_jobs_sends_an_error_event_when_the_stream_has_begun)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true,\"n\":2}");
    fake_engine_text(id, 0, 3, "b");
    fake_engine_end(id, 1, GENERATION_ENDED_BY_ERROR, ERROR_DEVICE, 0);
    fake_engine_text(id, 0, 3, "lost");
    jobs_case_stop(id, 0, 2);
    jobs_case_take_events();
    jobs_case_assert_choices(ROLE(0) DELTA(
        0, "b") "{\"error\":{\"message\":\"the device failed\",\"type\":\"unavailable_error\","
                "\"param\":null,\"code\":\"unavailable\"}}\n" DONE);
    ck_assert_uint_eq(fake_engine.cancels, 1); /* The other choice. */
}
END_TEST

START_TEST(openai_jobs_answers_503_when_the_engine_takes_no_more)
{
    fake_engine.submit_code = ERROR_OVERLOADED;
    fake_exchange_init(&fake, &server, "{" CHAT "}");
    openai_chat_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_ptr_nonnull(strstr(fake.body, "the mailbox is full"));
}
END_TEST

START_TEST(openai_jobs_answers_503_when_draining_or_not_ready)
{
    server.draining = true;
    fake_exchange_init(&fake, &server, "{" CHAT "}");
    openai_chat_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_ptr_nonnull(strstr(fake.headers, "Retry-After"));
    fake_exchange_deinit(&fake);
    server.draining = false;
    server.ready = false;
    fake_exchange_init(&fake, &server, "{" CHAT "}");
    openai_completions_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_uint_eq(fake_engine.submits, 0);
}
END_TEST

START_TEST(openai_jobs_answers_400_when_the_request_is_wrong)
{
    fake_exchange_init(&fake, &server, "{" CHAT ",\"n\":0,\"stream\":true}");
    openai_chat_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, 400);
    ck_assert_ptr_nonnull(strstr(fake.body, "\"param\":\"n\""));
    fake_exchange_deinit(&fake);
    openai_case.model.chat_template = CHAT_TEMPLATE_NONE;
    fake_exchange_init(&fake, &server, "{" CHAT "}");
    openai_chat_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, 400);
    ck_assert_ptr_nonnull(strstr(fake.body, "\"param\":\"messages\""));
    ck_assert_uint_eq(fake_engine.submits, 0);
}
END_TEST

START_TEST(openai_jobs_commits_a_stream_when_the_first_token_is_late)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    now_ns += (LIMIT_COMMIT_MS - 1) * MS;
    openai_jobs_tick(server.jobs, now_ns);
    ck_assert(!fake.stream_begun);
    now_ns += MS;
    openai_jobs_tick(server.jobs, now_ns);
    ck_assert(fake.stream_begun);
    ck_assert_str_eq(fake.body, "");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_ERROR, ERROR_TIMEOUT, 0);
    jobs_case_take_events();
    ck_assert_ptr_nonnull(strstr(fake.body, "no sequence became free in time"));
    ck_assert(fake.stream_ended);
}
END_TEST

START_TEST(openai_jobs_answers_504_when_the_engine_is_silent)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT "}");
    now_ns += 64999 * MS;
    openai_jobs_tick(server.jobs, now_ns);
    ck_assert_uint_eq(fake.status, 0);
    now_ns += MS;
    openai_jobs_tick(server.jobs, now_ns);
    openai_jobs_tick(server.jobs, now_ns + 100 * MS);
    ck_assert_uint_eq(fake.status, 504);
    ck_assert_uint_eq(fake_engine.cancels, 1);
    ck_assert_uint_eq(fake_engine.cancelled_id, id);
    ck_assert_uint_eq(openai_jobs_count(server.jobs), 1); /* The engine still borrows it. */
    fake_engine_text(id, 0, 3, "late");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 1);
    jobs_case_take_events();
    ck_assert_ptr_null(strstr(fake.body, "late"));
}
END_TEST

START_TEST(openai_jobs_waits_when_the_first_event_has_come)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT "}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_take_events();
    openai_jobs_tick(server.jobs, now_ns + 1000000 * MS);
    ck_assert_uint_eq(fake.status, 0);
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 200);
}
END_TEST

START_TEST(openai_jobs_cancels_once_when_the_client_is_gone)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true,\"n\":2}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_take_events();
    fake_exchange_lose_client(&fake);
    ck_assert_uint_eq(fake_engine.cancels, 1);
    ck_assert_uint_eq(fake_engine.cancelled_id, id);
    fake_engine_text(id, 0, 3, "c");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 2);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.holders, HTTP_HOLDER_ENGINE);
    jobs_case_stop(id, 1, 3);
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.cancels, 1);
    ck_assert_uint_eq(fake.shared.completion_tokens, 5);
    ck_assert_str_eq(fake.shared.finish, "cancelled");
}
END_TEST

START_TEST(openai_jobs_cancels_when_the_ring_overflows)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    fake.ring_is_full = true;
    fake_engine_text(id, 0, 3, "b");
    fake_engine_text(id, 0, 3, "c");
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.cancels, 1);
    fake_engine_end(id, 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 2);
    jobs_case_take_events();
    ck_assert(!fake.stream_ended);
}
END_TEST

START_TEST(openai_jobs_pauses_the_engine_when_the_client_is_slow)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_take_events();
    fake.on_pressure(&fake.shared, true);
    ck_assert_uint_eq(fake_engine.pauses, 1);
    fake.on_pressure(&fake.shared, false);
    ck_assert_uint_eq(fake_engine.resumes, 1);
    jobs_case_stop(id, 0, 1);
    jobs_case_take_events();
    fake.on_pressure(&fake.shared, false); /* The ring drains after the end. */
    ck_assert_uint_eq(fake_engine.resumes, 1);
}
END_TEST

START_TEST(openai_jobs_ignores_events_when_their_job_is_unknown)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT "}");
    fake_engine_text(id + 1, 0, 3, "x");
    fake_engine_text(id + 4096, 0, 3, "x"); /* The same bucket. */
    jobs_case_stop(id, 0, 0);
    jobs_case_stop(id, 0, 0);
    jobs_case_take_events();
    ck_assert_ptr_nonnull(strstr(fake.body, "\"content\":\"\""));
}
END_TEST

START_TEST(openai_jobs_leaves_the_rest_when_many_events_wait)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT "}");
    fake_engine_text(id, 0, 3, "b");
    jobs_case_stop(id, 0, 1);
    ck_assert(openai_jobs_take_events(server.jobs, 1));
    ck_assert_uint_eq(fake.status, 0);
    ck_assert(!openai_jobs_take_events(server.jobs, 2));
    ck_assert_uint_eq(fake.status, 200);
}
END_TEST

START_TEST(openai_jobs_cancels_all_when_the_drain_ends)
{
    const uint64_t id = jobs_case_start(openai_chat_handle, "{" CHAT ",\"stream\":true}");
    openai_jobs_cancel_all(server.jobs);
    ck_assert_uint_eq(fake_engine.cancelled_id, id);
    fake_engine_end(id, 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 0);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 503);
}
END_TEST

/* A body of more than LIMIT_LOOP_PARSE_BYTES. */
static const char *large_body(void)
{
    static char body[LIMIT_LOOP_PARSE_BYTES + 64];
    memset(body, 'a', sizeof(body));
    memcpy(body, "{\"prompt\":\"", 11);
    memcpy(body + sizeof(body) - 3, "\"}", 3);
    return body;
}

START_TEST(openai_jobs_uses_the_pool_when_the_body_is_large)
{
    fake_exchange_init(&fake, &server, large_body());
    openai_completions_handle(&fake.shared);
    ck_assert_uint_eq(fake.holders, HTTP_HOLDER_JOB);
    ck_assert_uint_eq(openai_jobs_count(server.jobs), 1);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(fake.holders, HTTP_HOLDER_ENGINE);
    ck_assert_uint_eq(fake_engine.request->prompt_count, LIMIT_LOOP_PARSE_BYTES + 64 - 14);
    jobs_case_stop(fake_engine.request->id, 0, 1);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 200);
}
END_TEST

START_TEST(openai_jobs_submits_nothing_when_the_client_left_the_pool)
{
    fake_exchange_init(&fake, &server, large_body());
    openai_completions_handle(&fake.shared);
    fake_exchange_lose_client(&fake);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(fake_engine.submits, 0);
    ck_assert_uint_eq(fake_engine.cancels, 0);
    ck_assert_uint_eq(fake.status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_jobs");
    TCase *tests = tcase_create("openai_jobs");
    tcase_add_checked_fixture(tests, jobs_case_setup, jobs_case_teardown);
    tcase_add_loop_test(tests, openai_jobs_answers_with_a_status_when_the_engine_refuses, 0,
                        sizeof(failures) / sizeof(failures[0]));
    tcase_add_test(tests, openai_jobs_sends_an_error_event_when_the_stream_has_begun);
    tcase_add_test(tests, openai_jobs_answers_503_when_the_engine_takes_no_more);
    tcase_add_test(tests, openai_jobs_answers_503_when_draining_or_not_ready);
    tcase_add_test(tests, openai_jobs_answers_400_when_the_request_is_wrong);
    tcase_add_test(tests, openai_jobs_commits_a_stream_when_the_first_token_is_late);
    tcase_add_test(tests, openai_jobs_answers_504_when_the_engine_is_silent);
    tcase_add_test(tests, openai_jobs_waits_when_the_first_event_has_come);
    tcase_add_test(tests, openai_jobs_cancels_once_when_the_client_is_gone);
    tcase_add_test(tests, openai_jobs_cancels_when_the_ring_overflows);
    tcase_add_test(tests, openai_jobs_pauses_the_engine_when_the_client_is_slow);
    tcase_add_test(tests, openai_jobs_ignores_events_when_their_job_is_unknown);
    tcase_add_test(tests, openai_jobs_leaves_the_rest_when_many_events_wait);
    tcase_add_test(tests, openai_jobs_cancels_all_when_the_drain_ends);
    tcase_add_test(tests, openai_jobs_uses_the_pool_when_the_body_is_large);
    tcase_add_test(tests, openai_jobs_submits_nothing_when_the_client_left_the_pool);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
