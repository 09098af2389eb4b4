/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_mma.cuh - one warp's matrix product.
 *
 * Fragments of cuda_mma_16x8x16, lane = 4 g + t: d[16][8] += a[16][16] b[16][8], where
 *   a[0] (g, 2t), a[1] (g + 8, 2t), a[2] (g, 2t + 8), a[3] (g + 8, 2t + 8): each two columns
 *   b[0] (2t, g), b[1] (2t + 8, g): each two rows      d[0..3] (g, 2t), (g, 2t + 1), also of g + 8
 * A sum over k may take k in any order as long as a and b agree. So a lane takes 8 neighbouring k
 * from each row, one access of 16 bytes, for two products: no shuffling of fragments.
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
