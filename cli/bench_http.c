/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_http.c - a server on a thread of its own, and streams to it. Thread: main. */
#include "cli/bench_http.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/http_load.h"
#include "engine/engine.h"
#include "server/server.h"

enum { PROMPT_TOKENS = 16 };

#define NS_PER_MS UINT64_C(1000000)

/* What serves, and how it ended. */
struct serving {
    struct server *server;
    struct engine *engine;
    enum error_code code;
    struct error error;
};

static void *serve(void *argument)
{
    struct serving *serving = argument;
    serving->code = server_run(serving->server, serving->engine, &serving->error);
    return NULL;
}

static enum error_code open_serving(const struct bench_http_options *options,
                                    const struct config *config, const struct server_model *model,
                                    struct serving *serving, struct error *error)
{
    const struct server_options server_options = {
        .config = config, .model = model, .tokenizer = options->tokenizer};
    enum error_code code = server_open(&server_options, &serving->server, error);
    if (code == ERROR_NONE) {
        const struct engine_options engine_options = {
            .queue_max = (uint32_t)config->queue,
            .target_itl_ns = config->target_itl_ms * NS_PER_MS,
            .wake = server_wake,
            .wake_context = serving->server,
        };
        code = engine_open(&engine_options, options->backend, options->tokenizer,
                           &serving->engine, error);
    }
    return code == ERROR_NONE ? engine_start(serving->engine, error) : code;
}

/* Loads the server from here while it runs on a thread; SIGTERM drains it, as it does `serve`. */
static enum error_code load(const struct bench_http_options *options,
                            const struct http_load_options *load_options, struct serving *serving,
                            struct http_load_result *result_out, struct error *error)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, serving) != 0) {
        return error_set(error, ERROR_IO, "bench: no thread for the server");
    }
    enum error_code code = http_load_run(load_options, options->clock, result_out, error);
    kill(getpid(), SIGTERM);
    pthread_join(thread, NULL);
    if (code == ERROR_NONE && serving->code != ERROR_NONE) {
        *error = serving->error;
        code = serving->code;
    }
    return code;
}

enum error_code bench_http_measure(const struct bench_http_options *options,
                                   uint32_t stream_count, uint32_t token_count,
                                   struct http_load_result *result_out, struct error *error)
{
    struct config config = *options->config; /* A copy: the texts stay the original's. */
    struct serving serving = {0};
    static char host[] = "127.0.0.1";
    config.host = host;
    config.port = 0;
    config.max_tokens_limit = token_count > config.max_tokens_limit ? token_count
                                                                    : config.max_tokens_limit;
    const struct server_model model = {
        .id = "bench",
        .device = options->backend->ops->name,
        .created = clock_wall_seconds(),
        .parameter_count = options->spec->parameter_count,
        .state_bytes = options->backend->state_bytes,
        .token_count = tokenizer_token_count(options->tokenizer),
        .slot_count = options->backend->slot_count,
        .chat_template = CHAT_TEMPLATE_WORLD,
        .temperature_default = 1.0,
        .top_p_default = 0.5,
    };
    log_configure(LOG_WARN, config.log_format); /* Not a line for each request, from here on. */
    enum error_code code = open_serving(options, &config, &model, &serving, error);
    if (code == ERROR_NONE) {
        const struct http_load_options load_options = {
            .port = server_port(serving.server),
            .api_key = config.api_key,
            .stream_count = stream_count,
            .prompt_tokens = PROMPT_TOKENS,
            .token_count = token_count,
        };
        code = load(options, &load_options, &serving, result_out, error);
    }
    engine_close(serving.engine);
    server_close(serving.server);
    return code;
}
