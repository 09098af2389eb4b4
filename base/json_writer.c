/* SPDX-License-Identifier: Apache-2.0
 *
 * base/json_writer.c - JSON text into a fixed buffer (RFC 8259).
 *
 * Thread: any. */
#include "base/json_writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_writer_init(struct json_writer *writer, char *buffer, size_t capacity)
{
    *writer = (struct json_writer){.buffer = buffer, .capacity = capacity};
}

bool json_writer_fits(const struct json_writer *writer)
{
    return writer->len <= writer->capacity;
}

static void append(struct json_writer *writer, struct text text)
{
    if (writer->len < writer->capacity && text.len > 0) {
        const size_t space = writer->capacity - writer->len;
        memcpy(writer->buffer + writer->len, text.bytes, text.len < space ? text.len : space);
    }
    writer->len += text.len;
}

/* Every key and every value that has no key goes through here. */
static void append_comma_if_needed(struct json_writer *writer)
{
    if (writer->needs_comma) {
        append(writer, TEXT(","));
    }
}

static void begin(struct json_writer *writer, struct text bracket)
{
    append_comma_if_needed(writer);
    append(writer, bracket);
    writer->needs_comma = false;
}

static void end(struct json_writer *writer, struct text bracket)
{
    append(writer, bracket);
    writer->needs_comma = true;
}

void json_object_begin(struct json_writer *writer)
{
    begin(writer, TEXT("{"));
}

void json_object_end(struct json_writer *writer)
{
    end(writer, TEXT("}"));
}

void json_array_begin(struct json_writer *writer)
{
    begin(writer, TEXT("["));
}

void json_array_end(struct json_writer *writer)
{
    end(writer, TEXT("]"));
}

void json_key(struct json_writer *writer, const char *key)
{
    append_comma_if_needed(writer);
    append(writer, TEXT("\""));
    append(writer, text_from(key));
    append(writer, TEXT("\":"));
    writer->needs_comma = false;
}

/* Length of the leading bytes that stand for themselves: ASCII, then whole UTF-8 sequences. */
static size_t plain_len(struct text text)
{
    size_t len = 0;
    while (len < text.len) {
        const char byte = text.bytes[len];
        size_t sequence = 1;
        if ((unsigned char)byte >= 0x80) {
            const struct text rest = {.bytes = text.bytes + len, .len = text.len - len};
            if (utf8_next(rest, &sequence) != UTF8_COMPLETE) {
                break;
            }
        } else if (byte < 0x20 || byte == 0x7f || byte == '"' || byte == '\\') {
            break;
        }
        len += sequence;
    }
    return len;
}

/* The letter after the backslash for bytes that have a short escape, else NUL. */
static char short_escape(char byte)
{
    switch (byte) {
    case '"':
    case '\\':
        return byte;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

enum { ESCAPE_BYTES = sizeof("\\u0000") };

/* Takes the next piece off *rest: a run of plain bytes as it is, or what replaces one byte or one
 * ill-formed sequence. The piece points into rest or into `escape`. rest->len >= 1. */
static struct text take_piece(struct text *rest, char escape[ESCAPE_BYTES])
{
    size_t taken = plain_len(*rest);
    struct text piece = {.bytes = rest->bytes, .len = taken};
    if (taken == 0) {
        const char byte = rest->bytes[0];
        taken = 1;
        if ((unsigned char)byte >= 0x80) {
            (void)utf8_next(*rest, &taken);
            piece = TEXT("\xef\xbf\xbd"); /* U+FFFD. */
        } else if (short_escape(byte) != '\0') {
            escape[0] = '\\';
            escape[1] = short_escape(byte);
            piece = (struct text){.bytes = escape, .len = 2};
        } else {
            snprintf(escape, ESCAPE_BYTES, "\\u%04x", (unsigned)(unsigned char)byte);
            piece = text_from(escape);
        }
    }
    rest->bytes += taken;
    rest->len -= taken;
    return piece;
}

void json_string(struct json_writer *writer, struct text text)
{
    char escape[ESCAPE_BYTES];
    append_comma_if_needed(writer);
    append(writer, TEXT("\""));
    while (text.len > 0) {
        append(writer, take_piece(&text, escape));
    }
    append(writer, TEXT("\""));
    writer->needs_comma = true;
}

size_t json_escape(struct text text, char *buffer, size_t capacity)
{
    char escape[ESCAPE_BYTES];
    size_t len = 0;
    while (text.len > 0) {
        const struct text piece = take_piece(&text, escape);
        if (piece.len > capacity - len) {
            break;
        }
        memcpy(buffer + len, piece.bytes, piece.len);
        len += piece.len;
    }
    return len;
}

void json_raw(struct json_writer *writer, struct text json)
{
    append_comma_if_needed(writer);
    append(writer, json);
    writer->needs_comma = true;
}

void json_integer(struct json_writer *writer, int64_t value)
{
    char number[sizeof("-9223372036854775808")];
    snprintf(number, sizeof(number), "%" PRId64, value);
    json_raw(writer, text_from(number));
}

void json_unsigned(struct json_writer *writer, uint64_t value)
{
    char number[sizeof("18446744073709551615")];
    snprintf(number, sizeof(number), "%" PRIu64, value);
    json_raw(writer, text_from(number));
}

/* snprintf and strtod obey the locale, and the same one; JSON knows only the point. */
static void use_decimal_point(char *number)
{
    for (char *byte = number; *byte != '\0'; byte++) {
        if (*byte == ',') {
            *byte = '.';
        }
    }
}

void json_real(struct json_writer *writer, double value)
{
    if (!isfinite(value)) {
        json_raw(writer, TEXT("-9999.0"));
        return;
    }
    char number[32]; /* Sign, 17 digits, point and e-308. */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(number, sizeof(number), "%.*g", digits, value);
        const double parsed = strtod(number, NULL);
        if (memcmp(&parsed, &value, sizeof(value)) == 0) {
            break;
        }
    }
    use_decimal_point(number);
    json_raw(writer, text_from(number));
}

void json_bool(struct json_writer *writer, bool value)
{
    json_raw(writer, value ? TEXT("true") : TEXT("false"));
}

void json_null(struct json_writer *writer)
{
    json_raw(writer, TEXT("null"));
}

void json_key_string(struct json_writer *writer, const char *key, struct text text)
{
    json_key(writer, key);
    json_string(writer, text);
}

void json_key_integer(struct json_writer *writer, const char *key, int64_t value)
{
    json_key(writer, key);
    json_integer(writer, value);
}

void json_key_real(struct json_writer *writer, const char *key, double value)
{
    json_key(writer, key);
    json_real(writer, value);
}

void json_key_bool(struct json_writer *writer, const char *key, bool value)
{
    json_key(writer, key);
    json_bool(writer, value);
}

void json_key_null(struct json_writer *writer, const char *key)
{
    json_key(writer, key);
    json_null(writer);
}
