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
    const enum error_code code = config_load(config, input, stderr, &error);
    if (code != ERROR_NONE) {
        *exit_code_out = command_fail(
            code == ERROR_OUT_OF_MEMORY ? EXIT_CODE_FAILURE : EXIT_CODE_USAGE, error.message);
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
