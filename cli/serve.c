/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/serve.c - skein serve: configuration -> backend -> engine -> server. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/runtime.h"
#include "engine/engine.h"
#include "server/server.h"

#define NS_PER_MS UINT64_C(1000000)

static void describe_model(const struct runtime *runtime, struct server_model *model_out)
{
    *model_out = (struct server_model){
        .id = runtime->model_id,
        .device = runtime->backend->ops->name,
        .created = clock_wall_seconds(),
        .parameter_count = runtime->spec.parameter_count,
        .state_bytes = runtime->backend->state_bytes,
        .token_count = tokenizer_token_count(runtime->tokenizer),
        .slot_count = runtime->backend->slot_count,
        .chat_template = runtime->chat_template,
        .temperature_default = runtime->temperature,
        .top_p_default = runtime->top_p,
    };
}

/* The lines a person sees; the first one is also what scripts wait for. */
static void print_ready(const struct config *config, const struct server_model *model,
                        uint16_t port)
{
    const bool any = strcmp(config->host, "0.0.0.0") == 0 || strcmp(config->host, "::") == 0;
    const char *host = any ? "127.0.0.1" : config->host;
    const bool keyed = config->api_key != NULL || config->api_key_file != NULL;
    const char *key = keyed ? " -H \"Authorization: Bearer $SKEIN_API_KEY\"" : "";
    printf("skein %s serves %s on http://%s:%u (device %s, %u sequences at once, %.1f MB each)\n",
           SKEIN_VERSION, model->id, host, port, model->device, model->slot_count,
           (double)model->state_bytes * 1e-6);
    printf("try: curl http://%s:%u/v1/chat/completions%s -H 'Content-Type: application/json' "
           "-d '{\"messages\":[{\"role\":\"user\",\"content\":\"What is 12+7?\"}]}'\n",
           host, port, key);
    fflush(stdout);
}

static enum exit_code serve(const struct config *config, struct runtime *runtime)
{
    struct server_model model;
    struct server *server = NULL;
    struct engine *engine = NULL;
    struct error error = {0};
    describe_model(runtime, &model);
    const struct server_options server_options = {
        .config = config, .model = &model, .tokenizer = runtime->tokenizer};
    enum error_code code = server_open(&server_options, &server, &error);
    if (code == ERROR_NONE) {
        const struct engine_options engine_options = {
            .queue_max = (uint32_t)config->queue,
            .target_itl_ns = config->target_itl_ms * NS_PER_MS,
            .wake = server_wake,
            .wake_context = server,
            .initial_state = runtime->initial_state.state,
        };
        code = engine_open(&engine_options, runtime->backend, runtime->tokenizer, &engine, &error);
    }
    if (code == ERROR_NONE) {
        code = engine_start(engine, &error);
    }
    if (code == ERROR_NONE) {
        print_ready(config, &model, server_port(server));
        code = server_run(server, engine, &error);
    }
    engine_close(engine);
    server_close(server);
    if (code == ERROR_NONE) {
        return EXIT_CODE_CLEAN;
    }
    return command_fail_with(&error);
}

enum exit_code command_serve(int argc, char **argv)
{
    struct config config = {0};
    struct runtime runtime = {0};
    struct error error = {0};
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    struct config_extra_flag verify = {.flag = "verify", .kind = CONFIG_EXTRA_SWITCH};
    struct config_input input = {
        .argc = argc - 1,
        .argv = argv + 1,
        .extra_flags = &verify,
        .extra_flag_count = 1,
    };
    const char *usage = "skein serve [options] [--verify]\n\n"
                        "With --verify, compares the weights' checksums first, where the file has "
                        "them (.pth).";
    if (!command_load_config(&config, &input, usage, &exit_code)) {
        goto out;
    }
    if (config.argument_count > 0) {
        exit_code = command_fail(EXIT_CODE_USAGE,
                                 "serve takes options only: see skein serve --help");
        goto out;
    }
    config_log_effective(&config);
    if (runtime_open(&config, &runtime, &error) != ERROR_NONE) {
        exit_code = command_fail_with(&error);
        goto out;
    }
    if (verify.value != NULL) {
        runtime_verify(&runtime);
    }
    runtime_warm_up(&runtime);
    exit_code = serve(&config, &runtime);
out:
    runtime_close(&runtime);
    config_deinit(&config);
    return exit_code;
}
