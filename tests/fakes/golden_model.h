/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/golden_model.h - a miniature RWKV-7 model made from a formula, as safetensors bytes.
 *
 * V 16, L 2, C 128, H 2, F 256, ranks w 8, a 8, v 8, g 16. Each tensor depends on its name alone,
 * and every value is exact in bf16, f16 and f32. What it must answer: tests/data/golden_expected.h.
 * Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model_file.h"
#include "engine/model_spec.h"

enum {
    GOLDEN_V = 16,
    GOLDEN_L = 2,
    GOLDEN_C = 128,
    GOLDEN_H = 2,
    GOLDEN_N = 64,
    GOLDEN_F = 256,
    GOLDEN_RANK_G = 16,
    GOLDEN_RANK = 8, /* w, a, v */
};

struct golden_options {
    enum tensor_type type;       /* BF16 when zeroed. */
    bool has_time_state;         /* Adds a tuned initial state to both layers. */
    bool has_block_0_value;      /* Adds the unused v0, v1, v2 of block 0, as some files have. */
    uint32_t misalignment_bytes; /* Spaces added to the header: shifts the data. */
};

/* Fills values_out[count] by the formula of the tensor of that official name; returns its element
 * count, 0 for a name that is not in the model. values_out NULL: only counts. */
size_t golden_tensor(const char *name, double *values_out);

/* One tensor as it goes into a file. */
struct golden_tensor {
    char name[64];
    enum tensor_type type;
    uint32_t dimension_count;
    uint64_t shape[3];
    unsigned char *data; /* [bytes], owned. */
    size_t bytes;
};

enum { GOLDEN_TENSORS_MAX = 128 };

/* Fills tensors_out[GOLDEN_TENSORS_MAX] in the order of a file; returns how many.
 * golden_tensors_free when done. Aborts when out of memory. */
size_t golden_tensors(const struct golden_options *options, struct golden_tensor *tensors_out);
void golden_tensors_free(struct golden_tensor *tensors, size_t count);

/* Tensors as a safetensors file, with so many spaces behind the header; free() it. */
void *golden_safetensors_bytes(const struct golden_tensor *tensors, size_t count,
                               uint32_t misalignment_bytes, size_t *byte_count_out);

/* The model as a safetensors file; free() it. Aborts when out of memory. */
void *golden_model_bytes(const struct golden_options *options, size_t *byte_count_out);

/* The bytes, opened and checked; aborts on failure. */
struct golden_model {
    void *bytes;
    size_t byte_count;
    struct model_file *file;
    struct model_spec spec;
};
void golden_model_open(struct golden_model *model, const struct golden_options *options);
void golden_model_close(struct golden_model *model);
