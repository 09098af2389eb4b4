/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a weight file is untrusted input; a lie in its header must not become a bad pointer.
 * Shown by: small files, each with one lie, refused with the message that names it; what else a
 * file may be by mistake; and a real one found, read and mapped. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model_file.h"
#include "tests/fakes/golden_model.h"

/* A file in memory: the length, a header, data_bytes of zeros. Borrowed until the next call. */
static const unsigned char *make_file(const char *header, size_t data_bytes, size_t *bytes_out)
{
    static unsigned char *bytes;
    const uint64_t header_bytes = strlen(header);
    free(bytes);
    *bytes_out = 8 + header_bytes + data_bytes;
    bytes = calloc(1, *bytes_out);
    memcpy(bytes, &header_bytes, 8);
    memcpy(bytes + 8, header, header_bytes);
    return bytes;
}

/* Opens bytes that must be refused; the message must contain `part`, and name the file. */
static void assert_refused(const void *bytes, size_t byte_count, const char *part)
{
    struct model_file *file = NULL;
    struct error error = {0};
    /* A copy of the exact size, so that a sanitizer sees a read past the end. */
    void *exact = malloc(byte_count + (byte_count == 0));
    memcpy(exact, bytes, byte_count);
    const enum error_code code =
        model_file_open_memory(exact, byte_count, "weights.bin", &file, &error);
    ck_assert_msg(code == ERROR_CORRUPT, "expected a refusal with: %s", part);
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(error.message, part) != NULL, "\"%s\" lacks \"%s\"", error.message, part);
    ck_assert_msg(strncmp(error.message, "weights.bin: ", 13) == 0, "%s", error.message);
    free(exact);
}

static void assert_header_refused(const char *header, size_t data_bytes, const char *part)
{
    size_t byte_count;
    const unsigned char *bytes = make_file(header, data_bytes, &byte_count);
    assert_refused(bytes, byte_count, part);
}

START_TEST(model_file_names_what_a_file_is_when_it_is_no_model)
{
    static const struct {
        const char *content;
        const char *part;
    } strangers[] = {
        {"PK\x03\x04 and the rest of an archive", "truncated download"},
        {"GGUF\x03 tensors", "GGUF"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"},
        {"<!DOCTYPE html><html>", "web page"},
        {"<html><body>Not found", "web page"},
        {"\x80\x02}q\x01 a pickle of old", "pickle"},
        {"{\"model_type\": \"rwkv7\"}", "JSON text"},
        {"\n<!DOCTYPE html>", "web page"},
        {"\x1f\x8b\x08 a gzip archive", "unpack it"},
        {"this is a text file without any meaning", "neither a .pth (zip) nor a .safetensors"},
        {"abc", "not a model: neither a .pth (zip) nor a .safetensors file (3 bytes"},
        {"", "empty"},
    };
    for (size_t index = 0; index < sizeof(strangers) / sizeof(strangers[0]); index++) {
        assert_refused(strangers[index].content, strlen(strangers[index].content),
                       strangers[index].part);
    }
}
END_TEST

START_TEST(model_file_refuses_when_the_header_does_not_fit)
{
    size_t byte_count;
    const unsigned char *bytes = make_file(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, &byte_count);
    for (size_t cut = 0; cut < byte_count; cut++) {
        struct model_file *file = NULL;
        struct error error = {0};
        void *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        ck_assert_int_eq(model_file_open_memory(exact, cut, "cut", &file, &error), ERROR_CORRUPT);
        free(exact);
    }
    unsigned char huge[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '"'};
    assert_refused(huge, sizeof(huge), "at most 16777216");
    const uint64_t at_limit = LIMIT_SAFETENSORS_HEADER_BYTES;
    memcpy(huge, &at_limit, sizeof(at_limit));
    assert_refused(huge, sizeof(huge), "truncated");
    const uint64_t past_limit = at_limit + 1;
    memcpy(huge, &past_limit, sizeof(past_limit));
    assert_refused(huge, sizeof(huge), "at most 16777216");
}
END_TEST

#define PLAIN "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

START_TEST(model_file_refuses_when_the_header_is_no_object_of_tensors)
{
    assert_header_refused("{\"a\":1,}", 0, "tensor a: not an object");
    assert_header_refused(PLAIN "{}", 4, "not one JSON object");
    assert_header_refused(PLAIN "x", 4, "not one JSON object");
    assert_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]", 4,
                          "not one JSON object");
    assert_header_refused("{\"a\":{}}", 0, "not one JSON object");
    assert_header_refused("{\"a\":{\"dtype\":\"F32\",\"device\":0}}", 0, "a: unknown key device");
    assert_header_refused("{\"__metadata__\":{\"format\":\"pt\"]}", 0, "not one JSON object");
    assert_header_refused("{}", 0, "without a tensor");
    assert_header_refused("{\"__metadata__\":{\"format\":\"pt\"}}", 0, "no tensor");
    assert_header_refused("{\"a\":[1,2]}", 0, "tensor a: not an object");
    assert_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[[[1]]]}}", 0,
                          "whole number");
    assert_header_refused("{\"a\\nb\":{\"dtype\":\"F32\"}}", 0, "tensor a\\nb: the name");
    assert_header_refused("{\"\":{\"dtype\":\"F32\"}}", 0, "printing ASCII");
}
END_TEST

START_TEST(model_file_refuses_when_a_tensor_lies)
{
#define ONE(dtype, shape, offsets)                                                          \
    "{\"t.x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    assert_header_refused(ONE("\"I64\"", "[1]", "[0,8]"), 8, "tensor t.x: dtype I64, supported");
    assert_header_refused(ONE("\"bf16\"", "[1]", "[0,2]"), 2, "dtype bf16");
    assert_header_refused(ONE("7", "[1]", "[0,4]"), 4, "no dtype");
    assert_header_refused(ONE("\"F32\"", "3", "[0,4]"), 4, "no shape");
    assert_header_refused(ONE("\"F32\"", "[-1]", "[0,4]"), 4, "whole number");
    assert_header_refused(ONE("\"F32\"", "[1.5]", "[0,4]"), 4, "whole number");
    assert_header_refused(ONE("\"F32\"", "[1e30]", "[0,4]"), 4, "whole number");
    assert_header_refused(ONE("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "dimensions");
    assert_header_refused(ONE("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4, "64 bits");
    assert_header_refused(ONE("\"F32\"", "[4611686018427387904]", "[0,4]"), 4, "whole number");
    assert_header_refused(ONE("\"F32\"", "[1]", "[0,8]"), 8, "8 bytes, shape and dtype need 4");
    assert_header_refused(ONE("\"F32\"", "[1]", "[4,0]"), 4, "ends before");
    assert_header_refused(ONE("\"F32\"", "[1]", "[0]"), 4, "data_offsets is not");
    assert_header_refused(ONE("\"F32\"", "[1]", "[0,4,8]"), 4, "data_offsets is not");
    assert_header_refused(ONE("\"F32\"", "[1]", "[-4,0]"), 4, "data_offsets is not");
    assert_header_refused(ONE("\"F32\"", "[1]", "[0,1e400]"), 4, "data_offsets is not");
    assert_header_refused(ONE("\"F32\"", "[2]", "[0,8]"), 7, "truncated");
    assert_header_refused(ONE("\"F32\"", "[1]", "[0,4]"), 5, "1 bytes after the last tensor");
    assert_header_refused(ONE("\"F32\"", "[1]", "[4,8]"), 8, "leaves a hole");
    assert_header_refused("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],"
                          "\"data_offsets\":[0,4]}}",
                          4, "a key comes twice");
#undef ONE
}
END_TEST

#define TWO(name, begin, end)                                                               \
    "\"" name "\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[" begin "," end "]}"

START_TEST(model_file_refuses_when_tensors_overlap_or_share_a_name)
{
    assert_header_refused("{" TWO("a", "0", "4") "," TWO("b", "2", "6") "}", 6, "b: overlaps");
    assert_header_refused("{" TWO("b", "0", "4") "," TWO("a", "0", "4") "}", 4, "overlaps");
    assert_header_refused("{" TWO("a", "0", "4") "," TWO("b", "6", "10") "}", 10,
                          "b: leaves a hole");
    assert_header_refused("{" TWO("a", "0", "4") "," TWO("a", "4", "8") "}", 8,
                          "a: the name comes twice");
}
END_TEST

START_TEST(model_file_finds_tensors_when_they_are_in_any_order)
{
    size_t byte_count;
    const unsigned char *bytes =
        make_file("{ \"__metadata__\":{\"format\":\"pt\"}," TWO("b", "4", "8") "," TWO(
                      "c", "8", "12") "," TWO("a", "0", "4") "}  \n",
                  12, &byte_count);
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_msg(model_file_open_memory(bytes, byte_count, "m", &file, &error) == ERROR_NONE,
                  "%s", error.message);
    ck_assert_uint_eq(model_file_tensor_count(file), 3);
    ck_assert_str_eq(model_file_tensor_at(file, 0)->name.bytes, "b");
    ck_assert_str_eq(model_file_name(file), "m");
    ck_assert_uint_eq(model_file_bytes(file), byte_count);
    const unsigned char *data = bytes + byte_count - 12;
    ck_assert_ptr_eq(model_file_find(file, "a")->data, data);
    ck_assert_ptr_eq(model_file_find(file, "b")->data, data + 4);
    ck_assert_ptr_eq(model_file_find(file, "c")->data, data + 8);
    ck_assert_uint_eq(model_file_find(file, "c")->dimension_count, 1);
    ck_assert_uint_eq(model_file_find(file, "c")->bytes, 4);
    ck_assert_ptr_null(model_file_find(file, "bb"));
    ck_assert_ptr_null(model_file_find(file, ""));
    model_file_close(file);
}
END_TEST

START_TEST(tensor_element_widens_every_type_when_read)
{
    const uint16_t bf16[] = {0x3f80, 0xc000, 0x0000, 0x7f80};
    const uint16_t f16[] = {0x3c00, 0xc000, 0x0001, 0x7c00};
    const float f32[] = {1.5f, -0.25f};
    unsigned char unaligned[9];
    struct tensor tensor = {.type = TENSOR_BF16, .data = bf16, .bytes = sizeof(bf16)};
    ck_assert_uint_eq(tensor_element_count(&tensor), 4);
    ck_assert(tensor_element(&tensor, 0) == 1.0f && tensor_element(&tensor, 1) == -2.0f);
    ck_assert(tensor_element(&tensor, 3) > 3e38f);
    tensor = (struct tensor){.type = TENSOR_F16, .data = f16, .bytes = sizeof(f16)};
    ck_assert(tensor_element(&tensor, 0) == 1.0f && tensor_element(&tensor, 1) == -2.0f);
    ck_assert(tensor_element(&tensor, 2) == 0x1p-24f && tensor_element(&tensor, 3) > 3e38f);
    memcpy(unaligned + 1, f32, sizeof(f32));
    tensor = (struct tensor){.type = TENSOR_F32, .data = unaligned + 1, .bytes = sizeof(f32)};
    ck_assert_uint_eq(tensor_element_count(&tensor), 2);
    ck_assert(tensor_element(&tensor, 0) == 1.5f && tensor_element(&tensor, 1) == -0.25f);
}
END_TEST

static void on_progress(void *context, size_t done_bytes, size_t total_bytes)
{
    size_t *last = context;
    ck_assert_uint_gt(done_bytes, *last);
    ck_assert_uint_le(done_bytes, total_bytes);
    *last = done_bytes;
}

START_TEST(model_file_maps_a_file_when_opened_by_path)
{
    size_t byte_count;
    void *bytes = golden_model_bytes(&(struct golden_options){0}, &byte_count);
    char path[] = "/tmp/skein-test-model-XXXXXX";
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(write(descriptor, bytes, byte_count), (ssize_t)byte_count);
    close(descriptor);
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_int_eq(model_file_open(path, &file, &error), ERROR_NONE);
    ck_assert_uint_eq(model_file_tensor_count(file), 69);
    ck_assert(tensor_element(model_file_find(file, "emb.weight"), 0) == 0.578125f);
    ck_assert(tensor_element(model_file_find(file, "blocks.0.att.w0"), 3) == -5.0f);
    size_t populated_bytes = 0;
    model_file_populate(file, on_progress, &populated_bytes);
    ck_assert(populated_bytes == 0 || populated_bytes == byte_count);
    model_file_close(file);
    ck_assert_int_eq(truncate(path, 1000), 0);
    ck_assert_int_eq(model_file_open(path, &file, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "truncated"));
    unlink(path);
    free(bytes);
}
END_TEST

START_TEST(model_file_says_why_when_a_path_cannot_be_opened)
{
    struct model_file *file = NULL;
    struct error error = {0};
    ck_assert_int_eq(model_file_open("/no/such/file", &file, &error), ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.message, "/no/such/file: "));
    ck_assert_int_eq(model_file_open("/tmp", &file, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "directory"));
    ck_assert_int_eq(model_file_open("/dev/null", &file, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "regular"));
    model_file_close(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model file");
    TCase *tests = tcase_create("safetensors");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, model_file_names_what_a_file_is_when_it_is_no_model);
    tcase_add_test(tests, model_file_refuses_when_the_header_does_not_fit);
    tcase_add_test(tests, model_file_refuses_when_the_header_is_no_object_of_tensors);
    tcase_add_test(tests, model_file_refuses_when_a_tensor_lies);
    tcase_add_test(tests, model_file_refuses_when_tensors_overlap_or_share_a_name);
    tcase_add_test(tests, model_file_finds_tensors_when_they_are_in_any_order);
    tcase_add_test(tests, tensor_element_widens_every_type_when_read);
    tcase_add_test(tests, model_file_maps_a_file_when_opened_by_path);
    tcase_add_test(tests, model_file_says_why_when_a_path_cannot_be_opened);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
