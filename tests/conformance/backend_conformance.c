/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/backend_conformance.c - the suite, and the cases that know the right numbers.
 *
 * At stake: that a backend computes RWKV-7, and nothing that merely looks like it. Shown by:
 * a miniature model whose weights are a formula and whose logits and states are known in float64,
 * and by deliberate mistakes that the same comparison must reject. */
#include "tests/conformance/backend_conformance.h"

#include <math.h>
#include <stdlib.h>

#include "tests/conformance/golden_reference.h"
#include "tests/data/golden_expected.h"

enum { TOKEN_COUNT = sizeof(golden_tokens) / sizeof(golden_tokens[0]) };

static const struct conformance_backend *under_test;

const struct conformance_backend *conformance_under_test(int index)
{
    return &under_test[index];
}

static void assert_golden(const struct fixture *fixture, uint32_t t, const float *logits)
{
    const struct golden_row row = golden_row_of(logits);
    for (size_t v = 0; v < GOLDEN_V; v++) {
        ck_assert_msg(logits_agree(&row.logits[v], &golden_logits[t][v], 1,
                                   fixture->under_test->logit_error_max),
                      "%s: token %u, logit %zu: %.9g, expected %.9g", fixture->under_test->name, t,
                      v, row.logits[v], golden_logits[t][v]);
    }
}

static void run_golden(const struct golden_options *options, int index)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(index), options);
    fixture_start(&fixture, 1);
    for (uint32_t t = 0; t < TOKEN_COUNT; t++) {
        float logits[GOLDEN_V];
        fixture_feed(&fixture, 1, &golden_tokens[t], 1, logits);
        assert_golden(&fixture, t, logits);
    }
    fixture_close(&fixture);
}

START_TEST(backend_matches_golden_logits_when_weights_are_bf16)
{
    run_golden(&(struct golden_options){.type = TENSOR_BF16, .has_block_0_value = true}, _i);
}
END_TEST

START_TEST(backend_matches_golden_logits_when_weights_are_f16)
{
    run_golden(&(struct golden_options){.type = TENSOR_F16}, _i);
}
END_TEST

START_TEST(backend_matches_golden_logits_when_weights_are_f32)
{
    run_golden(&(struct golden_options){.type = TENSOR_F32}, _i);
}
END_TEST

START_TEST(backend_matches_golden_logits_when_the_file_is_unaligned)
{
    run_golden(&(struct golden_options){.type = TENSOR_BF16, .misalignment_bytes = 3}, _i);
    run_golden(&(struct golden_options){.type = TENSOR_F32, .misalignment_bytes = 6}, _i);
}
END_TEST

/* The sums of golden_state_sums of one layer's state. */
static void assert_state_sums(const struct fixture *fixture, const float *layer,
                              const double expected[5])
{
    const size_t s_count = (size_t)GOLDEN_H * GOLDEN_N * GOLDEN_N;
    double sums[5] = {0};
    for (size_t c = 0; c < GOLDEN_C; c++) {
        sums[0] += (double)layer[c];
        sums[1] += (double)layer[GOLDEN_C + s_count + c];
    }
    for (size_t index = 0; index < s_count; index++) {
        const double s = (double)layer[GOLDEN_C + index];
        sums[2] += s;
        sums[3] += s * s;
        sums[4] += s * ((double)(index % 7) - 3.0);
    }
    sums[3] = sqrt(sums[3]);
    for (size_t index = 0; index < 5; index++) {
        /* Sums cancel, so the bound is relative to the length of what is summed. */
        const double scale = fmax(fabs(expected[index]), index < 2 ? 1.0 : expected[3]);
        ck_assert_msg(fabs(sums[index] - expected[index]) <=
                          fixture->under_test->state_error_max * scale,
                      "%s: sum %zu: %.9g, expected %.9g", fixture->under_test->name, index,
                      sums[index], expected[index]);
    }
}

START_TEST(backend_matches_golden_states_when_saved)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    fixture_start(&fixture, 5);
    uint32_t fed = 0;
    for (uint32_t point = 0; point < 3; point++) {
        const uint32_t end = golden_states_after[point] + 1;
        fixture_feed(&fixture, 5, &golden_tokens[fed], end - fed, NULL);
        fed = end;
        float *state = fixture_state(&fixture, 5);
        for (uint32_t layer = 0; layer < GOLDEN_L; layer++) {
            assert_state_sums(&fixture, state + layer * fixture.state_floats / GOLDEN_L,
                              golden_state_sums[point * GOLDEN_L + layer]);
        }
        free(state);
    }
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_state_is_value_by_key_when_one_token_was_fed)
{
    /* From zeros, S[i][j] = v[i] k[j]: the first layer's S has rank one, and the float64 reference
     * says which way round it lies. */
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    fixture_start(&fixture, 0);
    fixture_feed(&fixture, 0, golden_tokens, 1, NULL);
    float *state = fixture_state(&fixture, 0);
    const float *s = state + GOLDEN_C;
    const double expected[4] = {0.0004283578, 0.013275278, 0.013355077, 0.0034105127};
    for (size_t key = 0; key < 4; key++) {
        const double found = (double)s[GOLDEN_N + key]; /* Head 0, value 1. */
        ck_assert_double_eq_tol(found, expected[key],
                                10.0 * fixture.under_test->state_error_max * fabs(expected[key]));
    }
    free(state);
    fixture_close(&fixture);
}
END_TEST

static void assert_tuned(struct fixture *fixture, uint32_t slot)
{
    for (uint32_t t = 0; t < 5; t++) {
        float logits[GOLDEN_V];
        fixture_feed(fixture, slot, &golden_tokens[t], 1, logits);
        const struct golden_row row = golden_row_of(logits);
        ck_assert_msg(logits_agree(row.logits, golden_tuned_logits[t], GOLDEN_V,
                                   fixture->under_test->logit_error_max),
                      "%s: token %u after the tuned state", fixture->under_test->name, t);
    }
}

START_TEST(backend_starts_from_the_tuned_state_when_the_model_has_one)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i),
                 &(struct golden_options){.has_time_state = true});
    float *state = malloc(fixture.state_floats * sizeof(*state));
    ck_assert(model_spec_initial_state(&fixture.model.spec, state));
    const struct sampling sampling = fixture_greedy();
    for (uint32_t request = 0; request < 2; request++) {
        /* The second request must not go on from where the first ended. */
        backend_slot_start(fixture.backend, 7, &sampling, state);
        assert_tuned(&fixture, 7);
    }
    fixture_start(&fixture, 8);
    fixture_load(&fixture, 8, state);
    assert_tuned(&fixture, 8);
    free(state);
    fixture_close(&fixture);
}
END_TEST

/* Whether the comparison of the golden cases passes logits that were computed with a mistake. Where
 * bits are f32's, the last position alone must tell, which has every mistake behind it; rounding to
 * f16 hides the smallest ones there, and every position that was computed is asked. */
static bool golden_logits_agree(const struct conformance_backend *backend,
                                double (*logits)[GOLDEN_V])
{
    for (uint32_t t = backend->company_is_exact ? TOKEN_COUNT - 1 : 0; t < TOKEN_COUNT; t++) {
        const bool was_computed = t == TOKEN_COUNT - 1 || !isnan(logits[t][0]);
        if (was_computed &&
            !logits_agree(logits[t], golden_logits[t], GOLDEN_V, backend->logit_error_max)) {
            return false;
        }
    }
    return true;
}

START_TEST(comparison_accepts_the_reference_and_rejects_every_mistake)
{
    const struct conformance_backend *backend = conformance_under_test(_i);
    struct golden_reference *reference = golden_reference_create();
    static double logits[TOKEN_COUNT][GOLDEN_V];
    for (enum mistake mistake = MISTAKE_NONE; mistake < MISTAKE_COUNT; mistake++) {
        golden_reference_run(reference, mistake, golden_tokens, TOKEN_COUNT, logits);
        const bool agrees = golden_logits_agree(backend, logits);
        ck_assert_msg(agrees == (mistake == MISTAKE_NONE), "%s: mistake \"%s\" %s", backend->name,
                      mistake_name(mistake), agrees ? "passes" : "is rejected");
    }
    golden_reference_destroy(reference);
}
END_TEST

void conformance_add_golden_cases(Suite *suite, int backend_count)
{
    TCase *tests = tcase_create("golden");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, backend_matches_golden_logits_when_weights_are_bf16, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_matches_golden_logits_when_weights_are_f16, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_matches_golden_logits_when_weights_are_f32, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_matches_golden_logits_when_the_file_is_unaligned, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_matches_golden_states_when_saved, 0, backend_count);
    tcase_add_loop_test(tests, backend_state_is_value_by_key_when_one_token_was_fed, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_starts_from_the_tuned_state_when_the_model_has_one, 0,
                        backend_count);
    tcase_add_loop_test(tests, comparison_accepts_the_reference_and_rejects_every_mistake, 0,
                        backend_count);
    suite_add_tcase(suite, tests);
}

Suite *backend_conformance_suite(const char *name, const struct conformance_backend *backends,
                                 size_t backend_count)
{
    under_test = backends;
    Suite *suite = suite_create(name);
    conformance_add_golden_cases(suite, (int)backend_count);
    conformance_add_sequence_cases(suite, (int)backend_count);
    conformance_add_state_cases(suite, (int)backend_count);
    conformance_add_output_cases(suite, (int)backend_count);
    return suite;
}
