/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_file.c - lines of key = value, each parsed by libinih.
 *
 * The lines are handed to libinih one by one: so the line's number is known, an indented line is
 * not taken for a continuation, and a line longer than libinih's buffer is seen.
 * Thread: main. */
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "config/config_sources.h"

enum { LINE_BYTES_MAX = INI_MAX_LINE - 3 }; /* libinih needs three for the line's end and NUL. */

struct file {
    struct config *config;
    struct config_report *report;
    unsigned line;
    unsigned lines_seen[CONFIG_OPTION_COUNT]; /* Where the option was given; 0: not yet. */
};

static void report_line(const struct file *file, const char *format, ...) PRINTF_LIKE(2, 3);

static void report_line(const struct file *file, const char *format, ...)
{
    char place[ERROR_MESSAGE_BYTES];
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    snprintf(place, sizeof(place), "file %s line %u", file->config->config_file, file->line);
    config_report_place(file->report, place, "%s", message);
}

static void report_unknown(const struct file *file, const char *key)
{
    const char *nearest = config_options_nearest(text_from(key));
    if (nearest != NULL) {
        report_line(file, "%s is unknown, did you mean %s?", key, nearest);
    } else {
        report_line(file, "%s is unknown", key);
    }
}

/* Called by libinih for a line with a key; nonzero: go on. */
static int on_key(void *context, const char *section, const char *key, const char *value)
{
    struct file *file = context;
    (void)section; /* A line by itself is in none; the file's sections are only headings. */
    const struct config_option *option = config_options_find(text_from(key));
    if (option == NULL) {
        report_unknown(file, key);
        return 1;
    }
    const size_t index = (size_t)(option - config_options_table);
    if (index == CONFIG_OPTION_config_file) {
        report_line(file, "%s cannot be set in the file itself", key);
    } else if (file->lines_seen[index] != 0) {
        report_line(file, "%s was given before", key);
    } else if (value[0] != '\0') {
        const struct config_origin origin = {.source = CONFIG_SOURCE_FILE, .line = file->line};
        config_report_take(file->report, file->config, option, origin, text_from(value));
    }
    file->lines_seen[index] = file->line;
    return 1;
}

/* Reads one line without its end; false at the end of the file. A longer line is a mistake and
 * comes back empty. */
static bool next_line(FILE *stream, struct file *file, char line[LINE_BYTES_MAX + 1])
{
    size_t bytes = 0;
    int byte = getc(stream);
    if (byte == EOF) {
        return false;
    }
    file->line++;
    for (; byte != '\n' && byte != EOF; byte = getc(stream)) {
        if (bytes < LINE_BYTES_MAX) {
            line[bytes] = (char)byte;
        }
        bytes++;
    }
    line[bytes < LINE_BYTES_MAX ? bytes : LINE_BYTES_MAX] = '\0';
    if (bytes > LINE_BYTES_MAX) {
        report_line(file, "longer than %d bytes", LINE_BYTES_MAX);
        line[0] = '\0';
    } else if (strlen(line) != bytes) {
        report_line(file, "contains a NUL byte");
        line[0] = '\0';
    }
    return true;
}

void config_file_read(struct config *config, struct config_report *report)
{
    const struct config_option *option = &config_options_table[CONFIG_OPTION_config_file];
    const struct config_origin origin = config->origins[CONFIG_OPTION_config_file];
    FILE *stream = fopen(config->config_file, "re");
    if (stream == NULL) {
        config_report_option(report, config, option, origin, "%s: %s", config->config_file,
                             strerror(errno));
        return;
    }
    struct file file = {.config = config, .report = report};
    char line[LINE_BYTES_MAX + 1];
    while (next_line(stream, &file, line)) {
        if (ini_parse_string(line, on_key, &file) != 0) {
            report_line(&file, "not of the form key = value");
        }
    }
    if (ferror(stream)) {
        config_report_option(report, config, option, origin, "%s: %s", config->config_file,
                             strerror(errno));
    }
    fclose(stream);
}
