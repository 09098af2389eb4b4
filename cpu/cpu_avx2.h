/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_avx2.h - what the AVX2 kernel files share: sums of lanes and the exponential.
 *
 * Included only by files that are compiled for AVX2, FMA and F16C. Thread: any. */
#pragma once

#include <immintrin.h>

#include "cpu/cpu_kernels.h"

enum { AVX2_LANES = 8 };

/* The kernels themselves, as declared in struct cpu_kernels: the AVX-512 set uses them too. */
void cpu_avx2_layer_norm(const float *x, const float *weight, const float *bias,
                         uint32_t channel_count, float *y);
void cpu_avx2_token_shift(const float *x, const float *previous, const float *const *mix,
                          uint32_t mix_count, uint32_t channel_count, float *y, size_t y_stride);
void cpu_avx2_matmul(const struct cpu_matmul *matmul, uint32_t first_output, uint32_t output_count,
                     float *scratch);
void cpu_avx2_time_mix_inputs(const struct cpu_time_mix_inputs *head);
void cpu_avx2_time_mix_output(const struct cpu_time_mix_output *head);

/* The sums of four vectors' lanes, in the one order used everywhere:
 * ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)). */
static inline __m128 avx2_sum4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 ab = _mm256_hadd_ps(a, b);
    const __m256 cd = _mm256_hadd_ps(c, d);
    const __m256 abcd = _mm256_hadd_ps(ab, cd);
    return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}

/* As avx2_sum4 for one vector. */
static inline float avx2_sum(__m256 a)
{
    return _mm_cvtss_f32(avx2_sum4(a, a, a, a));
}

/* e^x in each lane, within 2 units in the last place for x in [-87, 88], clamped outside.
 * e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite), and
 * e^r by a polynomial of degree 6 fitted to that range (Cephes expf). */
static inline __m256 avx2_exp(__m256 x)
{
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

static inline __m256 avx2_sigmoid(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 minus_x = _mm256_sub_ps(_mm256_setzero_ps(), x);
    return _mm256_div_ps(one, _mm256_add_ps(one, avx2_exp(minus_x)));
}
