/* SPDX-License-Identifier: Apache-2.0
 *
 * server/metrics.c - GET /metrics: the counters of engine and HTTP side as Prometheus text.
 *
 * Counts nothing itself. Thread: loop. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/engine_stats.h"
#include "grammar/grammar_cache.h"
#include "server/http_loop.h"
#include "server/openai_handlers.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

enum { PAGE_BYTES = 64 * 1024 }; /* A full one has 40 kB: 16 routes of 18 statuses. */

/* The text being written; bytes stops growing at the end of the buffer. */
struct page {
    char *buffer; /* [PAGE_BYTES] */
    size_t bytes;
};

static void put(struct page *page, const char *format, ...) PRINTF_LIKE(2, 3);

static void put(struct page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const size_t space = PAGE_BYTES - page->bytes;
    const int written = vsnprintf(page->buffer + page->bytes, space, format, arguments);
    va_end(arguments);
    /* A line that does not fit is left out whole. */
    if (written > 0 && (size_t)written < space) {
        page->bytes += (size_t)written;
    }
}

static void put_head(struct page *page, const char *name, const char *type, const char *help)
{
    put(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_gauge(struct page *page, const char *name, const char *help, uint64_t value)
{
    put_head(page, name, "gauge", help);
    put(page, "%s %" PRIu64 "\n", name, value);
}

static void put_counter(struct page *page, const char *name, const char *help, uint64_t value)
{
    put_head(page, name, "counter", help);
    put(page, "%s %" PRIu64 "\n", name, value);
}

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void put_histogram(struct page *page, const char *name, const char *help,
                          const struct engine_histogram *histogram)
{
    uint64_t count = 0;
    put_head(page, name, "histogram", help);
    for (size_t index = 0; index < ENGINE_HISTOGRAM_BUCKETS - 1; index++) {
        count += LOAD(histogram->buckets[index]);
        put(page, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, engine_histogram_bounds[index],
            count);
    }
    count += LOAD(histogram->buckets[ENGINE_HISTOGRAM_BUCKETS - 1]);
    put(page, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    put(page, "%s_sum %.9g\n", name, (double)LOAD(histogram->sum_ns) / 1e9);
    put(page, "%s_count %" PRIu64 "\n", name, count);
}

/* A label's value; names of models and devices are operator's text. */
static void put_label(struct page *page, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\') {
            put(page, "\\");
        }
        put(page, "%c", *value == '\n' ? ' ' : *value);
    }
}

static void put_build(struct page *page, const struct server *server)
{
    put_head(page, "skein_build_info", "gauge", "Version, model and device; the value is 1.");
    put(page, "skein_build_info{version=\"" SKEIN_VERSION "\",model=\"");
    put_label(page, server->model->id);
    put(page, "\",device=\"");
    put_label(page, server->model->device);
    put(page, "\"} 1\n");
    put_gauge(page, "skein_state_bytes", "Bytes of the recurrent state of one sequence.",
              server->model->state_bytes);
    put_gauge(page, "skein_ready", "1 while new work is welcome.", !server->leaving);
}

static void put_engine(struct page *page, const struct engine_stats *stats)
{
    put_gauge(page, "skein_slots", "State slots: sequences that can be alive at once.",
              LOAD(stats->slots_total));
    put_gauge(page, "skein_slots_used", "State slots in use.", LOAD(stats->slots_used));
    put_gauge(page, "skein_requests_waiting", "Requests waiting for a slot.",
              LOAD(stats->requests_waiting));
    put_gauge(page, "skein_requests_running", "Requests that hold slots.",
              LOAD(stats->requests_running));
    put_gauge(page, "skein_requests_paused", "Running requests whose client reads slowly.",
              LOAD(stats->requests_paused));
    put_head(page, "skein_choices_total", "counter", "Ended choices by outcome.");
    for (int outcome = 0; outcome < ENGINE_OUTCOME_COUNT; outcome++) {
        put(page, "skein_choices_total{outcome=\"%s\"} %" PRIu64 "\n",
            engine_outcome_text((enum engine_outcome)outcome), LOAD(stats->choices_ended[outcome]));
    }
    put_counter(page, "skein_prompt_tokens_total", "Tokens of prompts.",
                LOAD(stats->prompt_tokens));
    put_counter(page, "skein_generated_tokens_total", "Tokens generated.",
                LOAD(stats->generated_tokens));
    put_counter(page, "skein_steps_total", "Steps of the model.", LOAD(stats->steps));
    put_counter(page, "skein_step_rows_total", "Tokens advanced in all steps.",
                LOAD(stats->step_rows));
    put_head(page, "skein_step_seconds_total", "counter", "Time spent in steps.");
    put(page, "skein_step_seconds_total %.9g\n", (double)LOAD(stats->step_ns) / 1e9);
    put_counter(page, "skein_state_copied_bytes_total", "Bytes of state copied by the backend.",
                LOAD(stats->state_copied_bytes));
    put_gauge(page, "skein_device_failed", "1 after a failure of the device, which is final.",
              LOAD(stats->device_failed));
    put_histogram(page, "skein_queue_time_seconds", "Time from submission to a slot.",
                  &stats->queue_time);
    put_histogram(page, "skein_time_to_first_token_seconds",
                  "Time from submission to the first token.", &stats->time_to_first_token);
    put_histogram(page, "skein_inter_token_seconds", "Time between two tokens of a sequence.",
                  &stats->inter_token);
    put_histogram(page, "skein_request_time_seconds", "Time from submission to the end.",
                  &stats->request_time);
}

static void put_grammars(struct page *page, const struct server *server)
{
    const struct engine_stats *stats = engine_stats(server->engine);
    const struct grammar_cache_counters counters = grammar_cache_count(server->grammars);
    put_counter(page, "skein_grammar_found_total",
                "Grammars of requests that were compiled before.", counters.found);
    put_counter(page, "skein_grammar_compiled_total", "Grammars compiled, or refused.",
                counters.compiled);
    put_gauge(page, "skein_grammar_bytes", "Memory of the compiled grammars that are kept.",
              counters.bytes);
    put_counter(page, "skein_grammar_masks_found_total", "Parts of token masks that were kept.",
                LOAD(stats->masks_found));
    put_counter(page, "skein_grammar_masks_built_total",
                "Parts of token masks that were worked out.", LOAD(stats->masks_built));
}

static void put_requests(struct page *page, const struct http_stats *stats)
{
    put_head(page, "skein_http_requests_total", "counter",
             "Ended HTTP requests by route and status (499: the client left; 0: another).");
    for (size_t row = 0; row <= http_routes_count(); row++) {
        const struct http_route *route = row < http_routes_count() ? http_routes_at(row) : NULL;
        for (size_t index = 0; index < HTTP_STATS_STATUSES; index++) {
            if (stats->requests[row][index] > 0) {
                put(page,
                    "skein_http_requests_total{method=\"%s\",route=\"%s\",status=\"%u\"} %" PRIu64
                    "\n",
                    route == NULL ? "" : route->method, route == NULL ? "none" : route->path,
                    http_stats_status_at(index), stats->requests[row][index]);
            }
        }
    }
}

static void put_http(struct page *page, const struct http_loop *http)
{
    const struct http_stats *stats = &http->stats;
    put_requests(page, stats);
    put_gauge(page, "skein_http_connections", "Open connections.", http->connections.open_count);
    put_gauge(page, "skein_http_connections_max", "Connections that are accepted at most.",
              http->connections_max);
    put_counter(page, "skein_http_connections_total", "Connections accepted.",
                stats->connections_accepted);
    put_head(page, "skein_http_connections_cut_total", "counter",
             "Connections ended by the server, by reason.");
    for (int cut = 0; cut < HTTP_CUT_COUNT; cut++) {
        put(page, "skein_http_connections_cut_total{reason=\"%s\"} %" PRIu64 "\n",
            http_cut_text((enum http_cut)cut), stats->connections_cut[cut]);
    }
    put_counter(page, "skein_http_clients_gone_total",
                "Requests whose client left before the reply was complete.", stats->clients_gone);
    put_counter(page, "skein_http_spins_total",
                "Passes of the HTTP library without progress that asked for another.",
                stats->spins);
    put_gauge(page, "skein_http_bodies_bytes", "Memory of the bodies of open requests.",
              http->bodies_bytes);
}

void admin_metrics_handle(struct http_exchange *exchange)
{
    const struct server *server = exchange->server;
    struct page page = {.buffer = arena_alloc(&exchange->arena, PAGE_BYTES)};
    if (page.buffer == NULL) {
        http_exchange_reply(exchange, 503, "text/plain", TEXT("no memory for the page\n"));
        return;
    }
    put_build(&page, server);
    put_engine(&page, engine_stats(server->engine));
    put_grammars(&page, server);
    put_http(&page, server->http);
    put_gauge(&page, "skein_jobs", "Open completion and chat requests.",
              openai_jobs_count(server->jobs));
    http_exchange_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                        (struct text){.bytes = page.buffer, .len = page.bytes});
}
