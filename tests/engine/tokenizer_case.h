/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/engine/tokenizer_case.h - what the tokenizer's tests share: a slow, obvious search.
 *
 * Thread: main. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "engine/tokenizer.h"

/* Sorts the tokenizer's ids by their first byte: call it before the checks of a tokenizer. */
void tokenizer_case_prepare(const struct tokenizer *tokenizer);

/* Fails the test unless each token of the encoded text is the longest that a search among all
 * tokens finds there, and together they are the text (at most 4096 bytes). */
void tokenizer_case_check(const struct tokenizer *tokenizer, struct text text);

/* Fills buffer with 0..len_max bytes: random ones, and random tokens and parts of them. */
struct text tokenizer_case_random_text(const struct tokenizer *tokenizer, char *buffer,
                                       size_t len_max);

/* A fixed sequence of numbers (splitmix64: Steele et al., OOPSLA 2014). */
uint64_t tokenizer_case_random(void);
