/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_watch.h - notices that a client has left.
 *
 * libmicrohttpd does not look at suspended connections, and overlooks an end of file that comes
 * together with data. A second epoll instance watches the same sockets for the peer's end of file
 * or reset; it does not disturb the first. Thread: loop. */
#pragma once

#include <sys/epoll.h>
#include <uv.h>

#include "base/error.h"

enum { HTTP_WATCH_BATCH = 64 };

/* subject: what was given to http_watch_add. May add and remove. */
typedef void http_watch_gone(void *context, void *subject);

struct http_watch {
    int epoll_fd; /* -1 when closed. */
    uv_poll_t poll;
    http_watch_gone *on_gone;
    void *context;
    struct epoll_event batch[HTTP_WATCH_BATCH]; /* Being delivered; removed subjects are NULL. */
    int batch_count;
};

/* IO. The struct must stay until the loop has run the close callbacks. */
WARN_UNUSED enum error_code http_watch_open(struct http_watch *watch, uv_loop_t *loop,
                                            http_watch_gone *on_gone, void *context,
                                            struct error *error);
void http_watch_close(struct http_watch *watch);

/* Reports once when the peer of fd leaves, also when it has left already. A second call for the
 * same fd reports again. Without memory in the kernel it does nothing: the loss then shows at the
 * next write. */
void http_watch_add(struct http_watch *watch, int fd, void *subject);
void http_watch_remove(struct http_watch *watch, int fd, const void *subject);
