/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_program.c - collecting nodes, and two analyses that make dead ends impossible.
 *
 * depth_min and length_min are least fixed points: they start at "never" and fall until nothing
 * changes. Thread: any. */
#include "grammar/grammar_program.h"

#include <string.h>

enum error_code grammar_program_add(struct grammar_build *build, struct grammar_program *program,
                                    struct program_node node, uint32_t *node_out)
{
    if (program->node_count >= GRAMMAR_NODES_MAX) {
        return grammar_build_fail(build, ERROR_INVALID_ARGUMENT, "more than %d schemas",
                                  GRAMMAR_NODES_MAX);
    }
    const enum error_code code = grammar_build_spend(build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    program->nodes = grammar_build_grow(build, program->nodes, program->node_count,
                                        &program->node_capacity, sizeof(program->nodes[0]));
    if (program->nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    *node_out = program->node_count++;
    program->nodes[*node_out] = node;
    return ERROR_NONE;
}

enum error_code grammar_program_add_list(struct grammar_build *build,
                                         struct grammar_program *program, uint32_t count,
                                         uint32_t *first_out)
{
    *first_out = program->list_count;
    for (uint32_t index = 0; index < count; index++) {
        program->lists = grammar_build_grow(build, program->lists, program->list_count,
                                            &program->list_capacity, sizeof(program->lists[0]));
        if (program->lists == NULL) {
            return ERROR_INVALID_ARGUMENT;
        }
        program->lists[program->list_count++] = 0;
    }
    return grammar_build_spend(build, count);
}

enum error_code grammar_program_add_bytes(struct grammar_build *build,
                                          struct grammar_program *program,
                                          const struct automaton_draft *draft, uint32_t *node_out)
{
    uint32_t start;
    const enum error_code code =
        automaton_append(build, &program->automaton, &draft->automaton, &start);
    if (code != ERROR_NONE) {
        return code;
    }
    struct program_node node = {.kind = PROGRAM_CHOICE};
    if (start != GRAMMAR_NONE) {
        node = (struct program_node){.kind = PROGRAM_BYTES,
                                     .start = start,
                                     .nullable = program->automaton.states[start].accepting};
    }
    return grammar_program_add(build, program, node, node_out);
}

enum error_code grammar_program_add_text(struct grammar_build *build,
                                         struct grammar_program *program, struct text text,
                                         uint32_t *node_out)
{
    const struct automaton_text one = {.text = text, .label = GRAMMAR_NONE};
    struct automaton_draft draft;
    const enum error_code code = automaton_draft_trie(build, &program->automaton, &one, 1, &draft);
    return code != ERROR_NONE ? code : grammar_program_add_bytes(build, program, &draft, node_out);
}

/* ---- Choices of choices ---- */

struct flattening {
    struct grammar_build *build;
    struct grammar_program *program;
    uint32_t *stamps; /* [node_count] */
    uint32_t *stack;  /* [stack_capacity] Nodes still to look at. */
    uint32_t stack_count;
    uint32_t stack_capacity;
};

static enum error_code push(struct flattening *flattening, uint32_t node)
{
    flattening->stack =
        grammar_build_grow(flattening->build, flattening->stack, flattening->stack_count,
                           &flattening->stack_capacity, sizeof(flattening->stack[0]));
    if (flattening->stack == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    flattening->stack[flattening->stack_count++] = node;
    return grammar_build_spend(flattening->build, 1);
}

/* Gives a choice a list without choices; circles of choices add nothing. */
static enum error_code flatten(struct flattening *flattening, uint32_t choice, uint32_t stamp)
{
    struct grammar_program *program = flattening->program;
    const uint32_t first = program->list_count;
    flattening->stack_count = 0;
    enum error_code code = push(flattening, choice);
    while (code == ERROR_NONE && flattening->stack_count > 0) {
        const uint32_t node = flattening->stack[--flattening->stack_count];
        if (flattening->stamps[node] == stamp) {
            continue;
        }
        flattening->stamps[node] = stamp;
        const struct program_node at = program->nodes[node];
        if (at.kind != PROGRAM_CHOICE) {
            uint32_t place;
            code = grammar_program_add_list(flattening->build, program, 1, &place);
            if (code == ERROR_NONE) {
                program->lists[place] = node;
            }
            continue;
        }
        for (uint32_t index = at.count; code == ERROR_NONE && index-- > 0;) {
            code = push(flattening, program->lists[at.first + index]);
        }
    }
    program->nodes[choice].first = first;
    program->nodes[choice].count = program->list_count - first;
    if (code == ERROR_NONE && program->nodes[choice].count > GRAMMAR_ALTERNATIVES_MAX) {
        return grammar_build_fail(flattening->build, ERROR_INVALID_ARGUMENT,
                                  "a choice of more than %d alternatives",
                                  GRAMMAR_ALTERNATIVES_MAX);
    }
    return code;
}

static enum error_code flatten_all(struct grammar_build *build, struct grammar_program *program)
{
    struct flattening flattening = {
        .build = build,
        .program = program,
        .stamps = grammar_build_alloc(build, program->node_count, sizeof(uint32_t))};
    if (flattening.stamps == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    enum error_code code = ERROR_NONE;
    for (uint32_t node = 0; code == ERROR_NONE && node < program->node_count; node++) {
        if (program->nodes[node].kind == PROGRAM_CHOICE) {
            code = flatten(&flattening, node, node + 1);
        }
    }
    return code;
}

/* ---- Least depth and length ---- */

/* What a node needs at least; GRAMMAR_NONE in both: nothing matches. */
struct needs {
    uint32_t depth;
    uint32_t length;
};

static const struct needs needs_never = {.depth = GRAMMAR_NONE, .length = GRAMMAR_NONE};

static uint32_t add_clipped(uint32_t left, uint64_t right)
{
    const uint64_t sum = left + right;
    return sum < GRAMMAR_NONE / 2 ? (uint32_t)sum : GRAMMAR_NONE / 2;
}

static struct needs needs_of(const struct grammar_program *program, uint32_t node)
{
    return (struct needs){.depth = program->nodes[node].depth_min,
                          .length = program->nodes[node].length_min};
}

/* Both, one after the other. */
static struct needs needs_both(struct needs left, struct needs right, uint64_t right_count)
{
    if (left.depth == GRAMMAR_NONE || right.depth == GRAMMAR_NONE) {
        return needs_never;
    }
    return (struct needs){.depth = left.depth > right.depth ? left.depth : right.depth,
                          .length = add_clipped(left.length, right.length * right_count)};
}

/* Inside one more container, with two brackets. */
static struct needs needs_nested(struct needs inner)
{
    if (inner.depth == GRAMMAR_NONE || inner.depth >= GRAMMAR_DEPTH_MAX) {
        return needs_never;
    }
    return (struct needs){.depth = inner.depth + 1, .length = add_clipped(inner.length, 2)};
}

/* The cheaper of two, in depth and length apart: a bound for both. */
static struct needs needs_either(struct needs left, struct needs right)
{
    return (struct needs){.depth = left.depth < right.depth ? left.depth : right.depth,
                          .length = left.length < right.length ? left.length : right.length};
}

/* A BYTES node with labels goes on in other nodes: any of them, since which states it can reach is
 * not looked into. Without labels nothing but its own text counts. */
static struct needs needs_of_bytes(const struct grammar_program *program,
                                   const struct program_node *node)
{
    struct needs own = {.length = program->automaton.states[node->start].distance};
    struct needs rest = needs_never;
    for (uint32_t index = 0; index < node->count; index++) {
        rest = needs_either(rest, needs_of(program, program->lists[node->first + index]));
    }
    return node->count == 0 ? own : needs_both(own, rest, 1);
}

static struct needs needs_of_object(const struct grammar_program *program,
                                    const struct program_node *node)
{
    struct needs inner = {0};
    for (uint32_t index = 0; index < node->count; index++) {
        const struct program_property *property = &program->properties[node->first + index];
        if (property->required) {
            inner = needs_both(inner, needs_of(program, property->node), 1);
            inner.length = add_clipped(inner.length, property->name_len + 4);
        }
    }
    return needs_nested(inner);
}

static struct needs needs_of_array(const struct grammar_program *program,
                                   const struct program_node *node)
{
    struct needs inner = {.length = node->min > 0 ? node->min - 1 : 0};
    for (uint32_t index = 0; index < node->count; index++) {
        inner = needs_both(inner, needs_of(program, program->lists[node->first + index]), 1);
    }
    if (node->min > node->count) {
        inner = needs_both(inner, needs_of(program, node->child), node->min - node->count);
    }
    return node->min > node->max ? needs_never : needs_nested(inner);
}

static struct needs needs_of_node(const struct grammar_program *program,
                                  const struct program_node *node)
{
    struct needs needs = {0};
    switch (node->kind) {
    case PROGRAM_CHOICE:
        needs = needs_never;
        for (uint32_t index = 0; index < node->count; index++) {
            needs = needs_either(needs, needs_of(program, program->lists[node->first + index]));
        }
        return needs;
    case PROGRAM_SEQUENCE:
        for (uint32_t index = 0; index < node->count; index++) {
            needs = needs_both(needs, needs_of(program, program->lists[node->first + index]), 1);
        }
        return needs;
    case PROGRAM_REPEAT:
        return node->min == 0 ? needs
                              : needs_both(needs, needs_of(program, node->child), node->min);
    case PROGRAM_BYTES:
        return needs_of_bytes(program, node);
    case PROGRAM_JSON:
        return needs_of(program, node->child);
    case PROGRAM_STRING:
        needs.length = program->automaton.states[node->start].distance;
        if (node->min > node->max || needs.length > node->max) {
            return needs_never;
        }
        needs.length = add_clipped(needs.length > node->min ? needs.length : node->min, 2);
        return needs;
    case PROGRAM_ARRAY:
        return needs_of_array(program, node);
    case PROGRAM_OBJECT:
        return needs_of_object(program, node);
    }
    return needs_never;
}

enum error_code grammar_program_finish(struct grammar_build *build, struct grammar_program *program)
{
    enum error_code code = flatten_all(build, program);
    for (uint32_t node = 0; node < program->node_count; node++) {
        program->nodes[node].depth_min = GRAMMAR_NONE;
        program->nodes[node].length_min = GRAMMAR_NONE;
    }
    bool changed = true;
    while (code == ERROR_NONE && changed) {
        changed = false;
        /* Children have mostly higher numbers than what they are part of. */
        for (uint32_t number = program->node_count; number-- > 0;) {
            struct program_node *node = &program->nodes[number];
            const struct needs needs = needs_of_node(program, node);
            changed = changed || needs.depth < node->depth_min || needs.length < node->length_min;
            node->depth_min = needs.depth;
            node->length_min = needs.length;
        }
        code = grammar_build_spend(build, (uint64_t)program->node_count + program->property_count +
                                              program->list_count);
    }
    return code;
}
