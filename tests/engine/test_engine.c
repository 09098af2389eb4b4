/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every request gets its own answer, whole, once, whatever the company, and every slot
 * comes back.
 * Shown by: the echoing fake backend under a still clock, turn by turn, with one and with two
 * steps in flight; answers and the journal of steps are compared as text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_stats.h"
#include "engine_bench.h"

/* A state of the fake: how many tokens it has consumed, and which. */
static void *fake_state_of(const struct engine_bench *bench, const char *text)
{
    int32_t *state = calloc(1, bench->backend->state_bytes);
    state[0] = (int32_t)tokenizer_encode(bench->tokenizer, text_from(text), state + 1,
                                         FAKE_TOKENS_MAX);
    return state;
}

START_TEST(engine_begins_every_sequence_with_the_initial_state)
{
    struct engine_bench *bench = engine_bench_open(1, 64, (uint32_t)_i, 4);
    void *initial_state = fake_state_of(bench, "tuned ");
    const struct engine_options options = {
        .queue_max = 4,
        .clock = fake_clock_view(&bench->time),
        .initial_state = initial_state,
    };
    engine_close(bench->engine);
    ck_assert_int_eq(engine_open(&options, bench->backend, bench->tokenizer, &bench->engine,
                                 &bench->error), ERROR_NONE);
    for (uint32_t request = 0; request < 2; request++) { /* The second in the same slot. */
        engine_bench_prepare(bench, request, "hello>");
        engine_bench_submit(bench, request);
        engine_bench_run(bench);
        ck_assert_str_eq(bench->answers[request][0], "tuned hello");
    }
    engine_bench_close(bench);
    free(initial_state);
}
END_TEST

START_TEST(engine_answers_one_request)
{
    struct engine_bench *bench = engine_bench_open(2, 64, (uint32_t)_i, 4);
    engine_bench_prepare(bench, 0, "hello>");
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "hello");
    ck_assert_uint_eq(bench->ended_count[0], 1);
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_STOP);
    ck_assert_uint_eq(bench->ends[0][0].prompt_tokens, 6);
    ck_assert_uint_eq(bench->ends[0][0].completion_tokens, 5);
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

/* The whole prompt runs, in chunks that the step allows, and only then a token is drawn (an empty
 * state that exists must not cut the prompt to its last token). */
START_TEST(engine_runs_the_whole_prompt_when_it_is_longer_than_a_step)
{
    struct engine_bench *bench = engine_bench_open(1, 4, 1, 4);
    engine_bench_prepare(bench, 0, "abcdefghi>");
    bench->requests[0].sampling.max_tokens = 1;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_str_eq(fake_backend_journal(bench->backend), "P(0,4)\nP(0,4)\nP(0,2)\n");
    ck_assert_str_eq(bench->answers[0][0], "a");
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_LENGTH);
    const struct engine_stats *stats = engine_stats(bench->engine);
    ck_assert_uint_eq(atomic_load(&stats->prompt_tokens), 10);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_gives_everyone_the_right_answer_when_many_share_the_batch)
{
    struct engine_bench *bench = engine_bench_open(5, 7, (uint32_t)_i, ENGINE_BENCH_REQUESTS);
    char prompts[ENGINE_BENCH_REQUESTS][128];
    for (uint32_t i = 0; i < ENGINE_BENCH_REQUESTS; i++) {
        size_t len = 0;
        for (uint32_t j = 0; j < 1 + i * 7 % 40; j++) {
            prompts[i][len++] = (char)('a' + (i + j * j) % 26);
        }
        prompts[i][len] = '\0';
        char prompt[130];
        snprintf(prompt, sizeof prompt, "%.126s>", prompts[i]);
        engine_bench_prepare(bench, i, prompt);
        engine_bench_submit(bench, i);
        if (i % 3 == 0) {
            engine_turn(bench->engine);
        }
    }
    engine_bench_run(bench);
    for (uint32_t i = 0; i < ENGINE_BENCH_REQUESTS; i++) {
        ck_assert_str_eq(bench->answers[i][0], prompts[i]);
        ck_assert_uint_eq(bench->ended_count[i], 1);
    }
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_forks_the_prompt_when_several_choices_are_wanted)
{
    struct engine_bench *bench = engine_bench_open(4, 64, (uint32_t)_i, 4);
    engine_bench_prepare(bench, 0, "abc>")->choice_count = 3;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    for (uint32_t choice = 0; choice < 3; choice++) {
        ck_assert_str_eq(bench->answers[0][choice], "abc");
    }
    ck_assert_uint_eq(bench->ended_count[0], 3);
    const char *journal = fake_backend_journal(bench->backend);
    ck_assert_msg(strncmp(journal, "P(0,3)\nF(1<0) F(2<0)\n", 21) == 0, "%s", journal);
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_forks_a_prompt_of_one_token)
{
    struct engine_bench *bench = engine_bench_open(2, 64, (uint32_t)_i, 4);
    engine_bench_prepare(bench, 0, ">")->choice_count = 2;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_uint_eq(bench->ended_count[0], 2);
    ck_assert_uint_eq(bench->ends[0][1].completion_tokens, 0);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_admits_exactly_when_all_slots_are_free)
{
    struct engine_bench *bench = engine_bench_open(2, 64, 1, 4);
    engine_bench_prepare(bench, 0, "aaaa>");
    engine_bench_prepare(bench, 1, "bb>")->choice_count = 2;
    engine_bench_prepare(bench, 2, "c>");
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_bench_submit(bench, 2);
    engine_turn(bench->engine);
    const struct engine_stats *stats = engine_stats(bench->engine);
    ck_assert_uint_eq(atomic_load(&stats->slots_used), 1);
    ck_assert_uint_eq(atomic_load(&stats->requests_waiting), 2);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[1][1], "bb");
    ck_assert_str_eq(bench->answers[2][0], "c");
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_refuses_when_the_queue_is_full)
{
    struct engine_bench *bench = engine_bench_open(1, 64, 1, 2);
    for (uint32_t i = 0; i < 4; i++) {
        engine_bench_prepare(bench, i, "abc>");
        engine_bench_submit(bench, i);
    }
    engine_bench_run(bench);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_str_eq(bench->answers[i][0], "abc");
    }
    ck_assert_int_eq(bench->ends[3][0].end, GENERATION_ENDED_BY_ERROR);
    ck_assert_int_eq(bench->ends[3][0].error, ERROR_OVERLOADED);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_ends_a_request_when_it_waited_too_long)
{
    struct engine_bench *bench = engine_bench_open(1, 64, 1, 4);
    engine_bench_prepare(bench, 0, "abcdefgh>");
    engine_bench_prepare(bench, 1, "x>")->queue_timeout_ns = 3000000;
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "abcdefgh");
    ck_assert_int_eq(bench->ends[1][0].error, ERROR_TIMEOUT);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_frees_the_slot_when_cancelled_and_leaves_the_others_alone)
{
    struct engine_bench *bench = engine_bench_open(2, 64, (uint32_t)_i, 4);
    engine_bench_prepare(bench, 0, "abcdefghijkl>");
    engine_bench_prepare(bench, 1, "mnopqrstuvwx>");
    engine_bench_prepare(bench, 2, "second>");
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_bench_submit(bench, 2);
    for (uint32_t turn = 0; turn < 4; turn++) {
        engine_turn(bench->engine);
    }
    engine_cancel(bench->engine, 1);
    engine_cancel(bench->engine, 999);
    engine_bench_run(bench);
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_CANCEL);
    ck_assert_uint_eq(bench->ended_count[0], 1);
    ck_assert_uint_lt(strlen(bench->answers[0][0]), 12);
    ck_assert_str_eq(bench->answers[1][0], "mnopqrstuvwx");
    ck_assert_str_eq(bench->answers[2][0], "second");
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_cancels_a_waiting_request)
{
    struct engine_bench *bench = engine_bench_open(1, 64, 1, 4);
    engine_bench_prepare(bench, 0, "abc>");
    engine_bench_prepare(bench, 1, "def>");
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_cancel(bench->engine, 2);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "abc");
    ck_assert_str_eq(bench->answers[1][0], "");
    ck_assert_int_eq(bench->ends[1][0].end, GENERATION_ENDED_BY_CANCEL);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_stops_stepping_a_request_when_paused)
{
    struct engine_bench *bench = engine_bench_open(2, 64, (uint32_t)_i, 4);
    engine_bench_prepare(bench, 0, "abcdefgh>");
    engine_bench_submit(bench, 0);
    for (uint32_t turn = 0; turn < 4; turn++) {
        engine_turn(bench->engine);
    }
    engine_pause(bench->engine, 1);
    engine_bench_run(bench);
    ck_assert_uint_eq(bench->ended_count[0], 0);
    ck_assert_uint_eq(atomic_load(&engine_stats(bench->engine)->slots_used), 1);
    engine_resume(bench->engine, 1);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "abcdefgh");
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_ends_by_stop_string_and_does_not_show_it)
{
    struct engine_bench *bench = engine_bench_open(1, 64, (uint32_t)_i, 4);
    static const struct text stops[] = {{.bytes = "xyz", .len = 3}, {.bytes = "def", .len = 3}};
    struct generation_request *request = engine_bench_prepare(bench, 0, "abcdefgh>");
    request->stops = stops;
    request->stop_count = 2;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "abc");
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_STOP);
    ck_assert_uint_eq(bench->ends[0][0].stop_string, 2);
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_ends_by_length_and_shows_held_text)
{
    struct engine_bench *bench = engine_bench_open(1, 64, (uint32_t)_i, 4);
    static const struct text stops[] = {{.bytes = "def", .len = 3}};
    struct generation_request *request = engine_bench_prepare(bench, 0, "abcdefgh>");
    request->stops = stops;
    request->stop_count = 1;
    request->sampling.max_tokens = 5;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "abcde");
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_LENGTH);
    ck_assert_uint_eq(bench->ends[0][0].completion_tokens, 5);
    ck_assert_uint_eq(bench->ends[0][0].stop_string, 0);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_never_runs_past_max_tokens_when_steps_overlap)
{
    struct engine_bench *bench = engine_bench_open(1, 64, 2, 4);
    engine_bench_prepare(bench, 0, "abcdefgh>")->sampling.max_tokens = 3;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    ck_assert_str_eq(fake_backend_journal(bench->backend), "P(0,9)\nD(0)\nD(0)\n");
    ck_assert_str_eq(bench->answers[0][0], "abc");
    engine_bench_close(bench);
}
END_TEST

/* After "ab>" the fake expects "ab": those tokens score 0, all others -1. */
START_TEST(engine_scores_every_token_of_the_prompt_but_the_first)
{
    struct engine_bench *bench = engine_bench_open(2, 3, (uint32_t)_i, 4);
    struct generation_request *request = engine_bench_prepare(bench, 0, "ab>abc");
    request->prompt_scored = true;
    request->choice_count = 2;
    request->sampling.max_tokens = 0;
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    static const float expected[] = {0, -1, -1, 0, 0, -1};
    ck_assert_uint_eq(bench->score_count, 5);
    for (uint32_t position = 1; position < 6; position++) {
        ck_assert_float_eq(bench->scores[position], expected[position]);
    }
    ck_assert_uint_eq(bench->ended_count[0], 2);
    ck_assert_int_eq(bench->ends[0][1].end, GENERATION_ENDED_BY_LENGTH);
    ck_assert_uint_eq(bench->ends[0][0].completion_tokens, 0);
    engine_bench_assert_all_free(bench);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_copies_no_state_when_it_decodes)
{
    struct engine_bench *bench = engine_bench_open(4, 64, (uint32_t)_i, 4);
    for (uint32_t i = 0; i < 4; i++) {
        engine_bench_prepare(bench, i, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz>");
        engine_bench_submit(bench, i);
    }
    engine_bench_run(bench);
    ck_assert_uint_eq(atomic_load(&engine_stats(bench->engine)->state_copied_bytes), 0);
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_ends_everything_when_the_device_fails)
{
    struct engine_bench *bench = engine_bench_open(1, 64, 1, 4);
    engine_close(bench->engine);
    backend_close(bench->backend);
    bench->backend = fake_backend_open(&(struct fake_backend_options){
        .slot_count = 1, .row_count_max = 64, .steps_in_flight_max = 1, .fail_at_step = 2});
    const struct engine_options options = {.queue_max = 4,
                                           .clock = fake_clock_view(&bench->time)};
    ck_assert_int_eq(engine_open(&options, bench->backend, bench->tokenizer, &bench->engine,
                                 &bench->error), ERROR_NONE);
    engine_bench_prepare(bench, 0, "abc>");
    engine_bench_prepare(bench, 1, "def>");
    engine_bench_prepare(bench, 2, "late>");
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_bench_run(bench);
    engine_bench_submit(bench, 2);
    engine_bench_run(bench);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(bench->ends[i][0].error, ERROR_DEVICE);
    }
    ck_assert(!engine_stats_is_live(engine_stats(bench->engine), 0, 1));
    engine_bench_close(bench);
}
END_TEST

START_TEST(engine_thread_answers_and_ends_when_closed)
{
    struct engine_bench *bench = engine_bench_open(4, 64, (uint32_t)_i, ENGINE_BENCH_REQUESTS);
    ck_assert_int_eq(engine_start(bench->engine, &bench->error), ERROR_NONE);
    for (uint32_t i = 0; i < ENGINE_BENCH_REQUESTS; i++) {
        char prompt[32];
        snprintf(prompt, sizeof prompt, "request %u>", i);
        engine_bench_prepare(bench, i, prompt);
        engine_bench_submit(bench, i);
    }
    for (uint32_t i = 0; i < ENGINE_BENCH_REQUESTS; i++) {
        while (bench->ended_count[i] == 0) {
            engine_bench_take_events(bench);
        }
        char answer[32];
        snprintf(answer, sizeof answer, "request %u", i);
        ck_assert_str_eq(bench->answers[i][0], answer);
    }
    engine_bench_close(bench);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine");
    TCase *tests = tcase_create("both depths");
    tcase_add_loop_test(tests, engine_answers_one_request, 1, 3);
    tcase_add_loop_test(tests, engine_begins_every_sequence_with_the_initial_state, 1, 3);
    tcase_add_loop_test(
        tests, engine_gives_everyone_the_right_answer_when_many_share_the_batch, 1, 3);
    tcase_add_loop_test(tests, engine_forks_the_prompt_when_several_choices_are_wanted, 1, 3);
    tcase_add_loop_test(tests, engine_forks_a_prompt_of_one_token, 1, 3);
    tcase_add_loop_test(
        tests, engine_frees_the_slot_when_cancelled_and_leaves_the_others_alone, 1, 3);
    tcase_add_loop_test(tests, engine_stops_stepping_a_request_when_paused, 1, 3);
    tcase_add_loop_test(tests, engine_ends_by_stop_string_and_does_not_show_it, 1, 3);
    tcase_add_loop_test(tests, engine_ends_by_length_and_shows_held_text, 1, 3);
    tcase_add_loop_test(tests, engine_copies_no_state_when_it_decodes, 1, 3);
    tcase_add_loop_test(
        tests, engine_scores_every_token_of_the_prompt_but_the_first, 1, 3);
    tcase_add_loop_test(tests, engine_thread_answers_and_ends_when_closed, 1, 3);
    tcase_add_test(tests, engine_runs_the_whole_prompt_when_it_is_longer_than_a_step);
    tcase_add_test(tests, engine_admits_exactly_when_all_slots_are_free);
    tcase_add_test(tests, engine_refuses_when_the_queue_is_full);
    tcase_add_test(tests, engine_ends_a_request_when_it_waited_too_long);
    tcase_add_test(tests, engine_cancels_a_waiting_request);
    tcase_add_test(tests, engine_never_runs_past_max_tokens_when_steps_overlap);
    tcase_add_test(tests, engine_ends_everything_when_the_device_fails);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
