/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_error.c - names a failed CUDA call. Thread: any. */
#include "cuda/cuda_error.h"

enum error_code cuda_error_from(cudaError_t status, const char *call, const char *file, int line,
                                struct error *error)
{
    if (status == cudaSuccess) {
        return ERROR_NONE;
    }
    const enum error_code code =
        status == cudaErrorMemoryAllocation ? ERROR_OUT_OF_MEMORY : ERROR_DEVICE;
    return error_set(error, code, "cuda: %s (%s) in %.120s at %s:%d", cudaGetErrorString(status),
                     cudaGetErrorName(status), call, file, line);
}
