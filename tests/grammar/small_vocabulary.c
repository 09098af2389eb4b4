/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/grammar/small_vocabulary.c - the table.
 *
 * Thread: any. */
#include "small_vocabulary.h"

#include <stddef.h>

static const char *const pieces[] = {
    "\":",
    "\": ",
    "\":\"",
    "\": \"",
    "\",",
    "\", \"",
    "\",\"",
    "\"}",
    "\"]",
    "{\"",
    "[\"",
    "{}",
    "[]",
    "}}",
    "]}",
    "},",
    "],",
    "\n  ",
    "  ",
    "\\n",
    "\\u00",
    "\\ud83d",
    "\\ud83d\\ude00",
    "\\\"",
    "\\\\",
    "true",
    "false",
    "null",
    "12",
    "0.",
    "-1",
    "e+",
    "the",
    " name",
    "name",
    "na",
    "\xc3\xa9",
    "\xf0\x9f",
    "\x98\x80",
    "\xe2\x82\xac\"",
    "a\"b",
    "2024-",
    "T12:",
    ".com",
    "[[",
    "]]",
    "1,",
    "1}",
    "\"\"",
};

static char bytes[256];

uint32_t small_vocabulary_count(void)
{
    return 1 + 256 + sizeof(pieces) / sizeof(pieces[0]);
}

struct text small_vocabulary_text(const void *context, int32_t token)
{
    (void)context;
    if (token <= 0) {
        return (struct text){0};
    }
    if (token <= 256) {
        bytes[token - 1] = (char)(token - 1);
        return (struct text){.bytes = &bytes[token - 1], .len = 1};
    }
    return text_from(pieces[token - 257]);
}
