/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: low-rank products and recurrence of a few rows in one launch, with forks, ended rows
 * and any company. Shown by: state, output and v of layer 0 as after the two launches, which have
 * tests of their own against float64; everything else untouched; a row's bits the same alone, in
 * company and with both kinds of copies; ranks that do not fit, exactly as the two launches. */
#include <math.h>
#include <string.h>

#include "kernel_case.h"

enum { L = 2, LAYER = 1, SLOTS = 8, ROWS_BEYOND = 2 };

/* Sums in another order; some values of v then round to the f16 beside. */
static const double state_error_max = 1e-4;
static const double output_error_max = 1e-3;

static const struct cuda_item all_items[CUDA_FEW_ROWS_MAX] = {
    {.slot = 5, .source_slot = 2, .row_count = 1, .tokens_given = 1}, /* A fork. */
    {.slot = 3, .source_slot = 3, .row_count = 1},
    {.slot = 0, .source_slot = 0, .row_count = 1},                    /* Ended. */
    {.slot = 1, .source_slot = 1, .row_count = 1, .tokens_given = 1}, /* Ended, but told. */
};
static const uint32_t ended_slots = 1u << 0 | 1u << 1;

struct bench {
    struct cuda_shape shape;
    struct kernel_step step;
    struct cuda_layer layer;
    struct cuda_activations act;
    const void *rkv, *wkv; /* On the host, before. */
    size_t rkv_bytes, wkv_bytes;
    bool is_first_layer;
};

/* What a run leaves. */
struct outcome {
    double *output, *wkv, *v_first;       /* Rows beyond the step included. */
    const unsigned char *output_bits, *wkv_bits;
};

/* ---- Setting up -------------------------------------------------------------------------- */

static const float *vector(const struct bench *bench, double low, double high)
{
    return kernel_floats(kernel_numbers(bench->shape.C, false, low, high), bench->shape.C);
}

static void make_layer(struct bench *bench)
{
    struct cuda_layer *layer = &bench->layer;
    layer->k_k = vector(bench, 0.5, 1.5);
    layer->k_a = vector(bench, 0.5, 1.5);
    layer->r_k = vector(bench, -0.2, 0.2);
    layer->ln_x_weight = vector(bench, 0.5, 1.5);
    layer->ln_x_bias = vector(bench, -0.5, 0.5);
    layer->w0 = vector(bench, -4.0, 2.0);
    layer->a0 = vector(bench, -2.0, 2.0);
    layer->v0 = bench->is_first_layer ? NULL : vector(bench, -2.0, 2.0);
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t count = (size_t)bench->shape.rank[g] * bench->shape.C;
        if (g != CUDA_LOW_V || !bench->is_first_layer) {
            layer->up[g] = kernel_halves(kernel_numbers(count, true, -0.2, 0.2), count);
        }
    }
}

static void make_activations(struct bench *bench, uint32_t rows)
{
    const size_t C = bench->shape.C;
    bench->act = kernel_activations(&bench->shape, rows + ROWS_BEYOND, 1);
    for (size_t plane = 0; plane < 3; plane++) {
        KERNEL_OK(cudaMemcpy(bench->act.rkv + plane * bench->act.N * C,
                             kernel_halves(kernel_numbers(rows * C, true, -2.0, 2.0), rows * C),
                             rows * C * sizeof(cuda_half), cudaMemcpyDeviceToDevice));
    }
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t count = (size_t)rows * bench->shape.rank[g];
        KERNEL_OK(cudaMemcpy(bench->act.hidden[g],
                             kernel_halves(kernel_numbers(count, true, -1.0, 1.0), count),
                             count * sizeof(cuda_half), cudaMemcpyDeviceToDevice));
    }
    if (!bench->is_first_layer) {
        KERNEL_OK(cudaMemcpy(bench->act.v_first,
                             kernel_halves(kernel_numbers(rows * C, true, -2.0, 2.0), rows * C),
                             rows * C * sizeof(cuda_half), cudaMemcpyDeviceToDevice));
    }
}

static void make_bench(struct bench *bench, uint32_t H, const uint32_t *ranks, uint32_t rows,
                       bool is_first_layer)
{
    *bench = (struct bench){.shape = {.V = 8, .L = L, .C = H * CUDA_HEAD, .H = H, .F = 64},
                            .is_first_layer = is_first_layer};
    memcpy(bench->shape.rank, ranks, sizeof bench->shape.rank);
    kernel_step_make(&bench->step, &bench->shape, all_items, rows, SLOTS, ended_slots);
    kernel_step_place(&bench->step);
    bench->step.launch.programmatic = kernel_has_programmatic_launches();
    make_layer(bench);
    make_activations(bench, rows);
    bench->rkv_bytes = 3u * bench->act.N * bench->shape.C * sizeof(cuda_half);
    bench->wkv_bytes = SLOTS * bench->step.slot_wkv * sizeof(float);
    bench->rkv = kernel_read(bench->act.rkv, bench->rkv_bytes);
    bench->wkv = kernel_read(bench->step.step.wkv, bench->wkv_bytes);
}

/* ---- Running ----------------------------------------------------------------------------- */

/* States and activations as before the first run. */
static void rewind_bench(const struct bench *bench)
{
    const struct cuda_activations *act = &bench->act;
    const size_t plane = (size_t)act->N * bench->shape.C;
    KERNEL_OK(cudaMemcpy(act->rkv, bench->rkv, bench->rkv_bytes, cudaMemcpyHostToDevice));
    KERNEL_OK(cudaMemcpy(bench->step.step.wkv, bench->wkv, bench->wkv_bytes,
                         cudaMemcpyHostToDevice));
    KERNEL_OK(cudaMemset(act->log_w, 0xff, plane * sizeof(float)));
    KERNEL_OK(cudaMemset(act->a, 0xff, plane * sizeof(float)));
    KERNEL_OK(cudaMemset(act->gate, 0xff, plane * sizeof(float)));
    KERNEL_OK(cudaMemset(act->y_gated, 0xff, plane * sizeof(cuda_half)));
    if (bench->is_first_layer) {
        KERNEL_OK(cudaMemset(act->v_first, 0xff, plane * sizeof(cuda_half)));
    }
}

static struct outcome outcome_of(const struct bench *bench)
{
    const size_t plane = (size_t)bench->act.N * bench->shape.C;
    return (struct outcome){
        .output = kernel_read_halves(bench->act.y_gated, plane),
        .wkv = kernel_read_floats(bench->step.step.wkv, SLOTS * bench->step.slot_wkv),
        .v_first = kernel_read_halves(bench->act.v_first, plane),
        .output_bits = kernel_read(bench->act.y_gated, plane * sizeof(cuda_half)),
        .wkv_bits = kernel_read(bench->step.step.wkv, bench->wkv_bytes),
    };
}

static struct outcome run_two(const struct bench *bench)
{
    rewind_bench(bench);
    KERNEL_OK(cuda_low_rank_up(&bench->step.launch, bench->step.step, &bench->shape, &bench->layer,
                               &bench->act));
    KERNEL_OK(cuda_wkv_decode(&bench->step.launch, bench->step.step, &bench->shape, &bench->layer,
                              LAYER, &bench->act));
    return outcome_of(bench);
}

static struct outcome run_one(const struct bench *bench, const struct cuda_launch *launch,
                              struct cuda_step step)
{
    rewind_bench(bench);
    KERNEL_OK(cuda_few_rows_recurrence(launch, step, &bench->shape, &bench->layer, LAYER,
                                       &bench->act));
    return outcome_of(bench);
}

static struct outcome run(struct bench *bench, bool bulk)
{
    bench->step.launch.bulk_copies = bulk;
    return run_one(bench, &bench->step.launch, bench->step.step);
}

/* ---- Checking ---------------------------------------------------------------------------- */

static void check_states(const struct bench *bench, const struct outcome *got,
                         const struct outcome *expected)
{
    bool is_advanced[SLOTS] = {false};
    for (uint32_t index = 0; index < bench->step.header.item_count; index++) {
        is_advanced[bench->step.places[index].slot] |= bench->step.places[index].active != 0;
    }
    const size_t slot_bytes = bench->step.slot_wkv * sizeof(float);
    const size_t layer_count = bench->step.slot_wkv / L;
    for (size_t slot = 0; slot < SLOTS; slot++) {
        const unsigned char *bits = got->wkv_bits + slot * slot_bytes;
        const size_t at = slot * bench->step.slot_wkv + LAYER * layer_count;
        if (is_advanced[slot]) {
            ck_assert_double_lt(
                kernel_difference(got->wkv + at, expected->wkv + at, layer_count),
                state_error_max);
            ck_assert_mem_ne(bits, (const unsigned char *)bench->wkv + slot * slot_bytes,
                             slot_bytes);
        } else {
            ck_assert_mem_eq(bits, (const unsigned char *)bench->wkv + slot * slot_bytes,
                             slot_bytes);
        }
        ck_assert_mem_eq(bits, (const unsigned char *)bench->wkv + slot * slot_bytes,
                         LAYER * layer_count * sizeof(float)); /* The other layer. */
    }
}

/* Rates, gate and v of other kernels stay as they were. */
static void check_untouched(const struct bench *bench)
{
    const size_t plane = (size_t)bench->act.N * bench->shape.C;
    const float *const floats[] = {bench->act.log_w, bench->act.a, bench->act.gate};
    ck_assert_mem_eq(kernel_read(bench->act.rkv, bench->rkv_bytes), bench->rkv, bench->rkv_bytes);
    for (size_t n = 0; n < sizeof floats / sizeof floats[0]; n++) {
        const double *got = kernel_read_floats(floats[n], plane);
        for (size_t at = 0; at < plane; at++) {
            ck_assert(isnan(got[at]));
        }
    }
}

static void check_rows(const struct bench *bench, const struct outcome *got,
                       const struct outcome *expected)
{
    const size_t C = bench->shape.C, rows = bench->step.header.row_count;
    for (size_t row = 0; row < rows; row++) {
        ck_assert_double_lt(
            kernel_difference(got->output + row * C, expected->output + row * C, C),
            output_error_max);
    }
    ck_assert_mem_eq(got->v_first, expected->v_first, rows * C * sizeof(double));
    for (size_t at = rows * C; at < bench->act.N * C; at++) {
        ck_assert(isnan(got->output[at]) && isnan(got->v_first[at]));
    }
}

static void check_same_bits(const struct bench *bench, const struct outcome *a,
                            const struct outcome *b)
{
    ck_assert_mem_eq(a->output_bits, b->output_bits,
                     (size_t)bench->act.N * bench->shape.C * sizeof(cuda_half));
    ck_assert_mem_eq(a->wkv_bits, b->wkv_bits, bench->wkv_bytes);
}

static uint32_t shared_max(void)
{
    int device = 0, bytes = 0;
    KERNEL_OK(cudaGetDevice(&device));
    KERNEL_OK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return (uint32_t)bytes;
}

/* Whether the device has the shared memory for one launch. */
static bool fits(const uint32_t *ranks)
{
    enum { OTHER_BYTES = 16384 }; /* More than all else needs. */
    const uint32_t sum = ranks[0] + ranks[1] + ranks[2] + ranks[3];
    return sum * CUDA_HEAD * sizeof(cuda_half) + OTHER_BYTES <= shared_max();
}

/* As the two launches, with and without bulk copies. */
static void check(uint32_t H, const uint32_t *ranks, uint32_t rows, bool is_first_layer)
{
    struct bench bench;
    make_bench(&bench, H, ranks, rows, is_first_layer);
    const struct outcome expected = run_two(&bench);
    const struct outcome got = run(&bench, false);
    check_rows(&bench, &got, &expected);
    check_states(&bench, &got, &expected);
    if (fits(ranks)) {
        check_untouched(&bench);
    }
    if (kernel_has_programmatic_launches()) {
        const struct outcome bulk = run(&bench, true);
        check_same_bits(&bench, &bulk, &got);
        check_untouched(&bench);
    }
    kernel_case_end();
}

/* ---- Cases ------------------------------------------------------------------------------- */

static const uint32_t small_ranks[CUDA_LOW_RANKS] = {16, 16, 16, 16};
static const uint32_t odd_ranks[CUDA_LOW_RANKS] = {48, 16, 80, 112}; /* Halves of steps. */
static const uint32_t ranks_01b[CUDA_LOW_RANKS] = {64, 64, 128, 32};
static const uint32_t ranks_72b[CUDA_LOW_RANKS] = {128, 128, 480, 96};

START_TEST(each_number_of_rows)
{
    for (uint32_t rows = 1; rows <= CUDA_FEW_ROWS_MAX; rows++) {
        check(4, odd_ranks, rows, false);
    }
}
END_TEST

START_TEST(layer_0_keeps_v)
{
    for (uint32_t rows = 1; rows <= CUDA_FEW_ROWS_MAX; rows++) {
        check(2, odd_ranks, rows, true);
    }
}
END_TEST

START_TEST(other_shapes)
{
    check(1, small_ranks, 1, false);
    check(1, ranks_72b, 1, false);
    check(1, ranks_72b, 4, false);
    check(12, ranks_01b, 1, false);
    check(12, ranks_01b, 3, true);
}
END_TEST

/* A step of its own for item `index` of the bench, whose row stays where it is. */
static struct cuda_step step_of(const struct bench *bench, uint32_t index)
{
    const struct cuda_step_header header = {.row_count = bench->step.header.row_count,
                                            .item_count = 1};
    struct cuda_step step = bench->step.step;
    step.header = kernel_upload(&header, sizeof header);
    step.items = kernel_upload(&bench->step.items[index], sizeof bench->step.items[index]);
    step.places = kernel_upload(&bench->step.places[index], sizeof bench->step.places[index]);
    return step;
}

START_TEST(company_changes_no_bits)
{
    struct bench bench;
    make_bench(&bench, 2, ranks_01b, CUDA_FEW_ROWS_MAX, false);
    const struct outcome together = run(&bench, kernel_has_programmatic_launches());
    const size_t row_bytes = bench.shape.C * sizeof(cuda_half);
    const size_t slot_bytes = bench.step.slot_wkv * sizeof(float);
    for (uint32_t index = 0; index < CUDA_FEW_ROWS_MAX; index++) {
        struct cuda_launch launch = bench.step.launch;
        launch.item_capacity = 1;
        const struct outcome alone = run_one(&bench, &launch, step_of(&bench, index));
        const size_t slot_at = bench.step.items[index].slot * slot_bytes;
        ck_assert_mem_eq(alone.output_bits + index * row_bytes,
                         together.output_bits + index * row_bytes, row_bytes);
        ck_assert_mem_eq(alone.wkv_bits + slot_at, together.wkv_bits + slot_at, slot_bytes);
        for (size_t at = 0; at < CUDA_FEW_ROWS_MAX * bench.shape.C; at++) {
            ck_assert(at / bench.shape.C == index || isnan(alone.output[at]));
        }
    }
}
END_TEST

/* A step of three items in memory for four, as in a graph of a larger step. */
START_TEST(items_beyond_the_count_are_not_advanced)
{
    enum { ITEMS = 3 };
    struct bench bench;
    make_bench(&bench, 2, small_ranks, CUDA_FEW_ROWS_MAX, false);
    const bool bulk = kernel_has_programmatic_launches();
    const struct outcome all = run(&bench, bulk);
    const struct cuda_step_header header = {.row_count = ITEMS, .item_count = ITEMS};
    bench.step.step.header = kernel_upload(&header, sizeof header);
    bench.step.header = header;
    const struct outcome got = run(&bench, bulk);
    ck_assert_mem_eq(got.output_bits, all.output_bits, ITEMS * bench.shape.C * sizeof(cuda_half));
    for (size_t at = ITEMS * bench.shape.C; at < bench.act.N * bench.shape.C; at++) {
        ck_assert(isnan(got.output[at]));
    }
    check_states(&bench, &got, &all);
}
END_TEST

START_TEST(two_launches_when_ranks_do_not_fit)
{
    static const uint32_t large_ranks[CUDA_LOW_RANKS] = {256, 256, 1280, 256};
    const uint32_t *const ranks = fits(ranks_72b) ? large_ranks : ranks_72b;
    struct bench bench;
    ck_assert(!fits(ranks));
    make_bench(&bench, 1, ranks, 2, false);
    const struct outcome expected = run_two(&bench);
    const struct outcome got = run(&bench, kernel_has_programmatic_launches());
    check_same_bits(&bench, &got, &expected);
    ck_assert(!isnan(kernel_read_floats(bench.act.log_w, 1)[0]));
}
END_TEST

START_TEST(shapes_that_cannot_be_are_refused)
{
    struct bench bench;
    make_bench(&bench, 1, small_ranks, 1, false);
    static const uint32_t capacities[] = {0, CUDA_FEW_ROWS_MAX + 1};
    for (size_t n = 0; n < 2; n++) {
        struct cuda_launch launch = bench.step.launch;
        launch.item_capacity = capacities[n];
        ck_assert_int_eq(cuda_few_rows_recurrence(&launch, bench.step.step, &bench.shape,
                                                  &bench.layer, LAYER, &bench.act),
                         cudaErrorInvalidValue);
    }
    struct cuda_shape shape = bench.shape;
    shape.rank[CUDA_LOW_G] = 24;
    ck_assert_int_eq(cuda_few_rows_recurrence(&bench.step.launch, bench.step.step, &shape,
                                              &bench.layer, LAYER, &bench.act),
                     cudaErrorInvalidValue);
    shape = bench.shape;
    shape.H = 2;
    ck_assert_int_eq(cuda_few_rows_recurrence(&bench.step.launch, bench.step.step, &shape,
                                              &bench.layer, LAYER, &bench.act),
                     cudaErrorInvalidValue);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_recurrence");
    TCase *tests = tcase_create("recurrence");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, NULL, kernel_case_end);
    tcase_add_test(tests, each_number_of_rows);
    tcase_add_test(tests, layer_0_keeps_v);
    tcase_add_test(tests, other_shapes);
    tcase_add_test(tests, company_changes_no_bits);
    tcase_add_test(tests, items_beyond_the_count_are_not_advanced);
    tcase_add_test(tests, two_launches_when_ranks_do_not_fit);
    tcase_add_test(tests, shapes_that_cannot_be_are_refused);
    suite_add_tcase(suite, tests);
    return kernel_case_run(suite);
}
