/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_report.c - mistakes with their sources; precedence between the sources.
 *
 * Thread: main. */
#include "config/config_report.h"

#include <stdarg.h>

#include "config/config_value.h"

enum { VALUE_SHOWN_BYTES = 100 }; /* Enough to recognise a value. */

/* "flag --port", "environment SKEIN_PORT", "file skein.ini line 3". */
static void write_place(struct config_report *report, const struct config *config,
                        const struct config_option *option, struct config_origin origin)
{
    char name[CONFIG_NAME_BYTES];
    switch (origin.source) {
    case CONFIG_SOURCE_DEFAULT:
        fprintf(report->stream, "default of %s", option->flag);
        break;
    case CONFIG_SOURCE_FILE:
        fprintf(report->stream, "file %s line %u", config->config_file, origin.line);
        break;
    case CONFIG_SOURCE_ENVIRONMENT:
        config_options_environment_name(option->flag, name);
        fprintf(report->stream, "environment %s", name);
        break;
    case CONFIG_SOURCE_FLAG:
        fprintf(report->stream, "flag --%s", option->flag);
        break;
    }
}

static void write_message(struct config_report *report, const char *format, va_list arguments)
{
    char text[ERROR_MESSAGE_BYTES];
    vsnprintf(text, sizeof(text), format, arguments);
    struct error line; /* One line, whatever the value had in it. */
    (void)error_set(&line, ERROR_INVALID_ARGUMENT, "%s", text);
    fprintf(report->stream, ": %s\n", line.message);
    report->mistakes++;
}

void config_report_option(struct config_report *report, const struct config *config,
                          const struct config_option *option, struct config_origin origin,
                          const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_place(report, config, option, origin);
    write_message(report, format, arguments);
    va_end(arguments);
}

void config_report_place(struct config_report *report, const char *place, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs(place, report->stream);
    write_message(report, format, arguments);
    va_end(arguments);
}

/* A secret is not repeated: mistakes end up in logs. */
static struct text shown_value(const struct config_option *option, struct text value)
{
    if (option->kind == CONFIG_KIND_SECRET) {
        return TEXT("(not shown)");
    }
    return value.len == 0 ? TEXT("(empty)") : value;
}

static void report_bad_value(struct config_report *report, const struct config *config,
                             const struct config_option *option, struct config_origin origin,
                             struct text value, const char *problem)
{
    const bool in_file = origin.source == CONFIG_SOURCE_FILE; /* The place names no option. */
    const struct text shown = shown_value(option, value);
    const int len = shown.len < VALUE_SHOWN_BYTES ? (int)shown.len : VALUE_SHOWN_BYTES;
    config_report_option(report, config, option, origin, "%s%s%.*s, %s",
                         in_file ? option->flag : "", in_file ? " = " : "", len, shown.bytes,
                         problem);
}

void config_report_take(struct config_report *report, struct config *config,
                        const struct config_option *option, struct config_origin origin,
                        struct text value)
{
    struct error error;
    union config_value parsed;
    if (config_value_parse(option, value, &parsed, &error) != ERROR_NONE) {
        report_bad_value(report, config, option, origin, value, error.message);
        return;
    }
    struct config_origin *stored_origin = &config->origins[option - config_options_table];
    if (origin.source < stored_origin->source) {
        return;
    }
    if (config_value_store(option, &parsed, config, &error) != ERROR_NONE) {
        config_report_option(report, config, option, origin, "%s", error.message);
        return;
    }
    *stored_origin = origin;
}
