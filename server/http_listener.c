/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_listener.c - resolve, bind, listen; socket options.
 *
 * Thread: main, at start. */
#include "server/http_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,          /* With 1024 a burst of 2,000 connections lost SYNs, a second each. */
    SEND_BUFFER = 32 * 1024, /* By default the kernel hides megabytes of unread stream. */
    /* A peer that vanished without a FIN is noticed after 15 + 3 * 5 s when nothing is sent. */
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_PROBES = 3,
    STALL_MARGIN_MS = 5000, /* The kernel is the second to notice; the first can log it. */
};

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static void set_option(int fd, int level, int name, int value)
{
    /* Each of them improves behaviour at the edge; a kernel that refuses one still serves. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_options(int fd, int family, uint64_t stall_ms)
{
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(stall_ms + STALL_MARGIN_MS));
    if (family == AF_INET6) {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
}

static enum error_code bind_error(const char *host, uint16_t port, int cause, struct error *error)
{
    switch (cause) {
    case EADDRINUSE:
        return error_set(error, ERROR_IO,
                         "%s port %u is taken: stop the program that holds it, or choose another "
                         "with --port (0 takes a free one)",
                         host, port);
    case EADDRNOTAVAIL:
        return error_set(error, ERROR_IO,
                         "%s is not an address of this machine: give --host one that is", host);
    case EACCES:
        return error_set(error, ERROR_IO, "%s port %u needs privileges: choose a --port above 1023",
                         host, port);
    default:
        return error_set(error, ERROR_IO, "%s port %u: %s", host, port, strerror(cause));
    }
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t bytes = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &bytes) != 0) {
        return 0;
    }
    const uint16_t port = bound.ss_family == AF_INET6
                              ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                              : ((struct sockaddr_in *)(void *)&bound)->sin_port;
    return ntohs(port);
}

enum error_code http_listener_open(const char *host, uint16_t port, uint64_t stall_ms,
                                   struct http_listener *listener_out, struct error *error)
{
    *listener_out = (struct http_listener){.fd = -1};
    char port_text[8];
    snprintf(port_text, sizeof(port_text), "%u", port);
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const int failure = getaddrinfo(host, port_text, &hints, &found);
    if (failure != 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "host %s: %s", host, gai_strerror(failure));
    }
    enum error_code code = ERROR_NONE;
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        code = bind_error(host, port, errno, error);
        goto out;
    }
    set_options(fd, found->ai_family, stall_ms);
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        code = bind_error(host, port, errno, error);
        close(fd);
        goto out;
    }
    *listener_out = (struct http_listener){
        .fd = fd, .port = bound_port(fd), .is_loopback = is_loopback(found->ai_addr)};
out:
    freeaddrinfo(found);
    return code;
}
