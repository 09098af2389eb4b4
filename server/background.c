/* SPDX-License-Identifier: Apache-2.0
 *
 * server/background.c - two rings between the loop and a thread.
 *
 * Each ring has one writer, one reader, and room for every task under way, so nobody waits for
 * room. The thread sleeps in a semaphore until there is a task. Thread: as the header. */
#include "server/background.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"

enum {
    NS_PER_S = 1000 * 1000 * 1000,
    REST_TIMES = 4, /* Of the work before: a fifth of one processor. */
};

struct task_ring {
    struct background_task *tasks[LIMIT_BACKGROUND_TASKS];
    atomic_uint put; /* By the writer; the reader reads it, */
    uint32_t taken;  /* and this is its own. */
};

struct background {
    struct task_ring waiting; /* Loop to thread. */
    struct task_ring done;    /* Thread to loop. */
    uint32_t open_count;      /* Submitted and not delivered. Loop. */
    sem_t filled;             /* One for each task that waits, and one to stop. */
    atomic_bool is_stopping;
    uint64_t rested_ns; /* What the thread had worked when it last rested. Thread. */
    uv_async_t wake;
    pthread_t thread;
    bool has_thread;
};

static void put(struct task_ring *ring, struct background_task *task)
{
    const uint32_t at = atomic_load_explicit(&ring->put, memory_order_relaxed);
    ring->tasks[at % LIMIT_BACKGROUND_TASKS] = task;
    atomic_store_explicit(&ring->put, at + 1, memory_order_release);
}

/* NULL: it is empty. */
static struct background_task *take(struct task_ring *ring)
{
    if (ring->taken == atomic_load_explicit(&ring->put, memory_order_acquire)) {
        return NULL;
    }
    return ring->tasks[ring->taken++ % LIMIT_BACKGROUND_TASKS];
}

/* ---- The thread ---- */

static uint64_t worked_ns(void)
{
    struct timespec time = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

void background_pause(struct background *background)
{
    const uint64_t rest_ns = REST_TIMES * (worked_ns() - background->rested_ns);
    (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(rest_ns / NS_PER_S),
                                       .tv_nsec = (long)(rest_ns % NS_PER_S)},
                    NULL);
    background->rested_ns = worked_ns();
}

static void *run_thread(void *context)
{
    struct background *background = context;
    for (;;) {
        while (sem_wait(&background->filled) != 0) {
            ASSERT(errno == EINTR);
        }
        if (background_is_stopping(background)) {
            return NULL;
        }
        struct background_task *task = take(&background->waiting);
        background->rested_ns = worked_ns();
        task->work(task);
        put(&background->done, task);
        uv_async_send(&background->wake);
    }
}

/* ---- The loop ---- */

static void deliver(struct background *background, struct task_ring *ring)
{
    struct background_task *task;
    while ((task = take(ring)) != NULL) {
        background->open_count--;
        task->on_done(task); /* May submit another. */
    }
}

static void on_wake(uv_async_t *wake)
{
    struct background *background = wake->data;
    deliver(background, &background->done);
}

enum error_code background_open(uv_loop_t *loop, struct background **background_out,
                                struct error *error)
{
    struct background *background = calloc(1, sizeof(*background));
    *background_out = background;
    if (background == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "server");
    }
    (void)sem_init(&background->filled, 0, 0); /* It fails only for a value out of range. */
    const int failure = uv_async_init(loop, &background->wake, on_wake);
    if (failure != 0) {
        return error_set(error, ERROR_IO, "event loop: %s", uv_strerror(failure));
    }
    background->wake.data = background;
    if (pthread_create(&background->thread, NULL, run_thread, background) != 0) {
        uv_close((uv_handle_t *)&background->wake, NULL);
        return error_set(error, ERROR_IO, "server: cannot start a thread");
    }
    (void)pthread_setname_np(background->thread, "skein-later");
    background->has_thread = true;
    return ERROR_NONE;
}

bool background_submit(struct background *background, struct background_task *task)
{
    if (background_is_stopping(background) || background->open_count == LIMIT_BACKGROUND_TASKS) {
        return false;
    }
    background->open_count++;
    put(&background->waiting, task);
    (void)sem_post(&background->filled);
    return true;
}

bool background_is_stopping(const struct background *background)
{
    return atomic_load_explicit(&background->is_stopping, memory_order_relaxed);
}

void background_stop(struct background *background)
{
    if (background == NULL || !background->has_thread) {
        return;
    }
    atomic_store_explicit(&background->is_stopping, true, memory_order_relaxed);
    (void)sem_post(&background->filled);
    (void)pthread_join(background->thread, NULL);
    background->has_thread = false;
    deliver(background, &background->done);
    deliver(background, &background->waiting);
    ASSERT_COMPARE(background->open_count, ==, 0);
    uv_close((uv_handle_t *)&background->wake, NULL);
}

void background_destroy(struct background *background)
{
    if (background != NULL) {
        (void)sem_destroy(&background->filled);
        free(background);
    }
}
