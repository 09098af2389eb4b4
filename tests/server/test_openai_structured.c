/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: what a client says its answer must be becomes just that grammar, and the text of a
 * schema arrives as it was written; what is wrong is refused by its name.
 *
 * Thread: main. */
#include <stdlib.h>

#include "params_case.h"

static const struct grammar_part *root_of(const char *members)
{
    accept(OPENAI_CHAT, members);
    ck_assert_msg(params.grammar.root != NULL, "%s", members);
    return params.grammar.root;
}

#define SCHEMA "{ \"type\":\"number\", \"maximum\":1.50e0, \"enum\":[[{}],\"}{\"] }"

static void assert_schema(const struct grammar_part *root, const char *param,
                          enum grammar_objects objects)
{
    ck_assert_int_eq(root->kind, GRAMMAR_PART_SCHEMA);
    ck_assert_str_eq(root->text.bytes, SCHEMA);
    ck_assert_uint_eq(root->text.len, sizeof(SCHEMA) - 1);
    ck_assert_str_eq(root->name.bytes, param);
    ck_assert_str_eq(params.grammar.param, param);
    ck_assert_int_eq(params.grammar.objects, objects);
    ck_assert_int_eq(params.grammar.order, GRAMMAR_ORDER_SCHEMA);
}

START_TEST(openai_structured_binds_nothing_when_text_is_asked_for)
{
    accept(OPENAI_CHAT, "\"response_format\":{\"type\":\"text\",\"other\":1}");
    ck_assert_ptr_null(params.grammar.root);
    accept(OPENAI_CHAT, "\"response_format\":null,\"structured_outputs\":null");
    ck_assert_ptr_null(params.grammar.root);
    accept(OPENAI_COMPLETIONS, "");
    ck_assert_ptr_null(params.grammar.root);
}
END_TEST

START_TEST(openai_structured_keeps_the_schema_as_written_when_one_is_given)
{
    assert_schema(root_of("\"logit_bias\":{},\"response_format\":{\"type\":\"json_schema\","
                          "\"json_schema\":{\"name\":\"x\",\"strict\":true,\"schema\":" SCHEMA
                          ",\"description\":\"y\",\"more\":[]}}"),
                  "response_format.json_schema.schema", GRAMMAR_OBJECTS_EXPLICIT);
    assert_schema(root_of("\"response_format\":{\"json_schema\":{\"schema\":" SCHEMA
                          ",\"strict\":null},\"type\":\"json_schema\"}"),
                  "response_format.json_schema.schema", GRAMMAR_OBJECTS_CLOSED);
    assert_schema(root_of("\"structured_outputs\":{\"json\":" SCHEMA "}"),
                  "structured_outputs.json", GRAMMAR_OBJECTS_CLOSED);
    accept(OPENAI_COMPLETIONS, "\"structured_outputs\":{\"json\":" SCHEMA ",\"regex\":null}");
    assert_schema(params.grammar.root, "structured_outputs.json", GRAMMAR_OBJECTS_CLOSED);
    ck_assert(read_json(OPENAI_RESPONSES,
                        "{\"input\":\"x\",\"text\":{\"format\":{\"type\":\"json_schema\","
                        "\"name\":\"a b\",\n \"schema\":" SCHEMA ",\"strict\":false}}}"));
    assert_schema(params.grammar.root, "text.format.schema", GRAMMAR_OBJECTS_CLOSED);
}
END_TEST

START_TEST(openai_structured_takes_a_schema_in_a_string_when_vllm_clients_send_one)
{
    const struct grammar_part *root =
        root_of("\"structured_outputs\":{\"json\":\"{\\\"type\\\":\\\"null\\\"}\"}");
    ck_assert_int_eq(root->kind, GRAMMAR_PART_SCHEMA);
    ck_assert_str_eq(root->text.bytes, "{\"type\":\"null\"}");
}
END_TEST

START_TEST(openai_structured_makes_other_parts_when_no_schema_is_given)
{
    const struct grammar_part *root = root_of("\"response_format\":{\"type\":\"json_object\"}");
    ck_assert_int_eq(root->kind, GRAMMAR_PART_OBJECT);
    ck_assert_str_eq(params.grammar.param, "response_format");
    root = root_of("\"structured_outputs\":{\"json_object\":true}");
    ck_assert_int_eq(root->kind, GRAMMAR_PART_OBJECT);
    root = root_of("\"structured_outputs\":{\"regex\":\"a\\\\d\"}");
    ck_assert_int_eq(root->kind, GRAMMAR_PART_REGEX);
    ck_assert_str_eq(root->text.bytes, "a\\d");
    root = root_of("\"structured_outputs\":{\"choice\":[\"yes\",\"no\",\"\"]}");
    ck_assert_int_eq(root->kind, GRAMMAR_PART_CHOICE);
    ck_assert_uint_eq(root->part_count, 3);
    ck_assert_str_eq(root->parts[1].text.bytes, "no");
    ck_assert_uint_eq(root->parts[2].text.len, 0);
}
END_TEST

static const struct {
    const char *members;
    const char *param;
    const char *message;
} refused[] = {
    {"\"response_format\":[]", "response_format", "an object"},
    {"\"response_format\":{}", "response_format.type", "required"},
    {"\"response_format\":{\"type\":1}", "response_format.type", "a string"},
    {"\"response_format\":{\"type\":\"xml\"}", "response_format.type", "'json_schema' are"},
    {"\"response_format\":{\"type\":\"json_schema\"}", "response_format.json_schema", "required"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":[]}",
     "response_format.json_schema", "an object"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}",
     "response_format.json_schema.schema", "required"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":\"{}\"}}",
     "response_format.json_schema.schema", "an object"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{},\"strict\":1}}",
     "response_format.json_schema.strict", "true or false"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{},\"name\":1}}",
     "response_format.json_schema.name", "a string"},
    {"\"structured_outputs\":[]", "structured_outputs", "an object"},
    {"\"structured_outputs\":{}", "structured_outputs", "has 0"},
    {"\"structured_outputs\":{\"regex\":\"a\",\"choice\":[\"b\"]}", "structured_outputs", "has 2"},
    {"\"structured_outputs\":{\"regex\":1}", "structured_outputs.regex", "a string"},
    {"\"structured_outputs\":{\"json\":1}", "structured_outputs.json", "an object"},
    {"\"structured_outputs\":{\"json_object\":false}", "structured_outputs.json_object", "true"},
    {"\"structured_outputs\":{\"choice\":[]}", "structured_outputs.choice", "empty"},
    {"\"structured_outputs\":{\"choice\":\"a\"}", "structured_outputs.choice", "an array"},
    {"\"structured_outputs\":{\"choice\":[\"a\",1]}", "structured_outputs.choice[1]", "a string"},
    {"\"structured_outputs\":{\"grammar\":\"x\"}", "structured_outputs.grammar", "not supported"},
    {"\"structured_outputs\":{\"regex\":\"a\"},\"response_format\":{\"type\":\"json_object\"}",
     "structured_outputs", "excludes response_format"},
};

START_TEST(openai_structured_names_the_field_when_it_is_wrong)
{
    refuse(OPENAI_CHAT, refused[_i].members, refused[_i].param, refused[_i].message);
    refuse(OPENAI_COMPLETIONS, refused[_i].members, refused[_i].param, refused[_i].message);
}
END_TEST

START_TEST(openai_structured_repeats_the_form_in_one_line_when_a_response_has_one)
{
    ck_assert(read_json(OPENAI_RESPONSES,
                        "{\"input\":\"x\",\"text\":{\"format\":{ \"type\" :\n\"json_schema\",\t"
                        "\"name\":\"a \\\" b\\\\\", \"schema\":{ } }}}"));
    const struct text form = params.responses.form;
    ck_assert_msg(text_equals(form, TEXT("{\"type\":\"json_schema\",\"name\":\"a \\\" b\\\\\","
                                         "\"schema\":{}}")),
                  "%.*s", (int)form.len, form.bytes);
    ck_assert(read_json(OPENAI_RESPONSES, "{\"input\":\"x\",\"text\":{\"verbosity\":\"low\"}}"));
    ck_assert_uint_eq(params.responses.form.len, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_structured");
    TCase *tests = tcase_create("openai_structured");
    tcase_add_checked_fixture(tests, params_case_setup, params_case_teardown);
    tcase_add_test(tests, openai_structured_binds_nothing_when_text_is_asked_for);
    tcase_add_test(tests, openai_structured_keeps_the_schema_as_written_when_one_is_given);
    tcase_add_test(tests,
                   openai_structured_takes_a_schema_in_a_string_when_vllm_clients_send_one);
    tcase_add_test(tests, openai_structured_makes_other_parts_when_no_schema_is_given);
    tcase_add_loop_test(tests, openai_structured_names_the_field_when_it_is_wrong, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tests,
                   openai_structured_repeats_the_form_in_one_line_when_a_response_has_one);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
