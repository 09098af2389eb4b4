/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: each kernel's arithmetic, and that a row's bits do not depend on its company. Shown by:
 * float64 formulas at odd sizes and extreme inputs, for every set of kernels; and matrix products
 * computed whole, row by row and output by output, and by two sets. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_kernels.h"

enum { N = MODEL_HEAD_SIZE, KERNEL_SETS = 3 };

/* Loop index: 0 the reference, 1 AVX2, 2 AVX-512 (NULL where the processor has none: nothing is
 * run). */
static const struct cpu_kernels *kernels_of(int index)
{
    return index == 0   ? &cpu_kernels_reference
           : index == 1 ? cpu_kernels_avx2_if_supported()
                        : cpu_kernels_avx512_if_supported();
}

static uint32_t seed = 1;

/* Uniform in (-1, 1). */
static float random_float(void)
{
    seed = 1664525u * seed + 1013904223u;
    return (float)((double)(seed >> 8) / 8388608.0 - 1.0);
}

static float *random_floats(size_t count, float scale)
{
    float *values = aligned_alloc(64, (count * sizeof(*values) + 63) / 64 * 64);
    ck_assert_ptr_nonnull(values);
    for (size_t index = 0; index < count; index++) {
        values[index] = scale * random_float();
    }
    return values;
}

/* ---- Matrix product ---------------------------------------------------------------------- */

/* Rounds to what the type can hold, in place, and returns the stored form. */
static void *store_weights(float *weights, size_t count, enum tensor_type type)
{
    uint16_t *halves = malloc(count * sizeof(*halves));
    for (size_t index = 0; index < count; index++) {
        /* Multiples of 1/64 below 2 are exact in bf16 and f16. */
        weights[index] = roundf(weights[index] * 64.0f) / 64.0f;
        uint32_t bits;
        memcpy(&bits, &weights[index], sizeof(bits));
        const uint32_t exponent = (bits >> 23 & 0xffu) - 127u + 15u;
        const uint32_t half = (bits >> 16 & 0x8000u) | exponent << 10 | (bits >> 13 & 0x3ffu);
        halves[index] = (uint16_t)(type == TENSOR_BF16       ? bits >> 16
                                   : weights[index] == 0.0f ? 0
                                                             : half);
    }
    if (type == TENSOR_F32) {
        float *copy = malloc(count * sizeof(*copy));
        memcpy(copy, weights, count * sizeof(*copy));
        free(halves);
        return copy;
    }
    return halves;
}

static double after(double sum, enum cpu_after what, double held)
{
    switch (what) {
    case CPU_AFTER_STORE:
        return sum;
    case CPU_AFTER_TANH:
        return tanh(sum);
    case CPU_AFTER_SIGMOID:
        return 1.0 / (1.0 + exp(-sum));
    case CPU_AFTER_RELU_SQUARED:
        return sum > 0.0 ? sum * sum : 0.0;
    case CPU_AFTER_ADD:
        return held + sum;
    }
    return sum;
}

/* A product of the given shape, whole, against float64 and against single rows and outputs. */
static void check_matmul(const struct cpu_kernels *kernels, uint32_t row_count, uint32_t outputs,
                         uint32_t columns, enum tensor_type type, enum cpu_after what)
{
    float *x = random_floats((size_t)row_count * columns, 1.0f);
    float *weights = random_floats((size_t)outputs * columns, 1.0f);
    void *stored = store_weights(weights, (size_t)outputs * columns, type);
    float *held = random_floats((size_t)row_count * outputs, 1.0f);
    float *whole = random_floats((size_t)row_count * outputs, 1.0f);
    float *alone = random_floats(outputs, 1.0f);
    float *scratch = random_floats((size_t)CPU_SCRATCH_ROWS * columns, 1.0f);
    memcpy(whole, held, (size_t)row_count * outputs * sizeof(*held));
    const struct cpu_matrix matrix = {
        .data = stored, .type = type, .rows = outputs, .columns = columns};
    struct cpu_matmul job = {.weight = &matrix,
                             .x = x,
                             .row_count = row_count,
                             .y = whole,
                             .y_stride = outputs,
                             .after = what};
    kernels->matmul(&job, 0, outputs, scratch);
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < outputs; output++) {
            double sum = 0.0;
            for (uint32_t c = 0; c < columns; c++) {
                sum += (double)x[row * columns + c] * (double)weights[output * columns + c];
            }
            const size_t at = (size_t)row * outputs + output;
            const double expected = after(sum, what, (double)held[at]);
            ck_assert_double_eq_tol((double)whole[at], expected, 2e-4 * (1.0 + fabs(expected)));
            /* Alone: one row, one output. */
            alone[output] = held[at];
            job.x = x + (size_t)row * columns;
            job.row_count = 1;
            job.y = alone;
            kernels->matmul(&job, output, 1, scratch);
            ck_assert_msg(memcmp(&alone[output], &whole[at], sizeof(*alone)) == 0,
                          "%s: row %u of %u, output %u of %u: %.9g, in company %.9g",
                          kernels->name, row, row_count, output, outputs, (double)alone[output],
                          (double)whole[at]);
        }
    }
    free(scratch);
    free(alone);
    free(whole);
    free(held);
    free(stored);
    free(weights);
    free(x);
}

START_TEST(matmul_row_has_the_same_bits_when_alone)
{
    static const uint32_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 32, 64};
    static const uint32_t outputs[] = {1, 3, 4, 33};
    static const uint32_t columns[] = {32, 64, 544, 1056}; /* Within, at and past a block. */
    const struct cpu_kernels *kernels = kernels_of(_i);
    for (size_t r = 0; kernels != NULL && r < sizeof(row_counts) / sizeof(row_counts[0]); r++) {
        for (size_t o = 0; o < 4; o++) {
            for (size_t c = 0; c < 4; c++) {
                const enum tensor_type type = (enum tensor_type)((r + o + c) % 3);
                check_matmul(kernels, row_counts[r], outputs[o], columns[c], type,
                             CPU_AFTER_STORE);
            }
        }
    }
}
END_TEST

START_TEST(matmul_applies_what_comes_after)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    for (int what = CPU_AFTER_STORE; kernels != NULL && what <= CPU_AFTER_ADD; what++) {
        for (int type = TENSOR_BF16; type <= TENSOR_F32; type++) {
            check_matmul(kernels, 1, 6, 64, (enum tensor_type)type, (enum cpu_after)what);
            check_matmul(kernels, 11, 6, 64, (enum tensor_type)type, (enum cpu_after)what);
        }
    }
}
END_TEST

/* ---- Rows -------------------------------------------------------------------------------- */

START_TEST(layer_norm_matches_float64)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    for (uint32_t C = 64; kernels != NULL && C <= 320; C += 64) {
        float *x = random_floats(C, 3.0f);
        float *weight = random_floats(C, 1.0f);
        float *bias = random_floats(C, 1.0f);
        float *y = random_floats(C, 1.0f);
        x[5] += 1000.0f; /* A mean far from zero, and an outlier. */
        double mean = 0.0;
        double variance = 0.0;
        for (uint32_t c = 0; c < C; c++) {
            mean += (double)x[c] / C;
        }
        for (uint32_t c = 0; c < C; c++) {
            variance += ((double)x[c] - mean) * ((double)x[c] - mean) / C;
        }
        kernels->layer_norm(x, weight, bias, C, y);
        for (uint32_t c = 0; c < C; c++) {
            const double expected =
                ((double)x[c] - mean) / sqrt(variance + 1e-5) * (double)weight[c] +
                (double)bias[c];
            ck_assert_double_eq_tol((double)y[c], expected, 2e-5);
        }
        free(y);
        free(bias);
        free(weight);
        free(x);
    }
}
END_TEST

START_TEST(layer_norm_is_the_bias_when_all_channels_are_equal)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    float x[64], weight[64], bias[64], y[64];
    for (int c = 0; c < 64; c++) {
        x[c] = 7.0f;
        weight[c] = 3.0f;
        bias[c] = (float)c;
    }
    if (kernels != NULL) {
        kernels->layer_norm(x, weight, bias, 64, y);
        ck_assert_mem_eq(y, bias, sizeof(y));
    }
}
END_TEST

/* ---- Time mix ---------------------------------------------------------------------------- */

/* Everything that time_mix_inputs reads and writes, one head. */
struct head_vectors {
    float w0[N], a0[N], v0[N], k_k[N], k_a[N], decay[N], a[N], v_gate[N];
    float k[N], v[N], v_first[N], minus_kk[N], kk_a[N];
};

static struct cpu_time_mix_inputs inputs_of(struct head_vectors *u, bool is_layer_0)
{
    return (struct cpu_time_mix_inputs){
        .w0 = u->w0,
        .a0 = u->a0,
        .v0 = is_layer_0 ? NULL : u->v0,
        .k_k = u->k_k,
        .k_a = u->k_a,
        .decay = u->decay,
        .a = u->a,
        .v_gate = u->v_gate,
        .k = u->k,
        .v = u->v,
        .v_first = u->v_first,
        .minus_kk = u->minus_kk,
        .kk_a = u->kk_a,
    };
}

START_TEST(time_mix_inputs_is_finite_when_k_is_zero_or_huge)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    static const float scales[] = {0.0f, 1.0f, 1e4f};
    for (size_t index = 0; kernels != NULL && index < 3; index++) {
        struct head_vectors u;
        float *values = (float *)&u;
        for (size_t at = 0; at < sizeof(u) / sizeof(float); at++) {
            values[at] = random_float();
        }
        double length = 0.0;
        for (int n = 0; n < N; n++) {
            u.k[n] *= scales[index];
        }
        const struct cpu_time_mix_inputs inputs = inputs_of(&u, false);
        kernels->time_mix_inputs(&inputs);
        for (int n = 0; n < N; n++) {
            length += (double)u.minus_kk[n] * (double)u.minus_kk[n];
            ck_assert(isfinite(u.minus_kk[n]) && isfinite(u.kk_a[n]) && isfinite(u.k[n]));
            ck_assert(u.decay[n] <= 0.0f && u.decay[n] >= -0.60654f);
        }
        ck_assert_double_eq_tol(sqrt(length), index == 0 ? 0.0 : 1.0, 1e-6);
    }
}
END_TEST

START_TEST(time_mix_inputs_keeps_v_when_in_layer_0)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    struct head_vectors u = {0};
    for (int n = 0; n < N; n++) {
        u.v[n] = random_float();
        u.v_first[n] = 99.0f;
    }
    if (kernels != NULL) {
        const struct cpu_time_mix_inputs inputs = inputs_of(&u, true);
        const struct head_vectors before = u;
        kernels->time_mix_inputs(&inputs);
        ck_assert_mem_eq(u.v, before.v, sizeof(u.v));
        ck_assert_mem_eq(u.v_first, before.v, sizeof(u.v));
    }
}
END_TEST

/* ---- The recurrence ---------------------------------------------------------------------- */

/* The recurrence in float64, from wx, over rows of stride N; s is [value][key]. */
static void wkv_float64(uint32_t row_count, const float *r, const double *wx, const float *k,
                        const float *v, const float *minus_kk, const float *kk_a, double *s,
                        double *y)
{
    for (size_t at = 0; at < (size_t)row_count * N; at += N) {
        for (size_t i = 0; i < N; i++) {
            double sa = 0.0;
            y[at + i] = 0.0;
            for (size_t j = 0; j < N; j++) {
                sa += s[i * N + j] * (double)minus_kk[at + j];
            }
            for (size_t j = 0; j < N; j++) {
                const double w = exp(-exp(-0.5) / (1.0 + exp(-wx[at + j])));
                s[i * N + j] = s[i * N + j] * w + sa * (double)kk_a[at + j] +
                               (double)v[at + i] * (double)k[at + j];
                y[at + i] += s[i * N + j] * (double)r[at + j];
            }
        }
    }
}

/* Runs T rows whose decay comes from `wx_of`, through the kernels that make log_w and use it. The
 * largest error of y in the last 256 rows, relative to the largest |y| there. */
static double wkv_error(const struct cpu_kernels *kernels, uint32_t row_count,
                        const float *wx_by_channel)
{
    const size_t count = (size_t)row_count * N;
    float *r = random_floats(count, 1.0f), *k = random_floats(count, 1.0f);
    float *v = random_floats(count, 1.0f), *minus_kk = random_floats(count, 1.0f);
    float *kk_a = random_floats(count, 1.0f), *log_w = random_floats(count, 1.0f);
    float *y = random_floats(count, 1.0f), *state = random_floats(N * N, 1.0f);
    double *wx = calloc(count, sizeof(*wx)), *expected = calloc(count, sizeof(*expected));
    double *s = calloc(N * N, sizeof(*s));
    for (size_t at = 0; at < count; at += N) {
        struct head_vectors u = {0};
        for (size_t n = 0; n < N; n++) {
            u.decay[n] = wx_by_channel[n];
            wx[at + n] = (double)wx_by_channel[n];
            u.k[n] = k[at + n];
            u.k_k[n] = 1.0f;
            u.a[n] = random_float();
        }
        const struct cpu_time_mix_inputs inputs = inputs_of(&u, true);
        kernels->time_mix_inputs(&inputs);
        memcpy(log_w + at, u.decay, sizeof(u.decay));
        memcpy(minus_kk + at, u.minus_kk, sizeof(u.minus_kk));
        memcpy(kk_a + at, u.kk_a, sizeof(u.kk_a));
    }
    for (size_t at = 0; at < N * N; at++) {
        s[at] = (double)state[at];
    }
    const struct cpu_wkv wkv = {.row_count = row_count, .row_stride = N, .r = r, .log_w = log_w,
                                .k = k, .v = v, .minus_kk = minus_kk, .kk_a = kk_a,
                                .state_in = state, .state_out = state, .y = y};
    kernels->wkv(&wkv);
    wkv_float64(row_count, r, wx, k, v, minus_kk, kk_a, s, expected);
    double worst = 0.0;
    double largest = 0.0;
    for (size_t at = row_count > 256 ? count - 256 * N : 0; at < count; at++) {
        worst = fmax(worst, fabs((double)y[at] - expected[at]));
        largest = fmax(largest, fabs(expected[at]));
        ck_assert(isfinite(y[at]));
    }
    void *const all[] = {r, k, v, minus_kk, kk_a, log_w, y, state, wx, expected, s};
    for (size_t index = 0; index < sizeof(all) / sizeof(all[0]); index++) {
        free(all[index]);
    }
    return worst / largest;
}

START_TEST(wkv_is_within_1e_4_of_float64_when_decay_is_extreme)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    static const float extremes[] = {-30.0f, -12.0f, 12.0f, 30.0f};
    for (size_t index = 0; kernels != NULL && index <= 4; index++) {
        float wx[N];
        for (size_t n = 0; n < N; n++) {
            wx[n] = index < 4 ? extremes[index] : extremes[n % 4]; /* Each alone, then mixed. */
        }
        ck_assert_double_lt(wkv_error(kernels, 512, wx), 1e-4);
    }
}
END_TEST

START_TEST(wkv_error_does_not_grow_when_the_sequence_is_long_and_slow)
{
    /* 1 - w of about 1e-4: a rounded w, or a rounded log_w, shows within a few hundred tokens. */
    const struct cpu_kernels *kernels = kernels_of(_i);
    float wx[N];
    for (size_t n = 0; n < N; n++) {
        wx[n] = -8.0f - 0.05f * (float)n;
    }
    if (kernels != NULL) {
        ck_assert_double_lt(wkv_error(kernels, 512, wx), 1e-5);
        ck_assert_double_lt(wkv_error(kernels, 4096, wx), 1e-5);
    }
}
END_TEST

START_TEST(wkv_has_the_same_bits_when_rows_come_one_by_one_or_from_another_state)
{
    enum { ROWS = 9, STRIDE = 2 * N };
    const struct cpu_kernels *kernels = kernels_of(_i);
    if (kernels == NULL) {
        return;
    }
    float *vectors[6];
    for (size_t index = 0; index < 6; index++) {
        vectors[index] = random_floats(ROWS * STRIDE, index == 1 ? 0.3f : 1.0f);
    }
    for (size_t at = 0; at < ROWS * STRIDE; at++) {
        vectors[1][at] = -fabsf(vectors[1][at]); /* log_w */
    }
    float *source = random_floats(N * N, 1.0f), *whole = random_floats(N * N, 1.0f);
    float *pieces = random_floats(N * N, 1.0f);
    float y_whole[ROWS * STRIDE], y_pieces[ROWS * STRIDE];
    memcpy(pieces, source, N * N * sizeof(float));
    struct cpu_wkv wkv = {
        .row_count = ROWS, .row_stride = STRIDE, .r = vectors[0], .log_w = vectors[1],
        .k = vectors[2], .v = vectors[3], .minus_kk = vectors[4], .kk_a = vectors[5],
        .state_in = source, .state_out = whole, .y = y_whole};
    float *source_before = random_floats(N * N, 1.0f);
    memcpy(source_before, source, N * N * sizeof(float));
    kernels->wkv(&wkv);
    ck_assert_mem_eq(source, source_before, N * N * sizeof(float));
    for (size_t row = 0; row < ROWS; row++) {
        const size_t at = row * STRIDE;
        const struct cpu_wkv one = {
            .row_count = 1, .row_stride = STRIDE, .r = vectors[0] + at, .log_w = vectors[1] + at,
            .k = vectors[2] + at, .v = vectors[3] + at, .minus_kk = vectors[4] + at,
            .kk_a = vectors[5] + at, .state_in = pieces, .state_out = pieces,
            .y = y_pieces + at};
        kernels->wkv(&one);
        ck_assert_mem_eq(y_pieces + at, y_whole + at, N * sizeof(float));
    }
    ck_assert_mem_eq(pieces, whole, N * N * sizeof(float));
    for (size_t index = 0; index < 6; index++) {
        free(vectors[index]);
    }
    free(source_before);
    free(pieces);
    free(whole);
    free(source);
}
END_TEST

START_TEST(time_mix_output_matches_float64)
{
    const struct cpu_kernels *kernels = kernels_of(_i);
    float weight[N], bias[N], r_k[N], r[N], k[N], v[N], g[N], y[N];
    double mean = 0.0, variance = 0.0, bonus = 0.0;
    float *const all[] = {weight, bias, r_k, r, k, v, g, y};
    for (size_t index = 0; index < 8; index++) {
        for (size_t n = 0; n < N; n++) {
            all[index][n] = random_float() * (index == 7 ? 0.05f : 1.0f); /* eps must matter. */
        }
    }
    for (size_t n = 0; n < N; n++) {
        mean += (double)y[n] / N;
        bonus += (double)r[n] * (double)k[n] * (double)r_k[n];
    }
    for (size_t n = 0; n < N; n++) {
        variance += ((double)y[n] - mean) * ((double)y[n] - mean) / N;
    }
    double expected[N];
    for (size_t n = 0; n < N; n++) {
        const double normal = ((double)y[n] - mean) / sqrt(variance + 64e-5);
        expected[n] = (normal * (double)weight[n] + (double)bias[n] + bonus * (double)v[n]) *
                      (double)g[n];
    }
    const struct cpu_time_mix_output output = {.ln_weight = weight, .ln_bias = bias, .r_k = r_k,
                                               .r = r, .k = k, .v = v, .g = g, .y = y};
    for (size_t n = 0; kernels != NULL && n < N; n++) {
        if (n == 0) {
            kernels->time_mix_output(&output);
        }
        ck_assert_double_eq_tol((double)y[n], expected[n], 1e-5);
    }
}
END_TEST

/* ---- Variants ---------------------------------------------------------------------------- */

/* One product by both sets; the whole of it must be the same bits. */
static void check_same_matmul(const struct cpu_kernels *const sets[2], uint32_t row_count,
                              uint32_t outputs, uint32_t columns, enum tensor_type type,
                              enum cpu_after what)
{
    const size_t count = (size_t)row_count * outputs;
    float *x = random_floats((size_t)row_count * columns, 1.0f);
    float *weights = random_floats((size_t)outputs * columns, 1.0f);
    void *stored = store_weights(weights, (size_t)outputs * columns, type);
    float *held = random_floats(count, 1.0f);
    float *scratch = random_floats((size_t)CPU_SCRATCH_ROWS * columns, 1.0f);
    float *y[2];
    const struct cpu_matrix matrix = {
        .data = stored, .type = type, .rows = outputs, .columns = columns};
    for (size_t set = 0; set < 2; set++) {
        y[set] = random_floats(count, 1.0f);
        memcpy(y[set], held, count * sizeof(*held));
        const struct cpu_matmul job = {.weight = &matrix,
                                       .x = x,
                                       .row_count = row_count,
                                       .y = y[set],
                                       .y_stride = outputs,
                                       .after = what};
        sets[set]->matmul(&job, 0, outputs, scratch);
    }
    ck_assert_msg(memcmp(y[0], y[1], count * sizeof(**y)) == 0, "%u rows, %u outputs, %u inputs",
                  row_count, outputs, columns);
    void *const all[] = {x, weights, stored, held, scratch, y[0], y[1]};
    for (size_t index = 0; index < sizeof(all) / sizeof(all[0]); index++) {
        free(all[index]);
    }
}

START_TEST(avx512_matmul_has_the_bits_of_avx2)
{
    const struct cpu_kernels *const sets[2] = {cpu_kernels_avx2_if_supported(),
                                               cpu_kernels_avx512_if_supported()};
    for (uint32_t row_count = 1; sets[1] != NULL && row_count <= 40; row_count++) {
        for (uint32_t columns = 32; columns <= 1056; columns += 512) {
            const uint32_t outputs = 1 + row_count % 9;
            const enum tensor_type type = (enum tensor_type)(row_count % 3);
            const enum cpu_after what = (enum cpu_after)(row_count % 5);
            check_same_matmul(sets, row_count, outputs, columns, type, what);
        }
    }
    if (sets[1] != NULL) {
        check_same_matmul(sets, 300, 32, 8192, TENSOR_BF16, CPU_AFTER_STORE); /* Many blocks. */
    }
}
END_TEST

START_TEST(avx512_wkv_has_the_bits_of_avx2)
{
    enum { ROWS = 33 };
    const struct cpu_kernels *const sets[2] = {cpu_kernels_avx2_if_supported(),
                                               cpu_kernels_avx512_if_supported()};
    static float vectors[6][ROWS * N];
    static float states[2][N * N], y[2][ROWS * N];
    for (size_t at = 0; at < (size_t)6 * ROWS * N; at++) {
        vectors[at / (ROWS * N)][at % (ROWS * N)] = random_float();
    }
    for (size_t at = 0; at < ROWS * N; at++) {
        vectors[1][at] = -fabsf(vectors[1][at]); /* log_w */
    }
    for (size_t at = 0; at < N * N; at++) {
        states[0][at] = states[1][at] = random_float();
    }
    for (size_t set = 0; sets[1] != NULL && set < 2; set++) {
        const struct cpu_wkv wkv = {
            .row_count = ROWS, .row_stride = N, .r = vectors[0], .log_w = vectors[1],
            .k = vectors[2], .v = vectors[3], .minus_kk = vectors[4], .kk_a = vectors[5],
            .state_in = states[set], .state_out = states[set], .y = y[set]};
        sets[set]->wkv(&wkv);
    }
    ck_assert_mem_eq(y[0], y[1], sizeof(y[0]));
    ck_assert_mem_eq(states[0], states[1], sizeof(states[0]));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu kernels");
    TCase *tests = tcase_create("kernels");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, matmul_row_has_the_same_bits_when_alone, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, matmul_applies_what_comes_after, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, layer_norm_matches_float64, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, layer_norm_is_the_bias_when_all_channels_are_equal, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, time_mix_inputs_is_finite_when_k_is_zero_or_huge, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, time_mix_inputs_keeps_v_when_in_layer_0, 0, KERNEL_SETS);
    tcase_add_loop_test(tests, wkv_is_within_1e_4_of_float64_when_decay_is_extreme, 0,
                        KERNEL_SETS);
    tcase_add_loop_test(tests, wkv_error_does_not_grow_when_the_sequence_is_long_and_slow, 0,
                        KERNEL_SETS);
    tcase_add_loop_test(tests,
                        wkv_has_the_same_bits_when_rows_come_one_by_one_or_from_another_state, 0,
                        KERNEL_SETS);
    tcase_add_loop_test(tests, time_mix_output_matches_float64, 0, KERNEL_SETS);
    tcase_add_test(tests, avx512_matmul_has_the_bits_of_avx2);
    tcase_add_test(tests, avx512_wkv_has_the_bits_of_avx2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
