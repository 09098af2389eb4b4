/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file.h - a weight file, mapped read-only: names, types, shapes, bytes.
 *
 * Knows file formats (this version: safetensors), not models: engine/model_spec.h says what an
 * RWKV-7 file must hold. Every offset is checked before it is used; nothing in the file is
 * trusted. Thread: open and close on one thread, reads from any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"

enum tensor_type { TENSOR_BF16, TENSOR_F16, TENSOR_F32 };

/* One named array. Borrowed from the file: valid until model_file_close. */
struct tensor {
    struct text name;
    enum tensor_type type;
    uint32_t dimension_count;
    uint64_t shape[LIMIT_TENSOR_DIMENSIONS]; /* Slowest first, last contiguous (PyTorch's order). */
    const void *data;                        /* Little-endian; may be unaligned: read by memcpy. */
    size_t bytes;                            /* Product of shape times the type's bytes. */
};

struct model_file;

/* Maps the file. NOT_FOUND: no such path. IO. CORRUPT: not a safetensors file, or one whose header
 * lies; the message names the file, the tensor, what was expected and found. */
WARN_UNUSED enum error_code model_file_open(const char *path, struct model_file **file_out,
                                            struct error *error);

/* As model_file_open for bytes in memory (the embedded model), which must outlive the file.
 * `name` stands in for the path in messages. */
WARN_UNUSED enum error_code model_file_open_memory(const void *bytes, size_t byte_count,
                                                   const char *name, struct model_file **file_out,
                                                   struct error *error);
void model_file_close(struct model_file *file);

const char *model_file_name(const struct model_file *file);
size_t model_file_bytes(const struct model_file *file);

/* Tensors in the order of the header. */
uint32_t model_file_tensor_count(const struct model_file *file);
const struct tensor *model_file_tensor_at(const struct model_file *file, uint32_t index);

/* NULL when there is none of that name. Logarithmic. */
const struct tensor *model_file_find(const struct model_file *file, const char *name);

/* Reads element `index` (row-major) as f32, whatever the type. */
float tensor_element(const struct tensor *tensor, size_t index);
size_t tensor_element_count(const struct tensor *tensor);
