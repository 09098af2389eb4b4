/* SPDX-License-Identifier: Apache-2.0
 *
 * models/gosling/gosling.h - the built-in model, embedded in the binary. Thread: any. */
#pragma once

#include "base/text.h"

/* The bytes of gosling.safetensors, aligned to 64. */
struct text gosling_weights(void);

/* The text of gosling_vocab.txt. */
struct text gosling_vocabulary(void);
