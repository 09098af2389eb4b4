/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_tree.h - a JSON text as a tree that keeps number texts, order and places.
 *
 * Inside grammar/ only. Strict: UTF-8, no lone surrogates, no duplicate keys, no trailing bytes.
 * Numbers stay text, because bounds are compared as decimals. No recursion. What a schema means is
 * json_schema.c's. Thread: any; immutable once parsed. */
#pragma once

#include "grammar/grammar_build.h"

enum { JSON_TREE_DEPTH_MAX = 64 };

enum json_tree_type {
    JSON_TREE_NULL,
    JSON_TREE_FALSE,
    JSON_TREE_TRUE,
    JSON_TREE_NUMBER,
    JSON_TREE_STRING,
    JSON_TREE_ARRAY,
    JSON_TREE_OBJECT,
};

struct json_tree_value {
    enum json_tree_type type;
    uint32_t parent;  /* GRAMMAR_NONE: the root. */
    uint32_t first;   /* Child; GRAMMAR_NONE: none. */
    uint32_t next;    /* Sibling; GRAMMAR_NONE: none. */
    uint32_t count;   /* Children. */
    struct text key;  /* Of a member: decoded. */
    struct text text; /* STRING: decoded. NUMBER: as written. */
};

struct json_tree {
    struct json_tree_value *values; /* [value_count]; values[0] is the root. */
    uint32_t value_count;
    uint32_t value_capacity;
};

/* Parses a text; the tree lives in the build's arena. INVALID_ARGUMENT: the message says what is
 * wrong at which byte. */
WARN_UNUSED enum error_code json_tree_parse(struct grammar_build *build, struct text text,
                                            struct json_tree *tree_out);

/* The member of that name, GRAMMAR_NONE when there is none or the value is no object. */
uint32_t json_tree_member(const struct json_tree *tree, uint32_t object, struct text key);

/* Finds the value of a JSON pointer (RFC 6901) in fragment form, "#/$defs/a"; GRAMMAR_NONE: there
 * is none. */
uint32_t json_tree_find(const struct json_tree *tree, struct text pointer);

/* Writes the pointer to a value, cut to capacity: "#/properties/age". */
void json_tree_path(const struct json_tree *tree, uint32_t value, char *buffer, size_t capacity);
