/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_options.h - the rows of config_options.def as data, found by name.
 *
 * Only config/ includes this. Thread: main. */
#pragma once

#include <stddef.h>

#include "base/text.h"
#include "config/config.h"

enum config_kind {
    CONFIG_KIND_STRING,
    CONFIG_KIND_SECRET,
    CONFIG_KIND_PATH,
    CONFIG_KIND_INTEGER,
    CONFIG_KIND_REAL,
    CONFIG_KIND_BOOL,
    CONFIG_KIND_DURATION_MS,
    CONFIG_KIND_BYTES,
    CONFIG_KIND_CHOICE, /* ENUM(...) in the table. */
};

/* One row; the columns are explained in config_options.def. */
struct config_option {
    const char *group;
    enum config_kind kind;
    size_t offset; /* Of the field in struct config. */
    const char *flag;
    const char *unit;
    const char *default_text; /* NULL: unset. */
    double min;
    double max;
    const char *help;
};

extern const struct config_option config_options_table[CONFIG_OPTION_COUNT];

enum { CONFIG_NAME_BYTES = 64 }; /* Longer than any name: flag, or SKEIN_ and flag. */

/* Returns the row whose flag is exactly that, or NULL. */
const struct config_option *config_options_find(struct text flag);

/* Returns the flag that was probably meant, or NULL when none is near. */
const char *config_options_nearest(struct text flag);

/* Writes "SKEIN_QUEUE_TIMEOUT" for "queue-timeout". */
void config_options_environment_name(const char *flag, char name[CONFIG_NAME_BYTES]);
