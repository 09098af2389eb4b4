/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_value.h - the value of an option: parse, store, show.
 *
 * Only config/ includes this. Thread: main. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config_options.h"

enum { CONFIG_VALUE_BYTES = 128 };

/* A value that was read but not stored. */
union config_value {
    struct text string; /* Borrowed from what was parsed. */
    int64_t integer;
    double real;
    bool boolean;
    uint64_t amount; /* Milliseconds or bytes. */
    int choice;
};

/* Reads text as the option's type and checks its range.
 * ERROR_INVALID_ARGUMENT: the message says what would be right, without repeating the value. */
WARN_UNUSED enum error_code config_value_parse(const struct config_option *option, struct text text,
                                               union config_value *value_out, struct error *error);

/* Puts a parsed value into its field; strings are copied. ERROR_OUT_OF_MEMORY. */
WARN_UNUSED enum error_code config_value_store(const struct config_option *option,
                                               const union config_value *value,
                                               struct config *config, struct error *error);

/* Frees the field's string, if it has one. */
void config_value_clear(const struct config_option *option, struct config *config);

/* Returns the string of a STRING, SECRET or PATH field; NULL when it is not set. */
const char *config_value_string(const struct config_option *option, const struct config *config);

/* Writes the field's value as it could be given again; a SECRET as "set"; an unset string as
 * "not set"; cut at the buffer's end. */
void config_value_format(const struct config_option *option, const struct config *config,
                         char text[CONFIG_VALUE_BYTES]);

/* Writes what may be given: "0..65535", "1ms..1h", "auto|cpu|cuda"; "" where anything may. */
void config_value_format_range(const struct config_option *option, char text[CONFIG_VALUE_BYTES]);
