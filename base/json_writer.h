/* SPDX-License-Identifier: Apache-2.0
 *
 * base/json_writer.h - append-only JSON into a caller's buffer; commas and escapes are handled.
 *
 * Writes into a fixed buffer and goes on counting when it is full, like snprintf: measure, then
 * write, or check json_writer_fits. Invalid UTF-8 becomes U+FFFD. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

struct json_writer {
    char *buffer;      /* Borrowed. */
    size_t capacity;
    size_t len;        /* Bytes that the whole text needs so far, also past capacity. */
    bool needs_comma;
};

void json_writer_init(struct json_writer *writer, char *buffer, size_t capacity);
bool json_writer_fits(const struct json_writer *writer);

void json_object_begin(struct json_writer *writer);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer);
void json_array_end(struct json_writer *writer);
void json_key(struct json_writer *writer, const char *key); /* ASCII that needs no escape. */

void json_string(struct json_writer *writer, struct text text);
void json_integer(struct json_writer *writer, int64_t value);
void json_unsigned(struct json_writer *writer, uint64_t value);
void json_real(struct json_writer *writer, double value); /* Shortest form; not finite: -9999.0. */
void json_bool(struct json_writer *writer, bool value);
void json_null(struct json_writer *writer);

/* Appends bytes that are already JSON: a value written elsewhere. */
void json_raw(struct json_writer *writer, struct text json);

/* Key and value in one call. */
void json_key_string(struct json_writer *writer, const char *key, struct text text);
void json_key_integer(struct json_writer *writer, const char *key, int64_t value);
void json_key_real(struct json_writer *writer, const char *key, double value);
void json_key_bool(struct json_writer *writer, const char *key, bool value);
void json_key_null(struct json_writer *writer, const char *key);

/* Escapes text for the inside of a JSON string into buffer (capacity >= 6 * text.len + 6 always
 * suffices); returns the bytes written. Text must be whole UTF-8; other bytes become U+FFFD. */
size_t json_escape(struct text text, char *buffer, size_t capacity);
