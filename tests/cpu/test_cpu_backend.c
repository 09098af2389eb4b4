/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: what the CPU backend promises beyond the conformance suite. Shown by: limits of its
 * opening, a step far larger than one pass, and the choice of kernels. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cpu/cpu_backend.h"
#include "tests/fakes/golden_model.h"

static struct backend_options options_of(uint32_t slot_count, uint32_t row_count_max)
{
    return (struct backend_options){
        .slot_count = slot_count,
        .row_count_max = row_count_max,
        .item_count_max = slot_count,
        .thread_count = 1,
        .vocabulary = {.row_count = GOLDEN_V, .token_count = GOLDEN_V},
    };
}

static struct backend *open_golden(struct golden_model *model, uint32_t slot_count,
                                   uint32_t row_count_max)
{
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    golden_model_open(model, &(struct golden_options){0});
    const struct backend_options options = options_of(slot_count, row_count_max);
    struct backend *backend = NULL;
    struct error error = {0};
    ck_assert_msg(cpu_backend_open(&model->spec, &options, &backend, &error) == ERROR_NONE, "%s",
                  error.message);
    return backend;
}

START_TEST(cpu_backend_tells_its_limits_when_open)
{
    struct golden_model model;
    struct backend *backend = open_golden(&model, 3, 77);
    ck_assert_str_eq(backend->ops->name, "cpu");
    ck_assert_uint_eq(backend->slot_count, 3);
    ck_assert_uint_eq(backend->row_count_max, 77);
    ck_assert_uint_eq(backend->row_vocabulary, GOLDEN_V);
    ck_assert_uint_eq(backend->steps_in_flight_max, 1);
    ck_assert_uint_eq(backend->state_bytes, 67584); /* 2 layers of (128 * 64 + 2 * 128) f32. */
    struct backend_counters counters;
    backend_counters(backend, &counters);
    ck_assert_uint_eq(counters.steps + counters.tokens + counters.state_copied_bytes, 0);
    backend_close(backend);
    golden_model_close(&model);
}
END_TEST

START_TEST(cpu_backend_refuses_when_states_do_not_fit)
{
    struct golden_model model;
    golden_model_open(&model, &(struct golden_options){0});
    struct backend_options options = options_of(UINT32_MAX, 8); /* 290 TB of states. */
    options.item_count_max = 8;
    struct backend *backend = NULL;
    struct error error = {0};
    ck_assert_int_eq(cpu_backend_open(&model.spec, &options, &backend, &error),
                     ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_null(backend);
    ck_assert_ptr_nonnull(strstr(error.message, "4294967295 states"));
    golden_model_close(&model);
}
END_TEST

START_TEST(cpu_backend_scores_the_same_when_the_step_has_many_passes)
{
    /* 1,000 rows are four passes; two sequences, so that passes end inside of both. */
    enum { ROWS = 500 };
    struct golden_model model;
    struct backend *backend = open_golden(&model, 3, 2 * ROWS);
    static int32_t tokens[ROWS];
    for (uint32_t index = 0; index < ROWS; index++) {
        tokens[index] = (int32_t)(index * index % GOLDEN_V);
    }
    const struct sampling sampling = {.logprobs_wanted = 0, .max_tokens = 10};
    struct backend_item items[2];
    for (uint32_t slot = 0; slot < 2; slot++) {
        backend_slot_start(backend, slot, &sampling, NULL);
        items[slot] = (struct backend_item){.slot = slot,
                                            .source_slot = slot,
                                            .tokens = tokens,
                                            .token_count = ROWS,
                                            .want = BACKEND_WANT_SCORE,
                                            .targets = tokens,
                                            .target_count = ROWS};
    }
    struct backend_result results[3];
    uint32_t result_count = 0;
    struct error error = {0};
    ck_assert_int_eq(backend_submit(backend, items, 2, &error), ERROR_NONE);
    ck_assert_int_eq(backend_collect(backend, results, &result_count, &error), ERROR_NONE);
    ck_assert_uint_eq(result_count, 2);
    ck_assert_uint_eq(results[0].score_count, ROWS);
    ck_assert_uint_eq(results[1].score_count, ROWS);
    for (uint32_t index = 0; index < ROWS; index++) {
        ck_assert_mem_eq(&results[0].scores[index].logprob, &results[1].scores[index].logprob,
                         sizeof(float));
        ck_assert_int_eq(results[0].scores[index].token, tokens[index]);
    }
    backend_close(backend);
    golden_model_close(&model);
}
END_TEST

START_TEST(cpu_kernels_choose_the_fast_ones_when_there_are_any)
{
    const struct cpu_kernels *avx512 = cpu_kernels_avx512_if_supported();
    const struct cpu_kernels *avx2 = cpu_kernels_avx2_if_supported();
    ck_assert_ptr_eq(cpu_kernels_choose(), avx512 != NULL  ? avx512
                                           : avx2 != NULL ? avx2
                                                          : &cpu_kernels_reference);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu backend");
    TCase *tests = tcase_create("backend");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, cpu_backend_tells_its_limits_when_open);
    tcase_add_test(tests, cpu_backend_refuses_when_states_do_not_fit);
    tcase_add_test(tests, cpu_backend_scores_the_same_when_the_step_has_many_passes);
    tcase_add_test(tests, cpu_kernels_choose_the_fast_ones_when_there_are_any);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
