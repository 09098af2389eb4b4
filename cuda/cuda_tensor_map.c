/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_tensor_map.c - tensor maps, made by the driver.
 *
 * The driver is asked for its function by name, so that the program starts without one. */
#include "cuda/cuda_tensor_map.h"

#ifdef SKEIN_CUDA_EMULATOR

/* As cuda_warpgroup.cuh reads it. */
cudaError_t cuda_tensor_map_make(struct cuda_tensor_map *map_out, const cuda_half *matrix,
                                 uint64_t rows, uint64_t columns, uint32_t box_rows)
{
    if ((uintptr_t)matrix % 16 != 0 || columns % 8 != 0 || box_rows == 0 || box_rows > 256) {
        return cudaErrorInvalidValue;
    }
    *map_out = (struct cuda_tensor_map){{(uintptr_t)matrix, rows, columns, box_rows}};
    return cudaSuccess;
}

#else

#include <cudaTypedefs.h>

_Static_assert(sizeof(struct cuda_tensor_map) == sizeof(CUtensorMap), "layout of a tensor map");

cudaError_t cuda_tensor_map_make(struct cuda_tensor_map *map_out, const cuda_half *matrix,
                                 uint64_t rows, uint64_t columns, uint32_t box_rows)
{
    enum { DRIVER_VERSION = 12000 }; /* The first that has tensor maps. */
    PFN_cuTensorMapEncodeTiled_v12000 encode = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t status = cudaGetDriverEntryPointByVersion(
        "cuTensorMapEncodeTiled", (void **)&encode, DRIVER_VERSION, cudaEnableDefault, &found);
    if (status != cudaSuccess) {
        return status;
    }
    if (found != cudaDriverEntryPointSuccess) {
        return cudaErrorNotSupported;
    }
    const cuuint64_t sizes[2] = {columns, rows};
    const cuuint64_t row_bytes[1] = {columns * sizeof(cuda_half)};
    const cuuint32_t box[2] = {CUDA_BOX_COLUMNS, box_rows};
    const cuuint32_t every[2] = {1, 1};
    const CUresult result = encode(
        (CUtensorMap *)(void *)map_out, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2,
        (void *)(uintptr_t)matrix, sizes, row_bytes, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

#endif
