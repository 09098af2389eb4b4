/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_cache.h - compiled grammars by their content, so that each is compiled once.
 *
 * Refusals are kept too: a schema that is too complex costs its budget only once. What is kept is
 * bounded in bytes; the grammar not asked for the longest goes first. Thread: any; one lock inside,
 * never held while compiling. */
#pragma once

#include "grammar/grammar.h"

struct grammar_cache;

struct grammar_cache_counters {
    uint64_t found;
    uint64_t compiled; /* Also those refused, not those cancelled. */
    uint64_t bytes;    /* Kept now. */
};

/* NULL: out of memory. */
struct grammar_cache *grammar_cache_create(size_t bytes_max);

/* Grammars handed out live on. Nobody may be in grammar_cache_find. */
void grammar_cache_destroy(struct grammar_cache *cache);

/* As grammar_compile, but looks first whether the same parts were compiled with the same options.
 * The caller releases the grammar. Two callers that miss at the same time both compile. */
WARN_UNUSED enum error_code grammar_cache_find(struct grammar_cache *cache,
                                               const struct grammar_part *root,
                                               const struct grammar_options *options,
                                               struct grammar **grammar_out, struct error *error);

struct grammar_cache_counters grammar_cache_count(struct grammar_cache *cache);
