/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_launch.h - what cuda_sampler.c asks of cuda_sampler_history.cu.
 *
 * Not for other files. Thread: the engine's. */
#pragma once

#include "cuda/cuda_sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Forgets the slot's history, mask and prompt; notes which tokens its new parameters name. */
cudaError_t cuda_sampler_forget(const struct cuda_sampler *sampler, cudaStream_t stream,
                                uint32_t slot);

#ifdef __cplusplus
}
#endif
