/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: clients decide by status, type and code whether to retry; the wire shape is OpenAI's.
 * Shown by: every kind and code, the JSON byte for byte, replies before and inside a stream. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake_exchange.h"
#include "server/openai_error.h"

static const struct {
    enum openai_error_kind kind;
    unsigned status;
    const char *type, *code;
    bool retries;
} kinds[] = {
    {OPENAI_ERROR_INVALID_REQUEST, 400, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_INVALID_KEY, 401, "invalid_request_error", "invalid_api_key", false},
    {OPENAI_ERROR_ROUTE_NOT_FOUND, 404, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_MODEL_NOT_FOUND, 404, "invalid_request_error", "model_not_found", false},
    {OPENAI_ERROR_METHOD, 405, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_LENGTH_REQUIRED, 411, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_BODY_TOO_LARGE, 413, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_CONTENT_TYPE, 415, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_EXPECTATION, 417, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_MISDIRECTED, 421, "invalid_request_error", NULL, false},
    {OPENAI_ERROR_INTERNAL, 500, "server_error", NULL, false},
    {OPENAI_ERROR_OVERLOADED, 503, "unavailable_error", "overloaded", true},
    {OPENAI_ERROR_UNAVAILABLE, 503, "unavailable_error", "unavailable", true},
    {OPENAI_ERROR_TIMEOUT, 504, "server_error", "timeout", false},
    {OPENAI_ERROR_HTTP_VERSION, 505, "invalid_request_error", NULL, false},
};

static void assert_text_or_null(const char *value, const char *expected)
{
    ck_assert_int_eq(value == NULL, expected == NULL);
    if (expected != NULL) {
        ck_assert_str_eq(value, expected);
    }
}

START_TEST(openai_error_has_status_and_type_when_set_by_kind)
{
    struct openai_error error;
    openai_error_set(&error, kinds[_i].kind, NULL, "%d", 7);
    ck_assert_uint_eq(error.status, kinds[_i].status);
    ck_assert_str_eq(error.type, kinds[_i].type);
    assert_text_or_null(error.code, kinds[_i].code);
    ck_assert_int_eq(error.retry_after_s > 0, kinds[_i].retries);
    ck_assert_str_eq(error.message, "7");
    ck_assert_str_eq(error.param, "");
}
END_TEST

static const struct {
    enum error_code code;
    unsigned status;
    const char *wire_code;
} codes[] = {
    {ERROR_INVALID_ARGUMENT, 400, NULL},
    {ERROR_TOO_LARGE, 400, NULL},
    {ERROR_NOT_FOUND, 404, "model_not_found"},
    {ERROR_OVERLOADED, 503, "overloaded"},
    {ERROR_TIMEOUT, 503, "overloaded"},
    {ERROR_CANCELLED, 503, "unavailable"},
    {ERROR_DEVICE, 503, "unavailable"},
    {ERROR_SHUTTING_DOWN, 503, "unavailable"},
    {ERROR_IO, 500, NULL},
    {ERROR_CORRUPT, 500, NULL},
    {ERROR_OUT_OF_MEMORY, 500, NULL},
};

START_TEST(openai_error_has_a_status_when_set_from_a_code)
{
    struct openai_error error;
    openai_error_from_code(&error, codes[_i].code, "why");
    ck_assert_uint_eq(error.status, codes[_i].status);
    assert_text_or_null(error.code, codes[_i].wire_code);
    ck_assert_str_eq(error.message, "why");
    openai_error_from_code(&error, codes[_i].code, NULL);
    ck_assert_str_eq(error.message, error_code_text(codes[_i].code));
}
END_TEST

START_TEST(openai_error_body_has_all_keys_when_some_are_null)
{
    struct openai_error error;
    char body[OPENAI_ERROR_BODY_BYTES];
    openai_error_set(&error, OPENAI_ERROR_INVALID_REQUEST, NULL, "bad \"thing\"");
    body[openai_error_body(&error, body, sizeof(body))] = '\0';
    ck_assert_str_eq(body, "{\"error\":{\"message\":\"bad \\\"thing\\\"\",\"type\":"
                           "\"invalid_request_error\",\"param\":null,\"code\":null}}");
    openai_error_set(&error, OPENAI_ERROR_MODEL_NOT_FOUND, "model", "none");
    body[openai_error_body(&error, body, sizeof(body))] = '\0';
    ck_assert_str_eq(body, "{\"error\":{\"message\":\"none\",\"type\":\"invalid_request_error\","
                           "\"param\":\"model\",\"code\":\"model_not_found\"}}");
}
END_TEST

START_TEST(openai_error_body_fits_when_every_byte_is_escaped)
{
    struct openai_error error;
    char body[OPENAI_ERROR_BODY_BYTES];
    char worst[2 * ERROR_MESSAGE_BYTES];
    memset(worst, 1, sizeof(worst) - 1);
    worst[sizeof(worst) - 1] = '\0';
    openai_error_set(&error, OPENAI_ERROR_MODEL_NOT_FOUND, worst, "%s", worst);
    ck_assert_uint_eq(strlen(error.message), ERROR_MESSAGE_BYTES - 1);
    ck_assert_uint_eq(strlen(error.param), OPENAI_ERROR_PARAM_BYTES - 1);
    const size_t len = openai_error_body(&error, body, sizeof(body));
    ck_assert_uint_le(len, sizeof(body));
    ck_assert_mem_eq(body + len - 2, "}}", 2);
}
END_TEST

static struct fake_exchange fake;

START_TEST(openai_error_replies_with_retry_after_when_no_stream_has_begun)
{
    struct openai_error error;
    fake_exchange_init(&fake, NULL, "");
    openai_error_set(&error, OPENAI_ERROR_OVERLOADED, NULL, "full");
    openai_error_reply(&fake.shared, &error);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_str_eq(fake.headers, "Retry-After: 1\n");
    ck_assert_ptr_nonnull(strstr(fake.body, "\"code\":\"overloaded\""));
    fake_exchange_deinit(&fake);
}
END_TEST

START_TEST(openai_error_asks_for_a_key_when_it_is_missing)
{
    struct openai_error error;
    fake_exchange_init(&fake, NULL, "");
    openai_error_set(&error, OPENAI_ERROR_INVALID_KEY, NULL, "no key");
    openai_error_reply(&fake.shared, &error);
    ck_assert_str_eq(fake.headers, "WWW-Authenticate: Bearer\n");
    fake_exchange_deinit(&fake);
}
END_TEST

START_TEST(openai_error_ends_the_stream_when_it_has_begun)
{
    struct openai_error error;
    fake_exchange_init(&fake, NULL, "");
    sse_stream_begin(&fake.shared);
    openai_error_set(&error, OPENAI_ERROR_UNAVAILABLE, NULL, "gone");
    openai_error_reply(&fake.shared, &error);
    ck_assert_uint_eq(fake.status, 200);
    ck_assert_str_eq(fake.body, "{\"error\":{\"message\":\"gone\",\"type\":\"unavailable_error\","
                                "\"param\":null,\"code\":\"unavailable\"}}\n[DONE]\n");
    fake_exchange_deinit(&fake);
}
END_TEST

START_TEST(openai_error_speaks_as_anthropic_when_the_route_does)
{
    struct openai_error error;
    fake_exchange_init(&fake, NULL, "");
    fake.shared.dialect = HTTP_DIALECT_ANTHROPIC;
    text_copy_to(TEXT("req_1"), fake.shared.request_id, sizeof(fake.shared.request_id));
    openai_error_set(&error, OPENAI_ERROR_OVERLOADED, NULL, "full");
    openai_error_reply(&fake.shared, &error);
    ck_assert_uint_eq(fake.status, 503);
    ck_assert_str_eq(fake.headers, "Retry-After: 1\n");
    ck_assert_str_eq(fake.body, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                                "\"message\":\"full\"},\"request_id\":\"req_1\"}");
    fake_exchange_deinit(&fake);
    fake_exchange_init(&fake, NULL, "");
    fake.shared.dialect = HTTP_DIALECT_ANTHROPIC;
    sse_stream_begin(&fake.shared);
    openai_error_set(&error, OPENAI_ERROR_INTERNAL, NULL, "bad");
    openai_error_reply(&fake.shared, &error);
    ck_assert_str_eq(fake.body, "error {\"type\":\"error\",\"error\":{\"type\":\"api_error\","
                                "\"message\":\"bad\"},\"request_id\":\"\"}\n");
    ck_assert(fake.stream_ended);
    fake_exchange_deinit(&fake);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_error");
    TCase *tests = tcase_create("openai_error");
    tcase_add_loop_test(tests, openai_error_has_status_and_type_when_set_by_kind, 0,
                        sizeof(kinds) / sizeof(kinds[0]));
    tcase_add_loop_test(tests, openai_error_has_a_status_when_set_from_a_code, 0,
                        sizeof(codes) / sizeof(codes[0]));
    tcase_add_test(tests, openai_error_body_has_all_keys_when_some_are_null);
    tcase_add_test(tests, openai_error_body_fits_when_every_byte_is_escaped);
    tcase_add_test(tests, openai_error_replies_with_retry_after_when_no_stream_has_begun);
    tcase_add_test(tests, openai_error_asks_for_a_key_when_it_is_missing);
    tcase_add_test(tests, openai_error_ends_the_stream_when_it_has_begun);
    tcase_add_test(tests, openai_error_speaks_as_anthropic_when_the_route_does);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
