/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a tuned state turned over, of another model, or not finite spoils every answer. Shown
 * by: both layouts, from files of their own and within a model, and one wrong thing a file. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/tuned_state.h"
#include "tests/fakes/golden_files.h"

static char path[64];
static struct golden_model plain;

static void set_up(void)
{
    golden_model_open(&plain, &(struct golden_options){0});
}

static void tear_down(void)
{
    golden_model_close(&plain);
    unlink(path);
}

/* Writes the bytes to `path`; takes them. */
static void put_file(void *bytes, size_t byte_count)
{
    memcpy(path, "/tmp/skein-test-state-XXXXXX", sizeof("/tmp/skein-test-state-XXXXXX"));
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(write(descriptor, bytes, byte_count), (ssize_t)byte_count);
    close(descriptor);
    free(bytes);
}

static enum error_code open_state(const char *file, enum tuned_state_layout layout,
                                  struct tuned_state *tuned, struct error *error)
{
    *error = (struct error){0};
    return tuned_state_open(file, plain.file, &plain.spec, layout, tuned, error);
}

/* Element [1][2] of the first head of layer 1, as the formula has it in [value][key]. */
static float expected_element(bool is_turned)
{
    static double values[GOLDEN_H * GOLDEN_N * GOLDEN_N];
    golden_tensor("blocks.1.att.time_state", values);
    return (float)values[is_turned ? 2 * GOLDEN_N + 1 : GOLDEN_N + 2];
}

static float found_element(const struct tuned_state *tuned)
{
    const size_t layer_floats = model_spec_state_floats(&plain.spec) / GOLDEN_L;
    return tuned->state[layer_floats + GOLDEN_C + GOLDEN_N + 2];
}

static void check_layouts(enum tuned_state_layout automatic)
{
    static const enum tuned_state_layout layouts[] = {TUNED_STATE_AUTO, TUNED_STATE_VALUE_KEY,
                                                      TUNED_STATE_KEY_VALUE};
    for (size_t index = 0; index < 3; index++) {
        struct tuned_state tuned;
        struct error error;
        ck_assert_msg(open_state(path, layouts[index], &tuned, &error) == ERROR_NONE, "%s",
                      error.message);
        const enum tuned_state_layout expected = index == 0 ? automatic : layouts[index];
        ck_assert_int_eq(tuned.layout, expected);
        ck_assert(found_element(&tuned) == expected_element(expected != automatic));
        ck_assert(tuned.state[0] == 0.0f && tuned.state[GOLDEN_C - 1] == 0.0f);
        ck_assert(tuned.state[model_spec_state_floats(&plain.spec) - 1] == 0.0f);
        tuned_state_close(&tuned);
    }
}

START_TEST(tuned_state_is_value_key_when_it_comes_in_a_pth)
{
    size_t byte_count;
    void *bytes = golden_state_pth_bytes(&byte_count);
    put_file(bytes, byte_count);
    check_layouts(TUNED_STATE_VALUE_KEY);
}
END_TEST

START_TEST(tuned_state_is_key_value_when_it_comes_in_a_safetensors_file)
{
    size_t byte_count;
    void *bytes = golden_state_safetensors_bytes(&byte_count);
    put_file(bytes, byte_count);
    check_layouts(TUNED_STATE_KEY_VALUE);
}
END_TEST

START_TEST(tuned_state_of_a_model_follows_its_low_rank_matrices)
{
    for (int kind = 0; kind < 2; kind++) {
        struct model_file *file = NULL;
        struct model_spec spec;
        struct tuned_state tuned;
        struct error error = {0};
        size_t byte_count;
        void *bytes =
            kind == 0
                ? golden_web_rwkv_bytes(true, &byte_count)
                : golden_model_bytes(&(struct golden_options){.has_time_state = true}, &byte_count);
        ck_assert_int_eq(model_file_open_memory(bytes, byte_count, "m", &file, &error), ERROR_NONE);
        ck_assert_int_eq(model_spec_read(file, &spec, &error), ERROR_NONE);
        ck_assert_int_eq(tuned_state_open(NULL, file, &spec, TUNED_STATE_AUTO, &tuned, &error),
                         ERROR_NONE);
        ck_assert_int_eq(tuned.layout, kind == 0 ? TUNED_STATE_KEY_VALUE : TUNED_STATE_VALUE_KEY);
        ck_assert(found_element(&tuned) == expected_element(false));
        tuned_state_close(&tuned);
        model_spec_deinit(&spec);
        model_file_close(file);
        free(bytes);
    }
}
END_TEST

START_TEST(tuned_state_is_absent_when_nobody_gives_one)
{
    struct tuned_state tuned;
    struct error error;
    ck_assert_int_eq(open_state(NULL, TUNED_STATE_AUTO, &tuned, &error), ERROR_NONE);
    ck_assert_ptr_null(tuned.state);
    ck_assert_int_eq(open_state("/no/such/file", TUNED_STATE_AUTO, &tuned, &error),
                     ERROR_NOT_FOUND);
    tuned_state_close(&tuned);
}
END_TEST

static void assert_refused(const char *part)
{
    struct tuned_state tuned;
    struct error error;
    ck_assert_int_eq(open_state(path, TUNED_STATE_AUTO, &tuned, &error), ERROR_CORRUPT);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" lacks \"%s\"", error.message, part);
    ck_assert_ptr_null(tuned.state);
}

/* A safetensors file of `count` states under these shapes, each element `value`. */
static void put_states(size_t count, const uint64_t shape[3], float value)
{
    struct golden_tensor states[3] = {0};
    size_t byte_count;
    for (size_t index = 0; index < count; index++) {
        states[index] = (struct golden_tensor){.type = TENSOR_F32, .dimension_count = 3};
        snprintf(states[index].name, sizeof(states[index].name), "blocks.%zu.att.time_state",
                 index);
        memcpy(states[index].shape, shape, 3 * sizeof(shape[0]));
        const size_t elements = (size_t)(shape[0] * shape[1] * shape[2]);
        states[index].bytes = elements * sizeof(value);
        states[index].data = malloc(states[index].bytes);
        for (size_t element = 0; element < elements; element++) {
            memcpy(states[index].data + element * sizeof(value), &value, sizeof(value));
        }
    }
    void *bytes = golden_safetensors_bytes(states, count, 0, &byte_count);
    golden_tensors_free(states, count);
    put_file(bytes, byte_count);
}

START_TEST(tuned_state_is_refused_when_it_belongs_to_another_model)
{
    const uint64_t good[] = {GOLDEN_H, GOLDEN_N, GOLDEN_N};
    const uint64_t more_heads[] = {3, GOLDEN_N, GOLDEN_N};
    const uint64_t smaller_heads[] = {GOLDEN_H, 32, 32};
    put_states(2, more_heads, 1.0f);
    assert_refused("blocks.0.att.time_state: shape [3,64,64] of 3 dimensions, the model needs");
    unlink(path);
    put_states(2, smaller_heads, 1.0f);
    assert_refused("shape [2,32,32]");
    unlink(path);
    put_states(1, good, 1.0f);
    assert_refused("blocks.1.att.time_state: missing; the model has 2 layers");
    unlink(path);
    put_states(3, good, 1.0f);
    assert_refused("blocks.2.att.time_state: the model has 2 layers");
    unlink(path);
    put_states(2, good, __builtin_inff());
    assert_refused("element 0 is not finite");
}
END_TEST

START_TEST(tuned_state_is_refused_when_the_file_is_a_model)
{
    size_t byte_count;
    void *bytes = golden_model_bytes(&(struct golden_options){.has_time_state = true}, &byte_count);
    put_file(bytes, byte_count);
    assert_refused("tensor emb.weight: not part of a tuned state");
}
END_TEST

START_TEST(model_spec_says_what_it_is_when_a_state_is_given_as_model)
{
    struct model_file *file = NULL;
    struct model_spec spec;
    struct error error = {0};
    size_t byte_count;
    void *bytes = golden_state_pth_bytes(&byte_count);
    ck_assert_int_eq(model_file_open_memory(bytes, byte_count, "s", &file, &error), ERROR_NONE);
    ck_assert_int_eq(model_spec_read(file, &spec, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "a tuned initial state, not a model"));
    model_file_close(file);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tuned state");
    TCase *tests = tcase_create("tuned state");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, tuned_state_is_value_key_when_it_comes_in_a_pth);
    tcase_add_test(tests, tuned_state_is_key_value_when_it_comes_in_a_safetensors_file);
    tcase_add_test(tests, tuned_state_of_a_model_follows_its_low_rank_matrices);
    tcase_add_test(tests, tuned_state_is_absent_when_nobody_gives_one);
    tcase_add_test(tests, tuned_state_is_refused_when_it_belongs_to_another_model);
    tcase_add_test(tests, tuned_state_is_refused_when_the_file_is_a_model);
    tcase_add_test(tests, model_spec_says_what_it_is_when_a_state_is_given_as_model);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
