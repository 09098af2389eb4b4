/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_copy.cuh - copies from device to shared memory that a thread does not wait for.
 *
 * Before sm_80 they are ordinary loads and stores, done at once. Thread: device. */
#pragma once

#include "cuda/cuda_device.cuh"

/* Starts the copy of 16 bytes, zeros unless `valid`; before sm_80 it is done at once. */
static __device__ __forceinline__ void cuda_copy_16(void *shared, const void *global, bool valid)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
                 "r"(bytes)
                 : "memory");
#else
    *(uint4 *)shared = valid ? *(const uint4 *)global : make_uint4(0, 0, 0, 0);
#endif
}

static __device__ __forceinline__ void cuda_copy_commit(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until at most PENDING of this thread's groups are on their way. */
template <int PENDING> static __device__ __forceinline__ void cuda_copy_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}
