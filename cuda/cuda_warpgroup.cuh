/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_warpgroup.cuh - boxes of matrices into shared memory, and the matrix instruction that
 * reads them there.
 *
 * Compute capability 9.0 with its own instructions (sm_90a); elsewhere plain code with the same
 * meaning, for the emulator. Thread: device. */
#pragma once

#include "cuda/cuda_barrier.cuh"
#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_tensor_map.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CUDA_HAS_WARPGROUP 1
#elif defined(SKEIN_CUDA_EMULATOR)
#define CUDA_HAS_WARPGROUP 1
#else
#define CUDA_HAS_WARPGROUP 0 /* Kernels are compiled without a body, and never launched. */
#endif

enum { CUDA_BOX_ALIGNMENT = 1024 }; /* Of a box in shared memory: 8 rows. */

#ifdef SKEIN_CUDA_EMULATOR

static inline unsigned char *cuda_box_align(unsigned char *shared)
{
    const uintptr_t address = (uintptr_t)shared;
    return shared + (CUDA_BOX_ALIGNMENT - address % CUDA_BOX_ALIGNMENT) % CUDA_BOX_ALIGNMENT;
}

/* Box at (column, row) of the matrix into `to`; ends in `barrier`. */
static inline void cuda_box_load(void *to, const struct cuda_tensor_map *map, uint32_t column,
                                 uint32_t row, uint64_t *barrier)
{
    const cuda_half *matrix = (const cuda_half *)map->words[0];
    for (uint32_t r = 0; r < map->words[3]; r++) {
        for (uint32_t c = 0; c < CUDA_BOX_COLUMNS; c++) {
            const bool exists = row + r < map->words[1] && column + c < map->words[2];
            ((cuda_half *)to)[r * CUDA_BOX_COLUMNS + ((c / 8) ^ (r % 8)) * 8 + c % 8] =
                exists ? matrix[(row + r) * map->words[2] + column + c] : __float2half_rn(0.0f);
        }
    }
    cuda_mbarrier_complete(barrier, (uint32_t)map->words[3] * 128);
}

/* Where a 16-deep slice of a box begins, `bytes` from its start. */
typedef const unsigned char *cuda_slice;

static inline cuda_slice cuda_slice_of(const unsigned char *box, uint32_t bytes)
{
    return box + bytes;
}

/* The number at `bytes` from a slice's start, before the change of places. */
static inline float cuda_slice_at(cuda_slice slice, uint32_t bytes)
{
    uintptr_t address = (uintptr_t)slice + bytes;
    address ^= (address >> 7 & 7) << 4;
    return __half2float(*(const cuda_half *)address);
}

template <bool TRANSPOSED, int REGISTERS>
static inline void cuda_wgmma(float (&d)[REGISTERS], cuda_slice a, cuda_slice b)
{
    const uint32_t thread = threadIdx.x % 128, lane = thread % 32;
    for (uint32_t i = 0; i < REGISTERS; i++) {
        const uint32_t row = thread / 32 * 16 + lane / 4 + i / 2 % 2 * 8;
        const uint32_t column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        for (uint32_t k = 0; k < 16; k++) {
            d[i] += cuda_slice_at(a, TRANSPOSED ? k * 128 + row * 2 : row * 128 + k * 2) *
                    cuda_slice_at(b, column * 128 + k * 2);
        }
    }
}

static inline void cuda_wgmma_begin(void)
{
}

static inline void cuda_wgmma_end(void)
{
}

#elif CUDA_HAS_WARPGROUP

static __device__ __forceinline__ unsigned char *cuda_box_align(unsigned char *shared)
{
    return shared + (0u - cuda_shared_address(shared)) % CUDA_BOX_ALIGNMENT;
}

/* Box at (column, row) of the matrix into `to`; ends in `barrier`. */
static __device__ __forceinline__ void cuda_box_load(void *to, const struct cuda_tensor_map *map,
                                                     uint32_t column, uint32_t row,
                                                     uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];" ::"r"(cuda_shared_address(to)),
                 "l"(map), "r"(cuda_shared_address(barrier)), "r"(column), "r"(row)
                 : "memory");
}

/* What the instruction is told of a slice: 128-byte swizzle, groups of 8 rows 1024 bytes apart,
 * and its start; the slices of a box begin `bytes` from its start. PTX ISA, "Matrix descriptor". */
typedef uint64_t cuda_slice;

static __device__ __forceinline__ cuda_slice cuda_slice_of(const unsigned char *box, uint32_t bytes)
{
    const uint64_t swizzle_128 = (uint64_t)1 << 62;
    const uint64_t group_bytes = (uint64_t)(1024 / 16) << 32;
    const uint64_t unused = (uint64_t)1 << 16; /* The other stride: one group is all there is. */
    return swizzle_128 | group_bytes | unused
           | ((cuda_shared_address(box) + bytes) & 0x3ffff) >> 4;
}

/* d [64][2 REGISTERS] += a [64][16] b [2 REGISTERS][16]^T by a warpgroup, f32 sums. Thread t has
 * d[i] at row t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column i / 4 * 8 + t % 4 * 2 + i % 2.
 * TRANSPOSED: a is stored [16][64]. Between cuda_wgmma_begin and cuda_wgmma_end. */
template <bool TRANSPOSED>
static __device__ __forceinline__ void cuda_wgmma(float (&d)[4], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 "
                 "{%0, %1, %2, %3}, "
                 "%4, %5, 1, 1, 1, %6, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "l"(a), "l"(b), "n"(TRANSPOSED ? 1 : 0));
}

template <bool TRANSPOSED>
static __device__ __forceinline__ void cuda_wgmma(float (&d)[8], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, "
                 "%8, %9, 1, 1, 1, %10, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7])
                 : "l"(a), "l"(b), "n"(TRANSPOSED ? 1 : 0));
}

template <bool TRANSPOSED>
static __device__ __forceinline__ void cuda_wgmma(float (&d)[16], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, "
                 "%15}, "
                 "%16, %17, 1, 1, 1, %18, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
                   "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
                 : "l"(a), "l"(b), "n"(TRANSPOSED ? 1 : 0));
}

template <bool TRANSPOSED>
static __device__ __forceinline__ void cuda_wgmma(float (&d)[32], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, "
                 "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
                 "%28, %29, %30, %31}, "
                 "%32, %33, 1, 1, 1, %34, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
                   "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
                   "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]),
                   "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
                   "+f"(d[31])
                 : "l"(a), "l"(b), "n"(TRANSPOSED ? 1 : 0));
}

template <bool TRANSPOSED>
static __device__ __forceinline__ void cuda_wgmma(float (&d)[64], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, "
                 "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
                 "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, "
                 "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, "
                 "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, 1, 1, 1, %66, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
                   "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
                   "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]),
                   "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
                   "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
                   "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
                   "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]),
                   "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
                   "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                   "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]),
                   "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
                 : "l"(a), "l"(b), "n"(TRANSPOSED ? 1 : 0));
}


static __device__ __forceinline__ void cuda_wgmma_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* Waits for all products of this warpgroup. */
static __device__ __forceinline__ void cuda_wgmma_end(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#endif
