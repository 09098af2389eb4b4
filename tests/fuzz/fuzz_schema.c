/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_schema.c - libFuzzer target: any bytes as a JSON schema, and texts that follow
 * it.
 *
 * The first byte chooses options. What compiles is followed along bytes taken from the input where
 * they fit; the state must stay within its promises: an end is found, and with it the text is
 * accepted. */
#include <stddef.h>
#include <stdint.h>

#include "grammar/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 64, END_BYTES_MAX = 256 };

static void follow(struct grammar *grammar, const uint8_t *data, size_t size)
{
    struct grammar_state *state = grammar_state_create(grammar);
    char end[END_BYTES_MAX];
    ASSERT(state != NULL);
    size_t taken = 0;
    for (size_t at = 0; at < size && taken < STEPS_MAX; at++) {
        const char byte = (char)data[at];
        taken += grammar_advance(state, (struct text){.bytes = &byte, .len = 1}) ? 1 : 0;
    }
    const bool complete = grammar_is_complete(state);
    const size_t len = grammar_find_end(state, end, sizeof(end));
    ASSERT(complete == (len == 0));
    if (len != SIZE_MAX) {
        ASSERT(grammar_advance(state, (struct text){.bytes = end, .len = len}));
        ASSERT(grammar_is_complete(state));
    }
    grammar_state_destroy(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct grammar_options options = {
        .objects = (data[0] & 1) != 0 ? GRAMMAR_OBJECTS_CLOSED : GRAMMAR_OBJECTS_EXPLICIT,
        .order = (data[0] & 2) != 0 ? GRAMMAR_ORDER_SCHEMA : GRAMMAR_ORDER_ANY,
        .white_space_max = (data[0] & 4) != 0 ? GRAMMAR_WHITE_SPACE_MAX : 0};
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = {.bytes = (const char *)data + 1, .len = size - 1}};
    struct grammar *grammar;
    struct error error = {0};
    const enum error_code code = grammar_compile(&part, &options, &grammar, &error);
    ASSERT(code == ERROR_NONE || (code == ERROR_INVALID_ARGUMENT && error.message[0] != '\0'));
    if (code == ERROR_NONE) {
        follow(grammar, data, size);
        grammar_release(grammar);
    }
    return 0;
}
