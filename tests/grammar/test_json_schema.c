/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a schema means what it says, or is refused with the place that is at fault.
 * Shown by: both sides of limits and formatting rules; a table of refusals. What jsonschema says to
 * the same texts is compared in differential.py. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar_case.h"

#define OBJECT(properties, required)                                                               \
    "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required                 \
    "],\"additionalProperties\":false}"

static void accepts(const char *schema, const char *const *texts)
{
    grammar_case_check_schema(schema, GRAMMAR_ACCEPTED, texts);
}

static void refuses(const char *schema, const char *const *texts)
{
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, texts);
}

START_TEST(json_schema_bounds_white_space_between_tokens)
{
    char text[160];
    for (int count = GRAMMAR_WHITE_SPACE_MAX; count <= GRAMMAR_WHITE_SPACE_MAX + 1; count++) {
        const enum grammar_verdict verdict =
            count <= GRAMMAR_WHITE_SPACE_MAX ? GRAMMAR_ACCEPTED : GRAMMAR_REFUSED;
        static const char *const forms[] = {"%*s[1]", "[%*s1]", "[1%*s]", "[1,%*s2]", "[%*s]"};
        for (size_t form = 0; form < sizeof(forms) / sizeof(forms[0]); form++) {
            snprintf(text, sizeof(text), forms[form], count, "");
            grammar_case_check_schema("{\"type\":\"array\"}", verdict, GRAMMAR_TEXTS(text));
        }
    }
    refuses("{\"type\":\"array\"}", GRAMMAR_TEXTS("[] ", "[1]\n"));
    refuses("{\"type\":\"integer\"}", GRAMMAR_TEXTS("1 ", "- 1", "\v1"));
}
END_TEST

START_TEST(json_schema_takes_compact_json_only_when_told)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = TEXT(OBJECT("\"a\":{\"type\":\"array\"}", "\"a\""))};
    const struct grammar_options options = {.white_space_max = 0};
    struct grammar *grammar = grammar_case_compile(&part, &options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("{\"a\":[1,2]}"));
    grammar_case_check(grammar, GRAMMAR_REFUSED,
                       GRAMMAR_TEXTS(" {", "{ ", "{\"a\" ", "{\"a\": ", "{\"a\":[1, "));
    grammar_release(grammar);
}
END_TEST

START_TEST(json_schema_takes_properties_in_any_order_once)
{
    const char *schema =
        OBJECT("\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"},\"ab\":{\"type\":\"null\"}",
               "\"a\",\"ab\"");
    accepts(schema, GRAMMAR_TEXTS("{\"a\":null,\"ab\":null}", "{\"ab\":null,\"b\":null,\"a\":null}",
                                  "{\"\\u0061\":null,\"a\\u0062\":null}"));
    refuses(schema, GRAMMAR_TEXTS("{\"a\":null,\"a\"", "{\"b\":null,\"\\u0062\"", "{\"a\":null}",
                                  "{\"c", "{\"abc", "{}", "{\"a\":null,}"));
    grammar_case_check_schema(schema, GRAMMAR_PREFIX, GRAMMAR_TEXTS("{\"a\":null,\"a"));
}
END_TEST

START_TEST(json_schema_takes_properties_in_order_when_told)
{
    const struct grammar_part part = {
        .kind = GRAMMAR_PART_SCHEMA,
        .text = TEXT(OBJECT("\"z\":{\"type\":\"null\"},\"o\":{\"type\":\"null\"},"
                            "\"a\":{\"type\":\"null\"},\"p\":{\"type\":\"null\"}",
                            "\"z\",\"a\""))};
    const struct grammar_options options = {.order = GRAMMAR_ORDER_SCHEMA};
    struct grammar *grammar = grammar_case_compile(&part, &options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED,
                       GRAMMAR_TEXTS("{\"z\":null,\"a\":null}",
                                     "{\"z\":null,\"o\":null,\"a\":null}",
                                     "{\"z\":null,\"o\":null,\"a\":null,\"p\":null}"));
    grammar_case_check(grammar, GRAMMAR_REFUSED,
                       GRAMMAR_TEXTS("{\"o", "{\"a", "{\"z\":null,\"p", "{\"z\":null}",
                                     "{\"z\":null,\"a\":null,\"o", "{\"z\":null,\"z"));
    grammar_release(grammar);
}
END_TEST

START_TEST(json_schema_orders_properties_when_there_are_more_than_64)
{
    for (int count = 64; count <= 65; count++) {
        char schema[4096] = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{";
        size_t len = strlen(schema);
        for (int index = 0; index < count; index++) {
            len +=
                (size_t)snprintf(schema + len, sizeof(schema) - len,
                                 "%s\"p%02d\":{\"type\":\"null\"}", index == 0 ? "" : ",", index);
        }
        snprintf(schema + len, sizeof(schema) - len, "}}");
        accepts(schema, GRAMMAR_TEXTS("{\"p00\":null,\"p63\":null}", "{}"));
        grammar_case_check_schema(schema, count == 64 ? GRAMMAR_ACCEPTED : GRAMMAR_REFUSED,
                                  GRAMMAR_TEXTS("{\"p63\":null,\"p00\":null}"));
    }
}
END_TEST

START_TEST(json_schema_takes_other_properties_by_their_schema)
{
    const char *schema = "{\"type\":\"object\",\"properties\":{\"n\\u00e9\":{\"type\":\"null\"}},"
                         "\"required\":[\"n\\u00e9\"],\"additionalProperties\":{\"enum\":[1]}}";
    accepts(schema, GRAMMAR_TEXTS("{\"n\xc3\xa9\":null}", "{\"n\":1,\"n\xc3\xa9\":null}",
                                  "{\"n\xc3\xa8\":1,\"\":1,\"n\\u00e9\":null,\"n\xc3\xa9x\":1}"));
    refuses(schema, GRAMMAR_TEXTS("{\"n\xc3\xa9\":1", "{\"n\":null", "{\"x\":1}"));
}
END_TEST

START_TEST(json_schema_closes_objects_when_told)
{
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_CLOSED};
    struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                .text = TEXT("{\"type\":\"object\",\"properties\":{\"a\":{}}}")};
    struct grammar *grammar = grammar_case_compile(&part, &options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("{}", "{\"a\":{\"b\":1}}"));
    grammar_case_check(grammar, GRAMMAR_REFUSED, GRAMMAR_TEXTS("{\"b"));
    grammar_release(grammar);
    part.text = TEXT("{\"type\":\"object\"}");
    grammar = grammar_case_compile(&part, &options);
    grammar_case_check(grammar, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("{\"x\":[]}"));
    grammar_release(grammar);
    grammar_case_check_refused(&part, &grammar_case_options, "#: additionalProperties is missing");
}
END_TEST

START_TEST(json_schema_takes_32_levels_and_no_more)
{
    char text[140];
    for (size_t depth = 32; depth <= 33; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        grammar_case_check_schema("true", depth == 32 ? GRAMMAR_ACCEPTED : GRAMMAR_REFUSED,
                                  GRAMMAR_TEXTS(text));
    }
    /* The 32nd level must leave room for what is required below it. */
    const char *schema = OBJECT("\"a\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"array\","
                                "\"minItems\":1}]}",
                                "\"a\"");
    char nested[400] = "";
    for (int depth = 0; depth < 31; depth++) {
        strncat(nested, "{\"a\":", sizeof(nested) - strlen(nested) - 1);
    }
    grammar_case_check_schema(schema, GRAMMAR_PREFIX, GRAMMAR_TEXTS(nested));
    strncat(nested, "{", sizeof(nested) - strlen(nested) - 1);
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS(nested));
    nested[strlen(nested) - 1] = '[';
    strncat(nested, "[", sizeof(nested) - strlen(nested) - 1);
    grammar_case_check_schema(schema, GRAMMAR_REFUSED, GRAMMAR_TEXTS(nested));
}
END_TEST

START_TEST(json_schema_never_begins_an_escape_without_an_end)
{
    const char *schema = "{\"enum\":[\"\xc3\xa9\",\"\xf0\x9f\x98\x80\",\"x\"]}";
    accepts(schema, GRAMMAR_TEXTS("\"\\u00e9\"", "\"\\u00E9\"", "\"\\ud83d\\ude00\"", "\"\\u0078\"",
                                  "\"\xc3\xa9\""));
    grammar_case_check_schema(
        schema, GRAMMAR_PREFIX,
        GRAMMAR_TEXTS("\"\\", "\"\\u", "\"\\u0", "\"\\ud83d", "\"\\ud83d\\", "\"\\ud83d\\ude0"));
    refuses(schema, GRAMMAR_TEXTS("\"\\n", "\"\\u1", "\"\\u01", "\"\\u00f", "\"\\ud83e", "\"\\udc",
                                  "\"\\ud83dx", "\"\\ud83d\\n", "\"\\ud83d\\uc", "\"\\ud83d\\udd",
                                  "\"\xc3\\", "\"x\\"));
    refuses("{\"type\":\"string\",\"maxLength\":1}", GRAMMAR_TEXTS("\"a\\", "\"\\u0061\\", "\"ab"));
    refuses("{\"type\":\"string\"}", GRAMMAR_TEXTS("\"\\ud83d\\u0", "\"\\udc0", "\"\x01",
                                                   "\"\xed\xa0", "\"\\x", "\"\\u00g"));
}
END_TEST

START_TEST(json_schema_counts_code_points)
{
    const char *schema = "{\"type\":\"string\",\"minLength\":2,\"maxLength\":2}";
    accepts(schema, GRAMMAR_TEXTS("\"ab\"", "\"\xf0\x9f\x98\x80\xc3\xa9\"",
                                  "\"\\ud83d\\ude00\\u00e9\"", "\"\\n\\\\\""));
    refuses(schema, GRAMMAR_TEXTS("\"a\"", "\"abc", "\"\\ud83d\\ude00\"", "\"\""));
    schema = "{\"type\":\"string\",\"pattern\":\"^(aaa|b)+$\",\"maxLength\":4}";
    accepts(schema, GRAMMAR_TEXTS("\"aaab\"", "\"b\"", "\"bbbb\""));
    refuses(schema, GRAMMAR_TEXTS("\"bba", "\"bbbbb", "\"aaaa"));
}
END_TEST

START_TEST(json_schema_refuses_with_the_place_when_it_is_outside)
{
    static const char *const rows[][2] = {
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"strin\"}},"
         "\"additionalProperties\":false}",
         "#/properties/a/type: an unknown type"},
        {"{\"type\":\"string\",\"foo\":1}", "#/foo: the keyword is not supported"},
        {"{\"not\":{}}", "#/not: the keyword is not supported"},
        {"{\"oneOf\":[]}", "#/oneOf: the keyword is not supported"},
        {"{\"allOf\":[]}", "#/allOf: the keyword is not supported"},
        {"{\"if\":{}}", "#/if: the keyword is not supported"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "#/uniqueItems: the keyword is not"},
        {"{\"type\":\"array\",\"prefixItems\":[]}", "#/prefixItems: the keyword is not"},
        {"{\"type\":\"object\",\"patternProperties\":{}}", "#/patternProperties: the keyword"},
        {"{\"type\":\"array\",\"items\":{\"$id\":\"x\"}}", "#/items/$id: the keyword is not"},
        {"{\"type\":\"array\",\"items\":3}", "#/items: expected an object"},
        {"{\"type\":\"array\",\"items\":[{}]}", "#/items: expected an object"},
        {"{\"type\":\"array\",\"items\":false}", "#/items: expected an object"},
        {"{\"type\":\"array\",\"minItems\":-1}", "#/minItems: expected a whole number"},
        {"{\"type\":\"array\",\"minItems\":1.5}", "#/minItems: expected a whole number"},
        {"{\"type\":\"array\",\"minItems\":\"1\"}", "#/minItems: expected a number"},
        {"{\"type\":\"string\",\"pattern\":\"(\"}", "#/pattern: regular expression: a group"},
        {"{\"type\":\"string\",\"pattern\":1}", "#/pattern: expected a string"},
        {"{\"type\":\"string\",\"format\":\"uri\"}", "#/format: the format is not supported"},
        {"{\"type\":\"number\",\"multipleOf\":0}", "#/multipleOf: expected a number above 0"},
        {"{\"type\":\"number\",\"multipleOf\":0.1}", "#/multipleOf: multipleOf must be a whole"},
        {"{\"type\":\"integer\",\"multipleOf\":100003}", "#/multipleOf: multipleOf needs too"},
        {"{\"type\":\"number\",\"maximum\":1e99}", "#/maximum: more than 40 digits"},
        {"{\"type\":\"number\",\"maximum\":\"1\"}", "#/maximum: expected a number"},
        {"{\"anyOf\":[]}", "#/anyOf: no alternative"},
        {"{\"anyOf\":[{}],\"type\":\"string\"}", "#/type: not supported together with anyOf"},
        {"{\"enum\":[\"a\"],\"maxLength\":1}", "#/maxLength: not supported together with enum"},
        {"{\"$ref\":\"#/$defs/a\",\"$defs\":{}}", "#/$ref: \"#/$defs/a\" leads nowhere"},
        {"{\"$ref\":\"other.json\"}", "#/$ref: \"other.json\" leads nowhere"},
        {"{\"$ref\":\"#\"}", "no finite text of at most 32 levels matches"},
        {"{\"enum\":[]}", "no finite text"},
        {"{\"type\":\"integer\",\"enum\":[\"a\"]}", "no finite text"},
        {"{\"type\":[]}", "#/type: no type"},
        {"{\"minimum\":1}", "#/minimum: not supported together with a missing type"},
        {"{\"properties\":{}}", "#/properties: not supported together with a missing type"},
        {"{\"type\":\"object\",\"properties\":{},\"required\":[\"a\"],"
         "\"additionalProperties\":false}",
         "#/required/0: not one of the properties"},
        {"[]", "#: expected an object"},
        {"false", "#: expected an object"},
        {"", "invalid JSON: the end at byte 0"},
        {"{\"type\":\"string\"", "invalid JSON: no comma at byte 16"},
        {"{\"type\":\"string\"}}", "invalid JSON: text after the end at byte 17"},
        {"{\"a\":1,\"a\":2}", "invalid JSON: the key \"a\" appears twice"},
        {"{\"const\":\"\\ud800\"}", "invalid JSON: a lone surrogate"},
        {"{\"const\":\"\xff\"}", "invalid JSON: not UTF-8"},
        {"{\"const\":01}", "invalid JSON: a bad number"},
        {"{\"const\":\"\x02\"}", "invalid JSON: a control character"}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        grammar_case_check_schema_refused(rows[row][0], rows[row][1]);
    }
}
END_TEST

START_TEST(json_schema_names_the_part_when_it_has_a_name)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = TEXT("{\"x\\ny\":1}"),
                                      .name = TEXT("tools[0].parameters")};
    grammar_case_check_refused(&part, &grammar_case_options,
                               "tools[0].parameters #/x?y: the keyword is not supported");
}
END_TEST

/* Writes an anyOf of objects that differ in the last property only. */
static void write_alternatives(char *schema, size_t capacity, int count)
{
    size_t len = (size_t)snprintf(schema, capacity, "{\"anyOf\":[");
    for (int index = 0; index < count; index++) {
        len += (size_t)snprintf(schema + len, capacity - len,
                                "%s" OBJECT("\"kind\":{\"const\":%d}", "\"kind\""),
                                index == 0 ? "" : ",", index);
    }
    snprintf(schema + len, capacity - len, "]}");
}

START_TEST(json_schema_takes_up_to_128_alternatives)
{
    static char schema[32768];
    write_alternatives(schema, sizeof(schema), 128);
    accepts(schema, GRAMMAR_TEXTS("{\"kind\":0}", "{\"kind\":127}"));
    refuses(schema, GRAMMAR_TEXTS("{\"kind\":128"));
    write_alternatives(schema, sizeof(schema), 129);
    grammar_case_check_schema_refused(schema, "#/anyOf: more than 128 alternatives");
}
END_TEST

START_TEST(json_schema_refuses_input_above_64_kib)
{
    static char schema[64 * 1024 + 2];
    memset(schema, ' ', sizeof(schema) - 1);
    memcpy(schema, "{}", 2);
    grammar_case_check_schema_refused(schema, "more than 65536 bytes");
    schema[64 * 1024] = '\0';
    accepts(schema, GRAMMAR_TEXTS("1"));
}
END_TEST

int main(void)
{
    TCase *schema = tcase_create("json_schema");
    tcase_set_timeout(schema, 60);
    tcase_add_test(schema, json_schema_bounds_white_space_between_tokens);
    tcase_add_test(schema, json_schema_takes_compact_json_only_when_told);
    tcase_add_test(schema, json_schema_takes_properties_in_any_order_once);
    tcase_add_test(schema, json_schema_takes_properties_in_order_when_told);
    tcase_add_test(schema, json_schema_orders_properties_when_there_are_more_than_64);
    tcase_add_test(schema, json_schema_takes_other_properties_by_their_schema);
    tcase_add_test(schema, json_schema_closes_objects_when_told);
    tcase_add_test(schema, json_schema_takes_32_levels_and_no_more);
    tcase_add_test(schema, json_schema_never_begins_an_escape_without_an_end);
    tcase_add_test(schema, json_schema_counts_code_points);
    tcase_add_test(schema, json_schema_refuses_with_the_place_when_it_is_outside);
    tcase_add_test(schema, json_schema_names_the_part_when_it_has_a_name);
    tcase_add_test(schema, json_schema_takes_up_to_128_alternatives);
    tcase_add_test(schema, json_schema_refuses_input_above_64_kib);
    Suite *suite = suite_create("grammar/json_schema");
    suite_add_tcase(suite, schema);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
