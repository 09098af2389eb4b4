/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_regex.c - libFuzzer target: any bytes as a pattern, and texts that follow it.
 *
 * The pattern is compiled as a whole match and as a schema's search. What the whole match accepts,
 * the search must accept too. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "grammar/automaton.h"
#include "grammar/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_BYTES_MAX = 64 };

static bool compile(struct grammar_build *build, struct text pattern, enum regex_match match,
                    struct automaton *pool, uint32_t *start_out)
{
    struct automaton_draft draft;
    const enum error_code code = regex_compile(build, pattern, match, &draft);
    ASSERT(code == ERROR_NONE || code == ERROR_INVALID_ARGUMENT);
    return code == ERROR_NONE &&
           automaton_append(build, pool, &draft.automaton, start_out) == ERROR_NONE &&
           *start_out != GRAMMAR_NONE;
}

/* Walks the shortest way to acceptance, turned aside by the bytes of the pattern; returns the
 * length of the text. */
static size_t find_text(const struct automaton *pool, uint32_t state, struct text turns,
                        unsigned char *text)
{
    size_t len = 0;
    while (len < TEXT_BYTES_MAX) {
        const struct automaton_state *at = &pool->states[state];
        if (at->edge_count == 0 || (at->accepting && len >= turns.len % TEXT_BYTES_MAX)) {
            break;
        }
        uint32_t best =
            at->edge_begin + (uint32_t)(unsigned char)turns.bytes[len % turns.len] % at->edge_count;
        for (uint32_t edge = at->edge_begin; edge < at->edge_begin + at->edge_count; edge++) {
            const uint32_t distance = pool->states[pool->edges[edge].target].distance;
            if (len > 8 && distance < pool->states[pool->edges[best].target].distance) {
                best = edge;
            }
        }
        text[len++] = pool->edges[best].low;
        state = pool->edges[best].target;
    }
    return pool->states[state].accepting ? len : SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct text pattern = {.bytes = (const char *)data, .len = size};
    struct error error = {0};
    struct grammar_build build = {.arena = {.bytes_max = GRAMMAR_BUILD_BYTES_MAX},
                                  .work_left = GRAMMAR_WORK_MAX,
                                  .error = &error};
    struct automaton pool = {0};
    uint32_t whole;
    uint32_t search;
    unsigned char text[TEXT_BYTES_MAX];
    ASSERT(automaton_init_pool(&build, &pool) == ERROR_NONE);
    if (size > 0 && compile(&build, pattern, REGEX_MATCH_WHOLE, &pool, &whole) &&
        compile(&build, pattern, REGEX_MATCH_SEARCH, &pool, &search)) {
        const size_t len = find_text(&pool, whole, pattern, text);
        for (size_t at = 0; len != SIZE_MAX && at < len; at++) {
            search = automaton_next(&pool, search, text[at]);
            ASSERT(search != GRAMMAR_NONE);
        }
        ASSERT(len == SIZE_MAX || pool.states[search].accepting);
    }
    arena_reset(&build.arena);
    return 0;
}
