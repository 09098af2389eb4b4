/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: work that can wait is done once, in order, takes no more than its share, and leaves no
 * thread and no task behind.
 *
 * Thread: main, and the background's. */
#include <check.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "server/background.h"

enum { TASKS = LIMIT_BACKGROUND_TASKS };

struct numbered_task {
    struct background_task task; /* First. */
    uint32_t number;
};

static uv_loop_t loop;
static struct background *background;
static struct numbered_task tasks[TASKS + 1];
static uint32_t worked[2 * TASKS], delivered[2 * TASKS];
static uint32_t worked_count, delivered_count;
static sem_t gate; /* What wait_at_gate takes one of. */

static uint32_t number_of(const struct background_task *task)
{
    return ((const struct numbered_task *)task)->number;
}

static void note_work(struct background_task *task)
{
    worked[worked_count++] = number_of(task);
}

static void wait_at_gate(struct background_task *task)
{
    while (sem_trywait(&gate) != 0 && !background_is_stopping(background)) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
    }
    note_work(task);
}

static void note_delivery(struct background_task *task)
{
    delivered[delivered_count++] = number_of(task);
}

static bool submit(uint32_t number, void (*work)(struct background_task *task))
{
    tasks[number] =
        (struct numbered_task){.task = {.work = work, .on_done = note_delivery}, .number = number};
    return background_submit(background, &tasks[number].task);
}

static void run_until_delivered(uint32_t count)
{
    while (delivered_count < count) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static void setup(void)
{
    struct error error = {0};
    worked_count = delivered_count = 0;
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(background_open(&loop, &background, &error), ERROR_NONE);
}

static void teardown(void)
{
    background_stop(background);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    background_destroy(background);
    sem_destroy(&gate);
}

START_TEST(background_works_and_delivers_in_order)
{
    for (uint32_t round = 0; round < 2; round++) { /* The rings go round. */
        for (uint32_t number = 0; number < TASKS - 1; number++) {
            ck_assert(submit(number, note_work));
        }
        run_until_delivered((round + 1) * (TASKS - 1));
    }
    for (uint32_t index = 0; index < 2 * (TASKS - 1); index++) {
        ck_assert_uint_eq(worked[index], index % (TASKS - 1));
        ck_assert_uint_eq(delivered[index], index % (TASKS - 1));
    }
}
END_TEST

START_TEST(background_takes_no_more_when_so_many_are_under_way)
{
    ck_assert(submit(0, wait_at_gate));
    for (uint32_t number = 1; number < TASKS; number++) {
        ck_assert(submit(number, note_work));
    }
    ck_assert(!submit(TASKS, note_work));
    sem_post(&gate);
    run_until_delivered(TASKS);
    ck_assert(submit(TASKS, note_work));
    run_until_delivered(TASKS + 1);
    ck_assert_uint_eq(worked[TASKS], TASKS);
}
END_TEST

START_TEST(background_delivers_all_and_works_no_more_when_stopped)
{
    ck_assert(submit(0, note_work));
    ck_assert(submit(1, wait_at_gate));
    ck_assert(submit(2, note_work));
    while (delivered_count < 1) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    background_stop(background);
    ck_assert_uint_eq(delivered_count, 3);
    ck_assert_uint_le(worked_count, 2); /* The second may not have begun. */
    for (uint32_t index = 0; index < 3; index++) {
        ck_assert_uint_eq(delivered[index], index);
    }
    ck_assert(!submit(3, note_work));
}
END_TEST

static uint64_t paused_ns, busy_ns;

static uint64_t thread_ns(void)
{
    struct timespec time;
    ck_assert_int_eq(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void work_and_pause(struct background_task *task)
{
    const struct clock clock = {0};
    for (int round = 0; round < 10; round++) {
        const uint64_t begin = thread_ns();
        while (thread_ns() - begin < 200 * 1000) {
        }
        busy_ns += thread_ns() - begin;
        const uint64_t paused = clock_monotonic_ns(&clock);
        background_pause(background);
        paused_ns += clock_monotonic_ns(&clock) - paused;
    }
    note_work(task);
}

START_TEST(background_rests_four_times_as_long_as_it_worked)
{
    ck_assert(submit(0, work_and_pause));
    run_until_delivered(1);
    ck_assert_uint_ge(paused_ns, 4 * busy_ns);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("background");
    TCase *tests = tcase_create("background");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, background_works_and_delivers_in_order);
    tcase_add_test(tests, background_takes_no_more_when_so_many_are_under_way);
    tcase_add_test(tests, background_delivers_all_and_works_no_more_when_stopped);
    tcase_add_test(tests, background_rests_four_times_as_long_as_it_worked);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
