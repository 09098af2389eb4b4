/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/main.c - the table of commands. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

static const struct command {
    const char *name;
    enum exit_code (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"serve", command_serve, "serve a model over HTTP (OpenAI-compatible)"},
    {"run", command_run, "answer one prompt in the terminal"},
    {"bench", command_bench, "measure the speed of this machine, without a file or with one"},
    {"inspect", command_inspect, "say what a model file is, and what it needs"},
    {"tokenize", command_tokenize, "show the tokens of a text, or the text of tokens"},
    {"health", command_health, "ask a running server whether it is ready (exit 0 or 1)"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *stream)
{
    fprintf(stream, "skein %s - inference server for RWKV-7 language models\n\n"
                    "usage: skein COMMAND [options]\n\n", SKEIN_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(stream, "\nskein COMMAND --help lists the options of a command; skein --version "
                    "prints the version.\nWithout --model, every command uses the built-in "
                    "model, Gosling.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("skein %s\n", SKEIN_VERSION);
        return EXIT_CODE_CLEAN;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return EXIT_CODE_CLEAN;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return (int)commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "skein: there is no command \"%s\"\n\n", argv[1]);
    print_usage(stderr);
    return EXIT_CODE_USAGE;
}
