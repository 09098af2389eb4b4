/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config.c - loading in order of precedence, then the checks that need several options.
 *
 * What one option allows is in config_options.def. Thread: main. */
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config_report.h"
#include "config/config_sources.h"
#include "config/config_value.h"

static const struct config_option *row(enum config_option_index index)
{
    return &config_options_table[index];
}

static void take_defaults(struct config *config, struct config_report *report)
{
    const struct config_origin origin = {.source = CONFIG_SOURCE_DEFAULT};
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        if (option->default_text != NULL) {
            config_report_take(report, config, option, origin, text_from(option->default_text));
        }
    }
}

static void check_paths_exist(const struct config *config, struct config_report *report)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct config_option *option = &config_options_table[index];
        if (option->kind != CONFIG_KIND_PATH || index == CONFIG_OPTION_config_file) {
            continue; /* config_file_read has reported that one. */
        }
        const char *path = config_value_string(option, config);
        if (path != NULL && access(path, R_OK) != 0) {
            config_report_option(report, config, option, config->origins[index], "%s: %s", path,
                                 strerror(errno));
        }
    }
}

/* Who lowers the limit need not lower the default too. */
static void check_max_tokens(struct config *config, struct config_report *report)
{
    const struct config_origin origin = config->origins[CONFIG_OPTION_max_tokens_default];
    if (config->max_tokens_default <= config->max_tokens_limit) {
        return;
    }
    if (origin.source == CONFIG_SOURCE_DEFAULT) {
        config->max_tokens_default = config->max_tokens_limit;
        return;
    }
    config_report_option(report, config, row(CONFIG_OPTION_max_tokens_default), origin,
                         "max-tokens-default = %lld is above max-tokens-limit = %lld",
                         (long long)config->max_tokens_default,
                         (long long)config->max_tokens_limit);
}

bool config_host_is_loopback(const char *host)
{
    struct in_addr address4;
    struct in6_addr address6;
    if (inet_pton(AF_INET, host, &address4) == 1) {
        return ntohl(address4.s_addr) >> 24 == 127;
    }
    if (inet_pton(AF_INET6, host, &address6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&address6);
    }
    return text_equals_ignoring_case(text_from(host), TEXT("localhost"));
}

static void check_exposure(const struct config *config, struct config_report *report)
{
    if (config->host == NULL || config_host_is_loopback(config->host) || config->insecure ||
        config->api_key != NULL || config->api_key_file != NULL) {
        return;
    }
    config_report_option(report, config, row(CONFIG_OPTION_host),
                         config->origins[CONFIG_OPTION_host],
                         "host %s can be reached from other machines and there is no API key: "
                         "give --api-key-file FILE or SKEIN_API_KEY, or --insecure to do without",
                         config->host);
}

/* "*", or scheme://host[:port] as a browser writes it: no path and nothing behind it. */
static bool is_origin(struct text origin)
{
    const struct text scheme_end = TEXT("://");
    for (size_t index = 0; index < origin.len; index++) {
        const struct text rest = {.bytes = origin.bytes + index, .len = origin.len - index};
        if (text_starts_with(rest, scheme_end)) {
            const size_t host_len = rest.len - scheme_end.len;
            return index > 0 && host_len > 0 &&
                   memchr(rest.bytes + scheme_end.len, '/', host_len) == NULL &&
                   memchr(origin.bytes, ' ', origin.len) == NULL;
        }
    }
    return text_equals(origin, TEXT("*"));
}

static void check_cors_origins(const struct config *config, struct config_report *report)
{
    struct text list = text_from(config->cors_origin);
    while (list.len > 0) {
        const struct text origin = text_trim(text_cut(&list, ','));
        if (!is_origin(origin)) {
            config_report_option(report, config, row(CONFIG_OPTION_cors_origin),
                                 config->origins[CONFIG_OPTION_cors_origin],
                                 "cors-origin '%.*s' is neither * nor an origin such as "
                                 "https://chat.example:8443, without a path",
                                 (int)origin.len, origin.len == 0 ? "" : origin.bytes);
        }
    }
}

enum error_code config_load(struct config *config, const struct config_input *input, FILE *mistakes,
                            struct error *error)
{
    *config = (struct config){0};
    config->arguments = calloc((size_t)input->argc + 1, sizeof(*config->arguments));
    if (config->arguments == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "command line of %d arguments", input->argc);
    }
    /* The strongest source comes first, because it may name the file; what is weaker does not
     * replace what is there (config_report_take). */
    struct config_report report = {.stream = mistakes};
    take_defaults(config, &report);
    config_flags_read(config, input, &report);
    if (config->help_wanted) {
        return ERROR_NONE;
    }
    config_environment_read(config, input->environment, &report);
    if (config->config_file != NULL) {
        config_file_read(config, &report);
    }
    check_paths_exist(config, &report);
    check_max_tokens(config, &report);
    check_cors_origins(config, &report);
    if (!input->never_listens) {
        check_exposure(config, &report);
    }
    if (report.mistakes > 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "%zu mistake%s in the options",
                         report.mistakes, report.mistakes == 1 ? "" : "s");
    }
    return ERROR_NONE;
}

void config_deinit(struct config *config)
{
    if (config == NULL) {
        return;
    }
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        config_value_clear(&config_options_table[index], config);
    }
    free(config->arguments);
    *config = (struct config){0};
}

void config_log_effective(const struct config *config)
{
    char values[CONFIG_OPTION_COUNT][CONFIG_VALUE_BYTES];
    struct log_field fields[CONFIG_OPTION_COUNT + 1] = {0}; /* The last one ends the list. */
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        config_value_format(&config_options_table[index], config, values[index]);
        fields[index] = LOG_S(config_options_table[index].flag, values[index]);
    }
    log_event_fields(LOG_INFO, "config", "configuration in force", fields);
}
