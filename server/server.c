/* SPDX-License-Identifier: Apache-2.0
 *
 * server/server.c - life of the daemon. Thread: main, which is the loop.
 *
 *  1. server_open: loop, keys, HTTP daemon and its listening socket, the table of open jobs.
 *  2. server_run: ready. Requests are served; every 100 ms the tick looks after deadlines.
 *  3. SIGTERM or SIGINT: leaving. /readyz answers 404, everything else goes on for --drain-delay,
 *     because proxies notice late.
 *  4. Draining. The listening socket closes; kept-alive connections get 503 and are closed; what
 *     runs goes on, for at most --drain-timeout. A failed device enters here by itself.
 *  5. Cutting (the timeout passed, or a second signal came): every job is cancelled, and ends its
 *     reply when the engine says so.
 *  6. Closing: every connection is cut. A suspended one is resumed by that: libmicrohttpd aborts
 *     the process when it is stopped with a suspended connection.
 *  7. No connection, no job (or an engine that hangs): the loop stops, server_run returns.
 *     server_close stops the background thread and libmicrohttpd, closes the handles, and runs the
 *     loop until their close callbacks are done. */
#include "server/server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/engine_stats.h"
#include "grammar/grammar_cache.h"
#include "server/api_keys.h"
#include "server/background.h"
#include "server/http_loop.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

enum {
    TICK_MS = 100,
    EVENTS_PER_TURN = 8192, /* Then sockets have their turn. */
    CUTTING_MS = 500,       /* For the last event to reach clients that still read. */
    CLOSING_MS = 2 * 1000,  /* Cut connections go within a turn of the loop. */
    STALL_MS = 5 * 1000,    /* An engine that did not turn for so long is not waited for. */
};

enum stage { STAGE_SERVING, STAGE_LEAVING, STAGE_DRAINING, STAGE_CUTTING, STAGE_CLOSING };

/* What only this file sees of the daemon. */
struct daemon {
    struct server server; /* First: the other files hold a pointer to it. */
    enum stage stage;
    uint64_t deadline_ms; /* Of the stage. */
    bool device_failed;
    bool has_loop;
    uv_async_t wake;
    uv_timer_t tick;
    uv_signal_t terminate, interrupt;
};

static struct daemon *daemon_of(struct server *server)
{
    return (struct daemon *)server;
}

/* --- Stages. -------------------------------------------------------------------------------- */

static void enter(struct daemon *daemon, enum stage stage, uint64_t limit_ms)
{
    static const char *const names[] = {"serving", "leaving", "draining", "cutting", "closing"};
    const struct http_loop *http = daemon->server.http;
    daemon->stage = stage;
    daemon->deadline_ms = uv_now(&daemon->server.loop) + limit_ms;
    log_event(LOG_INFO, "server", "stage entered", LOG_S("stage", names[stage]),
              LOG_I("connections", http->connections.open_count),
              LOG_I("jobs", openai_jobs_count(daemon->server.jobs)), LOG_I("limit_ms", limit_ms));
}

static void leave(struct daemon *daemon)
{
    daemon->server.leaving = true;
    enter(daemon, STAGE_LEAVING, daemon->server.config->drain_delay_ms);
}

static void drain(struct daemon *daemon)
{
    daemon->server.leaving = true;
    daemon->server.draining = true;
    http_loop_stop_listening(daemon->server.http);
    enter(daemon, STAGE_DRAINING, daemon->server.config->drain_timeout_ms);
}

static void cut(struct daemon *daemon)
{
    openai_jobs_cancel_all(daemon->server.jobs);
    enter(daemon, STAGE_CUTTING, CUTTING_MS);
}

static void close_connections(struct daemon *daemon)
{
    enter(daemon, STAGE_CLOSING, CLOSING_MS);
    http_loop_cut_all(daemon->server.http);
}

/* An engine that makes progress ends what was cancelled, however much it is. */
static bool is_engine_live(const struct server *server)
{
    return engine_stats_is_live(engine_stats(server->engine), clock_monotonic_ns(&server->clock),
                                (uint64_t)STALL_MS * 1000000);
}

/* Moves on to the next stage when its condition holds. */
static void advance(struct daemon *daemon)
{
    struct server *server = &daemon->server;
    const bool is_late = uv_now(&server->loop) >= daemon->deadline_ms;
    const bool has_jobs = openai_jobs_count(server->jobs) > 0;
    const bool is_busy = has_jobs || http_connections_busy_count(&server->http->connections) > 0;
    switch (daemon->stage) {
    case STAGE_SERVING:
        break;
    case STAGE_LEAVING:
        if (is_late) {
            drain(daemon);
        }
        break;
    case STAGE_DRAINING:
        if (!is_busy) {
            close_connections(daemon);
        } else if (is_late) {
            cut(daemon);
        }
        break;
    case STAGE_CUTTING:
        if (!is_busy || is_late) {
            close_connections(daemon);
        }
        break;
    case STAGE_CLOSING:
        if ((!has_jobs && server->http->connections.open_count == 0) ||
            (is_late && !is_engine_live(server))) {
            uv_stop(&server->loop);
        }
        break;
    }
}

/* --- What the loop calls. ------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    log_event(LOG_INFO, "server", "signal received", LOG_I("signal", number));
    switch (daemon->stage) {
    case STAGE_SERVING:
        leave(daemon);
        break;
    case STAGE_LEAVING:
    case STAGE_DRAINING:
        drain(daemon);
        cut(daemon);
        break;
    case STAGE_CUTTING:
    case STAGE_CLOSING:
        break;
    }
    advance(daemon);
}

static void on_wake(uv_async_t *handle)
{
    struct daemon *daemon = handle->data;
    if (daemon->server.engine != NULL &&
        openai_jobs_take_events(daemon->server.jobs, EVENTS_PER_TURN)) {
        uv_async_send(&daemon->wake);
    }
}

static void notice_device_failure(struct daemon *daemon)
{
    const struct engine_stats *stats = engine_stats(daemon->server.engine);
    if (daemon->device_failed ||
        !atomic_load_explicit(&stats->device_failed, memory_order_relaxed)) {
        return;
    }
    daemon->device_failed = true;
    log_event(LOG_ERROR, "server", "device failed, the server ends",
              LOG_S("device", daemon->server.model->device));
    if (daemon->stage == STAGE_SERVING || daemon->stage == STAGE_LEAVING) {
        drain(daemon);
    }
}

static void on_tick(uv_timer_t *handle)
{
    struct daemon *daemon = handle->data;
    struct server *server = &daemon->server;
    notice_device_failure(daemon);
    openai_jobs_tick(server->jobs, clock_monotonic_ns(&server->clock));
    http_loop_tick(server->http);
    advance(daemon);
}

/* --- Public. -------------------------------------------------------------------------------- */

static enum error_code open_loop(struct daemon *daemon, struct error *error)
{
    uv_loop_t *loop = &daemon->server.loop;
    const int failure = uv_loop_init(loop);
    if (failure != 0) {
        return error_set(error, ERROR_IO, "event loop: %s", uv_strerror(failure));
    }
    daemon->has_loop = true;
    daemon->wake.data = daemon->tick.data = daemon->terminate.data = daemon->interrupt.data =
        daemon;
    /* These can only fail for lack of descriptors at start-up, and the first shows it. */
    const int wake_failure = uv_async_init(loop, &daemon->wake, on_wake);
    if (wake_failure != 0) {
        return error_set(error, ERROR_IO, "event loop: %s", uv_strerror(wake_failure));
    }
    uv_timer_init(loop, &daemon->tick);
    uv_signal_init(loop, &daemon->terminate);
    uv_signal_init(loop, &daemon->interrupt);
    return ERROR_NONE;
}

enum error_code server_open(const struct server_options *options, struct server **server_out,
                            struct error *error)
{
    *server_out = NULL;
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    if (daemon == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "server");
    }
    struct server *server = &daemon->server;
    server->config = options->config;
    server->model = options->model;
    server->tokenizer = options->tokenizer;
    signal(SIGPIPE, SIG_IGN); /* A closed log pipe or socket is an error code, not the end. */
    enum error_code code = open_loop(daemon, error);
    server->grammars = grammar_cache_create(LIMIT_GRAMMARS_BYTES);
    if (code == ERROR_NONE && server->grammars == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "server");
    }
    if (code == ERROR_NONE) {
        code = background_open(&server->loop, &server->background, error);
    }
    if (code == ERROR_NONE) {
        code = api_keys_open(server->config->api_key, server->config->api_key_file, &server->keys,
                             error);
    }
    if (code == ERROR_NONE) {
        code = http_loop_create(server, &server->http, error);
    }
    if (code == ERROR_NONE && !server->http->listener.is_loopback &&
        api_keys_count(server->keys) == 0 && !server->config->insecure) {
        code = error_set(error, ERROR_INVALID_ARGUMENT,
                         "%s can be reached from other machines: give --api-key-file, or "
                         "--insecure to serve without a key",
                         server->config->host);
    }
    if (code == ERROR_NONE) {
        code = openai_jobs_create(server, &server->jobs, error);
    }
    if (code != ERROR_NONE) {
        server_close(server);
        return code;
    }
    *server_out = server;
    return ERROR_NONE;
}

void server_wake(void *server)
{
    uv_async_send(&daemon_of(server)->wake);
}

uint16_t server_port(const struct server *server)
{
    return server->http->listener.port;
}

enum error_code server_run(struct server *server, struct engine *engine, struct error *error)
{
    struct daemon *daemon = daemon_of(server);
    server->engine = engine;
    server->ready = true;
    uv_signal_start(&daemon->terminate, on_signal, SIGTERM);
    uv_signal_start(&daemon->interrupt, on_signal, SIGINT);
    uv_timer_start(&daemon->tick, on_tick, TICK_MS, TICK_MS);
    log_event(LOG_INFO, "server", "server ready", LOG_S("host", server->config->host),
              LOG_I("port", server_port(server)), LOG_I("keys", api_keys_count(server->keys)),
              LOG_I("connections_max", server->http->connections_max));
    uv_run(&server->loop, UV_RUN_DEFAULT);
    server->ready = false;
    const uint32_t jobs_left = openai_jobs_count(server->jobs);
    if (jobs_left > 0) {
        return error_set(error, ERROR_DEVICE, "the engine did not end %u requests", jobs_left);
    }
    if (daemon->device_failed) {
        return error_set(error, ERROR_DEVICE, "device %s failed", server->model->device);
    }
    return ERROR_NONE;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void server_close(struct server *server)
{
    if (server == NULL) {
        return;
    }
    struct daemon *daemon = daemon_of(server);
    background_stop(server->background);
    http_loop_stop(server->http);
    openai_jobs_destroy(server->jobs);
    if (daemon->has_loop) {
        uv_walk(&server->loop, close_handle, NULL);
        uv_run(&server->loop, UV_RUN_DEFAULT);
        uv_loop_close(&server->loop);
    }
    http_loop_destroy(server->http);
    background_destroy(server->background);
    grammar_cache_destroy(server->grammars);
    api_keys_close(server->keys);
    free(daemon);
}
