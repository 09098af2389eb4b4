/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_bulk_copy.cuh - bulk copies from device to shared memory, counted by mbarriers.
 *
 * Compute capability 9.0 and later. Elsewhere the same calls copy by the calling thread at once and
 * wait for nothing: the caller has a __syncwarp between a copy and the reading of it. Addresses and
 * byte counts are multiples of 16. A block must not end before all its copies are complete.
 * Thread: device. */
#pragma once

#include "cuda/cuda_device.cuh"

/* Whether to launch the form with bulk copies, whose block takes so much shared memory. Some GPUs
 * with bulk copies have less than half of what a data centre's have. */
static inline bool cuda_bulk_copies_fit(const struct cuda_launch *launch, size_t shared_bytes)
{
    const size_t static_bytes = 1024; /* Barriers and the like come on top. */
    int device = 0, most = 0;
    return launch->bulk_copies && cudaGetDevice(&device) == cudaSuccess
           && cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)
                  == cudaSuccess
           && shared_bytes + static_bytes <= (size_t)most;
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

static __device__ __forceinline__ uint32_t cuda_shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* A barrier whose phase ends after one cuda_mbarrier_expect and the bytes it announced. */
static __device__ __forceinline__ void cuda_mbarrier_init(uint64_t *barrier)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(cuda_shared_address(barrier))
                 : "memory");
}

/* After the last init of a thread: the copy engine and other threads see the barriers. */
static __device__ __forceinline__ void cuda_mbarrier_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void cuda_mbarrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     cuda_shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* Until the phase of this parity (0 for the first) has ended. */
static __device__ __forceinline__ void cuda_mbarrier_wait(uint64_t *barrier, uint32_t parity)
{
    uint32_t done = 0;
    while (done == 0) {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}\n"
                     : "=r"(done)
                     : "r"(cuda_shared_address(barrier)), "r"(parity)
                     : "memory");
    }
}

static __device__ __forceinline__ void cuda_bulk_load(void *to, const void *from, uint32_t bytes,
                                                      uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(cuda_shared_address(to)),
                 "l"(from), "r"(bytes), "r"(cuda_shared_address(barrier))
                 : "memory");
}

#else

static __device__ __forceinline__ void cuda_mbarrier_init(uint64_t *barrier)
{
    *barrier = 0;
}

static __device__ __forceinline__ void cuda_mbarrier_init_fence(void)
{
}

static __device__ __forceinline__ void cuda_mbarrier_expect(uint64_t *barrier, uint32_t bytes)
{
    (void)barrier;
    (void)bytes;
}

static __device__ __forceinline__ void cuda_mbarrier_wait(uint64_t *barrier, uint32_t parity)
{
    (void)barrier;
    (void)parity;
}

static __device__ __forceinline__ void cuda_bulk_load(void *to, const void *from, uint32_t bytes,
                                                      uint64_t *barrier)
{
    (void)barrier;
    for (uint32_t i = 0; i < bytes / 16; i++) {
        ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    }
}

#endif
