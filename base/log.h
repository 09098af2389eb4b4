/* SPDX-License-Identifier: Apache-2.0
 *
 * base/log.h - levelled log to stderr: one event, one line, key=value or one JSON object.
 *
 * Prompts and generated text are never passed here above LOG_DEBUG. Every value is escaped, so a
 * client cannot forge a line. Thread: any (one lock, held while a line is written). */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* One key and its value; made by the LOG_ macros below. */
struct log_field {
    const char *key;
    enum { LOG_FIELD_STRING, LOG_FIELD_INTEGER, LOG_FIELD_REAL } type;
    const char *string; /* NUL-terminated, borrowed for the call; NULL prints as "". */
    int64_t integer;
    double real;
};

#define LOG_S(k, v) (struct log_field){.key = (k), .type = LOG_FIELD_STRING, .string = (v)}
#define LOG_I(k, v) \
    (struct log_field){.key = (k), .type = LOG_FIELD_INTEGER, .integer = (int64_t)(v)}
#define LOG_R(k, v) (struct log_field){.key = (k), .type = LOG_FIELD_REAL, .real = (v)}

/* Sets level and format for the whole program; before it, info and text. Thread: main, once. */
void log_configure(enum log_level level, enum log_format format);

/* Tells whether a line of that level would be written. */
int log_wants(enum log_level level);

/* Needs at least one field. log_event(LOG_INFO, "engine", "generation ended", LOG_I("tokens", 3))
 * writes: ts=2026-11-24T20:00:00.123Z level=info area=engine event="generation ended" ... */
#define log_event(level, area, event, ...)                                                  \
    log_event_fields((level), (area), (event),                                              \
                     (const struct log_field[]){__VA_ARGS__, {0}})

/* The function behind log_event; the array ends with a zeroed field. */
void log_event_fields(enum log_level level, const char *area, const char *event,
                      const struct log_field *fields);
