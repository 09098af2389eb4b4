/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/openai_case.c - the server around a request under test.
 *
 * Thread: main. */
#include "openai_case.h"

#include <check.h>
#include <stdio.h>

static struct tokenizer *open_vocabulary(void)
{
    char vocabulary[8192];
    size_t len = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        len += (size_t)snprintf(vocabulary + len, sizeof(vocabulary) - len, "%u b'\\x%02x' 1\n",
                                byte + 1, byte);
    }
    len += (size_t)snprintf(vocabulary + len, sizeof(vocabulary) - len,
                            "257 ' Paris' 6\n258 b'\\xe2\\x82' 2\n260 '\\n\\nUser:' 7\n");
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    const struct text text = {.bytes = vocabulary, .len = len};
    ck_assert_msg(tokenizer_open_memory(text, "test", &tokenizer, &error) == ERROR_NONE, "%s",
                  error.message);
    ck_assert_uint_eq(tokenizer_token_count(tokenizer), CASE_TOKEN_COUNT);
    return tokenizer;
}

void openai_case_open(struct openai_case *openai_case)
{
    *openai_case = (struct openai_case){
        .config = {.max_n = 128,
                   .max_tokens_default = 100,
                   .max_tokens_limit = 1000,
                   .queue_timeout_ms = 60000,
                   .doc_start_token = CONFIG_UNSET},
        .model = {.id = "gosling",
                  .device = "cpu",
                  .created = 1795450000,
                  .token_count = CASE_TOKEN_COUNT,
                  .slot_count = 4,
                  .chat_template = CHAT_TEMPLATE_WORLD,
                  .temperature_default = 0.7,
                  .top_p_default = 0.5},
        .tokenizer = open_vocabulary(),
    };
    openai_case->options = (struct server_options){.config = &openai_case->config,
                                                   .model = &openai_case->model,
                                                   .tokenizer = openai_case->tokenizer};
}

void openai_case_close(struct openai_case *openai_case)
{
    arena_reset(&openai_case->arena);
    tokenizer_close(openai_case->tokenizer);
}

struct text openai_case_body(struct openai_case *openai_case, struct text json)
{
    const struct text body = arena_copy(&openai_case->arena, json);
    ck_assert_ptr_nonnull(body.bytes);
    return body;
}
