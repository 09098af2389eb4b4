/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/fake_backend.h - a backend whose answers are known: it echoes the prompt.
 *
 * The state of a slot is the list of tokens it consumed. After a prompt "abc>" (ids of bytes, the
 * mark is '>') the most likely next tokens are a, b, c and then token 0: a function of the state
 * alone, so a state that leaks, is cut or is not reset shows in the text. Other logits are the
 * test's own, as long as they are a function of the tokens consumed. Thread: one. */
#pragma once

#include "engine/backend.h"

/* Writes the logits after these tokens; all of them are 0 before. */
typedef void fake_logits(const void *context, const int32_t *tokens, uint32_t token_count,
                         float *logits_out);

struct fake_backend_options {
    uint32_t slot_count;
    uint32_t row_count_max;
    uint32_t steps_in_flight_max; /* 1 or 2. */
    uint32_t fail_at_step;        /* ERROR_DEVICE at the collect of this step (from 1); 0: never. */
    uint32_t row_vocabulary;      /* V; 0: FAKE_VOCABULARY. */
    fake_logits *logits;          /* NULL: the echo. */
    const void *logits_context;
};

/* The vocabulary of the fake: ids 1..256 are the bytes. */
enum { FAKE_VOCABULARY = 257, FAKE_TOKENS_MAX = 4096 };

struct backend *fake_backend_open(const struct fake_backend_options *options);

/* Everything the engine asked for, one line a step: "P(0,3) D(1) F(2<0)\n". Borrowed. */
const char *fake_backend_journal(const struct backend *backend);

/* The vocabulary file of those ids, for tokenizer_open_memory. */
struct text fake_vocabulary(void);
