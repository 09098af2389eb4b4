/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: clients of /v1/responses and /v1/messages get every event, in order, and nothing after
 * the last one. Shown by: requests with a fake engine's events, the streams compared. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs_case.h"

#define RESPONSE "{\"input\":\"hi\""
#define MESSAGE "{\"max_tokens\":9," CHAT

/* The names of the events, a line each. */
static const char *event_names(void)
{
    static char names[4096];
    size_t len = 0;
    const char *line = fake.body;
    names[0] = '\0';
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        const int name_len = (int)strcspn(line, " ");
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%.*s\n", name_len, line);
        line = end + 1;
    }
    return names;
}

/* Checks that the events hold the pieces in this order; NULL ends them. */
static void assert_holds(const char *const *pieces)
{
    const char *at = fake.body;
    for (; *pieces != NULL; pieces++) {
        const char *found = strstr(at, *pieces);
        ck_assert_msg(found != NULL, "no %s in %s", *pieces, at);
        at = found + strlen(*pieces);
    }
}

#define ASSERT_HOLDS(...) assert_holds((const char *const[]){__VA_ARGS__, NULL})

static void end_cut(uint64_t id)
{
    fake_engine_end(id, 0, GENERATION_ENDED_BY_LENGTH, ERROR_NONE, 2);
    jobs_case_take_events();
}

static void end_by_stop(uint64_t id)
{
    jobs_case_stop(id, 0, 2);
    jobs_case_take_events();
}

#define OPENED "response.created\nresponse.in_progress\n"
#define TEXT_OPENED "response.output_item.added\nresponse.content_part.added\n"
#define CLOSED "response.content_part.done\nresponse.output_item.done\n"

START_TEST(typed_reply_sends_every_event_when_a_response_is_streamed)
{
    const uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_text(id, 0, 257, " Paris");
    fake_engine_text(id, 0, 3, "!");
    end_by_stop(id);
    ck_assert_str_eq(event_names(), OPENED TEXT_OPENED
                     "response.output_text.delta\nresponse.output_text.delta\n"
                     "response.output_text.done\n" CLOSED "response.completed\n");
    ASSERT_HOLDS("\"sequence_number\":0,", "\"status\":\"in_progress\"", "\"usage\":null",
                 "\"sequence_number\":4,", "\"delta\":\"Paris\"", "\"sequence_number\":5,",
                 "\"delta\":\"!\"", "\"text\":\"Paris!\"", "\"sequence_number\":9,",
                 "\"status\":\"completed\"", "\"text\":\"Paris!\"", "\"output_tokens\":2");
    ck_assert(fake.stream_ended);
    ck_assert_ptr_null(strstr(fake.body, "[DONE]"));
    ck_assert_str_eq(fake.shared.finish, "stop");
}
END_TEST

START_TEST(typed_reply_has_an_empty_text_when_nothing_came)
{
    uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    end_by_stop(id);
    ck_assert_str_eq(event_names(), OPENED TEXT_OPENED "response.output_text.done\n" CLOSED
                                                       "response.completed\n");
    fake_exchange_deinit(&fake);
    fake_engine_reset();
    id = jobs_case_start(messages_handle, MESSAGE "}");
    end_by_stop(id);
    ASSERT_HOLDS("\"content\":[{\"type\":\"text\",\"text\":\"\"}]", "\"end_turn\"");
}
END_TEST

START_TEST(typed_reply_is_incomplete_when_cut_by_length)
{
    uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "a");
    end_cut(id);
    ASSERT_HOLDS("response.output_item.done", "\"status\":\"incomplete\"",
                 "response.incomplete {\"type\":\"response.incomplete\"",
                 "\"incomplete_details\":{\"reason\":\"max_output_tokens\"}");
    fake_exchange_deinit(&fake);
    fake_engine_reset();
    id = jobs_case_start(messages_handle, MESSAGE "}");
    end_cut(id);
    ASSERT_HOLDS("\"stop_reason\":\"max_tokens\",\"stop_sequence\":null");
}
END_TEST

START_TEST(typed_reply_shows_thought_apart_when_the_model_thinks)
{
    openai_case.model.chat_template = CHAT_TEMPLATE_G1_THINK;
    uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_text(id, 0, 3, ">hm");
    fake_engine_text(id, 0, 4, "</think>\nyes");
    end_by_stop(id);
    ck_assert_str_eq(
        event_names(), OPENED TEXT_OPENED
        "response.reasoning_text.delta\nresponse.reasoning_text.done\n" CLOSED TEXT_OPENED
        "response.output_text.delta\nresponse.output_text.done\n" CLOSED "response.completed\n");
    ASSERT_HOLDS("\"output_index\":0", "\"type\":\"reasoning\"", "\"delta\":\"hm\"",
                 "\"output_index\":1", "\"delta\":\"yes\"", "response.completed",
                 "\"output\":[{\"id\":\"rs_", "\"text\":\"hm\"", "{\"id\":\"msg_",
                 "\"text\":\"yes\"");
    fake_exchange_deinit(&fake);
    fake_engine_reset();
    id = jobs_case_start(messages_handle, MESSAGE "}");
    fake_engine_text(id, 0, 3, ">hm</think>yes");
    end_by_stop(id);
    ASSERT_HOLDS("\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},"
                 "{\"type\":\"text\",\"text\":\"yes\"}]");
}
END_TEST

START_TEST(typed_reply_sends_every_event_when_a_message_is_streamed)
{
    const uint64_t id = jobs_case_start(messages_handle, MESSAGE ",\"stream\":true}");
    fake_engine_text(id, 0, 257, " Paris");
    end_by_stop(id);
    ck_assert_str_eq(event_names(),
                     "message_start\nping\ncontent_block_start\ncontent_block_delta\n"
                     "content_block_stop\nmessage_delta\nmessage_stop\n");
    ASSERT_HOLDS("\"stop_reason\":null", "\"text\":\"\"", "\"text\":\"Paris\"",
                 "\"stop_reason\":\"end_turn\"", "\"output_tokens\":2",
                 "message_stop {\"type\":\"message_stop\"}\n");
    ck_assert(fake.stream_ended);
    ck_assert(text_starts_with(fake.ping, TEXT("event: ping\n")));
}
END_TEST

START_TEST(typed_reply_names_the_stop_string_when_it_is_the_requests)
{
    /* The third one is the template's own. */
    static const char *const endings[] = {
        "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"b\"",
        "\"stop_reason\":\"end_turn\",\"stop_sequence\":null",
    };
    for (uint32_t turn = 0; turn < 2; turn++) {
        const uint64_t id =
            jobs_case_start(messages_handle, MESSAGE ",\"stop_sequences\":[\"a\",\"b\"]}");
        ck_assert_uint_eq(fake_engine.request->stop_count, 3);
        fake_engine_end_by_string(id, 0, 2 + turn);
        jobs_case_take_events();
        ASSERT_HOLDS(endings[turn]);
        fake_exchange_deinit(&fake);
        fake_engine_reset();
    }
}
END_TEST

START_TEST(typed_reply_ends_by_a_failure_when_the_engine_fails_in_a_stream)
{
    uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "a");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_ERROR, ERROR_DEVICE, 1);
    jobs_case_take_events();
    ASSERT_HOLDS("\"delta\":\"a\"", "response.failed {", "\"sequence_number\":5",
                 "\"status\":\"failed\"", "\"error\":{\"code\":\"server_error\",\"message\":");
    ck_assert(fake.stream_ended);
    ck_assert_str_eq(fake.shared.finish, "error");
    fake_exchange_deinit(&fake);
    fake_engine_reset();
    id = jobs_case_start(messages_handle, MESSAGE ",\"stream\":true}");
    fake.shared.dialect = HTTP_DIALECT_ANTHROPIC;
    fake_engine_text(id, 0, 3, "a");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_ERROR, ERROR_DEVICE, 1);
    jobs_case_take_events();
    ASSERT_HOLDS("\"text\":\"a\"", "error {\"type\":\"error\",\"error\":{");
    ck_assert(fake.stream_ended);
}
END_TEST

START_TEST(typed_reply_keeps_its_status_when_nothing_was_sent_yet)
{
    const uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_end(id, 0, GENERATION_ENDED_BY_ERROR, ERROR_OVERLOADED, 0);
    jobs_case_take_events();
    ck_assert_uint_eq(fake.status, 503);
    ck_assert(!fake.stream_begun);
}
END_TEST

START_TEST(typed_reply_opens_the_stream_when_the_queue_is_long)
{
    const uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    openai_jobs_tick(server.jobs, now_ns + 6000 * MS);
    ck_assert_str_eq(event_names(), OPENED);
    end_by_stop(id);
    ck_assert_str_eq(event_names(), OPENED TEXT_OPENED "response.output_text.done\n" CLOSED
                                                       "response.completed\n");
}
END_TEST

START_TEST(typed_reply_waits_with_its_last_events_when_the_client_is_slow)
{
    const uint64_t id = jobs_case_start(responses_handle, RESPONSE ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "a");
    jobs_case_take_events();
    fake.on_pressure(&fake.shared, true);
    end_by_stop(id); /* The engine is done with it, the client is not. */
    ck_assert_ptr_null(strstr(fake.body, "response.output_text.done"));
    ck_assert(!fake.stream_ended);
    ck_assert_uint_eq(fake.holders, 0);
    fake.on_pressure(&fake.shared, false);
    ck_assert_ptr_nonnull(strstr(fake.body, "response.completed"));
    ck_assert(fake.stream_ended);
    const size_t len = fake.body_len;
    fake.on_pressure(&fake.shared, false); /* Of no consequence any more. */
    ck_assert_uint_eq(fake.body_len, len);
}
END_TEST

START_TEST(typed_reply_stops_sending_when_the_client_is_gone)
{
    const uint64_t id = jobs_case_start(messages_handle, MESSAGE ",\"stream\":true}");
    fake_engine_text(id, 0, 3, "a");
    jobs_case_take_events();
    fake.ring_is_full = true;
    fake_engine_text(id, 0, 3, "b");
    jobs_case_take_events();
    ck_assert_uint_eq(fake_engine.cancels, 1);
    fake_engine_end(id, 0, GENERATION_ENDED_BY_CANCEL, ERROR_NONE, 1);
    jobs_case_take_events();
    ck_assert(!fake.stream_ended);
    ck_assert_str_eq(fake.shared.finish, "cancelled");
}
END_TEST

START_TEST(typed_reply_repeats_the_request_when_it_is_a_response)
{
    const uint64_t id = jobs_case_start(
        responses_handle, RESPONSE ",\"instructions\":\"be \\\"brief\\\"\",\"temperature\":0.3,"
                                   "\"top_p\":0,\"metadata\":{\"k\":\"v\"},\"store\":true,"
                                   "\"reasoning\":{\"effort\":\"low\"},\"max_output_tokens\":7}");
    end_by_stop(id);
    ASSERT_HOLDS("\"instructions\":\"be \\\"brief\\\"\"", "\"max_output_tokens\":7",
                 "\"metadata\":{\"k\":\"v\"}", "\"reasoning\":{\"effort\":\"low\"",
                 "\"store\":false", "\"temperature\":0.3,", "\"top_p\":0,");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("typed_reply");
    TCase *tests = tcase_create("typed_reply");
    tcase_add_checked_fixture(tests, jobs_case_setup, jobs_case_teardown);
    tcase_add_test(tests, typed_reply_sends_every_event_when_a_response_is_streamed);
    tcase_add_test(tests, typed_reply_has_an_empty_text_when_nothing_came);
    tcase_add_test(tests, typed_reply_is_incomplete_when_cut_by_length);
    tcase_add_test(tests, typed_reply_shows_thought_apart_when_the_model_thinks);
    tcase_add_test(tests, typed_reply_sends_every_event_when_a_message_is_streamed);
    tcase_add_test(tests, typed_reply_names_the_stop_string_when_it_is_the_requests);
    tcase_add_test(tests, typed_reply_ends_by_a_failure_when_the_engine_fails_in_a_stream);
    tcase_add_test(tests, typed_reply_keeps_its_status_when_nothing_was_sent_yet);
    tcase_add_test(tests, typed_reply_opens_the_stream_when_the_queue_is_long);
    tcase_add_test(tests, typed_reply_waits_with_its_last_events_when_the_client_is_slow);
    tcase_add_test(tests, typed_reply_stops_sending_when_the_client_is_gone);
    tcase_add_test(tests, typed_reply_repeats_the_request_when_it_is_a_response);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
