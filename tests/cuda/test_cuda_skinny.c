/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every product of a step of 5 to 128 rows on a GPU of capability 9.0, and what follows
 * it. Shown by: each launch against float64, at every width, with tiles in parts, whole and several
 * to a block; nothing stored beyond rows and outputs; the same bits twice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cuda/cuda_skinny.h"
#include "kernel_case.h"

enum { ROWS_BEYOND = 3 }; /* Of the arena, beyond the step. */

static const double f16_error_max = 5e-4;
static const double f32_error_max = 2e-6;

static const double output_scale = 0.1;

struct bench {
    struct cuda_shape shape;
    struct cuda_launch launch;
    struct cuda_step step;
    struct cuda_layer layer;
    struct cuda_activations act;
    struct cuda_skinny_maps maps;
    struct cuda_skinny_layer layer_maps;
    void *scratch;
    uint32_t rows;
    double *planes, *y_gated, *ffn_in, *ffn_hidden, *x;
    double *rkv, *down[CUDA_LOW_RANKS], *output, *ffn_key, *ffn_value;
};

/* Numbers and their f16 copy on the device. */
static double *make_halves(size_t count, double scale, cuda_half **device_out)
{
    double *numbers = kernel_numbers(count, true, -scale, scale);
    *device_out = kernel_halves(numbers, count);
    return numbers;
}

static double *make_weights(size_t count, const cuda_half **device_out)
{
    cuda_half *device = NULL;
    double *numbers = make_halves(count, output_scale, &device);
    *device_out = device;
    return numbers;
}

static void make_bench(struct bench *bench, uint32_t rows, const struct cuda_shape *shape,
                       bool is_first_layer, uint32_t multiprocessors)
{
    *bench = (struct bench){.shape = *shape, .rows = rows};
    bench->launch = (struct cuda_launch){
        .row_capacity = rows, .item_capacity = 1, .multiprocessors = multiprocessors};
    const struct cuda_step_header header = {.row_count = rows, .item_count = 1};
    bench->step.header = kernel_upload(&header, sizeof header);
    const size_t C = shape->C, F = shape->F;
    const uint32_t N = rows + ROWS_BEYOND;
    bench->act = kernel_activations(shape, N, 1);
    bench->planes = make_halves(CUDA_MIXES * N * C, 1.0, &bench->act.planes);
    bench->y_gated = make_halves(N * C, 1.0, &bench->act.y_gated);
    bench->ffn_in = make_halves(N * C, 1.0, &bench->act.ffn_in);
    bench->ffn_hidden = make_halves(N * F, 1.0, &bench->act.ffn_hidden);
    bench->x = kernel_numbers(N * C, false, -1.0, 1.0);
    bench->act.x = kernel_floats(bench->x, N * C);
    bench->rkv = make_weights(3 * C * C, &bench->layer.rkv);
    for (int g = 0; g < CUDA_LOW_RANKS - (is_first_layer ? 1 : 0); g++) {
        bench->down[g] = make_weights(shape->rank[g] * C, &bench->layer.down[g]);
    }
    bench->output = make_weights(C * C, &bench->layer.output);
    bench->ffn_key = make_weights(F * C, &bench->layer.ffn_key);
    bench->ffn_value = make_weights(F * C, &bench->layer.ffn_value);
    KERNEL_OK(cuda_skinny_maps_make(&bench->maps, shape, &bench->act, cuda_skinny_rows(rows)));
    KERNEL_OK(cuda_skinny_layer_make(&bench->layer_maps, shape, &bench->layer));
    const size_t bytes = cuda_skinny_scratch_bytes(shape, multiprocessors);
    bench->scratch = kernel_device(bytes);
    KERNEL_OK(cudaMemset(bench->scratch, 0, bytes));
}

/* ---- Expected ---------------------------------------------------------------------------- */

/* in [rows][K] weights [outputs][K]^T; by_input: weights [K][outputs]. */
static double *product(const struct bench *bench, const double *in, const double *weights,
                       size_t outputs, size_t K, bool by_input)
{
    double *sums = kernel_host(bench->rows * outputs * sizeof *sums);
    for (size_t row = 0; row < bench->rows; row++) {
        for (size_t o = 0; o < outputs; o++) {
            double sum = 0.0;
            for (size_t k = 0; k < K; k++) {
                sum += in[row * K + k] * weights[by_input ? k * outputs + o : o * K + k];
            }
            sums[row * outputs + o] = sum;
        }
    }
    return sums;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double relu_squared(double x)
{
    return x < 0.0 ? 0.0 : x * x;
}

static double same(double x)
{
    return x;
}

static void check_halves(const struct bench *bench, const cuda_half *device, double *expected,
                         size_t outputs, double (*after)(double))
{
    for (size_t at = 0; at < bench->rows * outputs; at++) {
        expected[at] = after(expected[at]);
    }
    const double *got = kernel_read_halves(device, bench->act.N * outputs);
    ck_assert_double_lt(kernel_difference(got, expected, bench->rows * outputs), f16_error_max);
}

/* Rows beyond the step's are as they were. */
static void check_untouched(const struct bench *bench, const cuda_half *device, size_t outputs)
{
    const double *got = kernel_read_halves(device, bench->act.N * outputs);
    for (size_t at = bench->rows * outputs; at < bench->act.N * outputs; at++) {
        ck_assert(isnan(got[at]));
    }
}

/* ---- Launches ---------------------------------------------------------------------------- */

static void check_att_in(struct bench *bench)
{
    static const int mixes[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G, CUDA_MIX_V};
    static double (*const afters[CUDA_LOW_RANKS])(double) = {tanh, same, sigmoid, same};
    KERNEL_OK(cuda_skinny_att_in(&bench->launch, bench->step, &bench->shape, &bench->maps,
                                 &bench->layer_maps, &bench->act, bench->scratch));
    const size_t C = bench->shape.C, plane = bench->act.N * C;
    for (size_t m = 0; m < 3; m++) {
        double *expected = product(bench, bench->planes + m * plane, bench->rkv + m * C * C, C, C,
                                   false);
        check_halves(bench, bench->act.rkv + m * plane, expected, C, same);
        check_untouched(bench, bench->act.rkv + m * plane, C);
    }
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t Q = bench->shape.rank[g];
        if (bench->down[g] != NULL) {
            check_halves(bench, bench->act.hidden[g],
                         product(bench, bench->planes + (size_t)mixes[g] * plane, bench->down[g],
                                 Q, C, false),
                         Q, afters[g]);
            check_untouched(bench, bench->act.hidden[g], Q);
        } else {
            ck_assert(isnan(kernel_read_halves(bench->act.hidden[g], 1)[0]));
        }
    }
}

/* What was added to x, which becomes what it is now. */
static void check_added(struct bench *bench, const double *expected)
{
    const size_t C = bench->shape.C, count = bench->rows * C;
    double *got = kernel_read_floats(bench->act.x, bench->act.N * C);
    double *sums = kernel_host(count * sizeof *sums);
    for (size_t at = 0; at < count; at++) {
        sums[at] = bench->x[at] + expected[at];
    }
    ck_assert_double_lt(kernel_difference(got, sums, count), f32_error_max);
    ck_assert_mem_eq(got + count, bench->x + count, (bench->act.N * C - count) * sizeof *got);
    bench->x = got;
}

static void check_ffn(struct bench *bench)
{
    const size_t C = bench->shape.C, F = bench->shape.F;
    KERNEL_OK(cuda_skinny_ffn_value(&bench->launch, bench->step, &bench->shape, &bench->maps,
                                    &bench->layer_maps, &bench->act, bench->scratch));
    check_added(bench, product(bench, bench->ffn_hidden, bench->ffn_value, C, F, true));
    KERNEL_OK(cuda_skinny_att_out(&bench->launch, bench->step, &bench->shape, &bench->maps,
                                  &bench->layer_maps, &bench->act, bench->scratch));
    check_added(bench, product(bench, bench->y_gated, bench->output, C, C, false));
    KERNEL_OK(cuda_skinny_ffn_key(&bench->launch, bench->step, &bench->shape, &bench->maps,
                                  &bench->layer_maps, &bench->act, bench->scratch));
    check_halves(bench, bench->act.ffn_hidden,
                 product(bench, bench->ffn_in, bench->ffn_key, F, C, false), F, relu_squared);
}

static void check_all(uint32_t rows, const struct cuda_shape *shape, bool is_first_layer,
                      uint32_t multiprocessors)
{
    struct bench bench;
    make_bench(&bench, rows, shape, is_first_layer, multiprocessors);
    check_att_in(&bench);
    check_ffn(&bench);
    kernel_case_end();
}

/* Tiles with rows and outputs that are not there, of few chunks. */
static const struct cuda_shape small = {
    .V = 8, .L = 1, .C = 192, .H = 3, .F = 320, .rank = {32, 16, 144, 48}};
/* Tiles of more chunks than blocks get. */
static const struct cuda_shape deep = {
    .V = 8, .L = 1, .C = 640, .H = 10, .F = 1344, .rank = {16, 16, 32, 16}};

START_TEST(every_width)
{
    static const uint32_t rows[] = {5, 8, 9, 16, 27, 32, 64, 100, 128};
    check_all(rows[_i], &small, _i % 2 == 0, 132);
}
END_TEST

/* From several tiles to a block to several blocks to a tile. */
START_TEST(every_cut)
{
    static const uint32_t multiprocessors[] = {1, 2, 3, 5, 7, 9, 11, 17, 30, 46, 132};
    check_all(13, &deep, false, multiprocessors[_i]);
}
END_TEST

START_TEST(same_bits_twice)
{
    struct bench bench;
    make_bench(&bench, 20, &deep, false, 17);
    const size_t bytes = (size_t)20 * deep.F * sizeof(cuda_half);
    void *seen = NULL;
    for (int run = 0; run < 2; run++) {
        KERNEL_OK(cuda_skinny_ffn_key(&bench.launch, bench.step, &bench.shape, &bench.maps,
                                      &bench.layer_maps, &bench.act, bench.scratch));
        void *bits = kernel_read(bench.act.ffn_hidden, bytes);
        if (seen != NULL) {
            ck_assert_mem_eq(bits, seen, bytes);
        }
        seen = bits;
    }
    kernel_case_end();
}
END_TEST

/* They are launched on no other. */
static bool is_capability_9_0(void)
{
    int major = 0, minor = 0;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0) == cudaSuccess &&
           major == 9 && minor == 0;
}

int main(void)
{
    enum { SKIPPED = 77 };
    if (!is_capability_9_0()) {
        puts("skipped: the device is not of compute capability 9.0");
        return SKIPPED;
    }
    Suite *suite = suite_create("cuda_skinny");
    TCase *products = tcase_create("products");
    tcase_set_timeout(products, 240.0);
    tcase_add_loop_test(products, every_width, 0, 9);
    tcase_add_loop_test(products, every_cut, 0, 11);
    tcase_add_test(products, same_bits_twice);
    suite_add_tcase(suite, products);
    return kernel_case_run(suite);
}
