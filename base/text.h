/* SPDX-License-Identifier: Apache-2.0
 *
 * base/text.h - text as (pointer, length): compare, cut, parse numbers, UTF-8.
 *
 * Owns nothing, allocates nothing. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes, not NUL-terminated, any content. */
struct text {
    const char *bytes; /* May be NULL when len is 0. */
    size_t len;        /* Bytes. */
};

#define TEXT(literal) ((struct text){.bytes = (literal), .len = sizeof(literal) - 1})

struct text text_from(const char *nul_terminated); /* NULL gives the empty text. */
bool text_equals(struct text left, struct text right);
bool text_equals_ignoring_case(struct text left, struct text right); /* ASCII only. */
bool text_starts_with(struct text text, struct text prefix);
struct text text_trim(struct text text); /* ASCII white space at both ends. */

/* Cuts at the first separator: returns what is before it, moves *rest behind it; when there is
 * none, returns all and leaves *rest empty. */
struct text text_cut(struct text *rest, char separator);

/* Decimal integers: optional sign, digits, nothing else; false when out of range. */
bool text_to_int64(struct text text, int64_t *value_out);
bool text_to_uint64(struct text text, uint64_t *value_out);
bool text_to_double(struct text text, double *value_out); /* Finite only; no locale. */

/* Copies and NUL-terminates, cut to capacity - 1 bytes. */
void text_copy_to(struct text text, char *buffer, size_t capacity);

/* Strict UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). */
enum utf8_status { UTF8_COMPLETE, UTF8_INCOMPLETE, UTF8_INVALID };

/* Looks at the sequence that starts text. COMPLETE: *len_out is its length. INCOMPLETE: all bytes
 * of text are the valid start of one sequence. INVALID: *len_out is the length of the maximal
 * ill-formed subpart (Unicode 3.9, table 3-7), to be replaced by one U+FFFD. text.len >= 1. */
enum utf8_status utf8_next(struct text text, size_t *len_out);

bool utf8_is_valid(struct text text);

/* Number of code points of valid UTF-8. */
size_t utf8_count(struct text text);
