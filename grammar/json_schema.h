/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_schema.h - a JSON schema as nodes of a program.
 *
 * Inside grammar/ only; which schemas are taken is written down in grammar.h. What is outside is
 * refused at its place, never passed over. json_schema.c walks the schema, json_schema_scalar.c
 * does strings, numbers and constants, json_schema_container.c arrays and objects. Thread: any. */
#pragma once

#include "grammar/grammar_program.h"
#include "grammar/json_tree.h"

struct json_schema_options {
    bool closed;       /* additionalProperties may be left out: then there are none. */
    bool schema_order; /* Properties come in the order of the schema. */
};

/* Compiles a schema text; *node_out is the node of the value. INVALID_ARGUMENT: the message begins
 * with the JSON pointer of the place. CANCELLED. */
WARN_UNUSED enum error_code json_schema_compile(struct grammar_build *build,
                                                struct grammar_program *program, struct text schema,
                                                struct json_schema_options options,
                                                uint32_t *node_out);

/* The node of any JSON object. */
WARN_UNUSED enum error_code json_schema_any_object(struct grammar_build *build,
                                                   struct grammar_program *program,
                                                   uint32_t *node_out);
