/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a task lost, run twice, or still running when the caller goes on. Shown by: counting
 * every task of many short loops, with more threads than cores and pauses that let them sleep. */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/cpu_threads.h"

enum { TASKS_MAX = 1000 };

struct tally {
    uint32_t thread_count;
    _Atomic uint32_t runs[TASKS_MAX];
    uint32_t results[TASKS_MAX]; /* Plain memory: visible after the join, or the join is wrong. */
};

static void count_task(void *context, uint32_t task, uint32_t thread)
{
    struct tally *tally = context;
    ck_assert_uint_lt(thread, tally->thread_count);
    atomic_fetch_add(&tally->runs[task], 1);
    tally->results[task] = task * 3 + 1;
}

static void check_loops(uint32_t thread_count)
{
    struct cpu_threads *threads = NULL;
    struct error error = {0};
    ck_assert_int_eq(cpu_threads_create(thread_count, &threads, &error), ERROR_NONE);
    ck_assert_uint_eq(cpu_threads_count(threads), thread_count);
    static struct tally tally;
    static const uint32_t task_counts[] = {0, 1, 2, 3, 7, TASKS_MAX};
    for (uint32_t round = 0; round < 300; round++) {
        const uint32_t task_count = task_counts[round % 6];
        tally = (struct tally){.thread_count = thread_count};
        cpu_threads_run(threads, task_count, count_task, &tally);
        for (uint32_t task = 0; task < TASKS_MAX; task++) {
            ck_assert_uint_eq(atomic_load(&tally.runs[task]), task < task_count ? 1 : 0);
            ck_assert_uint_eq(tally.results[task], task < task_count ? task * 3 + 1 : 0);
        }
        if (round % 50 == 49) {
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* The others fall asleep. */
        }
    }
    cpu_threads_destroy(threads);
}

START_TEST(cpu_threads_run_each_task_once)
{
    check_loops((uint32_t)_i);
}
END_TEST

START_TEST(cpu_threads_end_when_they_never_ran)
{
    struct cpu_threads *threads = NULL;
    struct error error = {0};
    ck_assert_int_eq(cpu_threads_create(4, &threads, &error), ERROR_NONE);
    cpu_threads_destroy(threads);
    cpu_threads_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu threads");
    TCase *tests = tcase_create("pool");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, cpu_threads_run_each_task_once, 1, 6);
    tcase_add_test(tests, cpu_threads_end_when_they_never_ran);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
