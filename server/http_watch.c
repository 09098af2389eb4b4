/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_watch.c - the second epoll instance, polled by the loop.
 *
 * Thread: loop. */
#include "server/http_watch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct http_watch *watch = poll->data;
    (void)status;
    (void)events;
    /* What does not fit the batch is reported at the loop's next turn. */
    const int count = epoll_wait(watch->epoll_fd, watch->batch, HTTP_WATCH_BATCH, 0);
    watch->batch_count = count > 0 ? count : 0;
    for (int index = 0; index < watch->batch_count; index++) {
        if (watch->batch[index].data.ptr != NULL) {
            watch->on_gone(watch->context, watch->batch[index].data.ptr);
        }
    }
    watch->batch_count = 0;
}

enum error_code http_watch_open(struct http_watch *watch, uv_loop_t *loop, http_watch_gone *on_gone,
                                void *context, struct error *error)
{
    *watch = (struct http_watch){.on_gone = on_gone, .context = context};
    watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch->epoll_fd < 0) {
        return error_set(error, ERROR_IO, "disconnect watch: %s", strerror(errno));
    }
    const int failure = uv_poll_init(loop, &watch->poll, watch->epoll_fd);
    if (failure != 0) {
        close(watch->epoll_fd);
        watch->epoll_fd = -1;
        return error_set(error, ERROR_IO, "disconnect watch: %s", uv_strerror(failure));
    }
    watch->poll.data = watch;
    uv_poll_start(&watch->poll, UV_READABLE, on_readable);
    return ERROR_NONE;
}

void http_watch_close(struct http_watch *watch)
{
    if (watch->epoll_fd >= 0) {
        uv_close((uv_handle_t *)&watch->poll, NULL);
        close(watch->epoll_fd);
        watch->epoll_fd = -1;
    }
}

void http_watch_add(struct http_watch *watch, int fd, void *subject)
{
    /* Edge-triggered: one report, and nothing to acknowledge. */
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = subject};
    if (epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        (void)epoll_ctl(watch->epoll_fd, EPOLL_CTL_MOD, fd, &event);
    }
}

void http_watch_remove(struct http_watch *watch, int fd, const void *subject)
{
    (void)epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    for (int index = 0; index < watch->batch_count; index++) {
        if (watch->batch[index].data.ptr == subject) {
            watch->batch[index].data.ptr = NULL;
        }
    }
}
