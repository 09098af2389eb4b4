/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex.c - the subset construction: sets of NFA nodes become states, within a budget.
 *
 * Bytes that no node tells apart form a class; each state is expanded class by class.
 * Thread: any. */
#include "grammar/regex.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/regex_nfa.h"

/* The nodes of one state, sorted; those that read a byte, wait for the end, or match. */
struct node_set {
    uint32_t *nodes;
    uint32_t count;
};

struct construction {
    struct grammar_build *build;
    const struct regex_nfa *nfa;
    struct automaton_draft *draft;
    struct node_set *sets; /* [state_count] */
    uint32_t set_capacity;
    uint32_t *slots; /* [slot_count] Hash table: state number + 1. */
    uint32_t slot_count;
    /* Scratch of closure: nodes visited, nodes to visit, nodes found. */
    uint32_t *stamps; /* [node_count] */
    uint32_t stamp;
    uint32_t *stack; /* [2 * node_count + 2] */
    uint32_t *found; /* [node_count] */
    uint32_t found_count;
    /* Classes of bytes. */
    uint8_t class_of[256];
    uint8_t class_low[256];
    uint8_t class_high[256];
    uint32_t class_count;
};

/* Where a text stands when anchors are looked at. */
enum { AT_BEGIN = 1, AT_END = 2 };

static void find_classes(struct construction *construction)
{
    bool begins[257] = {[0] = true};
    for (uint32_t node = 0; node < construction->nfa->node_count; node++) {
        const struct regex_nfa_node *at = &construction->nfa->nodes[node];
        if (at->kind == REGEX_NFA_RANGE && at->low <= at->high) {
            begins[at->low] = true;
            begins[at->high + 1] = true;
        }
    }
    uint32_t count = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (begins[byte]) {
            construction->class_low[count++] = (uint8_t)byte;
        }
        construction->class_of[byte] = (uint8_t)(count - 1);
        construction->class_high[count - 1] = (uint8_t)byte;
    }
    construction->class_count = count;
}

/* Follows everything that reads no byte, from the seeds on; fills found. *absorbed_out: any text
 * may follow. */
static enum error_code follow(struct construction *construction, const uint32_t *seeds,
                              uint32_t seed_count, uint32_t where, bool *absorbed_out)
{
    const struct regex_nfa *nfa = construction->nfa;
    const uint32_t stamp = ++construction->stamp;
    uint32_t visits = 0;
    *absorbed_out = false;
    construction->found_count = 0;
    for (uint32_t seed = 0; seed < seed_count; seed++) {
        uint32_t depth = 0;
        construction->stack[depth++] = seeds[seed];
        while (depth > 0) {
            const uint32_t node = construction->stack[--depth];
            if (construction->stamps[node] == stamp) {
                continue;
            }
            construction->stamps[node] = stamp;
            visits++;
            *absorbed_out = *absorbed_out || node == nfa->absorbing;
            const struct regex_nfa_node *at = &nfa->nodes[node];
            const bool passes = at->kind == REGEX_NFA_SPLIT ||
                                (at->kind == REGEX_NFA_BEGIN && (where & AT_BEGIN) != 0) ||
                                (at->kind == REGEX_NFA_END && (where & AT_END) != 0);
            if (passes) {
                construction->stack[depth++] = at->next;
            } else if (at->kind != REGEX_NFA_BEGIN) {
                construction->found[construction->found_count++] = node;
            }
            if (at->kind == REGEX_NFA_SPLIT) {
                construction->stack[depth++] = at->other;
            }
        }
    }
    return grammar_build_spend(construction->build, visits + seed_count);
}

static int compare_numbers(const void *left_pointer, const void *right_pointer)
{
    const uint32_t left = *(const uint32_t *)left_pointer;
    const uint32_t right = *(const uint32_t *)right_pointer;
    return (left > right) - (left < right);
}

static uint32_t slot_of(const struct construction *construction, const uint32_t *nodes,
                        uint32_t count)
{
    uint64_t hash = count;
    for (uint32_t index = 0; index < count; index++) {
        hash = (hash ^ nodes[index]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    uint32_t slot = (uint32_t)hash & (construction->slot_count - 1);
    for (; construction->slots[slot] != 0; slot = (slot + 1) & (construction->slot_count - 1)) {
        const struct node_set *set = &construction->sets[construction->slots[slot] - 1];
        if (set->count == count && memcmp(set->nodes, nodes, count * sizeof(nodes[0])) == 0) {
            break;
        }
    }
    return slot;
}

static enum error_code grow_slots(struct construction *construction)
{
    const uint32_t state_count = construction->draft->automaton.state_count;
    if (2 * (state_count + 1) <= construction->slot_count) {
        return ERROR_NONE;
    }
    construction->slot_count = construction->slot_count == 0 ? 64 : 4 * construction->slot_count;
    construction->slots = grammar_build_alloc(construction->build, construction->slot_count,
                                              sizeof(construction->slots[0]));
    if (construction->slots == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t state = 1; state < state_count; state++) {
        const struct node_set *set = &construction->sets[state];
        construction->slots[slot_of(construction, set->nodes, set->count)] = state + 1;
    }
    return ERROR_NONE;
}

/* Whether a text may end with these nodes found. */
static enum error_code decide_accepting(struct construction *construction, uint32_t state,
                                        uint32_t where)
{
    const struct regex_nfa *nfa = construction->nfa;
    const struct node_set set = construction->sets[state];
    bool absorbed;
    const enum error_code code =
        follow(construction, set.nodes, set.count, where | AT_END, &absorbed);
    bool accepting = false;
    for (uint32_t index = 0; index < construction->found_count; index++) {
        accepting = accepting || nfa->nodes[construction->found[index]].kind == REGEX_NFA_MATCH;
    }
    construction->draft->automaton.states[state].accepting = accepting;
    return code;
}

/* The state of all nodes that the seeds lead to. */
static enum error_code find_state(struct construction *construction, const uint32_t *seeds,
                                  uint32_t seed_count, uint32_t where, uint32_t *state_out)
{
    bool absorbed;
    enum error_code code = follow(construction, seeds, seed_count, where, &absorbed);
    if (code == ERROR_NONE && absorbed) {
        code = follow(construction, &construction->nfa->absorbing, 1, 0, &absorbed);
    }
    if (code == ERROR_NONE) {
        code = grow_slots(construction);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = construction->found_count;
    qsort(construction->found, count, sizeof(uint32_t), compare_numbers);
    const uint32_t slot = slot_of(construction, construction->found, count);
    if (construction->slots[slot] != 0) {
        *state_out = construction->slots[slot] - 1;
        return ERROR_NONE;
    }
    code = automaton_draft_add(construction->build, construction->draft, state_out);
    if (code != ERROR_NONE) {
        return code;
    }
    construction->sets =
        grammar_build_grow(construction->build, construction->sets, *state_out,
                           &construction->set_capacity, sizeof(construction->sets[0]));
    uint32_t *nodes = grammar_build_alloc(construction->build, count, sizeof(nodes[0]));
    if (construction->sets == NULL || nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    memcpy(nodes, construction->found, count * sizeof(nodes[0]));
    construction->sets[*state_out] = (struct node_set){.nodes = nodes, .count = count};
    if (where != AT_BEGIN) { /* The first state stays apart: ^ holds only there. */
        construction->slots[slot] = *state_out + 1;
    }
    return decide_accepting(construction, *state_out, where);
}

/* Where each class of bytes leads from one state, before following. */
struct moves {
    uint32_t begins[258]; /* Class c has targets [begins[c], begins[c + 1]). */
    uint32_t *targets;
    uint32_t target_capacity;
};

static enum error_code collect_moves(struct construction *construction, uint32_t state,
                                     struct moves *moves)
{
    const struct node_set set = construction->sets[state];
    const uint8_t *class_of = construction->class_of;
    memset(moves->begins, 0, sizeof(moves->begins));
    uint32_t total = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t index = 0; index < set.count; index++) {
            const struct regex_nfa_node *node = &construction->nfa->nodes[set.nodes[index]];
            if (node->kind != REGEX_NFA_RANGE || node->low > node->high) {
                continue;
            }
            for (uint32_t one = class_of[node->low]; one <= class_of[node->high]; one++) {
                if (pass == 0) {
                    moves->begins[one + 2]++;
                    total++;
                } else {
                    moves->targets[moves->begins[one + 1]++] = node->next;
                }
            }
        }
        for (uint32_t one = 2; pass == 0 && one < 258; one++) {
            moves->begins[one] += moves->begins[one - 1];
        }
        if (pass == 0 && total > moves->target_capacity) {
            moves->target_capacity = 2 * total;
            moves->targets =
                grammar_build_alloc(construction->build, moves->target_capacity, sizeof(uint32_t));
            if (moves->targets == NULL) {
                return ERROR_INVALID_ARGUMENT;
            }
        }
    }
    return grammar_build_spend(construction->build, total + 4);
}

static bool moves_alike(const struct moves *moves, uint32_t left, uint32_t right)
{
    const uint32_t left_count = moves->begins[left + 1] - moves->begins[left];
    const uint32_t right_count = moves->begins[right + 1] - moves->begins[right];
    return left_count == right_count &&
           memcmp(moves->targets + moves->begins[left], moves->targets + moves->begins[right],
                  left_count * sizeof(uint32_t)) == 0;
}

static enum error_code expand(struct construction *construction, uint32_t state,
                              struct moves *moves)
{
    enum error_code code = collect_moves(construction, state, moves);
    struct automaton_edge edge = {0};
    uint32_t last = GRAMMAR_NONE; /* The class that edge was made for. */
    for (uint32_t one = 0; code == ERROR_NONE && one < construction->class_count; one++) {
        const uint32_t begin = moves->begins[one];
        const uint32_t count = moves->begins[one + 1] - begin;
        if (count == 0) {
            continue;
        }
        if (last == GRAMMAR_NONE || !moves_alike(moves, last, one)) {
            code = find_state(construction, moves->targets + begin, count, 0, &edge.target);
        }
        last = one;
        edge.low = construction->class_low[one];
        edge.high = construction->class_high[one];
        if (code == ERROR_NONE) {
            code = automaton_draft_edge(construction->build, construction->draft, state, edge);
        }
    }
    return code;
}

enum error_code regex_compile(struct grammar_build *build, struct text pattern,
                              enum regex_match match, struct automaton_draft *draft_out)
{
    *draft_out = (struct automaton_draft){0};
    struct regex_tree tree;
    struct regex_nfa nfa;
    enum error_code code = regex_tree_parse(build, pattern, &tree);
    if (code == ERROR_NONE) {
        code = regex_nfa_build(build, &tree, match, &nfa);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    struct construction construction = {.build = build, .nfa = &nfa, .draft = draft_out};
    construction.stamps = grammar_build_alloc(build, nfa.node_count, sizeof(uint32_t));
    construction.stack = grammar_build_alloc(build, 2 * nfa.node_count + 2, sizeof(uint32_t));
    construction.found = grammar_build_alloc(build, nfa.node_count, sizeof(uint32_t));
    if (construction.stamps == NULL || construction.stack == NULL || construction.found == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    find_classes(&construction);
    struct moves moves = {.targets = NULL};
    uint32_t start;
    code = find_state(&construction, &nfa.start, 1, AT_BEGIN, &start);
    for (uint32_t state = 0; code == ERROR_NONE && state < draft_out->automaton.state_count;
         state++) {
        code = expand(&construction, state, &moves);
    }
    return code;
}
