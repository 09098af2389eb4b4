/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_environment.c - variables SKEIN_*.
 *
 * Thread: main. */
#include <stdbool.h>

#include "config/config_sources.h"

static const struct config_option *find_option(struct text variable)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        char name[CONFIG_NAME_BYTES];
        config_options_environment_name(config_options_table[index].flag, name);
        if (text_equals(text_from(name), variable)) {
            return &config_options_table[index];
        }
    }
    return NULL;
}

/* Not a mistake: other programs may use the prefix, and Kubernetes adds variables of its own for a
 * service named skein. */
static void warn_if_near(struct text variable, struct config_report *report)
{
    char flag[CONFIG_NAME_BYTES];
    const size_t prefix = sizeof("SKEIN_") - 1;
    if (variable.len - prefix >= sizeof(flag)) {
        return;
    }
    text_copy_to((struct text){variable.bytes + prefix, variable.len - prefix}, flag, sizeof(flag));
    for (char *byte = flag; *byte != '\0'; byte++) {
        if (*byte == '_') {
            *byte = '-';
        } else if (*byte >= 'A' && *byte <= 'Z') {
            *byte = (char)(*byte - 'A' + 'a');
        }
    }
    const char *nearest = config_options_nearest(text_from(flag));
    if (nearest != NULL) {
        char name[CONFIG_NAME_BYTES];
        config_options_environment_name(nearest, name);
        fprintf(report->stream, "warning: environment %.*s: unknown, did you mean %s?\n",
                (int)variable.len, variable.bytes, name);
    }
}

void config_environment_read(struct config *config, char **environment,
                             struct config_report *report)
{
    for (; environment != NULL && *environment != NULL; environment++) {
        struct text value = text_from(*environment);
        const struct text variable = text_cut(&value, '=');
        if (!text_starts_with(variable, TEXT("SKEIN_")) || value.len == 0) {
            continue;
        }
        const struct config_option *option = find_option(variable);
        if (option == NULL) {
            warn_if_near(variable, report);
            continue;
        }
        const struct config_origin origin = {.source = CONFIG_SOURCE_ENVIRONMENT};
        config_report_take(report, config, option, origin, value);
    }
}
