/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: an answer that a grammar binds fits it, whatever the model prefers and the request
 * says, ends when it is whole, and holds up nobody.
 * Shown by: the echoing fake backend, whose wishes are known, with one and with two steps in
 * flight; answers and the journal of steps are compared as text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_stats.h"
#include "engine_bench.h"
#include "grammar/grammar.h"

static struct engine_bench *bench;
static struct grammar *grammar;

static void teardown(void)
{
    engine_bench_close(bench);
    grammar_release(grammar);
    bench = NULL;
    grammar = NULL;
}

static struct grammar *compile(const char *regex)
{
    const struct grammar_part root = {.kind = GRAMMAR_PART_REGEX, .text = text_from(regex)};
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_CLOSED};
    struct grammar *compiled = NULL;
    struct error error = {0};
    ck_assert_msg(grammar_compile(&root, &options, &compiled, &error) == ERROR_NONE, "%s",
                  error.message);
    return compiled;
}

/* One request whose answer must match. */
static struct generation_request *begin(uint32_t in_flight, const char *prompt, const char *regex)
{
    bench = engine_bench_open(4, 64, in_flight, 8);
    grammar = compile(regex);
    struct generation_request *request = engine_bench_prepare(bench, 0, prompt);
    request->grammar = grammar;
    return request;
}

static void run(void)
{
    engine_bench_submit(bench, 0);
    engine_bench_run(bench);
    engine_bench_assert_all_free(bench);
}

static void assert_answer(const char *text, enum generation_end end)
{
    ck_assert_str_eq(bench->answers[0][0], text);
    ck_assert_uint_eq(bench->ended_count[0], bench->requests[0].choice_count);
    ck_assert_int_eq(bench->ends[0][0].end, end);
}

START_TEST(engine_grammar_bends_the_answer_when_the_model_prefers_another)
{
    begin((uint32_t)_i, "abc>", "xyz|abd");
    run();
    assert_answer("abd", GENERATION_ENDED_BY_STOP);
    ck_assert_uint_eq(bench->ends[0][0].completion_tokens, 3);
}
END_TEST

START_TEST(engine_grammar_goes_on_when_the_model_would_end_too_early)
{
    begin((uint32_t)_i, "abc>", "abc{5}");
    run();
    assert_answer("abccccc", GENERATION_ENDED_BY_STOP);
}
END_TEST

START_TEST(engine_grammar_lets_the_model_choose_the_end_when_the_text_may_go_on)
{
    begin((uint32_t)_i, "abc>", "[a-z]*");
    run();
    assert_answer("abc", GENERATION_ENDED_BY_STOP);
}
END_TEST

START_TEST(engine_grammar_ends_when_whole_whatever_the_request_says)
{
    struct generation_request *request = begin((uint32_t)_i, "abc>", "abd");
    request->sampling.ignore_eos = true;
    request->sampling.min_tokens = 100;
    run();
    assert_answer("abd", GENERATION_ENDED_BY_STOP);
}
END_TEST

START_TEST(engine_grammar_looks_at_min_tokens_while_the_text_may_go_on)
{
    struct generation_request *request = begin((uint32_t)_i, "abc>", "[a-z]*");
    request->sampling.min_tokens = 6;
    run();
    ck_assert_uint_eq(strlen(bench->answers[0][0]), 6);
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_STOP);
}
END_TEST

START_TEST(engine_grammar_says_length_when_max_tokens_cut_the_text)
{
    begin((uint32_t)_i, "abc>", "abc{5}")->sampling.max_tokens = 4;
    run();
    assert_answer("abcc", GENERATION_ENDED_BY_LENGTH);
}
END_TEST

START_TEST(engine_grammar_says_length_when_a_bias_forbids_all_that_fits)
{
    static const struct sampling_bias bias[] = {{.token = 'd' + 1, .bias = -100}};
    struct generation_request *request = begin((uint32_t)_i, "abc>", "abd");
    request->sampling.bias = bias;
    request->sampling.bias_count = 1;
    run();
    assert_answer("ab", GENERATION_ENDED_BY_LENGTH);
}
END_TEST

START_TEST(engine_grammar_ends_when_a_stop_of_the_request_comes_first)
{
    static const struct text stop = {.bytes = "cc", .len = 2};
    struct generation_request *request = begin((uint32_t)_i, "abc>", "abc{5}");
    request->stops = &stop;
    request->stop_count = 1;
    run();
    assert_answer("ab", GENERATION_ENDED_BY_STOP);
    ck_assert_uint_eq(bench->ends[0][0].stop_string, 1);
    engine_bench_prepare(bench, 1, "abc>")->grammar = grammar;
    bench->requests[1].sampling.stop_tokens[0] = 'c' + 1;
    bench->requests[1].sampling.stop_token_count = 1;
    engine_bench_submit(bench, 1);
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[1][0], "ab");
    ck_assert_int_eq(bench->ends[1][0].end, GENERATION_ENDED_BY_STOP);
}
END_TEST

START_TEST(engine_grammar_draws_nothing_when_only_the_prompt_is_wanted)
{
    struct generation_request *request = begin((uint32_t)_i, "abc>", "abd");
    request->sampling.max_tokens = 0;
    request->prompt_scored = true;
    run();
    assert_answer("", GENERATION_ENDED_BY_LENGTH);
    ck_assert_uint_eq(bench->score_count, 3);
}
END_TEST

START_TEST(engine_grammar_follows_each_choice_when_several_are_wanted)
{
    struct generation_request *request = begin((uint32_t)_i, "abc>", "[xyz]{6}[01]{3}");
    request->choice_count = 3;
    request->sampling.temperature = 1;
    request->sampling.seed = 7;
    run();
    for (uint32_t choice = 0; choice < 3; choice++) {
        const char *answer = bench->answers[0][choice];
        ck_assert_uint_eq(strspn(answer, "xyz"), 6);
        ck_assert_uint_eq(strspn(answer + 6, "01"), 3);
        ck_assert_uint_eq(strlen(answer), 9);
        ck_assert_int_eq(bench->ends[0][choice].end, GENERATION_ENDED_BY_STOP);
        ck_assert_str_ne(answer, bench->answers[0][(choice + 1) % 3]);
    }
}
END_TEST

START_TEST(engine_grammar_gives_the_slot_back_free_when_cancelled_or_paused)
{
    struct generation_request *request = begin((uint32_t)_i, "abcdefgh>", "[a-z]+0");
    request->sampling.max_tokens = 50;
    engine_bench_submit(bench, 0);
    for (uint32_t turn = 0; turn < 6; turn++) {
        engine_turn(bench->engine);
    }
    engine_pause(bench->engine, 1);
    engine_bench_run(bench);
    ck_assert_uint_eq(bench->ended_count[0], 0);
    engine_resume(bench->engine, 1);
    engine_turn(bench->engine);
    engine_cancel(bench->engine, 1);
    engine_bench_run(bench);
    ck_assert_int_eq(bench->ends[0][0].end, GENERATION_ENDED_BY_CANCEL);
    for (uint32_t next = 1; next < 5; next++) { /* In every slot: no mask has stayed. */
        engine_bench_prepare(bench, next, "Z9!>");
        engine_bench_submit(bench, next);
    }
    engine_bench_run(bench);
    for (uint32_t next = 1; next < 5; next++) {
        ck_assert_str_eq(bench->answers[next][0], "Z9!");
    }
    engine_bench_assert_all_free(bench);
}
END_TEST

START_TEST(engine_grammar_leaves_no_state_behind_when_closed_in_the_middle)
{
    begin((uint32_t)_i, "abcdefgh>", "[a-z]+0");
    engine_bench_submit(bench, 0);
    for (uint32_t turn = 0; turn < 6; turn++) {
        engine_turn(bench->engine);
    }
    ck_assert_uint_eq(bench->ended_count[0], 0); /* Leaks are the sanitizer's to find. */
}
END_TEST

/* How many lines of the journal hold the words; and lines in all. */
static uint32_t count_lines(const char *word, uint32_t *total_out)
{
    uint32_t count = 0;
    *total_out = 0;
    for (const char *line = fake_backend_journal(bench->backend); *line != '\0';) {
        const char *end = strchr(line, '\n');
        const char *found = strstr(line, word);
        count += found != NULL && found < end;
        (*total_out)++;
        line = end + 1;
    }
    return count;
}

/* With two steps in flight, a bound row knows its mask only every second step. */
START_TEST(engine_grammar_never_makes_others_wait)
{
    begin((uint32_t)_i, "abcdefghijklmnop>", "[a-z]{16}");
    engine_bench_prepare(bench, 1, "0123456789012345678901234567890123456789>");
    engine_bench_submit(bench, 0);
    engine_bench_submit(bench, 1);
    engine_bench_run(bench);
    assert_answer("abcdefghijklmnop", GENERATION_ENDED_BY_STOP);
    ck_assert_str_eq(bench->answers[1][0], "0123456789012345678901234567890123456789");
    uint32_t steps = 0;
    ck_assert_uint_eq(count_lines("(1", &steps), steps); /* The free row is in every step. */
    const uint32_t bound = count_lines("(0", &steps);
    ck_assert_uint_eq(bound, 17);
    const char *journal = fake_backend_journal(bench->backend);
    const char *second = strchr(journal, '\n') + 1;
    const bool takes_part = strstr(second, "D(0)") < strchr(second, '\n');
    ck_assert_msg(takes_part == (_i == 1), "%s", journal);
}
END_TEST

/* Rows that all are bound wait for nobody but themselves. */
START_TEST(engine_grammar_takes_a_step_a_token_when_all_are_bound)
{
    begin((uint32_t)_i, "abc>", "abcabc");
    run();
    uint32_t steps = 0;
    count_lines("(0", &steps);
    ck_assert_uint_eq(steps, 7);
    assert_answer("abcabc", GENERATION_ENDED_BY_STOP);
}
END_TEST

/* A clock that jumps at every look: each mask takes longer than its share of a step. */
static uint64_t jump(void *context)
{
    uint64_t *now = context;
    return *now += UINT64_C(1000) * 1000 * 1000;
}

START_TEST(engine_grammar_serves_every_row_when_masks_take_too_long)
{
    uint64_t now = 0;
    begin((uint32_t)_i, "abc>", "[abc]{20}");
    const struct engine_options options = {
        .queue_max = 8, .clock = {.monotonic_ns = jump, .context = &now}};
    engine_close(bench->engine);
    ck_assert_int_eq(engine_open(&options, bench->backend, bench->tokenizer, &bench->engine,
                                 &bench->error), ERROR_NONE);
    for (uint32_t index = 1; index < 4; index++) {
        engine_bench_prepare(bench, index, index == 3 ? "0123456789>" : "abc>");
        bench->requests[index].grammar = index == 3 ? NULL : grammar;
    }
    for (uint32_t index = 0; index < 4; index++) {
        engine_bench_submit(bench, index);
    }
    engine_bench_run(bench);
    for (uint32_t index = 0; index < 3; index++) {
        ck_assert_uint_eq(strlen(bench->answers[index][0]), 20);
        ck_assert_int_eq(bench->ends[index][0].end, GENERATION_ENDED_BY_STOP);
    }
    ck_assert_str_eq(bench->answers[3][0], "0123456789");
    /* Not all at once: at most one mask a turn, and the free row was first. */
    uint32_t steps = 0;
    ck_assert_uint_eq(count_lines("D(0) D(1)", &steps), 0);
    ck_assert_uint_gt(steps, 40);
    engine_bench_assert_all_free(bench);
}
END_TEST

/* Each "[" begins any of 60 kinds of arrays. */
static struct grammar *compile_many_readings(void)
{
    char schema[60 * 64 + 64];
    size_t len = (size_t)snprintf(schema, sizeof(schema), "{\"anyOf\":[{\"type\":\"null\"}");
    for (int kind = 0; kind < 60; kind++) {
        len += (size_t)snprintf(
            schema + len, sizeof(schema) - len,
            ",{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":%d}", 1000 + kind);
    }
    snprintf(schema + len, sizeof(schema) - len, "]}");
    const struct grammar_part root = {.kind = GRAMMAR_PART_SCHEMA, .text = text_from(schema)};
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_CLOSED};
    struct grammar *compiled = NULL;
    struct error error = {0};
    ck_assert_msg(grammar_compile(&root, &options, &compiled, &error) == ERROR_NONE, "%s",
                  error.message);
    return compiled;
}

/* Two rows whose masks take 60 turns each, as a schema of a client can make them. */
START_TEST(engine_grammar_goes_on_with_others_when_one_mask_takes_many_turns)
{
    uint64_t now = 0;
    begin((uint32_t)_i, "[[null]]>", "abcdefghijklmnop");
    struct grammar *many[2] = {compile_many_readings(), compile_many_readings()};
    const struct engine_options options = {
        .queue_max = 8, .clock = {.monotonic_ns = jump, .context = &now}};
    engine_close(bench->engine);
    ck_assert_int_eq(engine_open(&options, bench->backend, bench->tokenizer, &bench->engine,
                                 &bench->error), ERROR_NONE);
    bench->requests[0].grammar = many[0];
    engine_bench_prepare(bench, 1, "[[null]]>")->grammar = many[1];
    engine_bench_prepare(bench, 2, "abcdefghijklmnop>")->grammar = grammar;
    engine_bench_prepare(bench, 3, "0123456789012345678901234567890123456789>");
    for (uint32_t index = 0; index < 4; index++) {
        engine_bench_submit(bench, index);
    }
    engine_bench_run(bench);
    ck_assert_str_eq(bench->answers[0][0], "[[null]]");
    ck_assert_str_eq(bench->answers[1][0], "[[null]]");
    ck_assert_str_eq(bench->answers[2][0], "abcdefghijklmnop");
    ck_assert_str_eq(bench->answers[3][0], "0123456789012345678901234567890123456789");
    /* The free row's 41 steps are the first ones; the bound row ends among them, and before the
     * first token of the others is followed by a second. */
    uint32_t line = 0;
    uint32_t bound_last = 0;
    uint32_t many_second = 0;
    for (const char *at = fake_backend_journal(bench->backend); *at != '\0'; line++) {
        const char *end = strchr(at, '\n');
        const char *bound = strstr(at, "D(2)");
        const char *first = strstr(at, "D(0)");
        const char *free_row = strstr(at, "(3");
        ck_assert(line >= 41 || (free_row != NULL && free_row < end));
        bound_last = bound != NULL && bound < end ? line : bound_last;
        many_second = many_second == 0 && first != NULL && first < end ? line : many_second;
        at = end + 1;
    }
    ck_assert_uint_gt(bound_last, 0);
    ck_assert_uint_lt(bound_last, 41);
    ck_assert_uint_gt(many_second, bound_last);
    engine_bench_assert_all_free(bench);
    grammar_release(many[0]);
    grammar_release(many[1]);
}
END_TEST

START_TEST(engine_grammar_counts_masks_when_it_hands_them_out)
{
    begin(1, "abc>", "[abc]{20}");
    run();
    const struct engine_stats *stats = engine_stats(bench->engine);
    const uint64_t built = atomic_load(&stats->masks_built);
    ck_assert_uint_gt(built, 0);
    engine_bench_prepare(bench, 1, "abc>")->grammar = grammar;
    engine_bench_submit(bench, 1);
    engine_bench_run(bench);
    ck_assert_uint_eq(atomic_load(&stats->masks_built), built);
    ck_assert_uint_gt(atomic_load(&stats->masks_found), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        engine_grammar_bends_the_answer_when_the_model_prefers_another,
        engine_grammar_goes_on_when_the_model_would_end_too_early,
        engine_grammar_lets_the_model_choose_the_end_when_the_text_may_go_on,
        engine_grammar_ends_when_whole_whatever_the_request_says,
        engine_grammar_looks_at_min_tokens_while_the_text_may_go_on,
        engine_grammar_says_length_when_max_tokens_cut_the_text,
        engine_grammar_says_length_when_a_bias_forbids_all_that_fits,
        engine_grammar_ends_when_a_stop_of_the_request_comes_first,
        engine_grammar_draws_nothing_when_only_the_prompt_is_wanted,
        engine_grammar_follows_each_choice_when_several_are_wanted,
        engine_grammar_gives_the_slot_back_free_when_cancelled_or_paused,
        engine_grammar_leaves_no_state_behind_when_closed_in_the_middle,
        engine_grammar_never_makes_others_wait,
        engine_grammar_takes_a_step_a_token_when_all_are_bound,
        engine_grammar_serves_every_row_when_masks_take_too_long,
        engine_grammar_goes_on_with_others_when_one_mask_takes_many_turns,
    };
    Suite *suite = suite_create("engine_grammar");
    TCase *cases = tcase_create("engine_grammar");
    tcase_add_checked_fixture(cases, NULL, teardown);
    for (size_t index = 0; index < sizeof(tests) / sizeof(tests[0]); index++) {
        tcase_add_loop_test(cases, tests[index], 1, 3); /* Steps in flight. */
    }
    tcase_add_test(cases, engine_grammar_counts_masks_when_it_hands_them_out);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
