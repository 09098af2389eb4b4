/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/utf8_ranges.h - ranges of code points as sequences of byte ranges.
 *
 * Inside grammar/ only. U+0400..U+07FF, for one, is [d0-df][80-bf]: so an automaton over bytes can
 * speak of characters. Surrogates are left out everywhere. Thread: any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { UTF8_POINT_MAX = 0x10ffff, UTF8_BYTES_MAX = 4 };

/* Every choice of one byte from each range is the UTF-8 of one code point. */
struct utf8_sequence {
    uint32_t len;
    unsigned char low[UTF8_BYTES_MAX];
    unsigned char high[UTF8_BYTES_MAX];
};

/* What is left of a range; set by the caller, both ends included. */
struct utf8_ranges {
    uint32_t low;
    uint32_t high;
};

/* Takes the first sequence off the range. Returns 0 when the range is empty, else 1. */
int utf8_ranges_next(struct utf8_ranges *rest, struct utf8_sequence *sequence_out);

/* Writes one code point; returns its length. */
size_t utf8_encode(uint32_t point, unsigned char out[UTF8_BYTES_MAX]);
