/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_program.h - the compiled form: nodes that say what may stand at a place.
 *
 * Inside grammar/ only. Compilers add nodes, which refer to each other by number, also in circles;
 * grammar_program_finish then works out what can be completed at all. How a program is run is
 * grammar_step.c's. Thread: any; immutable once compiled. */
#pragma once

#include <stdatomic.h>

#include "grammar/automaton.h"

enum program_kind {
    PROGRAM_CHOICE,   /* One of lists[first, + count); none: nothing at all matches. */
    PROGRAM_SEQUENCE, /* All of lists[first, + count) in turn. */
    PROGRAM_REPEAT,   /* child, min to max times. */
    PROGRAM_BYTES,    /* A text that the automaton from `start` accepts; if the state it ends in has
                         a label, then also that node. */
    PROGRAM_JSON,     /* White space, then the value `child`. */
    PROGRAM_STRING,   /* A JSON string: the automaton accepts the decoded text; min and max code
                         points (min only with the automaton of all UTF-8). */
    PROGRAM_ARRAY,    /* lists[first, + count) first, then `child` each; min to max of them. */
    PROGRAM_OBJECT,   /* properties[first, + count), by name; others (GRAMMAR_NONE: none) `child`.
                         The trie of the names starts at `start`; label: number of property. */
};

struct program_node {
    enum program_kind kind;
    uint32_t first;
    uint32_t count;
    uint32_t child;
    uint32_t start;
    uint32_t min;
    uint32_t max;        /* GRAMMAR_NONE: any number. */
    uint32_t order;      /* OBJECT: lists[order, + count] = properties in order of the schema. */
    bool ordered;        /* OBJECT: properties come in that order. */
    bool nullable;       /* Matches the empty text too. */
    uint64_t required;   /* OBJECT not ordered: bit set of properties that must be there. */
    uint32_t depth_min;  /* Fewest containers inside each other; GRAMMAR_NONE: no text matches. */
    uint32_t length_min; /* About as many bytes as the shortest text has. */
};

struct program_property {
    uint32_t node;
    uint32_t position; /* In order of the schema. */
    uint32_t name_len; /* Bytes as a JSON string without its quotes. */
    bool required;
};

/* An object with more properties than this takes them in the order of the schema only. */
enum { PROGRAM_FREE_ORDER_MAX = 64 };

struct grammar_program {
    struct program_node *nodes;
    uint32_t node_count;
    uint32_t node_capacity;
    uint32_t *lists;
    uint32_t list_count;
    uint32_t list_capacity;
    struct program_property *properties;
    uint32_t property_count;
    uint32_t property_capacity;
    struct automaton automaton;
    uint32_t root;
    uint32_t white_space_max;
    uint64_t serial; /* Of this program alone, in the life of the process. */
};

/* All fail with INVALID_ARGUMENT when a budget is exhausted, or with CANCELLED. */

/* Adds a node; it may be filled in later. */
WARN_UNUSED enum error_code grammar_program_add(struct grammar_build *build,
                                                struct grammar_program *program,
                                                struct program_node node, uint32_t *node_out);

/* Makes room for `count` numbers in lists, all 0, and tells where. */
WARN_UNUSED enum error_code grammar_program_add_list(struct grammar_build *build,
                                                     struct grammar_program *program,
                                                     uint32_t count, uint32_t *first_out);

/* Adds a BYTES node that accepts what the draft does; it is a CHOICE of nothing if that is empty.
 */
WARN_UNUSED enum error_code grammar_program_add_bytes(struct grammar_build *build,
                                                      struct grammar_program *program,
                                                      const struct automaton_draft *draft,
                                                      uint32_t *node_out);

/* Adds a BYTES node for one literal text. */
WARN_UNUSED enum error_code grammar_program_add_text(struct grammar_build *build,
                                                     struct grammar_program *program,
                                                     struct text text, uint32_t *node_out);

/* Replaces choices of choices by what they come to, and works out depth_min and length_min of all
 * nodes: GRAMMAR_NONE where nothing matches within GRAMMAR_DEPTH_MAX levels. */
WARN_UNUSED enum error_code grammar_program_finish(struct grammar_build *build,
                                                   struct grammar_program *program);

/* What grammar.h calls a grammar: the program in one block of memory. */
struct grammar {
    struct grammar_program program;
    atomic_uint references;
    size_t bytes; /* Of the block. */
};
