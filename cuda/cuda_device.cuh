/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_device.cuh - what the kernels share: launches, programmatic dependencies, warp sums.
 *
 * Nothing here computes anything of the model. Included by .cu files only. Thread: device. */
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "cuda/cuda_kernels.h"

#define CUDA_WARP_ALL 0xffffffffu

/* Dynamic shared memory of a block, 128-byte aligned. */
#ifndef CUDA_DYNAMIC_SHARED /* The emulator of the tests has its own. */
#define CUDA_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

/* Waits until every kernel this grid depends on has finished and its writes are visible. Every
 * kernel does so before it touches what a predecessor may write or read: completion is then
 * transitive, and the trigger below may be a kernel's first instruction. */
static __device__ __forceinline__ void cuda_dependency_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Lets the next kernel of the stream start its blocks; it still waits for our completion. */
static __device__ __forceinline__ void cuda_dependency_trigger(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

static __device__ __forceinline__ float cuda_warp_sum(float value)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) {
        value += __shfl_xor_sync(CUDA_WARP_ALL, value, offset);
    }
    return value;
}

/* Of cuda_launch_config. */
enum { CUDA_LAUNCH_ATTRIBUTES = 1 };

/* The launch configuration of a kernel of the step; `attributes` [CUDA_LAUNCH_ATTRIBUTES] must
 * outlive it. */
static inline cudaLaunchConfig_t cuda_launch_config(const struct cuda_launch *launch, dim3 grid,
                                                    dim3 block, size_t shared_bytes,
                                                    cudaLaunchAttribute *attributes)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = launch->stream;
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    config.attrs = attributes;
    config.numAttrs = launch->programmatic ? 1 : 0;
    return config;
}

/* More than half of a multiprocessor's shared memory. Programmatic launches start blocks as
 * multiprocessors fall free: of a launch with a block for each, the first to be free would get two,
 * and the launch would take as long as they. A block that asks for so much stays alone. */
enum { CUDA_ALONE_BYTES = 116 * 1024 };

static inline uint32_t cuda_divide_up(uint32_t value, uint32_t by)
{
    return (value + by - 1) / by;
}

/* Bytes of shared memory that a block of the current device can have; 0 when it does not tell. */
static inline uint32_t cuda_shared_bytes_max(void)
{
    int device = 0, bytes = 0;
    const bool is_told =
        cudaGetDevice(&device) == cudaSuccess
        && cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)
               == cudaSuccess;
    return is_told ? (uint32_t)bytes : 0;
}

/* Dynamic shared memory to ask for where a launch of so many blocks needs shared_bytes. */
static inline uint32_t cuda_alone_bytes(const struct cuda_launch *launch, uint64_t blocks,
                                        uint32_t shared_bytes)
{
    const bool is_one_each = launch->programmatic && blocks <= launch->multiprocessors;
    return is_one_each && shared_bytes < CUDA_ALONE_BYTES
                   && CUDA_ALONE_BYTES <= cuda_shared_bytes_max()
               ? (uint32_t)CUDA_ALONE_BYTES
               : shared_bytes;
}

/* Launches a kernel of one argument with dynamic shared memory, which may be more than every device
 * gives without being asked. */
template <class Argument>
static inline cudaError_t cuda_launch_shared(const struct cuda_launch *launch,
                                             void (*kernel)(Argument), dim3 grid, uint32_t threads,
                                             uint32_t shared_bytes, const Argument &argument)
{
    const cudaError_t status = cudaFuncSetAttribute(
        (const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    if (status != cudaSuccess) {
        return status;
    }
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, grid, dim3(threads), shared_bytes, attributes);
    return cudaLaunchKernelEx(&config, kernel, argument);
}
