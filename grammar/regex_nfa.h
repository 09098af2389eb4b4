/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex_nfa.h - the nondeterministic automaton between a pattern's tree and regex.c.
 *
 * Inside grammar/ only. Thompson's construction (Regular expression search algorithm, CACM 11(6),
 * 1968) over bytes; repetitions are copied out. Thread: any. */
#pragma once

#include "grammar/regex.h"
#include "grammar/regex_tree.h"

enum regex_nfa_kind {
    REGEX_NFA_RANGE, /* One byte in [low, high], then next. */
    REGEX_NFA_SPLIT, /* next or other. */
    REGEX_NFA_BEGIN, /* next, if nothing was read. */
    REGEX_NFA_END,   /* next, if nothing follows. */
    REGEX_NFA_MATCH,
};

struct regex_nfa_node {
    uint8_t kind;
    uint8_t low;
    uint8_t high;
    uint32_t next;
    uint32_t other;
};

struct regex_nfa {
    struct regex_nfa_node *nodes; /* [node_count] */
    uint32_t node_count;
    uint32_t node_capacity;
    uint32_t start;
    uint32_t absorbing; /* From here on every text matches; GRAMMAR_NONE: there is no such node. */
};

/* Fails as regex_compile. */
WARN_UNUSED enum error_code regex_nfa_build(struct grammar_build *build,
                                            const struct regex_tree *tree, enum regex_match match,
                                            struct regex_nfa *nfa_out);
