/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_skinny_maps.c - the tensor maps of weights and inputs. */
#include "cuda/cuda_skinny.h"

/* One map after another, until one fails. */
static void make(cudaError_t *status, struct cuda_tensor_map *map_out, const cuda_half *matrix,
                 uint64_t rows, uint64_t columns, uint32_t box_rows)
{
    if (*status == cudaSuccess) {
        *status = cuda_tensor_map_make(map_out, matrix, rows, columns, box_rows);
    }
}

cudaError_t cuda_skinny_maps_make(struct cuda_skinny_maps *maps_out, const struct cuda_shape *shape,
                                  const struct cuda_activations *act, uint32_t rows)
{
    cudaError_t status = cudaSuccess;
    const uint64_t N = act->N;
    make(&status, &maps_out->planes, act->planes, CUDA_MIXES * N, shape->C, rows);
    make(&status, &maps_out->y_gated, act->y_gated, N, shape->C, rows);
    make(&status, &maps_out->ffn_in, act->ffn_in, N, shape->C, rows);
    make(&status, &maps_out->ffn_hidden, act->ffn_hidden, N, shape->F, rows);
    return status;
}

cudaError_t cuda_skinny_layer_make(struct cuda_skinny_layer *layer_out,
                                   const struct cuda_shape *shape, const struct cuda_layer *layer)
{
    cudaError_t status = cudaSuccess;
    const uint64_t C = shape->C, F = shape->F;
    make(&status, &layer_out->rkv, layer->rkv, 3 * C, C, CUDA_SKINNY_TILE);
    for (uint32_t group = 0; group < CUDA_LOW_RANKS; group++) {
        layer_out->has_down[group] = layer->down[group] != NULL && shape->rank[group] != 0;
        if (layer_out->has_down[group]) {
            make(&status, &layer_out->down[group], layer->down[group], shape->rank[group], C,
                 CUDA_SKINNY_TILE);
        }
    }
    make(&status, &layer_out->output, layer->output, C, C, CUDA_SKINNY_TILE);
    make(&status, &layer_out->ffn_key, layer->ffn_key, F, C, CUDA_SKINNY_TILE);
    make(&status, &layer_out->ffn_value, layer->ffn_value, F, C, CUDA_BOX_COLUMNS);
    return status;
}
