/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: decay, in-context rate, gate and value residual, whatever the number of rows and the
 * ranks. Shown by: both ways against float64 around every border of rows, channels and ranks, with
 * every tile, every cut of k and every way up; layer 0 without a value residual; equal rows with
 * equal bits, the way up also in every variant. */
#include <math.h>
#include <string.h>

#include "cuda/cuda_low_rank.h"
#include "kernel_case.h"

enum {
    ROWS_BEYOND = 2,       /* Of the arena, beyond the step. */
    MULTIPROCESSORS = 132, /* Unless a case wants the tiles of more rows. */
};

static const double f32_error_max = 2e-6;
static const double f16_error_max = 5e-4;

struct bench {
    struct cuda_shape shape;
    struct cuda_launch launch;
    struct cuda_step step;
    struct cuda_layer layer;
    struct cuda_activations act;
    uint32_t rows;
    bool is_first_layer;
    double *planes;                                   /* [CUDA_MIXES][N][C] */
    double *down[CUDA_LOW_RANKS], *up[CUDA_LOW_RANKS];
    double *bias[CUDA_LOW_RANKS];                     /* NULL for the gate. */
    double *v, *v_first;                              /* [N][C] */
};

static size_t plane_of(const struct bench *bench)
{
    return (size_t)bench->act.N * bench->shape.C;
}

static void make_weights(struct bench *bench)
{
    const size_t C = bench->shape.C;
    const float **const biases[CUDA_LOW_RANKS] = {&bench->layer.w0, &bench->layer.a0, NULL,
                                                  &bench->layer.v0};
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t count = bench->shape.rank[g] * C;
        if (g == CUDA_LOW_V && bench->is_first_layer) {
            continue;
        }
        bench->down[g] = kernel_numbers(count, true, -0.1, 0.1);
        bench->up[g] = kernel_numbers(count, true, -0.2, 0.2);
        bench->layer.down[g] = kernel_halves(bench->down[g], count);
        bench->layer.up[g] = kernel_halves(bench->up[g], count);
        if (biases[g] != NULL) {
            bench->bias[g] = kernel_numbers(C, false, -2.0, 2.0);
            *biases[g] = kernel_floats(bench->bias[g], C);
        }
    }
}

static void make_bench(struct bench *bench, uint32_t rows, uint32_t capacity, uint32_t C,
                       const uint32_t *ranks, bool is_first_layer)
{
    *bench = (struct bench){.shape = {.V = 8, .L = 1, .C = C, .H = C / 64, .F = 64},
                            .launch = {.row_capacity = capacity, .item_capacity = 1,
                                       .multiprocessors = MULTIPROCESSORS},
                            .rows = rows, .is_first_layer = is_first_layer};
    memcpy(bench->shape.rank, ranks, sizeof bench->shape.rank);
    const struct cuda_step_header header = {.row_count = rows, .item_count = 1};
    bench->step.header = kernel_upload(&header, sizeof header);
    bench->act = kernel_activations(&bench->shape, capacity + ROWS_BEYOND, 1);
    make_weights(bench);
    const size_t scratch_bytes = cuda_low_rank_scratch_bytes(MULTIPROCESSORS);
    bench->act.low_rank_scratch = kernel_device(scratch_bytes);
    KERNEL_OK(cudaMemset(bench->act.low_rank_scratch, 0, scratch_bytes));
    const size_t plane = plane_of(bench);
    bench->planes = kernel_numbers(CUDA_MIXES * plane, true, -1.0, 1.0);
    bench->v = kernel_numbers(plane, true, -1.0, 1.0);
    bench->v_first = kernel_numbers(plane, true, -1.0, 1.0);
    bench->act.planes = kernel_halves(bench->planes, CUDA_MIXES * plane);
    KERNEL_OK(cudaMemcpy(bench->act.rkv + 2 * plane, kernel_halves(bench->v, plane),
                         plane * sizeof(cuda_half), cudaMemcpyDeviceToDevice));
    if (!is_first_layer) {
        bench->act.v_first = kernel_halves(bench->v_first, plane);
    }
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double dot(const double *x, const double *y, size_t count)
{
    double sum = 0.0;
    for (size_t k = 0; k < count; k++) {
        sum += x[k] * y[k];
    }
    return sum;
}

/* ---- Down -------------------------------------------------------------------------------- */

static double after_down(double x, int g)
{
    return g == CUDA_LOW_W ? tanh(x) : g == CUDA_LOW_G ? sigmoid(x) : x;
}

static void check_hidden(const struct bench *bench)
{
    static const int mix_of[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G, CUDA_MIX_V};
    const size_t C = bench->shape.C;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t Q = bench->shape.rank[g];
        const double *got = kernel_read_halves(bench->act.hidden[g], bench->act.N * Q);
        double *expected = kernel_host(bench->rows * Q * sizeof *expected);
        if (bench->down[g] == NULL) {
            ck_assert(isnan(got[0]));
            continue;
        }
        for (size_t row = 0; row < bench->rows; row++) {
            const double *x = bench->planes + (size_t)mix_of[g] * plane_of(bench) + row * C;
            for (size_t q = 0; q < Q; q++) {
                expected[row * Q + q] = after_down(dot(x, bench->down[g] + q * C, C), g);
            }
        }
        ck_assert_double_lt(kernel_difference(got, expected, bench->rows * Q), f16_error_max);
        for (size_t at = bench->rows * Q; at < bench->act.N * Q; at++) {
            ck_assert(isnan(got[at]));
        }
    }
}

static void check_down(struct bench *bench)
{
    KERNEL_OK(cuda_low_rank_down(&bench->launch, bench->step, &bench->shape, &bench->layer,
                                 &bench->act));
    check_hidden(bench);
}

/* ---- Up ---------------------------------------------------------------------------------- */

static double *sums_up(const struct bench *bench, const double *hidden, int g)
{
    const size_t C = bench->shape.C, Q = bench->shape.rank[g];
    double *sums = kernel_host(plane_of(bench) * sizeof *sums);
    for (size_t row = 0; row < bench->rows; row++) {
        for (size_t c = 0; c < C; c++) {
            sums[row * C + c] = dot(hidden + row * Q, bench->up[g] + c * Q, Q)
                                + (bench->bias[g] == NULL ? 0.0 : bench->bias[g][c]);
        }
    }
    return sums;
}

static void check_floats(const struct bench *bench, const float *device, const double *expected)
{
    const size_t count = (size_t)bench->rows * bench->shape.C;
    const double *got = kernel_read_floats(device, plane_of(bench));
    ck_assert_double_lt(kernel_difference(got, expected, count), f32_error_max);
    for (size_t at = count; at < plane_of(bench); at++) {
        ck_assert(isnan(got[at]));
    }
}

static void check_value(const struct bench *bench, const double *sums)
{
    const size_t count = (size_t)bench->rows * bench->shape.C;
    const double *v = kernel_read_halves(bench->act.rkv + 2 * plane_of(bench), plane_of(bench));
    const double *first = kernel_read_halves(bench->act.v_first, plane_of(bench));
    if (bench->is_first_layer) {
        ck_assert_mem_eq(v, bench->v, plane_of(bench) * sizeof *v);
        ck_assert_mem_eq(first, bench->v, count * sizeof *first);
        return;
    }
    ck_assert_mem_eq(first, bench->v_first, plane_of(bench) * sizeof *first);
    double *expected = kernel_host(count * sizeof *expected);
    for (size_t at = 0; at < count; at++) {
        expected[at] = bench->v[at] + (bench->v_first[at] - bench->v[at]) * sigmoid(sums[at]);
    }
    ck_assert_double_lt(kernel_difference(v, expected, count), f16_error_max);
    ck_assert_mem_eq(v + count, bench->v + count, (plane_of(bench) - count) * sizeof *v);
}

/* Of the way up: what is expected of it. */
struct expected {
    double *sums[CUDA_LOW_RANKS];
};

static struct expected make_hidden(struct bench *bench)
{
    struct expected expected = {{NULL}};
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t count = (size_t)bench->act.N * bench->shape.rank[g];
        if (bench->up[g] != NULL) {
            double *hidden = kernel_numbers(count, true, -1.0, 1.0);
            bench->act.hidden[g] = kernel_halves(hidden, count);
            expected.sums[g] = sums_up(bench, hidden, g);
        }
    }
    for (size_t at = 0; at < (size_t)bench->rows * bench->shape.C; at++) {
        expected.sums[CUDA_LOW_W][at] = -exp(-0.5) * sigmoid(expected.sums[CUDA_LOW_W][at]);
        expected.sums[CUDA_LOW_A][at] = sigmoid(expected.sums[CUDA_LOW_A][at]);
    }
    return expected;
}

static void check_rates(const struct bench *bench, const struct expected *expected)
{
    check_floats(bench, bench->act.log_w, expected->sums[CUDA_LOW_W]);
    check_floats(bench, bench->act.a, expected->sums[CUDA_LOW_A]);
    check_floats(bench, bench->act.gate, expected->sums[CUDA_LOW_G]);
    check_value(bench, expected->sums[CUDA_LOW_V]);
}

static void check_up(struct bench *bench)
{
    const struct expected expected = make_hidden(bench);
    KERNEL_OK(cuda_low_rank_up(&bench->launch, bench->step, &bench->shape, &bench->layer,
                               &bench->act));
    check_rates(bench, &expected);
}

/* ---- Cases ------------------------------------------------------------------------------- */

static const uint32_t ranks_even[CUDA_LOW_RANKS] = {32, 32, 64, 16};
static const uint32_t ranks_odd[CUDA_LOW_RANKS] = {16, 48, 112, 80};

static void check_both(uint32_t rows, uint32_t capacity, uint32_t C, const uint32_t *ranks,
                       bool is_first_layer)
{
    struct bench bench;
    make_bench(&bench, rows, capacity, C, ranks, is_first_layer);
    check_down(&bench);
    check_up(&bench);
    kernel_case_end();
}

START_TEST(rows_around_every_border)
{
    static const uint32_t rows[] = {1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 130};
    for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
        check_both(rows[n], rows[n], 128, ranks_odd, false);
    }
}
END_TEST

START_TEST(fewer_rows_than_the_launch_has_room_for)
{
    check_both(5, 24, 128, ranks_even, false);
    check_both(70, 140, 128, ranks_even, false);
}
END_TEST

START_TEST(the_first_layer_has_no_value_residual)
{
    check_both(3, 3, 256, ranks_even, true);
    check_both(40, 40, 256, ranks_odd, true);
}
END_TEST

/* Each number of channels for a warp has its own variant. */
START_TEST(channels_of_small_and_large_models)
{
    static const uint32_t small[CUDA_LOW_RANKS] = {16, 16, 32, 16};
    static const uint32_t channels[] = {64, 576, 2112, 4160, 8256};
    for (size_t n = 0; n < sizeof(channels) / sizeof(channels[0]); n++) {
        check_both(2, 2, channels[n], small, false);
    }
}
END_TEST

START_TEST(ranks_of_large_models)
{
    static const uint32_t large[CUDA_LOW_RANKS] = {128, 128, 480, 96};
    static const uint32_t larger[CUDA_LOW_RANKS] = {192, 192, 528, 128};
    check_both(3, 3, 192, large, false);
    check_both(3, 3, 192, larger, false);
    check_both(35, 35, 64, large, false);
}
END_TEST

static void run_both(struct bench *bench)
{
    KERNEL_OK(cuda_low_rank_down(&bench->launch, bench->step, &bench->shape, &bench->layer,
                                 &bench->act));
    KERNEL_OK(cuda_low_rank_up(&bench->launch, bench->step, &bench->shape, &bench->layer,
                               &bench->act));
}

/* Whether a block of this device has the shared memory of every variant. */
static bool has_much_shared_memory(void)
{
    int device = 0, bytes = 0;
    KERNEL_OK(cudaGetDevice(&device));
    KERNEL_OK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return bytes >= 220 * 1024;
}

static const uint32_t ranks_mixed[CUDA_LOW_RANKS] = {16, 48, 144, 32};

/* Twice: what arrives at a tile is counted anew. */
static void check_down_by(struct bench *bench, uint32_t tile, uint32_t parts, bool is_certain)
{
    for (uint32_t n = 0; n < 2 && n < parts; n++) {
        for (int g = 0; g < CUDA_LOW_RANKS; g++) {
            const size_t bytes = (size_t)bench->act.N * bench->shape.rank[g] * sizeof(cuda_half);
            KERNEL_OK(cudaMemset(bench->act.hidden[g], 0xff, bytes)); /* NaN. */
        }
        const cudaError_t status = cuda_low_rank_down_by(
            &bench->launch, bench->step, &bench->shape, &bench->layer, &bench->act, tile, parts);
        if (status == cudaErrorInvalidValue && !is_certain) {
            return;
        }
        KERNEL_OK(status);
        check_hidden(bench);
    }
}

START_TEST(down_by_every_tile_and_every_cut_of_k)
{
    static const struct {
        uint32_t rows, capacity, C, rows_max; /* Of tiles: larger ones take long to emulate. */
    } cases[] = {
        {33, 40, 576, 256},  /* Parts of 320 and 256. */
        {20, 20, 1088, 128}, /* Uneven parts, the last one shorter. */
        {260, 400, 64, 256}, /* Tiles without rows. */
        {20, 20, 2112, 64},  /* Eight parts. */
    };
    static const uint32_t rows_of[CUDA_DOWN_TILES] = {32, 64, 128, 128, 128, 256, 64};
    static const uint32_t parts[] = {1, 2, 3, 8};
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        struct bench bench;
        make_bench(&bench, cases[n].rows, cases[n].capacity, cases[n].C, ranks_mixed, n == 2);
        for (uint32_t tile = 0; tile < CUDA_DOWN_TILES; tile++) {
            for (size_t i = 0; i < 4 && rows_of[tile] <= cases[n].rows_max; i++) {
                const bool is_certain = (parts[i] == 1 || (parts[i] == 2 && n == 0 && tile < 4))
                                        && (tile == CUDA_DOWN_LEAST || has_much_shared_memory());
                check_down_by(&bench, tile, parts[i], is_certain);
            }
        }
        kernel_case_end();
    }
}
END_TEST

/* One multiprocessor: blocks that walk over many rows. Many: rows in parts. */
START_TEST(up_in_every_way)
{
    static const struct {
        uint32_t rows, capacity, C, multiprocessors;
    } cases[] = {
        {16, 16, 64, 132}, {30, 32, 192, 1},   {3, 32, 192, 132},
        {33, 70, 576, 8},  {380, 400, 192, 1}, {270, 400, 64, 132},
    };
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        for (uint32_t way = 0; way < CUDA_UP_WAYS; way++) {
            struct bench bench;
            make_bench(&bench, cases[n].rows, cases[n].capacity, cases[n].C, ranks_mixed, n == 2);
            bench.launch.multiprocessors = cases[n].multiprocessors;
            const struct expected expected = make_hidden(&bench);
            const cudaError_t status = cuda_low_rank_up_by(
                &bench.launch, bench.step, &bench.shape, &bench.layer, &bench.act, way);
            if (way == CUDA_UP_FEW && cases[n].capacity > 32) {
                ck_assert_int_eq(status, cudaErrorInvalidValue);
            } else if (status != cudaErrorInvalidValue || way == CUDA_UP_LEAST
                       || has_much_shared_memory()) {
                KERNEL_OK(status);
                check_rates(&bench, &expected);
            }
            kernel_case_end();
        }
    }
}
END_TEST

/* Without scratch k stays whole. */
START_TEST(no_scratch_no_cut)
{
    struct bench bench;
    make_bench(&bench, 40, 40, 576, ranks_even, false);
    bench.act.low_rank_scratch = NULL;
    check_down(&bench);
}
END_TEST

/* All rows of all planes equal the first of their plane. */
static void equal_rows(uint32_t rows)
{
    struct bench bench;
    make_bench(&bench, rows, rows, 192, ranks_odd, true);
    const size_t C = bench.shape.C;
    for (size_t n = 0; n < CUDA_MIXES * (size_t)bench.act.N; n++) {
        const size_t plane = n / bench.act.N;
        memcpy(bench.planes + n * C, bench.planes + plane * plane_of(&bench), C * sizeof(double));
    }
    bench.act.planes = kernel_halves(bench.planes, CUDA_MIXES * plane_of(&bench));
    run_both(&bench);
    const size_t bytes = rows * C * sizeof(float);
    const float *const outputs[] = {bench.act.log_w, bench.act.a, bench.act.gate};
    for (size_t n = 0; n < 3; n++) {
        const float *first = kernel_read(outputs[n], bytes);
        for (size_t row = 1; row < rows; row++) {
            ck_assert_mem_eq(first + row * C, first, C * sizeof(float));
        }
        run_both(&bench);
        ck_assert_mem_eq(kernel_read(outputs[n], bytes), first, bytes);
    }
    kernel_case_end();
}

START_TEST(equal_rows_have_equal_bits)
{
    equal_rows(21);
    equal_rows(67);
}
END_TEST

START_TEST(a_row_goes_up_with_the_same_bits_in_every_way)
{
    struct bench bench;
    make_bench(&bench, 30, 130, 192, ranks_odd, true);
    const size_t bytes = 30 * 192 * sizeof(float);
    const float *first[3] = {NULL};
    for (int g = 0; g < CUDA_LOW_V; g++) {
        const size_t count = (size_t)bench.act.N * bench.shape.rank[g];
        bench.act.hidden[g] = kernel_halves(kernel_numbers(count, true, -1.0, 1.0), count);
    }
    for (uint32_t way = 0; way < CUDA_UP_WAYS; way++) {
        bench.launch.row_capacity = way == CUDA_UP_FEW ? 32 : 130;
        const float *const outputs[] = {bench.act.log_w, bench.act.a, bench.act.gate};
        for (size_t i = 0; i < 3; i++) {
            KERNEL_OK(cudaMemset((void *)outputs[i], 0, bytes));
        }
        const cudaError_t status = cuda_low_rank_up_by(&bench.launch, bench.step, &bench.shape,
                                                       &bench.layer, &bench.act, way);
        if (status == cudaErrorInvalidValue && way != CUDA_UP_LEAST && !has_much_shared_memory()) {
            continue;
        }
        KERNEL_OK(status);
        for (size_t i = 0; i < 3; i++) {
            const float *got = kernel_read(outputs[i], bytes);
            first[i] = first[i] == NULL ? got : first[i];
            ck_assert_mem_eq(got, first[i], bytes);
        }
    }
}
END_TEST

START_TEST(shapes_that_no_kernel_takes_are_refused)
{
    struct bench bench;
    make_bench(&bench, 1, 1, 128, ranks_even, false);
    bench.shape.rank[CUDA_LOW_A] = 24;
    ck_assert_int_eq(cuda_low_rank_down(&bench.launch, bench.step, &bench.shape, &bench.layer,
                                        &bench.act),
                     cudaErrorInvalidValue);
    ck_assert_int_eq(cuda_low_rank_up(&bench.launch, bench.step, &bench.shape, &bench.layer,
                                      &bench.act),
                     cudaErrorInvalidValue);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_low_rank");
    TCase *tests = tcase_create("low_rank");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, NULL, kernel_case_end);
    tcase_add_test(tests, rows_around_every_border);
    tcase_add_test(tests, fewer_rows_than_the_launch_has_room_for);
    tcase_add_test(tests, the_first_layer_has_no_value_residual);
    tcase_add_test(tests, channels_of_small_and_large_models);
    tcase_add_test(tests, ranks_of_large_models);
    tcase_add_test(tests, down_by_every_tile_and_every_cut_of_k);
    tcase_add_test(tests, up_in_every_way);
    tcase_add_test(tests, no_scratch_no_cut);
    tcase_add_test(tests, equal_rows_have_equal_bits);
    tcase_add_test(tests, a_row_goes_up_with_the_same_bits_in_every_way);
    tcase_add_test(tests, shapes_that_no_kernel_takes_are_refused);
    suite_add_tcase(suite, tests);
    return kernel_case_run(suite);
}
