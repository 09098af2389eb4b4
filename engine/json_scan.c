/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/json_scan.c - strings, whole numbers and skipped values of JSON text, in place.
 *
 * What the values mean does not live here. Thread: any. */
#include "engine/json_scan.h"

enum { DEPTH_MAX = 32 };

struct json_scan json_scan_from(struct text text)
{
    return (struct json_scan){.at = text.bytes, .end = text.bytes + text.len};
}

static void skip_space(struct json_scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
        scan->at++;
    }
}

bool json_scan_take(struct json_scan *scan, char mark)
{
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != mark) {
        return false;
    }
    scan->at++;
    return true;
}

bool json_scan_string(struct json_scan *scan, struct text *text_out)
{
    if (!json_scan_take(scan, '"')) {
        return false;
    }
    const char *begin = scan->at;
    for (const char *at = begin; at < scan->end; at++) {
        if ((unsigned char)*at < ' ') {
            return false;
        }
        if (*at == '"') {
            *text_out = (struct text){.bytes = begin, .len = (size_t)(at - begin)};
            scan->at = at + 1;
            return true;
        }
        if (*at == '\\') {
            at++; /* Whatever follows belongs to the escape; a control character is seen next. */
            if (at < scan->end && (unsigned char)*at < ' ') {
                return false;
            }
        }
    }
    return false;
}

bool json_scan_whole(struct json_scan *scan, uint64_t *value_out)
{
    skip_space(scan);
    const char *begin = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
        scan->at++;
    }
    const struct text digits = {.bytes = begin, .len = (size_t)(scan->at - begin)};
    const bool is_padded = digits.len > 1 && digits.bytes[0] == '0';
    return !is_padded && text_to_uint64(digits, value_out);
}

/* Takes a number, true, false or null: everything up to the next mark. */
static bool take_word(struct json_scan *scan)
{
    const char *begin = scan->at;
    while (scan->at < scan->end &&
           ((*scan->at >= '0' && *scan->at <= '9') || (*scan->at >= 'a' && *scan->at <= 'z') ||
            *scan->at == '-' || *scan->at == '+' || *scan->at == '.' || *scan->at == 'E')) {
        scan->at++;
    }
    return scan->at > begin;
}

/* Takes one token inside of brackets; `closers` is a stack of what closes them. */
static bool take_inside(struct json_scan *scan, char closers[DEPTH_MAX], size_t *depth)
{
    struct text ignored;
    skip_space(scan);
    if (scan->at == scan->end) {
        return false;
    }
    const char byte = *scan->at;
    if (byte == '"') {
        return json_scan_string(scan, &ignored);
    }
    if (byte == '{' || byte == '[') {
        if (*depth == DEPTH_MAX) {
            return false;
        }
        closers[*depth] = byte == '{' ? '}' : ']';
        (*depth)++;
        scan->at++;
        return true;
    }
    if (byte == '}' || byte == ']') {
        scan->at++;
        (*depth)--;
        return closers[*depth] == byte;
    }
    if (byte == ',' || byte == ':') {
        scan->at++;
        return true;
    }
    return take_word(scan);
}

bool json_scan_value(struct json_scan *scan, struct text *text_out)
{
    char closers[DEPTH_MAX];
    size_t depth = 0;
    skip_space(scan);
    const char *begin = scan->at;
    if (begin == scan->end || *begin == ',' || *begin == ':' || *begin == '}' || *begin == ']') {
        return false;
    }
    do {
        if (!take_inside(scan, closers, &depth)) {
            return false;
        }
    } while (depth > 0);
    *text_out = (struct text){.bytes = begin, .len = (size_t)(scan->at - begin)};
    return true;
}

bool json_scan_is_done(struct json_scan *scan)
{
    skip_space(scan);
    return scan->at == scan->end;
}
