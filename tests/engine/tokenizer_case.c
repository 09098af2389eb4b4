/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/tokenizer_case.c - what the tokenizer's tests share.
 *
 * Thread: main. */
#include "tokenizer_case.h"

#include <check.h>
#include <string.h>

#include "base/limits.h"

enum { TEXT_MAX = 4096 };

static int32_t first_id[256]; /* By first byte: the head of a chain of ids; 0 ends it. */
static int32_t next_id[LIMIT_VOCABULARY];

void tokenizer_case_prepare(const struct tokenizer *tokenizer)
{
    memset(first_id, 0, sizeof(first_id));
    for (uint32_t id = 1; id < tokenizer_token_count(tokenizer); id++) {
        const struct text token = tokenizer_decode(tokenizer, (int32_t)id);
        if (token.len > 0) {
            int32_t *first = &first_id[(unsigned char)token.bytes[0]];
            next_id[id] = *first;
            *first = (int32_t)id;
        }
    }
}

/* The longest token that text starts with, by trying all that share its first byte. */
static int32_t slow_longest(const struct tokenizer *tokenizer, struct text text)
{
    int32_t longest = 0;
    size_t longest_len = 0;
    for (int32_t id = first_id[(unsigned char)text.bytes[0]]; id != 0; id = next_id[id]) {
        const struct text token = tokenizer_decode(tokenizer, id);
        if (token.len > longest_len && text_starts_with(text, token)) {
            longest_len = token.len;
            longest = id;
        }
    }
    return longest;
}

void tokenizer_case_check(const struct tokenizer *tokenizer, struct text text)
{
    int32_t tokens[TEXT_MAX];
    ck_assert_uint_le(text.len, TEXT_MAX);
    const size_t count = tokenizer_encode(tokenizer, text, tokens, TEXT_MAX);
    struct text rest = text;
    for (size_t index = 0; index < count && rest.len > 0; index++) {
        const struct text token = tokenizer_decode(tokenizer, tokens[index]);
        if (tokens[index] != slow_longest(tokenizer, rest) || token.len > rest.len) {
            ck_abort_msg("token %zu of a text of %zu bytes is %d", index, text.len, tokens[index]);
        }
        rest.bytes += token.len;
        rest.len -= token.len;
    }
    ck_assert_uint_eq(rest.len, 0);
}

uint64_t tokenizer_case_random(void)
{
    static uint64_t state;
    uint64_t word = state += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
    return word ^ word >> 31;
}

struct text tokenizer_case_random_text(const struct tokenizer *tokenizer, char *buffer,
                                       size_t len_max)
{
    const size_t len = tokenizer_case_random() % (len_max + 1);
    const bool only_bytes = tokenizer_case_random() % 2 == 0;
    size_t filled = 0;
    while (filled < len) {
        const uint64_t word = tokenizer_case_random();
        if (only_bytes || word % 4 == 0) {
            buffer[filled++] = (char)(unsigned char)(word >> 8);
            continue;
        }
        const int32_t id = (int32_t)(word >> 8) & INT32_MAX;
        const uint32_t token_count = tokenizer_token_count(tokenizer);
        const struct text token =
            tokenizer_decode(tokenizer, (int32_t)((uint32_t)id % token_count));
        size_t part = word % 8 == 1 ? token.len / 2 : token.len; /* A beginning without its end. */
        part = part < len - filled ? part : len - filled;
        if (part > 0) {
            memcpy(buffer + filled, token.bytes, part);
        }
        filled += part;
    }
    return (struct text){.bytes = buffer, .len = len};
}
