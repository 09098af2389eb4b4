/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/token_trie.h - all token texts as one tree of bytes, for longest-match search.
 *
 * A double array (Aoe, An efficient digital search algorithm by using a double-array structure,
 * IEEE Transactions on Software Engineering 15(9), 1989): the child of a cell by byte b is the cell
 * at base XOR b, if that cell names it as its parent. XOR keeps all children within one page of 256
 * cells, so a step needs no bounds check. Thread: immutable once built; any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "engine/vocabulary_file.h"

struct token_trie_cell {
    uint32_t base;   /* 0: no children (page 0 has none but the root). */
    uint32_t parent; /* Index of the parent cell; TOKEN_TRIE_FREE for a cell not in use. */
    int32_t token;   /* Id whose text ends here; 0: none. */
};

#define TOKEN_TRIE_FREE UINT32_MAX

struct token_trie {
    struct token_trie_cell *cells; /* [cell_count], owned; cells[0] is the root. */
    size_t cell_count;             /* A multiple of 256. */
};

/* Builds the trie of a vocabulary. CORRUPT: two ids have the same text; the message, which starts
 * with `name`, gives both lines. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code token_trie_build(const struct vocabulary_file *file, const char *name,
                                             struct token_trie *trie_out, struct error *error);
void token_trie_deinit(struct token_trie *trie);

/* Finds the longest token that text starts with; returns its length, 0 when there is none. */
static inline size_t token_trie_longest(const struct token_trie *trie, struct text text,
                                        int32_t *token_out)
{
    const struct token_trie_cell *cells = trie->cells;
    uint32_t cell = 0;
    size_t longest = 0;
    for (size_t index = 0; index < text.len; index++) {
        const uint32_t child = cells[cell].base ^ (unsigned char)text.bytes[index];
        if (cells[child].parent != cell) {
            break;
        }
        cell = child;
        if (cells[cell].token != 0) {
            *token_out = cells[cell].token;
            longest = index + 1;
        }
    }
    return longest;
}
