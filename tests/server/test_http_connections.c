/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a dripping client must not hold a connection for ever, a working one must not lose it.
 * Shown by: each state at its limit and one past; the pool full and emptied. Thread: main. */
#include "server/http_connections.h"

#include <check.h>
#include <stdlib.h>

#include "base/limits.h"

static void assert_limit(enum http_connection_state state, uint64_t limit_ms)
{
    struct http_connection connection = {0};
    http_connection_enter(&connection, state, 1000);
    ck_assert(!http_connection_is_late(&connection, 1000));
    ck_assert(!http_connection_is_late(&connection, 1000 + limit_ms));
    ck_assert(http_connection_is_late(&connection, 1001 + limit_ms));
}

START_TEST(http_connections_are_late_when_past_the_limit_of_their_state)
{
    assert_limit(HTTP_CONNECTION_HEADER, LIMIT_HEADER_MS);
    assert_limit(HTTP_CONNECTION_BODY, LIMIT_BODY_MS);
    assert_limit(HTTP_CONNECTION_IDLE, LIMIT_IDLE_MS);
    struct http_connection busy = {0};
    http_connection_enter(&busy, HTTP_CONNECTION_BUSY, 0);
    ck_assert(!http_connection_is_late(&busy, UINT64_MAX));
}
END_TEST

START_TEST(http_connections_are_late_soon_when_the_client_has_left)
{
    struct http_connection half = {.has_left = true, .left_ms = 2000};
    http_connection_enter(&half, HTTP_CONNECTION_BODY, 1000);
    ck_assert(!http_connection_is_late(&half, 2500));
    ck_assert(http_connection_is_late(&half, 2501));
    /* The next of several requests that were sent at once has its own time. */
    http_connection_enter(&half, HTTP_CONNECTION_HEADER, 2400);
    ck_assert(!http_connection_is_late(&half, 2900));
    ck_assert(http_connection_is_late(&half, 2901));
    http_connection_enter(&half, HTTP_CONNECTION_BUSY, 2400);
    ck_assert(!http_connection_is_late(&half, 9000));
}
END_TEST

START_TEST(http_connections_give_null_when_all_are_in_use)
{
    struct error error = {0};
    struct http_connections connections;
    ck_assert_int_eq(http_connections_init(&connections, 3, &error), ERROR_NONE);
    struct http_connection *open[3];
    for (int index = 0; index < 3; index++) {
        open[index] = http_connections_acquire(&connections, NULL, index, 5);
        ck_assert_ptr_nonnull(open[index]);
        ck_assert_int_eq(open[index]->state, HTTP_CONNECTION_HEADER);
    }
    ck_assert_ptr_null(http_connections_acquire(&connections, NULL, 3, 5));
    http_connections_release(&connections, open[1]);
    ck_assert_uint_eq(connections.open_count, 2);
    ck_assert_ptr_eq(http_connections_acquire(&connections, NULL, 4, 5), open[1]);
    for (int index = 0; index < 3; index++) {
        http_connections_release(&connections, open[index]);
    }
    ck_assert_uint_eq(connections.open_count, 0);
    ck_assert_ptr_null(connections.open);
    http_connections_deinit(&connections);
}
END_TEST

START_TEST(http_connections_count_as_busy_when_a_request_is_under_way)
{
    struct error error = {0};
    struct http_connections connections;
    ck_assert_int_eq(http_connections_init(&connections, 4, &error), ERROR_NONE);
    const enum http_connection_state states[] = {HTTP_CONNECTION_HEADER, HTTP_CONNECTION_BODY,
                                                 HTTP_CONNECTION_BUSY, HTTP_CONNECTION_IDLE};
    for (int index = 0; index < 4; index++) {
        http_connection_enter(http_connections_acquire(&connections, NULL, index, 0), states[index],
                              0);
    }
    ck_assert_uint_eq(http_connections_busy_count(&connections), 2);
    http_connections_deinit(&connections);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/http_connections");
    TCase *records = tcase_create("records");
    tcase_add_test(records, http_connections_are_late_when_past_the_limit_of_their_state);
    tcase_add_test(records, http_connections_are_late_soon_when_the_client_has_left);
    tcase_add_test(records, http_connections_give_null_when_all_are_in_use);
    tcase_add_test(records, http_connections_count_as_busy_when_a_request_is_under_way);
    suite_add_tcase(suite, records);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
