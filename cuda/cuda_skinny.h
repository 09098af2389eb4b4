/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_skinny.h - the products of a layer for 5 to CUDA_SKINNY_ROWS_MAX rows, with what
 * follows each of them, on GPUs of compute capability 9.0.
 *
 * Weights and inputs are read through tensor maps, which the host makes once. Scratch serves all
 * launches of a stream, zeros before its first use. Thread: the engine's. */
#pragma once

#include "cuda/cuda_tensor_map.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CUDA_SKINNY_ROWS_MAX = 128,
    CUDA_SKINNY_WIDTHS = 5, /* 8, 16, 32, 64 and 128 rows. */
    CUDA_SKINNY_TILE = 128, /* Outputs of a block at a time. */
};

/* The width of a launch: the smallest that is enough. */
uint32_t cuda_skinny_rows(uint32_t rows);

/* The inputs, for one of these widths. */
struct cuda_skinny_maps {
    struct cuda_tensor_map planes, y_gated, ffn_in, ffn_hidden;
};

/* The weights of a layer. */
struct cuda_skinny_layer {
    struct cuda_tensor_map rkv, down[CUDA_LOW_RANKS], output, ffn_key, ffn_value;
    bool has_down[CUDA_LOW_RANKS];
};

/* `rows` is a width. */
cudaError_t cuda_skinny_maps_make(struct cuda_skinny_maps *maps_out, const struct cuda_shape *shape,
                                  const struct cuda_activations *act, uint32_t rows);
cudaError_t cuda_skinny_layer_make(struct cuda_skinny_layer *layer_out,
                                   const struct cuda_shape *shape, const struct cuda_layer *layer);

size_t cuda_skinny_scratch_bytes(const struct cuda_shape *shape, uint32_t multiprocessors);

/* planes -> rkv and hidden, as cuda_low_rank_down leaves it. */
cudaError_t cuda_skinny_att_in(const struct cuda_launch *launch, struct cuda_step step,
                               const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                               const struct cuda_skinny_layer *layer,
                               const struct cuda_activations *act, void *scratch);

/* x += y_gated output^T */
cudaError_t cuda_skinny_att_out(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                                const struct cuda_skinny_layer *layer,
                                const struct cuda_activations *act, void *scratch);

/* ffn_hidden = min(relu(ffn_in ffn_key^T)^2, 65504) */
cudaError_t cuda_skinny_ffn_key(const struct cuda_launch *launch, struct cuda_step step,
                                const struct cuda_shape *shape, const struct cuda_skinny_maps *maps,
                                const struct cuda_skinny_layer *layer,
                                const struct cuda_activations *act, void *scratch);

/* x += ffn_hidden ffn_value */
cudaError_t cuda_skinny_ffn_value(const struct cuda_launch *launch, struct cuda_step step,
                                  const struct cuda_shape *shape,
                                  const struct cuda_skinny_maps *maps,
                                  const struct cuda_skinny_layer *layer,
                                  const struct cuda_activations *act, void *scratch);

#ifdef __cplusplus
}
#endif
