/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_grammar.h - from what an answer may be to a compiled grammar.
 *
 * Which fields ask for one is openai_structured.c's (and the tools'); what is compiled here also
 * lets the model write what its chat template expects before the answer: a space, the end of a
 * think tag, a whole thought. Thread: any. */
#pragma once

#include <stdbool.h>

#include "grammar/grammar_cache.h"
#include "server/openai_params.h"

struct openai_grammar_options {
    struct grammar_cache *cache;
    enum reasoning_start start;          /* Where the text of the answer begins. */
    bool (*is_cancelled)(void *context); /* As grammar.h. */
    void *context;
};

/* Compiles the grammar, whose root is not NULL; the caller releases it. INVALID_ARGUMENT: the
 * message begins with the place. CANCELLED. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code openai_grammar_compile(const struct openai_grammar *grammar,
                                                   const struct openai_grammar_options *options,
                                                   struct grammar **grammar_out,
                                                   struct error *error);
