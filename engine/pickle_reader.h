/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/pickle_reader.h - reads the table of tensors from a PyTorch pickle without running it.
 *
 * A pickle is a program for a stack machine that can call any Python function. This machine knows
 * the instructions that torch.save writes for a dictionary of tensors, and the four functions they
 * name; everything else is refused. It touches no weights: a tensor is a key, an offset and shapes.
 * Thread: any. */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "engine/model_file.h"

/* A view of a storage, as the pickle says and nobody has checked yet. */
struct pickle_tensor {
    struct text name;        /* Borrowed from the pickle. */
    struct text storage_key; /* Of the entry data/<key>. Borrowed. */
    enum tensor_type type;
    uint64_t storage_count; /* Elements of the storage. */
    uint64_t offset;        /* In elements. */
    uint32_t dimension_count;
    uint64_t shape[LIMIT_TENSOR_DIMENSIONS];
    uint64_t strides[LIMIT_TENSOR_DIMENSIONS]; /* In elements. */
};

struct pickle_table {
    struct pickle_tensor *tensors; /* [tensor_count], in the arena, in the dictionary's order. */
    uint32_t tensor_count;
};

/* Reads a dictionary of tensors, or one that is the only value "state_dict", "model" or "module" of
 * another. `name` stands for the file in messages; the pickle must outlive the table; a limit of
 * the arena bounds memory. CORRUPT: an instruction or function that is not allowed (the message
 * names it), or a program that makes no sense. TOO_LARGE: the arena's limit. */
WARN_UNUSED enum error_code pickle_read(struct text pickle, const char *name, struct arena *arena,
                                        struct pickle_table *table_out, struct error *error);
