/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the table promises a range, and the parser keeps another one.
 * Shown by: requests made from every row: both ends, one past each, other types, null. */
#include "server/openai_fields.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/limits.h"
#include "openai_case.h"

static struct openai_case server;
static struct openai_params params;
static struct openai_error error;

static void setup(void)
{
    openai_case_open(&server);
}

static void teardown(void)
{
    openai_case_close(&server);
}

static const enum openai_endpoint endpoints[] = {
    OPENAI_COMPLETIONS, OPENAI_CHAT,           OPENAI_TOKENIZE,
    OPENAI_DETOKENIZE,  OPENAI_RESPONSES,      OPENAI_RESPONSES_COUNT,
    OPENAI_MESSAGES,    OPENAI_MESSAGES_COUNT, OPENAI_TEMPLATE,
};

/* The members that a request to the endpoint must have. */
static const char *base_of(enum openai_endpoint endpoint)
{
    if (endpoint == OPENAI_COMPLETIONS || endpoint == OPENAI_TOKENIZE) {
        return "\"prompt\":\"hi\"";
    }
    if (endpoint == OPENAI_DETOKENIZE) {
        return "\"tokens\":[1]";
    }
    if (endpoint == OPENAI_RESPONSES || endpoint == OPENAI_RESPONSES_COUNT) {
        return "\"input\":\"hi\"";
    }
    return "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
}

static bool is_called(const struct openai_field *field, const char *name)
{
    return strcmp(field->name, name) == 0;
}

/* What a field needs beside it at its upper end, or always. */
static const char *companion_of(const struct openai_field *field, enum openai_endpoint endpoint)
{
    if (is_called(field, "top_logprobs") && endpoint == OPENAI_CHAT) {
        return ",\"logprobs\":true";
    }
    if (is_called(field, "min_tokens")) {
        return endpoint == OPENAI_RESPONSES ? ",\"max_output_tokens\":1000"
                                            : ",\"max_tokens\":1000";
    }
    const bool needs_length = endpoint == OPENAI_MESSAGES && !is_called(field, "max_tokens");
    return needs_length ? ",\"max_tokens\":5" : "";
}

static bool read_field(const struct openai_field *field, enum openai_endpoint endpoint,
                       const char *value)
{
    char json[1024];
    snprintf(json, sizeof(json), "{%s%s,\"%s\":%s}", base_of(endpoint),
             companion_of(field, endpoint), field->name, value);
    const struct text body = openai_case_body(&server, text_from(json));
    return openai_params_read(endpoint, body, &server.options, &server.arena, &params, &error);
}

static void accept(const struct openai_field *field, enum openai_endpoint endpoint,
                   const char *value)
{
    ck_assert_msg(read_field(field, endpoint, value), "%s = %s: %s", field->name, value,
                  error.message);
}

static void refuse(const struct openai_field *field, enum openai_endpoint endpoint,
                   const char *value)
{
    ck_assert_msg(!read_field(field, endpoint, value), "%s = %s was accepted", field->name, value);
    ck_assert_uint_eq(error.status, 400);
    ck_assert_str_eq(error.param, field->name);
}

static void refuse_types(const struct openai_field *field, enum openai_endpoint endpoint,
                         const char *allowed)
{
    static const char *const values[] = {"true", "0", "\"x\"", "[]", "{}"};
    for (size_t index = 0; index < sizeof(values) / sizeof(values[0]); index++) {
        if (strcmp(values[index], allowed) != 0) {
            refuse(field, endpoint, values[index]);
        }
    }
}

static void check_number(const struct openai_field *field, enum openai_endpoint endpoint)
{
    const double min = openai_fields_number(field->min, &server.options);
    const double max = openai_fields_number(field->max, &server.options);
    const double step = field->type == OPENAI_FIELD_REAL ? 0.001 : 1;
    char value[64];
    ck_assert_msg(min <= max, "%s", field->name);
    if (!is_called(field, "best_of")) { /* Only n's value is accepted. */
        snprintf(value, sizeof(value), "%.17g", min);
        accept(field, endpoint, value);
        snprintf(value, sizeof(value), "%.17g", max);
        accept(field, endpoint, value);
    }
    snprintf(value, sizeof(value), "%.17g", min - step);
    refuse(field, endpoint, value);
    snprintf(value, sizeof(value), "%.17g", max + step);
    refuse(field, endpoint, value);
    snprintf(value, sizeof(value), "%.17g", min + 0.5);
    if (field->type != OPENAI_FIELD_REAL && max > min) {
        refuse(field, endpoint, value);
    }
    refuse_types(field, endpoint, "0");
}

static void check_field(const struct openai_field *field, enum openai_endpoint endpoint)
{
    const bool required = strstr(base_of(endpoint), field->name) != NULL ||
                          (endpoint == OPENAI_MESSAGES && is_called(field, "max_tokens"));
    if (!required) {
        accept(field, endpoint, "null");
    }
    switch (field->type) {
    case OPENAI_FIELD_BOOL:
        accept(field, endpoint, "true");
        accept(field, endpoint, "false");
        refuse_types(field, endpoint, "true");
        break;
    case OPENAI_FIELD_INTEGER:
    case OPENAI_FIELD_OPTIONAL:
    case OPENAI_FIELD_REAL:
        check_number(field, endpoint);
        break;
    case OPENAI_FIELD_REFUSED:
        accept(field, endpoint, "[]");
        accept(field, endpoint, "\"\"");
        accept(field, endpoint, "false");
        refuse(field, endpoint, "true");
        refuse(field, endpoint, "{}");
        refuse(field, endpoint, "[1]");
        break;
    case OPENAI_FIELD_IGNORED:
        accept(field, endpoint, "{\"any\":[1]}");
        accept(field, endpoint, "5");
        break;
    case OPENAI_FIELD_OWN: /* By their schemas, in tests/e2e/test_fields.py. */
        ck_assert(field->read != NULL);
        break;
    }
}

START_TEST(openai_fields_keep_their_range_when_read)
{
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        ck_assert_uint_ne(field->endpoints, 0);
        for (size_t each = 0; each < sizeof(endpoints) / sizeof(endpoints[0]); each++) {
            if ((field->endpoints & endpoints[each]) != 0) {
                check_field(field, endpoints[each]);
            }
        }
    }
}
END_TEST

/* A fallback is in range: the document and the README show it. */
START_TEST(openai_fields_have_defaults_that_are_allowed)
{
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        ck_assert_ptr_nonnull(field->help);
        if (field->type == OPENAI_FIELD_INTEGER || field->type == OPENAI_FIELD_REAL) {
            const double value = openai_fields_number(field->fallback, &server.options);
            ck_assert_msg(value >= openai_fields_number(field->min, &server.options) &&
                              value <= openai_fields_number(field->max, &server.options),
                          "%s", field->name);
        }
    }
}
END_TEST

START_TEST(openai_fields_have_schemas_that_are_json)
{
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        const bool has_schema =
            field->type == OPENAI_FIELD_OWN || field->type == OPENAI_FIELD_REFUSED;
        ck_assert_msg((field->schema != NULL) == has_schema, "%s", field->name);
        if (has_schema) {
            ck_assert_ptr_nonnull(field->shape);
            cJSON *schema = cJSON_Parse(field->schema);
            ck_assert_msg(cJSON_IsObject(schema), "%s: %s", field->name, field->schema);
            cJSON_Delete(schema);
        }
    }
}
END_TEST

static void assert_schema_says(const char *field_name, const char *words, int limit)
{
    char expected[128];
    snprintf(expected, sizeof(expected), "\"%s\":%d", words, limit);
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if (is_called(field, field_name) && (field->endpoints & OPENAI_CHAT) != 0) {
            ck_assert_msg(strstr(field->schema, expected) != NULL, "%s", field->schema);
        }
    }
}

START_TEST(openai_fields_name_the_limits_of_the_program)
{
    assert_schema_says("messages", "maxItems", LIMIT_MESSAGES);
    assert_schema_says("stop", "maxItems", LIMIT_STOP_STRINGS);
    assert_schema_says("stop", "maxLength", LIMIT_STOP_STRING_BYTES);
    assert_schema_says("stop_token_ids", "maxItems", LIMIT_STOP_TOKENS);
    assert_schema_says("logit_bias", "maxProperties", LIMIT_LOGIT_BIAS);
}
END_TEST

START_TEST(openai_fields_name_the_option_when_the_operator_decides)
{
    ck_assert_ptr_null(openai_fields_option((struct openai_number){0}));
    ck_assert_str_eq(
        openai_fields_option((struct openai_number){.source = OPENAI_NUMBER_MAX_N}), "--max-n");
    server.config.max_tokens_limit = 10;
    const struct openai_number few = {.source = OPENAI_NUMBER_FEW_TOKENS, .value = 16};
    ck_assert_double_eq(openai_fields_number(few, &server.options), 10);
    const struct openai_number chat = {.source = OPENAI_NUMBER_CHAT_TOKENS};
    ck_assert_double_eq(openai_fields_number(chat, &server.options), 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_fields");
    TCase *tests = tcase_create("openai_fields");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, openai_fields_keep_their_range_when_read);
    tcase_add_test(tests, openai_fields_have_defaults_that_are_allowed);
    tcase_add_test(tests, openai_fields_have_schemas_that_are_json);
    tcase_add_test(tests, openai_fields_name_the_limits_of_the_program);
    tcase_add_test(tests, openai_fields_name_the_option_when_the_operator_decides);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
