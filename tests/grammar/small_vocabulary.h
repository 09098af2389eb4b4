/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/grammar/small_vocabulary.h - all 256 bytes, and pieces of JSON that cross its borders.
 *
 * Token id b + 1 is the byte b. Thread: any. */
#pragma once

#include <stdint.h>

#include "base/text.h"

/* Highest id + 1. */
uint32_t small_vocabulary_count(void);

/* For grammar_vocabulary_options; context is not used. */
struct text small_vocabulary_text(const void *context, int32_t token);
