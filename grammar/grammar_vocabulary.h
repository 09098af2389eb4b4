/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_vocabulary.h - the prepared vocabulary, for grammar_mask.c.
 *
 * Inside grammar/ only. Thread: immutable once created; any. */
#pragma once

#include "grammar/grammar_mask.h"

/* A node of a trie in preorder: its children follow it, `skip` is the next node that is not below
 * it. */
struct vocabulary_node {
    uint32_t skip;
    int32_t token;  /* Ends here; 0: none. */
    uint16_t depth; /* Bytes up to and with this one: >= 1. */
    uint8_t byte;
};

struct vocabulary_trie {
    struct vocabulary_node *nodes; /* [node_count], owned. */
    uint32_t node_count;
};

/* A token that stays within a JSON string, wherever in one it begins between two characters. */
struct vocabulary_inside {
    int32_t token;
    uint32_t points; /* Code points it begins. */
};

struct grammar_vocabulary {
    uint32_t row_count;
    uint32_t words;      /* Of a mask. */
    uint32_t length_max; /* Bytes of the longest token. */
    struct vocabulary_trie all;
    struct vocabulary_trie leaving;   /* Tokens that close a string they begin in. */
    uint32_t *inside_mask;            /* [words] Those that stay. */
    struct vocabulary_inside *inside; /* [inside_count] The same, most code points first. */
    uint32_t inside_count;
};
