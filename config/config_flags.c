/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_flags.c - the command line. The environment: config_environment.c.
 *
 * Thread: main. */
#include <stdbool.h>
#include <string.h>

#include "config/config_sources.h"

/* The command line while it is walked. */
struct flags {
    struct config *config;
    const struct config_input *input;
    struct config_report *report;
    int next; /* Index of the argument that was not looked at yet. */
};

/* One "--name" or "--name=value". */
struct flag {
    char place[CONFIG_NAME_BYTES + sizeof("flag --")]; /* For messages. */
    struct text name;
    const char *value; /* Behind "=", or NULL. */
};

static struct flag split_flag(const char *argument)
{
    struct flag flag = {.name = text_from(argument + strlen("--"))};
    const char *equals = strchr(argument, '=');
    if (equals != NULL) {
        flag.value = equals + 1;
        flag.name.len = (size_t)(equals - flag.name.bytes);
    }
    snprintf(flag.place, sizeof(flag.place), "flag --%.*s",
             flag.name.len < CONFIG_NAME_BYTES ? (int)flag.name.len : CONFIG_NAME_BYTES,
             flag.name.bytes);
    return flag;
}

/* The value behind "=", or else the next argument. NULL, and a mistake, when there is neither: an
 * argument that starts with "--" is a forgotten value, more likely than meant. */
static const char *take_value(struct flags *flags, const struct flag *flag)
{
    if (flag->value != NULL) {
        return flag->value;
    }
    const int next = flags->next;
    if (next >= flags->input->argc || strncmp(flags->input->argv[next], "--", 2) == 0) {
        config_report_place(flags->report, flag->place, "needs a value");
        return NULL;
    }
    flags->next++;
    return flags->input->argv[next];
}

static void take_option(struct flags *flags, const struct flag *flag,
                        const struct config_option *option)
{
    const bool is_switch = option->kind == CONFIG_KIND_BOOL && flag->value == NULL;
    const char *value = is_switch ? "true" : take_value(flags, flag);
    if (value != NULL) {
        const struct config_origin origin = {.source = CONFIG_SOURCE_FLAG};
        config_report_take(flags->report, flags->config, option, origin, text_from(value));
    }
}

static void take_extra(struct flags *flags, const struct flag *flag,
                       struct config_extra_flag *extra)
{
    switch (extra->kind) {
    case CONFIG_EXTRA_SWITCH:
        extra->value = "";
        if (flag->value != NULL) {
            config_report_place(flags->report, flag->place, "takes no value");
        }
        break;
    case CONFIG_EXTRA_VALUE:
        extra->value = take_value(flags, flag);
        break;
    }
}

static struct config_extra_flag *find_extra(const struct config_input *input, struct text name)
{
    for (size_t index = 0; index < input->extra_flag_count; index++) {
        if (text_equals(text_from(input->extra_flags[index].flag), name)) {
            return &input->extra_flags[index];
        }
    }
    return NULL;
}

static void report_unknown(struct flags *flags, const struct flag *flag)
{
    const char *nearest = config_options_nearest(flag->name);
    if (nearest != NULL) {
        config_report_place(flags->report, flag->place, "unknown, did you mean --%s?", nearest);
    } else {
        config_report_place(flags->report, flag->place, "unknown, see --help");
    }
}

static void take_flag(struct flags *flags, const char *argument)
{
    const struct flag flag = split_flag(argument);
    const struct config_option *option = config_options_find(flag.name);
    struct config_extra_flag *extra = find_extra(flags->input, flag.name);
    if (option != NULL) {
        take_option(flags, &flag, option);
    } else if (extra != NULL) {
        take_extra(flags, &flag, extra);
    } else {
        report_unknown(flags, &flag);
    }
}

void config_flags_read(struct config *config, const struct config_input *input,
                       struct config_report *report)
{
    struct flags flags = {.config = config, .input = input, .report = report};
    bool flags_ended = false;
    while (flags.next < input->argc) {
        const char *argument = input->argv[flags.next++];
        const bool is_flag = !flags_ended && argument[0] == '-' && argument[1] != '\0';
        if (!is_flag) {
            config->arguments[config->argument_count++] = argument;
        } else if (strcmp(argument, "--") == 0) {
            flags_ended = true;
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            config->help_wanted = true;
        } else if (strncmp(argument, "--", 2) == 0) {
            take_flag(&flags, argument);
        } else {
            config_report_place(report, argument, "unknown, flags start with two dashes");
        }
    }
}
