/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: which handler answers, whatever the spelling of slashes; model ids may contain slashes.
 * Shown by: paths as clients write them. Thread: main. */
#include "server/http_routes.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/openai_handlers.h"

static void assert_normalised(const char *path, const char *expected)
{
    char buffer[64];
    const struct text normalised = http_routes_normalise(text_from(path), buffer);
    ck_assert_str_eq(buffer, expected);
    ck_assert_uint_eq(normalised.len, strlen(expected));
}

START_TEST(http_routes_collapses_slashes_when_they_repeat_or_trail)
{
    assert_normalised("/v1/models", "/v1/models");
    assert_normalised("//v1///models//", "/v1/models");
    assert_normalised("/v1/models/", "/v1/models");
    assert_normalised("/", "/");
    assert_normalised("///", "/");
    assert_normalised("", "");
    assert_normalised("*", "*");
}
END_TEST

START_TEST(http_routes_finds_the_rest_when_the_path_ends_in_an_id)
{
    struct text tail;
    const struct http_route *route =
        http_routes_find(TEXT("GET"), TEXT("/v1/models/RWKV/rwkv7:g1%2Fb"), &tail);
    ck_assert_ptr_nonnull(route);
    ck_assert(route->handler == openai_model_handle);
    ck_assert(text_equals(tail, TEXT("RWKV/rwkv7:g1%2Fb")));
    route = http_routes_find(TEXT("GET"), TEXT("/v1/models"), &tail);
    ck_assert(route->handler == openai_models_list_handle);
    ck_assert_uint_eq(tail.len, 0);
    ck_assert_ptr_null(http_routes_find(TEXT("GET"), TEXT("/v1/modelsx"), &tail));
    ck_assert_ptr_null(http_routes_find(TEXT("GET"), TEXT("/v1/models/"), &tail));
}
END_TEST

START_TEST(http_routes_finds_the_same_handler_when_the_prefix_is_left_out)
{
    struct text tail;
    ck_assert(http_routes_find(TEXT("POST"), TEXT("/chat/completions"), &tail)->handler ==
              openai_chat_handle);
    ck_assert(http_routes_find(TEXT("POST"), TEXT("/completions"), &tail)->handler ==
              openai_completions_handle);
    ck_assert(http_routes_find(TEXT("HEAD"), TEXT("/models/x"), &tail)->handler ==
              openai_model_handle);
}
END_TEST

START_TEST(http_routes_lists_methods_when_the_path_exists)
{
    char allowed[32];
    ck_assert(http_routes_allowed(TEXT("/livez"), allowed, sizeof(allowed)));
    ck_assert_str_eq(allowed, "GET, HEAD, OPTIONS");
    ck_assert(http_routes_allowed(TEXT("/tokenize"), allowed, sizeof(allowed)));
    ck_assert_str_eq(allowed, "POST, OPTIONS");
    ck_assert(!http_routes_allowed(TEXT("/nowhere"), allowed, sizeof(allowed)));
}
END_TEST

START_TEST(http_routes_gives_an_index_when_there_is_no_route)
{
    ck_assert_uint_eq(http_routes_index(NULL), http_routes_count());
    for (size_t index = 0; index < http_routes_count(); index++) {
        ck_assert_uint_eq(http_routes_index(http_routes_at(index)), index);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/http_routes");
    TCase *table = tcase_create("table");
    tcase_add_test(table, http_routes_collapses_slashes_when_they_repeat_or_trail);
    tcase_add_test(table, http_routes_finds_the_rest_when_the_path_ends_in_an_id);
    tcase_add_test(table, http_routes_finds_the_same_handler_when_the_prefix_is_left_out);
    tcase_add_test(table, http_routes_lists_methods_when_the_path_exists);
    tcase_add_test(table, http_routes_gives_an_index_when_there_is_no_route);
    suite_add_tcase(suite, table);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
