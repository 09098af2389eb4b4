/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/cuda_runtime.h - CUDA C++ as far as kernels of cuda/ speak it, so
 * that a C++ compiler makes ordinary functions of them.
 *
 * A kernel is run by tests/cuda_emulator/emulator_block.cpp, one fiber for each thread of a block.
 * Thread: the one that uses the device. */
#pragma once

#include "cuda_runtime_api.h"

#ifdef __cplusplus

#include <math.h>

#include <functional>
#include <tuple>
#include <utility>

#include "cuda_emulator.h"
#include "emulated_block.h"

/* ---- Words of the language --------------------------------------------------------------- */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __shared__ static /* Blocks run one after another. */
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

/* `extern __shared__` has no counterpart. Exactly as long as launched: the sanitizer sees more. */
#define CUDA_DYNAMIC_SHARED(name) unsigned char *const name = emulated_dynamic_shared()

static const int warpSize = 32;

#include "emulated_arithmetic.h"
#include "emulated_atomics.h"
#include "emulated_warp.h"

/* ---- Launches ---------------------------------------------------------------------------- */

cudaError_t emulated_launch_work(const char *name, const cudaLaunchConfig_t *config,
                                 const void *kernel, std::function<void()> run);

template <typename... Parameters, typename... Arguments>
cudaError_t emulated_launch(const char *name, const cudaLaunchConfig_t *config,
                            void (*kernel)(Parameters...), Arguments &&...arguments)
{
    std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
    return emulated_launch_work(name, config, reinterpret_cast<const void *>(kernel),
                                [kernel, values]() { std::apply(kernel, values); });
}

#define EMULATED_TEXT_OF(x) #x
#define EMULATED_TEXT(x) EMULATED_TEXT_OF(x)

/* Everything but the configuration is variadic, for kernel<a, b> holds a comma. */
#define cudaLaunchKernelEx(config, ...)                                                           \
    emulated_launch(#__VA_ARGS__ " at " __FILE__ ":" EMULATED_TEXT(__LINE__), config, __VA_ARGS__)

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), attribute, value);
}

template <typename... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks,
                                                          void (*kernel)(Parameters...),
                                                          int block_threads,
                                                          size_t dynamic_shared_bytes)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks, reinterpret_cast<const void *>(kernel), block_threads, dynamic_shared_bytes);
}

template <typename T> cudaError_t cudaMalloc(T **pointer, size_t bytes)
{
    return cudaMalloc(reinterpret_cast<void **>(pointer), bytes);
}

template <typename T> cudaError_t cudaMallocHost(T **pointer, size_t bytes)
{
    return cudaMallocHost(reinterpret_cast<void **>(pointer), bytes);
}

#endif
