/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_report.h - the list of mistakes, each with its source, and the one way a source
 * hands in a value.
 *
 * Only config/ includes this. Thread: main. */
#pragma once

#include <stdio.h>

#include "base/text.h"
#include "config/config.h"
#include "config/config_options.h"

struct config_report {
    FILE *stream;
    size_t mistakes;
};

/* Writes and counts one line: "<where the option's value came from>: <message>". */
void config_report_option(struct config_report *report, const struct config *config,
                          const struct config_option *option, struct config_origin origin,
                          const char *format, ...) PRINTF_LIKE(5, 6);

/* As above where no option is known, e.g. place "flag --prot". */
void config_report_place(struct config_report *report, const char *place, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Takes a value from a source: a bad one is a mistake, also when a stronger source wins; a good
 * one is stored unless a stronger source was there before. */
void config_report_take(struct config_report *report, struct config *config,
                        const struct config_option *option, struct config_origin origin,
                        struct text value);
