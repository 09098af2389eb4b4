/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/golden_files.h - the golden model in every kind of file that Skein reads.
 *
 * Written here byte by byte, from the formats' descriptions, by nothing that reads them.
 * Thread: any. */
#pragma once

#include "tests/fakes/golden_model.h"

/* How a .pth is written. Zeroed: as torch.save does it. */
struct golden_pth_options {
    struct golden_options model;
    bool is_zip64;              /* Sizes and offsets only in the zip64 extra fields. */
    bool is_plain_zip;          /* No descriptors, no zip64 records: as other zip programs. */
    uint32_t alignment;         /* Data begins at multiples of it; 0: wherever. */
    bool shares_storage;        /* All tensors are views of one storage. */
    bool has_transposed_matrix; /* One matrix is stored by columns. */
    bool has_parameters;        /* Tensors are wrapped in _rebuild_parameter. */
    const char *wrapper;        /* The dictionary is the value of this key of another. */
    const char *prefix;         /* Before every name. */
    const char *function;       /* "module\nname" in place of _rebuild_tensor_v2's. */
    const char *storage_class;  /* In place of the class of the model's type. */
    const char *byte_order;     /* In place of "little". */
};

/* Each returns a whole file; free() it. Aborts when out of memory. */
void *golden_pth_bytes(const struct golden_pth_options *options, size_t *byte_count_out);

/* Official names, F16, vectors [C], low-rank matrices and time_state transposed. */
void *golden_web_rwkv_bytes(bool has_time_state, size_t *byte_count_out);

/* The time_states alone, as a .pth, or transposed as a .safetensors file. */
void *golden_state_pth_bytes(size_t *byte_count_out);
void *golden_state_safetensors_bytes(size_t *byte_count_out);

/* How a Hugging Face directory is written. Zeroed: fla's names, one file. */
struct golden_directory_options {
    const char *config;       /* In place of the whole config.json. */
    const char *config_extra; /* More members for it, ending in a comma. */
    uint32_t shard_count;     /* 0: one file without an index. */
    bool has_joint_mix;       /* x_x [6,C] instead of six vectors. */
    bool is_tied;             /* No lm_head. */
    const char *shard_name;   /* The index names this file for the first tensor. */
};

/* Writes the directory's files into an existing folder; aborts when it cannot. */
void golden_directory_write(const char *path, const struct golden_directory_options *options);

/* Removes them and the folder. */
void golden_directory_remove(const char *path);

/* Turns the matrices of a tensor over: the last two dimensions change places. */
void golden_transpose(struct golden_tensor *tensor);
