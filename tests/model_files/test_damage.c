/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a damaged or hostile weight file must be refused or be the same model: never another
 * model, a crash, or more memory than its size and 16 MiB. Shown by: every single-bit flip of the
 * headers of golden files, cuts at every tensor's end and 1,000 other places, and small files that
 * claim much. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model_spec.h"
#include "tests/fakes/golden_files.h"
#include "tests/model_files/memory_count.h"

enum { MEMORY_BASE_BYTES = 16 << 20, CUT_COUNT = 1000 };

/* The model that every file of a test must be. */
static struct golden_model original;

/* Whether a tensor of an opened file has the values of the original's. */
static bool is_same_tensor(const struct tensor *left, const struct tensor *right)
{
    return left == right ||
           (left != NULL && right != NULL && left->type == right->type &&
            left->bytes == right->bytes && memcmp(left->data, right->data, left->bytes) == 0);
}

static bool is_same_model(const struct model_spec *spec)
{
    bool is_same =
        spec->V == GOLDEN_V && spec->L == GOLDEN_L && spec->C == GOLDEN_C && spec->F == GOLDEN_F;
#define X(field, name, rows, columns)                                                              \
    is_same = is_same && is_same_tensor(spec->field, original.spec.field);
    MODEL_TENSORS(X)
#undef X
    for (uint32_t layer = 0; is_same && layer < GOLDEN_L; layer++) {
        const struct model_layer *left = &spec->layers[layer];
        const struct model_layer *right = &original.spec.layers[layer];
#define X(field, name, rows, columns)                                                              \
    is_same = is_same && is_same_tensor(left->field, right->field);
        MODEL_LAYER_TENSORS(X)
#undef X
        is_same = is_same && is_same_tensor(left->time_state, right->time_state);
    }
    return is_same;
}

enum outcome { REFUSED, SAME, OTHER };

/* Opens bytes as a model; checks message and memory. */
static enum outcome try_open(const void *bytes, size_t byte_count)
{
    struct model_file *file = NULL;
    struct model_spec spec;
    struct error error = {0};
    enum outcome outcome = REFUSED;
    memory_count_reset();
    enum error_code code = model_file_open_memory(bytes, byte_count, "golden", &file, &error);
    if (code == ERROR_NONE) {
        code = model_spec_read(file, &spec, &error);
        if (code == ERROR_NONE) {
            outcome = is_same_model(&spec) ? SAME : OTHER;
            model_spec_deinit(&spec);
        }
        model_file_close(file);
    }
    ck_assert(code == ERROR_NONE || code == ERROR_CORRUPT || code == ERROR_TOO_LARGE);
    ck_assert(code == ERROR_NONE || strncmp(error.message, "golden: ", 8) == 0);
    ck_assert_uint_le(memory_count_peak(), byte_count + MEMORY_BASE_BYTES);
    return outcome;
}

struct counts {
    size_t refused, same;
};

/* Flips each bit of [begin, end) of a copy of exact size. */
static void flip_all(const char *what, unsigned char *bytes, size_t byte_count, size_t begin,
                     size_t end, struct counts *counts)
{
    for (size_t at = begin; at < end; at++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (unsigned char)(1 << bit);
            const enum outcome outcome = try_open(bytes, byte_count);
            bytes[at] ^= (unsigned char)(1 << bit);
            ck_assert_msg(outcome != OTHER, "%s: bit %d of byte %zu: another model was loaded",
                          what, bit, at);
            counts->refused += outcome == REFUSED;
            counts->same += outcome == SAME;
        }
    }
}

static void open_original(const struct golden_options *options)
{
    golden_model_open(&original, options);
}

static void report(const char *what, const struct counts *counts)
{
    printf("%s: %zu flips refused, %zu load the same model\n", what, counts->refused, counts->same);
    ck_assert_uint_gt(counts->refused, 0);
}

START_TEST(safetensors_header_is_refused_or_the_same_model_when_a_bit_flips)
{
    const struct golden_options options = {.has_block_0_value = true, .has_time_state = true};
    size_t byte_count;
    uint64_t header_bytes;
    struct counts counts = {0};
    open_original(&options);
    unsigned char *bytes = golden_model_bytes(&options, &byte_count);
    memcpy(&header_bytes, bytes, sizeof(header_bytes));
    ck_assert_int_eq(try_open(bytes, byte_count), SAME);
    flip_all("safetensors", bytes, byte_count, 0, 8 + (size_t)header_bytes, &counts);
    report("safetensors header", &counts);
    free(bytes);
    golden_model_close(&original);
}
END_TEST

START_TEST(web_rwkv_header_is_refused_or_the_same_model_when_a_bit_flips)
{
    size_t byte_count;
    uint64_t header_bytes;
    struct counts counts = {0};
    open_original(&(struct golden_options){.type = TENSOR_F16});
    unsigned char *bytes = golden_web_rwkv_bytes(false, &byte_count);
    memcpy(&header_bytes, bytes, sizeof(header_bytes));
    ck_assert_int_eq(try_open(bytes, byte_count), SAME);
    flip_all("web-rwkv", bytes, byte_count, 0, 8 + (size_t)header_bytes, &counts);
    report("web-rwkv header", &counts);
    free(bytes);
    golden_model_close(&original);
}
END_TEST

static size_t find_last(const unsigned char *bytes, size_t byte_count, const char *magic)
{
    for (size_t at = byte_count - 4; at > 0; at--) {
        if (memcmp(bytes + at, magic, 4) == 0) {
            return at;
        }
    }
    ck_abort_msg("no such record");
    return 0;
}

/* The first central header: nothing of the weights looks like one, the directory is at the end. */
static size_t find_directory(const unsigned char *bytes, size_t byte_count)
{
    const size_t end = find_last(bytes, byte_count, "PK\x05\x06");
    uint32_t offset;
    memcpy(&offset, bytes + end + 16, sizeof(offset));
    if (offset != UINT32_MAX) {
        return offset;
    }
    uint64_t offset64;
    memcpy(&offset64, bytes + find_last(bytes, end, "PK\x06\x06") + 48, sizeof(offset64));
    return (size_t)offset64;
}

static const struct golden_pth_options pth_kinds[] = {
    {.alignment = 64},
    {.is_zip64 = true, .has_transposed_matrix = true},
    {.is_plain_zip = true},
    {.shares_storage = true, .has_parameters = true},
};

enum { PTH_KIND_COUNT = sizeof(pth_kinds) / sizeof(pth_kinds[0]) };

START_TEST(zip_directory_is_refused_or_the_same_model_when_a_bit_flips)
{
    const struct golden_pth_options *options = &pth_kinds[_i];
    size_t byte_count;
    struct counts counts = {0};
    open_original(&options->model);
    unsigned char *bytes = golden_pth_bytes(options, &byte_count);
    ck_assert_int_eq(try_open(bytes, byte_count), SAME);
    flip_all("zip directory", bytes, byte_count, find_directory(bytes, byte_count), byte_count,
             &counts);
    report("zip directory", &counts);
    free(bytes);
    golden_model_close(&original);
}
END_TEST

/* Of the entries themselves: what is before and behind each one's data. */
START_TEST(zip_entry_headers_are_refused_or_the_same_model_when_a_bit_flips)
{
    const struct golden_pth_options *options = &pth_kinds[_i];
    size_t byte_count;
    struct counts counts = {0};
    open_original(&options->model);
    unsigned char *bytes = golden_pth_bytes(options, &byte_count);
    const size_t directory = find_directory(bytes, byte_count);
    size_t header_count = 0;
    for (size_t at = 0; at + 30 < directory; at++) {
        if (memcmp(bytes + at, "PK\x03\x04", 4) == 0) {
            uint16_t name_bytes;
            memcpy(&name_bytes, bytes + at + 26, sizeof(name_bytes));
            /* Every fifth entry: they are alike. The 16 bytes before are a descriptor, mostly. */
            if (header_count % 5 == 0) {
                flip_all("zip entry", bytes, byte_count,
                         at < 16 || options->is_plain_zip ? at : at - 16, at + 30 + name_bytes,
                         &counts);
            }
            header_count++;
        }
    }
    ck_assert_uint_ge(header_count, 6);
    report("zip entries", &counts);
    free(bytes);
    golden_model_close(&original);
}
END_TEST

/* Its CRC-32 sees every flip. */
START_TEST(pickle_is_refused_when_a_bit_flips)
{
    const struct golden_pth_options *options = &pth_kinds[_i];
    size_t byte_count;
    struct counts counts = {0};
    open_original(&options->model);
    unsigned char *bytes = golden_pth_bytes(options, &byte_count);
    uint16_t name_bytes;
    uint16_t extra_bytes;
    uint32_t pickle_bytes;
    memcpy(&name_bytes, bytes + 26, sizeof(name_bytes));
    memcpy(&extra_bytes, bytes + 28, sizeof(extra_bytes));
    const size_t begin = 30 + (size_t)name_bytes + extra_bytes;
    /* The size is in the descriptor, or in the header. */
    if (options->is_plain_zip) {
        memcpy(&pickle_bytes, bytes + 22, sizeof(pickle_bytes));
    } else {
        const unsigned char *end = memmem(bytes + begin, byte_count - begin, "PK\x07\x08", 4);
        pickle_bytes = (uint32_t)(end - bytes - (ptrdiff_t)begin);
    }
    ck_assert_int_eq(bytes[begin], 0x80);
    ck_assert_int_eq(bytes[begin + pickle_bytes - 1], '.');
    flip_all("data.pkl", bytes, byte_count, begin, begin + pickle_bytes, &counts);
    report("data.pkl", &counts);
    ck_assert_uint_eq(counts.same, 0);
    free(bytes);
    golden_model_close(&original);
}
END_TEST

/* Cuts a copy of exact size, so that a sanitizer sees a read behind it. */
static void assert_cut_refused(const unsigned char *bytes, size_t cut)
{
    unsigned char *exact = malloc(cut + (cut == 0));
    memcpy(exact, bytes, cut);
    ck_assert_msg(try_open(exact, cut) == REFUSED, "cut to %zu bytes, and loaded", cut);
    free(exact);
}

static void cut_everywhere(const unsigned char *bytes, size_t byte_count)
{
    struct model_file *file = NULL;
    struct error error = {0};
    uint32_t seed = 7;
    ck_assert_int_eq(model_file_open_memory(bytes, byte_count, "golden", &file, &error),
                     ERROR_NONE);
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        const struct tensor *tensor = model_file_tensor_at(file, index);
        const unsigned char *data = tensor->data;
        if (data < bytes || data >= bytes + byte_count) {
            continue; /* A copy. */
        }
        assert_cut_refused(bytes, (size_t)(data - bytes));
        if ((size_t)(data - bytes) + tensor->bytes < byte_count) {
            assert_cut_refused(bytes, (size_t)(data - bytes) + tensor->bytes);
        }
    }
    model_file_close(file);
    for (size_t index = 0; index < CUT_COUNT; index++) {
        seed = 1664525u * seed + 1013904223u;
        assert_cut_refused(bytes, (size_t)((uint64_t)seed * byte_count >> 32));
    }
    for (size_t cut = 1; cut <= 100; cut++) {
        assert_cut_refused(bytes, byte_count - cut);
    }
}

START_TEST(every_file_is_refused_when_it_is_cut)
{
    size_t byte_count;
    unsigned char *bytes = golden_model_bytes(&(struct golden_options){0}, &byte_count);
    cut_everywhere(bytes, byte_count);
    free(bytes);
    bytes = golden_web_rwkv_bytes(true, &byte_count);
    cut_everywhere(bytes, byte_count);
    free(bytes);
    for (size_t kind = 0; kind < PTH_KIND_COUNT; kind++) {
        bytes = golden_pth_bytes(&pth_kinds[kind], &byte_count);
        cut_everywhere(bytes, byte_count);
        free(bytes);
    }
}
END_TEST

/* As many tensors as a header of the largest size can name: 28 MB would be 100,000 of them. */
START_TEST(memory_stays_bounded_when_a_header_names_very_many_tensors)
{
    static const char entry[] =
        "\"%05x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[%u,%u]},";
    const size_t capacity = 16 << 20;
    char *bytes = malloc(capacity + 8);
    for (uint32_t count = 1000; count <= 250000; count += 62250) {
        size_t len = 8;
        bytes[len++] = '{';
        for (uint32_t index = 0; index < count; index++) {
            len += (size_t)snprintf(bytes + len, capacity + 8 - len, entry, index, 0u, 4u);
        }
        bytes[len - 1] = '}';
        const uint64_t header_bytes = len - 8;
        memcpy(bytes, &header_bytes, sizeof(header_bytes));
        ck_assert_int_eq(try_open(bytes, len), REFUSED);
    }
    memset(bytes + 8, '{', capacity);
    const uint64_t header_bytes = capacity;
    memcpy(bytes, &header_bytes, sizeof(header_bytes));
    bytes[9] = '"';
    ck_assert_int_eq(try_open(bytes, capacity + 8), REFUSED);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("damaged model files");
    TCase *tests = tcase_create("damage");
    tcase_set_timeout(tests, 900);
    tcase_add_test(tests, safetensors_header_is_refused_or_the_same_model_when_a_bit_flips);
    tcase_add_test(tests, web_rwkv_header_is_refused_or_the_same_model_when_a_bit_flips);
    tcase_add_loop_test(tests, zip_directory_is_refused_or_the_same_model_when_a_bit_flips, 0,
                        PTH_KIND_COUNT);
    tcase_add_loop_test(tests, zip_entry_headers_are_refused_or_the_same_model_when_a_bit_flips, 0,
                        PTH_KIND_COUNT);
    tcase_add_loop_test(tests, pickle_is_refused_when_a_bit_flips, 0, PTH_KIND_COUNT);
    tcase_add_test(tests, every_file_is_refused_when_it_is_cut);
    tcase_add_test(tests, memory_stays_bounded_when_a_header_names_very_many_tensors);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
