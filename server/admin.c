/* SPDX-License-Identifier: Apache-2.0
 *
 * server/admin.c - GET /, /health, /readyz, /livez, /version: what probes and people ask.
 *
 * The probes read atomics only, so they are answered even when the engine hangs. Thread: loop. */
#include "base/json_writer.h"
#include "engine/engine_stats.h"
#include "server/http_routes.h"
#include "server/openai_handlers.h"
#include "server/server_internal.h"

enum {
    /* A step takes well under a second, also on a slow CPU, and a long prompt is many steps. */
    STALL_S = 30,
    REPLY_BYTES = 4096,
};

static void reply_json(struct http_exchange *exchange, unsigned status,
                       const struct json_writer *writer)
{
    ASSERT(json_writer_fits(writer));
    http_exchange_reply(exchange, status, "application/json",
                        (struct text){.bytes = writer->buffer, .len = writer->len});
}

static void reply_status(struct http_exchange *exchange, unsigned status, const char *text)
{
    char buffer[64];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer));
    json_object_begin(&writer);
    json_key_string(&writer, "status", text_from(text));
    json_object_end(&writer);
    reply_json(exchange, status, &writer);
}

static bool is_live(const struct server *server)
{
    return engine_stats_is_live(engine_stats(server->engine), clock_monotonic_ns(&server->clock),
                                (uint64_t)STALL_S * 1000000000);
}

void admin_live_handle(struct http_exchange *exchange)
{
    if (is_live(exchange->server)) {
        reply_status(exchange, 200, "ok");
    } else {
        reply_status(exchange, 503, "the engine makes no progress");
    }
}

/* 404 while draining: load balancers take that for "gone on purpose", 503 for "failed". */
void admin_health_handle(struct http_exchange *exchange)
{
    const struct server *server = exchange->server;
    if (server->leaving) {
        reply_status(exchange, 404, "draining");
    } else if (!is_live(server)) {
        reply_status(exchange, 503, "the engine makes no progress");
    } else {
        reply_status(exchange, 200, "ok");
    }
}

void admin_version_handle(struct http_exchange *exchange)
{
    const struct server_model *model = exchange->server->model;
    char buffer[REPLY_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer));
    json_object_begin(&writer);
    json_key_string(&writer, "name", TEXT("skein"));
    json_key_string(&writer, "version", TEXT(SKEIN_VERSION));
    json_key_string(&writer, "model", text_from(model->id));
    json_key_string(&writer, "device", text_from(model->device));
    json_object_end(&writer);
    reply_json(exchange, 200, &writer);
}

void admin_index_handle(struct http_exchange *exchange)
{
    char buffer[REPLY_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof(buffer));
    json_object_begin(&writer);
    json_key_string(&writer, "name", TEXT("skein"));
    json_key_string(&writer, "model", text_from(exchange->server->model->id));
    json_key(&writer, "endpoints");
    json_array_begin(&writer);
    for (size_t index = 0; index < http_routes_count(); index++) {
        const struct http_route *route = http_routes_at(index);
        json_object_begin(&writer);
        json_key_string(&writer, "method", text_from(route->method));
        json_key_string(&writer, "path", text_from(route->path));
        json_object_end(&writer);
    }
    json_array_end(&writer);
    json_object_end(&writer);
    reply_json(exchange, 200, &writer);
}
