/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/utf8_ranges.c - cuts a range where the length or a leading byte changes.
 *
 * The method is that of Russ Cox, Regular Expression Matching in the Wild (2010), as in RE2 and in
 * Rust's utf8-ranges. Thread: any. */
#include "grammar/utf8_ranges.h"

size_t utf8_encode(uint32_t point, unsigned char out[UTF8_BYTES_MAX])
{
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    const size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t index = len - 1; index > 0; index--) {
        out[index] = (unsigned char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (unsigned char)(marks[len] | point);
    return len;
}

/* The last code point that a sequence beginning at low may reach: of the same length, and with the
 * bytes before the first that differs equal, those after it running over all values. */
static uint32_t sequence_end(uint32_t low, uint32_t high)
{
    static const uint32_t length_ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, UTF8_POINT_MAX};
    for (size_t index = 0; index < sizeof(length_ends) / sizeof(length_ends[0]); index++) {
        if (low <= length_ends[index]) {
            high = high < length_ends[index] ? high : length_ends[index];
            break;
        }
    }
    for (uint32_t bits = 6; low > 0x7f && bits <= 18; bits += 6) {
        const uint32_t mask = (UINT32_C(1) << bits) - 1;
        if ((low & ~mask) == (high & ~mask)) {
            break;
        }
        if ((low & mask) != 0) {
            return low | mask;
        }
        if ((high & mask) != mask) {
            high = (high & ~mask) - 1;
        }
    }
    return high;
}

int utf8_ranges_next(struct utf8_ranges *rest, struct utf8_sequence *sequence_out)
{
    if (rest->low >= 0xd800 && rest->low <= 0xdfff) {
        rest->low = 0xe000;
    }
    if (rest->low > rest->high || rest->low > UTF8_POINT_MAX) {
        return 0;
    }
    const uint32_t end = sequence_end(rest->low, rest->high);
    sequence_out->len = (uint32_t)utf8_encode(rest->low, sequence_out->low);
    (void)utf8_encode(end, sequence_out->high);
    rest->low = end + 1;
    return 1;
}
