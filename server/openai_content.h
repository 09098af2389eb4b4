/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_content.h - content as text or as typed parts, and the chat that is made of it.
 *
 * Roles for every API; parts for those whose conversations are more than a list of messages:
 * responses_input.c and messages_input.c. Thread: any. */
#pragma once

#include <stddef.h>

#include "server/openai_reading.h"

/* The roles that an API knows. */
struct openai_content_role {
    const char *name;
    enum chat_role role;
};

struct openai_content_roles {
    const struct openai_content_role *rows; /* [count] */
    size_t count;
    const char *names; /* For people. */
};

/* Reads the "role" of a message. INVALID_ARGUMENT: none, or one that is not in the table. */
WARN_UNUSED enum error_code openai_content_read_role(struct openai_reading *reading,
                                                     struct json_value message,
                                                     const struct openai_content_roles *roles,
                                                     enum chat_role *role_out);

/* A kind of part: {"type": .type, .member: text}. */
struct openai_content_kind {
    const char *type;
    const char *member; /* NULL: the part is skipped. */
};

struct openai_content_kinds {
    const struct openai_content_kind *rows; /* [count] */
    size_t count;
    const char *names; /* Of those with a text, for people. */
};

/* Reads the "type" of an object; NOT_FOUND is never given. INVALID_ARGUMENT: no object, no type. */
WARN_UNUSED enum error_code openai_content_read_type(struct openai_reading *reading,
                                                     struct json_value value,
                                                     struct text *type_out);

/* Reads a string that an object must have; borrowed from the document. INVALID_ARGUMENT. */
WARN_UNUSED enum error_code openai_content_read_string(struct openai_reading *reading,
                                                       struct json_value object, const char *name,
                                                       struct text *text_out);

/* Reads a string, or an array of parts that are joined with line feeds, into the arena.
 * INVALID_ARGUMENT: another type, or another kind of part. TOO_LARGE. */
WARN_UNUSED enum error_code openai_content_read(struct openai_reading *reading,
                                                struct json_value value,
                                                const struct openai_content_kinds *kinds,
                                                struct text *text_out);

/* Adds a message to reading->params.prompt. `value` is where it came from, for errors.
 * INVALID_ARGUMENT: more than LIMIT_MESSAGES. TOO_LARGE: the arena is full. */
WARN_UNUSED enum error_code openai_content_add(struct openai_reading *reading,
                                               struct json_value value, enum chat_role role,
                                               struct text content);
