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

/* Life of a loop: the caller fills task, context and task_count, sets unfinished to task_count and
 * publishes a ticket: the loop's number above, the tasks not yet taken below. Whoever lowers the
 * ticket owns the tasks by which it was lowered; a worker that comes late finds another loop's
 * number and takes none, so nobody waits for a thread that is asleep or has lost its core. The
 * caller returns when unfinished is 0. Until then the loop's fields stay; after it nobody holds a
 * task of the loop. */
struct cpu_threads {
    pthread_t *workers;    /* [worker_count] */
    uint32_t worker_count; /* Started; the caller is not among them. */

    cpu_task *task; /* Read only by the owner of a task. */
    void *context;
    uint32_t task_count;
    _Atomic uint64_t ticket;     /* loop number << 32 | tasks not yet taken */
    _Atomic uint32_t unfinished; /* Tasks that have not returned. */
    _Atomic bool is_ending;

    /* Protects only the going to sleep: a new ticket and the last finished task are announced under
     * it. Nothing is called while it is held. */
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

static uint32_t loop_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

/* How many tasks to take of those left: runs that grow shorter, so that a thread goes through
 * neighbouring memory for long and all still end together. */
static uint32_t run_length(const struct cpu_threads *threads, uint32_t left)
{
    const uint32_t share = left / (2 * (threads->worker_count + 1));
    return share > 1 ? share : 1;
}

/* Runs tasks of that loop until all are taken. */
static void take_tasks(struct cpu_threads *threads, uint32_t loop, uint32_t thread)
{
    uint64_t ticket = atomic_load_explicit(&threads->ticket, memory_order_acquire);
    while (loop_of(ticket) == loop && (uint32_t)ticket > 0) {
        const uint32_t left = (uint32_t)ticket;
        const uint32_t taken = run_length(threads, left);
        if (!atomic_compare_exchange_weak_explicit(&threads->ticket, &ticket, ticket - taken,
                                                   memory_order_acq_rel, memory_order_acquire)) {
            continue;
        }
        const uint32_t first = threads->task_count - left;
        for (uint32_t task = first; task < first + taken; task++) {
            threads->task(threads->context, task, thread);
        }
        if (atomic_fetch_sub_explicit(&threads->unfinished, taken, memory_order_acq_rel) == taken &&
            thread != 0) {
            pthread_mutex_lock(&threads->lock);
            pthread_cond_signal(&threads->loop_finished);
            pthread_mutex_unlock(&threads->lock);
        }
        ticket = atomic_load_explicit(&threads->ticket, memory_order_acquire);
    }
}

/* Waits for another loop than the one of that number, or the end; returns its number. */
static uint32_t wait_for_loop(struct cpu_threads *threads, uint32_t seen)
{
    for (uint32_t spin = 0; spin < SPIN_COUNT_MAX; spin++) {
        const uint32_t loop =
            loop_of(atomic_load_explicit(&threads->ticket, memory_order_acquire));
        if (loop != seen) {
            return loop;
        }
        relax();
    }
    pthread_mutex_lock(&threads->lock);
    uint32_t loop = seen;
    while (loop == seen && !atomic_load(&threads->is_ending)) {
        loop = loop_of(atomic_load_explicit(&threads->ticket, memory_order_acquire));
        if (loop == seen) {
            pthread_cond_wait(&threads->loop_started, &threads->lock);
        }
    }
    pthread_mutex_unlock(&threads->lock);
    return loop;
}

static void *run_worker(void *argument)
{
    const struct worker_start start = *(struct worker_start *)argument;
    free(argument);
    struct cpu_threads *threads = start.threads;
    uint32_t loop = 0;
    while (!atomic_load(&threads->is_ending)) {
        loop = wait_for_loop(threads, loop);
        take_tasks(threads, loop, start.thread);
    }
    return NULL;
}

static void announce(struct cpu_threads *threads, uint64_t ticket)
{
    pthread_mutex_lock(&threads->lock);
    atomic_store_explicit(&threads->ticket, ticket, memory_order_release);
    pthread_cond_broadcast(&threads->loop_started);
    pthread_mutex_unlock(&threads->lock);
}

static void wait_for_tasks(struct cpu_threads *threads)
{
    for (uint32_t spin = 0; spin < SPIN_COUNT_MAX; spin++) {
        if (atomic_load_explicit(&threads->unfinished, memory_order_acquire) == 0) {
            return;
        }
        relax();
    }
    pthread_mutex_lock(&threads->lock);
    while (atomic_load_explicit(&threads->unfinished, memory_order_acquire) != 0) {
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
    pthread_mutex_lock(&threads->lock);
    atomic_store(&threads->is_ending, true);
    pthread_cond_broadcast(&threads->loop_started);
    pthread_mutex_unlock(&threads->lock);
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
    ASSERT_COMPARE(atomic_load_explicit(&threads->unfinished, memory_order_relaxed), ==, 0);
    threads->task = task;
    threads->context = context;
    threads->task_count = task_count;
    atomic_store_explicit(&threads->unfinished, task_count, memory_order_relaxed);
    const uint32_t loop = loop_of(atomic_load_explicit(&threads->ticket, memory_order_relaxed)) + 1;
    announce(threads, (uint64_t)loop << 32 | task_count);
    take_tasks(threads, loop, 0);
    wait_for_tasks(threads);
}
