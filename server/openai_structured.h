/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_structured.h - the fields that say what an answer must be, for their readers.
 *
 * Private to the readers of fields (openai_reading.h). Thread: any. */
#pragma once

#include "server/openai_reading.h"

/* Where a form of type json_schema has name, schema and strict. */
enum openai_form_shape {
    OPENAI_FORM_NESTED, /* In its member json_schema, as chats have it. */
    OPENAI_FORM_FLAT,   /* In itself, as /v1/responses has it. */
};

/* Reads {"type": text, json_object or json_schema, ..} into params.grammar. Errors call it `path`,
 * constant text. Fails as openai_read_field does. */
WARN_UNUSED enum error_code openai_structured_read_form(struct openai_reading *reading,
                                                        struct json_value value, const char *path,
                                                        enum openai_form_shape shape);

/* The text of a schema as the client wrote it, for GRAMMAR_PART_SCHEMA; in the arena. It must be an
 * object; what is in it is looked at only when it is compiled. Fails as openai_read_field does. */
WARN_UNUSED enum error_code openai_structured_read_schema(struct openai_reading *reading,
                                                          struct json_value value,
                                                          struct text *schema_out);
