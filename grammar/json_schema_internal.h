/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_schema_internal.h - what the three json_schema*.c files share.
 *
 * Thread: any, one compilation each. */
#pragma once

#include "grammar/json_schema.h"
#include "grammar/number.h"

/* The keywords that say something, in no order; annotations are not among them. */
#define JSON_SCHEMA_KEYWORDS(X)                                                                    \
    X(TYPE, "type")                                                                                \
    X(ENUM, "enum")                                                                                \
    X(CONST, "const")                                                                              \
    X(ANY_OF, "anyOf")                                                                             \
    X(REF, "$ref")                                                                                 \
    X(PROPERTIES, "properties")                                                                    \
    X(REQUIRED, "required")                                                                        \
    X(ADDITIONAL, "additionalProperties")                                                          \
    X(ITEMS, "items")                                                                              \
    X(MIN_ITEMS, "minItems")                                                                       \
    X(MAX_ITEMS, "maxItems")                                                                       \
    X(MIN_LENGTH, "minLength")                                                                     \
    X(MAX_LENGTH, "maxLength")                                                                     \
    X(PATTERN, "pattern")                                                                          \
    X(FORMAT, "format")                                                                            \
    X(MINIMUM, "minimum")                                                                          \
    X(MAXIMUM, "maximum")                                                                          \
    X(EXCLUSIVE_MINIMUM, "exclusiveMinimum")                                                       \
    X(EXCLUSIVE_MAXIMUM, "exclusiveMaximum")                                                       \
    X(MULTIPLE_OF, "multipleOf")

enum json_schema_keyword {
#define X(name, text) KEYWORD_##name,
    JSON_SCHEMA_KEYWORDS(X)
#undef X
        KEYWORD_COUNT
};

/* The values of a schema's keywords: numbers in the tree, GRAMMAR_NONE where it has none. */
struct json_schema_keywords {
    uint32_t schema;
    uint32_t values[KEYWORD_COUNT];
};

/* An automaton built before, for an equal string or number. */
struct json_schema_memo {
    struct text pattern;
    struct text format;
    uint32_t length_min;
    struct number_limits limits;
    uint32_t node;
};

/* A schema or constant that has a node but is not compiled yet. */
struct json_schema_task {
    uint32_t value;
    uint32_t node;
    bool is_constant;
};

struct json_schema_compiler {
    struct grammar_build *build;
    struct grammar_program *program;
    struct json_schema_options options;
    struct json_tree tree;
    uint32_t *nodes; /* [tree.value_count] Of each schema, + 1; 0: none yet. */
    struct json_schema_task *tasks;
    uint32_t task_count;
    uint32_t task_capacity;
    struct json_schema_memo *strings;
    uint32_t string_count;
    uint32_t string_capacity;
    struct json_schema_memo *numbers;
    uint32_t number_count;
    uint32_t number_capacity;
    uint32_t any;        /* Any value, + 1; 0: none yet. */
    uint32_t booleans;   /* true or false, + 1. */
    uint32_t null;       /* null, + 1. */
    uint32_t any_number; /* + 1. */
    uint32_t any_string; /* + 1. */
};

/* A member of an object to be. */
struct json_schema_member {
    struct text name;
    uint32_t node;
    uint32_t position;
    bool required;
};

/* Everything below fails as json_schema_compile does. */

/* ---- json_schema.c ---- */

/* The node of a schema, or of a constant value, to be filled in later. */
WARN_UNUSED enum error_code json_schema_node(struct json_schema_compiler *compiler, uint32_t value,
                                             uint32_t *node_out);
WARN_UNUSED enum error_code json_schema_constant(struct json_schema_compiler *compiler,
                                                 uint32_t value, uint32_t *node_out);

/* The node of any value, or of any one of a type. */
WARN_UNUSED enum error_code json_schema_any(struct json_schema_compiler *compiler,
                                            uint32_t *node_out);

/* The node of a scalar type without limits. */
WARN_UNUSED enum error_code json_schema_words(struct json_schema_compiler *compiler,
                                              enum json_tree_type type, uint32_t *node_out);

/* Sets the place of errors to a value, or to a keyword's. */
void json_schema_look_at(struct json_schema_compiler *compiler, uint32_t value);

/* Reads a keyword whose value is a whole number from 0 to 10^9; *value_out stays when there is
 * none. */
WARN_UNUSED enum error_code json_schema_count(struct json_schema_compiler *compiler,
                                              const struct json_schema_keywords *keywords,
                                              enum json_schema_keyword keyword,
                                              uint32_t *value_out);

/* Fails unless the keyword's value has the type. */
WARN_UNUSED enum error_code json_schema_expect(struct json_schema_compiler *compiler,
                                               uint32_t value, enum json_tree_type type);

/* ---- json_schema_scalar.c ---- */

WARN_UNUSED enum error_code json_schema_scalar_string(struct json_schema_compiler *compiler,
                                                      const struct json_schema_keywords *keywords,
                                                      uint32_t *node_out);
WARN_UNUSED enum error_code json_schema_scalar_number(struct json_schema_compiler *compiler,
                                                      const struct json_schema_keywords *keywords,
                                                      bool integer, uint32_t *node_out);

/* One of several constants: lists[first, + count) afterwards holds the nodes. `types` is a bit set
 * of json_schema_type, 0: all. */
WARN_UNUSED enum error_code json_schema_scalar_constants(struct json_schema_compiler *compiler,
                                                         const uint32_t *values, uint32_t count,
                                                         uint32_t types, uint32_t *node_out);

/* Names of types as bits. */
enum json_schema_type {
    JSON_SCHEMA_TYPE_NULL = 1,
    JSON_SCHEMA_TYPE_BOOLEAN = 2,
    JSON_SCHEMA_TYPE_INTEGER = 4,
    JSON_SCHEMA_TYPE_NUMBER = 8,
    JSON_SCHEMA_TYPE_STRING = 16,
    JSON_SCHEMA_TYPE_ARRAY = 32,
    JSON_SCHEMA_TYPE_OBJECT = 64,
};

/* ---- json_schema_container.c ---- */

WARN_UNUSED enum error_code json_schema_container_array(struct json_schema_compiler *compiler,
                                                        const struct json_schema_keywords *keywords,
                                                        uint32_t *node_out);
WARN_UNUSED enum error_code
json_schema_container_object(struct json_schema_compiler *compiler,
                             const struct json_schema_keywords *keywords, uint32_t *node_out);

/* An object of these members (sorted in place) and others of the node `additional` (GRAMMAR_NONE:
 * no others). */
WARN_UNUSED enum error_code json_schema_container_build(struct json_schema_compiler *compiler,
                                                        struct json_schema_member *members,
                                                        uint32_t count, uint32_t additional,
                                                        uint32_t *node_out);

/* A constant array or object. */
WARN_UNUSED enum error_code json_schema_container_constant(struct json_schema_compiler *compiler,
                                                           uint32_t value, uint32_t *node_out);
