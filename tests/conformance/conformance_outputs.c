/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/conformance_outputs.c - cases about tokens, scores and ends.
 *
 * At stake: what comes out of a step: drawn tokens, scores, ends. Shown by: the known greedy
 * answer of the golden model under every chunking and company, scores against float64, and rows
 * that ended and must write nothing more. */
#include "tests/conformance/backend_conformance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/data/golden_expected.h"

enum {
    TOKEN_COUNT = sizeof(golden_tokens) / sizeof(golden_tokens[0]),
    GREEDY_COUNT = sizeof(golden_greedy) / sizeof(golden_greedy[0]),
    GREEDY_PROMPT = 8,
};

/* Generates the known answer in the slots first..first+count-1 at once; the prompt comes in chunks.
 * Keeps the logits of every step of the last slot. */
static void generate(struct fixture *fixture, uint32_t first_slot, uint32_t slot_count,
                     uint32_t chunk, float (*logits)[GOLDEN_V])
{
    struct backend_item items[CONFORMANCE_SLOTS];
    for (uint32_t row = 0; row < slot_count; row++) {
        fixture_start(fixture, first_slot + row);
    }
    for (uint32_t fed = 0; fed < GREEDY_PROMPT; fed += chunk) {
        const uint32_t left = GREEDY_PROMPT - fed;
        const uint32_t count = chunk < left ? chunk : left;
        for (uint32_t row = 0; row < slot_count; row++) {
            items[row] = fixture_item(first_slot + row, golden_tokens + fed, count, NULL);
            items[row].want = count == left ? BACKEND_WANT_SAMPLE : 0;
        }
        items[slot_count - 1].logits_out = logits[0];
        const struct backend_result *results = fixture_step(fixture, items, slot_count);
        ck_assert_int_eq(results[0].sampled_valid, count == left);
    }
    for (uint32_t step = 1; step < GREEDY_COUNT; step++) {
        for (uint32_t row = 0; row < slot_count; row++) {
            items[row] = fixture_item(first_slot + row, NULL, 1, NULL);
            items[row].want = BACKEND_WANT_SAMPLE;
        }
        items[slot_count - 1].logits_out = logits[step];
        const struct backend_result *results = fixture_step(fixture, items, slot_count);
        for (uint32_t row = 0; row < slot_count; row++) {
            ck_assert_int_eq(results[row].sampled.token, golden_greedy[step]);
        }
    }
}

START_TEST(backend_greedy_answer_is_the_known_one_in_any_chunks_and_company)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    static float alone[GREEDY_COUNT][GOLDEN_V], other[GREEDY_COUNT][GOLDEN_V];
    generate(&fixture, 0, 1, GREEDY_PROMPT, alone);
    for (uint32_t chunk = 1; chunk < GREEDY_PROMPT; chunk++) {
        generate(&fixture, 1, 1, chunk, other);
        fixture_assert_same(&fixture, "chunked", other[0], alone[0], GREEDY_COUNT * GOLDEN_V);
    }
    generate(&fixture, 2, 64, GREEDY_PROMPT, other);
    fixture_assert_same(&fixture, "in a batch", other[0], alone[0], GREEDY_COUNT * GOLDEN_V);
    generate(&fixture, 0, 64, 3, other);
    fixture_assert_same(&fixture, "in a batch, chunked", other[0], alone[0],
                        GREEDY_COUNT * GOLDEN_V);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_has_the_bits_of_its_twin)
{
    const struct conformance_backend *backend = conformance_under_test(_i);
    if (backend->twin == NULL) {
        return;
    }
    static float found[GREEDY_COUNT][GOLDEN_V], expected[GREEDY_COUNT][GOLDEN_V];
    struct fixture fixture;
    fixture_open(&fixture, backend, &(struct golden_options){0});
    generate(&fixture, 3, 5, 4, found);
    float *state = fixture_state(&fixture, 7);
    fixture_close(&fixture);
    fixture_open(&fixture, backend->twin, &(struct golden_options){0});
    generate(&fixture, 0, 1, 8, expected);
    float *twin_state = fixture_state(&fixture, 0);
    fixture_assert_same_bits("logits", found[0], expected[0], GREEDY_COUNT * GOLDEN_V);
    fixture_assert_same_bits("state", state, twin_state, fixture.state_floats);
    free(twin_state);
    free(state);
    fixture_close(&fixture);
}
END_TEST

/* Log-softmax of the float64 logits after token t. */
static double expected_logprob(uint32_t t, int32_t token)
{
    double sum = 0.0;
    for (uint32_t v = 0; v < GOLDEN_V; v++) {
        sum += exp(golden_logits[t][v]);
    }
    return golden_logits[t][token] - log(sum);
}

static void assert_scores(const struct fixture *fixture, const struct backend_result *result,
                          uint32_t first_target, uint32_t count)
{
    ck_assert_uint_eq(result->score_count, count);
    for (uint32_t index = 0; index < count; index++) {
        const struct sampled *score = &result->scores[index];
        const uint32_t t = first_target + index;
        ck_assert_int_eq(score->token, golden_tokens[t + 1]);
        ck_assert_double_eq_tol((double)score->logprob, expected_logprob(t, golden_tokens[t + 1]),
                                2 * fixture->under_test->logit_error_max);
        ck_assert_uint_eq(score->top_count, 3);
        ck_assert_double_ge((double)score->top[0].logprob, (double)score->logprob);
    }
}

START_TEST(backend_scores_every_target_when_a_prompt_is_scored_in_chunks)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct sampling sampling = fixture_greedy();
    sampling.logprobs_wanted = 3;
    backend_slot_start(fixture.backend, 0, &sampling, NULL);
    backend_slot_start(fixture.backend, 1, &sampling, NULL);
    /* Two prompts in one step, one of them only partly scored: 39 + 10 rows of scores. */
    struct backend_item items[2] = {
        fixture_item(0, golden_tokens, TOKEN_COUNT, NULL),
        fixture_item(1, golden_tokens, TOKEN_COUNT, NULL),
    };
    items[0].want = BACKEND_WANT_SCORE | BACKEND_WANT_SAMPLE;
    items[0].targets = golden_tokens + 1;
    items[0].target_count = TOKEN_COUNT - 1;
    items[1].want = BACKEND_WANT_SCORE;
    items[1].targets = golden_tokens + 1;
    items[1].target_count = 10;
    const struct backend_result *results = fixture_step(&fixture, items, 2);
    assert_scores(&fixture, &results[0], 0, TOKEN_COUNT - 1);
    assert_scores(&fixture, &results[1], 0, 10);
    ck_assert(results[0].sampled_valid && !results[1].sampled_valid);
    ck_assert_int_eq(results[0].sampled.token, 11); /* The most likely after the last token. */
    /* The same in two chunks: the second goes on where the first ended. */
    backend_slot_start(fixture.backend, 2, &sampling, NULL);
    struct backend_item chunk = fixture_item(2, golden_tokens, 25, NULL);
    chunk.want = BACKEND_WANT_SCORE;
    chunk.targets = golden_tokens + 1;
    chunk.target_count = 25;
    assert_scores(&fixture, fixture_step(&fixture, &chunk, 1), 0, 25);
    chunk.tokens = golden_tokens + 25;
    chunk.token_count = TOKEN_COUNT - 25;
    chunk.targets = golden_tokens + 26;
    chunk.target_count = TOKEN_COUNT - 26;
    assert_scores(&fixture, fixture_step(&fixture, &chunk, 1), 25, TOKEN_COUNT - 26);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_row_writes_nothing_when_it_has_ended)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct sampling sampling = fixture_greedy();
    sampling.max_tokens = 2;
    backend_slot_start(fixture.backend, 6, &sampling, NULL);
    struct backend_item item = fixture_item(6, golden_tokens, GREEDY_PROMPT, NULL);
    item.want = BACKEND_WANT_SAMPLE;
    ck_assert_int_eq(fixture_step(&fixture, &item, 1)->sampled.end, SAMPLED_GOES_ON);
    item.tokens = NULL;
    item.token_count = 1;
    const struct backend_result *result = fixture_step(&fixture, &item, 1);
    ck_assert(result->sampled_valid);
    ck_assert_int_eq(result->sampled.token, golden_greedy[1]);
    ck_assert_int_eq(result->sampled.end, SAMPLED_LENGTH);
    float *before = fixture_state(&fixture, 6);
    struct backend_counters counted, counted_after;
    backend_counters(fixture.backend, &counted);
    ck_assert(!fixture_step(&fixture, &item, 1)->sampled_valid);
    backend_counters(fixture.backend, &counted_after);
    ck_assert_uint_eq(counted_after.tokens, counted.tokens);
    float *after = fixture_state(&fixture, 6);
    fixture_assert_same_bits("ended row", after, before, fixture.state_floats);
    free(after);
    free(before);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_draws_only_allowed_tokens_when_masked)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    fixture_start(&fixture, 0);
    const uint32_t only_three = 1u << 3;
    backend_slot_mask(fixture.backend, 0, &only_three);
    struct backend_item item = fixture_item(0, golden_tokens, GREEDY_PROMPT, NULL);
    item.want = BACKEND_WANT_SAMPLE;
    ck_assert_int_eq(fixture_step(&fixture, &item, 1)->sampled.token, 3);
    backend_slot_mask(fixture.backend, 0, NULL);
    fixture_start(&fixture, 0);
    ck_assert_int_eq(fixture_step(&fixture, &item, 1)->sampled.token, golden_greedy[0]);
    fixture_close(&fixture);
}
END_TEST

void conformance_add_output_cases(Suite *suite, int backend_count)
{
    TCase *tests = tcase_create("outputs");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, backend_greedy_answer_is_the_known_one_in_any_chunks_and_company, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_has_the_bits_of_its_twin, 0, backend_count);
    tcase_add_loop_test(tests, backend_scores_every_target_when_a_prompt_is_scored_in_chunks, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_row_writes_nothing_when_it_has_ended, 0, backend_count);
    tcase_add_loop_test(tests, backend_draws_only_allowed_tokens_when_masked, 0, backend_count);
    suite_add_tcase(suite, tests);
}
