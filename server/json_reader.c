/* SPDX-License-Identifier: Apache-2.0
 *
 * server/json_reader.c - one strict pass over the bytes, then cJSON, then typed access.
 *
 * Values are found through cJSON's linked lists; an error's path is searched for only when there is
 * an error, so that no path has to be carried along. Thread: any, one at a time. */
#include "server/json_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/limits.h"

/* ---- The pass before parsing ---- */

struct scan {
    struct text body;
    size_t at;      /* Byte looked at. */
    uint32_t depth; /* Open brackets. */
    uint32_t items; /* Commas and opening brackets so far: about the number of values. */
    bool in_string;
};

static enum error_code refuse(const struct scan *scan, struct error *error, const char *what)
{
    return error_set(error, ERROR_INVALID_ARGUMENT, "invalid JSON: %s at byte %zu", what, scan->at);
}

/* The value of "\uXXXX" at that offset, or -1 when there is none. */
static int32_t unicode_escape_at(struct text body, size_t offset)
{
    if (body.len < offset + 6 || body.bytes[offset] != '\\' || body.bytes[offset + 1] != 'u') {
        return -1;
    }
    int32_t value = 0;
    for (size_t index = offset + 2; index < offset + 6; index++) {
        const char byte = body.bytes[index];
        int32_t digit;
        if (byte >= '0' && byte <= '9') {
            digit = byte - '0';
        } else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') {
            digit = (byte | 0x20) - 'a' + 10;
        } else {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Takes an escape; the parser checks the letter of all but \u. */
static enum error_code scan_escape(struct scan *scan, struct error *error)
{
    if (scan->at + 1 < scan->body.len && scan->body.bytes[scan->at + 1] != 'u') {
        scan->at += 2;
        return ERROR_NONE;
    }
    const int32_t unit = unicode_escape_at(scan->body, scan->at);
    if (unit <= 0) {
        return refuse(scan, error, unit == 0 ? "\\u0000" : "a bad escape");
    }
    if (unit < 0xd800 || unit > 0xdfff) {
        scan->at += 6;
        return ERROR_NONE;
    }
    const int32_t low = unicode_escape_at(scan->body, scan->at + 6);
    if (unit >= 0xdc00 || low < 0xdc00 || low > 0xdfff) {
        return refuse(scan, error, "a lone surrogate");
    }
    scan->at += 12;
    return ERROR_NONE;
}

/* Takes one ASCII byte that is no part of a string. */
static enum error_code scan_structure(struct scan *scan, char byte, struct error *error)
{
    if (byte == '"') {
        scan->in_string = true;
    } else if (byte == '[' || byte == '{') {
        scan->depth++;
        scan->items++;
    } else if (byte == ',') {
        scan->items++;
    } else if ((byte == ']' || byte == '}') && scan->depth > 0) {
        scan->depth--; /* A surplus bracket is the parser's to refuse. */
    }
    if (scan->depth > LIMIT_JSON_DEPTH) {
        return error_set(error, ERROR_TOO_LARGE, "JSON is nested deeper than %d levels",
                         LIMIT_JSON_DEPTH);
    }
    if (scan->items > LIMIT_JSON_ITEMS) {
        return error_set(error, ERROR_TOO_LARGE, "JSON has more than %d values", LIMIT_JSON_ITEMS);
    }
    scan->at++;
    return ERROR_NONE;
}

/* Takes one UTF-8 sequence, or a whole escape. */
static enum error_code scan_next(struct scan *scan, struct error *error)
{
    const char byte = scan->body.bytes[scan->at];
    if ((unsigned char)byte >= 0x80) {
        const struct text rest = {.bytes = scan->body.bytes + scan->at,
                                  .len = scan->body.len - scan->at};
        size_t len;
        if (utf8_next(rest, &len) != UTF8_COMPLETE) {
            return refuse(scan, error, "invalid UTF-8");
        }
        scan->at += len;
        return ERROR_NONE;
    }
    const bool is_white = byte == '\t' || byte == '\n' || byte == '\r';
    if (byte >= 0 && byte < 0x20 && (scan->in_string || !is_white)) {
        return refuse(scan, error, "a control character");
    }
    if (!scan->in_string) {
        return scan_structure(scan, byte, error);
    }
    if (byte == '\\') {
        return scan_escape(scan, error);
    }
    scan->in_string = byte != '"';
    scan->at++;
    return ERROR_NONE;
}

static enum error_code check_bytes(struct text body, struct error *error)
{
    struct scan scan = {.body = body};
    while (scan.at < body.len) {
        const enum error_code code = scan_next(&scan, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    return ERROR_NONE;
}

/* ---- Duplicate keys ---- */

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sorts the names, so that many keys cost n log n. */
static enum error_code check_names_differ(struct json_reader *reader, const cJSON *object,
                                          struct arena *arena, struct error *error)
{
    const size_t count = json_reader_count((struct json_value){.node = object});
    if (count < 2) {
        return ERROR_NONE;
    }
    const char **names = arena_alloc(arena, count * sizeof(*names));
    if (names == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory to check %zu JSON keys", count);
    }
    size_t index = 0;
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        names[index++] = member->string;
    }
    qsort(names, count, sizeof(*names), compare_names);
    for (index = 1; index < count; index++) {
        if (strcmp(names[index - 1], names[index]) == 0) {
            return json_reader_fail(reader, (struct json_value){.node = object}, names[index],
                                    ERROR_INVALID_ARGUMENT, error, "duplicate key");
        }
    }
    return ERROR_NONE;
}

/* Recurses at most LIMIT_JSON_DEPTH deep. */
static enum error_code check_names(struct json_reader *reader, const cJSON *node,
                                   struct arena *arena, struct error *error)
{
    if (cJSON_IsObject(node)) {
        const enum error_code code = check_names_differ(reader, node, arena, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, node) {
        const enum error_code code = check_names(reader, child, arena, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    return ERROR_NONE;
}

/* ---- Opening ---- */

enum error_code json_reader_open(struct json_reader *reader, struct text body, struct arena *arena,
                                 struct error *error)
{
    *reader = (struct json_reader){.body = body, .arena = arena};
    enum error_code code = check_bytes(body, error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (text_trim(body).len == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "the request has no body");
    }
    /* With the NUL counted in, the parser refuses whatever follows the top-level value. */
    const char *end = NULL;
    reader->root = cJSON_ParseWithLengthOpts(body.bytes, body.len + 1, &end, 1);
    if (reader->root == NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "invalid JSON: syntax error at byte %td",
                         end == NULL ? (ptrdiff_t)0 : end - body.bytes);
    }
    if (!cJSON_IsObject(reader->root)) {
        code = error_set(error, ERROR_INVALID_ARGUMENT, "the request must be a JSON object");
    } else {
        code = check_names(reader, reader->root, arena, error);
    }
    if (code != ERROR_NONE) {
        json_reader_close(reader);
    }
    return code;
}

void json_reader_close(struct json_reader *reader)
{
    cJSON_Delete(reader->root);
    reader->root = NULL;
}

struct json_value json_reader_root(const struct json_reader *reader)
{
    return (struct json_value){.node = reader->root};
}

/* ---- Walking ---- */

enum json_type json_reader_type(struct json_value value)
{
    if (cJSON_IsBool(value.node)) {
        return JSON_TYPE_BOOL;
    }
    if (cJSON_IsNumber(value.node)) {
        return JSON_TYPE_NUMBER;
    }
    if (cJSON_IsString(value.node)) {
        return JSON_TYPE_STRING;
    }
    if (cJSON_IsArray(value.node)) {
        return JSON_TYPE_ARRAY;
    }
    return cJSON_IsObject(value.node) ? JSON_TYPE_OBJECT : JSON_TYPE_NULL;
}

struct json_value json_reader_member(struct json_value object, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object.node, name);
    return (struct json_value){.node = cJSON_IsNull(member) ? NULL : member};
}

struct json_value json_reader_first(struct json_value container)
{
    return (struct json_value){.node = container.node == NULL ? NULL : container.node->child};
}

struct json_value json_reader_next(struct json_value value)
{
    return (struct json_value){.node = value.node->next};
}

uint32_t json_reader_count(struct json_value container)
{
    uint32_t count = 0;
    for (struct json_value value = json_reader_first(container); value.node != NULL;
         value = json_reader_next(value)) {
        count++;
    }
    return count;
}

struct text json_reader_name(struct json_value member)
{
    return text_from(member.node->string);
}

/* ---- Errors ---- */

enum { CHAIN_MAX = LIMIT_JSON_DEPTH + 2 }; /* The levels, a scalar below, and one to spare. */

/* Finds the nodes that lead from `node` to `wanted`, both included; returns how many. */
static size_t find_chain(const cJSON *node, const cJSON *wanted, const cJSON *chain[CHAIN_MAX],
                         size_t depth)
{
    ASSERT_COMPARE(depth, <, CHAIN_MAX);
    chain[depth] = node;
    if (node == wanted) {
        return depth + 1;
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, node) {
        const size_t count = find_chain(child, wanted, chain, depth + 1);
        if (count > 0) {
            return count;
        }
    }
    return 0;
}

static size_t index_in(const cJSON *array, const cJSON *wanted)
{
    size_t index = 0;
    for (const cJSON *child = array->child; child != wanted; child = child->next) {
        index++;
    }
    return index;
}

/* Appends, cut at the buffer's end. */
static void append_to_path(char path[JSON_PATH_BYTES], const char *format, ...) PRINTF_LIKE(2, 3);
static void append_to_path(char path[JSON_PATH_BYTES], const char *format, ...)
{
    const size_t len = strlen(path);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + len, JSON_PATH_BYTES - len, format, arguments);
    va_end(arguments);
}

static void append_name(char path[JSON_PATH_BYTES], const char *name)
{
    append_to_path(path, "%s%s", path[0] == '\0' ? "" : ".", name);
}

static void set_path(struct json_reader *reader, struct json_value value, const char *name)
{
    const cJSON *chain[CHAIN_MAX];
    const size_t count = find_chain(reader->root, value.node, chain, 0);
    reader->path[0] = '\0';
    for (size_t level = 1; level < count; level++) {
        if (cJSON_IsArray(chain[level - 1])) {
            append_to_path(reader->path, "[%zu]", index_in(chain[level - 1], chain[level]));
        } else {
            append_name(reader->path, chain[level]->string);
        }
    }
    if (name != NULL) {
        append_name(reader->path, name);
    }
}

enum error_code json_reader_fail(struct json_reader *reader, struct json_value value,
                                 const char *name, enum error_code code, struct error *error,
                                 const char *format, ...)
{
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    set_path(reader, value, name);
    return error_set(error, code, "%s%s%s", reader->path, reader->path[0] == '\0' ? "" : ": ",
                     message);
}

/* ---- Typed values ---- */

static const char *type_text(enum json_type type)
{
    switch (type) {
    case JSON_TYPE_NULL:
        return "null";
    case JSON_TYPE_BOOL:
        return "true or false";
    case JSON_TYPE_NUMBER:
        return "a number";
    case JSON_TYPE_STRING:
        return "a string";
    case JSON_TYPE_ARRAY:
        return "an array";
    case JSON_TYPE_OBJECT:
        return "an object";
    }
    return "";
}

enum error_code json_reader_expect(struct json_reader *reader, struct json_value value,
                                   enum json_type type, struct error *error)
{
    if (json_reader_type(value) == type) {
        return ERROR_NONE;
    }
    return json_reader_fail(reader, value, NULL, ERROR_INVALID_ARGUMENT, error, "must be %s",
                            type_text(type));
}

enum error_code json_reader_bool(struct json_reader *reader, struct json_value value,
                                 bool *value_out, struct error *error)
{
    const enum error_code code = json_reader_expect(reader, value, JSON_TYPE_BOOL, error);
    *value_out = code == ERROR_NONE && cJSON_IsTrue(value.node);
    return code;
}

enum error_code json_reader_real(struct json_reader *reader, struct json_value value, double min,
                                 double max, double *value_out, struct error *error)
{
    const enum error_code code = json_reader_expect(reader, value, JSON_TYPE_NUMBER, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const double number = value.node->valuedouble;
    if (!(number >= min && number <= max)) { /* 1e400 parses to infinity. */
        return json_reader_fail(reader, value, NULL, ERROR_INVALID_ARGUMENT, error,
                                "%.16g, allowed %.16g to %.16g", number, min, max);
    }
    *value_out = number;
    return ERROR_NONE;
}

/* ---- What the client wrote ---- */

/* The end of the string that begins at that offset: the byte behind its closing quote. */
static size_t string_end(struct text body, size_t begin)
{
    size_t at = begin + 1;
    while (at < body.len && body.bytes[at] != '"') {
        at += body.bytes[at] == '\\' ? 2 : 1;
    }
    return at + 1;
}

/* The end of the array or object that begins at that offset. */
static size_t container_end(struct text body, size_t begin)
{
    size_t depth = 0;
    for (size_t at = begin; at < body.len;) {
        const char byte = body.bytes[at];
        at = byte == '"' ? string_end(body, at) : at + 1;
        depth += byte == '[' || byte == '{' ? 1 : 0;
        depth -= byte == ']' || byte == '}' ? 1 : 0;
        if (depth == 0) {
            return at;
        }
    }
    return body.len;
}

static size_t number_end(struct text body, size_t begin)
{
    size_t at = begin;
    while (at < body.len && body.bytes[at] != '\0' &&
           strchr("+-.0123456789Ee", body.bytes[at]) != NULL) {
        at++;
    }
    return at;
}

static bool begins_number(char byte)
{
    return byte == '-' || (byte >= '0' && byte <= '9');
}

/* Gives every container and number, in document order, its place in `offsets`; returns the next.
 * cJSON's valueint is used by nobody else. Recurses at most LIMIT_JSON_DEPTH deep. */
static size_t number_nodes(cJSON *node, size_t next)
{
    if (cJSON_IsNumber(node) || cJSON_IsArray(node) || cJSON_IsObject(node)) {
        node->valueint = (int)next++;
    }
    for (cJSON *child = node->child; child != NULL; child = child->next) {
        next = number_nodes(child, next);
    }
    return next;
}

/* Notes where in the body all containers and numbers begin. False: no memory. */
static bool find_offsets(struct json_reader *reader)
{
    const struct text body = reader->body;
    const size_t count = number_nodes(reader->root, 0);
    size_t *offsets = arena_alloc(reader->arena, count * sizeof(*offsets));
    size_t index = 0;
    for (size_t at = 0; offsets != NULL && at < body.len && index < count;) {
        const char byte = body.bytes[at];
        if (byte == '"') {
            at = string_end(body, at);
        } else if (begins_number(byte)) {
            offsets[index++] = at;
            at = number_end(body, at);
        } else {
            if (byte == '[' || byte == '{') {
                offsets[index++] = at;
            }
            at++;
        }
    }
    reader->offsets = offsets;
    return offsets != NULL;
}

struct text json_reader_source(struct json_reader *reader, struct json_value value)
{
    if (reader->offsets == NULL && !find_offsets(reader)) {
        return (struct text){0};
    }
    const size_t begin = reader->offsets[value.node->valueint];
    const size_t end = cJSON_IsNumber(value.node) ? number_end(reader->body, begin)
                                                  : container_end(reader->body, begin);
    return (struct text){.bytes = reader->body.bytes + begin, .len = end - begin};
}

/* ---- Integers that a double cannot hold ---- */

#define EXACT_MAX 0x1p53 /* The first integer that a double shares with its neighbour. */

static bool is_plain_integer(struct text number)
{
    for (size_t at = 0; at < number.len; at++) {
        if (strchr(".eE", number.bytes[at]) != NULL) {
            return false;
        }
    }
    return true;
}

enum error_code json_reader_bits(struct json_reader *reader, struct json_value value,
                                 uint64_t *value_out, struct error *error)
{
    int64_t integer = 0;
    enum error_code code = json_reader_expect(reader, value, JSON_TYPE_NUMBER, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const double number = value.node->valuedouble;
    if (fabs(number) < EXACT_MAX) {
        code = json_reader_integer(reader, value, INT64_MIN, INT64_MAX, &integer, error);
        *value_out = (uint64_t)integer;
        return code;
    }
    const struct text source = json_reader_source(reader, value);
    if (text_to_int64(source, &integer)) {
        *value_out = (uint64_t)integer;
    } else if (!text_to_uint64(source, value_out)) {
        /* Written with a point or an exponent, or out of range. */
        if (is_plain_integer(source) || !(number >= -0x1p63 && number < 0x1p64)) {
            return json_reader_fail(reader, value, NULL, ERROR_INVALID_ARGUMENT, error,
                                    "%.20g, allowed -2^63 to 2^64 - 1", number);
        }
        *value_out = number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number;
    }
    return ERROR_NONE;
}

enum error_code json_reader_integer(struct json_reader *reader, struct json_value value,
                                    int64_t min, int64_t max, int64_t *value_out,
                                    struct error *error)
{
    double number;
    const enum error_code code =
        json_reader_real(reader, value, (double)min, (double)max, &number, error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (trunc(number) != number) {
        return json_reader_fail(reader, value, NULL, ERROR_INVALID_ARGUMENT, error,
                                "%.16g, must be a whole number", number);
    }
    if (fabs(number) < EXACT_MAX || !text_to_int64(json_reader_source(reader, value), value_out)) {
        *value_out = (int64_t)number;
    }
    return ERROR_NONE;
}

enum error_code json_reader_string(struct json_reader *reader, struct json_value value,
                                   struct text *text_out, struct error *error)
{
    const enum error_code code = json_reader_expect(reader, value, JSON_TYPE_STRING, error);
    if (code == ERROR_NONE) {
        *text_out = text_from(value.node->valuestring);
    }
    return code;
}
