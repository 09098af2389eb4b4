/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/commands.h - the commands of the program and their exit codes. Thread: main. */
#pragma once

#include "config/config.h"

/* What the shell sees; scripts and supervisors rely on these. */
enum exit_code {
    EXIT_CODE_CLEAN = 0,
    EXIT_CODE_FAILURE = 1, /* At run time: a port is taken, memory is out. */
    EXIT_CODE_USAGE = 2,   /* Options, or a path that does not exist. */
    EXIT_CODE_MODEL = 3,   /* A model or vocabulary file was refused. */
    EXIT_CODE_DEVICE = 4,  /* The device failed, or --device names one that is not there. */
};

/* argv[0] is the command's name. Each returns the exit code of the process. */
enum exit_code command_serve(int argc, char **argv);    /* serve.c */
enum exit_code command_run(int argc, char **argv);      /* run.c */
enum exit_code command_bench(int argc, char **argv);    /* bench.c */
enum exit_code command_inspect(int argc, char **argv);  /* inspect.c */
enum exit_code command_tokenize(int argc, char **argv); /* tokenize.c */
enum exit_code command_health(int argc, char **argv);   /* health.c */

/* Loads the configuration of a command and configures the log. Returns true when the command goes
 * on; else *exit_code_out is what it returns (help was printed, or mistakes). `usage` is the
 * command's one line for --help. command_options.c. */
bool command_load_config(struct config *config, struct config_input *input, const char *usage,
                         enum exit_code *exit_code_out);

/* Prints "skein: message" on stderr and returns the code. */
enum exit_code command_fail(enum exit_code code, const char *message);

/* As command_fail, with the exit code that the error's code stands for. */
enum exit_code command_fail_with(const struct error *error);
