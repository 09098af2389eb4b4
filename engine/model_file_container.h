/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_container.h - what the readers of one container format share with model_file.c.
 *
 * Included by engine/model_file*.c only: everybody else sees struct tensor. A new format is one
 * reader and one row of the table in model_file.c. Thread: as engine/model_file.h. */
#pragma once

#include "base/arena.h"
#include "engine/model_file.h"

enum { MODEL_NAME_SHOWN_BYTES = 128 }; /* Of a tensor's name in a message. */

/* A file being opened. The reader of its format fills tensors; model_file.c does the rest. */
struct model_file {
    const char *name;             /* For messages; in the arena. */
    const unsigned char *bytes;   /* [byte_count], mapped or borrowed. */
    size_t byte_count;
    bool is_mapped;               /* Whether close must unmap. */
    struct arena arena;           /* Names, tensors, index. */
    struct tensor *tensors;       /* [tensor_count], in the order of the file. */
    uint32_t tensor_count;
    const struct tensor **sorted; /* [tensor_count] by name, no two equal. */
};

/* Fills file->tensors from file->bytes, trusting nothing. CORRUPT, TOO_LARGE, OUT_OF_MEMORY. */
typedef enum error_code model_file_reader(struct model_file *file, struct error *error);

model_file_reader model_file_read_safetensors;

/* Bytes of one element. */
size_t tensor_type_bytes(enum tensor_type type);

/* Copies a name for a message: what does not print in ASCII becomes '?', the rest is cut. */
struct model_name_shown {
    char text[MODEL_NAME_SHOWN_BYTES + 4];
};
struct model_name_shown model_name_show(struct text name);
