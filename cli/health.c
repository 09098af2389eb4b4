/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/health.c - skein health: GET /readyz of a server on this machine, for container probes. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cli/commands.h"

enum { PATIENCE_S = 5 };

/* Where a server bound to `host` is reached from the same machine. */
static const char *reachable(const char *host)
{
    if (strcmp(host, "0.0.0.0") == 0) {
        return "127.0.0.1";
    }
    return strcmp(host, "::") == 0 ? "::1" : host;
}

static int connect_to(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int handle = -1;
    if (getaddrinfo(host, port, &hints, &addresses) != 0) {
        return -1;
    }
    for (const struct addrinfo *at = addresses; at != NULL && handle < 0; at = at->ai_next) {
        handle = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (handle >= 0 && connect(handle, at->ai_addr, at->ai_addrlen) != 0) {
            close(handle);
            handle = -1;
        }
    }
    freeaddrinfo(addresses);
    return handle;
}

/* True when the status line says 200. */
static bool is_ready(int handle)
{
    static const char request[] =
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    char reply[16] = "";
    setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(handle, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1) {
        return false;
    }
    return recv(handle, reply, 12, MSG_WAITALL) == 12 && strcmp(reply, "HTTP/1.1 200") == 0;
}

enum exit_code command_health(int argc, char **argv)
{
    struct config config = {0};
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    struct config_input input = {.argc = argc - 1, .argv = argv + 1, .never_listens = true};
    if (command_load_config(&config, &input, "skein health [--host HOST] [--port PORT]",
                            &exit_code)) {
        char port[8];
        snprintf(port, sizeof port, "%u", (unsigned)config.port & 0xffffu);
        const int handle = connect_to(reachable(config.host), port);
        const bool ready = handle >= 0 && is_ready(handle);
        if (handle >= 0) {
            close(handle);
        }
        puts(ready ? "ready" : "not ready");
        exit_code = ready ? EXIT_CODE_CLEAN : EXIT_CODE_FAILURE;
    }
    config_deinit(&config);
    return exit_code;
}
