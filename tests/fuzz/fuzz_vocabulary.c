/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_vocabulary.c - libFuzzer target: any bytes as lines behind a valid vocabulary.
 *
 * The 256 single bytes come first, or nothing would ever be accepted; the input adds its lines.
 * What is accepted must encode any text and decode to the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"
#include "engine/vocabulary_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BASE_BYTES_MAX = 8192, TEXT_BYTES_MAX = 256 };

static size_t write_base(char *base)
{
    size_t len = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        len += (size_t)snprintf(base + len, BASE_BYTES_MAX - len, "%u b'\\x%02x' 1\n", byte + 1,
                                byte);
    }
    return len;
}

static void round_trip(const struct tokenizer *tokenizer, struct text text)
{
    int32_t tokens[TEXT_BYTES_MAX];
    char decoded[TEXT_BYTES_MAX];
    size_t len = 0;
    text.len = text.len < TEXT_BYTES_MAX ? text.len : TEXT_BYTES_MAX;
    const size_t count = tokenizer_encode(tokenizer, text, tokens, TEXT_BYTES_MAX);
    ASSERT_COMPARE(count, <=, text.len);
    for (size_t index = 0; index < count; index++) {
        const struct text piece = tokenizer_decode(tokenizer, tokens[index]);
        ASSERT_COMPARE(len + piece.len, <=, text.len);
        memcpy(decoded + len, piece.bytes, piece.len);
        len += piece.len;
    }
    ASSERT_COMPARE(len, ==, text.len);
    ASSERT(len == 0 || memcmp(decoded, text.bytes, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *tokenizer = NULL;
    struct vocabulary_file file;
    struct error error;
    const struct text given = {.bytes = (const char *)data, .len = size};
    if (vocabulary_file_parse(given, "fuzz", &file, &error) == ERROR_NONE) {
        vocabulary_file_deinit(&file);
    }
    char *whole = malloc(BASE_BYTES_MAX + size);
    ASSERT(whole != NULL);
    const size_t base_len = write_base(whole);
    if (size > 0) {
        memcpy(whole + base_len, data, size);
    }
    const struct text text = {.bytes = whole, .len = base_len + size};
    if (tokenizer_open_memory(text, "fuzz", &tokenizer, &error) == ERROR_NONE) {
        round_trip(tokenizer, given);
        tokenizer_close(tokenizer);
    }
    free(whole);
    return 0;
}
