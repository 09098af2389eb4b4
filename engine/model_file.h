/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file.h - weights on disk, mapped read-only: names, types, shapes, bytes.
 *
 * Reads .safetensors, PyTorch's .pth (zip) and Hugging Face directories. Whatever a file calls its
 * tensors, here they have the official RWKV-7 names and orientation; what a model must hold is said
 * by engine/model_spec.h. Nothing in a file is trusted: every offset is checked before it is used,
 * and memory taken stays below the file's size and 16 MiB.
 * Thread: open and close on one thread, reads from any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"

enum tensor_type { TENSOR_BF16, TENSOR_F16, TENSOR_F32 };

/* One named array. Borrowed from the file: valid until model_file_close. */
struct tensor {
    struct text name; /* NUL-terminated. */
    enum tensor_type type;
    uint32_t dimension_count;
    uint64_t shape[LIMIT_TENSOR_DIMENSIONS]; /* Slowest first, last contiguous (PyTorch's order). */
    const void *data;                        /* Little-endian; may be unaligned: read by memcpy. */
    size_t bytes;                            /* Product of shape times the type's bytes. */
};

enum model_file_format { MODEL_FILE_SAFETENSORS, MODEL_FILE_PTH, MODEL_FILE_DIRECTORY };

struct model_file;

/* Maps a file or directory, recognised by content. NOT_FOUND: no such path. IO. CORRUPT: not a
 * weight file, or one that lies; the message names the file, the tensor, what was expected and
 * found, or what the file is instead. TOO_LARGE: it asks for more memory than its size allows. */
WARN_UNUSED enum error_code model_file_open(const char *path, struct model_file **file_out,
                                            struct error *error);

/* As model_file_open for bytes in memory (the embedded model), which must outlive the file.
 * `name` stands in for the path in messages. */
WARN_UNUSED enum error_code model_file_open_memory(const void *bytes, size_t byte_count,
                                                   const char *name, struct model_file **file_out,
                                                   struct error *error);
void model_file_close(struct model_file *file);

const char *model_file_name(const struct model_file *file);
enum model_file_format model_file_format(const struct model_file *file);
const char *model_file_format_text(const struct model_file *file); /* For people. */
size_t model_file_bytes(const struct model_file *file);            /* Of all its parts. */
size_t model_file_copied_bytes(const struct model_file *file);     /* Tensors not used in place. */

/* Whether the low-rank matrices were stored [out][in], as web-rwkv and fla do. */
bool model_file_has_transposed_low_rank(const struct model_file *file);

/* Tensors in the order of the file. */
uint32_t model_file_tensor_count(const struct model_file *file);
const struct tensor *model_file_tensor_at(const struct model_file *file, uint32_t index);

/* NULL when there is none of that name. Logarithmic. */
const struct tensor *model_file_find(const struct model_file *file, const char *name);

/* Called now and then while a file is read through. */
typedef void model_file_progress(void *context, size_t done_bytes, size_t total_bytes);

/* Compares the checksums that came with the weights (.pth has them, .safetensors has none) with
 * their bytes, which reads all of them. Each difference is logged as a warning and counted; it does
 * not fail, since a writer may leave checksums out. *checked_bytes_out: what had a checksum. */
uint32_t model_file_verify(const struct model_file *file, model_file_progress *progress,
                           void *context, size_t *checked_bytes_out);

/* Brings all pages of a mapped file into memory, so that the first step need not wait for the
 * disk. Best effort. */
void model_file_populate(const struct model_file *file, model_file_progress *progress,
                         void *context);

/* Reads element `index` (row-major) as f32, whatever the type. */
float tensor_element(const struct tensor *tensor, size_t index);
size_t tensor_element_count(const struct tensor *tensor);

/* Copies a matrix [rows][columns] as [columns][to_stride], to_stride >= rows elements of the
 * tensor's type; surplus elements are left as they are. `to` does not overlap the tensor. */
void tensor_transpose(const struct tensor *tensor, size_t to_stride, void *to);

/* "BF16", "F16", "F32". */
const char *tensor_type_name(enum tensor_type type);
