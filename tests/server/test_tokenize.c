/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: ids from /tokenize go back into prompts, so text and ids must not drift apart.
 * Shown by: texts and chats to ids, ids to texts, and the model's own routes beside them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake_exchange.h"
#include "openai_case.h"
#include "server/openai_handlers.h"
#include "server/server_internal.h"

static struct openai_case openai_case;
static struct server server;
static struct fake_exchange fake;

static void setup(void)
{
    openai_case_open(&openai_case);
    server = (struct server){.config = &openai_case.config,
                             .model = &openai_case.model,
                             .tokenizer = openai_case.tokenizer};
}

static void teardown(void)
{
    openai_case_close(&openai_case);
}

static void assert_reply(http_handler *handler, const char *body, unsigned status,
                         const char *expected)
{
    fake_exchange_init(&fake, &server, body);
    handler(&fake.shared);
    ck_assert_uint_eq(fake.status, status);
    ck_assert_msg(strstr(fake.body, expected) != NULL, "%s: got %s", body, fake.body);
    fake_exchange_deinit(&fake);
}

START_TEST(tokenize_gives_ids_when_given_text)
{
    assert_reply(tokenize_handle, "{\"prompt\":\"a Paris\"}", 200,
                 "{\"tokens\":[98,257],\"count\":2}");
    assert_reply(tokenize_handle, "{\"content\":\"\",\"add_special\":false}", 200,
                 "{\"tokens\":[],\"count\":0}");
    assert_reply(tokenize_handle, "{\"text\":\"\\u20ac\"}", 200,
                 "{\"tokens\":[258,173],\"count\":2}");
}
END_TEST

START_TEST(tokenize_gives_the_rendered_chat_when_given_messages)
{
    /* "User: a\n\nAssistant:" in bytes. */
    assert_reply(tokenize_handle, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", 200,
                 "\"tokens\":[86,116,102,115,59,33,98,11,11,66,");
}
END_TEST

START_TEST(tokenize_shows_the_prompt_when_asked_for_the_template)
{
    assert_reply(apply_template_handle,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\\nb\"}]}", 200,
                 "{\"prompt\":\"User: a\\nb\\n\\nAssistant:\"}");
    assert_reply(apply_template_handle,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                 "\"add_generation_prompt\":false}",
                 200, "{\"prompt\":\"User: a\\n\\n\"}");
    assert_reply(apply_template_handle, "{\"prompt\":\"a\"}", 400, "\"param\":\"messages\"");
}
END_TEST

START_TEST(tokenize_counts_what_a_generation_would_read)
{
    openai_case.config.doc_start_token = 0;
    assert_reply(tokens_count_handle, "{\"prompt\":\"a Paris\"}", 200, "{\"count\":2}");
    /* The start token, "User: a", blank line, "Assistant:". */
    assert_reply(responses_count_handle, "{\"input\":\"a\"}", 200,
                 "{\"object\":\"response.input_tokens\",\"input_tokens\":20}");
    assert_reply(messages_count_handle,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", 200,
                 "{\"input_tokens\":20}");
}
END_TEST

START_TEST(tokenize_answers_400_when_the_request_is_wrong)
{
    assert_reply(tokenize_handle, "{}", 400, "\"param\":\"prompt\"");
    assert_reply(tokenize_handle, "{\"prompt\":\"a\",\"model\":\"x\"}", 404, "model_not_found");
    assert_reply(detokenize_handle, "{\"tokens\":[261]}", 400, "\"param\":\"tokens[0]\"");
}
END_TEST

START_TEST(detokenize_gives_text_when_given_ids)
{
    assert_reply(detokenize_handle, "{\"tokens\":[98,257]}", 200, "{\"prompt\":\"a Paris\"}");
    assert_reply(detokenize_handle, "{\"tokens\":[258,173]}", 200, "{\"prompt\":\"\xe2\x82\xac\"}");
    assert_reply(detokenize_handle, "{\"tokens\":[258,0]}", 200, "{\"prompt\":\"\xef\xbf\xbd\"}");
    assert_reply(detokenize_handle, "{\"tokens\":[]}", 200, "{\"prompt\":\"\"}");
}
END_TEST

#define MODEL                                                                                      \
    "{\"id\":\"gosling\",\"object\":\"model\",\"created\":1795450000,\"owned_by\":\"skein\","

START_TEST(openai_models_lists_the_served_model_when_asked)
{
    assert_reply(openai_models_list_handle, "", 200, "{\"object\":\"list\",\"data\":[" MODEL);
}
END_TEST

static void assert_model(const char *path_tail, unsigned status, const char *expected)
{
    fake_exchange_init(&fake, &server, "");
    fake.shared.path_tail = path_tail;
    openai_model_handle(&fake.shared);
    ck_assert_uint_eq(fake.status, status);
    ck_assert_msg(strstr(fake.body, expected) != NULL, "%s: got %s", path_tail, fake.body);
    fake_exchange_deinit(&fake);
}

START_TEST(openai_models_finds_a_model_when_its_name_is_encoded)
{
    assert_model("gosling", 200, MODEL);
    assert_model("gos%6Cin%67", 200, MODEL);
    assert_model("gosling%", 404, "model_not_found");
    assert_model("gosling/x", 404, "model_not_found");
    assert_model("%", 404, "model_not_found");
    openai_case.model.id = "me/gos:ling";
    assert_model("me/gos:ling", 200, "me/gos:ling");
    assert_model("me%2fgos%3Aling", 200, "me/gos:ling");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenize");
    TCase *tests = tcase_create("tokenize and models");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, tokenize_gives_ids_when_given_text);
    tcase_add_test(tests, tokenize_gives_the_rendered_chat_when_given_messages);
    tcase_add_test(tests, tokenize_shows_the_prompt_when_asked_for_the_template);
    tcase_add_test(tests, tokenize_counts_what_a_generation_would_read);
    tcase_add_test(tests, tokenize_answers_400_when_the_request_is_wrong);
    tcase_add_test(tests, detokenize_gives_text_when_given_ids);
    tcase_add_test(tests, openai_models_lists_the_served_model_when_asked);
    tcase_add_test(tests, openai_models_finds_a_model_when_its_name_is_encoded);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
