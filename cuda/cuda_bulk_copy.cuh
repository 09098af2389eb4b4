/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_bulk_copy.cuh - bulk copies from device to shared memory, counted by mbarriers.
 *
 * Compute capability 9.0 and later; elsewhere plain code with the same meaning, for the emulator.
 * Addresses and byte counts are multiples of 16. A block must not end before all its copies are
 * complete.
 * Thread: device. */
#pragma once

#include "cuda/cuda_device.cuh"

/* Whether to launch the form with bulk copies, whose block takes so much shared memory. Some GPUs
 * with bulk copies have less than half of what a data centre's have. */
static inline bool cuda_bulk_copies_fit(const struct cuda_launch *launch, size_t shared_bytes)
{
    const size_t static_bytes = 1024; /* Barriers and the like come on top. */
    return launch->bulk_copies && shared_bytes + static_bytes <= cuda_shared_bytes_max();
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

static __device__ __forceinline__ uint32_t cuda_shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* A barrier whose phase ends after so many arrivals and the bytes that they announced. */
static __device__ __forceinline__ void cuda_mbarrier_init(uint64_t *barrier, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(cuda_shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}

/* After the last init of a thread: the copy engine and other threads see the barriers. */
static __device__ __forceinline__ void cuda_mbarrier_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and announces bytes of bulk copies. */
static __device__ __forceinline__ void cuda_mbarrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     cuda_shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

/* What this thread has read or written in shared memory comes before the end of the phase. */
static __device__ __forceinline__ void cuda_mbarrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(cuda_shared_address(barrier))
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

/* The same barrier in plain code, for one thread at a time. The emulator of the tests runs it; no
 * GPU does. */
struct cuda_plain_mbarrier {
    uint16_t arrivals, missing_arrivals;
    int16_t missing_words; /* 16 bytes each; below zero when they come unannounced. */
    uint16_t parity;
};

static __device__ __forceinline__ void cuda_mbarrier_settle(struct cuda_plain_mbarrier *barrier)
{
    if (barrier->missing_arrivals == 0 && barrier->missing_words == 0) {
        barrier->missing_arrivals = barrier->arrivals;
        barrier->parity ^= 1;
    }
}

static __device__ __forceinline__ void cuda_mbarrier_init(uint64_t *barrier, uint32_t arrivals)
{
    struct cuda_plain_mbarrier *plain = (struct cuda_plain_mbarrier *)(void *)barrier;
    plain->arrivals = plain->missing_arrivals = (uint16_t)arrivals;
    plain->missing_words = 0;
    plain->parity = 0;
}

static __device__ __forceinline__ void cuda_mbarrier_init_fence(void)
{
}

static __device__ __forceinline__ void cuda_mbarrier_expect(uint64_t *barrier, uint32_t bytes)
{
    struct cuda_plain_mbarrier *plain = (struct cuda_plain_mbarrier *)(void *)barrier;
    plain->missing_arrivals--;
    plain->missing_words = (int16_t)(plain->missing_words + (int)(bytes / 16));
    cuda_mbarrier_settle(plain);
}

static __device__ __forceinline__ void cuda_mbarrier_arrive(uint64_t *barrier)
{
    cuda_mbarrier_expect(barrier, 0);
}

static __device__ __forceinline__ void cuda_mbarrier_wait(uint64_t *barrier, uint32_t parity)
{
    const volatile struct cuda_plain_mbarrier *plain =
        (const volatile struct cuda_plain_mbarrier *)(const void *)barrier;
    while (plain->parity == parity) {
#ifdef SKEIN_CUDA_EMULATOR
        cuda_emulator_yield();
#endif
    }
}

/* So many bytes have come. */
static __device__ __forceinline__ void cuda_mbarrier_complete(uint64_t *barrier, uint32_t bytes)
{
    struct cuda_plain_mbarrier *plain = (struct cuda_plain_mbarrier *)(void *)barrier;
    plain->missing_words = (int16_t)(plain->missing_words - (int)(bytes / 16));
    cuda_mbarrier_settle(plain);
}

static __device__ __forceinline__ void cuda_bulk_load(void *to, const void *from, uint32_t bytes,
                                                      uint64_t *barrier)
{
    for (uint32_t i = 0; i < bytes / 16; i++) {
        ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    }
    cuda_mbarrier_complete(barrier, bytes);
}

#endif
