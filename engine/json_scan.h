/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/json_scan.h - walks through JSON text in place, token by token, without memory.
 *
 * For the JSON beside and inside weight files, whose headers are hostile until checked: a tree of
 * nodes would cost forty times the bytes. Text is borrowed. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* What is left to read. */
struct json_scan {
    const char *at;
    const char *end;
};

struct json_scan json_scan_from(struct text text);

/* Takes the punctuation mark if it comes next (white space is skipped); else moves nothing. */
bool json_scan_take(struct json_scan *scan, char mark);

/* Takes a string; *text_out is what stands between the quotes, escapes unresolved. False: no
 * string, or one that does not end or holds control characters. */
bool json_scan_string(struct json_scan *scan, struct text *text_out);

/* Takes a whole number of at most 64 bits: digits alone, no sign, no leading zero. */
bool json_scan_whole(struct json_scan *scan, uint64_t *value_out);

/* Takes any value and returns its text. Brackets must match, at most 32 deep; what stands between
 * them is not looked at. */
bool json_scan_value(struct json_scan *scan, struct text *text_out);

/* Whether nothing but white space is left. */
bool json_scan_is_done(struct json_scan *scan);
