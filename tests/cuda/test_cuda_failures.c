/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that a device which fails, or has too little memory, becomes an error and never a wrong
 * token or a leak. Shown by: every launch of a step, and every allocation of an opening, failing in
 * turn on the emulator. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cuda/cuda_backend.h"
#include "cuda_emulator.h"
#include "tests/fakes/golden_model.h"

enum { SLOTS = 8, ROWS = 32, PROMPT = 5, CHANCES_MAX = 1000 };

static enum error_code open_golden(struct backend **backend_out, struct error *error)
{
    const struct backend_options options = {
        .slot_count = SLOTS,
        .row_count_max = ROWS,
        .item_count_max = SLOTS,
        .thread_count = 1,
        .vocabulary = {.row_count = GOLDEN_V, .token_count = GOLDEN_V},
    };
    struct golden_model model;
    golden_model_open(&model, &(struct golden_options){0});
    const enum error_code code = cuda_backend_open(&model.spec, &options, backend_out, error);
    golden_model_close(&model);
    return code;
}

static struct backend *open_or_fail(void)
{
    struct backend *backend = NULL;
    struct error error = {0};
    ck_assert_msg(open_golden(&backend, &error) == ERROR_NONE, "%s", error.message);
    return backend;
}

/* A prompt beside decode rows, or decode rows alone: both paths of the backend. */
static enum error_code step(struct backend *backend, bool has_prompt, struct error *error)
{
    static const int32_t tokens[PROMPT] = {1, 2, 3, 4, 5};
    struct backend_item items[2] = {
        {.slot = 0, .source_slot = 0, .tokens = tokens, .token_count = 1},
        {.slot = 1, .source_slot = 1, .tokens = tokens, .token_count = has_prompt ? PROMPT : 1},
    };
    struct backend_result results[SLOTS];
    uint32_t count = 0;
    items[0].want = items[1].want = BACKEND_WANT_SAMPLE;
    const enum error_code code = backend_submit(backend, items, 2, error);
    return code != ERROR_NONE ? code : backend_collect(backend, results, &count, error);
}

static void start(struct backend *backend)
{
    const struct sampling sampling = {.max_tokens = 100, .logprobs_wanted = -1};
    backend_slot_start(backend, 0, &sampling, NULL);
    backend_slot_start(backend, 1, &sampling, NULL);
}

/* _i: with a prompt. */
START_TEST(cuda_backend_reports_device_error_when_any_launch_of_a_step_fails)
{
    struct error error = {0};
    enum error_code code = ERROR_DEVICE;
    int64_t launch = 0;
    for (; code != ERROR_NONE && launch < CHANCES_MAX; launch++) {
        struct backend *backend = open_or_fail();
        start(backend);
        cuda_emulator_fail_after(launch);
        code = step(backend, _i == 1, &error);
        if (code != ERROR_NONE) {
            ck_assert_int_eq(code, ERROR_DEVICE);
            ck_assert_ptr_eq(strstr(error.message, "cuda: "), error.message);
            ck_assert_int_eq(backend->steps_in_flight, 0);
            ck_assert_int_eq(step(backend, _i == 1, &error), ERROR_DEVICE); /* It is final. */
        }
        backend_close(backend);
        ck_assert_uint_eq(cuda_emulator_allocations(), 0);
        cuda_emulator_recover();
    }
    ck_assert_int_eq(code, ERROR_NONE);
    ck_assert_int_gt(launch, 5); /* There were launches to fail. */
}
END_TEST

START_TEST(cuda_backend_refuses_to_open_when_the_device_fails_meanwhile)
{
    enum error_code code = ERROR_DEVICE;
    struct backend *backend = NULL;
    for (int64_t launch = 0; code != ERROR_NONE && launch < CHANCES_MAX; launch++) {
        struct error error = {0};
        cuda_emulator_fail_after(launch);
        code = open_golden(&backend, &error);
        if (code != ERROR_NONE) {
            ck_assert_int_eq(code, ERROR_DEVICE);
            ck_assert_uint_eq(cuda_emulator_allocations(), 0);
        }
        cuda_emulator_recover();
    }
    ck_assert_int_eq(code, ERROR_NONE);
    backend_close(backend);
}
END_TEST

START_TEST(cuda_backend_leaks_nothing_when_any_allocation_fails)
{
    enum error_code code = ERROR_OUT_OF_MEMORY;
    struct backend *backend = NULL;
    int64_t allocation = 0;
    for (; code != ERROR_NONE && allocation < CHANCES_MAX; allocation++) {
        struct error error = {0};
        cuda_emulator_fail_allocation_after(allocation);
        code = open_golden(&backend, &error);
        if (code != ERROR_NONE) {
            ck_assert_msg(code == ERROR_OUT_OF_MEMORY, "allocation %d: %s", (int)allocation,
                          error.message);
            ck_assert_uint_eq(cuda_emulator_allocations(), 0);
        }
    }
    cuda_emulator_fail_allocation_after(-1);
    ck_assert_int_eq(code, ERROR_NONE);
    ck_assert_int_gt(allocation, 3);
    backend_close(backend);
    ck_assert_uint_eq(cuda_emulator_allocations(), 0);
}
END_TEST

START_TEST(cuda_backend_says_what_it_needs_when_the_device_is_too_small)
{
    struct backend *backend = NULL;
    struct error error = {0};
    cuda_emulator_set_memory((size_t)64 << 20);
    ck_assert_int_eq(open_golden(&backend, &error), ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_nonnull(strstr(error.message, "0.1 GB free"));
    ck_assert_ptr_nonnull(strstr(error.message, "--slots"));
    ck_assert_uint_eq(cuda_emulator_allocations(), 0);
}
END_TEST

int main(void)
{
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    Suite *suite = suite_create("cuda_failures");
    TCase *tests = tcase_create("failures");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, cuda_backend_reports_device_error_when_any_launch_of_a_step_fails, 0,
                        2);
    tcase_add_test(tests, cuda_backend_refuses_to_open_when_the_device_fails_meanwhile);
    tcase_add_test(tests, cuda_backend_leaks_nothing_when_any_allocation_fails);
    tcase_add_test(tests, cuda_backend_says_what_it_needs_when_the_device_is_too_small);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
