/* SPDX-License-Identifier: Apache-2.0
 *
 * base/text.c - views of bytes: compare, cut, parse numbers, walk UTF-8.
 *
 * Thread: any. */
#include "base/text.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    NUMBER_BYTES_MAX = 512 /* Longest number read; a double needs at most 17 digits to be exact. */
};

struct text text_from(const char *nul_terminated)
{
    if (nul_terminated == NULL) {
        return (struct text){0};
    }
    return (struct text){.bytes = nul_terminated, .len = strlen(nul_terminated)};
}

bool text_equals(struct text left, struct text right)
{
    return left.len == right.len &&
           (left.len == 0 || memcmp(left.bytes, right.bytes, left.len) == 0);
}

static char to_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

bool text_equals_ignoring_case(struct text left, struct text right)
{
    if (left.len != right.len) {
        return false;
    }
    for (size_t index = 0; index < left.len; index++) {
        if (to_lower(left.bytes[index]) != to_lower(right.bytes[index])) {
            return false;
        }
    }
    return true;
}

bool text_starts_with(struct text text, struct text prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.bytes, prefix.bytes, prefix.len) == 0);
}

/* isspace would ask the locale. */
static bool is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

struct text text_trim(struct text text)
{
    while (text.len > 0 && is_space(text.bytes[0])) {
        text.bytes++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.bytes[text.len - 1])) {
        text.len--;
    }
    return text;
}

struct text text_cut(struct text *rest, char separator)
{
    const struct text all = *rest;
    const char *found = all.len == 0 ? NULL : memchr(all.bytes, separator, all.len);
    if (found == NULL) {
        *rest = (struct text){0};
        return all;
    }
    const size_t before = (size_t)(found - all.bytes);
    *rest = (struct text){.bytes = found + 1, .len = all.len - before - 1};
    return (struct text){.bytes = all.bytes, .len = before};
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Takes a leading sign off; true for minus. */
static bool take_sign(struct text *text)
{
    if (text->len == 0 || (text->bytes[0] != '-' && text->bytes[0] != '+')) {
        return false;
    }
    const bool negative = text->bytes[0] == '-';
    text->bytes++;
    text->len--;
    return negative;
}

static bool parse_magnitude(struct text digits, uint64_t *value_out)
{
    uint64_t value = 0;
    for (size_t index = 0; index < digits.len; index++) {
        if (!is_digit(digits.bytes[index])) {
            return false;
        }
        const uint64_t digit = (uint64_t)(digits.bytes[index] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *value_out = value;
    return digits.len > 0;
}

bool text_to_int64(struct text text, int64_t *value_out)
{
    const bool negative = take_sign(&text);
    uint64_t magnitude;
    if (!parse_magnitude(text, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *value_out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

bool text_to_uint64(struct text text, uint64_t *value_out)
{
    const bool negative = take_sign(&text);
    uint64_t magnitude;
    if (!parse_magnitude(text, &magnitude) || (negative && magnitude > 0)) {
        return false;
    }
    *value_out = magnitude;
    return true;
}

bool text_to_double(struct text text, double *value_out)
{
    char number[NUMBER_BYTES_MAX];
    if (text.len == 0 || text.len >= sizeof(number)) {
        return false;
    }
    for (size_t index = 0; index < text.len; index++) {
        const char byte = text.bytes[index];
        if (!is_digit(byte) && (byte == '\0' || strchr("+-.eE", byte) == NULL)) {
            return false; /* strtod would also take spaces, "inf", "nan" and hexadecimal. */
        }
    }
    text_copy_to(text, number, sizeof(number));
    const locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    ASSERT(c_locale != (locale_t)0); /* glibc keeps the C locale as a constant. */
    char *end;
    const double value = strtod_l(number, &end, c_locale);
    freelocale(c_locale);
    if (end != number + text.len || !isfinite(value)) {
        return false;
    }
    *value_out = value;
    return true;
}

void text_copy_to(struct text text, char *buffer, size_t capacity)
{
    ASSERT_COMPARE(capacity, >=, 1);
    const size_t bytes = text.len < capacity ? text.len : capacity - 1;
    if (bytes > 0) {
        memcpy(buffer, text.bytes, bytes);
    }
    buffer[bytes] = '\0';
}

/* What may follow a first byte: Unicode 3.9, table 3-7. Only the second byte has special bounds;
 * they exclude overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4). */
struct utf8_form {
    size_t len; /* 0: no sequence starts with this byte. */
    unsigned char second_min;
    unsigned char second_max;
};

static struct utf8_form utf8_form_of(unsigned char first)
{
    if (first < 0x80) {
        return (struct utf8_form){.len = 1};
    }
    if (first < 0xc2 || first > 0xf4) {
        return (struct utf8_form){0};
    }
    struct utf8_form form = {.len = 2, .second_min = 0x80, .second_max = 0xbf};
    if (first >= 0xe0) {
        form.len = first >= 0xf0 ? 4 : 3;
        form.second_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        form.second_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    }
    return form;
}

enum utf8_status utf8_next(struct text text, size_t *len_out)
{
    ASSERT_COMPARE(text.len, >=, 1);
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    const struct utf8_form form = utf8_form_of(bytes[0]);
    if (form.len == 0) {
        *len_out = 1;
        return UTF8_INVALID;
    }
    for (size_t index = 1; index < form.len; index++) {
        *len_out = index;
        if (index == text.len) {
            return UTF8_INCOMPLETE;
        }
        const unsigned char min = index == 1 ? form.second_min : 0x80;
        const unsigned char max = index == 1 ? form.second_max : 0xbf;
        if (bytes[index] < min || bytes[index] > max) {
            return UTF8_INVALID;
        }
    }
    *len_out = form.len;
    return UTF8_COMPLETE;
}

bool utf8_is_valid(struct text text)
{
    while (text.len > 0) {
        size_t len;
        if (utf8_next(text, &len) != UTF8_COMPLETE) {
            return false;
        }
        text.bytes += len;
        text.len -= len;
    }
    return true;
}

size_t utf8_count(struct text text)
{
    size_t count = 0;
    for (size_t index = 0; index < text.len; index++) {
        const bool continues = ((unsigned char)text.bytes[index] & 0xc0) == 0x80;
        count += continues ? 0 : 1;
    }
    return count;
}
