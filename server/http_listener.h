/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_listener.h - the listening socket, with the options that its connections inherit.
 *
 * Accepting is libmicrohttpd's. Thread: main, at start. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct http_listener {
    int fd;           /* The caller's to close. */
    uint16_t port;    /* The one in force when 0 was asked for. */
    bool is_loopback; /* Only this machine can reach it. */
};

/* host: IPv4 or IPv6 address or a name; "::" also takes IPv4. stall_ms: a connection that
 * acknowledges nothing for so long is ended by the kernel. INVALID_ARGUMENT: unknown host. IO: the
 * port is taken, privileged, or the address is not this machine's; the message says what to do. */
WARN_UNUSED enum error_code http_listener_open(const char *host, uint16_t port, uint64_t stall_ms,
                                               struct http_listener *listener_out,
                                               struct error *error);
