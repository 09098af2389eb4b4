/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config.h - what the operator may set: defaults < file < environment < flags.
 *
 * The options themselves are rows of config_options.def: to find or add one, go there.
 * Thread: main at start; immutable afterwards, then any may read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"

enum config_device { CONFIG_DEVICE_AUTO, CONFIG_DEVICE_CPU, CONFIG_DEVICE_CUDA };

enum config_state_layout {
    CONFIG_STATE_LAYOUT_AUTO,
    CONFIG_STATE_LAYOUT_VK,
    CONFIG_STATE_LAYOUT_KV,
};

enum config_chat_template {
    CONFIG_CHAT_TEMPLATE_AUTO,
    CONFIG_CHAT_TEMPLATE_WORLD,
    CONFIG_CHAT_TEMPLATE_G1,
    CONFIG_CHAT_TEMPLATE_G1_THINK,
    CONFIG_CHAT_TEMPLATE_NONE,
};

/* Value of temperature, top_p and doc_start_token when nobody set them: the model decides. */
enum { CONFIG_UNSET = -1 };

/* CONFIG_OPTION_host, CONFIG_OPTION_port, ...: the rows of the table. */
enum config_option_index {
#define OPTION(group, type, field, ...) CONFIG_OPTION_##field,
#include "config/config_options.def"
#undef OPTION
    CONFIG_OPTION_COUNT,
};

/* A stronger source has a larger value. */
enum config_source {
    CONFIG_SOURCE_DEFAULT,
    CONFIG_SOURCE_FILE,
    CONFIG_SOURCE_ENVIRONMENT,
    CONFIG_SOURCE_FLAG,
};

/* Where an option's value came from. */
struct config_origin {
    enum config_source source;
    unsigned line; /* Of the file; else 0. */
};

/* Field types of the rows. `ENUM(log_level)` in a row becomes CONFIG_TYPE_ENUM(log_level). */
#define CONFIG_TYPE_STRING char *
#define CONFIG_TYPE_SECRET char *
#define CONFIG_TYPE_PATH char *
#define CONFIG_TYPE_INTEGER int64_t
#define CONFIG_TYPE_REAL double
#define CONFIG_TYPE_BOOL bool
#define CONFIG_TYPE_DURATION_MS uint64_t
#define CONFIG_TYPE_BYTES uint64_t
#define CONFIG_TYPE_ENUM(name) enum name

/* Zeroed is valid to config_deinit. Strings are owned here; NULL means not set. */
struct config {
#define OPTION(group, type, field, ...) CONFIG_TYPE_##type field;
#include "config/config_options.def"
#undef OPTION
    struct config_origin origins[CONFIG_OPTION_COUNT];
    bool help_wanted;       /* --help was given: nothing is validated, print help and exit 0. */
    const char **arguments; /* What is not a flag; strings borrowed from argv, array owned. */
    size_t argument_count;
};

/* A flag of one command only, such as bench's --synthetic. */
struct config_extra_flag {
    const char *flag; /* Without dashes. */
    enum { CONFIG_EXTRA_SWITCH, CONFIG_EXTRA_VALUE } kind;
    const char *value; /* Out, borrowed from argv: NULL when not given, "" for a switch. */
};

struct config_input {
    int argc;
    char **argv;        /* [argc] what follows the command; argv[0] is not skipped. */
    char **environment; /* NULL-terminated "NAME=value"; NULL: none. */
    bool never_listens; /* The command opens no port: host and key are not compared. */
    struct config_extra_flag *extra_flags; /* [extra_flag_count]; may be NULL. */
    size_t extra_flag_count;
};

/* Reads all sources and validates all options together. Every mistake is one line on `mistakes`,
 * with its source; so are warnings, which do not fail. The caller ends with config_deinit, also
 * after an error.
 * ERROR_INVALID_ARGUMENT: mistakes were found (exit 2). ERROR_OUT_OF_MEMORY. Thread: main. */
WARN_UNUSED enum error_code config_load(struct config *config, const struct config_input *input,
                                        FILE *mistakes, struct error *error);

/* Frees the strings and zeroes the struct; NULL and zeroed are fine. */
void config_deinit(struct config *config);

/* Tells whether only this machine can reach the address: 127.0.0.0/8, ::1, localhost. */
bool config_host_is_loopback(const char *host);

/* Logs every option with the value in force, secrets as "set" or "not set". */
void config_log_effective(const struct config *config);
