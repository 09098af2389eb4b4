/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_mask.h - which tokens may come next: a bit set for the sampler.
 *
 * A vocabulary is prepared once; it is a trie of all tokens that a state is walked over. What a
 * thread of a state allows depends only on where it stands, so it is kept by that, in a cache of
 * fixed size. Thread: a vocabulary is immutable once created, any; a cache of masks belongs to one
 * thread, the engine's. */
#pragma once

#include "base/clock.h"
#include "grammar/grammar.h"

struct grammar_vocabulary_options {
    uint32_t row_count;   /* V, bits of a mask. */
    uint32_t token_count; /* Ids below have a text, or none; <= row_count. */
    /* The bytes of a token, borrowed; empty: it has none and is never allowed. */
    struct text (*token_text)(const void *context, int32_t token);
    const void *context;
};

struct grammar_vocabulary;

/* Every single byte should be a token, else a grammar may allow none. Token 0 is the end.
 * OUT_OF_MEMORY. */
WARN_UNUSED enum error_code
grammar_vocabulary_create(const struct grammar_vocabulary_options *options,
                          struct grammar_vocabulary **vocabulary_out, struct error *error);
void grammar_vocabulary_destroy(struct grammar_vocabulary *vocabulary);

struct grammar_masks;

struct grammar_masks_counters {
    uint64_t found; /* Threads whose mask grammar_masks_find had in the cache, */
    uint64_t built; /* and those it was worked out for. */
};

/* A cache of at most `bytes_max` (at least one mask), over a vocabulary that outlives it. NULL: out
 * of memory. Nothing below allocates. */
struct grammar_masks *grammar_masks_create(const struct grammar_vocabulary *vocabulary,
                                           size_t bytes_max);
void grammar_masks_destroy(struct grammar_masks *masks);

/* A mask has up to 128 parts, one for each reading of the text. Works out at least one that the
 * cache lacks, and more until that time; 0: none. False: some are still missing. */
bool grammar_masks_prepare(struct grammar_masks *masks, const struct grammar_state *state,
                           const struct clock *clock, uint64_t until_ns);

/* The tokens that may come next: bit set [(row_count+31)/32], borrowed until the next call. Bit 0,
 * the end, is set exactly when the text is complete. Never empty. Takes a few microseconds where
 * the cache has it, up to a few milliseconds for each part that it has not. */
const uint32_t *grammar_masks_find(struct grammar_masks *masks, const struct grammar_state *state);

struct grammar_masks_counters grammar_masks_count(const struct grammar_masks *masks);
