/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_matmul_store.h - the end of a matrix product's output, shared by AVX2 and AVX-512.
 *
 * One formulation, so that both variants store the same bits. Included only by files that are
 * compiled for AVX2. Thread: any. */
#pragma once

#include <math.h>
#include <string.h>

#include "cpu/cpu_avx2.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { STORED_OUTPUTS = 4 };

ALWAYS_INLINE size_t weight_bytes(enum tensor_type type)
{
    return type == TENSOR_F32 ? 4 : 2;
}

/* Stores up to 4 consecutive outputs of one row. */
ALWAYS_INLINE void store_outputs(const struct cpu_matmul *job, size_t row, uint32_t output,
                                 uint32_t output_count, __m128 sums)
{
    float *y = job->y + row * job->y_stride + output;
    float values[STORED_OUTPUTS] = {0.0f};
    memcpy(values, y, output_count * sizeof(*values));
    const __m128 held = _mm_loadu_ps(values);
    const __m128 positive = _mm_max_ps(_mm_setzero_ps(), sums); /* Not a number stays. */
    switch (job->after) {
    case CPU_AFTER_STORE:
        break;
    case CPU_AFTER_TANH:
        _mm_storeu_ps(values, sums);
        sums = _mm_setr_ps(tanhf(values[0]), tanhf(values[1]), tanhf(values[2]), tanhf(values[3]));
        break;
    case CPU_AFTER_SIGMOID:
        sums = _mm256_castps256_ps128(avx2_sigmoid(_mm256_castps128_ps256(sums)));
        break;
    case CPU_AFTER_RELU_SQUARED:
        sums = _mm_mul_ps(positive, positive);
        break;
    case CPU_AFTER_ADD:
        sums = _mm_add_ps(held, sums);
        break;
    }
    _mm_storeu_ps(values, sums);
    memcpy(y, values, output_count * sizeof(*values));
}

/* Sums the lanes of 4 outputs of one row and stores as many as there are. */
ALWAYS_INLINE void store_tile_row(const struct cpu_matmul *job, size_t row, uint32_t output,
                                  uint32_t output_count, __m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m128 four = avx2_sum4(a, b, c, d);
    if (output_count == STORED_OUTPUTS) {
        store_outputs(job, row, output, STORED_OUTPUTS, four); /* The usual case: no loops. */
    } else {
        store_outputs(job, row, output, output_count, four);
    }
}
