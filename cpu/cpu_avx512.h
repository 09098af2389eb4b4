/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_avx512.h - what the AVX-512 kernel files share.
 *
 * Included only by files that are compiled for AVX-512F. Where AVX2 kernels keep two or four
 * vectors of eight lanes, AVX-512 keeps them as halves of one or two vectors, and adds the halves
 * in the same order: both variants give the same bits. Thread: any. */
#pragma once

#include "cpu/cpu_avx2.h"

enum { AVX512_LANES = 16 };

void cpu_avx512_matmul(const struct cpu_matmul *matmul, uint32_t first_output,
                       uint32_t output_count, float *scratch);

/* Lanes 0 to 7 plus lanes 8 to 15. */
static inline __m256 avx512_add_halves(__m512 a)
{
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    return _mm256_add_ps(_mm512_castps512_ps256(a), upper);
}
