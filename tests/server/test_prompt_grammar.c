/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: forms that take long to compile wait for each other and nobody waits for them; whoever
 * waits gets one answer, whatever happens meanwhile.
 * Shown by: a background that a task of the test holds up.
 *
 * Thread: main, libuv's pool, the background's. */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "grammar/grammar_cache.h"
#include "jobs_case.h"
#include "server/background.h"

#define REGEX(pattern) "{" CHAT ",\"structured_outputs\":{\"regex\":\"" pattern "\"}}"
#define USUAL REGEX("[a-z]{1,20}")
#define LONG REGEX(".{1000}")

static struct fake_exchange other; /* A second request. */
static struct background_task holds[LIMIT_BACKGROUND_TASKS];
static atomic_bool is_held;

static void hold(struct background_task *task)
{
    (void)task;
    while (atomic_load(&is_held) && !background_is_stopping(server.background)) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
    }
}

static void ignore(struct background_task *task)
{
    (void)task;
}

static void hold_up(uint32_t task_count)
{
    atomic_store(&is_held, true);
    for (uint32_t index = 0; index < task_count; index++) {
        holds[index] = (struct background_task){.work = hold, .on_done = ignore};
        ck_assert(background_submit(server.background, &holds[index]));
    }
}

static void setup(void)
{
    struct error error = {0};
    jobs_case_setup();
    server.grammars = grammar_cache_create(1 << 20);
    ck_assert_ptr_nonnull(server.grammars);
    ck_assert_int_eq(background_open(&server.loop, &server.background, &error), ERROR_NONE);
}

static void teardown(void)
{
    background_stop(server.background);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    background_destroy(server.background);
    grammar_cache_destroy(server.grammars);
    jobs_case_teardown();
}

static void start(struct fake_exchange *exchange, const char *body)
{
    fake_exchange_init(exchange, &server, body);
    openai_chat_handle(&exchange->shared);
    ck_assert_msg(exchange->holders == HTTP_HOLDER_JOB, "%s", exchange->body);
}

static void run_until_submitted(uint32_t count)
{
    while (fake_engine.submits < count) {
        uv_run(&server.loop, UV_RUN_ONCE);
    }
}

static void end(uint32_t index)
{
    ck_assert_ptr_nonnull(fake_engine.requests[index]->grammar);
    jobs_case_stop(fake_engine.requests[index]->id, 0, 1);
    jobs_case_take_events();
}

/* Starts a long form behind what holds the background up, and waits until its try is over. */
static void start_waiting(void)
{
    hold_up(1);
    start(&fake, LONG);
    uv_run(&server.loop, UV_RUN_ONCE); /* Nothing else can happen. */
    ck_assert_uint_eq(fake.status, 0);
}

static void assert_unavailable(const char *message)
{
    ck_assert_uint_eq(fake_engine.submits, 0);
    ck_assert_uint_eq(fake.holders, 0);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_ptr_nonnull(strstr(fake.headers, "Retry-After"));
    ck_assert_msg(strstr(fake.body, message) != NULL, "%s", fake.body);
    ck_assert_msg(strstr(fake.body, "\"param\":\"structured_outputs.regex\"") != NULL, "%s",
                  fake.body);
}

START_TEST(prompt_grammar_compiles_a_usual_form_while_long_ones_wait)
{
    start_waiting();
    start(&other, USUAL);
    run_until_submitted(1);
    ck_assert_uint_eq(fake.holders, HTTP_HOLDER_JOB);
    ck_assert_uint_eq(other.holders, HTTP_HOLDER_ENGINE);
    atomic_store(&is_held, false);
    run_until_submitted(2);
    end(0);
    end(1);
    ck_assert_uint_eq(fake.status, 200);
    ck_assert_uint_eq(other.status, 200);
    ck_assert_uint_eq(grammar_cache_count(server.grammars).compiled, 2);
    fake_exchange_deinit(&other);
}
END_TEST

START_TEST(prompt_grammar_compiles_a_long_form_while_others_generate)
{
    atomic_store(&fake_engine.stats.slots_used, 1);
    start(&fake, LONG);
    run_until_submitted(1);
    end(0);
    ck_assert_uint_eq(fake.status, 200);
}
END_TEST

START_TEST(prompt_grammar_refuses_a_long_form_that_is_wrong)
{
    start(&fake, REGEX("(a|b)*a(a|b){20}"));
    while (fake.status == 0) {
        uv_run(&server.loop, UV_RUN_ONCE);
    }
    ck_assert_uint_eq(fake.status, 400);
    ck_assert_ptr_nonnull(strstr(fake.body, "structured_outputs.regex: too complex"));
}
END_TEST

START_TEST(prompt_grammar_says_503_when_too_many_wait)
{
    hold_up(LIMIT_BACKGROUND_TASKS);
    start(&fake, LONG);
    while (fake.status == 0) {
        uv_run(&server.loop, UV_RUN_ONCE);
    }
    assert_unavailable("too many long schemas and patterns wait");
    atomic_store(&is_held, false);
}
END_TEST

START_TEST(prompt_grammar_compiles_nothing_for_a_client_that_left)
{
    start_waiting();
    fake_exchange_lose_client(&fake);
    atomic_store(&is_held, false);
    while (fake.holders != 0) {
        uv_run(&server.loop, UV_RUN_ONCE);
    }
    ck_assert_uint_eq(fake_engine.submits, 0);
    ck_assert_uint_eq(fake.status, 0);
    ck_assert_uint_eq(grammar_cache_count(server.grammars).compiled, 0);
}
END_TEST

START_TEST(prompt_grammar_says_503_when_it_waited_too_long)
{
    start_waiting();
    now_ns += openai_case.config.queue_timeout_ms * MS;
    atomic_store(&is_held, false);
    while (fake.status == 0) {
        uv_run(&server.loop, UV_RUN_ONCE);
    }
    assert_unavailable("waited too long");
}
END_TEST

START_TEST(prompt_grammar_says_503_when_the_server_stops)
{
    start_waiting();
    background_stop(server.background);
    assert_unavailable("the server is shutting down");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prompt_grammar");
    TCase *tests = tcase_create("prompt_grammar");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, prompt_grammar_compiles_a_usual_form_while_long_ones_wait);
    tcase_add_test(tests, prompt_grammar_compiles_a_long_form_while_others_generate);
    tcase_add_test(tests, prompt_grammar_refuses_a_long_form_that_is_wrong);
    tcase_add_test(tests, prompt_grammar_says_503_when_too_many_wait);
    tcase_add_test(tests, prompt_grammar_compiles_nothing_for_a_client_that_left);
    tcase_add_test(tests, prompt_grammar_says_503_when_it_waited_too_long);
    tcase_add_test(tests, prompt_grammar_says_503_when_the_server_stops);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
