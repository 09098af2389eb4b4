/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: one model gives one answer, whatever kind of file it comes in. Shown by: the golden
 * model written in each kind, opened by path, and its logits over the golden tokens, bit for bit
 * those of the plain safetensors file. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/cpu_backend.h"
#include "engine/tuned_state.h"
#include "tests/fakes/golden_files.h"

enum { TOKEN_COUNT = 40 };

struct logits {
    float rows[TOKEN_COUNT][GOLDEN_V];
};

/* The golden tokens: x = 42, then x >> 28 of a linear congruential sequence. */
static void golden_tokens(int32_t tokens[TOKEN_COUNT])
{
    uint32_t x = 42;
    for (size_t index = 0; index < TOKEN_COUNT; index++) {
        x = 1664525u * x + 1013904223u;
        tokens[index] = (int32_t)(x >> 28);
    }
}

static void compute(const struct model_file *file, const struct tuned_state *tuned,
                    struct logits *logits)
{
    struct model_spec spec;
    struct error error = {0};
    struct backend *backend = NULL;
    struct backend_result result;
    uint32_t result_count;
    int32_t tokens[TOKEN_COUNT];
    ck_assert_msg(model_spec_read(file, &spec, &error) == ERROR_NONE, "%s", error.message);
    const struct backend_options options = {
        .slot_count = 1,
        .row_count_max = 1,
        .item_count_max = 1,
        .thread_count = 1,
        .vocabulary = {.row_count = GOLDEN_V, .token_count = GOLDEN_V},
    };
    ck_assert_int_eq(cpu_backend_open(&spec, &options, &backend, &error), ERROR_NONE);
    const struct sampling sampling = {.max_tokens = 1000, .logprobs_wanted = -1};
    backend_slot_start(backend, 0, &sampling, tuned == NULL ? NULL : tuned->state);
    golden_tokens(tokens);
    for (size_t index = 0; index < TOKEN_COUNT; index++) {
        const struct backend_item item = {
            .tokens = &tokens[index], .token_count = 1, .logits_out = logits->rows[index]};
        ck_assert_int_eq(backend_submit(backend, &item, 1, &error), ERROR_NONE);
        ck_assert_int_eq(backend_collect(backend, &result, &result_count, &error), ERROR_NONE);
    }
    backend_close(backend);
    model_spec_deinit(&spec);
}

static void reference(const struct golden_options *options, struct logits *logits)
{
    struct golden_model model;
    struct tuned_state tuned;
    struct error error = {0};
    golden_model_open(&model, options);
    ck_assert_int_eq(
        tuned_state_open(NULL, model.file, &model.spec, TUNED_STATE_AUTO, &tuned, &error),
        ERROR_NONE);
    compute(model.file, &tuned, logits);
    tuned_state_close(&tuned);
    golden_model_close(&model);
}

static void assert_same(const char *what, const struct logits *found, const struct logits *expected)
{
    for (size_t row = 0; row < TOKEN_COUNT; row++) {
        ck_assert_msg(memcmp(found->rows[row], expected->rows[row], sizeof(found->rows[row])) == 0,
                      "%s: logits after token %zu: %.9g, expected %.9g", what, row,
                      (double)found->rows[row][0], (double)expected->rows[row][0]);
    }
    ck_assert(found->rows[0][0] > 1.42f && found->rows[0][0] < 1.43f); /* The published value. */
}

/* Writes the bytes into a new file; takes them. */
static void write_temporary(char *path, void *bytes, size_t byte_count)
{
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(write(descriptor, bytes, byte_count), (ssize_t)byte_count);
    close(descriptor);
    free(bytes);
}

static struct model_file *open_path(const char *path)
{
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_msg(model_file_open(path, &file, &error) == ERROR_NONE, "%s", error.message);
    return file;
}

static void check_bytes(const char *what, void *bytes, size_t byte_count,
                        const struct logits *expected)
{
    char path[] = "/tmp/skein-test-formats-XXXXXX";
    static struct logits found;
    write_temporary(path, bytes, byte_count);
    struct model_file *file = open_path(path);
    compute(file, NULL, &found);
    assert_same(what, &found, expected);
    model_file_close(file);
    unlink(path);
}

static void check_pth(const char *what, const struct golden_pth_options *options,
                      const struct logits *expected)
{
    size_t byte_count;
    void *bytes = golden_pth_bytes(options, &byte_count);
    check_bytes(what, bytes, byte_count, expected);
}

START_TEST(pth_gives_the_same_logits_when_written_in_any_way)
{
    static struct logits expected;
    reference(&(struct golden_options){0}, &expected);
#define CHECK(...) check_pth(#__VA_ARGS__, &(struct golden_pth_options){__VA_ARGS__}, &expected)
    CHECK(0);
    CHECK(.is_zip64 = true);
    CHECK(.is_plain_zip = true);
    CHECK(.alignment = 64);
    CHECK(.alignment = 64, .is_zip64 = true);
    CHECK(.shares_storage = true);
    CHECK(.has_transposed_matrix = true);
    CHECK(.has_transposed_matrix = true, .shares_storage = true, .alignment = 64);
    CHECK(.has_parameters = true);
    CHECK(.model = {.has_block_0_value = true});
    CHECK(.wrapper = "state_dict");
    CHECK(.wrapper = "model");
    CHECK(.wrapper = "module");
    CHECK(.prefix = "_forward_module.");
    CHECK(.prefix = "module.");
    CHECK(.prefix = "model.");
    CHECK(.prefix = "_forward_module.model.", .wrapper = "state_dict", .has_parameters = true);
#undef CHECK
}
END_TEST

START_TEST(every_type_gives_the_logits_of_that_type)
{
    static const enum tensor_type types[] = {TENSOR_BF16, TENSOR_F16, TENSOR_F32};
    static struct logits expected;
    for (size_t index = 0; index < 3; index++) {
        const struct golden_options options = {.type = types[index]};
        size_t byte_count;
        reference(&options, &expected);
        void *bytes = golden_model_bytes(&options, &byte_count);
        check_bytes("safetensors", bytes, byte_count, &expected);
        check_pth("pth", &(struct golden_pth_options){.model = options}, &expected);
        check_pth("pth, transposed",
                  &(struct golden_pth_options){.model = options, .has_transposed_matrix = true},
                  &expected);
    }
}
END_TEST

START_TEST(web_rwkv_gives_the_same_logits)
{
    static struct logits expected;
    size_t byte_count;
    reference(&(struct golden_options){.type = TENSOR_F16}, &expected);
    void *bytes = golden_web_rwkv_bytes(false, &byte_count);
    check_bytes("web-rwkv", bytes, byte_count, &expected);
}
END_TEST

static void check_directory(const char *what, const struct golden_directory_options *options,
                            const struct logits *expected)
{
    char path[] = "/tmp/skein-test-directory-XXXXXX";
    static struct logits found;
    ck_assert_ptr_nonnull(mkdtemp(path));
    golden_directory_write(path, options);
    struct model_file *file = open_path(path);
    ck_assert(model_file_has_transposed_low_rank(file));
    compute(file, NULL, &found);
    assert_same(what, &found, expected);
    model_file_close(file);
    golden_directory_remove(path);
}

START_TEST(fla_directory_gives_the_same_logits_when_num_heads_is_wrong)
{
    static struct logits expected;
    reference(&(struct golden_options){0}, &expected);
    check_directory("one file", &(struct golden_directory_options){0}, &expected);
    check_directory("three shards", &(struct golden_directory_options){.shard_count = 3},
                    &expected);
    check_directory("joint mix", &(struct golden_directory_options){.has_joint_mix = true},
                    &expected);
    check_directory("joint mix in shards",
                    &(struct golden_directory_options){.has_joint_mix = true, .shard_count = 2},
                    &expected);
}
END_TEST

/* The tuned state is the same in every file that carries it. */
START_TEST(tuned_state_gives_the_same_logits_from_any_file)
{
    static struct logits expected, found;
    struct golden_model plain;
    struct tuned_state tuned;
    struct error error = {0};
    reference(&(struct golden_options){.has_time_state = true}, &expected);
    ck_assert(expected.rows[0][0] > 1.76f && expected.rows[0][0] < 1.761f);
    golden_model_open(&plain, &(struct golden_options){0});
    for (int kind = 0; kind < 2; kind++) {
        char path[] = "/tmp/skein-test-state-XXXXXX";
        size_t byte_count;
        void *bytes = kind == 0 ? golden_state_pth_bytes(&byte_count)
                                : golden_state_safetensors_bytes(&byte_count);
        write_temporary(path, bytes, byte_count);
        ck_assert_msg(tuned_state_open(path, plain.file, &plain.spec, TUNED_STATE_AUTO, &tuned,
                                       &error) == ERROR_NONE,
                      "%s", error.message);
        ck_assert_int_eq(tuned.layout, kind == 0 ? TUNED_STATE_VALUE_KEY : TUNED_STATE_KEY_VALUE);
        compute(plain.file, &tuned, &found);
        ck_assert_mem_eq(&found, &expected, sizeof(found));
        tuned_state_close(&tuned);
        unlink(path);
    }
    golden_model_close(&plain);
}
END_TEST

/* What a file is must not be told from how it was packed. */
START_TEST(fingerprint_is_the_same_in_every_kind_of_file)
{
    struct golden_model plain;
    struct model_file *file = NULL;
    struct model_spec spec;
    struct error error = {0};
    size_t byte_count;
    golden_model_open(&plain, &(struct golden_options){.type = TENSOR_F16});
    void *bytes = golden_web_rwkv_bytes(false, &byte_count);
    ck_assert_int_eq(model_file_open_memory(bytes, byte_count, "st", &file, &error), ERROR_NONE);
    ck_assert_int_eq(model_spec_read(file, &spec, &error), ERROR_NONE);
    ck_assert_uint_eq(spec.fingerprint, plain.spec.fingerprint);
    model_spec_deinit(&spec);
    model_file_close(file);
    free(bytes);
    golden_model_close(&plain);
}
END_TEST

int main(void)
{
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    Suite *suite = suite_create("model formats");
    TCase *tests = tcase_create("logits");
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, pth_gives_the_same_logits_when_written_in_any_way);
    tcase_add_test(tests, every_type_gives_the_logits_of_that_type);
    tcase_add_test(tests, web_rwkv_gives_the_same_logits);
    tcase_add_test(tests, fla_directory_gives_the_same_logits_when_num_heads_is_wrong);
    tcase_add_test(tests, tuned_state_gives_the_same_logits_from_any_file);
    tcase_add_test(tests, fingerprint_is_the_same_in_every_kind_of_file);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
