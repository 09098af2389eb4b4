/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex_tree.h - a regular expression as a tree.
 *
 * Inside grammar/ only. The syntax is that of ECMA 262 with the flag u, of which this is the part
 * that automata can do, with its meaning: \d and \w are ASCII, $ matches at the very end only.
 *
 *   .  [a-z]  [^a-z]  \d \D \w \W \s \S  \t \n \r \f \v  \xHH \uHHHH \u{H...}  \ and punctuation
 *   ab  a|b  (a)  (?:a)  (?<name>a)  (?P<name>a)  a*  a+  a?  a{n} a{n,} a{n,m}, also lazy  ^  $
 *
 * Refused: back references, look-around, \b, \p, flags, possessive repetition, an empty class, a
 * repetition above GRAMMAR_REPEAT_MAX or of a repetition, groups nested deeper than
 * GRAMMAR_DEPTH_MAX. Thread: any. */
#pragma once

#include "grammar/grammar_build.h"
#include "grammar/utf8_ranges.h"

enum regex_kind {
    REGEX_CLASS,    /* One of the ranges [range_begin, + range_count). */
    REGEX_SEQUENCE, /* All children, one after another; none: the empty text. */
    REGEX_ALTERNATIVES,
    REGEX_REPEAT, /* The one child, min to max times; GRAMMAR_NONE: any number. */
    REGEX_BEGIN,  /* ^ */
    REGEX_END,    /* $ */
};

struct regex_node {
    enum regex_kind kind;
    uint32_t first; /* Child; GRAMMAR_NONE: none. */
    uint32_t next;  /* Sibling; GRAMMAR_NONE: none. */
    uint32_t min;
    uint32_t max;
    uint32_t range_begin;
    uint32_t range_count;
};

struct regex_tree {
    struct regex_node *nodes; /* [node_count] */
    uint32_t node_count;
    uint32_t node_capacity;
    struct utf8_ranges *ranges; /* [range_count] Of a class: ascending, apart. */
    uint32_t range_count;
    uint32_t range_capacity;
    uint32_t root;
};

/* Parses a pattern. INVALID_ARGUMENT: the message names what, at which byte. */
WARN_UNUSED enum error_code regex_tree_parse(struct grammar_build *build, struct text pattern,
                                             struct regex_tree *tree_out);
