/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fuzz/fuzz_request.c - libFuzzer target: any bytes as the body of a request, with its forms
 * and tools.
 *
 * The first byte chooses the endpoint and the chat template. A refusal names itself; what is
 * accepted and must have a form is compiled, as prompt_job.c does. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/openai_grammar.h"
#include "server/openai_params.h"
#include "server/sse_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- Who answers is not linked: a reader of requests sends nothing ---- */

void http_exchange_add_header(struct http_exchange *exchange, const char *name, const char *value)
{
    (void)exchange, (void)name, (void)value;
    abort();
}

void http_exchange_reply(struct http_exchange *exchange, unsigned status, const char *content_type,
                         struct text body)
{
    (void)exchange, (void)status, (void)content_type, (void)body;
    abort();
}

bool sse_stream_has_begun(const struct http_exchange *exchange)
{
    (void)exchange;
    abort();
}

bool sse_stream_write(struct http_exchange *exchange, struct text json)
{
    (void)exchange, (void)json;
    abort();
}

bool sse_stream_write_named(struct http_exchange *exchange, struct text name, struct text json)
{
    (void)exchange, (void)name, (void)json;
    abort();
}

void sse_stream_end(struct http_exchange *exchange)
{
    (void)exchange;
    abort();
}

void sse_stream_end_unmarked(struct http_exchange *exchange)
{
    (void)exchange;
    abort();
}

/* ---- The target ---- */

static const struct config config = {
    .max_n = 128, .max_tokens_default = 100, .max_tokens_limit = 1000};

static struct tokenizer *open_vocabulary(void)
{
    static char vocabulary[256 * 16];
    size_t len = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        len += (size_t)snprintf(vocabulary + len, sizeof(vocabulary) - len, "%u b'\\x%02x' 1\n",
                                byte + 1, byte);
    }
    struct tokenizer *tokenizer = NULL;
    struct error error = {0};
    const enum error_code code = tokenizer_open_memory(
        (struct text){.bytes = vocabulary, .len = len}, "bytes", &tokenizer, &error);
    ASSERT(code == ERROR_NONE);
    return tokenizer;
}

static void compile(const struct openai_params *params, enum chat_template served)
{
    struct grammar_cache *cache = grammar_cache_create(1 << 20);
    ASSERT(cache != NULL);
    const struct openai_grammar_options options = {
        .cache = cache, .start = openai_params_answer_start(params, served)};
    struct grammar *grammar = NULL;
    struct error error = {0};
    const enum error_code code =
        openai_grammar_compile(&params->grammar, &options, &grammar, &error);
    ASSERT(code == ERROR_NONE || (code == ERROR_INVALID_ARGUMENT && error.message[0] != '\0'));
    ASSERT((code == ERROR_NONE) == (grammar != NULL));
    grammar_release(grammar);
    grammar_cache_destroy(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum openai_endpoint endpoints[] = {OPENAI_CHAT, OPENAI_COMPLETIONS,
                                                     OPENAI_RESPONSES, OPENAI_MESSAGES};
    static const enum chat_template templates[] = {CHAT_TEMPLATE_WORLD, CHAT_TEMPLATE_G1,
                                                   CHAT_TEMPLATE_G1_THINK, CHAT_TEMPLATE_NONE};
    static struct tokenizer *tokenizer;
    if (size == 0) {
        return 0;
    }
    tokenizer = tokenizer != NULL ? tokenizer : open_vocabulary();
    const struct server_model model = {.id = "gosling",
                                       .device = "cpu",
                                       .token_count = 257,
                                       .slot_count = 4,
                                       .chat_template = templates[data[0] / 4 % 4],
                                       .temperature_default = 1,
                                       .top_p_default = 1};
    const struct server_options options = {
        .config = &config, .model = &model, .tokenizer = tokenizer};
    struct arena arena = {.bytes_max = 16 << 20};
    char *body = malloc(size); /* With the NUL that bodies end with. */
    ASSERT(body != NULL);
    memcpy(body, data + 1, size - 1);
    body[size - 1] = '\0';
    struct openai_params params;
    struct openai_error error = {0};
    if (!openai_params_read(endpoints[data[0] % 4], (struct text){.bytes = body, .len = size - 1},
                            &options, &arena, &params, &error)) {
        ASSERT(error.status >= 400 && error.message[0] != '\0');
    } else if (params.grammar.root != NULL) {
        compile(&params, model.chat_template);
    }
    free(body);
    arena_reset(&arena);
    return 0;
}
