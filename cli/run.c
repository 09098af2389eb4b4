/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/run.c - skein run "prompt": one answer in the terminal, as it comes.
 *
 * Turns the engine itself, without its thread: there is nothing else to do meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "cli/runtime.h"
#include "engine/engine.h"

enum { PROMPT_BYTES_MAX = 4 << 20 };

static struct text read_all(FILE *stream, struct arena *arena)
{
    char *buffer = arena_alloc(arena, PROMPT_BYTES_MAX);
    const size_t len = buffer == NULL ? 0 : fread(buffer, 1, PROMPT_BYTES_MAX, stream);
    return (struct text){.bytes = buffer, .len = len};
}

/* The prompt's text: the argument or standard input, through the chat template unless raw. */
static enum error_code make_prompt(const struct config *config, const struct runtime *runtime,
                                   bool raw, struct arena *arena, struct text *prompt_out,
                                   struct error *error)
{
    const bool from_stdin =
        config->argument_count == 0 || strcmp(config->arguments[0], "-") == 0;
    const struct text given =
        from_stdin ? read_all(stdin, arena) : text_from(config->arguments[0]);
    if (raw || runtime->chat_template == CHAT_TEMPLATE_NONE) {
        *prompt_out = given;
        return ERROR_NONE;
    }
    const struct chat_message message = {.role = CHAT_ROLE_USER, .content = given};
    const struct chat_options options = {0};
    return chat_template_render(runtime->chat_template, &message, 1, &options, arena, prompt_out,
                                error);
}

/* Runs to the end, printing; chat answers begin with one space that is not shown. */
static enum generation_end print_answer(struct engine *engine, bool skip_space)
{
    _Alignas(8) char buffer[GENERATION_EVENT_BYTES_MAX];
    for (;;) {
        const struct generation_event *event = engine_take_event(engine, buffer);
        if (event == NULL) {
            engine_turn(engine);
            continue;
        }
        if (event->type == GENERATION_ENDED) {
            putchar('\n');
            return event->end;
        }
        struct text text = generation_event_text(event);
        if (skip_space && text.len > 0) {
            skip_space = false;
            if (text.bytes[0] == ' ') {
                text = (struct text){.bytes = text.bytes + 1, .len = text.len - 1};
            }
        }
        fwrite(text.bytes, 1, text.len, stdout);
        fflush(stdout);
    }
}

static enum error_code answer(const struct config *config, struct runtime *runtime, bool raw,
                              struct arena *arena, struct error *error)
{
    struct text prompt = {0};
    enum error_code code = make_prompt(config, runtime, raw, arena, &prompt, error);
    if (code != ERROR_NONE) {
        return code;
    }
    static const int32_t empty_prompt[1] = {TOKEN_END_OF_TEXT};
    int32_t *tokens = arena_alloc(arena, (prompt.len + 1) * sizeof *tokens);
    if (tokens == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the prompt");
    }
    const size_t count = tokenizer_encode(runtime->tokenizer, prompt, tokens, prompt.len);
    struct generation_request request = {
        .id = 1,
        .prompt = count > 0 ? tokens : empty_prompt,
        .prompt_count = count > 0 ? (uint32_t)count : 1,
        .choice_count = 1,
        .sampling = {
            .temperature = (float)runtime->temperature,
            .top_p = (float)runtime->top_p,
            .max_tokens = (uint32_t)config->max_tokens_default,
            .logprobs_wanted = -1,
            .seed = (uint64_t)getpid(),
        },
    };
    if (!raw) {
        request.stop_count = chat_template_stops(runtime->chat_template, &request.stops);
    }
    struct engine *engine = NULL;
    const struct engine_options options = {
        .queue_max = 1, .initial_state = runtime->initial_state.state};
    code = engine_open(&options, runtime->backend, runtime->tokenizer, &engine, error);
    if (code == ERROR_NONE) {
        code = engine_submit(engine, &request, error);
    }
    if (code == ERROR_NONE && print_answer(engine, !raw) == GENERATION_ENDED_BY_ERROR) {
        code = error_set(error, ERROR_DEVICE, "the device failed");
    }
    engine_close(engine);
    return code;
}

enum exit_code command_run(int argc, char **argv)
{
    struct config config = {0};
    struct runtime runtime = {0};
    struct arena arena = {0};
    struct error error = {0};
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    struct config_extra_flag raw = {.flag = "raw", .kind = CONFIG_EXTRA_SWITCH};
    struct config_input input = {
        .argc = argc - 1,
        .argv = argv + 1,
        .never_listens = true,
        .extra_flags = &raw,
        .extra_flag_count = 1,
    };
    const char *usage = "skein run [options] [--raw] [PROMPT | -]\n\n"
                        "Answers PROMPT, or standard input, as a user's message; with --raw, "
                        "continues it as it is.";
    if (!command_load_config(&config, &input, usage, &exit_code)) {
        goto out;
    }
    if (config.argument_count > 1) {
        exit_code = command_fail(EXIT_CODE_USAGE, "run takes one prompt: put it in quotes");
        goto out;
    }
    config.slots = 1;
    if (config.origins[CONFIG_OPTION_log_level].source == CONFIG_SOURCE_DEFAULT) {
        log_configure(LOG_WARN, config.log_format);
    }
    if (runtime_open(&config, &runtime, &error) != ERROR_NONE ||
        answer(&config, &runtime, raw.value != NULL, &arena, &error) != ERROR_NONE) {
        exit_code = command_fail_with(&error);
    }
out:
    arena_reset(&arena);
    runtime_close(&runtime);
    config_deinit(&config);
    return exit_code;
}
