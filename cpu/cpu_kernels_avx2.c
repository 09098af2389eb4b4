/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels_avx2.c - the kernels of cpu_kernels_reference.c, eight channels at a time.
 *
 * The matrix product is in cpu_matmul_avx2.c. Channel counts are multiples of 64, so no vector has
 * a rest that would go another way. Differs from the reference by rounding only: other orders of
 * summation, fused multiply-adds, and an own exponential. Thread: any. */
#include "cpu/cpu_avx2.h"

#include <math.h>

enum {
    N = MODEL_HEAD_SIZE,
    VECTORS = N / AVX2_LANES, /* Of one head: 8. */
    WKV_VALUES = 4,           /* Rows of S whose outputs are summed together. */
};

static const float layer_norm_epsilon = 1e-5f;
static const float group_norm_epsilon = 64e-5f; /* 1e-5 times the head size. */
static const float length_min = 1e-12f;         /* Keeps the removal key of k = 0 at 0. */
static const float decay_scale = -0.60653066f;  /* -e^(-1/2) */

static __m256 load(const float *from)
{
    return _mm256_loadu_ps(from);
}

/* ---- Rows -------------------------------------------------------------------------------- */

void cpu_avx2_layer_norm(const float *x, const float *weight, const float *bias,
                         uint32_t channel_count, float *y)
{
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t c = 0; c < channel_count; c += 2 * AVX2_LANES) {
        sums[0] = _mm256_add_ps(sums[0], load(x + c));
        sums[1] = _mm256_add_ps(sums[1], load(x + c + AVX2_LANES));
    }
    const float mean = avx2_sum(_mm256_add_ps(sums[0], sums[1])) / (float)channel_count;
    const __m256 means = _mm256_set1_ps(mean);
    __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t c = 0; c < channel_count; c += 2 * AVX2_LANES) {
        const __m256 first = _mm256_sub_ps(load(x + c), means);
        const __m256 second = _mm256_sub_ps(load(x + c + AVX2_LANES), means);
        squares[0] = _mm256_fmadd_ps(first, first, squares[0]);
        squares[1] = _mm256_fmadd_ps(second, second, squares[1]);
    }
    const float variance =
        avx2_sum(_mm256_add_ps(squares[0], squares[1])) / (float)channel_count;
    const __m256 scale = _mm256_set1_ps(1.0f / sqrtf(variance + layer_norm_epsilon));
    for (uint32_t c = 0; c < channel_count; c += AVX2_LANES) {
        const __m256 normal = _mm256_mul_ps(_mm256_sub_ps(load(x + c), means), scale);
        _mm256_storeu_ps(y + c, _mm256_fmadd_ps(normal, load(weight + c), load(bias + c)));
    }
}

void cpu_avx2_token_shift(const float *x, const float *previous, const float *const *mix,
                          uint32_t mix_count, uint32_t channel_count, float *y, size_t y_stride)
{
    for (uint32_t c = 0; c < channel_count; c += AVX2_LANES) {
        const __m256 now = load(x + c);
        const __m256 change = _mm256_sub_ps(load(previous + c), now);
        for (uint32_t m = 0; m < mix_count; m++) {
            _mm256_storeu_ps(y + m * y_stride + c, _mm256_fmadd_ps(change, load(mix[m] + c), now));
        }
    }
}

/* ---- Time mix ---------------------------------------------------------------------------- */

void cpu_avx2_time_mix_inputs(const struct cpu_time_mix_inputs *head)
{
    __m256 kk[VECTORS];
    __m256 squares = _mm256_setzero_ps();
    for (uint32_t m = 0; m < VECTORS; m++) {
        const uint32_t n = m * AVX2_LANES;
        kk[m] = _mm256_mul_ps(load(head->k + n), load(head->k_k + n));
        squares = _mm256_fmadd_ps(kk[m], kk[m], squares);
    }
    const __m256 length = _mm256_set1_ps(fmaxf(sqrtf(avx2_sum(squares)), length_min));
    const __m256 one = _mm256_set1_ps(1.0f);
    for (uint32_t m = 0; m < VECTORS; m++) {
        const uint32_t n = m * AVX2_LANES;
        const __m256 a = avx2_sigmoid(_mm256_add_ps(load(head->a0 + n), load(head->a + n)));
        const __m256 decay = avx2_sigmoid(_mm256_add_ps(load(head->w0 + n), load(head->decay + n)));
        const __m256 unit = _mm256_div_ps(kk[m], length);
        const __m256 k_scale = _mm256_fmadd_ps(_mm256_sub_ps(a, one), load(head->k_a + n), one);
        _mm256_storeu_ps(head->decay + n, _mm256_mul_ps(_mm256_set1_ps(decay_scale), decay));
        _mm256_storeu_ps(head->minus_kk + n, _mm256_sub_ps(_mm256_setzero_ps(), unit));
        _mm256_storeu_ps(head->kk_a + n, _mm256_mul_ps(unit, a));
        _mm256_storeu_ps(head->k + n, _mm256_mul_ps(load(head->k + n), k_scale));
        const __m256 v = load(head->v + n);
        if (head->v0 == NULL) {
            _mm256_storeu_ps(head->v_first + n, v);
            continue;
        }
        const __m256 gate = avx2_sigmoid(_mm256_add_ps(load(head->v0 + n), load(head->v_gate + n)));
        const __m256 change = _mm256_sub_ps(load(head->v_first + n), v);
        _mm256_storeu_ps(head->v + n, _mm256_fmadd_ps(change, gate, v));
    }
}

/* One row of S (one value, all keys) through one token; returns the vector whose lanes sum to y.
 * S goes through registers once: read, used for sa, updated, used for y, written. */
static inline __m256 advance_value(const struct cpu_wkv *head, size_t at, const float *decay,
                                   float value, const float *state_in, float *state_out)
{
    __m256 s[VECTORS];
    __m256 sa_even = _mm256_setzero_ps();
    __m256 sa_odd = _mm256_setzero_ps();
    for (uint32_t m = 0; m < VECTORS; m += 2) {
        const uint32_t j = m * AVX2_LANES;
        s[m] = load(state_in + j);
        s[m + 1] = load(state_in + j + AVX2_LANES);
        sa_even = _mm256_fmadd_ps(s[m], load(head->minus_kk + at + j), sa_even);
        sa_odd = _mm256_fmadd_ps(s[m + 1], load(head->minus_kk + at + j + AVX2_LANES), sa_odd);
    }
    const __m256 sa = _mm256_set1_ps(avx2_sum(_mm256_add_ps(sa_even, sa_odd)));
    const __m256 v = _mm256_set1_ps(value);
    __m256 y[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint32_t m = 0; m < VECTORS; m++) {
        const uint32_t j = m * AVX2_LANES;
        __m256 change = _mm256_mul_ps(v, load(head->k + at + j));
        change = _mm256_fmadd_ps(sa, load(head->kk_a + at + j), change);
        s[m] = _mm256_fmadd_ps(s[m], load(decay + j), change);
        y[m % 2] = _mm256_fmadd_ps(s[m], load(head->r + at + j), y[m % 2]);
        _mm256_storeu_ps(state_out + j, s[m]);
    }
    return _mm256_add_ps(y[0], y[1]);
}

/* Flops 10 N^2 a row and head, 41 kflop; S stays in the first cache (16 kB) over the rows. */
static void wkv(const struct cpu_wkv *head)
{
    const float *state_in = head->state_in;
    for (uint32_t t = 0; t < head->row_count; t++) {
        const size_t at = t * head->row_stride;
        float decay[N];
        for (uint32_t j = 0; j < N; j += AVX2_LANES) {
            _mm256_storeu_ps(decay + j, avx2_exp(load(head->log_w + at + j)));
        }
        for (uint32_t i = 0; i < N; i += WKV_VALUES) {
            __m256 y[WKV_VALUES];
            for (uint32_t n = 0; n < WKV_VALUES; n++) {
                const size_t row = (size_t)(i + n) * N;
                y[n] = advance_value(head, at, decay, head->v[at + i + n], state_in + row,
                                     head->state_out + row);
            }
            _mm_storeu_ps(head->y + at + i, avx2_sum4(y[0], y[1], y[2], y[3]));
        }
        state_in = head->state_out;
    }
}

void cpu_avx2_time_mix_output(const struct cpu_time_mix_output *head)
{
    __m256 sum = _mm256_setzero_ps();
    __m256 products = _mm256_setzero_ps();
    for (uint32_t n = 0; n < N; n += AVX2_LANES) {
        sum = _mm256_add_ps(sum, load(head->y + n));
        const __m256 rk = _mm256_mul_ps(load(head->r + n), load(head->k + n));
        products = _mm256_fmadd_ps(rk, load(head->r_k + n), products);
    }
    const __m256 mean = _mm256_set1_ps(avx2_sum(sum) / (float)N);
    const __m256 bonus = _mm256_set1_ps(avx2_sum(products));
    __m256 squares = _mm256_setzero_ps();
    for (uint32_t n = 0; n < N; n += AVX2_LANES) {
        const __m256 centred = _mm256_sub_ps(load(head->y + n), mean);
        squares = _mm256_fmadd_ps(centred, centred, squares);
    }
    const __m256 scale =
        _mm256_set1_ps(1.0f / sqrtf(avx2_sum(squares) / (float)N + group_norm_epsilon));
    for (uint32_t n = 0; n < N; n += AVX2_LANES) {
        const __m256 normal = _mm256_mul_ps(_mm256_sub_ps(load(head->y + n), mean), scale);
        __m256 y = _mm256_fmadd_ps(normal, load(head->ln_weight + n), load(head->ln_bias + n));
        y = _mm256_fmadd_ps(bonus, load(head->v + n), y);
        _mm256_storeu_ps(head->y + n, _mm256_mul_ps(y, load(head->g + n)));
    }
}

const struct cpu_kernels cpu_kernels_avx2 = {
    .name = "avx2",
    .layer_norm = cpu_avx2_layer_norm,
    .token_shift = cpu_avx2_token_shift,
    .matmul = cpu_avx2_matmul,
    .time_mix_inputs = cpu_avx2_time_mix_inputs,
    .wkv = wkv,
    .time_mix_output = cpu_avx2_time_mix_output,
};
