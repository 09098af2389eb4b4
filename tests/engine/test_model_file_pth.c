/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a .pth that lies about its container, its storages or its views must be refused by
 * name; tensors that lie in order are used in place. Shown by: one lie a file. That all honest
 * forms load, and all damaged ones do not, is shown in tests/model_files. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/fakes/golden_files.h"

static struct model_file *open_bytes(const void *bytes, size_t byte_count)
{
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_msg(model_file_open_memory(bytes, byte_count, "m.pth", &file, &error) == ERROR_NONE,
                  "%s", error.message);
    return file;
}

static void assert_bytes_refused(const void *bytes, size_t byte_count, const char *part)
{
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_int_eq(model_file_open_memory(bytes, byte_count, "m.pth", &file, &error),
                     ERROR_CORRUPT);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" lacks \"%s\"", error.message, part);
    ck_assert(strncmp(error.message, "m.pth: ", 7) == 0);
}

static void assert_refused(const struct golden_pth_options *options, const char *part)
{
    size_t byte_count;
    void *bytes = golden_pth_bytes(options, &byte_count);
    assert_bytes_refused(bytes, byte_count, part);
    free(bytes);
}

START_TEST(pth_uses_tensors_in_place_when_they_are_contiguous)
{
    size_t byte_count;
    unsigned char *bytes =
        golden_pth_bytes(&(struct golden_pth_options){.alignment = 64}, &byte_count);
    struct model_file *file = open_bytes(bytes, byte_count);
    ck_assert_int_eq(model_file_format(file), MODEL_FILE_PTH);
    ck_assert_uint_eq(model_file_tensor_count(file), 69);
    ck_assert_uint_eq(model_file_copied_bytes(file), 0);
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        const unsigned char *data = model_file_tensor_at(file, index)->data;
        ck_assert(data > bytes && data < bytes + byte_count);
        ck_assert_uint_eq((size_t)(data - bytes) % 64, 0);
    }
    model_file_close(file);
    free(bytes);
}
END_TEST

START_TEST(pth_copies_the_one_matrix_that_is_stored_by_columns)
{
    size_t byte_count;
    void *bytes =
        golden_pth_bytes(&(struct golden_pth_options){.has_transposed_matrix = true}, &byte_count);
    struct model_file *file = open_bytes(bytes, byte_count);
    const struct tensor *matrix = model_file_find(file, "blocks.1.ffn.key.weight");
    static double expected[GOLDEN_F * GOLDEN_C];
    ck_assert_uint_eq(model_file_copied_bytes(file), matrix->bytes);
    ck_assert_uint_eq((uintptr_t)matrix->data % 64, 0);
    golden_tensor("blocks.1.ffn.key.weight", expected);
    for (size_t index = 0; index < GOLDEN_F * GOLDEN_C; index++) {
        ck_assert((double)tensor_element(matrix, index) == expected[index]);
    }
    model_file_close(file);
    free(bytes);
}
END_TEST

START_TEST(pth_is_refused_when_its_pickle_calls_for_anything_else)
{
    assert_refused(&(struct golden_pth_options){.function = "os\nsystem"},
                   "it calls for os.system");
    assert_refused(&(struct golden_pth_options){.function = "torch._utils\n_rebuild_qtensor"},
                   "torch._utils._rebuild_qtensor");
    assert_refused(&(struct golden_pth_options){.storage_class = "torch\nLongStorage"},
                   "torch.LongStorage, supported: BFloat16Storage");
}
END_TEST

START_TEST(pth_is_refused_when_storage_and_pickle_do_not_agree)
{
    assert_refused(&(struct golden_pth_options){.storage_class = "torch\nFloatStorage"},
                   "tensor emb.weight: entry data/0 has 4096 bytes, expected 2048 elements of 4");
    assert_refused(&(struct golden_pth_options){.byte_order = "big"}, "other byte order");
}
END_TEST

/* Changes bytes that stand once in the file, everywhere after `after`. */
static void replace(unsigned char *bytes, size_t byte_count, const char *old, const char *new,
                    size_t len)
{
    unsigned char *at = memmem(bytes, byte_count, old, len);
    ck_assert_ptr_nonnull(at);
    while (at != NULL) {
        memcpy(at, new, len);
        at = memmem(at + len, byte_count - (size_t)(at + len - bytes), old, len);
    }
}

START_TEST(pth_is_refused_when_the_archive_is_another_kind_of_zip)
{
    size_t byte_count;
    const struct golden_pth_options options = {.is_plain_zip = true};
    unsigned char *bytes = golden_pth_bytes(&options, &byte_count);
    replace(bytes, byte_count, "/data.pkl", "/data.qkl", 9);
    assert_bytes_refused(bytes, byte_count, "without data.pkl: not a PyTorch file");
    replace(bytes, byte_count, "/data.qkl", "/data.pkl", 9);
    replace(bytes, byte_count, "golden/version", "golden/data/68", 14);
    assert_bytes_refused(bytes, byte_count, "zip entry golden/data/68: the name comes twice");
    free(bytes);

    bytes = golden_pth_bytes(&options, &byte_count);
    replace(bytes, byte_count, "golden/data/68", "golden/data/99", 14);
    assert_bytes_refused(bytes, byte_count, "there is no entry data/68");
    free(bytes);

    bytes = golden_pth_bytes(&options, &byte_count);
    unsigned char *central = memmem(bytes, byte_count, "PK\x01\x02", 4);
    central[10] = 8; /* Deflate. */
    assert_bytes_refused(bytes, byte_count, "zip entry golden/data.pkl: compressed");
    central[10] = 0;
    central[8] |= 1;
    assert_bytes_refused(bytes, byte_count, "zip entry golden/data.pkl: encrypted");
    central[8] &= 0xfe;
    central[42] = 1; /* Its offset. */
    assert_bytes_refused(bytes, byte_count, "no header where the directory says");
    central[42] = 0;
    central[16] ^= 1;
    assert_bytes_refused(bytes, byte_count, "data.pkl: CRC-32");
    central[16] ^= 1;
    model_file_close(open_bytes(bytes, byte_count));
    free(bytes);
}
END_TEST

/* Ignores progress. */
static void on_progress(void *context, size_t done_bytes, size_t total_bytes)
{
    size_t *last = context;
    ck_assert_uint_ge(done_bytes, *last);
    ck_assert_uint_le(done_bytes, total_bytes);
    *last = done_bytes;
}

START_TEST(verify_counts_entries_whose_bytes_changed)
{
    size_t byte_count;
    size_t checked_bytes;
    size_t last = 0;
    unsigned char *bytes = golden_pth_bytes(&(struct golden_pth_options){0}, &byte_count);
    struct model_file *file = open_bytes(bytes, byte_count);
    log_configure(LOG_ERROR, LOG_FORMAT_TEXT);
    ck_assert_uint_eq(model_file_verify(file, on_progress, &last, &checked_bytes), 0);
    ck_assert_uint_gt(checked_bytes, 579840);
    unsigned char *head = (unsigned char *)(uintptr_t)model_file_find(file, "head.weight")->data;
    head[100] ^= 4;
    last = 0;
    ck_assert_uint_eq(model_file_verify(file, on_progress, &last, &checked_bytes), 1);
    model_file_close(file);
    free(bytes);

    /* A safetensors file has none. */
    bytes = golden_model_bytes(&(struct golden_options){0}, &byte_count);
    file = open_bytes(bytes, byte_count);
    ck_assert_uint_eq(model_file_verify(file, on_progress, &last, &checked_bytes), 0);
    ck_assert_uint_eq(checked_bytes, 0);
    model_file_close(file);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pth");
    TCase *tests = tcase_create("pth");
    tcase_add_test(tests, pth_uses_tensors_in_place_when_they_are_contiguous);
    tcase_add_test(tests, pth_copies_the_one_matrix_that_is_stored_by_columns);
    tcase_add_test(tests, pth_is_refused_when_its_pickle_calls_for_anything_else);
    tcase_add_test(tests, pth_is_refused_when_storage_and_pickle_do_not_agree);
    tcase_add_test(tests, pth_is_refused_when_the_archive_is_another_kind_of_zip);
    tcase_add_test(tests, verify_counts_entries_whose_bytes_changed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
