/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/vocabulary_file.h - a vocabulary as the table id -> bytes, read from its text form.
 *
 * Line: `<id> <literal> <byte length>`; the literal is a Python one: 'text', "text" or b'bytes',
 * with the escapes \\ \' \" \n \t \r \xHH \uHHHH. Matching of text lives in token_trie.h.
 * Thread: immutable once read; any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct vocabulary_entry {
    uint32_t offset; /* Into vocabulary_file.bytes. */
    uint32_t len;    /* 0: this id has no text. */
    uint32_t line;   /* Where it stands in the file, from 1. */
};

/* Zeroed is a valid empty table. Id 0 never has a text; texts are distinct only after the trie was
 * built (it finds duplicates). */
struct vocabulary_file {
    struct vocabulary_entry *entries; /* [token_count], owned. */
    uint32_t token_count;             /* Highest id + 1, at most LIMIT_VOCABULARY. */
    char *bytes;                      /* All texts one after another, owned. */
};

/* Reads a file, or the same text in memory; `name` stands for the path in messages. NOT_FOUND. IO.
 * CORRUPT: the message names the line; also when one of the 256 single bytes is missing.
 * OUT_OF_MEMORY. */
WARN_UNUSED enum error_code vocabulary_file_read(const char *path, struct vocabulary_file *file_out,
                                                 struct error *error);
WARN_UNUSED enum error_code vocabulary_file_parse(struct text content, const char *name,
                                                  struct vocabulary_file *file_out,
                                                  struct error *error);
void vocabulary_file_deinit(struct vocabulary_file *file);

/* The text of an id below token_count; empty when it has none. Borrowed. */
static inline struct text vocabulary_file_text(const struct vocabulary_file *file, uint32_t id)
{
    const struct vocabulary_entry *entry = &file->entries[id];
    return (struct text){.bytes = file->bytes + entry->offset, .len = entry->len};
}
