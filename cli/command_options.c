/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/command_options.c - what every command does with its options first. */
#include <stdio.h>

#include "cli/commands.h"
#include "config/config_print.h"

extern char **environ;

bool command_load_config(struct config *config, struct config_input *input, const char *usage,
                         enum exit_code *exit_code_out)
{
    struct error error = {0};
    input->environment = environ;
    if (config_load(config, input, stderr, &error) != ERROR_NONE) {
        *exit_code_out = command_fail_with(&error);
        return false;
    }
    if (config->help_wanted) {
        printf("usage: %s\n\n", usage);
        config_print_help(stdout);
        *exit_code_out = EXIT_CODE_CLEAN;
        return false;
    }
    log_configure(config->log_level, config->log_format);
    return true;
}

enum exit_code command_fail(enum exit_code code, const char *message)
{
    fprintf(stderr, "skein: %s\n", message);
    return code;
}

static enum exit_code exit_code_of(enum error_code code)
{
    switch (code) {
    case ERROR_NONE:
        return EXIT_CODE_CLEAN;
    case ERROR_INVALID_ARGUMENT:
    case ERROR_NOT_FOUND:
        return EXIT_CODE_USAGE;
    case ERROR_CORRUPT:
    case ERROR_TOO_LARGE:
        return EXIT_CODE_MODEL;
    case ERROR_DEVICE:
        return EXIT_CODE_DEVICE;
    case ERROR_OVERLOADED:
    case ERROR_CANCELLED:
    case ERROR_TIMEOUT:
    case ERROR_IO:
    case ERROR_OUT_OF_MEMORY:
    case ERROR_SHUTTING_DOWN:
        break;
    }
    return EXIT_CODE_FAILURE;
}

enum exit_code command_fail_with(const struct error *error)
{
    return command_fail(exit_code_of(error->code), error->message);
}
