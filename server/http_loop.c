/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_loop.c - runs libmicrohttpd (external epoll mode) from the libuv loop.
 *
 * The daemon has an epoll descriptor, which the loop polls, and a timeout, which it must be asked
 * for after every run. It runs in two places, before the loop sleeps and after input, and only if
 * something asked for it: the descriptor, the timer, or a wake-up of ours. Thread: loop. */
#include "server/http_loop.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "server/http_intake.h"
#include "server/server_internal.h"

enum {
    PASSES_MAX = 16,        /* Runs in a row before other handles have their turn. */
    DESCRIPTORS_SPARE = 64, /* Of the process's limit, for all that is not a connection. */
    LOG_LINES_PER_TICK = 2, /* A bad request can cost the daemon several lines. */
    SPIN_TICKS = 10,  /* Spins are judged once a second. A header that nearly fills its pool */
    SPINS_MAX = 1000, /* costs 60 of them, a connection that really spins 100,000. */
};

void http_loop_request_run(struct http_loop *http)
{
    http->needs_run = true;
}

uint64_t http_loop_now_ms(const struct http_loop *http)
{
    return uv_now(&http->server->loop);
}

/* --- The daemon on the loop. ---------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    http_loop_request_run(idle->data);
}

static void on_timer(uv_timer_t *timer)
{
    http_loop_request_run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    http_loop_request_run(poll->data);
}

static void run_daemon(struct http_loop *http)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    bool has_timeout = false;
    bool has_more = true;
    for (int pass = 0; has_more && pass < PASSES_MAX; pass++) {
        const uint64_t callbacks_before = http->callbacks;
        http->needs_run = false;
        MHD_run(http->daemon);
        has_timeout = MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES;
        has_more = http->needs_run || (has_timeout && timeout_ms == 0);
        http->stats.spins += has_more && http->callbacks == callbacks_before;
    }
    http->needs_run = has_more;
    if (has_more) {
        uv_idle_start(&http->idle, on_idle);
        return;
    }
    uv_idle_stop(&http->idle);
    if (has_timeout) {
        uv_timer_start(&http->timer, on_timer, timeout_ms, 0);
    } else {
        uv_timer_stop(&http->timer);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_loop *http = prepare->data;
    if (http->needs_run) {
        run_daemon(http);
    }
}

static void on_check(uv_check_t *check)
{
    struct http_loop *http = check->data;
    if (http->needs_run) {
        run_daemon(http);
    }
}

static void open_handles(struct http_loop *http)
{
    uv_loop_t *loop = &http->server->loop;
    uv_timer_init(loop, &http->timer);
    uv_idle_init(loop, &http->idle);
    uv_prepare_init(loop, &http->prepare);
    uv_check_init(loop, &http->check);
    http->timer.data = http->idle.data = http->prepare.data = http->check.data = http;
}

/* --- What the daemon calls. ----------------------------------------------------------------- */

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **subject,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_loop *http = context;
    http->callbacks++;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        http->stats.connections_accepted++;
        *subject = http_connections_acquire(&http->connections, mhd, info->connect_fd,
                                            http_loop_now_ms(http));
        if (*subject != NULL) {
            http_watch_add(&http->watch, info->connect_fd, *subject);
        }
        return;
    }
    if (*subject != NULL) {
        const struct http_connection *connection = *subject;
        http_watch_remove(&http->watch, connection->fd, connection);
        http_connections_release(&http->connections, *subject);
        *subject = NULL;
    }
    /* At its connection limit the daemon would accept the next one only at its next event. */
    http_loop_request_run(http);
}

/* The request line is complete; its header follows. */
static void *on_request_line(void *context, const char *target, struct MHD_Connection *mhd)
{
    struct http_loop *http = context;
    struct http_connection *connection = connection_of(mhd);
    http->callbacks++;
    if (connection == NULL) {
        return NULL;
    }
    connection->target_bytes = strlen(target);
    if (connection->state == HTTP_CONNECTION_IDLE) {
        http_connection_enter(connection, HTTP_CONNECTION_HEADER, http_loop_now_ms(http));
    }
    return NULL;
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct http_loop *http = context;
    struct http_connection *connection = connection_of(mhd);
    http->callbacks++;
    if (*request != NULL) {
        http_exchange_complete(*request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
        *request = NULL;
    }
    if (connection != NULL) {
        http_connection_enter(connection, HTTP_CONNECTION_IDLE, http_loop_now_ms(http));
    }
}

/* Paths stay as they were sent: what "%2F" means is for the handler to say. */
static size_t keep_escapes(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context;
    (void)mhd;
    return strlen(text);
}

PRINTF_LIKE(2, 0)
static void on_log(void *context, const char *format, va_list arguments)
{
    struct http_loop *http = context;
    if (http->log_lines_left == 0 || !log_wants(LOG_DEBUG)) {
        return;
    }
    http->log_lines_left--;
    char line[256];
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    log_event(LOG_DEBUG, "http", "libmicrohttpd", LOG_S("message", line));
}

/* A half-close cannot be told from a close: whoever waits for the engine counts as gone. */
static void on_client_gone(void *context, void *subject)
{
    const struct http_loop *http = context;
    struct http_connection *connection = subject;
    struct http_exchange_record *record = connection->exchange;
    if (!connection->has_left) {
        connection->has_left = true;
        connection->left_ms = http_loop_now_ms(http);
    }
    if (record != NULL && record->needs_client) {
        http_exchange_lose(record);
    }
}

/* --- Opening. ------------------------------------------------------------------------------- */

/* As many connections as our limit and the process's allow; raises the latter as far as it goes. */
static uint32_t connections_that_fit(void)
{
    struct rlimit limit;
    const rlim_t wanted = LIMIT_CONNECTIONS + DESCRIPTORS_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return LIMIT_CONNECTIONS;
    }
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted) {
        return LIMIT_CONNECTIONS;
    }
    log_event(LOG_WARN, "http", "few file descriptors: raise the limit (ulimit -n)",
              LOG_I("limit", limit.rlim_cur), LOG_I("wanted", wanted));
    return limit.rlim_cur > 2 * DESCRIPTORS_SPARE ? (uint32_t)limit.rlim_cur - DESCRIPTORS_SPARE
                                                  : DESCRIPTORS_SPARE;
}

static enum error_code start_daemon(struct http_loop *http, struct error *error)
{
    const uint64_t stall_s = http->server->config->client_stall_ms / 1000 + 1;
    /* For a reply that a client does not read; longer than an idle connection may stay. */
    const unsigned inactivity_s =
        (unsigned)(stall_s > LIMIT_IDLE_MS / 1000 + 1 ? stall_s : LIMIT_IDLE_MS / 1000 + 1);
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, http->listener.fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, http->connections_max, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, LIMIT_HEADER_POOL_BYTES, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, inactivity_s, NULL},
        /* Strict, it answers a missing Host with two header blocks; the gate checks Host. */
        {MHD_OPTION_STRICT_FOR_CLIENT, 0, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, http},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, http},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_request_line, http},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    /* The logger comes first, to hear of the other options' errors. */
    http->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
                         NULL, http_intake_handle, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, http,
                         MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (http->daemon == NULL) {
        return error_set(error, ERROR_IO, "libmicrohttpd does not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(&http->server->loop, &http->poll, info->epoll_fd) != 0) {
        return error_set(error, ERROR_IO, "libmicrohttpd has no usable epoll descriptor");
    }
    http->has_poll = true;
    http->poll.data = http;
    uv_poll_start(&http->poll, UV_READABLE, on_readable);
    uv_prepare_start(&http->prepare, on_prepare);
    uv_check_start(&http->check, on_check);
    http_loop_request_run(http);
    return ERROR_NONE;
}

enum error_code http_loop_create(struct server *server, struct http_loop **http_out,
                                 struct error *error)
{
    struct http_loop *http = calloc(1, sizeof(*http));
    *http_out = http;
    if (http == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "HTTP loop");
    }
    const struct config *config = server->config;
    http->server = server;
    http->listener.fd = -1;
    http->watch.epoll_fd = -1;
    http->log_lines_left = LOG_LINES_PER_TICK;
    http->connections_max = connections_that_fit();
    open_handles(http);
    enum error_code code =
        http_watch_open(&http->watch, &server->loop, on_client_gone, http, error);
    if (code == ERROR_NONE) {
        code = http_connections_init(&http->connections, http->connections_max, error);
    }
    if (code == ERROR_NONE) {
        /* Twice, because the engine may hold exchanges whose clients have been replaced. */
        code = http_exchanges_init(&http->exchanges, 2 * http->connections_max, error);
    }
    if (code == ERROR_NONE) {
        code = http_listener_open(config->host, (uint16_t)config->port, config->client_stall_ms,
                                  &http->listener, error);
    }
    return code == ERROR_NONE ? start_daemon(http, error) : code;
}

/* --- Deadlines. ----------------------------------------------------------------------------- */

void http_loop_cut(struct http_loop *http, struct http_connection *connection, enum http_cut cut)
{
    if (connection->is_cut) {
        return;
    }
    connection->is_cut = true;
    http->stats.connections_cut[cut]++;
    if (connection->exchange != NULL) {
        http_exchange_lose(connection->exchange);
        return;
    }
    shutdown(connection->fd, SHUT_RDWR);
    http_loop_request_run(http);
}

static enum http_cut cut_of(const struct http_connection *connection)
{
    if (connection->has_left) {
        return HTTP_CUT_LEFT;
    }
    switch (connection->state) {
    case HTTP_CONNECTION_HEADER:
        return HTTP_CUT_HEADER;
    case HTTP_CONNECTION_BODY:
        return HTTP_CUT_BODY;
    case HTTP_CONNECTION_IDLE:
        return HTTP_CUT_IDLE;
    case HTTP_CONNECTION_BUSY:
        break;
    }
    return HTTP_CUT_STALL;
}

/* The deadlines end what spins; this tells that it happened. */
static void report_spinning(struct http_loop *http)
{
    if (++http->ticks % SPIN_TICKS != 0) {
        return;
    }
    const uint64_t spins = http->stats.spins - http->spins_reported;
    http->spins_reported = http->stats.spins;
    if (spins > SPINS_MAX) {
        log_event(LOG_WARN, "http", "libmicrohttpd turned without progress",
                  LOG_I("passes", spins));
    }
}

void http_loop_tick(struct http_loop *http)
{
    const uint64_t now_ms = http_loop_now_ms(http);
    report_spinning(http);
    http->log_lines_left = LOG_LINES_PER_TICK;
    for (struct http_connection *connection = http->connections.open; connection != NULL;
         connection = connection->next) {
        struct http_exchange_record *record = connection->exchange;
        if (http_connection_is_late(connection, now_ms)) {
            http_loop_cut(http, connection, cut_of(connection));
        } else if (record != NULL && record->stream.has_begun) {
            sse_stream_tick(record, now_ms);
        }
    }
    http_loop_request_run(http);
}

/* --- The end. ------------------------------------------------------------------------------- */

void http_loop_stop_listening(struct http_loop *http)
{
    if (http->listener.fd >= 0) {
        MHD_quiesce_daemon(http->daemon);
        close(http->listener.fd);
        http->listener.fd = -1;
    }
}

void http_loop_cut_all(struct http_loop *http)
{
    for (struct http_connection *connection = http->connections.open; connection != NULL;
         connection = connection->next) {
        http_loop_cut(http, connection, HTTP_CUT_SHUTDOWN);
    }
}

void http_loop_stop(struct http_loop *http)
{
    if (http == NULL) {
        return;
    }
    if (http->has_poll) {
        uv_close((uv_handle_t *)&http->poll, NULL);
        http->has_poll = false;
    }
    if (http->daemon != NULL) {
        http_loop_stop_listening(http);
        MHD_stop_daemon(http->daemon);
        http->daemon = NULL;
    }
    if (http->listener.fd >= 0) {
        close(http->listener.fd);
        http->listener.fd = -1;
    }
    http_watch_close(&http->watch);
    uv_close((uv_handle_t *)&http->timer, NULL);
    uv_close((uv_handle_t *)&http->idle, NULL);
    uv_close((uv_handle_t *)&http->prepare, NULL);
    uv_close((uv_handle_t *)&http->check, NULL);
}

void http_loop_destroy(struct http_loop *http)
{
    if (http != NULL) {
        http_connections_deinit(&http->connections);
        http_exchanges_deinit(&http->exchanges);
        free(http);
    }
}
