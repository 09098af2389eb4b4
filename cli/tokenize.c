/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/tokenize.c - skein tokenize: text to ids, one line; with --decode, ids to text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cli/runtime.h"

enum { TEXT_BYTES_MAX = 64 << 20 };

static struct text input_text(const struct config *config, struct arena *arena)
{
    if (config->argument_count > 0 && strcmp(config->arguments[0], "-") != 0) {
        return text_from(config->arguments[0]);
    }
    char *buffer = arena_alloc(arena, TEXT_BYTES_MAX);
    const size_t len = buffer == NULL ? 0 : fread(buffer, 1, TEXT_BYTES_MAX, stdin);
    return (struct text){.bytes = buffer, .len = len};
}

static enum exit_code print_tokens(const struct tokenizer *tokenizer, struct text text,
                                   struct arena *arena)
{
    int32_t *tokens = arena_alloc(arena, (text.len + 1) * sizeof *tokens);
    if (tokens == NULL) {
        return command_fail(EXIT_CODE_FAILURE, "no memory for the tokens");
    }
    const size_t count = tokenizer_encode(tokenizer, text, tokens, text.len);
    for (size_t i = 0; i < count; i++) {
        printf("%s%d", i == 0 ? "" : " ", tokens[i]);
    }
    putchar('\n');
    return EXIT_CODE_CLEAN;
}

static enum exit_code print_text(const struct tokenizer *tokenizer, struct text ids)
{
    while (ids.len > 0) {
        const struct text word = text_trim(text_cut(&ids, ' '));
        int64_t token = 0;
        if (word.len == 0) {
            continue;
        }
        if (!text_to_int64(word, &token) || !tokenizer_has(tokenizer, token)) {
            char message[128];
            snprintf(message, sizeof message, "\"%.*s\" is not a token id of this vocabulary",
                     (int)(word.len < 40 ? word.len : 40), word.bytes);
            return command_fail(EXIT_CODE_USAGE, message);
        }
        const struct text bytes = tokenizer_decode(tokenizer, (int32_t)token);
        fwrite(bytes.bytes, 1, bytes.len, stdout);
    }
    putchar('\n');
    return EXIT_CODE_CLEAN;
}

enum exit_code command_tokenize(int argc, char **argv)
{
    struct config config = {0};
    struct runtime runtime = {0};
    struct arena arena = {0};
    struct error error = {0};
    enum exit_code exit_code = EXIT_CODE_CLEAN;
    struct config_extra_flag decode = {.flag = "decode", .kind = CONFIG_EXTRA_SWITCH};
    struct config_input input = {
        .argc = argc - 1,
        .argv = argv + 1,
        .never_listens = true,
        .extra_flags = &decode,
        .extra_flag_count = 1,
    };
    const char *usage = "skein tokenize [options] [--decode] [TEXT | IDS | -]\n\n"
                        "Prints the token ids of TEXT, or of standard input; with --decode, the "
                        "text of IDS.";
    if (!command_load_config(&config, &input, usage, &exit_code)) {
        goto out;
    }
    if (config.argument_count > 1) {
        exit_code = command_fail(EXIT_CODE_USAGE, "tokenize takes one text: put it in quotes");
        goto out;
    }
    if (runtime_open_tokenizer(&config, &runtime, &error) != ERROR_NONE) {
        exit_code = command_fail_with(&error);
        goto out;
    }
    const struct text text = input_text(&config, &arena);
    exit_code = decode.value != NULL ? print_text(runtime.tokenizer, text)
                                     : print_tokens(runtime.tokenizer, text, &arena);
out:
    arena_reset(&arena);
    runtime_close(&runtime);
    config_deinit(&config);
    return exit_code;
}
