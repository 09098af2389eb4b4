/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: log-probabilities and ids that stand beside another text than their own.
 * Shown by: tokens queued and texts taken, the shares written as "text:ids" and compared. */
#include "server/token_queue.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openai_case.h"

static struct openai_case server;
static struct token_queue queue;

static void setup(void)
{
    openai_case_open(&server);
    queue = (struct token_queue){0};
}

static void teardown(void)
{
    openai_case_close(&server);
}

static void add(int32_t id)
{
    const struct openai_token token = {.tokenizer = server.tokenizer, .id = id};
    ck_assert(token_queue_add(&queue, &token, &server.arena));
}

static size_t write_ids(const struct openai_token *token, char *out, size_t capacity)
{
    size_t len = 0;
    for (; token != NULL; token = token->next) {
        len += (size_t)snprintf(out + len, capacity - len, "%s%d%s", len > 0 ? "," : "",
                                (int)token->id, token->is_thought ? "t" : "");
    }
    return len;
}

/* Takes the whole text: "share:ids|share:ids". */
static void check_text(const char *text, const char *expected)
{
    char out[256] = "";
    size_t len = 0;
    struct text rest = text_from(text);
    while (rest.len > 0) {
        const struct token_share share = token_queue_next(&queue, &rest);
        ck_assert_uint_gt(share.text.len, 0);
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%.*s:", len > 0 ? "|" : "",
                                (int)share.text.len, share.text.bytes);
        len += write_ids(share.first, out + len, sizeof(out) - len);
    }
    ck_assert_str_eq(out, expected);
}

static void check_rest(const char *expected)
{
    char out[256] = "";
    write_ids(token_queue_take_rest(&queue), out, sizeof(out));
    ck_assert_str_eq(out, expected);
}

START_TEST(token_queue_gives_each_token_its_text_when_several_come_at_once)
{
    add(TOKEN_SPACE_PARIS);
    add('.' + 1);
    add('x' + 1);
    check_text(" Paris.", " Paris:257|.:47");
    check_text("x", "x:121");
    check_rest("");
}
END_TEST

START_TEST(token_queue_keeps_a_character_whole_when_tokens_split_it)
{
    add(TOKEN_EURO_HALF);
    add(0xac + 1);
    add('a' + 1);
    check_text("\xe2\x82\xac" "a", "\xe2\x82\xac:258,173|a:98");
}
END_TEST

START_TEST(token_queue_gives_a_token_with_its_first_byte_when_the_rest_comes_later)
{
    add(TOKEN_USER); /* "\n\nUser:" */
    add('b' + 1);
    check_text("\n", "\n:260");
    check_text("\nUser", "\nUser:");
    check_text(":b", "::|b:99");
}
END_TEST

START_TEST(token_queue_joins_tokens_without_text_to_the_next)
{
    add(0);
    add(0);
    add('a' + 1);
    add(0);
    check_text("a", "a:0,0,98");
    check_rest("0");
}
END_TEST

START_TEST(token_queue_marks_what_is_skipped_as_thought_or_shortens_it)
{
    add('>' + 1);
    add(TOKEN_SPACE_PARIS);
    ck_assert_uint_eq(token_queue_skip(&queue, 1, true), 1);
    ck_assert_uint_eq(token_queue_skip(&queue, 1, false), 0);
    struct text rest = TEXT("Paris");
    const struct token_share share = token_queue_next(&queue, &rest);
    ck_assert(share.first->is_thought);
    ck_assert(!share.first->next->is_thought);
    ck_assert(text_equals(openai_token_text(share.first->next), TEXT("Paris")));
}
END_TEST

START_TEST(token_queue_calls_what_was_never_shown_no_answer)
{
    add('a' + 1);
    add(TOKEN_USER);
    check_text("a", "a:98");
    check_rest("260t");
    add('b' + 1);
    check_text("b", "b:99"); /* And begins anew. */
}
END_TEST

START_TEST(token_queue_loses_nothing_when_bad_bytes_grew)
{
    add(0xff + 1);
    add('a' + 1);
    check_text("\xef\xbf\xbd" "a", "\xef\xbf\xbd" "a:256,98");
    add('b' + 1);
    check_text("b", "b:99");
}
END_TEST

START_TEST(token_queue_uses_memory_again)
{
    add('a' + 1);
    check_text("a", "a:98");
    const size_t used = server.arena.bytes_used;
    for (int round = 0; round < 1000; round++) {
        add('b' + 1);
        check_text("b", "b:99");
    }
    ck_assert_uint_le(server.arena.bytes_used, 2 * used);
    server.arena.bytes_max = server.arena.bytes_used;
    add('c' + 1);
    const struct openai_token token = {.tokenizer = server.tokenizer, .id = 5};
    while (token_queue_add(&queue, &token, &server.arena)) {
        ck_assert_uint_le(server.arena.bytes_used, server.arena.bytes_max);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_queue");
    TCase *tests = tcase_create("token_queue");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, token_queue_gives_each_token_its_text_when_several_come_at_once);
    tcase_add_test(tests, token_queue_keeps_a_character_whole_when_tokens_split_it);
    tcase_add_test(tests, token_queue_gives_a_token_with_its_first_byte_when_the_rest_comes_later);
    tcase_add_test(tests, token_queue_joins_tokens_without_text_to_the_next);
    tcase_add_test(tests, token_queue_marks_what_is_skipped_as_thought_or_shortens_it);
    tcase_add_test(tests, token_queue_calls_what_was_never_shown_no_answer);
    tcase_add_test(tests, token_queue_loses_nothing_when_bad_bytes_grew);
    tcase_add_test(tests, token_queue_uses_memory_again);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
