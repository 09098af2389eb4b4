/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_barrier.cuh - barriers of a part of a block: number 1 to 15, threads by whole warps.
 *
 * What a thread wrote before it synced or arrived is seen by those that synced. Thread: device. */
#pragma once

#include "cuda/cuda_device.cuh"

/* Waits until so many threads, this one included, have come. */
static __device__ __forceinline__ void cuda_barrier_sync(uint32_t barrier, uint32_t threads)
{
#ifdef SKEIN_CUDA_EMULATOR
    cuda_emulator_barrier_sync(barrier, threads);
#else
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
#endif
}

/* Counts as one that has come, and goes on. */
static __device__ __forceinline__ void cuda_barrier_arrive(uint32_t barrier, uint32_t threads)
{
#ifdef SKEIN_CUDA_EMULATOR
    cuda_emulator_barrier_arrive(barrier, threads);
#else
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
#endif
}
