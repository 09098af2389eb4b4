/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/library_types.h - the element types that libraries name.
 *
 * Thread: any. */
#pragma once

typedef enum cudaDataType_t {
    CUDA_R_32F = 0,
    CUDA_R_64F = 1,
    CUDA_R_16F = 2,
    CUDA_R_16BF = 14,
} cudaDataType_t;
typedef cudaDataType_t cudaDataType;
