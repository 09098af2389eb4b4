/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_mma.cuh - one warp's matrix product.
 *
 * Fragments of cuda_mma_16x8x16, lane = 4 g + t: d[16][8] += a[16][16] b[16][8], where
 *   a[0] (g, 2t), a[1] (g + 8, 2t), a[2] (g, 2t + 8), a[3] (g + 8, 2t + 8): each two columns
 *   b[0] (2t, g), b[1] (2t + 8, g): each two rows      d[0..3] (g, 2t), (g, 2t + 1), also of g + 8
 * A sum over k may take k in any order as long as a and b agree. So a lane takes 8 neighbouring k
 * from each row, one access of 16 bytes, for two products: no shuffling of fragments, but the
 * registers of a have to be moved into fours. Where rows lie in shared memory cuda_matrices_load
 * gives fragments as they are used; products of both kinds add k in different orders.
 * Thread: device. */
#pragma once

#include "cuda/cuda_half.cuh"

static __device__ __forceinline__ void cuda_mma_16x8x16(float *d, const uint32_t *a,
                                                        const uint32_t *b)
{
#ifdef SKEIN_CUDA_EMULATOR
    cuda_emulator_mma_m16n8k16(d, a, b, d);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDA_ARCH__)
#pragma unroll
    for (int half = 0; half < 2; half++) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[half * 2]), "r"(a[half * 2 + 1]), "r"(b[half]));
    }
#endif
}

/* Two products from 16 bytes of rows g and g + 8 of a and of column g of b: 32 k. */
static __device__ __forceinline__ void cuda_mma_16x8x32(float *d, uint4 low, uint4 high, uint4 b)
{
    const uint32_t a_one[4] = {low.x, high.x, low.y, high.y};
    const uint32_t a_two[4] = {low.z, high.z, low.w, high.w};
    const uint32_t b_one[2] = {b.x, b.y};
    const uint32_t b_two[2] = {b.z, b.w};
    cuda_mma_16x8x16(d, a_one, b_one);
    cuda_mma_16x8x16(d, a_two, b_two);
}

/* Four 8x8 matrices of f16 from shared memory, one register each: lane 8 i + r names the 16 bytes
 * that are row r of matrix i; lane 4 g + t gets (g, 2t) and (g, 2t + 1) of each. */
static __device__ __forceinline__ void cuda_matrices_load(uint32_t *out, const void *row)
{
#ifdef SKEIN_CUDA_EMULATOR
    cuda_emulator_ldmatrix(out, 4, false, row);
#elif defined(__CUDA_ARCH__)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
#endif
}
