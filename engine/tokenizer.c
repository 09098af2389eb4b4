/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/tokenizer.c - encode and decode over a vocabulary and its trie.
 *
 * Greedy and without normalisation, pre-splitting or special strings: text from a client can never
 * become id 0 or anything but its own bytes. Thread: immutable after open; any. */
#include "engine/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/token_trie.h"
#include "engine/vocabulary_file.h"

struct tokenizer {
    struct vocabulary_file file;
    struct token_trie trie;
    uint32_t *penalty_free; /* [(token_count+31)/32] */
};

/* The reference sampler of RWKV does not count tokens of white space and digits, so that tables and
 * numbers survive a frequency penalty; it tests for a substring of this constant. */
static bool is_penalty_free(struct text token)
{
    static const char uncounted[] = " \t0123456789";
    return token.len > 0 &&
           memmem(uncounted, sizeof(uncounted) - 1, token.bytes, token.len) != NULL;
}

static enum error_code mark_penalty_free(struct tokenizer *tokenizer, const char *name,
                                         struct error *error)
{
    const uint32_t token_count = tokenizer->file.token_count;
    tokenizer->penalty_free = calloc((token_count + 31) / 32, sizeof(uint32_t));
    if (tokenizer->penalty_free == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the vocabulary", name);
    }
    for (uint32_t id = 0; id < token_count; id++) {
        if (is_penalty_free(vocabulary_file_text(&tokenizer->file, id))) {
            tokenizer->penalty_free[id / 32] |= UINT32_C(1) << (id % 32);
        }
    }
    return ERROR_NONE;
}

/* Takes over the parsed file, also when it fails. */
static enum error_code open_parsed(struct vocabulary_file *file, const char *name,
                                   struct tokenizer **tokenizer_out, struct error *error)
{
    struct tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (tokenizer == NULL) {
        vocabulary_file_deinit(file);
        return error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the vocabulary", name);
    }
    tokenizer->file = *file;
    *file = (struct vocabulary_file){0};
    enum error_code code = token_trie_build(&tokenizer->file, name, &tokenizer->trie, error);
    if (code == ERROR_NONE) {
        code = mark_penalty_free(tokenizer, name, error);
    }
    if (code != ERROR_NONE) {
        tokenizer_close(tokenizer);
        return code;
    }
    *tokenizer_out = tokenizer;
    return ERROR_NONE;
}

enum error_code tokenizer_open(const char *path, struct tokenizer **tokenizer_out,
                               struct error *error)
{
    *tokenizer_out = NULL;
    struct vocabulary_file file;
    const enum error_code code = vocabulary_file_read(path, &file, error);
    return code != ERROR_NONE ? code : open_parsed(&file, path, tokenizer_out, error);
}

enum error_code tokenizer_open_memory(struct text vocabulary, const char *name,
                                      struct tokenizer **tokenizer_out, struct error *error)
{
    *tokenizer_out = NULL;
    struct vocabulary_file file;
    const enum error_code code = vocabulary_file_parse(vocabulary, name, &file, error);
    return code != ERROR_NONE ? code : open_parsed(&file, name, tokenizer_out, error);
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL) {
        return;
    }
    free(tokenizer->penalty_free);
    token_trie_deinit(&tokenizer->trie);
    vocabulary_file_deinit(&tokenizer->file);
    free(tokenizer);
}

uint32_t tokenizer_token_count(const struct tokenizer *tokenizer)
{
    return tokenizer->file.token_count;
}

bool tokenizer_has(const struct tokenizer *tokenizer, int64_t token)
{
    return token == TOKEN_END_OF_TEXT || (token > 0 && token < tokenizer->file.token_count &&
                                          tokenizer->file.entries[token].len > 0);
}

size_t tokenizer_encode(const struct tokenizer *tokenizer, struct text text, int32_t *tokens_out,
                        size_t capacity)
{
    size_t count = 0;
    while (text.len > 0) {
        int32_t token = 0;
        const size_t len = token_trie_longest(&tokenizer->trie, text, &token);
        ASSERT_COMPARE(len, >=, 1); /* Every single byte is a token. */
        if (count < capacity) {
            tokens_out[count] = token;
        }
        count++;
        text.bytes += len;
        text.len -= len;
    }
    return count;
}

struct text tokenizer_decode(const struct tokenizer *tokenizer, int32_t token)
{
    if (token <= 0 || (uint32_t)token >= tokenizer->file.token_count) {
        return (struct text){0};
    }
    return vocabulary_file_text(&tokenizer->file, (uint32_t)token);
}

const uint32_t *tokenizer_penalty_free(const struct tokenizer *tokenizer)
{
    return tokenizer->penalty_free;
}
