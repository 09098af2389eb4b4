/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: penalties, limits and log-probabilities are what the API promises, on any logits.
 * Shown by: both sides of each rule on hand-made rows; exp, log and scores against double. */
#include "engine/sampler.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler_math.h"

enum { ROWS_MAX = 65536 };

static struct sampler *sampler;
static struct sampler_scratch *scratch;
static struct sampling_vocabulary vocabulary;
static float logits[ROWS_MAX];
static uint32_t random_index; /* Counter of this test's own random numbers. */

static void open_sampler(uint32_t row_count, uint32_t token_count)
{
    vocabulary = (struct sampling_vocabulary){.row_count = row_count, .token_count = token_count};
    sampler = sampler_create(&vocabulary);
    scratch = sampler_scratch_create(&vocabulary);
    ck_assert_ptr_nonnull(sampler);
    ck_assert_ptr_nonnull(scratch);
}

static void close_sampler(void)
{
    sampler_destroy(sampler);
    sampler_scratch_destroy(scratch);
    sampler = NULL;
    scratch = NULL;
}

static void setup(void)
{
    open_sampler(8, 8);
    for (int index = 0; index < 8; index++) {
        logits[index] = 0.0f;
    }
}

/* Greedy without limits, as a base to change. */
static struct sampling plain(void)
{
    return (struct sampling){.max_tokens = 1000000, .logprobs_wanted = -1};
}

static struct sampled draw(void)
{
    struct sampled sampled;
    sampler_draw(sampler, scratch, logits, &sampled);
    return sampled;
}

static int32_t draw_first(const struct sampling *sampling)
{
    sampler_start(sampler, sampling);
    return draw().token;
}

static uint32_t random_word(void)
{
    const uint32_t key[2] = {20260101, 0};
    const uint32_t counter[4] = {random_index++, 0, 0, 1};
    uint32_t words[4];
    sampler_philox(key, counter, words);
    return words[0];
}

/* In [-bound, bound], the same bits everywhere. */
static float random_float(float bound)
{
    return (float)(int32_t)random_word() * 0x1p-31f * bound;
}

static double ulps(double value, double exact)
{
    int exponent;
    frexp(exact, &exponent);
    return fabs(value - exact) / ldexp(1.0, exponent - 24);
}

START_TEST(sampler_exp_is_within_1_02_ulp_when_x_is_not_positive)
{
    float previous = 1.0f;
    double worst = 0.0;
    bool is_monotone = true;
    for (uint32_t bits = 0; bits <= sampler_math_bits(87.0f); bits += 997) {
        const float x = -sampler_math_from_bits(bits);
        const float y = sampler_exp(x);
        worst = fmax(worst, ulps((double)y, exp((double)x)));
        is_monotone = is_monotone && y <= previous;
        previous = y;
    }
    ck_assert_double_le(worst, 1.02);
    ck_assert(is_monotone);
    ck_assert_float_eq(sampler_exp(0.0f), 1.0f);
    ck_assert_float_gt(sampler_exp(-87.0f), 0.0f);
    ck_assert_float_eq(sampler_exp(nextafterf(-87.0f, -88.0f)), 0.0f);
    ck_assert_float_eq(sampler_exp(-INFINITY), 0.0f);
    ck_assert_float_eq(sampler_exp(NAN), 0.0f);
}
END_TEST

START_TEST(sampler_log_is_within_0_83_ulp_when_x_is_normal)
{
    double worst = 0.0;
    for (uint32_t bits = 0x00800000; bits < 0x7f800000; bits += 1993) {
        const float x = sampler_math_from_bits(bits);
        worst = fmax(worst, ulps((double)sampler_log(x), log((double)x)));
    }
    for (float x = 0.99f; x < 1.01f; x = nextafterf(x, 2.0f)) {
        worst = fmax(worst, ulps((double)sampler_log(x), log((double)x)));
    }
    ck_assert_double_le(worst, 0.83);
    ck_assert_float_eq(sampler_log(1.0f), 0.0f);
}
END_TEST

START_TEST(sampler_mass_rounds_to_nearest_even_when_between_integers)
{
    ck_assert_uint_eq(sampler_math_mass(1.0f), SAMPLER_MASS_ONE);
    ck_assert_uint_eq(sampler_math_mass(0.0f), 0);
    ck_assert_uint_eq(sampler_math_mass(0x1p-40f), 1);
    ck_assert_uint_eq(sampler_math_mass(0x1p-41f), 0);
    ck_assert_uint_eq(sampler_math_mass(0x1.8p-40f), 2);
    ck_assert_uint_eq(sampler_math_mass(0x1.4p-39f), 2);
    int wrong = 0;
    for (int index = 0; index < 100000; index++) {
        const float weight = sampler_exp(-28.0f * fabsf(random_float(1.0f)));
        wrong += (int64_t)sampler_math_mass(weight) != llrintf(weight * 0x1p40f) ? 1 : 0;
    }
    ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(sampler_philox_gives_known_answers_when_given_published_vectors)
{
    static const struct {
        uint32_t counter[4];
        uint32_t key[2];
        uint32_t words[4];
    } vectors[] = {
        /* Random123's kat_vectors, philox 4x32 with 10 rounds. */
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t index = 0; index < sizeof(vectors) / sizeof(vectors[0]); index++) {
        uint32_t words[4];
        sampler_philox(vectors[index].key, vectors[index].counter, words);
        ck_assert_mem_eq(words, vectors[index].words, sizeof(words));
    }
}
END_TEST

START_TEST(sampler_takes_lowest_id_when_greedy_scores_are_equal)
{
    struct sampling sampling = plain();
    logits[3] = 2.0f;
    logits[5] = 2.0f;
    ck_assert_int_eq(draw_first(&sampling), 3);
    logits[5] = nextafterf(2.0f, 3.0f);
    ck_assert_int_eq(draw_first(&sampling), 5);
    sampling.temperature = 0.9e-5f; /* Below SAMPLING_TEMPERATURE_MIN. */
    ck_assert_int_eq(draw_first(&sampling), 5);
    sampling.temperature = NAN;
    ck_assert_int_eq(draw_first(&sampling), 5);
}
END_TEST

START_TEST(sampler_stays_in_vocabulary_when_rows_have_no_token)
{
    close_sampler();
    open_sampler(100, 70);
    for (int index = 0; index < 100; index++) {
        logits[index] = (float)index;
    }
    struct sampling sampling = plain();
    sampling.logprobs_wanted = 20;
    sampler_start(sampler, &sampling);
    const struct sampled sampled = draw();
    ck_assert_int_eq(sampled.token, 69);
    ck_assert_int_eq(sampled.top[0].token, 69);
    ck_assert_float_eq_tol(sampled.logprob, -0.458675f, 1e-6f); /* log(1 - 1/e) */
    sampling.temperature = 100.0f;
    for (uint64_t seed = 0; seed < 300; seed++) {
        sampling.seed = seed;
        ck_assert_int_lt(draw_first(&sampling), 70);
    }
}
END_TEST

START_TEST(sampler_treats_nan_as_impossible_when_logits_are_broken)
{
    struct sampling sampling = plain();
    for (int index = 0; index < 8; index++) {
        logits[index] = NAN;
    }
    logits[6] = -3.0f;
    sampling.logprobs_wanted = 3;
    for (int hot = 0; hot < 2; hot++) {
        sampling.temperature = (float)hot;
        sampler_start(sampler, &sampling);
        const struct sampled sampled = draw();
        ck_assert_int_eq(sampled.token, 6);
        ck_assert_float_eq(sampled.logprob, 0.0f);
        ck_assert_uint_eq(sampled.top_count, 1);
    }
    logits[6] = NAN;
    sampler_start(sampler, &sampling);
    const struct sampled nothing = draw();
    ck_assert_int_eq(nothing.token, 0);
    ck_assert_int_eq(nothing.end, SAMPLED_STOP_TOKEN);
    ck_assert(isinf(nothing.logprob) && nothing.logprob < 0.0f);
}
END_TEST

START_TEST(sampler_stays_finite_when_logits_are_infinite)
{
    struct sampling sampling = plain();
    logits[2] = INFINITY;
    logits[4] = INFINITY;
    logits[5] = -INFINITY;
    sampling.logprobs_wanted = 8;
    sampling.temperature = 1.0f;
    sampling.presence_penalty = 1.0f;
    for (uint64_t seed = 0; seed < 50; seed++) {
        sampling.seed = seed;
        sampler_start(sampler, &sampling);
        const struct sampled sampled = draw();
        ck_assert(sampled.token == 2 || sampled.token == 4);
        ck_assert_float_eq_tol(sampled.logprob, -0.6931472f, 1e-6f);
        ck_assert_int_eq(draw().end, SAMPLED_GOES_ON);
    }
}
END_TEST

START_TEST(sampler_ends_row_with_token_0_when_mask_allows_nothing)
{
    struct sampling sampling = plain();
    sampling.ignore_eos = true;
    sampler_start(sampler, &sampling);
    sampler_set_mask(sampler, &(uint32_t){0});
    const struct sampled nothing = draw();
    ck_assert_int_eq(nothing.token, 0);
    ck_assert_int_eq(nothing.end, SAMPLED_STOP_TOKEN);
    sampler_set_mask(sampler, &(uint32_t){1 << 5});
    ck_assert_int_eq(draw().token, 5);
    sampler_set_mask(sampler, NULL);
    logits[1] = 1.0f;
    ck_assert_int_eq(draw().token, 1);
}
END_TEST

START_TEST(sampler_mask_forgets_when_started_again)
{
    const struct sampling sampling = plain();
    sampler_start(sampler, &sampling);
    sampler_set_mask(sampler, &(uint32_t){1 << 5});
    ck_assert_int_eq(draw_first(&sampling), 0);
}
END_TEST

START_TEST(sampler_subtracts_presence_and_frequency_when_token_was_generated)
{
    struct sampling sampling = plain();
    sampling.presence_penalty = 0.5f;
    sampling.frequency_penalty = 0.25f;
    logits[1] = 2.0f;
    logits[2] = 1.1f; /* Below 2 - 0.75, above 2 - 1: the third draw. */
    sampler_start(sampler, &sampling);
    ck_assert_int_eq(draw().token, 1);
    ck_assert_int_eq(draw().token, 1);
    ck_assert_int_eq(draw().token, 2);
    ck_assert_int_eq(draw_first(&sampling), 1); /* A new generation has no history. */
}
END_TEST

START_TEST(sampler_ignores_prompt_when_penalty_is_of_openai)
{
    struct sampling sampling = plain();
    sampling.presence_penalty = 2.0f;
    sampling.frequency_penalty = 2.0f;
    logits[1] = 1.0f;
    sampler_start(sampler, &sampling);
    sampler_note_prompt(sampler, &(int32_t){1}, 1);
    ck_assert_int_eq(draw().token, 1);
}
END_TEST

START_TEST(sampler_penalizes_repetition_once_when_token_is_in_prompt_and_output)
{
    struct sampling sampling = plain();
    sampling.repetition_penalty = 2.0f;
    logits[1] = 4.0f;
    logits[2] = 1.9f; /* Less than 4/2, more than 4/2/2. */
    sampler_start(sampler, &sampling);
    sampler_note_prompt(sampler, &(int32_t){1}, 1);
    ck_assert_int_eq(draw().token, 1);
    ck_assert_int_eq(draw().token, 1);
    logits[2] = 2.1f;
    ck_assert_int_eq(draw().token, 2);
    for (int index = 0; index < 8; index++) {
        logits[index] = -9.0f;
    }
    logits[1] = -1.0f; /* Negative scores are multiplied. */
    logits[3] = -1.5f;
    ck_assert_int_eq(draw().token, 3);
    ck_assert_int_eq(draw_first(&sampling), 1); /* The prompt is forgotten too. */
}
END_TEST

START_TEST(sampler_fork_takes_the_prompt_when_child_starts)
{
    struct sampling sampling = plain();
    sampling.repetition_penalty = 2.0f;
    logits[1] = 4.0f;
    logits[2] = 3.0f;
    sampler_start(sampler, &sampling);
    sampler_note_prompt(sampler, (int32_t[]){1, 1}, 2);
    struct sampler *child = sampler_create(&vocabulary);
    sampler_start(child, &sampling);
    sampler_fork(child, sampler);
    struct sampled sampled;
    sampler_draw(child, scratch, logits, &sampled);
    ck_assert_int_eq(sampled.token, 2);
    sampler_start(sampler, &sampling);
    sampler_fork(child, sampler); /* From a parent without a prompt: none. */
    sampler_start(child, &sampling);
    sampler_draw(child, scratch, logits, &sampled);
    ck_assert_int_eq(sampled.token, 1);
    sampler_destroy(child);
}
END_TEST

START_TEST(sampler_decays_counts_when_order_is_rwkv)
{
    struct sampling sampling = plain();
    sampling.order = SAMPLING_ORDER_RWKV;
    sampling.presence_penalty = 1.0f;
    sampling.frequency_penalty = 4.0f;
    sampling.penalty_decay = 0.5f;
    sampler_start(sampler, &sampling);
    logits[1] = 10.0f;
    ck_assert_int_eq(draw().token, 1); /* Now penalty(1) = 1 + 4. */
    logits[2] = 4.9f;
    ck_assert_int_eq(draw().token, 1); /* 10 - 5 > 4.9; then 1 + 4 * 1.5 = 7. */
    logits[2] = 3.1f;
    ck_assert_int_eq(draw().token, 2); /* 10 - 7 < 3.1; then 1: 1 + 4 * 0.75 = 4. */
    logits[2] = 0.0f;
    logits[3] = 5.9f;
    ck_assert_int_eq(draw().token, 1); /* 10 - 4 > 5.9. */
}
END_TEST

START_TEST(sampler_counts_no_free_token_when_order_is_rwkv)
{
    close_sampler();
    const uint32_t penalty_free = 1 << 1;
    vocabulary = (struct sampling_vocabulary){
        .row_count = 8, .token_count = 8, .penalty_free = &penalty_free};
    sampler = sampler_create(&vocabulary);
    scratch = sampler_scratch_create(&vocabulary);
    struct sampling sampling = plain();
    sampling.order = SAMPLING_ORDER_RWKV;
    sampling.presence_penalty = 1.0f;
    sampling.frequency_penalty = 4.0f;
    logits[1] = 10.0f;
    logits[2] = 8.9f; /* Presence alone leaves 9. */
    sampler_start(sampler, &sampling);
    for (int index = 0; index < 5; index++) {
        ck_assert_int_eq(draw().token, 1);
    }
    logits[2] = 9.1f;
    ck_assert_int_eq(draw().token, 2);
    sampling.order = SAMPLING_ORDER_OPENAI; /* There it counts like any other. */
    logits[2] = 8.9f;
    sampler_start(sampler, &sampling);
    ck_assert_int_eq(draw().token, 1);
    ck_assert_int_eq(draw().token, 2);
}
END_TEST

START_TEST(sampler_forbids_token_when_bias_is_at_most_minus_100)
{
    struct sampling sampling = plain();
    struct sampling_bias bias[2] = {{.token = 1, .bias = -99.5f}, {.token = 2, .bias = 3.0f}};
    sampling.bias = bias;
    sampling.bias_count = 2;
    logits[1] = 200.0f;
    logits[2] = 90.0f;
    ck_assert_int_eq(draw_first(&sampling), 1);
    bias[1].bias = 20.0f;
    ck_assert_int_eq(draw_first(&sampling), 2);
    bias[1].bias = 0.0f;
    bias[0].bias = -100.0f;
    sampler_start(sampler, &sampling);
    bias[0].bias = 100.0f; /* The sampler has its own copy. */
    ck_assert_int_eq(draw().token, 2);
}
END_TEST

START_TEST(sampler_stops_when_token_is_0_or_a_stop_token)
{
    struct sampling sampling = plain();
    sampling.stop_token_count = 2;
    sampling.stop_tokens[0] = 6;
    sampling.stop_tokens[1] = 3;
    for (int32_t token = 0; token < 8; token++) {
        logits[token] = 1.0f;
        sampler_start(sampler, &sampling);
        const struct sampled sampled = draw();
        const bool stops = token == 0 || token == 3 || token == 6;
        ck_assert_int_eq(sampled.token, token);
        ck_assert_int_eq(sampled.end, stops ? SAMPLED_STOP_TOKEN : SAMPLED_GOES_ON);
        logits[token] = 0.0f;
    }
    sampling.ignore_eos = true;
    sampler_start(sampler, &sampling);
    const struct sampled sampled = draw();
    ck_assert_int_eq(sampled.token, 0);
    ck_assert_int_eq(sampled.end, SAMPLED_GOES_ON);
}
END_TEST

START_TEST(sampler_ends_by_length_when_max_tokens_are_generated)
{
    struct sampling sampling = plain();
    sampling.max_tokens = 3;
    logits[1] = 1.0f;
    sampler_start(sampler, &sampling);
    ck_assert_int_eq(draw().end, SAMPLED_GOES_ON);
    ck_assert_int_eq(draw().end, SAMPLED_GOES_ON);
    ck_assert_int_eq(draw().end, SAMPLED_LENGTH);
    sampling.max_tokens = 1;
    logits[0] = 2.0f; /* A stop token that is also the last one stops. */
    sampler_start(sampler, &sampling);
    ck_assert_int_eq(draw().end, SAMPLED_STOP_TOKEN);
}
END_TEST

START_TEST(sampler_forbids_ends_when_below_min_tokens)
{
    struct sampling sampling = plain();
    sampling.min_tokens = 2;
    sampling.stop_token_count = 1;
    sampling.stop_tokens[0] = 1;
    logits[0] = 5.0f;
    logits[1] = 4.0f;
    logits[2] = 3.0f;
    sampler_start(sampler, &sampling);
    ck_assert_int_eq(draw().token, 2);
    ck_assert_int_eq(draw().token, 2);
    ck_assert_int_eq(draw().token, 0);
    sampling.ignore_eos = true; /* Token 0 ends nothing then. */
    ck_assert_int_eq(draw_first(&sampling), 0);
}
END_TEST

START_TEST(sampler_scores_raw_logits_when_bias_and_temperature_are_set)
{
    struct sampling sampling = plain();
    const struct sampling_bias bias = {.token = 3, .bias = 50.0f};
    sampling.bias = &bias;
    sampling.bias_count = 1;
    sampling.temperature = 5.0f;
    sampling.logprobs_wanted = 2;
    logits[5] = 2.0f;
    logits[4] = 1.0f;
    const double log_sum = log(exp(2.0) + exp(1.0) + 6.0);
    sampler_start(sampler, &sampling);
    const struct sampled sampled = draw();
    ck_assert_int_eq(sampled.token, 3);
    ck_assert_float_eq_tol(sampled.logprob, (float)-log_sum, 1e-6f);
    ck_assert_uint_eq(sampled.top_count, 2);
    ck_assert_int_eq(sampled.top[0].token, 5);
    ck_assert_float_eq_tol(sampled.top[0].logprob, (float)(2.0 - log_sum), 1e-6f);
    ck_assert_int_eq(sampled.top[1].token, 4);
    sampling.logprobs_wanted = 0;
    sampler_start(sampler, &sampling);
    const struct sampled bare = draw();
    ck_assert_float_eq(bare.logprob, sampled.logprob);
    ck_assert_uint_eq(bare.top_count, 0);
}
END_TEST

START_TEST(sampler_score_matches_double_precision_when_rows_are_large)
{
    const struct sampling_vocabulary world = {.row_count = ROWS_MAX, .token_count = ROWS_MAX - 6};
    double total = 0.0;
    for (int index = 0; index < ROWS_MAX; index++) {
        logits[index] = random_float(4.0f) + random_float(4.0f) + random_float(4.0f);
        total += index < ROWS_MAX - 6 ? exp((double)logits[index]) : 0.0;
    }
    struct sampled sampled;
    for (int32_t token = 0; token < ROWS_MAX - 6; token += 4001) {
        sampler_score(&world, logits, token, 20, &sampled);
        const double exact = (double)logits[token] - log(total);
        ck_assert_double_eq_tol((double)sampled.logprob, exact, 4e-6);
        ck_assert_uint_eq(sampled.top_count, 20);
        for (int place = 1; place < 20; place++) {
            ck_assert_float_le(sampled.top[place].logprob, sampled.top[place - 1].logprob);
        }
    }
    sampler_score(&world, logits, ROWS_MAX - 6, 0, &sampled); /* A row without a token. */
    ck_assert(isinf(sampled.logprob));
    ck_assert_int_eq(sampled.end, SAMPLED_GOES_ON);
}
END_TEST

START_TEST(sampler_lists_lower_ids_first_when_alternatives_tie)
{
    struct sampled sampled;
    logits[7] = 1.0f;
    logits[2] = -1.0f;
    sampler_score(&vocabulary, logits, 2, 4, &sampled);
    const int32_t expected[] = {7, 0, 1, 3};
    for (int place = 0; place < 4; place++) {
        ck_assert_int_eq(sampled.top[place].token, expected[place]);
    }
    sampler_score(&vocabulary, logits, 2, 20, &sampled);
    ck_assert_uint_eq(sampled.top_count, 8);
    ck_assert_int_eq(sampled.top[7].token, 2);
    ck_assert_float_eq(sampled.top[7].logprob, sampled.logprob);
}
END_TEST

static Suite *sampler_suite(void)
{
    Suite *suite = suite_create("engine/sampler");
    TCase *math = tcase_create("math");
    tcase_set_timeout(math, 60);
    tcase_add_test(math, sampler_exp_is_within_1_02_ulp_when_x_is_not_positive);
    tcase_add_test(math, sampler_log_is_within_0_83_ulp_when_x_is_normal);
    tcase_add_test(math, sampler_mass_rounds_to_nearest_even_when_between_integers);
    tcase_add_test(math, sampler_philox_gives_known_answers_when_given_published_vectors);
    suite_add_tcase(suite, math);
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, setup, close_sampler);
    tcase_add_test(rules, sampler_takes_lowest_id_when_greedy_scores_are_equal);
    tcase_add_test(rules, sampler_stays_in_vocabulary_when_rows_have_no_token);
    tcase_add_test(rules, sampler_treats_nan_as_impossible_when_logits_are_broken);
    tcase_add_test(rules, sampler_stays_finite_when_logits_are_infinite);
    tcase_add_test(rules, sampler_ends_row_with_token_0_when_mask_allows_nothing);
    tcase_add_test(rules, sampler_mask_forgets_when_started_again);
    tcase_add_test(rules, sampler_subtracts_presence_and_frequency_when_token_was_generated);
    tcase_add_test(rules, sampler_ignores_prompt_when_penalty_is_of_openai);
    tcase_add_test(rules, sampler_penalizes_repetition_once_when_token_is_in_prompt_and_output);
    tcase_add_test(rules, sampler_fork_takes_the_prompt_when_child_starts);
    tcase_add_test(rules, sampler_decays_counts_when_order_is_rwkv);
    tcase_add_test(rules, sampler_counts_no_free_token_when_order_is_rwkv);
    tcase_add_test(rules, sampler_forbids_token_when_bias_is_at_most_minus_100);
    tcase_add_test(rules, sampler_stops_when_token_is_0_or_a_stop_token);
    tcase_add_test(rules, sampler_ends_by_length_when_max_tokens_are_generated);
    tcase_add_test(rules, sampler_forbids_ends_when_below_min_tokens);
    suite_add_tcase(suite, rules);
    TCase *scores = tcase_create("scores");
    tcase_add_checked_fixture(scores, setup, close_sampler);
    tcase_add_test(scores, sampler_scores_raw_logits_when_bias_and_temperature_are_set);
    tcase_add_test(scores, sampler_score_matches_double_precision_when_rows_are_large);
    tcase_add_test(scores, sampler_lists_lower_ids_first_when_alternatives_tie);
    suite_add_tcase(suite, scores);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(sampler_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
