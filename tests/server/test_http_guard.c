/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a request that two parsers read differently, or that needs no body to be refused, must
 * not come through. Shown by: one head per rule, and pairs that break two rules to show the order.
 * Thread: main. */
#include "server/http_guard.h"

#include <check.h>
#include <stdlib.h>

#include "base/limits.h"
#include "server/api_keys.h"

static struct api_keys *no_keys;
static struct api_keys *one_key;

static void setup(void)
{
    struct error error = {0};
    ck_assert_int_eq(api_keys_open(NULL, NULL, &no_keys, &error), ERROR_NONE);
    ck_assert_int_eq(api_keys_open("sesame", NULL, &one_key, &error), ERROR_NONE);
}

static void teardown(void)
{
    api_keys_close(no_keys);
    api_keys_close(one_key);
}

/* A head in one piece of text: "POST /path HTTP/1.1" and lines of "Name:value". */
static struct http_head head_of(struct text lines)
{
    struct text first = text_cut(&lines, '\n');
    struct http_head head = {0};
    head.method = text_cut(&first, ' ');
    head.path = text_cut(&first, ' ');
    head.version = first;
    while (lines.len > 0) {
        struct text value = text_cut(&lines, '\n');
        const struct text name = text_cut(&value, ':');
        http_head_add_field(&head, name, value);
    }
    return head;
}

static struct http_rules rules_without_keys(void)
{
    return (struct http_rules){.bound_to_loopback = true,
                               .bound_host = TEXT("127.0.0.1"),
                               .keys = no_keys,
                               .body_bytes_max = 1 << 20};
}

static struct http_verdict judge(struct text lines)
{
    const struct http_head head = head_of(lines);
    const struct http_rules rules = rules_without_keys();
    return http_guard_judge(&head, &rules);
}

#define GET_LIVE "GET /livez HTTP/1.1\nHost:localhost\n"
#define POST_CHAT "POST /v1/chat/completions HTTP/1.1\nHost:localhost\n"
#define JSON "Content-Type:application/json\n"

static void assert_refused(struct text lines, enum openai_error_kind kind, bool closes)
{
    const struct http_verdict verdict = judge(lines);
    ck_assert_msg(verdict.action == HTTP_ACTION_REFUSE, "passed: %s", lines.bytes);
    ck_assert_msg((int)verdict.kind == (int)kind, "%s: %s", lines.bytes, verdict.message);
    ck_assert_msg(verdict.closes == closes, "%s: closes %d", lines.bytes, verdict.closes);
    ck_assert_msg(verdict.reads_body == !closes, "%s: reads %d", lines.bytes, verdict.reads_body);
}

static void assert_passes(struct text lines)
{
    const struct http_verdict verdict = judge(lines);
    ck_assert_msg(verdict.action == HTTP_ACTION_HANDLE, "%s: %s", lines.bytes, verdict.message);
    ck_assert_ptr_nonnull(verdict.route);
    ck_assert(verdict.reads_body && !verdict.closes);
}

START_TEST(http_guard_passes_when_nothing_is_wrong)
{
    assert_passes(TEXT(GET_LIVE));
    assert_passes(TEXT("HEAD /livez HTTP/1.1\nHost:localhost:80\n"));
    assert_passes(TEXT("GET /livez HTTP/1.0\n"));
    assert_passes(TEXT(POST_CHAT JSON "Content-Length:1048576\n"));
    assert_passes(
        TEXT(POST_CHAT "content-type: Application/Json ; charset=utf-8\nEXPECT:100-Continue"));
    assert_passes(TEXT(POST_CHAT JSON "Content-Encoding:identity\n"));
}
END_TEST

START_TEST(http_guard_closes_when_framing_is_ambiguous)
{
    const enum openai_error_kind bad = OPENAI_ERROR_INVALID_REQUEST;
    assert_refused(TEXT("GET /livez HTTP/1.2\nHost:localhost\n"), OPENAI_ERROR_HTTP_VERSION, true);
    assert_refused(TEXT("GET /livez HTTP/2.0\nHost:localhost\n"), OPENAI_ERROR_HTTP_VERSION, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\n"), bad, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:localhost\nhost:localhost\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:2\nTransfer-Encoding:chunked\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:2\nContent-Length:2\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:+2\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:-2\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:2, 2\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:18446744073709551616\n"), bad, true);
    assert_refused(TEXT(POST_CHAT JSON JSON), bad, true);
    assert_refused(TEXT(POST_CHAT JSON "Transfer-Encoding:chunked\n"), OPENAI_ERROR_LENGTH_REQUIRED,
                   true);
    assert_refused(TEXT(GET_LIVE "Transfer-Encoding:identity\n"), OPENAI_ERROR_LENGTH_REQUIRED,
                   true);
}
END_TEST

START_TEST(http_guard_closes_when_a_field_has_bad_bytes)
{
    const enum openai_error_kind bad = OPENAI_ERROR_INVALID_REQUEST;
    assert_refused(TEXT(GET_LIVE "Content-Length :5\n"), bad, true);
    assert_refused(TEXT(GET_LIVE ":v\n"), bad, true);
    assert_refused(TEXT(GET_LIVE "X(:v\n"), bad, true);
    assert_refused(TEXT(GET_LIVE "X\xc3\xa9:v\n"), bad, true);
    assert_refused(TEXT(GET_LIVE "X:a\x01z\n"), bad, true);
    assert_refused(TEXT(GET_LIVE "X:a\rb\n"), bad, true);
    assert_refused(TEXT(GET_LIVE "X:\x7f\n"), bad, true);
    assert_passes(TEXT(GET_LIVE "X-!#$%&'*+.^_`|~:\xc3\xa9\ta b\n"));
}
END_TEST

START_TEST(http_guard_refuses_host_when_it_is_of_another_machine)
{
    const enum openai_error_kind bad = OPENAI_ERROR_INVALID_REQUEST;
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:evil.example\n"), OPENAI_ERROR_MISDIRECTED,
                   false);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:\n"), OPENAI_ERROR_MISDIRECTED, false);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:localhost.evil.example:80\n"),
                   OPENAI_ERROR_MISDIRECTED, false);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:localhost:65536\n"), bad, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:localhost:8x\n"), bad, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:evil@localhost\n"), bad, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:[::1\n"), bad, true);
    assert_refused(TEXT("GET /livez HTTP/1.1\nHost:[::1]x\n"), bad, true);
    assert_passes(TEXT("GET /livez HTTP/1.1\nHost:LocalHost:65535\n"));
    assert_passes(TEXT("GET /livez HTTP/1.1\nHost:[::1]:1\n"));
    assert_passes(TEXT("GET /livez HTTP/1.1\nHost:127.0.0.1\n"));
}
END_TEST

START_TEST(http_guard_accepts_any_host_when_bound_to_the_network)
{
    const struct http_head head = head_of(TEXT("GET /livez HTTP/1.1\nHost:api.example:443\n"));
    struct http_rules rules = rules_without_keys();
    rules.bound_to_loopback = false;
    ck_assert_int_eq(http_guard_judge(&head, &rules).action, HTTP_ACTION_HANDLE);
}
END_TEST

START_TEST(http_guard_names_the_route_when_path_or_method_differ)
{
    assert_refused(TEXT("GET /nowhere HTTP/1.1\nHost:localhost\n"), OPENAI_ERROR_ROUTE_NOT_FOUND,
                   false);
    assert_refused(TEXT("PUT /livez HTTP/1.1\nHost:localhost\n"), OPENAI_ERROR_METHOD, false);
    assert_refused(TEXT("GET /tokenize HTTP/1.1\nHost:localhost\n"), OPENAI_ERROR_METHOD, false);
    assert_refused(TEXT("get /livez HTTP/1.1\nHost:localhost\n"), OPENAI_ERROR_METHOD, false);
    const struct http_verdict verdict = judge(TEXT("OPTIONS /tokenize HTTP/1.1\nHost:localhost\n"));
    ck_assert_int_eq(verdict.action, HTTP_ACTION_OPTIONS);
    ck_assert(verdict.reads_body && !verdict.closes);
}
END_TEST

START_TEST(http_guard_wants_a_key_when_the_server_has_keys)
{
    struct http_rules rules = rules_without_keys();
    rules.keys = one_key;
    const struct http_head without = head_of(TEXT(POST_CHAT JSON "Content-Length:1000000\n"));
    const struct http_verdict refused = http_guard_judge(&without, &rules);
    ck_assert_int_eq(refused.action, HTTP_ACTION_REFUSE);
    ck_assert_int_eq((int)refused.kind, OPENAI_ERROR_INVALID_KEY);
    ck_assert(!refused.reads_body);

    const struct http_head with = head_of(TEXT(POST_CHAT JSON "Authorization:Bearer sesame\n"));
    ck_assert_int_eq(http_guard_judge(&with, &rules).action, HTTP_ACTION_HANDLE);

    const struct http_head twice =
        head_of(TEXT(POST_CHAT JSON "Authorization:Bearer a\nAuthorization:Bearer sesame\n"));
    ck_assert_int_eq((int)http_guard_judge(&twice, &rules).kind, OPENAI_ERROR_INVALID_REQUEST);
}
END_TEST

START_TEST(http_guard_takes_the_key_when_it_comes_as_anthropics)
{
    struct http_rules rules = rules_without_keys();
    rules.keys = one_key;
    const struct http_head right = head_of(TEXT(POST_CHAT JSON "X-Api-Key: sesame \n"));
    ck_assert_int_eq(http_guard_judge(&right, &rules).action, HTTP_ACTION_HANDLE);
    const struct http_head both =
        head_of(TEXT(POST_CHAT JSON "x-api-key:sesame\nAuthorization:Bearer none\n"));
    ck_assert_int_eq(http_guard_judge(&both, &rules).action, HTTP_ACTION_HANDLE);
    const struct http_head wrong = head_of(TEXT(POST_CHAT JSON "x-api-key:Bearer sesame\n"));
    ck_assert_int_eq((int)http_guard_judge(&wrong, &rules).kind, OPENAI_ERROR_INVALID_KEY);
    const struct http_head empty = head_of(TEXT(POST_CHAT JSON "x-api-key:\n"));
    ck_assert_int_eq((int)http_guard_judge(&empty, &rules).kind, OPENAI_ERROR_INVALID_KEY);
    const struct http_head twice =
        head_of(TEXT(POST_CHAT JSON "x-api-key:sesame\nX-Api-Key:sesame\n"));
    ck_assert_int_eq((int)http_guard_judge(&twice, &rules).kind, OPENAI_ERROR_INVALID_REQUEST);
}
END_TEST

/* Every row of the table: closed unless it is one of the three probes. */
START_TEST(http_guard_opens_only_probes_when_there_is_no_key)
{
    struct http_rules rules = rules_without_keys();
    rules.keys = one_key;
    size_t open_count = 0;
    for (size_t index = 0; index < http_routes_count(); index++) {
        const struct http_route *route = http_routes_at(index);
        const struct http_head head = {.method = text_from(route->method),
                                       .path = text_from(route->path),
                                       .version = TEXT("HTTP/1.0"),
                                       .content_type = TEXT("application/json")};
        const struct http_verdict verdict = http_guard_judge(&head, &rules);
        ck_assert_ptr_eq(verdict.route, route);
        if (verdict.action == HTTP_ACTION_HANDLE) {
            open_count++;
            ck_assert_int_eq(route->access, HTTP_ACCESS_PUBLIC);
        } else {
            ck_assert_int_eq((int)verdict.kind, OPENAI_ERROR_INVALID_KEY);
        }
    }
    ck_assert_uint_eq(open_count, 3);
}
END_TEST

START_TEST(http_guard_refuses_body_when_type_or_size_is_wrong)
{
    assert_refused(TEXT(POST_CHAT "Content-Type:text/plain\n"), OPENAI_ERROR_CONTENT_TYPE, false);
    assert_refused(TEXT(POST_CHAT "Content-Type:application/jsonp\n"), OPENAI_ERROR_CONTENT_TYPE,
                   false);
    assert_refused(TEXT(POST_CHAT), OPENAI_ERROR_CONTENT_TYPE, false);
    assert_refused(TEXT(POST_CHAT JSON "Content-Encoding:gzip\n"), OPENAI_ERROR_CONTENT_TYPE,
                   false);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:1048577\n"), OPENAI_ERROR_BODY_TOO_LARGE,
                   true);
    assert_refused(TEXT(POST_CHAT JSON "Content-Length:18446744073709551615\n"),
                   OPENAI_ERROR_BODY_TOO_LARGE, true);
    assert_refused(TEXT(GET_LIVE "Content-Length:65537\n"), OPENAI_ERROR_BODY_TOO_LARGE, true);
    assert_passes(TEXT(GET_LIVE "Content-Length:65536\n"));
}
END_TEST

START_TEST(http_guard_keeps_connection_when_refused_body_is_small)
{
    _Static_assert(LIMIT_DRAINED_BODY_BYTES == 65536, "the numbers below");
    assert_refused(TEXT("POST /nowhere HTTP/1.1\nHost:localhost\nContent-Length:65536\n"),
                   OPENAI_ERROR_ROUTE_NOT_FOUND, false);
    assert_refused(TEXT("POST /nowhere HTTP/1.1\nHost:localhost\nContent-Length:65537\n"),
                   OPENAI_ERROR_ROUTE_NOT_FOUND, true);
    assert_refused(TEXT(POST_CHAT JSON "Expect:miracles\n"), OPENAI_ERROR_EXPECTATION, true);
    assert_refused(TEXT("POST /nowhere HTTP/1.1\nHost:localhost\nExpect:100-continue\n"),
                   OPENAI_ERROR_ROUTE_NOT_FOUND, true);
}
END_TEST

START_TEST(http_guard_refuses_work_when_draining)
{
    struct http_rules rules = rules_without_keys();
    rules.draining = true;
    const struct http_head post = head_of(TEXT(POST_CHAT JSON));
    const struct http_verdict refused = http_guard_judge(&post, &rules);
    ck_assert_int_eq((int)refused.kind, OPENAI_ERROR_UNAVAILABLE);
    ck_assert(refused.closes);
    const struct http_head probe = head_of(TEXT(GET_LIVE));
    const struct http_verdict answered = http_guard_judge(&probe, &rules);
    ck_assert_int_eq(answered.action, HTTP_ACTION_HANDLE);
    ck_assert(answered.closes);
}
END_TEST

/* A wrong key is not told whether its body would have been good. */
START_TEST(http_guard_names_the_first_rule_when_several_are_broken)
{
    assert_refused(TEXT("PUT /nowhere HTTP/1.1\nHost:evil.example\nTransfer-Encoding:chunked\n"),
                   OPENAI_ERROR_LENGTH_REQUIRED, true);
    assert_refused(TEXT("PUT /nowhere HTTP/1.1\nHost:evil.example\n"), OPENAI_ERROR_MISDIRECTED,
                   false);
    struct http_rules rules = rules_without_keys();
    rules.keys = one_key;
    const struct http_head head =
        head_of(TEXT(POST_CHAT "Expect:miracles\nContent-Length:9999999\n"));
    ck_assert_int_eq((int)http_guard_judge(&head, &rules).kind, OPENAI_ERROR_INVALID_KEY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/http_guard");
    TCase *gate = tcase_create("gate");
    tcase_add_checked_fixture(gate, setup, teardown);
    tcase_add_test(gate, http_guard_passes_when_nothing_is_wrong);
    tcase_add_test(gate, http_guard_closes_when_framing_is_ambiguous);
    tcase_add_test(gate, http_guard_closes_when_a_field_has_bad_bytes);
    tcase_add_test(gate, http_guard_refuses_host_when_it_is_of_another_machine);
    tcase_add_test(gate, http_guard_accepts_any_host_when_bound_to_the_network);
    tcase_add_test(gate, http_guard_names_the_route_when_path_or_method_differ);
    tcase_add_test(gate, http_guard_wants_a_key_when_the_server_has_keys);
    tcase_add_test(gate, http_guard_takes_the_key_when_it_comes_as_anthropics);
    tcase_add_test(gate, http_guard_opens_only_probes_when_there_is_no_key);
    tcase_add_test(gate, http_guard_refuses_body_when_type_or_size_is_wrong);
    tcase_add_test(gate, http_guard_keeps_connection_when_refused_body_is_small);
    tcase_add_test(gate, http_guard_refuses_work_when_draining);
    tcase_add_test(gate, http_guard_names_the_first_rule_when_several_are_broken);
    suite_add_tcase(suite, gate);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
