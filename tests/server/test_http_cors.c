/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a web page reads our answers only when the operator named its origin.
 * Shown by: lists as an operator writes them, and origins that are nearly in them. Thread: main. */
#include "server/http_cors.h"

#include <check.h>
#include <stdlib.h>

static enum http_cors_verdict judge(const char *list, const char *origin)
{
    return http_cors_judge(text_from(list), text_from(origin));
}

START_TEST(http_cors_refuses_when_the_origin_is_not_listed)
{
    const char *list = "https://a.example, http://localhost:3000";
    ck_assert_int_eq(judge(list, "https://a.example"), HTTP_CORS_LISTED);
    ck_assert_int_eq(judge(list, "http://localhost:3000"), HTTP_CORS_LISTED);
    ck_assert_int_eq(judge(list, "http://a.example"), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(list, "https://a.example:443"), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(list, "https://a.example.evil"), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(list, "https://a.exampl"), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(list, "null"), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(list, ""), HTTP_CORS_REFUSED);
    ck_assert_int_eq(judge(NULL, "https://a.example"), HTTP_CORS_REFUSED);
}
END_TEST

START_TEST(http_cors_accepts_any_origin_when_the_list_says_so)
{
    ck_assert_int_eq(judge("*", "https://a.example"), HTTP_CORS_ANY);
    ck_assert_int_eq(judge("*", "null"), HTTP_CORS_ANY);
    ck_assert_int_eq(judge("*", ""), HTTP_CORS_REFUSED); /* No page asks. */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/http_cors");
    TCase *tests = tcase_create("http_cors");
    tcase_add_test(tests, http_cors_refuses_when_the_origin_is_not_listed);
    tcase_add_test(tests, http_cors_accepts_any_origin_when_the_list_says_so);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
