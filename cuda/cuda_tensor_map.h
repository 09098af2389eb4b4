/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_tensor_map.h - matrices of f16 as the copy engine of a multiprocessor sees them.
 *
 * Compute capability 9.0. Thread: any. */
#pragma once

#include <stdint.h>

#include "cuda/cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CUDA_BOX_COLUMNS = 64 }; /* Of a box: 128 bytes, the span of the swizzle. */

/* Layout of the driver's CUtensorMap. Passed to kernels by value. */
struct cuda_tensor_map {
#ifdef __cplusplus
    alignas(64)
#else
    _Alignas(64)
#endif
        uint64_t words[16];
};

/* A box is CUDA_BOX_COLUMNS columns x box_rows rows (at most 256) of a matrix [rows][columns] of
 * consecutive rows; what is outside of the matrix is read as zero. The address and the bytes of a
 * row are multiples of 16. In shared memory a row of the box has 128 bytes, and its 16-byte words
 * change places: word i of row r stands at i ^ (r % 8). */
cudaError_t cuda_tensor_map_make(struct cuda_tensor_map *map_out, const cuda_half *matrix,
                                 uint64_t rows, uint64_t columns, uint32_t box_rows);

#ifdef __cplusplus
}
#endif
