/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that the emulator's halves, integers and matrix products are the device's, bit by bit.
 * Shown by: definitions in double, for every half and for floats around every tie. */
#include <check.h>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdlib.h>

#include <vector>

/* ---- Halves ------------------------------------------------------------------------------ */

/* By the definition of binary16. */
static double value_of_half(unsigned int bits)
{
    const unsigned int exponent = bits >> 10 & 31u;
    const double digits = bits & 1023u;
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    return sign * (exponent == 0 ? ldexp(digits, -24)
                                 : ldexp(1024.0 + digits, static_cast<int>(exponent) - 25));
}

START_TEST(half_becomes_the_float_it_is)
{
    for (unsigned int bits = 0; bits < 0x10000u; bits++) {
        const __half half_value = __ushort_as_half(static_cast<unsigned short>(bits));
        const float found = __half2float(half_value);
        if ((bits & 0x7c00u) != 0x7c00u) {
            ck_assert_msg(found == value_of_half(bits), "%04x: %g", bits, found);
            ck_assert_msg(signbit(found) == (bits >> 15), "%04x", bits);
            ck_assert_uint_eq(__half_as_ushort(__float2half_rn(found)), bits);
        } else if ((bits & 0x3ffu) == 0) {
            ck_assert_msg(isinf(found), "%04x: %g", bits, found);
        } else {
            ck_assert_msg(isnan(found), "%04x: %g", bits, found);
            ck_assert(__hisnan(__float2half_rn(found)));
        }
    }
}
END_TEST

START_TEST(float_becomes_the_nearest_half_and_the_even_one_of_two)
{
    for (unsigned int bits = 0; bits < 0x7c00u; bits++) {
        /* 65520 is the tie between the largest and what would be 65536. */
        const double high = bits == 0x7bffu ? 65536.0 : value_of_half(bits + 1);
        const float tie = static_cast<float>((value_of_half(bits) + high) / 2.0);
        const unsigned int even = bits + (bits & 1u);
        ck_assert_uint_eq(__half_as_ushort(__float2half_rn(tie)), even);
        ck_assert_uint_eq(__half_as_ushort(__float2half_rn(nextafterf(tie, 0.0f))), bits);
        ck_assert_uint_eq(__half_as_ushort(__float2half_rn(nextafterf(tie, INFINITY))), bits + 1);
        ck_assert_uint_eq(__half_as_ushort(__float2half_rn(-tie)), even | 0x8000u);
        ck_assert_uint_eq(__half_as_ushort(__float2half_rz(nextafterf(tie, INFINITY))), bits);
    }
    ck_assert_uint_eq(__half_as_ushort(__float2half_rn(1e30f)), 0x7c00u);
    ck_assert_uint_eq(__half_as_ushort(__float2half_rn(-INFINITY)), 0xfc00u);
    ck_assert_uint_eq(__half_as_ushort(__float2half_rn(1e-30f)), 0u);
}
END_TEST

static uint32_t seed = 1;

static uint32_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static __half random_half(void)
{
    unsigned int bits = 0;
    do {
        bits = random_bits() & 0xffffu;
    } while ((bits & 0x7c00u) == 0x7c00u);
    return __ushort_as_half(static_cast<unsigned short>(bits));
}

/* The nearest half of x + error, where error is less than what separates doubles. */
static unsigned int nearest(double x, double error)
{
    unsigned int low = 0;
    unsigned int high = 0x7c00u; /* Stands for 65536. */
    const double magnitude = fabs(x);
    const double rest = x < 0.0 ? -error : error;
    while (high - low > 1) {
        const unsigned int middle = (low + high) / 2;
        const double value = middle == 0x7c00u ? 65536.0 : value_of_half(middle);
        if (value < magnitude || (value == magnitude && rest >= 0.0)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const double above = high == 0x7c00u ? 65536.0 : value_of_half(high);
    const double tie = (value_of_half(low) + above) / 2.0;
    const double beyond = magnitude != tie ? magnitude - tie : rest;
    const unsigned int result = beyond > 0.0 ? high : beyond < 0.0 ? low : low + (low & 1u);
    return result | (x < 0.0 ? 0x8000u : 0u);
}

static void assert_rounded(const char *what, __half found, double x, double error)
{
    const unsigned int expected = nearest(x, error);
    if (__half_as_ushort(found) != expected) { /* An assertion each takes too long. */
        ck_abort_msg("%s: %.17g + %g: %04x, expected %04x", what, x, error,
                     __half_as_ushort(found), expected);
    }
}

START_TEST(arithmetic_of_halves_rounds_once)
{
    for (int round = 0; round < 100000; round++) {
        const __half a = random_half(), b = random_half(), c = random_half();
        const double x = __half2float(a), y = __half2float(b), z = __half2float(c);
        /* Exact sum of two doubles: the rounded one and what it leaves. */
        const double sum = x * y + z;
        const double seen = sum - x * y;
        const double rest = (x * y - (sum - seen)) + (z - seen);
        if (fabs(sum) >= 65536.0 || sum == 0.0 || x * y == 0.0 || x + y == 0.0) {
            continue;
        }
        assert_rounded("fma", __hfma(a, b, c), sum, rest);
        if (fabs(x * y) < 65536.0) {
            assert_rounded("mul", __hmul(a, b), x * y, 0.0);
        }
        if (fabs(x + y) < 65536.0) {
            assert_rounded("add", __hadd(a, b), x + y, 0.0);
        }
    }
}
END_TEST

START_TEST(bfloat16_is_the_upper_half_of_a_float)
{
    ck_assert_float_eq(__bfloat162float(__nv_bfloat16{0x3fc0}), 1.5f);
    ck_assert_uint_eq(__float2bfloat16_rn(__uint_as_float(0x3f808000u)).__x, 0x3f80u);
    ck_assert_uint_eq(__float2bfloat16_rn(__uint_as_float(0x3f818000u)).__x, 0x3f82u);
    ck_assert_uint_eq(__float2bfloat16_rn(__uint_as_float(0x3f808001u)).__x, 0x3f81u);
}
END_TEST

/* ---- Integers ---------------------------------------------------------------------------- */

START_TEST(integers_saturate_and_count_as_the_device_does)
{
    ck_assert_uint_eq(__float2ull_rn(2.5f), 2);
    ck_assert_uint_eq(__float2ull_rn(3.5f), 4);
    ck_assert_uint_eq(__float2ull_rn(-1.0f), 0);
    ck_assert_uint_eq(__float2ull_rn(1e30f), UINT64_MAX);
    ck_assert_int_eq(__float2int_rz(-1e20f), INT32_MIN);
    ck_assert_int_eq(__float2int_rn(NAN), 0);
    ck_assert_uint_eq(__float2uint_rn(4294967040.0f), 4294967040u);
    ck_assert_int_eq(__clz(0), 32);
    ck_assert_int_eq(__clz(1), 31);
    ck_assert_int_eq(__ffs(0), 0);
    ck_assert_int_eq(__ffs(8), 4);
    ck_assert_uint_eq(__brev(1u), 0x80000000u);
    ck_assert_uint_eq(__brev(0x12345678u), 0x1e6a2c48u);
    ck_assert_uint_eq(__umulhi(0xffffffffu, 0xffffffffu), 0xfffffffeu);
    ck_assert_uint_eq(__umul64hi(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
    ck_assert_uint_eq(__byte_perm(0x33221100u, 0x77665544u, 0x7140), 0x77114400u);
    ck_assert_uint_eq(__funnelshift_l(0x80000001u, 0xf0000000u, 4), 0x00000008u);
    ck_assert_uint_eq(__funnelshift_r(0x80000001u, 0x0000000fu, 4), 0xf8000000u);
}
END_TEST

/* ---- Products ---------------------------------------------------------------------------- */

/* Columns for rows: A is 16 by 16 in rows, B 16 by 8, as shared memory would hold them. */
static __global__ void product_kernel(const __half *a, const __half *b, float *out)
{
    const unsigned int lane = threadIdx.x;
    uint32_t a_words[4];
    uint32_t b_words[2];
    float c[4];
    cuda_emulator_ldmatrix(a_words, 4, false, a + (lane % 16) * 16 + lane / 16 * 8);
    cuda_emulator_ldmatrix(b_words, 2, true, b + lane % 16 * 8);
    for (unsigned int index = 0; index < 4; index++) {
        c[index] = static_cast<float>(lane);
    }
    cuda_emulator_mma_m16n8k16(c, a_words, b_words, c);
    /* The same once more, in two steps of 8. */
    cuda_emulator_mma_m16n8k8(c, a_words, b_words, c);
    cuda_emulator_mma_m16n8k8(c, a_words + 2, b_words + 1, c);
    for (unsigned int index = 0; index < 4; index++) {
        const unsigned int row = lane / 4 + index / 2 * 8;
        out[row * 8 + lane % 4 * 2 + index % 2] = c[index] - static_cast<float>(lane);
    }
}

START_TEST(warp_multiplies_the_matrices_that_were_loaded)
{
    __half *a = NULL;
    __half *b = NULL;
    float *out = NULL;
    cudaMalloc(&a, 16 * 16 * sizeof *a);
    cudaMalloc(&b, 16 * 8 * sizeof *b);
    cudaMalloc(&out, 16 * 8 * sizeof *out);
    for (int index = 0; index < 16 * 16; index++) {
        a[index] = __float2half(static_cast<float>(random_bits() % 17) - 8.0f);
        b[index / 2] = __float2half(static_cast<float>(random_bits() % 17) - 8.0f);
    }
    cudaLaunchConfig_t config = {};
    config.blockDim = 32;
    ck_assert_int_eq(cudaLaunchKernelEx(&config, product_kernel, a, b, out), cudaSuccess);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float sum = 0.0f;
            for (int k = 0; k < 16; k++) {
                sum += __half2float(a[row * 16 + k]) * __half2float(b[k * 8 + column]);
            }
            ck_assert_float_eq(out[row * 8 + column], 2.0f * sum);
        }
    }
    cudaFree(out);
    cudaFree(b);
    cudaFree(a);
}
END_TEST

enum { M = 5, N = 7, K = 24, BATCH = 2, LEADING_MORE = 3 };

/* Columns of a matrix of small integers, some rows longer than it is; op(X)(row, k). */
struct matrix {
    uint64_t rows, columns;
    cublasLtMatrixLayout_t layout;
    std::vector<float> numbers;
    void *memory;

    size_t place(int batch, uint64_t row, uint64_t column) const
    {
        const uint64_t leading = rows + LEADING_MORE;
        return static_cast<size_t>(batch) * leading * columns + column * leading + row;
    }
};

static void make(struct matrix *matrix, uint64_t rows, uint64_t columns, cudaDataType type)
{
    const int32_t batch = BATCH;
    const int64_t stride = static_cast<int64_t>((rows + LEADING_MORE) * columns);
    const size_t count = static_cast<size_t>(stride) * BATCH;
    matrix->rows = rows;
    matrix->columns = columns;
    cublasLtMatrixLayoutCreate(&matrix->layout, type, rows, columns,
                               static_cast<int64_t>(rows + LEADING_MORE));
    cublasLtMatrixLayoutSetAttribute(matrix->layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                     sizeof batch);
    cublasLtMatrixLayoutSetAttribute(matrix->layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                     &stride, sizeof stride);
    cudaMalloc(&matrix->memory, count * (type == CUDA_R_16F ? 2 : 4));
    for (size_t index = 0; index < count; index++) {
        const float number = static_cast<float>(random_bits() % 9) - 4.0f;
        matrix->numbers.push_back(number);
        if (type == CUDA_R_16F) {
            static_cast<__half *>(matrix->memory)[index] = __float2half(number);
        } else {
            static_cast<float *>(matrix->memory)[index] = number;
        }
    }
}

static float found_in(const struct matrix *matrix, size_t index, cudaDataType type)
{
    return type == CUDA_R_16F ? __half2float(static_cast<__half *>(matrix->memory)[index])
                              : static_cast<float *>(matrix->memory)[index];
}

static void multiply(const struct matrix *a, int32_t transpose_a, const struct matrix *b,
                     int32_t transpose_b, const struct matrix *d, float beta)
{
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found[4];
    void *workspace = NULL;
    int count = 0;
    const uint64_t workspace_bytes = 1 << 16;
    const float alpha = 2.0f;
    cudaMalloc(&workspace, workspace_bytes);
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose_a, 4);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &transpose_b, 4);
    cublasLtMatmulPreferenceCreate(&preference);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace_bytes, sizeof workspace_bytes);
    ck_assert_int_eq(cublasLtMatmulAlgoGetHeuristic(handle, desc, a->layout, b->layout, d->layout,
                                                    d->layout, preference, 4, found, &count),
                     CUBLAS_STATUS_SUCCESS);
    ck_assert_int_eq(count, 2);
    ck_assert_int_eq(cublasLtMatmul(handle, desc, &alpha, a->memory, a->layout, b->memory,
                                    b->layout, &beta, d->memory, d->layout, d->memory, d->layout,
                                    &found[0].algo, workspace, workspace_bytes, NULL),
                     CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
    cudaFree(workspace);
}

/* Integers are exact, so the order of sums does not matter; _i: both transposes, beta, type. */
START_TEST(library_multiplies_column_by_column)
{
    const bool is_a_turned = (_i & 1) != 0, is_b_turned = (_i & 2) != 0;
    const float beta = (_i & 4) != 0 ? 1.0f : 0.0f;
    const cudaDataType type = (_i & 8) != 0 ? CUDA_R_16F : CUDA_R_32F;
    struct matrix a = {}, b = {}, d = {};
    make(&a, is_a_turned ? K : M, is_a_turned ? M : K, CUDA_R_16F);
    make(&b, is_b_turned ? N : K, is_b_turned ? K : N, CUDA_R_16F);
    make(&d, M, N, type);
    multiply(&a, is_a_turned ? CUBLAS_OP_T : CUBLAS_OP_N, &b,
             is_b_turned ? CUBLAS_OP_T : CUBLAS_OP_N, &d, beta);
    for (int batch = 0; batch < BATCH; batch++) {
        for (uint64_t column = 0; column < N; column++) {
            for (uint64_t row = 0; row < M; row++) {
                const size_t at = d.place(batch, row, column);
                float expected = beta * d.numbers[at];
                for (uint64_t k = 0; k < K; k++) {
                    expected +=
                        2.0f *
                        a.numbers[is_a_turned ? a.place(batch, k, row) : a.place(batch, row, k)] *
                        b.numbers[is_b_turned ? b.place(batch, column, k)
                                              : b.place(batch, k, column)];
                }
                ck_assert_float_eq(found_in(&d, at, type), expected);
            }
            const size_t beyond = d.place(batch, M, column);
            ck_assert_float_eq(found_in(&d, beyond, type), d.numbers[beyond]);
        }
    }
    for (struct matrix *matrix : {&a, &b, &d}) {
        cublasLtMatrixLayoutDestroy(matrix->layout);
        cudaFree(matrix->memory);
    }
}
END_TEST

static Suite *numbers_suite(void)
{
    Suite *suite = suite_create("cuda emulator numbers");
    TCase *tests = tcase_create("numbers");
    tcase_add_test(tests, half_becomes_the_float_it_is);
    tcase_add_test(tests, float_becomes_the_nearest_half_and_the_even_one_of_two);
    tcase_add_test(tests, arithmetic_of_halves_rounds_once);
    tcase_add_test(tests, bfloat16_is_the_upper_half_of_a_float);
    tcase_add_test(tests, integers_saturate_and_count_as_the_device_does);
    tcase_add_test(tests, warp_multiplies_the_matrices_that_were_loaded);
    tcase_add_loop_test(tests, library_multiplies_column_by_column, 0, 16);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(numbers_suite());
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
