/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/automaton.c - building, combining and trimming of automata.
 *
 * Products are explored from the start state, so that only pairs that occur exist.
 * Thread: any. */
#include "grammar/automaton.h"

#include <string.h>

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

static enum error_code add_state(struct grammar_build *build, struct automaton *automaton,
                                 struct automaton_state state, uint32_t *state_out)
{
    automaton->states =
        grammar_build_grow(build, automaton->states, automaton->state_count,
                           &automaton->state_capacity, sizeof(automaton->states[0]));
    if (automaton->states == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    *state_out = automaton->state_count++;
    automaton->states[*state_out] = state;
    return ERROR_NONE;
}

static enum error_code add_edge(struct grammar_build *build, struct automaton *automaton,
                                struct automaton_edge edge)
{
    automaton->edges = grammar_build_grow(build, automaton->edges, automaton->edge_count,
                                          &automaton->edge_capacity, sizeof(automaton->edges[0]));
    if (automaton->edges == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    automaton->edges[automaton->edge_count++] = edge;
    return ERROR_NONE;
}

enum error_code automaton_init_pool(struct grammar_build *build, struct automaton *pool)
{
    /* Unicode 3.9, table 3-7: {state, low, high, target}. */
    static const uint8_t rows[][4] = {
        {0, 0x00, 0x7f, 0}, {0, 0xc2, 0xdf, 1}, {0, 0xe0, 0xe0, 4}, {0, 0xe1, 0xec, 2},
        {0, 0xed, 0xed, 5}, {0, 0xee, 0xef, 2}, {0, 0xf0, 0xf0, 6}, {0, 0xf1, 0xf3, 3},
        {0, 0xf4, 0xf4, 7}, {1, 0x80, 0xbf, 0}, {2, 0x80, 0xbf, 1}, {3, 0x80, 0xbf, 2},
        {4, 0xa0, 0xbf, 1}, {5, 0x80, 0x9f, 1}, {6, 0x90, 0xbf, 2}, {7, 0x80, 0x8f, 2},
    };
    enum error_code code = ERROR_NONE;
    for (uint8_t number = 0; code == ERROR_NONE && number < AUTOMATON_UTF8_STATES; number++) {
        uint32_t state;
        code = add_state(build, pool,
                         (struct automaton_state){.label = GRAMMAR_NONE,
                                                  .utf8 = number,
                                                  .accepting = number == AUTOMATON_UTF8_START},
                         &state);
    }
    for (size_t row = 0; code == ERROR_NONE && row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct automaton_state *state = &pool->states[rows[row][0]];
        if (state->edge_count++ == 0) {
            state->edge_begin = pool->edge_count;
        }
        code = add_edge(build, pool,
                        (struct automaton_edge){
                            .low = rows[row][1], .high = rows[row][2], .target = rows[row][3]});
    }
    return code;
}

/* ---- Drafts ---- */

enum error_code automaton_draft_add(struct grammar_build *build, struct automaton_draft *draft,
                                    uint32_t *state_out)
{
    if (draft->automaton.state_count >= GRAMMAR_DRAFT_STATES_MAX) {
        return grammar_build_fail(build, ERROR_INVALID_ARGUMENT,
                                  "too complex: an automaton of more than %d states",
                                  GRAMMAR_DRAFT_STATES_MAX);
    }
    const enum error_code code = grammar_build_spend(build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    return add_state(build, &draft->automaton, (struct automaton_state){.label = GRAMMAR_NONE},
                     state_out);
}

static uint32_t slot_of(const struct automaton_draft *draft, uint64_t key)
{
    const uint64_t mixed = (key ^ key >> 29) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t slot = (uint32_t)(mixed >> 40) & (draft->slot_count - 1);
    while (draft->slots[slot] != 0 && draft->keys[draft->slots[slot] - 1] != key) {
        slot = (slot + 1) & (draft->slot_count - 1);
    }
    return slot;
}

/* Keeps the table at most half full. */
static enum error_code grow_slots(struct grammar_build *build, struct automaton_draft *draft)
{
    const uint32_t state_count = draft->automaton.state_count;
    if (2 * (state_count + 1) <= draft->slot_count) {
        return ERROR_NONE;
    }
    draft->slot_count = draft->slot_count == 0 ? 64 : 4 * draft->slot_count;
    draft->slots = grammar_build_alloc(build, draft->slot_count, sizeof(draft->slots[0]));
    if (draft->slots == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t state = 0; state < state_count; state++) {
        draft->slots[slot_of(draft, draft->keys[state])] = state + 1;
    }
    return ERROR_NONE;
}

enum error_code automaton_draft_state(struct grammar_build *build, struct automaton_draft *draft,
                                      uint64_t key, uint32_t *state_out)
{
    enum error_code code = grow_slots(build, draft);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t slot = slot_of(draft, key);
    if (draft->slots[slot] != 0) {
        *state_out = draft->slots[slot] - 1;
        return ERROR_NONE;
    }
    code = automaton_draft_add(build, draft, state_out);
    if (code != ERROR_NONE) {
        return code;
    }
    draft->keys = grammar_build_grow(build, draft->keys, *state_out, &draft->key_capacity,
                                     sizeof(draft->keys[0]));
    if (draft->keys == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    draft->keys[*state_out] = key;
    draft->slots[slot] = *state_out + 1;
    return ERROR_NONE;
}

enum error_code automaton_draft_edge(struct grammar_build *build, struct automaton_draft *draft,
                                     uint32_t state, struct automaton_edge edge)
{
    struct automaton *automaton = &draft->automaton;
    struct automaton_state *from = &automaton->states[state];
    if (from->edge_count == 0) {
        from->edge_begin = automaton->edge_count;
    } else {
        struct automaton_edge *last = &automaton->edges[automaton->edge_count - 1];
        if (last->target == edge.target && last->high + 1 == edge.low) {
            last->high = edge.high;
            return ERROR_NONE;
        }
    }
    from->edge_count++;
    const enum error_code code = grammar_build_spend(build, 1);
    return code != ERROR_NONE ? code : add_edge(build, automaton, edge);
}

/* ---- Tries ---- */

int automaton_compare_texts(const void *left_pointer, const void *right_pointer)
{
    const struct automaton_text *left = left_pointer;
    const struct automaton_text *right = right_pointer;
    const size_t left_len = left->text.len;
    const size_t right_len = right->text.len;
    const size_t shorter = left_len < right_len ? left_len : right_len;
    const int order = shorter == 0 ? 0 : memcmp(left->text.bytes, right->text.bytes, shorter);
    return order != 0 ? order : (left_len > right_len) - (left_len < right_len);
}

/* A trie is not bounded by GRAMMAR_DRAFT_STATES_MAX: it has at most one state for a byte of input.
 */
struct trie_builder {
    struct grammar_build *build;
    const struct automaton *pool;
    const struct automaton_text *texts;
    struct automaton *trie;
    uint32_t *depths; /* [depth_capacity] Of each state. */
    uint32_t depth_capacity;
};

static enum error_code add_trie_state(struct trie_builder *builder, struct automaton_state state,
                                      uint32_t depth, uint32_t *state_out)
{
    const enum error_code code = grammar_build_spend(builder->build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    builder->depths =
        grammar_build_grow(builder->build, builder->depths, builder->trie->state_count,
                           &builder->depth_capacity, sizeof(builder->depths[0]));
    if (builder->depths == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    builder->depths[builder->trie->state_count] = depth;
    return add_state(builder->build, builder->trie, state, state_out);
}

/* Adds the children of a state: its texts, split by their next byte. */
static enum error_code expand_trie(struct trie_builder *builder, uint32_t number)
{
    struct automaton_state state = builder->trie->states[number];
    const uint32_t depth = builder->depths[number];
    uint32_t at = state.text_begin;
    if (at < state.text_end && builder->texts[at].text.len == depth) {
        state.accepting = true; /* Sorts first. */
        state.label = builder->texts[at].label;
        at++;
    }
    state.edge_begin = builder->trie->edge_count;
    while (at < state.text_end) {
        const uint8_t byte = (uint8_t)builder->texts[at].text.bytes[depth];
        struct automaton_state child = {.label = GRAMMAR_NONE, .text_begin = at};
        while (at < state.text_end && (uint8_t)builder->texts[at].text.bytes[depth] == byte) {
            at++;
        }
        child.text_end = at;
        child.utf8 = (uint8_t)automaton_next(builder->pool, state.utf8, byte);
        uint32_t target;
        enum error_code code = add_trie_state(builder, child, depth + 1, &target);
        if (code == ERROR_NONE) {
            code = add_edge(builder->build, builder->trie,
                            (struct automaton_edge){.low = byte, .high = byte, .target = target});
        }
        if (code != ERROR_NONE) {
            return code;
        }
        state.edge_count++;
    }
    builder->trie->states[number] = state;
    return ERROR_NONE;
}

enum error_code automaton_draft_trie(struct grammar_build *build, const struct automaton *pool,
                                     const struct automaton_text *texts, uint32_t text_count,
                                     struct automaton_draft *draft_out)
{
    *draft_out = (struct automaton_draft){0};
    struct trie_builder builder = {
        .build = build, .pool = pool, .texts = texts, .trie = &draft_out->automaton};
    uint32_t root;
    enum error_code code = add_trie_state(
        &builder, (struct automaton_state){.label = GRAMMAR_NONE, .text_end = text_count}, 0,
        &root);
    for (uint32_t state = 0; code == ERROR_NONE && state < builder.trie->state_count; state++) {
        code = expand_trie(&builder, state);
    }
    return code;
}

/* ---- Products ---- */

enum error_code automaton_lengthen(struct grammar_build *build, const struct automaton *from,
                                   uint32_t length_min, struct automaton_draft *draft_out)
{
    *draft_out = (struct automaton_draft){0};
    uint32_t start;
    enum error_code code = automaton_draft_state(build, draft_out, 0, &start);
    for (uint32_t state = 0; code == ERROR_NONE && state < draft_out->automaton.state_count;
         state++) {
        const uint64_t key = draft_out->keys[state]; /* Code points so far above the state. */
        const struct automaton_state *at = &from->states[(uint32_t)key];
        const uint64_t count = key >> 32;
        draft_out->automaton.states[state].accepting = at->accepting && count >= length_min;
        for (uint32_t index = 0; code == ERROR_NONE && index < at->edge_count; index++) {
            struct automaton_edge edge = from->edges[at->edge_begin + index];
            const bool counts = !is_continuation(edge.low) && count < length_min;
            const uint64_t next = (count + (counts ? 1 : 0)) << 32 | edge.target;
            code = automaton_draft_state(build, draft_out, next, &edge.target);
            if (code == ERROR_NONE) {
                code = automaton_draft_edge(build, draft_out, state, edge);
            }
        }
    }
    return code;
}

/* Adds to a state of the product the edges that two edges share. */
static enum error_code add_common_edge(struct grammar_build *build, struct automaton_draft *draft,
                                       uint32_t state, struct automaton_edge left,
                                       struct automaton_edge right)
{
    struct automaton_edge edge = {.low = left.low > right.low ? left.low : right.low,
                                  .high = left.high < right.high ? left.high : right.high};
    if (edge.low > edge.high) {
        return grammar_build_spend(build, 1);
    }
    const uint64_t key = (uint64_t)left.target << 32 | right.target;
    const enum error_code code = automaton_draft_state(build, draft, key, &edge.target);
    return code != ERROR_NONE ? code : automaton_draft_edge(build, draft, state, edge);
}

enum error_code automaton_intersect(struct grammar_build *build, const struct automaton *left,
                                    const struct automaton *right,
                                    struct automaton_draft *draft_out)
{
    *draft_out = (struct automaton_draft){0};
    uint32_t start;
    enum error_code code = automaton_draft_state(build, draft_out, 0, &start);
    for (uint32_t state = 0; code == ERROR_NONE && state < draft_out->automaton.state_count;
         state++) {
        const uint64_t key = draft_out->keys[state];
        const struct automaton_state *left_at = &left->states[key >> 32];
        const struct automaton_state *right_at = &right->states[(uint32_t)key];
        draft_out->automaton.states[state].accepting = left_at->accepting && right_at->accepting;
        for (uint32_t one = 0; code == ERROR_NONE && one < left_at->edge_count; one++) {
            for (uint32_t two = 0; code == ERROR_NONE && two < right_at->edge_count; two++) {
                code =
                    add_common_edge(build, draft_out, state, left->edges[left_at->edge_begin + one],
                                    right->edges[right_at->edge_begin + two]);
            }
        }
    }
    return code;
}

/* ---- Trimming ---- */

/* Edges by target instead of by source. */
struct reverse_edges {
    uint32_t *begins;  /* [state_count + 1] */
    uint32_t *sources; /* [edge_count] */
    bool *counts;      /* [edge_count] The edge begins a code point. */
};

static enum error_code reverse(struct grammar_build *build, const struct automaton *automaton,
                               struct reverse_edges *reverse_out)
{
    const uint32_t state_count = automaton->state_count;
    uint32_t *begins = grammar_build_alloc(build, (size_t)state_count + 2, sizeof(uint32_t));
    uint32_t *sources = grammar_build_alloc(build, automaton->edge_count, sizeof(uint32_t));
    bool *counts = grammar_build_alloc(build, automaton->edge_count, sizeof(bool));
    if (begins == NULL || sources == NULL || counts == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t edge = 0; edge < automaton->edge_count; edge++) {
        begins[automaton->edges[edge].target + 2]++;
    }
    for (uint32_t state = 2; state < state_count + 2; state++) {
        begins[state] += begins[state - 1];
    }
    for (uint32_t state = 0; state < state_count; state++) {
        const struct automaton_state *from = &automaton->states[state];
        for (uint32_t index = 0; index < from->edge_count; index++) {
            const struct automaton_edge *edge = &automaton->edges[from->edge_begin + index];
            const uint32_t place = begins[edge->target + 1]++;
            sources[place] = state;
            counts[place] = !is_continuation(edge->low);
        }
    }
    *reverse_out = (struct reverse_edges){.begins = begins, .sources = sources, .counts = counts};
    return ERROR_NONE;
}

/* Two stacks of states: those at the distance in work, and those one further. */
struct frontier {
    uint32_t *now; /* [edge_count + state_count] each. */
    uint32_t *later;
    uint32_t now_count;
    uint32_t later_count;
};

static void relax(const struct reverse_edges *edges, struct frontier *frontier, uint32_t *distances,
                  uint32_t state)
{
    for (uint32_t index = edges->begins[state]; index < edges->begins[state + 1]; index++) {
        const uint32_t source = edges->sources[index];
        const uint32_t distance = distances[state] + (edges->counts[index] ? 1 : 0);
        if (distance >= distances[source]) {
            continue;
        }
        distances[source] = distance;
        if (edges->counts[index]) {
            frontier->later[frontier->later_count++] = source;
        } else {
            frontier->now[frontier->now_count++] = source;
        }
    }
}

/* Code points from each state to acceptance; GRAMMAR_NONE: there is no way. */
static enum error_code measure(struct grammar_build *build, const struct automaton *automaton,
                               uint32_t **distances_out)
{
    const size_t room = (size_t)automaton->edge_count + automaton->state_count;
    struct frontier frontier = {.now = grammar_build_alloc(build, room, sizeof(uint32_t)),
                                .later = grammar_build_alloc(build, room, sizeof(uint32_t))};
    uint32_t *distances = grammar_build_alloc(build, automaton->state_count, sizeof(uint32_t));
    if (frontier.now == NULL || frontier.later == NULL || distances == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    struct reverse_edges edges;
    const enum error_code code = reverse(build, automaton, &edges);
    if (code != ERROR_NONE) {
        return code;
    }
    for (uint32_t state = 0; state < automaton->state_count; state++) {
        distances[state] = automaton->states[state].accepting ? 0 : GRAMMAR_NONE;
        if (automaton->states[state].accepting) {
            frontier.now[frontier.now_count++] = state;
        }
    }
    for (uint32_t distance = 0; frontier.now_count > 0; distance++) {
        while (frontier.now_count > 0) {
            const uint32_t state = frontier.now[--frontier.now_count];
            if (distances[state] == distance) {
                relax(&edges, &frontier, distances, state);
            }
        }
        uint32_t *const swapped = frontier.now;
        frontier.now = frontier.later;
        frontier.now_count = frontier.later_count;
        frontier.later = swapped;
        frontier.later_count = 0;
    }
    *distances_out = distances;
    return grammar_build_spend(build, automaton->state_count / 4);
}

/* Copies a state and those of its edges that lead on. */
static enum error_code append_state(struct grammar_build *build, struct automaton *pool,
                                    const struct automaton *draft, uint32_t number,
                                    const uint32_t *numbers)
{
    struct automaton_state *state = &pool->states[numbers[number]];
    const struct automaton_state *from = &draft->states[number];
    state->edge_begin = pool->edge_count;
    state->edge_count = 0;
    for (uint32_t index = 0; index < from->edge_count; index++) {
        struct automaton_edge edge = draft->edges[from->edge_begin + index];
        edge.target = numbers[edge.target];
        if (edge.target == GRAMMAR_NONE) {
            continue;
        }
        const enum error_code code = add_edge(build, pool, edge);
        if (code != ERROR_NONE) {
            return code;
        }
        state->edge_count++;
    }
    return ERROR_NONE;
}

enum error_code automaton_append(struct grammar_build *build, struct automaton *pool,
                                 const struct automaton *draft, uint32_t *start_out)
{
    uint32_t *distances;
    enum error_code code = measure(build, draft, &distances);
    if (code != ERROR_NONE) {
        return code;
    }
    uint32_t *numbers = grammar_build_alloc(build, draft->state_count, sizeof(uint32_t));
    if (numbers == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t state = 0; code == ERROR_NONE && state < draft->state_count; state++) {
        numbers[state] = GRAMMAR_NONE;
        if (distances[state] == GRAMMAR_NONE) {
            continue;
        }
        if (pool->state_count >= GRAMMAR_STATES_MAX) {
            return grammar_build_fail(build, ERROR_INVALID_ARGUMENT,
                                      "too complex: more than %d states", GRAMMAR_STATES_MAX);
        }
        code = add_state(build, pool, draft->states[state], &numbers[state]);
        if (code == ERROR_NONE) {
            pool->states[numbers[state]].distance = distances[state];
        }
    }
    for (uint32_t state = 0; code == ERROR_NONE && state < draft->state_count; state++) {
        if (numbers[state] != GRAMMAR_NONE) {
            code = append_state(build, pool, draft, state, numbers);
        }
    }
    *start_out = numbers[0];
    return code;
}
