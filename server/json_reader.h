/* SPDX-License-Identifier: Apache-2.0
 *
 * server/json_reader.h - JSON from a client: checked before it is parsed, then read by type.
 *
 * The only user of cJSON in server/. What cJSON would let pass (bad UTF-8, NUL, lone surrogates,
 * raw control characters, endless nesting, trailing bytes, duplicate keys) is refused here, and
 * every error names the value at fault by its path. What a field means is openai_params.c's.
 * Thread: any, one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

struct cJSON;

enum { JSON_PATH_BYTES = 128 };

/* An open document. */
struct json_reader {
    struct cJSON *root;         /* Owned: an object. */
    struct text body;           /* Borrowed while it is open: numbers are looked up in it. */
    struct arena *arena;        /* Borrowed as well. */
    size_t *offsets;            /* Of containers and numbers in the body, once they are wanted. */
    char path[JSON_PATH_BYTES]; /* Set with every error: the value at fault, "messages[0].role";
                                   "" stands for the whole body. */
};

enum json_type {
    JSON_TYPE_NULL, /* Also: there is no such value. */
    JSON_TYPE_BOOL,
    JSON_TYPE_NUMBER,
    JSON_TYPE_STRING,
    JSON_TYPE_ARRAY,
    JSON_TYPE_OBJECT,
};

/* One value of an open document, borrowed until json_reader_close. node is NULL when there is no
 * such value: an absent member, the end of an iteration. */
struct json_value {
    const struct cJSON *node;
};

/* Checks and parses a body whose top level is an object. body.bytes[body.len] must be NUL. The
 * arena lends memory for the check of duplicate keys.
 * INVALID_ARGUMENT: the message says what is wrong, and at which byte or key. TOO_LARGE: more than
 * LIMIT_JSON_DEPTH levels or LIMIT_JSON_ITEMS values. OUT_OF_MEMORY. On failure nothing is open. */
WARN_UNUSED enum error_code json_reader_open(struct json_reader *reader, struct text body,
                                             struct arena *arena, struct error *error);
void json_reader_close(struct json_reader *reader);

struct json_value json_reader_root(const struct json_reader *reader);
enum json_type json_reader_type(struct json_value value);

/* The member of that name, case matters; a null member is as good as absent: node is NULL. */
struct json_value json_reader_member(struct json_value object, const char *name);

/* Elements of an array or members of an object (nulls too), and how many there are (O(n)). */
struct json_value json_reader_first(struct json_value container);
struct json_value json_reader_next(struct json_value value);
uint32_t json_reader_count(struct json_value container);

/* A member's own name, borrowed. */
struct text json_reader_name(struct json_value member);

/* An array, an object or a number as the client wrote it: borrowed from the body. The first call
 * costs O(body). .bytes is NULL when the arena is full. */
struct text json_reader_source(struct json_reader *reader, struct json_value value);

/* Typed reading of a value that is there. INVALID_ARGUMENT: another type, out of [min, max], or
 * not whole. An integer may be written as a float (100.0); one of only digits is exact. */
WARN_UNUSED enum error_code json_reader_bool(struct json_reader *reader, struct json_value value,
                                             bool *value_out, struct error *error);
WARN_UNUSED enum error_code json_reader_integer(struct json_reader *reader, struct json_value value,
                                                int64_t min, int64_t max, int64_t *value_out,
                                                struct error *error);
/* Any integer of 64 bits, signed or not: from -2^63 to 2^64 - 1, the negative ones as their two's
 * complement. */
WARN_UNUSED enum error_code json_reader_bits(struct json_reader *reader, struct json_value value,
                                             uint64_t *value_out, struct error *error);
WARN_UNUSED enum error_code json_reader_real(struct json_reader *reader, struct json_value value,
                                             double min, double max, double *value_out,
                                             struct error *error);
WARN_UNUSED enum error_code json_reader_string(struct json_reader *reader, struct json_value value,
                                               struct text *text_out, struct error *error);

/* Checks that the value has that type; the message of the error says which one was expected. */
WARN_UNUSED enum error_code json_reader_expect(struct json_reader *reader, struct json_value value,
                                               enum json_type type, struct error *error);

/* Reports an error of the caller's own about a value, or about its member `name` (which may be
 * absent; NULL: the value itself): sets the path, puts it before the message, and returns code. */
enum error_code json_reader_fail(struct json_reader *reader, struct json_value value,
                                 const char *name, enum error_code code, struct error *error,
                                 const char *format, ...) PRINTF_LIKE(6, 7);
