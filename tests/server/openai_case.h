/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/openai_case.h - the server around a request under test: options, model, vocabulary.
 *
 * Thread: main. */
#pragma once

#include "base/arena.h"
#include "server/server.h"

/* The vocabulary: the 256 bytes as ids 1..256, and these. 259 is missing. */
enum {
    TOKEN_SPACE_PARIS = 257, /* " Paris" */
    TOKEN_EURO_HALF = 258,   /* E2 82, the beginning of a euro sign. */
    TOKEN_USER = 260,        /* "\n\nUser:" */
    CASE_TOKEN_COUNT = 261,
};

struct openai_case {
    struct config config;
    struct server_model model;
    struct server_options options;
    struct tokenizer *tokenizer;
    struct arena arena;
};

/* Model "gosling", 4 slots, template world, temperature 0.7, top_p 0.5, max_tokens 100 and 1000. */
void openai_case_open(struct openai_case *openai_case);
void openai_case_close(struct openai_case *openai_case);

/* Copies a literal into the arena with a NUL behind it, as bodies have. */
struct text openai_case_body(struct openai_case *openai_case, struct text json);
