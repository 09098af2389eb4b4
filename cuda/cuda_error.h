/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_error.h - a failed CUDA call as an error of ours, with the call's text and place.
 *
 * Thread: any. */
#pragma once

#include <cuda_runtime_api.h>

#include "base/error.h"

/* The value of a call that returns cudaError_t, as an error_code: NONE, OUT_OF_MEMORY or DEVICE. */
#define CUDA_TRY(call, error) cuda_error_from((call), #call, __FILE__, __LINE__, (error))

enum error_code cuda_error_from(cudaError_t status, const char *call, const char *file, int line,
                                struct error *error);
