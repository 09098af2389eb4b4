/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: clients parse these bytes; a missing key or a second role breaks some of them.
 * Shown by: every event and whole reply, byte for byte, with and without usage and logprobs. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "openai_case.h"
#include "server/openai_reply.h"

static struct openai_case server;
static struct openai_reply reply;
static struct json_writer writer;
static char buffer[8192];

static void setup(void)
{
    openai_case_open(&server);
}

static void teardown(void)
{
    openai_case_close(&server);
}

static void open_reply(bool chat, bool stream, bool usage)
{
    const struct openai_reply_options options = {.chat = chat,
                                                 .stream = stream,
                                                 .usage_in_stream = usage,
                                                 .logprobs = true,
                                                 .id = "id-1",
                                                 .created = 1795456800,
                                                 .model = "gos\"ling"};
    ck_assert(openai_reply_init(&reply, &options, &server.arena));
    json_writer_init(&writer, buffer, sizeof(buffer));
}

/* One piece of an answer. */
static void write_text(uint32_t choice, struct text text, const struct openai_token *tokens)
{
    const struct openai_piece piece = {.text = text, .tokens = tokens};
    openai_reply_text_chunk(&reply, choice, &piece, &writer);
}

static void assert_written(const char *expected)
{
    ck_assert(json_writer_fits(&writer));
    buffer[writer.len] = '\0';
    ck_assert_str_eq(buffer, expected);
    json_writer_init(&writer, buffer, sizeof(buffer));
}

#define CHAT_HEAD                                                                                  \
    "{\"id\":\"id-1\",\"object\":\"chat.completion.chunk\",\"created\":1795456800,"                \
    "\"model\":\"gos\\\"ling\",\"system_fingerprint\":\"skein-" SKEIN_VERSION "\",\"choices\":["
#define TEXT_HEAD                                                                                  \
    "{\"id\":\"id-1\",\"object\":\"text_completion\",\"created\":1795456800,"                      \
    "\"model\":\"gos\\\"ling\",\"choices\":["
#define USAGE                                                                                      \
    "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7,"                   \
    "\"prompt_tokens_details\":{\"cached_tokens\":0},"                                             \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"

static const struct openai_usage usage = {.prompt_tokens = 5, .completion_tokens = 2};

START_TEST(openai_reply_writes_chat_chunks_when_streamed)
{
    open_reply(true, true, false);
    openai_reply_role_chunk(&reply, 0, &writer);
    assert_written(CHAT_HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                             "\"logprobs\":null,\"finish_reason\":null}]}");
    write_text(12, TEXT("a\n\"\xc3\xa9"), NULL);
    assert_written(CHAT_HEAD "{\"index\":12,\"delta\":{\"content\":\"a\\n\\\"\xc3\xa9\"},"
                             "\"logprobs\":null,\"finish_reason\":null}]}");
    openai_reply_finish_chunk(&reply, 1, NULL, "length", &writer);
    assert_written(CHAT_HEAD "{\"index\":1,\"delta\":{},\"logprobs\":null,"
                             "\"finish_reason\":\"length\"}]}");
}
END_TEST

START_TEST(openai_reply_writes_null_usage_when_usage_is_to_come)
{
    open_reply(true, true, true);
    write_text(0, TEXT("a"), NULL);
    assert_written(CHAT_HEAD "{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
                             "\"finish_reason\":null}],\"usage\":null}");
    openai_reply_usage_chunk(&reply, &usage, &writer);
    assert_written(CHAT_HEAD "]," USAGE "}");
}
END_TEST

START_TEST(openai_reply_writes_text_chunks_when_completions_are_streamed)
{
    open_reply(false, true, false);
    write_text(0, TEXT(" Paris"), NULL);
    assert_written(TEXT_HEAD "{\"index\":0,\"text\":\" Paris\",\"logprobs\":null,"
                             "\"finish_reason\":null}]}");
    openai_reply_finish_chunk(&reply, 0, NULL, "stop", &writer);
    assert_written(TEXT_HEAD "{\"index\":0,\"text\":\"\",\"logprobs\":null,"
                             "\"finish_reason\":\"stop\"}]}");
    openai_reply_usage_chunk(&reply, &usage, &writer);
    assert_written(TEXT_HEAD "]," USAGE "}");
}
END_TEST

START_TEST(openai_reply_writes_a_whole_chat_when_not_streamed)
{
    open_reply(true, false, false);
    const struct openai_choice_reply choices[] = {
        {.text = TEXT("Paris."), .finish = "stop"},
        {.text = TEXT(""), .finish = "length"},
    };
    openai_reply_whole(&reply, choices, 2, &usage, &writer);
    assert_written("{\"id\":\"id-1\",\"object\":\"chat.completion\",\"created\":1795456800,"
                   "\"model\":\"gos\\\"ling\",\"choices\":["
                   "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Paris.\","
                   "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
                   "\"finish_reason\":\"stop\"},"
                   "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"\","
                   "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
                   "\"finish_reason\":\"length\"}]," USAGE
                   ",\"service_tier\":\"default\",\"system_fingerprint\":\"skein-" SKEIN_VERSION
                   "\"}");
}
END_TEST

/* The same for a part of it. */
static void assert_holds(const char *expected)
{
    ck_assert(json_writer_fits(&writer));
    buffer[writer.len] = '\0';
    ck_assert_msg(strstr(buffer, expected) != NULL, "%s", buffer);
    json_writer_init(&writer, buffer, sizeof(buffer));
}

#define CALL_ID "0123456789abcdef01234567"

START_TEST(openai_reply_writes_a_call_by_pieces_when_streamed)
{
    open_reply(true, true, false);
    const struct openai_piece begin = {
        .kind = OPENAI_PIECE_CALL, .text = TEXT("get_price"), .call_index = 1, .call_id = CALL_ID};
    const struct openai_piece arguments = {
        .kind = OPENAI_PIECE_ARGUMENTS, .text = TEXT("{\"item\":"), .call_index = 1};
    openai_reply_text_chunk(&reply, 0, &begin, &writer);
    assert_holds("\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":"
                 "\"call_" CALL_ID "\",\"type\":\"function\",\"function\":{\"name\":"
                 "\"get_price\",\"arguments\":\"\"}}]},\"logprobs\":null,"
                 "\"finish_reason\":null}]}");
    openai_reply_text_chunk(&reply, 0, &arguments, &writer);
    assert_holds("\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":"
                 "\"{\\\"item\\\":\"}}]},\"logprobs\":null,\"finish_reason\":null}]}");
}
END_TEST

START_TEST(openai_reply_writes_calls_beside_the_content_when_there_are_any)
{
    open_reply(true, false, false);
    struct openai_call calls[] = {{.id = CALL_ID, .name = TEXT("f")},
                                  {.id = CALL_ID, .name = TEXT("g")}};
    char arguments[] = "{}";
    calls[0].next = &calls[1];
    calls[0].arguments = (struct reply_buffer){.bytes = arguments, .len = 2};
    calls[1].arguments = (struct reply_buffer){.bytes = arguments, .len = 1}; /* It was cut. */
    struct openai_choice_reply choice = {.calls = calls, .finish = "tool_calls"};
#define WHOLE_CALL(name, text)                                                                     \
    "{\"id\":\"call_" CALL_ID "\",\"type\":\"function\",\"function\":{\"name\":\"" name            \
    "\",\"arguments\":\"" text "\"}}"
    openai_reply_whole(&reply, &choice, 1, &usage, &writer);
    assert_holds("\"content\":null,\"refusal\":null,\"annotations\":[],\"tool_calls\":[" WHOLE_CALL(
        "f", "{}") "," WHOLE_CALL("g", "{") "]},\"logprobs\":null,"
                                            "\"finish_reason\":\"tool_calls\"");
    choice.text = TEXT("So:");
    openai_reply_whole(&reply, &choice, 1, &usage, &writer);
    assert_holds("\"content\":\"So:\",\"refusal\"");
}
END_TEST

START_TEST(openai_reply_writes_a_whole_completion_when_not_streamed)
{
    open_reply(false, false, false);
    const struct openai_choice_reply choice = {.text = TEXT(" Paris."), .finish = "stop"};
    openai_reply_whole(&reply, &choice, 1, &usage, &writer);
    assert_written(TEXT_HEAD "{\"index\":0,\"text\":\" Paris.\",\"logprobs\":null,"
                             "\"finish_reason\":\"stop\"}]," USAGE
                             ",\"system_fingerprint\":\"skein-" SKEIN_VERSION "\"}");
}
END_TEST

static const struct sampled_alternative top[] = {
    {.token = TOKEN_SPACE_PARIS, .logprob = -0.5f},
    {.token = TOKEN_EURO_HALF, .logprob = -2.25f},
};

static struct openai_token token_of(int32_t id, uint32_t top_count, uint32_t text_offset)
{
    return (struct openai_token){.tokenizer = server.tokenizer,
                                 .id = id,
                                 .logprob = -0.5f,
                                 .top = top,
                                 .top_count = top_count,
                                 .text_offset = text_offset};
}

START_TEST(openai_reply_writes_chat_logprobs_when_wanted)
{
    open_reply(true, true, false);
    struct openai_token token = token_of(TOKEN_SPACE_PARIS, 2, 0);
    token.trimmed_bytes = 1;
    write_text(0, TEXT("Paris"), &token);
    assert_written(CHAT_HEAD
                   "{\"index\":0,\"delta\":{\"content\":\"Paris\"},\"logprobs\":{\"content\":["
                   "{\"token\":\"Paris\",\"logprob\":-0.5,\"bytes\":[80,97,114,105,115],"
                   "\"top_logprobs\":["
                   "{\"token\":\"Paris\",\"logprob\":-0.5,\"bytes\":[80,97,114,105,115]},"
                   "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-2.25,\"bytes\":[226,130]}]}],"
                   "\"refusal\":null},\"finish_reason\":null}]}");
}
END_TEST

START_TEST(openai_reply_writes_completion_logprobs_when_wanted)
{
    open_reply(false, true, false);
    const struct openai_token token = token_of('y' + 1, 2, 7);
    write_text(0, TEXT("y"), &token);
    assert_written(TEXT_HEAD "{\"index\":0,\"text\":\"y\",\"logprobs\":{\"tokens\":[\"y\"],"
                             "\"token_logprobs\":[-0.5],\"top_logprobs\":[{\" Paris\":-0.5,"
                             "\"bytes:\\\\xe2\\\\x82\":-2.25,\"y\":-0.5}],"
                             "\"text_offset\":[7]},\"finish_reason\":null}]}");
}
END_TEST

START_TEST(openai_reply_joins_logprobs_when_not_streamed)
{
    open_reply(false, false, false);
    struct openai_logprobs logprobs = {0};
    const struct openai_token first = token_of(TOKEN_SPACE_PARIS, 0, 0);
    const struct openai_token second = token_of('.' + 1, 1, 6);
    ck_assert(openai_logprobs_add(&logprobs, OPENAI_LOGPROBS_COMPLETIONS, &first, &server.arena));
    ck_assert(openai_logprobs_add(&logprobs, OPENAI_LOGPROBS_COMPLETIONS, &second, &server.arena));
    openai_logprobs_write(&logprobs, OPENAI_LOGPROBS_COMPLETIONS, NULL, &writer);
    assert_written("{\"tokens\":[\" Paris\",\".\"],\"token_logprobs\":[-0.5,-0.5],"
                   "\"top_logprobs\":[{\" Paris\":-0.5},{\" Paris\":-0.5,\".\":-0.5}],"
                   "\"text_offset\":[0,6]}");
    logprobs = (struct openai_logprobs){0};
    openai_logprobs_write(&logprobs, OPENAI_LOGPROBS_CHAT, NULL, &writer);
    assert_written("{\"content\":[],\"refusal\":null}");
}
END_TEST

START_TEST(openai_reply_keeps_all_logprobs_when_there_are_many)
{
    struct openai_logprobs logprobs = {0};
    struct json_writer measure;
    const struct openai_token token = token_of(TOKEN_SPACE_PARIS, 2, 0);
    for (int turn = 0; turn < 1000; turn++) {
        ck_assert(openai_logprobs_add(&logprobs, OPENAI_LOGPROBS_CHAT, &token, &server.arena));
    }
    json_writer_init(&measure, buffer, sizeof(buffer));
    openai_logprobs_write_tokens(OPENAI_LOGPROBS_CHAT, &token, &measure);
    const size_t element = measure.len - strlen("{\"content\":[],\"refusal\":null}");
    json_writer_init(&measure, NULL, 0);
    openai_logprobs_write(&logprobs, OPENAI_LOGPROBS_CHAT, NULL, &measure);
    ck_assert_uint_eq(measure.len,
                      1000 * element + 999 + strlen("{\"content\":[],\"refusal\":null}"));
}
END_TEST

START_TEST(openai_reply_fails_when_the_arena_is_full)
{
    struct openai_logprobs logprobs = {0};
    const struct openai_token token = token_of(TOKEN_SPACE_PARIS, 2, 0);
    const struct openai_reply_options options = {.id = "i", .model = "m"};
    server.arena.bytes_max = server.arena.bytes_used + 16;
    ck_assert(!openai_logprobs_add(&logprobs, OPENAI_LOGPROBS_CHAT, &token, &server.arena));
    ck_assert(!openai_reply_init(&reply, &options, &server.arena));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openai_reply");
    TCase *tests = tcase_create("openai_reply");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, openai_reply_writes_chat_chunks_when_streamed);
    tcase_add_test(tests, openai_reply_writes_null_usage_when_usage_is_to_come);
    tcase_add_test(tests, openai_reply_writes_text_chunks_when_completions_are_streamed);
    tcase_add_test(tests, openai_reply_writes_a_whole_chat_when_not_streamed);
    tcase_add_test(tests, openai_reply_writes_a_call_by_pieces_when_streamed);
    tcase_add_test(tests, openai_reply_writes_calls_beside_the_content_when_there_are_any);
    tcase_add_test(tests, openai_reply_writes_a_whole_completion_when_not_streamed);
    tcase_add_test(tests, openai_reply_writes_chat_logprobs_when_wanted);
    tcase_add_test(tests, openai_reply_writes_completion_logprobs_when_wanted);
    tcase_add_test(tests, openai_reply_joins_logprobs_when_not_streamed);
    tcase_add_test(tests, openai_reply_keeps_all_logprobs_when_there_are_many);
    tcase_add_test(tests, openai_reply_fails_when_the_arena_is_full);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
