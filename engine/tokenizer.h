/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/tokenizer.h - the RWKV World tokenizer: greedy longest match over a trie of bytes.
 *
 * The vocabulary is data: a file of lines `<id> <literal> <byte length>`. Id 0 is the end of text,
 * is in no file and stands for no bytes. Thread: immutable after open; any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

enum { TOKEN_END_OF_TEXT = 0 };

struct tokenizer;

/* Reads a vocabulary file, or the same text in memory (`name` stands for the path in messages).
 * NOT_FOUND. IO. CORRUPT: message names the line and what is wrong with it. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code tokenizer_open(const char *path, struct tokenizer **tokenizer_out,
                                           struct error *error);
WARN_UNUSED enum error_code tokenizer_open_memory(struct text vocabulary, const char *name,
                                                  struct tokenizer **tokenizer_out,
                                                  struct error *error);
void tokenizer_close(struct tokenizer *tokenizer);

/* Highest id + 1: ids at and above have no text. A model must have at least that many rows. */
uint32_t tokenizer_token_count(const struct tokenizer *tokenizer);

/* True for id 0 and for ids that have a text. */
bool tokenizer_has(const struct tokenizer *tokenizer, int64_t token);

/* Encodes text; writes at most capacity ids and returns how many the text needs, at most text.len.
 * A text never yields id 0. Never fails: all 256 bytes are tokens. */
size_t tokenizer_encode(const struct tokenizer *tokenizer, struct text text, int32_t *tokens_out,
                        size_t capacity);

/* The bytes of one token, borrowed; empty for id 0 and ids without text. */
struct text tokenizer_decode(const struct tokenizer *tokenizer, int32_t token);

/* Bit set [(token_count+31)/32] of the tokens that RWKV-order penalties do not count: those whose
 * text is a substring of " \t0123456789", as in the reference sampler of RWKV. Borrowed. */
const uint32_t *tokenizer_penalty_free(const struct tokenizer *tokenizer);
