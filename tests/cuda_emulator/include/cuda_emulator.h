/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/cuda_emulator.h - what the emulator offers beyond CUDA: to tests, its
 * switches; to kernels, the meaning of the PTX that they replace when it is compiled.
 *
 * Thread: the one that uses the device. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Compute capability of the device, from now on; 9.0, or SKEIN_EMULATED_CAPABILITY ("7.5"). */
void cuda_emulator_set_capability(int major, int minor);

/* The order in which threads of a block and blocks of a grid run, where the kernel leaves it open.
 * A kernel must give the same bits in both. Also SKEIN_EMULATED_ORDER=reverse. */
void cuda_emulator_set_reverse(bool reverse);

/* Work waits in its stream until somebody waits for it or asks whether it is done, so that host
 * memory reused too early is seen. Also SKEIN_EMULATED_LATE=1. */
void cuda_emulator_set_late(bool late);

/* So many more kernels run; the next one fails with cudaErrorIllegalAddress, and from then on every
 * call. Negative: none fails. Also SKEIN_EMULATED_LAUNCHES. */
void cuda_emulator_fail_after(int64_t launches);

/* So many more allocations of device or pinned memory succeed, the next one does not, those after
 * it do. Negative: none fails. */
void cuda_emulator_fail_allocation_after(int64_t allocations);

/* Forgets a final error, as only the end of a process does. */
void cuda_emulator_recover(void);

/* Kernels run so far, products of cuBLASLt included; blocks of device or pinned memory alive; what
 * the device has in all. */
uint64_t cuda_emulator_launches(void);
size_t cuda_emulator_allocations(void);
void cuda_emulator_set_memory(size_t bytes);

/* ---- For kernels ------------------------------------------------------------------------- */

/* bar.sync and bar.arrive with a number and a count of threads. */
void cuda_emulator_barrier_sync(unsigned int barrier, unsigned int thread_count);
void cuda_emulator_barrier_arrive(unsigned int barrier, unsigned int thread_count);

/* Lets other threads run: the body of a loop that waits for one of them. */
void cuda_emulator_yield(void);

/* mma.sync.aligned.m16n8k16 and .m16n8k8 .row.col.f32.f16.f16.f32: d = a b + c, by the whole warp;
 * a and b as the pairs of halves that PTX names. d may be c. */
void cuda_emulator_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                const float c[4]);
void cuda_emulator_mma_m16n8k8(float d[4], const uint32_t a[2], const uint32_t b[1],
                               const float c[4]);

/* ldmatrix.sync.aligned.m8n8.xM[.trans].b16: lane 8 i + r gives the address of row r of matrix i.
 * matrix_count 1, 2 or 4. */
void cuda_emulator_ldmatrix(uint32_t *registers_out, int matrix_count, bool transpose,
                            const void *row);

#ifdef __cplusplus
}
#endif
