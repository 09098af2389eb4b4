/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a conversation continued from the wrong state answers fluently and wrongly. Shown by:
 * every bit of the header flipped, bits of the payload flipped, other lengths, another model: all
 * refused, with the field named; an untouched snapshot is taken. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/state_snapshot.h"
#include "tests/fakes/golden_model.h"

struct sealed {
    struct golden_model model;
    unsigned char *bytes;
    size_t byte_count;
};

static void sealed_open(struct sealed *sealed)
{
    golden_model_open(&sealed->model, &(struct golden_options){0});
    sealed->byte_count = state_snapshot_bytes(&sealed->model.spec);
    sealed->bytes = malloc(sealed->byte_count);
    float *payload = state_snapshot_payload(sealed->bytes);
    for (size_t index = 0; index < model_spec_state_floats(&sealed->model.spec); index++) {
        payload[index] = (float)index * 0.5f;
    }
    state_snapshot_seal(sealed->bytes, &sealed->model.spec, 1234567890123);
}

static void sealed_close(struct sealed *sealed)
{
    free(sealed->bytes);
    golden_model_close(&sealed->model);
}

static enum error_code check(const struct sealed *sealed, size_t byte_count, struct error *error)
{
    const void *payload = NULL;
    uint64_t token_count = 0;
    return state_snapshot_check(sealed->bytes, byte_count, &sealed->model.spec, &payload,
                                &token_count, error);
}

START_TEST(state_snapshot_gives_payload_and_count_when_sound)
{
    struct sealed sealed;
    sealed_open(&sealed);
    const void *payload = NULL;
    uint64_t token_count = 0;
    struct error error = {0};
    ck_assert_uint_eq(sealed.byte_count, 64 + 67584);
    ck_assert_int_eq(state_snapshot_check(sealed.bytes, sealed.byte_count, &sealed.model.spec,
                                          &payload, &token_count, &error),
                     ERROR_NONE);
    ck_assert_ptr_eq(payload, sealed.bytes + 64);
    ck_assert_uint_eq(token_count, 1234567890123);
    sealed_close(&sealed);
}
END_TEST

START_TEST(state_snapshot_refuses_when_any_bit_of_the_header_differs)
{
    struct sealed sealed;
    sealed_open(&sealed);
    for (size_t bit = 0; bit < sizeof(struct state_snapshot_header) * 8; bit++) {
        struct error error = {0};
        sealed.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_CORRUPT);
        sealed.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    struct error error = {0};
    ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_NONE);
    sealed_close(&sealed);
}
END_TEST

START_TEST(state_snapshot_refuses_when_the_payload_differs)
{
    struct sealed sealed;
    sealed_open(&sealed);
    for (size_t at = 64; at < sealed.byte_count; at += 4999) {
        struct error error = {0};
        sealed.bytes[at] ^= 4;
        ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(error.message, "payload_crc32"));
        sealed.bytes[at] ^= 4;
    }
    sealed_close(&sealed);
}
END_TEST

START_TEST(state_snapshot_refuses_when_the_length_differs)
{
    struct sealed sealed;
    sealed_open(&sealed);
    const size_t lengths[] = {0, 8, 63, 64, sealed.byte_count - 1, sealed.byte_count + 1};
    for (size_t index = 0; index < sizeof(lengths) / sizeof(lengths[0]); index++) {
        struct error error = {0};
        ck_assert_int_eq(check(&sealed, lengths[index], &error), ERROR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(error.message, "length"));
    }
    sealed_close(&sealed);
}
END_TEST

START_TEST(state_snapshot_refuses_when_it_is_of_another_model)
{
    struct sealed sealed;
    sealed_open(&sealed);
    const struct model_spec own = sealed.model.spec;
    struct error error = {0};
    sealed.model.spec.fingerprint ^= 1; /* Same shapes, other weights. */
    ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "model fingerprint"));
    sealed.model.spec = own;
    sealed.model.spec.L = 3;
    ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_CORRUPT);
    ck_assert_str_eq(error.message, "state snapshot: L is 2, expected 3");
    sealed.model.spec = own;
    sealed.bytes[0] = 'X';
    ck_assert_int_eq(check(&sealed, sealed.byte_count, &error), ERROR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.message, "SKEINST1"));
    sealed_close(&sealed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state snapshot");
    TCase *tests = tcase_create("snapshot");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, state_snapshot_gives_payload_and_count_when_sound);
    tcase_add_test(tests, state_snapshot_refuses_when_any_bit_of_the_header_differs);
    tcase_add_test(tests, state_snapshot_refuses_when_the_payload_differs);
    tcase_add_test(tests, state_snapshot_refuses_when_the_length_differs);
    tcase_add_test(tests, state_snapshot_refuses_when_it_is_of_another_model);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
