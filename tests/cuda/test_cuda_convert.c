/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that the weights on the device are those of the file. Shown by: every element of
 * matrices of all types and odd shapes, plain and transposed, with padding and overflow. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_case.h"

static const enum cuda_source sources[] = {CUDA_FROM_BF16, CUDA_FROM_F16, CUDA_FROM_F32};

enum { SOURCES = 3 };

/* A matrix in the type of the source, on the device; numbers_out: what it holds, exactly. */
static void *make_source(enum cuda_source source, size_t count, double **numbers_out)
{
    double *numbers = kernel_numbers(count, source == CUDA_FROM_F16, -2.0, 2.0);
    *numbers_out = numbers;
    if (source == CUDA_FROM_F16) {
        return kernel_halves(numbers, count);
    }
    if (source == CUDA_FROM_F32) {
        return kernel_floats(numbers, count);
    }
    uint16_t *narrowed = kernel_host(count * sizeof *narrowed);
    for (size_t index = 0; index < count; index++) {
        float value = (float)numbers[index];
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        narrowed[index] = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        memcpy(&value, &bits, sizeof value);
        numbers[index] = (double)value;
    }
    return kernel_upload(narrowed, count * sizeof *narrowed);
}

static uint32_t *make_flag(void)
{
    const uint32_t zero = 0;
    return kernel_upload(&zero, sizeof zero);
}

static uint32_t flag_value(const uint32_t *flag)
{
    const uint32_t *value = kernel_read(flag, sizeof *value);
    return *value;
}

static void check_matrix(enum cuda_source source, uint32_t rows, uint32_t columns, bool transpose,
                         uint32_t padded)
{
    double *numbers;
    const void *from = make_source(source, (size_t)rows * columns, &numbers);
    const size_t lines = transpose ? columns : rows, used = transpose ? rows : columns;
    cuda_half *to = kernel_device((lines * padded + 1) * sizeof *to);
    uint32_t *flag = make_flag();
    KERNEL_OK(cuda_convert_matrix(NULL, source, from, rows, columns, transpose, padded, to, flag));
    const double *got = kernel_read_halves(to, lines * padded + 1);
    for (size_t line = 0; line < lines; line++) {
        for (size_t at = 0; at < padded; at++) {
            const size_t index = transpose ? at * columns + line : line * columns + at;
            const double expected =
                at < used ? kernel_half_value(kernel_half(numbers[index])) : 0.0;
            ck_assert_double_eq(got[line * padded + at], expected);
        }
    }
    ck_assert(isnan(got[lines * padded]));
    ck_assert_uint_eq(flag_value(flag), 0);
    kernel_case_end();
}

START_TEST(matrices_keep_their_numbers)
{
    static const uint32_t shapes[][3] = {
        {1, 1, 16}, {3, 40, 48}, {128, 8, 16}, {33, 300, 304}, {64, 64, 64},
    };
    for (size_t n = 0; n < SOURCES * 5; n++) {
        const uint32_t *shape = shapes[n / SOURCES];
        check_matrix(sources[n % SOURCES], shape[0], shape[1], false, shape[2]);
        check_matrix(sources[n % SOURCES], shape[1], shape[0], true, shape[2]);
    }
}
END_TEST

START_TEST(vectors_keep_their_numbers)
{
    enum { COUNT = 777 };
    for (size_t n = 0; n < SOURCES; n++) {
        double *numbers;
        const void *from = make_source(sources[n], COUNT, &numbers);
        float *to = kernel_device((COUNT + 1) * sizeof *to);
        KERNEL_OK(cuda_convert_vector(NULL, sources[n], from, COUNT, to));
        const double *got = kernel_read_floats(to, COUNT + 1);
        ck_assert_mem_eq(got, numbers, COUNT * sizeof *got);
        ck_assert(isnan(got[COUNT]));
    }
}
END_TEST

static uint32_t overflow_of(double number, bool transpose)
{
    double numbers[64] = {[37] = number};
    cuda_half *to = kernel_device(64 * sizeof *to);
    uint32_t *flag = make_flag();
    KERNEL_OK(cuda_convert_matrix(NULL, CUDA_FROM_F32, kernel_floats(numbers, 64), 4, 16,
                                  transpose, transpose ? 4 : 16, to, flag));
    return flag_value(flag);
}

START_TEST(only_finite_numbers_that_become_infinite_are_reported)
{
    for (int transpose = 0; transpose < 2; transpose++) {
        ck_assert_uint_eq(overflow_of(65504.0, transpose != 0), 0);
        ck_assert_uint_eq(overflow_of(-65519.0, transpose != 0), 0);
        ck_assert_uint_eq(overflow_of(65520.0, transpose != 0), 1);
        ck_assert_uint_eq(overflow_of(-(double)FLT_MAX, transpose != 0), 1);
        ck_assert_uint_eq(overflow_of(INFINITY, transpose != 0), 0);
        ck_assert_uint_eq(overflow_of(NAN, transpose != 0), 0);
    }
}
END_TEST

START_TEST(too_little_room_is_refused)
{
    cuda_half *to = kernel_device(64);
    ck_assert_int_eq(cuda_convert_matrix(NULL, CUDA_FROM_F32, to, 4, 17, false, 16, to, NULL),
                     cudaErrorInvalidValue);
    ck_assert_int_eq(cuda_convert_matrix(NULL, CUDA_FROM_F32, to, 17, 4, true, 16, to, NULL),
                     cudaErrorInvalidValue);
}
END_TEST

START_TEST(random_numbers_depend_on_the_seed_alone)
{
    enum { COUNT = 20000 };
    float *one = kernel_device(COUNT * sizeof *one), *two = kernel_device(COUNT * sizeof *two);
    cuda_half *halves = kernel_device(COUNT * sizeof *halves);
    KERNEL_OK(cuda_fill_f32(NULL, one, COUNT, 0.5f, 2.0f, 7));
    KERNEL_OK(cuda_fill_f32(NULL, two, COUNT, 0.5f, 2.0f, 7));
    KERNEL_OK(cuda_fill_f16(NULL, halves, COUNT, 0.5f, 2.0f, 7));
    const double *a = kernel_read_floats(one, COUNT), *b = kernel_read_floats(two, COUNT);
    const double *h = kernel_read_halves(halves, COUNT);
    ck_assert_mem_eq(a, b, COUNT * sizeof *a);
    double sum = 0.0, squares = 0.0;
    for (size_t at = 0; at < COUNT; at++) {
        ck_assert(a[at] >= 1.5 && a[at] <= 2.5);
        ck_assert_double_eq(h[at], kernel_half_value(kernel_half(a[at])));
        sum += a[at] - 2.0;
        squares += (a[at] - 2.0) * (a[at] - 2.0);
    }
    ck_assert_double_lt(fabs(sum / COUNT), 0.01);
    ck_assert_double_eq_tol(squares / COUNT, 0.25 / 3.0, 0.002);
    KERNEL_OK(cuda_fill_f32(NULL, two, COUNT, 0.5f, 2.0f, 8));
    ck_assert_mem_ne(a, kernel_read_floats(two, COUNT), COUNT * sizeof *a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_convert");
    TCase *tests = tcase_create("convert");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, NULL, kernel_case_end);
    tcase_add_test(tests, matrices_keep_their_numbers);
    tcase_add_test(tests, vectors_keep_their_numbers);
    tcase_add_test(tests, only_finite_numbers_that_become_infinite_are_reported);
    tcase_add_test(tests, too_little_room_is_refused);
    tcase_add_test(tests, random_numbers_depend_on_the_seed_alone);
    suite_add_tcase(suite, tests);
    return kernel_case_run(suite);
}
