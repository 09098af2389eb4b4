/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_print.c - the table of options for people.
 *
 * Thread: main. */
#include "config/config_print.h"

#include <stdbool.h>
#include <string.h>

#include "config/config_options.h"
#include "config/config_value.h"

/* "--queue-timeout <s>", "--device auto|cpu|cuda", "--insecure". */
static void format_usage(const struct config_option *option, char usage[CONFIG_VALUE_BYTES])
{
    const bool is_choice = option->kind == CONFIG_KIND_CHOICE;
    const bool is_switch = option->kind == CONFIG_KIND_BOOL;
    snprintf(usage, CONFIG_VALUE_BYTES, "--%s%s%s%s", option->flag,
             is_switch   ? ""
             : is_choice ? " "
                         : " <",
             option->unit, is_switch || is_choice ? "" : ">");
}

static bool starts_group(size_t index)
{
    return index == 0 ||
           strcmp(config_options_table[index - 1].group, config_options_table[index].group) != 0;
}

void config_print_help(FILE *stream)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        char usage[CONFIG_VALUE_BYTES];
        format_usage(option, usage);
        if (starts_group(index)) {
            fprintf(stream, "%s%s:\n", index == 0 ? "" : "\n", option->group);
        }
        fprintf(stream, "  %s\n      %s", usage, option->help);
        if (option->default_text != NULL && option->kind != CONFIG_KIND_BOOL) {
            fprintf(stream, " (%s)", option->default_text);
        }
        fputc('\n', stream);
    }
    fputs("\n"
          "In parentheses: the default. An option is also a variable (SKEIN_QUEUE_TIMEOUT for\n"
          "--queue-timeout) and a line of the file that --config names (queue-timeout = 60s).\n"
          "A flag wins over a variable, a variable over the file. Times: 500ms, 30s, 2m, 1h.\n"
          "Bytes: 64KiB, 4MiB, 1GiB.\n",
          stream);
}

/* Inside of a table's cell a bar must be escaped, also within code. */
static void write_cell(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            fputc('\\', stream);
        }
        fputc(*text, stream);
    }
}

static void write_code_cell(FILE *stream, const char *text)
{
    fputs(" | ", stream);
    if (text[0] != '\0') {
        fputc('`', stream);
        write_cell(stream, text);
        fputc('`', stream);
    }
}

void config_print_markdown(FILE *stream)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        char usage[CONFIG_VALUE_BYTES];
        char range[CONFIG_VALUE_BYTES];
        format_usage(option, usage);
        config_value_format_range(option, range);
        if (starts_group(index)) {
            fprintf(stream, "%s| %s | Default | Allowed | Meaning |\n|---|---|---|---|\n",
                    index == 0 ? "" : "\n", option->group);
        }
        fputs("| `", stream);
        write_cell(stream, usage);
        fputs("`", stream);
        write_code_cell(stream, option->default_text == NULL ? "" : option->default_text);
        write_code_cell(stream, option->kind == CONFIG_KIND_CHOICE ? "" : range);
        fputs(" | ", stream);
        write_cell(stream, option->help);
        fputs(" |\n", stream);
    }
}
