/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex_nfa.c - from back to front: every piece is built knowing what comes after it.
 *
 * Thread: any. */
#include "grammar/regex_nfa.h"

struct builder {
    struct grammar_build *build;
    const struct regex_tree *tree;
    struct regex_nfa *nfa;
};

static enum error_code add_node(struct builder *builder, struct regex_nfa_node node,
                                uint32_t *node_out)
{
    struct regex_nfa *nfa = builder->nfa;
    if (nfa->node_count >= GRAMMAR_NODES_MAX) {
        return grammar_build_fail(builder->build, ERROR_INVALID_ARGUMENT,
                                  "regular expression: too large once repetitions are written out");
    }
    const enum error_code code = grammar_build_spend(builder->build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    nfa->nodes = grammar_build_grow(builder->build, nfa->nodes, nfa->node_count,
                                    &nfa->node_capacity, sizeof(nfa->nodes[0]));
    if (nfa->nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    *node_out = nfa->node_count++;
    nfa->nodes[*node_out] = node;
    return ERROR_NONE;
}

static enum error_code add_split(struct builder *builder, uint32_t next, uint32_t other,
                                 uint32_t *node_out)
{
    return add_node(builder,
                    (struct regex_nfa_node){.kind = REGEX_NFA_SPLIT, .next = next, .other = other},
                    node_out);
}

/* A node for a range of bytes, or one of this class (from `begin` on) that does the same: the
 * continuation bytes of most sequences are shared. */
static enum error_code add_range(struct builder *builder, uint32_t begin, uint8_t low, uint8_t high,
                                 uint32_t next, uint32_t *node_out)
{
    const struct regex_nfa_node *nodes = builder->nfa->nodes;
    const uint32_t count = builder->nfa->node_count;
    const uint32_t oldest = count - begin > 16 ? count - 16 : begin;
    for (uint32_t node = count; node-- > oldest;) {
        if (nodes[node].kind == REGEX_NFA_RANGE && nodes[node].low == low &&
            nodes[node].high == high && nodes[node].next == next) {
            *node_out = node;
            return ERROR_NONE;
        }
    }
    return add_node(
        builder,
        (struct regex_nfa_node){.kind = REGEX_NFA_RANGE, .low = low, .high = high, .next = next},
        node_out);
}

static enum error_code add_sequence(struct builder *builder, uint32_t begin,
                                    const struct utf8_sequence *sequence, uint32_t next,
                                    uint32_t *start_out)
{
    enum error_code code = ERROR_NONE;
    for (uint32_t index = sequence->len; code == ERROR_NONE && index-- > 0;) {
        code = add_range(builder, begin, sequence->low[index], sequence->high[index], next, &next);
    }
    *start_out = next;
    return code;
}

/* One character of the ranges, then next; without ranges, nothing. */
static enum error_code add_class(struct builder *builder, const struct utf8_ranges *ranges,
                                 uint32_t count, uint32_t next, uint32_t *start_out)
{
    const uint32_t begin = builder->nfa->node_count;
    uint32_t start = GRAMMAR_NONE;
    for (uint32_t index = 0; index < count; index++) {
        struct utf8_ranges rest = ranges[index];
        struct utf8_sequence sequence;
        while (utf8_ranges_next(&rest, &sequence)) {
            uint32_t one;
            enum error_code code = add_sequence(builder, begin, &sequence, next, &one);
            if (code == ERROR_NONE) {
                code = start == GRAMMAR_NONE ? ERROR_NONE : add_split(builder, one, start, &one);
            }
            if (code != ERROR_NONE) {
                return code;
            }
            start = one;
        }
    }
    if (start != GRAMMAR_NONE) {
        *start_out = start;
        return ERROR_NONE;
    }
    /* A range that no byte is in. */
    return add_node(
        builder,
        (struct regex_nfa_node){.kind = REGEX_NFA_RANGE, .low = 1, .high = 0, .next = next},
        start_out);
}

static enum error_code add_tree(struct builder *builder, uint32_t node, uint32_t next,
                                uint32_t *start_out);

/* The children of a node, from the last to the first. */
static enum error_code list_children(struct builder *builder, uint32_t node, uint32_t **list_out,
                                     uint32_t *count_out)
{
    const struct regex_node *nodes = builder->tree->nodes;
    uint32_t count = 0;
    for (uint32_t child = nodes[node].first; child != GRAMMAR_NONE; child = nodes[child].next) {
        count++;
    }
    uint32_t *list = grammar_build_alloc(builder->build, count, sizeof(list[0]));
    if (list == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    *list_out = list;
    *count_out = count;
    for (uint32_t child = nodes[node].first; child != GRAMMAR_NONE; child = nodes[child].next) {
        list[--count] = child;
    }
    return ERROR_NONE;
}

static enum error_code add_children(struct builder *builder, uint32_t node, uint32_t next,
                                    uint32_t *start_out)
{
    const bool alternatives = builder->tree->nodes[node].kind == REGEX_ALTERNATIVES;
    uint32_t *list;
    uint32_t count;
    enum error_code code = list_children(builder, node, &list, &count);
    uint32_t start = alternatives ? GRAMMAR_NONE : next;
    for (uint32_t index = 0; code == ERROR_NONE && index < count; index++) {
        if (!alternatives) {
            code = add_tree(builder, list[index], start, &start);
            continue;
        }
        uint32_t one;
        code = add_tree(builder, list[index], next, &one);
        if (code == ERROR_NONE && start != GRAMMAR_NONE) {
            code = add_split(builder, one, start, &one);
        }
        start = one;
    }
    *start_out = start;
    return code;
}

/* x* then next. */
static enum error_code add_star(struct builder *builder, uint32_t child, uint32_t next,
                                uint32_t *start_out)
{
    uint32_t loop;
    uint32_t body;
    enum error_code code = add_split(builder, next, next, &loop);
    if (code == ERROR_NONE) {
        code = add_tree(builder, child, loop, &body);
    }
    if (code == ERROR_NONE) {
        builder->nfa->nodes[loop].next = body;
        *start_out = loop;
    }
    return code;
}

/* x{2,4} is xx(x(x)?)?, so that only one way out is open at a time. */
static enum error_code add_repeat(struct builder *builder, const struct regex_node *node,
                                  uint32_t next, uint32_t *start_out)
{
    uint32_t start = next;
    enum error_code code = ERROR_NONE;
    if (node->max == GRAMMAR_NONE) {
        code = add_star(builder, node->first, next, &start);
    }
    const uint32_t optional = node->max == GRAMMAR_NONE ? 0 : node->max - node->min;
    for (uint32_t index = 0; code == ERROR_NONE && index < optional; index++) {
        code = add_tree(builder, node->first, start, &start);
        if (code == ERROR_NONE) {
            code = add_split(builder, start, next, &start);
        }
    }
    for (uint32_t index = 0; code == ERROR_NONE && index < node->min; index++) {
        code = add_tree(builder, node->first, start, &start);
    }
    *start_out = start;
    return code;
}

/* As deep as groups are nested. */
static enum error_code add_tree(struct builder *builder, uint32_t node, uint32_t next,
                                uint32_t *start_out)
{
    const struct regex_node *at = &builder->tree->nodes[node];
    switch (at->kind) {
    case REGEX_CLASS:
        return add_class(builder, builder->tree->ranges + at->range_begin, at->range_count, next,
                         start_out);
    case REGEX_SEQUENCE:
    case REGEX_ALTERNATIVES:
        return add_children(builder, node, next, start_out);
    case REGEX_REPEAT:
        return add_repeat(builder, at, next, start_out);
    case REGEX_BEGIN:
    case REGEX_END:
        return add_node(builder,
                        (struct regex_nfa_node){.kind = at->kind == REGEX_BEGIN ? REGEX_NFA_BEGIN
                                                                                : REGEX_NFA_END,
                                                .next = next},
                        start_out);
    }
    return ERROR_INVALID_ARGUMENT;
}

/* Any text, then next. */
static enum error_code add_any(struct builder *builder, uint32_t next, uint32_t *start_out)
{
    static const struct utf8_ranges all = {.low = 0, .high = UTF8_POINT_MAX};
    uint32_t loop;
    uint32_t body;
    enum error_code code = add_split(builder, next, next, &loop);
    if (code == ERROR_NONE) {
        code = add_class(builder, &all, 1, loop, &body);
    }
    if (code == ERROR_NONE) {
        builder->nfa->nodes[loop].next = body;
        *start_out = loop;
    }
    return code;
}

enum error_code regex_nfa_build(struct grammar_build *build, const struct regex_tree *tree,
                                enum regex_match match, struct regex_nfa *nfa_out)
{
    *nfa_out = (struct regex_nfa){.absorbing = GRAMMAR_NONE};
    struct builder builder = {.build = build, .tree = tree, .nfa = nfa_out};
    const bool search = match == REGEX_MATCH_SEARCH;
    uint32_t at = 0;
    enum error_code code =
        add_node(&builder, (struct regex_nfa_node){.kind = REGEX_NFA_MATCH}, &at);
    if (code == ERROR_NONE && search) {
        code = add_any(&builder, at, &at);
        nfa_out->absorbing = at;
    }
    if (code == ERROR_NONE) {
        code = add_tree(&builder, tree->root, at, &at);
    }
    if (code == ERROR_NONE && search) {
        code = add_any(&builder, at, &at);
    }
    nfa_out->start = at;
    return code;
}
