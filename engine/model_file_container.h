/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_container.h - what the readers of weight formats share with model_file.c.
 *
 * Included by engine/model_file*.c only: everybody else sees struct tensor. A new format is one
 * reader and one row of the table in model_file.c. Thread: as engine/model_file.h. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "engine/model_file.h"

enum {
    MODEL_NAME_SHOWN_BYTES = 128, /* Of a tensor's name in a message. */
    MODEL_NAME_BYTES_MAX = 256,   /* Of a tensor's name; real ones have less than 60. */
};

/* Bytes of the outside that stay where they are. */
struct model_part {
    const char *name;           /* For messages; in the arena. */
    const unsigned char *bytes; /* [byte_count], mapped or borrowed. */
    size_t byte_count;
    bool is_mapped; /* Whether close must unmap. */
};

/* A checksum that came with the file and that nobody has compared yet. */
struct model_checksum {
    struct text name; /* Of the entry. */
    const unsigned char *bytes;
    size_t byte_count;
    uint32_t crc32;
};

/* What a config.json promises and the tensors must keep. Zero: it does not say. */
struct model_config {
    uint64_t hidden_size, layer_count, ffn_size;
    bool ties_embeddings; /* No head of its own. */
};

/* A file being opened. The reader of its format fills parts and tensors; model_file.c does the
 * rest. All memory is charged, so that no file costs more than its own size and 16 MiB. */
struct model_file {
    const char *name; /* For messages; in the arena. */
    enum model_file_format format;
    struct model_part *parts; /* [part_count], in the arena. */
    uint32_t part_count;
    size_t byte_count;          /* Of all parts. */
    struct arena arena;         /* Names, parts. */
    size_t charged_bytes;       /* Memory taken so far. */
    size_t copied_bytes;        /* Of it, tensors in another form than the file's. */
    struct model_block *blocks; /* Memory of those. */
    struct tensor *tensors;     /* [tensor_count], in the order of the file; by malloc. */
    uint32_t tensor_count;
    const struct tensor **sorted;     /* [tensor_count] by name, no two equal; by malloc. */
    struct model_checksum *checksums; /* [checksum_count], in the arena. */
    uint32_t checksum_count;
    struct model_config config;   /* Zeroed unless there was a config.json. */
    bool has_transposed_low_rank; /* Low-rank matrices were stored [out][in]. */
};

/* Appends the tensors of file->parts[part], trusting nothing. CORRUPT, TOO_LARGE, OUT_OF_MEMORY. */
typedef enum error_code model_file_reader(struct model_file *file, uint32_t part,
                                          struct error *error);

model_file_reader model_file_read_safetensors;
model_file_reader model_file_read_pth;

/* Opens a Hugging Face directory: config.json, one .safetensors file or the shards of an index. */
WARN_UNUSED enum error_code model_file_read_directory(struct model_file *file, const char *path,
                                                      struct error *error);

/* When config.json says that the head is the embedding: gives that a second name. */
WARN_UNUSED enum error_code model_file_tie_head(struct model_file *file, struct error *error);

/* Compares file->config with the tensors, which have official names and an index by now. */
WARN_UNUSED enum error_code model_file_check_config(const struct model_file *file,
                                                    struct error *error);

/* Gives every tensor that is known under another name its official name and orientation; leaves
 * the others alone (model_file_names.c). */
WARN_UNUSED enum error_code model_file_translate(struct model_file *file, struct error *error);

/* Maps a regular file as a further part. NOT_FOUND, IO, CORRUPT (not a regular file). */
WARN_UNUSED enum error_code model_file_map(struct model_file *file, const char *path,
                                           uint32_t *part_out, struct error *error);

/* Makes room for so many more tensors behind file->tensor_count; they are zeroed. */
WARN_UNUSED enum error_code model_file_grow(struct model_file *file, size_t count,
                                            struct error *error);

/* Accounts for memory. TOO_LARGE: the file asks for more than its size allows. */
WARN_UNUSED enum error_code model_file_charge(struct model_file *file, size_t bytes,
                                              struct error *error);

/* How much more may be charged. */
size_t model_file_chargeable(const struct model_file *file);

/* Memory, aligned to 64 and not zeroed, for a tensor in another form; freed by close. */
WARN_UNUSED enum error_code model_file_allocate(struct model_file *file, size_t bytes,
                                                void **memory_out, struct error *error);

/* Copies a tensor's name into the arena, with a NUL. TOO_LARGE, OUT_OF_MEMORY. */
WARN_UNUSED enum error_code model_file_copy_name(struct model_file *file, struct text name,
                                                 struct text *copy_out, struct error *error);

/* The tensor of that name among those read so far, before there is an index; NULL. */
struct tensor *model_file_scan(struct model_file *file, struct text name);

/* Bytes of one element. */
size_t tensor_type_bytes(enum tensor_type type);

/* Whether a name is 1 to 256 bytes of printing ASCII without a backslash, which JSON could mean in
 * another way: others do not go into messages and logs. */
bool model_name_is_plain(struct text name);

/* Copies a name for a message: what does not print in ASCII becomes '?', the rest is cut. */
struct model_name_shown {
    char text[MODEL_NAME_SHOWN_BYTES + 4];
};
struct model_name_shown model_name_show(struct text name);
