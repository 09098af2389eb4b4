/* SPDX-License-Identifier: Apache-2.0
 *
 * server/background.h - one thread for work that can wait.
 *
 * Its tasks wait for each other, in order, and not others for them: while others need the
 * processors, the work pauses so often that the thread takes a fifth of one, a fraction of a
 * millisecond at a time. A low priority would not do the same: a thread that is ready to run delays
 * those that wake beside it, and while it does not run it may hold a lock.
 * Thread: loop, where nothing else is said. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"

struct background;

/* Part of the owner's record, which stays until on_done. */
struct background_task {
    void (*work)(struct background_task *task);    /* On the thread; not called when it was stopped
                                                      before. */
    void (*on_done)(struct background_task *task); /* On the loop, once. */
};

/* Starts the thread. Whatever it returns, *background_out is to be stopped and destroyed.
 * OUT_OF_MEMORY. IO: no thread or no descriptor. */
WARN_UNUSED enum error_code background_open(uv_loop_t *loop, struct background **background_out,
                                            struct error *error);

/* False: LIMIT_BACKGROUND_TASKS are under way, or it was stopped; the task is not taken. */
WARN_UNUSED bool background_submit(struct background *background, struct background_task *task);

/* For the work: rests four times as long as it has worked since it began or last rested. To be
 * called about once in 100 us while others need the processors. Thread: the background's. */
void background_pause(struct background *background);

/* Whether the work should come to its end at once. Thread: any. */
bool background_is_stopping(const struct background *background);

/* Ends the thread after the task in work, and calls on_done for all tasks that are left. Takes
 * NULL. */
void background_stop(struct background *background);

/* Frees what was stopped, once the loop has run its close callbacks. Takes NULL. */
void background_destroy(struct background *background);
