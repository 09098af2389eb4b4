/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_model.h - a model's weights in device memory: f16 matrices, f32 vectors.
 *
 * Uploaded through pinned staging while the file is read; converted and transposed on the device.
 * Thread: the engine's; immutable after cuda_model_open. */
#pragma once

#include "base/error.h"
#include "cuda/cuda_kernels.h"
#include "engine/model_spec.h"

struct cuda_model {
    struct cuda_shape shape;
    struct cuda_layer *layers; /* [L] */
    const cuda_half *emb;      /* [V][C] */
    const cuda_half *head;     /* [V][C] */
    const float *ln0_weight, *ln0_bias, *ln_out_weight, *ln_out_bias;
    size_t bytes;              /* Of device memory. */
    void *memory;
};

/* The model's numbers, with its low ranks padded. */
struct cuda_shape cuda_model_shape(const struct model_spec *spec);

/* Device memory that the weights of this model take. */
size_t cuda_model_bytes(const struct model_spec *spec);

/* Device memory that opening takes for a while on top: the largest tensor as it is stored. */
size_t cuda_model_opening_bytes(const struct model_spec *spec);

/* The spec and its file are not needed afterwards. CORRUPT: a weight is too large for f16.
 * OUT_OF_MEMORY. DEVICE. */
WARN_UNUSED enum error_code cuda_model_open(const struct model_spec *spec, cudaStream_t stream,
                                            struct cuda_model *model_out, struct error *error);
void cuda_model_close(struct cuda_model *model);
