/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels_avx512.c - the set of kernels for AVX-512: recurrence and matrix product.
 *
 * The others are those of AVX2: they are a small share of a step. The matrix product is in
 * cpu_matmul_avx512.c. Gives the same bits as AVX2. Thread: any. */
#include "cpu/cpu_avx512.h"

enum {
    N = MODEL_HEAD_SIZE,
    VECTORS = N / AVX512_LANES, /* Of one head: 4. */
    WKV_VALUES = 4,             /* Rows of S that are advanced together. */
};

/* What all rows of S share of one token: 20 registers. */
struct token_vectors {
    __m512 minus_kk[VECTORS], kk_a[VECTORS], k[VECTORS], decay[VECTORS], r[VECTORS];
};

static inline __attribute__((always_inline)) void load_token(const struct cpu_wkv *head, size_t at,
                                                             struct token_vectors *token)
{
    float decay[N];
    for (uint32_t j = 0; j < N; j += AVX2_LANES) {
        _mm256_storeu_ps(decay + j, avx2_exp(_mm256_loadu_ps(head->log_w + at + j)));
    }
    for (uint32_t m = 0; m < VECTORS; m++) {
        const uint32_t j = m * AVX512_LANES;
        token->minus_kk[m] = _mm512_loadu_ps(head->minus_kk + at + j);
        token->kk_a[m] = _mm512_loadu_ps(head->kk_a + at + j);
        token->k[m] = _mm512_loadu_ps(head->k + at + j);
        token->decay[m] = _mm512_loadu_ps(decay + j);
        token->r[m] = _mm512_loadu_ps(head->r + at + j);
    }
}

/* The vector whose lanes sum to sa of one row of S. */
static inline __m256 removal_of(const struct token_vectors *token, const float *state)
{
    __m512 sum = _mm512_setzero_ps();
    for (uint32_t m = 0; m < VECTORS; m++) {
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(state + m * AVX512_LANES), token->minus_kk[m], sum);
    }
    return avx512_add_halves(sum);
}

/* One row of S through one token; returns the vector whose lanes sum to y. */
static inline __m256 advance_value(const struct token_vectors *token, float removal, float value,
                                   const float *state_in, float *state_out)
{
    const __m512 sa = _mm512_set1_ps(removal);
    const __m512 v = _mm512_set1_ps(value);
    __m512 y = _mm512_setzero_ps();
    for (uint32_t m = 0; m < VECTORS; m++) {
        __m512 change = _mm512_mul_ps(v, token->k[m]);
        change = _mm512_fmadd_ps(sa, token->kk_a[m], change);
        const __m512 s = _mm512_fmadd_ps(_mm512_loadu_ps(state_in + m * AVX512_LANES),
                                         token->decay[m], change);
        y = _mm512_fmadd_ps(s, token->r[m], y);
        _mm512_storeu_ps(state_out + m * AVX512_LANES, s);
    }
    return avx512_add_halves(y);
}

/* Flops 10 N^2 a row and head, 41 kflop. S stays in the first cache (16 kB) over the rows
 * and is read twice: for the removal of four values, summed together, and for the update. */
static void wkv(const struct cpu_wkv *head)
{
    const float *state_in = head->state_in;
    for (uint32_t t = 0; t < head->row_count; t++) {
        const size_t at = t * head->row_stride;
        struct token_vectors token;
        load_token(head, at, &token);
        for (uint32_t i = 0; i < N; i += WKV_VALUES) {
            const float *in = state_in + (size_t)i * N;
            float *out = head->state_out + (size_t)i * N;
            float removals[WKV_VALUES];
            _mm_storeu_ps(removals, avx2_sum4(removal_of(&token, in), removal_of(&token, in + N),
                                              removal_of(&token, in + (size_t)2 * N),
                                              removal_of(&token, in + (size_t)3 * N)));
            __m256 y[WKV_VALUES];
            for (uint32_t n = 0; n < WKV_VALUES; n++) {
                y[n] = advance_value(&token, removals[n], head->v[at + i + n], in + (size_t)n * N,
                                     out + (size_t)n * N);
            }
            _mm_storeu_ps(head->y + at + i, avx2_sum4(y[0], y[1], y[2], y[3]));
        }
        state_in = head->state_out;
    }
}

const struct cpu_kernels cpu_kernels_avx512 = {
    .name = "avx512",
    .layer_norm = cpu_avx2_layer_norm,
    .token_shift = cpu_avx2_token_shift,
    .matmul = cpu_avx512_matmul,
    .time_mix_inputs = cpu_avx2_time_mix_inputs,
    .wkv = wkv,
    .time_mix_output = cpu_avx2_time_mix_output,
};
