/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every message between loop and engine: whole, in order, never lost, never a lost wake.
 * Shown by: a full ring at and past its last byte, wrapped messages, and two threads counting.
 * Thread: main and one sender. */
#include "base/mailbox.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct mailbox *mailbox;
static unsigned wakes;

static void count_wake(void *context)
{
    unsigned *count = context;
    (*count)++;
}

/* A ring of 64 bytes: a message costs its bytes + 8, rounded up to 8. */
static void create_small(void)
{
    wakes = 0;
    ck_assert_int_eq(mailbox_create(64, count_wake, &wakes, &mailbox, NULL), ERROR_NONE);
}

static void destroy(void)
{
    mailbox_destroy(mailbox);
    mailbox = NULL;
}

START_TEST(mailbox_returns_messages_in_order_when_posted)
{
    char out[64];
    ck_assert(mailbox_post(mailbox, "one", 3));
    ck_assert(mailbox_post_pair(mailbox, "tw", 2, "o!", 2));
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 3);
    ck_assert_int_eq(memcmp(out, "one", 3), 0);
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 4);
    ck_assert_int_eq(memcmp(out, "two!", 4), 0);
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 0);
}
END_TEST

START_TEST(mailbox_accepts_message_when_it_just_fits)
{
    char message[56] = {0};
    ck_assert_uint_eq(mailbox_space(mailbox), sizeof(message));
    ck_assert(mailbox_post(mailbox, message, sizeof(message)));
    ck_assert_uint_eq(mailbox_space(mailbox), 0);
    ck_assert_uint_eq(mailbox_take(mailbox, message, sizeof(message)), sizeof(message));
    ck_assert_uint_eq(mailbox_space(mailbox), sizeof(message));
}
END_TEST

START_TEST(mailbox_refuses_message_when_it_is_one_byte_too_long)
{
    const char message[57] = {0};
    ck_assert(!mailbox_post(mailbox, message, sizeof(message)));
    ck_assert(!mailbox_post_pair(mailbox, message, 1, message, 56));
    ck_assert(!mailbox_post(mailbox, message, SIZE_MAX));
    ck_assert(!mailbox_post_pair(mailbox, message, SIZE_MAX, message, 2));
    ck_assert_uint_eq(wakes, 0);
}
END_TEST

/* Message number `round`: 1 to 24 bytes of that value. */
static size_t fill(char message[24], unsigned round)
{
    memset(message, (int)round, 24);
    return 1 + round % 24;
}

START_TEST(mailbox_keeps_bytes_when_message_wraps_around_the_ring)
{
    char message[24];
    char out[24];
    ck_assert(mailbox_post(mailbox, message, fill(message, 0)));
    for (unsigned round = 1; round < 200; round++) {
        /* One message always stays: an emptied ring would start at its front again. */
        size_t bytes = fill(message, round);
        ck_assert(mailbox_post_pair(mailbox, message, bytes / 2, message, bytes - bytes / 2));
        bytes = fill(message, round - 1);
        ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), bytes);
        ck_assert_int_eq(memcmp(message, out, bytes), 0);
    }
}
END_TEST

START_TEST(mailbox_wakes_once_when_it_stops_being_empty)
{
    char out[8];
    ck_assert(mailbox_post(mailbox, "a", 1));
    ck_assert(mailbox_post(mailbox, "b", 1));
    ck_assert_uint_eq(wakes, 1);
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 1);
    ck_assert(mailbox_post(mailbox, "c", 1));
    ck_assert_uint_eq(wakes, 1);
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 1);
    ck_assert_uint_eq(mailbox_take(mailbox, out, sizeof(out)), 1);
    ck_assert(mailbox_post(mailbox, "d", 1));
    ck_assert_uint_eq(wakes, 2);
}
END_TEST

START_TEST(mailbox_rounds_capacity_up_when_it_is_no_power_of_two)
{
    struct mailbox *larger;
    ck_assert_int_eq(mailbox_create(65, NULL, NULL, &larger, NULL), ERROR_NONE);
    ck_assert_uint_eq(mailbox_space(larger), 128 - 8);
    mailbox_destroy(larger);
}
END_TEST

START_TEST(mailbox_create_fails_when_capacity_cannot_be_had)
{
    struct mailbox *none;
    struct error error;
    ck_assert_int_eq(mailbox_create(SIZE_MAX, NULL, NULL, &none, &error), ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(mailbox_wait_returns_when_time_has_passed_or_message_is_there)
{
    mailbox_wait(mailbox, 0);
    mailbox_wait(mailbox, 1000000);
    ck_assert(mailbox_post(mailbox, "a", 1));
    mailbox_wait(mailbox, UINT64_MAX);
    mailbox_wait(mailbox, UINT64_MAX - 1);
}
END_TEST

enum { MESSAGES = 20000 };

/* Posts 1, 2, 3, ... each followed by a tail of varying length. */
static void *send_numbers(void *context)
{
    (void)context;
    const char tail[16] = {0};
    for (uint64_t number = 1; number <= MESSAGES; number++) {
        while (!mailbox_post_pair(mailbox, &number, sizeof(number), tail, number % sizeof(tail))) {
        }
    }
    return NULL;
}

START_TEST(mailbox_loses_nothing_when_two_threads_use_it)
{
    pthread_t sender;
    wakes = 0;
    ck_assert_int_eq(pthread_create(&sender, NULL, send_numbers, NULL), 0);
    for (uint64_t expected = 1; expected <= MESSAGES;) {
        char out[64];
        mailbox_wait(mailbox, UINT64_MAX);
        for (size_t bytes; (bytes = mailbox_take(mailbox, out, sizeof(out))) > 0; expected++) {
            uint64_t number;
            memcpy(&number, out, sizeof(number));
            ck_assert_uint_eq(number, expected);
            ck_assert_uint_eq(bytes, sizeof(number) + number % 16);
        }
    }
    pthread_join(sender, NULL);
    ck_assert_uint_ge(wakes, 1);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("mailbox");
    tcase_add_checked_fixture(all, create_small, destroy);
    tcase_add_test(all, mailbox_returns_messages_in_order_when_posted);
    tcase_add_test(all, mailbox_accepts_message_when_it_just_fits);
    tcase_add_test(all, mailbox_refuses_message_when_it_is_one_byte_too_long);
    tcase_add_test(all, mailbox_keeps_bytes_when_message_wraps_around_the_ring);
    tcase_add_test(all, mailbox_wakes_once_when_it_stops_being_empty);
    tcase_add_test(all, mailbox_rounds_capacity_up_when_it_is_no_power_of_two);
    tcase_add_test(all, mailbox_create_fails_when_capacity_cannot_be_had);
    tcase_add_test(all, mailbox_wait_returns_when_time_has_passed_or_message_is_there);
    tcase_add_test(all, mailbox_loses_nothing_when_two_threads_use_it);
    Suite *suite = suite_create("base/mailbox");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
