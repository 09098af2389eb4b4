/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar.h - which texts a generation may produce: compiled once, followed byte by byte.
 *
 * A grammar is a tree of parts: literal text, regular expressions, JSON by a schema, any JSON
 * object, and sequences, choices and repetitions of these. Compiled, it is a pushdown automaton
 * over bytes. A state never has a dead end: whatever text it took can be completed. Token masks are
 * grammar_mask.h's, sharing of compiled grammars is grammar_cache.h's.
 * Thread: grammar_compile on any, one compilation each; a grammar is immutable and shared; a state
 * belongs to one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* JSON text, as it is accepted everywhere below: RFC 8259 in UTF-8 with these bounds. Between two
 * tokens, and before the first, at most `white_space_max` characters of white space; none after the
 * last. At most 32 objects and arrays inside each other. Escapes are free, but lone surrogates are
 * refused. A key of the schema appears once. Numbers as grammar/number.h says: an integer is
 * written without fraction and exponent; a constant number in its shortest form.
 *
 * JSON schema: what OpenAI documents for strict mode. A schema is `true`, {} or an object with
 *   "$ref" to a JSON pointer within the text ("#", "#/$defs/a"), circles included;
 *   "anyOf"; "const"; "enum" (the last two also with "type");
 *   "type", one or several, with
 *     string: pattern (grammar/regex_tree.h; matches anywhere, so use ^ and $), format
 *       (grammar/string_format.h), minLength, maxLength (code points);
 *     integer, number: minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf (whole, or
 *       a binary fraction such as 0.25);
 *     array: items, minItems, maxItems;
 *     object: properties, required (only names of properties), additionalProperties.
 * title, description, default, examples, $schema, $comment, $defs, definitions, deprecated,
 * readOnly, writeOnly and, at the root, $id say nothing about a value. Every other keyword, and a
 * combination that is not listed, is refused; the message begins with the JSON pointer.
 *
 * Alternatives are followed side by side, at most 128 readings of a text at a time: anyOf has no
 * more. Where nested ones multiply beyond, some readings are given up: then a text may be refused
 * that a schema allows, but none is accepted that it does not. */

enum grammar_part_kind {
    GRAMMAR_PART_TEXT,     /* `text` itself: valid UTF-8. */
    GRAMMAR_PART_REGEX,    /* All of what `text` matches, from begin to end. */
    GRAMMAR_PART_SCHEMA,   /* A JSON value of the schema `text`. */
    GRAMMAR_PART_OBJECT,   /* Any JSON object. */
    GRAMMAR_PART_SEQUENCE, /* All `parts` in turn; none: the empty text. */
    GRAMMAR_PART_CHOICE,   /* One of `parts`. Text that alternatives begin with is shared. */
    GRAMMAR_PART_REPEAT,   /* The one part, min to max times; it must not match the empty text. */
};

/* Borrowed for the call, all of it. At most 8 levels of parts. */
struct grammar_part {
    enum grammar_part_kind kind;
    struct text text;
    struct text name; /* What messages call this part, "tools[0].function.parameters"; may be
                         empty. */
    const struct grammar_part *parts; /* [part_count] */
    uint32_t part_count;
    uint32_t min; /* REPEAT. */
    uint32_t max; /* REPEAT; 0: any number. */
};

enum grammar_objects {
    GRAMMAR_OBJECTS_EXPLICIT, /* additionalProperties must be given, as strict mode demands. */
    GRAMMAR_OBJECTS_CLOSED,   /* It may be left out: no others where there are properties, else any
                                 object. For schemas that were not written for strict mode. */
};

enum grammar_order {
    GRAMMAR_ORDER_ANY,    /* Properties in any order, where an object has at most 64 of them. */
    GRAMMAR_ORDER_SCHEMA, /* In the order of the schema, as OpenAI documents. Optional ones may be
                             left out. */
};

enum {
    GRAMMAR_WHITE_SPACE_MAX = 40, /* Room for a line end and the indentation of nine levels. */
};

struct grammar_options {
    enum grammar_objects objects;
    enum grammar_order order;
    uint32_t white_space_max;            /* 0: compact JSON; at most GRAMMAR_WHITE_SPACE_MAX. */
    bool (*is_cancelled)(void *context); /* Asked about once in 100 us; NULL: never. */
    void *context;
};

struct grammar;

/* Compiles a grammar of at most 64 KiB of text within fixed budgets of work (well below 100 ms) and
 * of memory (below 64 MiB). The caller releases it.
 * INVALID_ARGUMENT: not in the language above, or beyond a budget; the message names the part and
 * the place in it. CANCELLED. OUT_OF_MEMORY. Thread: any. */
WARN_UNUSED enum error_code grammar_compile(const struct grammar_part *root,
                                            const struct grammar_options *options,
                                            struct grammar **grammar_out, struct error *error);

/* A grammar starts with one reference; the last release frees it. NULL may be released. */
struct grammar *grammar_retain(struct grammar *grammar);
void grammar_release(struct grammar *grammar);

/* Memory the compiled grammar takes. */
size_t grammar_bytes(const struct grammar *grammar);

/* How far a text has come. Of fixed size; nothing below but create allocates. */
struct grammar_state;

/* A state at the beginning; retains the grammar. NULL: out of memory. */
struct grammar_state *grammar_state_create(struct grammar *grammar);
void grammar_state_destroy(struct grammar_state *state);

/* Makes `state` stand where `source`, a state of the same grammar, does. */
void grammar_state_copy(struct grammar_state *state, const struct grammar_state *source);

/* Back to the beginning. */
void grammar_state_reset(struct grammar_state *state);

/* Takes the bytes of a token. False: they do not fit, and the state is as before. */
bool grammar_advance(struct grammar_state *state, struct text bytes);

/* Whether the text so far is whole: generation may end here. */
bool grammar_is_complete(const struct grammar_state *state);

/* Finds a text that completes what was taken so far, a short one (0 bytes when it is complete).
 * Returns its length, or SIZE_MAX when capacity bytes do not hold it. Slow: for answers that were
 * cut, and for tests. */
size_t grammar_find_end(const struct grammar_state *state, char *buffer, size_t capacity);
