/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_threads.c - fork-join pool: spin briefly, then sleep.
 *
 * What is computed does not live here. Thread: see the header. */
#include "cpu/cpu_threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* About 50 microseconds of waiting before sleeping: the loops of one step follow each other faster
 * than that, two steps of an idle server do not. */
enum { SPIN_COUNT_MAX = 2000 };

/* Life of a loop: the caller fills task, context and task_count, sets next_task to 0 and running
 * to the number of workers, then raises `loop`. Everyone takes tasks from next_task until there
 * are none; a worker's last act in a loop is to lower running. The caller returns when it is 0, so
 * no worker can still look at this loop when the next one is set up. */
struct cpu_threads {
    pthread_t *workers;    /* [worker_count] */
    uint32_t worker_count; /* Started; the caller is not among them. */

    cpu_task *task;
    void *context;
    uint32_t task_count;
    bool is_ending;
    _Atomic uint32_t next_task;
    _Atomic uint32_t running; /* Workers that have not finished this loop. */
    _Atomic uint64_t loop;    /* Number of the loop; a new value starts it. */

    /* Protects only the going to sleep: a change of loop or running is announced under it. Nothing
     * is called while it is held. */
    pthread_mutex_t lock;
    pthread_cond_t loop_started;
    pthread_cond_t loop_finished;
};

/* What a worker is born with; it takes ownership. */
struct worker_start {
    struct cpu_threads *threads;
    uint32_t thread;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_tasks(struct cpu_threads *threads, uint32_t thread)
{
    for (;;) {
        const uint32_t index =
            atomic_fetch_add_explicit(&threads->next_task, 1, memory_order_relaxed);
        if (index >= threads->task_count) {
            return;
        }
        threads->task(threads->context, index, thread);
    }
}

/* Waits for a loop after the one of that number; returns the new number. */
static uint64_t wait_for_loop(struct cpu_threads *threads, uint64_t seen)
{
    for (uint32_t spin = 0; spin < SPIN_COUNT_MAX; spin++) {
        const uint64_t loop = atomic_load_explicit(&threads->loop, memory_order_acquire);
        if (loop != seen) {
            return loop;
        }
        relax();
    }
    pthread_mutex_lock(&threads->lock);
    uint64_t loop;
    while ((loop = atomic_load_explicit(&threads->loop, memory_order_acquire)) == seen) {
        pthread_cond_wait(&threads->loop_started, &threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
    return loop;
}

static void *run_worker(void *argument)
{
    const struct worker_start start = *(struct worker_start *)argument;
    free(argument);
    struct cpu_threads *threads = start.threads;
    uint64_t loop = 0;
    for (;;) {
        loop = wait_for_loop(threads, loop);
        if (threads->is_ending) {
            return NULL;
        }
        take_tasks(threads, start.thread);
        if (atomic_fetch_sub_explicit(&threads->running, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&threads->lock);
            pthread_cond_signal(&threads->loop_finished);
            pthread_mutex_unlock(&threads->lock);
        }
    }
}

static void announce_loop(struct cpu_threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    atomic_fetch_add_explicit(&threads->loop, 1, memory_order_release);
    pthread_cond_broadcast(&threads->loop_started);
    pthread_mutex_unlock(&threads->lock);
}

static void wait_for_workers(struct cpu_threads *threads)
{
    for (uint32_t spin = 0; spin < SPIN_COUNT_MAX; spin++) {
        if (atomic_load_explicit(&threads->running, memory_order_acquire) == 0) {
            return;
        }
        relax();
    }
    pthread_mutex_lock(&threads->lock);
    while (atomic_load_explicit(&threads->running, memory_order_acquire) != 0) {
        pthread_cond_wait(&threads->loop_finished, &threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
}

static enum error_code start_workers(struct cpu_threads *threads, uint32_t worker_count,
                                     struct error *error)
{
    for (uint32_t index = 0; index < worker_count; index++) {
        struct worker_start *start = malloc(sizeof(*start));
        if (start == NULL) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "cpu threads: no memory");
        }
        *start = (struct worker_start){.threads = threads, .thread = index + 1};
        const int result = pthread_create(&threads->workers[index], NULL, run_worker, start);
        if (result != 0) {
            free(start);
            return error_set(error, ERROR_OUT_OF_MEMORY, "cpu threads: thread %u of %u: %s",
                             index + 2, worker_count + 1, strerror(result));
        }
        threads->worker_count++;
    }
    return ERROR_NONE;
}

enum error_code cpu_threads_create(uint32_t thread_count, struct cpu_threads **threads_out,
                                   struct error *error)
{
    ASSERT_COMPARE(thread_count, >=, 1);
    *threads_out = NULL;
    struct cpu_threads *threads = calloc(1, sizeof(*threads));
    if (threads == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu threads: no memory");
    }
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->loop_started, NULL);
    pthread_cond_init(&threads->loop_finished, NULL);
    threads->workers = calloc(thread_count, sizeof(*threads->workers));
    enum error_code code = ERROR_NONE;
    if (threads->workers == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "cpu threads: no memory");
    } else {
        code = start_workers(threads, thread_count - 1, error);
    }
    if (code != ERROR_NONE) {
        cpu_threads_destroy(threads);
        return code;
    }
    *threads_out = threads;
    return ERROR_NONE;
}

void cpu_threads_destroy(struct cpu_threads *threads)
{
    if (threads == NULL) {
        return;
    }
    threads->is_ending = true;
    announce_loop(threads);
    for (uint32_t index = 0; index < threads->worker_count; index++) {
        pthread_join(threads->workers[index], NULL);
    }
    pthread_cond_destroy(&threads->loop_finished);
    pthread_cond_destroy(&threads->loop_started);
    pthread_mutex_destroy(&threads->lock);
    free(threads->workers);
    free(threads);
}

uint32_t cpu_threads_count(const struct cpu_threads *threads)
{
    return threads->worker_count + 1;
}

void cpu_threads_run(struct cpu_threads *threads, uint32_t task_count, cpu_task *task,
                     void *context)
{
    if (threads->worker_count == 0 || task_count <= 1) {
        for (uint32_t index = 0; index < task_count; index++) {
            task(context, index, 0);
        }
        return;
    }
    threads->task = task;
    threads->context = context;
    threads->task_count = task_count;
    atomic_store_explicit(&threads->next_task, 0, memory_order_relaxed);
    atomic_store_explicit(&threads->running, threads->worker_count, memory_order_relaxed);
    announce_loop(threads);
    take_tasks(threads, 0);
    wait_for_workers(threads);
}
