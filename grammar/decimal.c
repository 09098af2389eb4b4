/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/decimal.c - reading, comparing and printing decimals without rounding.
 *
 * Thread: any. */
#include "grammar/decimal.h"

#include <string.h>

enum { EXPONENT_MAX = 1000 }; /* Further out, only zero fits. */

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Reads the exponent of a JSON number, clipped to EXPONENT_MAX. */
static int32_t parse_exponent(struct text text)
{
    size_t at = 0;
    bool negative = false;
    if (at < text.len && (text.bytes[at] == '-' || text.bytes[at] == '+')) {
        negative = text.bytes[at] == '-';
        at++;
    }
    int32_t value = 0;
    for (; at < text.len && value < EXPONENT_MAX; at++) {
        value = value * 10 + (text.bytes[at] - '0');
    }
    value = value > EXPONENT_MAX ? EXPONENT_MAX : value;
    return negative ? -value : value;
}

/* Puts digit number `index` (counted from the point: 0 is the first after it, -1 the last before
 * it) where it belongs; false: outside. */
static bool place_digit(struct decimal *decimal, int32_t whole_count, int32_t index, uint8_t digit)
{
    if (index >= DECIMAL_DIGITS_MAX || index < -DECIMAL_DIGITS_MAX) {
        return digit == 0;
    }
    if (index < 0) {
        decimal->whole[whole_count + index] = digit;
    } else {
        decimal->fraction[index] = digit;
        if (digit != 0) {
            decimal->fraction_count = (uint8_t)(index + 1);
        }
    }
    return true;
}

/* The bounds of what counts in "000.00123": skips leading zeros, returns how many digits stand
 * before the point from there on (negative: zeros after the point). */
static int32_t digits_before_point(struct text text, size_t *begin_out)
{
    int32_t before = 0;
    bool started = false;
    bool after_point = false;
    *begin_out = text.len;
    for (size_t at = 0; at < text.len && (is_digit(text.bytes[at]) || text.bytes[at] == '.');
         at++) {
        if (text.bytes[at] == '.') {
            after_point = true;
            continue;
        }
        if (!started && text.bytes[at] != '0') {
            started = true;
            *begin_out = at;
        }
        if (started && !after_point) {
            before++;
        } else if (!started && after_point) {
            before--;
        }
    }
    return started ? before : 0;
}

bool decimal_parse(struct text number, struct decimal *decimal_out)
{
    *decimal_out = (struct decimal){.whole_count = 1};
    struct text text = number;
    const bool negative = text.len > 0 && text.bytes[0] == '-';
    if (negative) {
        text.bytes++;
        text.len--;
    }
    size_t begin;
    int32_t before = digits_before_point(text, &begin);
    if (begin == text.len) {
        return true; /* Zero, whatever its exponent. */
    }
    size_t end = begin;
    while (end < text.len && (is_digit(text.bytes[end]) || text.bytes[end] == '.')) {
        end++;
    }
    if (end < text.len) {
        before +=
            parse_exponent((struct text){.bytes = text.bytes + end + 1, .len = text.len - end - 1});
    }
    if (before > DECIMAL_DIGITS_MAX) {
        return false;
    }
    decimal_out->negative = negative;
    decimal_out->whole_count = (uint8_t)(before > 0 ? before : 1);
    int32_t index = -before;
    for (size_t at = begin; at < end; at++) {
        if (text.bytes[at] == '.') {
            continue;
        }
        if (!place_digit(decimal_out, before, index, (uint8_t)(text.bytes[at] - '0'))) {
            return false;
        }
        index++;
    }
    return true;
}

bool decimal_is_zero(const struct decimal *decimal)
{
    return decimal->whole_count == 1 && decimal->whole[0] == 0 && decimal->fraction_count == 0;
}

uint32_t decimal_significant(const struct decimal *decimal)
{
    uint8_t digits[2 * DECIMAL_DIGITS_MAX];
    memcpy(digits, decimal->whole, decimal->whole_count);
    memcpy(digits + decimal->whole_count, decimal->fraction, decimal->fraction_count);
    uint32_t begin = 0;
    uint32_t end = (uint32_t)decimal->whole_count + decimal->fraction_count;
    while (begin < end && digits[begin] == 0) {
        begin++;
    }
    while (end > begin && digits[end - 1] == 0) {
        end--;
    }
    return end - begin;
}

static int compare_magnitudes(const struct decimal *left, const struct decimal *right)
{
    if (left->whole_count != right->whole_count) {
        return left->whole_count < right->whole_count ? -1 : 1;
    }
    int order = memcmp(left->whole, right->whole, left->whole_count);
    if (order == 0) {
        order = memcmp(left->fraction, right->fraction, DECIMAL_DIGITS_MAX);
    }
    return (order > 0) - (order < 0);
}

int decimal_compare(const struct decimal *left, const struct decimal *right)
{
    if (left->negative != right->negative) {
        return left->negative ? -1 : 1;
    }
    const int order = compare_magnitudes(left, right);
    return left->negative ? -order : order;
}

bool decimal_scaled(const struct decimal *decimal, uint64_t *value_out)
{
    const uint64_t limit = (UINT64_C(1) << 62) / 10 - 1;
    uint64_t value = 0;
    for (uint32_t index = 0; index < decimal->whole_count; index++) {
        if (value > limit) {
            return false;
        }
        value = value * 10 + decimal->whole[index];
    }
    for (uint32_t index = 0; index < decimal->fraction_count; index++) {
        if (value > limit) {
            return false;
        }
        value = value * 10 + decimal->fraction[index];
    }
    *value_out = value;
    return true;
}

size_t decimal_print(const struct decimal *decimal, char *buffer)
{
    size_t at = 0;
    if (decimal->negative) {
        buffer[at++] = '-';
    }
    for (uint32_t index = 0; index < decimal->whole_count; index++) {
        buffer[at++] = (char)('0' + decimal->whole[index]);
    }
    if (decimal->fraction_count > 0) {
        buffer[at++] = '.';
    }
    for (uint32_t index = 0; index < decimal->fraction_count; index++) {
        buffer[at++] = (char)('0' + decimal->fraction[index]);
    }
    buffer[at] = '\0';
    return at;
}
