/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/automaton.h - deterministic automata over bytes: drafts of one, and the pool of all.
 *
 * Inside grammar/ only. A draft is built state by state and may hold dead ends; appending it to the
 * pool drops them, so that in the pool every state leads to acceptance. Edges of a state are ranges
 * of bytes that do not overlap. Thread: any; the pool is immutable once compiled. */
#pragma once

#include "grammar/grammar_build.h"

struct automaton_edge {
    uint32_t target;
    uint8_t low;
    uint8_t high;
};

struct automaton_state {
    uint32_t edge_begin;
    uint32_t label;      /* Of an accepting state: what was read; GRAMMAR_NONE: nothing special. */
    uint32_t distance;   /* Code points to the nearest accepting state (pool only). */
    uint32_t text_begin; /* Trie: texts [text_begin, text_end) go through here. */
    uint32_t text_end;
    uint16_t edge_count;
    uint8_t utf8; /* Trie: the UTF-8 state (below) reached by the same bytes. */
    bool accepting;
};

struct automaton {
    struct automaton_state *states; /* [state_count] */
    uint32_t state_count;
    uint32_t state_capacity;
    struct automaton_edge *edges; /* [edge_count] */
    uint32_t edge_count;
    uint32_t edge_capacity;
};

/* The first states of a pool accept all valid UTF-8; the first of them, between characters. */
enum { AUTOMATON_UTF8_START = 0, AUTOMATON_UTF8_STATES = 8 };

/* An automaton being built; zeroed is empty. State 0 is where it starts. States are expanded (get
 * their edges) in order of their number. */
struct automaton_draft {
    struct automaton automaton;
    uint64_t *keys;  /* [state_capacity] What each state stands for. */
    uint32_t *slots; /* [slot_count] Hash table: state number + 1. */
    uint32_t slot_count;
    uint32_t key_capacity;
};

/* One text of a trie. */
struct automaton_text {
    struct text text;
    uint32_t label;
};

static inline uint32_t automaton_next(const struct automaton *automaton, uint32_t state,
                                      unsigned char byte)
{
    const struct automaton_state *from = &automaton->states[state];
    const struct automaton_edge *edge = &automaton->edges[from->edge_begin];
    for (uint32_t left = from->edge_count; left > 0; left--, edge++) {
        if (byte >= edge->low && byte <= edge->high) {
            return edge->target;
        }
    }
    return GRAMMAR_NONE;
}

/* All below fail with INVALID_ARGUMENT when a budget is exhausted, or with CANCELLED. */

/* Puts the UTF-8 states into an empty pool. */
WARN_UNUSED enum error_code automaton_init_pool(struct grammar_build *build,
                                                struct automaton *pool);

/* The state that stands for key, new if need be. */
WARN_UNUSED enum error_code automaton_draft_state(struct grammar_build *build,
                                                  struct automaton_draft *draft, uint64_t key,
                                                  uint32_t *state_out);

/* A new state without a key. */
WARN_UNUSED enum error_code automaton_draft_add(struct grammar_build *build,
                                                struct automaton_draft *draft, uint32_t *state_out);

/* Adds an edge to the state in expansion: no other has had one since its first. */
WARN_UNUSED enum error_code automaton_draft_edge(struct grammar_build *build,
                                                 struct automaton_draft *draft, uint32_t state,
                                                 struct automaton_edge edge);

/* Drafts a trie of texts sorted by automaton_compare_texts, all different; each accepts with its
 * label. */
WARN_UNUSED enum error_code automaton_draft_trie(struct grammar_build *build,
                                                 const struct automaton *pool,
                                                 const struct automaton_text *texts,
                                                 uint32_t text_count,
                                                 struct automaton_draft *draft_out);
int automaton_compare_texts(const void *left, const void *right); /* For qsort: bytewise. */

/* What `from` accepts, of at least length_min code points. */
WARN_UNUSED enum error_code automaton_lengthen(struct grammar_build *build,
                                               const struct automaton *from, uint32_t length_min,
                                               struct automaton_draft *draft_out);

/* What both accept. */
WARN_UNUSED enum error_code automaton_intersect(struct grammar_build *build,
                                                const struct automaton *left,
                                                const struct automaton *right,
                                                struct automaton_draft *draft_out);

/* Appends the states of a draft that matter; *start_out is GRAMMAR_NONE when it accepts nothing. */
WARN_UNUSED enum error_code automaton_append(struct grammar_build *build, struct automaton *pool,
                                             const struct automaton *draft, uint32_t *start_out);
