/* SPDX-License-Identifier: Apache-2.0
 *
 * models/gosling/gosling.c - names for the bytes that gosling_embed.S includes. */
#include "models/gosling/gosling.h"

extern const char gosling_weights_begin[], gosling_weights_end[];
extern const char gosling_vocabulary_begin[], gosling_vocabulary_end[];

static struct text between(const char *begin, const char *end)
{
    return (struct text){.bytes = begin, .len = (size_t)(end - begin)};
}

struct text gosling_weights(void)
{
    return between(gosling_weights_begin, gosling_weights_end);
}

struct text gosling_vocabulary(void)
{
    return between(gosling_vocabulary_begin, gosling_vocabulary_end);
}
