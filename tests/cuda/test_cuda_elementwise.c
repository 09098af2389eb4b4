/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: which row and which slot a row's shift comes from, who writes what, and the norms.
 * Shown by: a ragged step with a fork, an ended row and given tokens, against float64, in both
 * shapes of the grid; every slot's shifts afterwards; snapshots out and in. */
#include <math.h>
#include <string.h>

#include "kernel_case.h"

enum { L = 3, LAYER = 1, SLOTS = 8, ITEMS = 5, ROWS_BEYOND = 2, MANY = 132, FEW = 1 };

static const double f32_error_max = 1e-6;
static const double f16_error_max = 4e-4;

static const struct cuda_item items[ITEMS] = {
    {.slot = 2, .source_slot = 2, .row_count = 1},
    {.slot = 5, .source_slot = 5, .row_count = 1}, /* Ended: writes nothing. */
    {.slot = 1, .source_slot = 1, .row_count = 4, .tokens_given = 4},
    {.slot = 3, .source_slot = 0, .row_count = 1, .tokens_given = 1}, /* A fork. */
    {.slot = 7, .source_slot = 0, .row_count = 2, .tokens_given = 2}, /* Another; it had ended. */
};

struct bench {
    struct cuda_shape shape;
    struct kernel_step step;
    struct cuda_layer layer;
    struct cuda_activations act;
    double *x;                              /* [N][C] */
    double *weight[2], *bias[2], *mix, *ffn_mix;
};

static double *numbers(size_t count, double low, double high, const float **device_out)
{
    double *host = kernel_numbers(count, false, low, high);
    *device_out = kernel_floats(host, count);
    return host;
}

/* Nothing here depends on H being C / 64: small states. */
static void make_bench(struct bench *bench, uint32_t C, uint32_t multiprocessors)
{
    *bench = (struct bench){
        .shape = {.V = 50, .L = L, .C = C, .H = 2, .F = 96, .rank = {16, 16, 16, 16}}};
    kernel_step_make(&bench->step, &bench->shape, items, ITEMS, SLOTS, 1u << 5 | 1u << 7);
    bench->step.launch.multiprocessors = multiprocessors;
    bench->step.launch.row_capacity += ROWS_BEYOND;
    bench->step.launch.item_capacity += 1;
    const uint32_t N = bench->step.launch.row_capacity;
    bench->act = kernel_activations(&bench->shape, N, N);
    bench->x = kernel_numbers((size_t)N * C, false, -3.0, 5.0);
    bench->weight[0] = numbers(C, 0.5, 1.5, &bench->layer.ln1_weight);
    bench->bias[0] = numbers(C, -0.5, 0.5, &bench->layer.ln1_bias);
    bench->weight[1] = numbers(C, 0.5, 1.5, &bench->layer.ln2_weight);
    bench->bias[1] = numbers(C, -0.5, 0.5, &bench->layer.ln2_bias);
    bench->mix = numbers((size_t)CUDA_MIXES * C, 0.0, 1.0, &bench->layer.mix);
    bench->ffn_mix = numbers(C, 0.0, 1.0, &bench->layer.ffn_mix);
}

static void upload_x(struct bench *bench)
{
    bench->act.x = kernel_floats(bench->x, (size_t)bench->act.N * bench->shape.C);
}

static void normalise(const double *x, const double *weight, const double *bias, size_t C,
                      double *out)
{
    double mean = 0.0, variance = 0.0;
    for (size_t c = 0; c < C; c++) {
        mean += x[c] / (double)C;
    }
    for (size_t c = 0; c < C; c++) {
        variance += (x[c] - mean) * (x[c] - mean) / (double)C;
    }
    for (size_t c = 0; c < C; c++) {
        out[c] = (x[c] - mean) / sqrt(variance + 1e-5) * weight[c] + bias[c];
    }
}

static void check_nan(const double *values, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        ck_assert(isnan(values[at]));
    }
}

/* ---- Embedding --------------------------------------------------------------------------- */

static void check_places(struct bench *bench)
{
    const struct cuda_place *got =
        kernel_read(bench->step.step.places, sizeof bench->step.places);
    for (uint32_t index = 0; index < ITEMS; index++) {
        const struct cuda_place *expected = &bench->step.places[index];
        ck_assert_ptr_eq(got[index].wkv_in, expected->wkv_in);
        ck_assert_ptr_eq(got[index].wkv_out, expected->wkv_out);
        ck_assert_ptr_eq(got[index].shift_in, expected->shift_in);
        ck_assert_ptr_eq(got[index].shift_out, expected->shift_out);
        ck_assert_uint_eq(got[index].first_row, expected->first_row);
        ck_assert_uint_eq(got[index].row_count, expected->row_count);
        ck_assert_uint_eq(got[index].active, expected->active);
        ck_assert_uint_eq(got[index].slot, expected->slot);
        ck_assert_uint_eq(got[index].parity_out, expected->parity_out);
    }
    ck_assert_ptr_null(got[ITEMS].wkv_in);
}

static void embeds(uint32_t C)
{
    struct bench bench;
    make_bench(&bench, C, MANY);
    double *emb = kernel_numbers((size_t)bench.shape.V * C, true, -1.0, 1.0);
    KERNEL_OK(cuda_embed(&bench.step.launch, bench.step.step, &bench.shape,
                         kernel_halves(emb, (size_t)bench.shape.V * C), bench.layer.ln1_weight,
                         bench.layer.ln1_bias, &bench.act));
    check_places(&bench);
    const double *got = kernel_read_floats(bench.act.x, (size_t)bench.act.N * C);
    double *expected = kernel_host(C * sizeof *expected);
    const uint32_t rows = bench.step.header.row_count;
    for (uint32_t row = 0; row < rows; row++) {
        const uint32_t index = bench.step.row_item[row];
        const int32_t token = items[index].tokens_given != 0
                                  ? bench.step.row_token[row]
                                  : bench.step.slots[items[index].slot].last_token;
        normalise(emb + (size_t)token * C, bench.weight[0], bench.bias[0], C, expected);
        if (bench.step.places[index].active != 0) {
            ck_assert_double_lt(kernel_difference(got + row * C, expected, C), f32_error_max);
        }
    }
    check_nan(got + rows * C, (bench.act.N - rows) * C);
    kernel_case_end();
}

START_TEST(embedding_is_normalised_and_places_are_made)
{
    embeds(64);
    embeds(1088);
    embeds(2112);
    embeds(5184);
}
END_TEST

/* ---- Token shift ------------------------------------------------------------------------- */

/* What the row before left: the norm of that row, or the live shift of the source. */
static void previous_norm(const struct bench *bench, uint32_t row, int kind, double *out)
{
    const size_t C = bench->shape.C;
    const uint32_t index = bench->step.row_item[row];
    if (row != bench->step.items[index].first_row) {
        normalise(bench->x + (row - 1) * C, bench->weight[kind], bench->bias[kind], C, out);
        return;
    }
    const uint32_t source = items[index].source_slot;
    const size_t slot_at = (size_t)source * 2 + bench->step.slots[source].parity;
    const double *from = bench->step.shift + slot_at * bench->step.slot_shift;
    memcpy(out, from + ((size_t)LAYER * 2 + (size_t)kind) * C, C * sizeof *out);
}

/* Writes the last norm of each active item where its slot must have it. */
static void leave_shifts(const struct bench *bench, int kind, double *shift)
{
    const size_t C = bench->shape.C;
    for (uint32_t index = 0; index < ITEMS; index++) {
        const struct cuda_place *place = &bench->step.places[index];
        if (place->active != 0) {
            const size_t slot_at = (size_t)place->slot * 2 + place->parity_out;
            normalise(bench->x + (place->first_row + place->row_count - 1) * C,
                      bench->weight[kind], bench->bias[kind], C,
                      shift + slot_at * bench->step.slot_shift
                          + ((size_t)LAYER * 2 + (size_t)kind) * C);
        }
    }
}

static void check_shifts(const struct bench *bench, int kind)
{
    const size_t count = SLOTS * 2 * bench->step.slot_shift;
    double *expected = kernel_host(count * sizeof *expected);
    memcpy(expected, bench->step.shift, count * sizeof *expected);
    leave_shifts(bench, kind, expected);
    const double *got = kernel_read_floats(bench->step.step.shift, count);
    for (size_t at = 0; at < count; at++) {
        if (expected[at] == bench->step.shift[at]) {
            ck_assert_double_eq(got[at], expected[at]);
        }
        ck_assert_double_eq_tol(got[at], expected[at], 4e-6);
    }
}

static void check_planes(const struct bench *bench, int kind, const cuda_half *device,
                         const double *mix, uint32_t mixes)
{
    const size_t C = bench->shape.C, plane = bench->act.N * C;
    const uint32_t rows = bench->step.header.row_count;
    const double *got = kernel_read_halves(device, mixes * plane);
    double *n = kernel_host(C * sizeof *n), *before = kernel_host(C * sizeof *before);
    double *expected = kernel_host(C * sizeof *expected);
    for (uint32_t row = 0; row < rows; row++) {
        normalise(bench->x + row * C, bench->weight[kind], bench->bias[kind], C, n);
        previous_norm(bench, row, kind, before);
        for (uint32_t m = 0; m < mixes; m++) {
            for (size_t c = 0; c < C; c++) {
                expected[c] = n[c] + (before[c] - n[c]) * mix[m * C + c];
            }
            ck_assert_double_lt(kernel_difference(got + m * plane + row * C, expected, C),
                                f16_error_max);
        }
    }
    for (uint32_t m = 0; m < mixes; m++) {
        check_nan(got + m * plane + rows * C, plane - rows * C);
    }
}

static void mixes_att(uint32_t C, uint32_t multiprocessors)
{
    struct bench bench;
    make_bench(&bench, C, multiprocessors);
    kernel_step_place(&bench.step);
    upload_x(&bench);
    KERNEL_OK(cuda_mix_att(&bench.step.launch, bench.step.step, &bench.shape, &bench.layer, LAYER,
                           &bench.act));
    check_planes(&bench, 0, bench.act.planes, bench.mix, CUDA_MIXES);
    check_shifts(&bench, 0);
    kernel_case_end();
}

static void mixes_ffn(uint32_t C, uint32_t multiprocessors)
{
    struct bench bench;
    make_bench(&bench, C, multiprocessors);
    kernel_step_place(&bench.step);
    upload_x(&bench);
    KERNEL_OK(cuda_mix_ffn(&bench.step.launch, bench.step.step, &bench.shape, &bench.layer, LAYER,
                           &bench.act));
    check_planes(&bench, 1, bench.act.ffn_in, bench.ffn_mix, 1);
    check_shifts(&bench, 1);
    kernel_case_end();
}

/* Each width of a row in registers, split and whole. */
START_TEST(the_shift_is_that_of_the_own_sequence)
{
    static const uint32_t channels[] = {64, 1088, 2560, 4160};
    for (size_t n = 0; n < sizeof(channels) / sizeof(channels[0]); n++) {
        mixes_att(channels[n], MANY);
        mixes_att(channels[n], FEW);
        mixes_ffn(channels[n], MANY);
        mixes_ffn(channels[n], FEW);
    }
}
END_TEST

/* The grid is no part of the result. */
START_TEST(split_and_whole_rows_have_equal_bits)
{
    static const uint32_t multiprocessors[2] = {MANY, FEW};
    const void *planes[2], *shifts[2];
    struct bench bench;
    make_bench(&bench, 2560, MANY);
    kernel_step_place(&bench.step);
    upload_x(&bench);
    const size_t plane_bytes =
        CUDA_MIXES * (size_t)bench.act.N * bench.shape.C * sizeof(cuda_half);
    for (int n = 0; n < 2; n++) {
        bench.step.launch.multiprocessors = multiprocessors[n];
        KERNEL_OK(cuda_mix_att(&bench.step.launch, bench.step.step, &bench.shape, &bench.layer,
                               LAYER, &bench.act));
        planes[n] = kernel_read(bench.act.planes, plane_bytes);
        shifts[n] = kernel_read(bench.step.step.shift,
                                SLOTS * 2 * bench.step.slot_shift * sizeof(float));
    }
    ck_assert_mem_eq(planes[0], planes[1], plane_bytes);
    ck_assert_mem_eq(shifts[0], shifts[1], SLOTS * 2 * bench.step.slot_shift * sizeof(float));
}
END_TEST

/* ---- relu^2 and the last norm ------------------------------------------------------------ */

START_TEST(relu_squared_is_clamped_and_keeps_nan)
{
    struct bench bench;
    make_bench(&bench, 64, MANY);
    const size_t rows = bench.step.header.row_count, F = bench.shape.F;
    double *x = kernel_numbers(bench.act.N * F, true, -3.0, 3.0);
    x[3] = 300.0; /* Squared it is too large. */
    x[4] = -65504.0;
    x[5] = INFINITY;
    x[6] = NAN;
    bench.act.ffn_hidden = kernel_halves(x, bench.act.N * F);
    KERNEL_OK(cuda_relu_squared(&bench.step.launch, bench.step.step, &bench.shape, &bench.act));
    const double *got = kernel_read_halves(bench.act.ffn_hidden, bench.act.N * F);
    for (size_t at = 0; at < rows * F; at++) {
        const double squared = x[at] < 0.0 ? 0.0 : fmin(x[at] * x[at], 65504.0);
        if (at == 6) {
            ck_assert(isnan(got[at]));
        } else {
            ck_assert_double_eq(got[at], kernel_half_value(kernel_half(squared)));
        }
    }
    ck_assert_mem_eq(got + rows * F, x + rows * F, ROWS_BEYOND * F * sizeof *x);
}
END_TEST

static void final_norms(uint32_t C, bool advance)
{
    struct bench bench;
    make_bench(&bench, C, MANY);
    kernel_step_place(&bench.step);
    upload_x(&bench);
    const uint32_t rows = bench.step.header.row_count;
    KERNEL_OK(cuda_final_norm(&bench.step.launch, bench.step.step, &bench.shape, bench.act.N,
                              advance, bench.layer.ln2_weight, bench.layer.ln2_bias, &bench.act));
    const double *got = kernel_read_halves(bench.act.head_in, (size_t)bench.act.N * C);
    double *expected = kernel_host(C * sizeof *expected);
    for (uint32_t index = 0; index < rows; index++) {
        normalise(bench.x + (size_t)(rows - 1 - index) * C, bench.weight[1], bench.bias[1], C,
                  expected);
        ck_assert_double_lt(kernel_difference(got + (size_t)index * C, expected, C),
                            f16_error_max);
    }
    check_nan(got + (size_t)rows * C, (size_t)ROWS_BEYOND * C);
    for (uint32_t index = 0; index < ITEMS && advance; index++) {
        if (bench.step.places[index].active != 0) {
            bench.step.slots[items[index].slot].parity ^= 1u;
        }
    }
    ck_assert_mem_eq(kernel_read(bench.step.step.slots, sizeof bench.step.slots), bench.step.slots,
                     sizeof bench.step.slots);
    kernel_case_end();
}

START_TEST(final_norm_takes_wanted_rows_and_turns_the_shifts_over)
{
    final_norms(64, true);
    final_norms(1152, false);
    final_norms(2560, true);
    final_norms(8192, true);
}
END_TEST

START_TEST(without_logits_the_shifts_are_turned_over_too)
{
    struct bench bench;
    make_bench(&bench, 64, MANY);
    kernel_step_place(&bench.step);
    upload_x(&bench);
    bench.step.header.logit_count = 0;
    bench.step.step.header = kernel_upload(&bench.step.header, sizeof bench.step.header);
    KERNEL_OK(cuda_final_norm(&bench.step.launch, bench.step.step, &bench.shape, 0, true,
                              bench.layer.ln2_weight, bench.layer.ln2_bias, &bench.act));
    const struct cuda_slot *slots =
        kernel_read(bench.step.step.slots, sizeof bench.step.slots);
    ck_assert_uint_eq(slots[1].parity, bench.step.slots[1].parity ^ 1u);
    ck_assert_uint_eq(slots[5].parity, bench.step.slots[5].parity);
}
END_TEST

START_TEST(rows_that_no_kernel_holds_are_refused)
{
    struct bench bench;
    make_bench(&bench, 64, MANY);
    bench.shape.C = 8256;
    ck_assert_int_eq(cuda_mix_att(&bench.step.launch, bench.step.step, &bench.shape, &bench.layer,
                                  LAYER, &bench.act),
                     cudaErrorInvalidValue);
    bench.shape.C = 96;
    ck_assert_int_eq(cuda_mix_ffn(&bench.step.launch, bench.step.step, &bench.shape, &bench.layer,
                                  LAYER, &bench.act),
                     cudaErrorInvalidValue);
}
END_TEST

/* ---- Snapshots --------------------------------------------------------------------------- */

static size_t layer_floats(const struct bench *bench)
{
    return 2 * (size_t)bench->shape.C + bench->step.slot_wkv / L;
}

static double *expected_snapshot(const struct bench *bench, uint32_t slot)
{
    const size_t C = bench->shape.C, wkv = bench->step.slot_wkv / L;
    const size_t shift_at =
        ((size_t)slot * 2 + bench->step.slots[slot].parity) * bench->step.slot_shift;
    double *snapshot = kernel_host(L * layer_floats(bench) * sizeof *snapshot);
    for (size_t layer = 0; layer < L; layer++) {
        double *to = snapshot + layer * layer_floats(bench);
        const double *shift = bench->step.shift + shift_at + layer * 2 * C;
        memcpy(to, shift, C * sizeof *to);
        memcpy(to + C, bench->step.wkv + slot * bench->step.slot_wkv + layer * wkv,
               wkv * sizeof *to);
        memcpy(to + C + wkv, shift + C, C * sizeof *to);
    }
    return snapshot;
}

START_TEST(a_snapshot_moves_between_slots)
{
    struct bench bench;
    make_bench(&bench, 192, MANY);
    const size_t floats = L * layer_floats(&bench);
    float *snapshot = kernel_device(floats * sizeof *snapshot);
    KERNEL_OK(cuda_state_pack(NULL, bench.step.step, &bench.shape, 3, snapshot));
    const double *expected = expected_snapshot(&bench, 3);
    ck_assert_mem_eq(kernel_read_floats(snapshot, floats), expected, floats * sizeof *expected);

    KERNEL_OK(cuda_state_unpack(NULL, bench.step.step, &bench.shape, 6, snapshot));
    float *again = kernel_device(floats * sizeof *again);
    KERNEL_OK(cuda_state_pack(NULL, bench.step.step, &bench.shape, 6, again));
    ck_assert_mem_eq(kernel_read_floats(again, floats), expected, floats * sizeof *expected);

    KERNEL_OK(cuda_state_unpack(NULL, bench.step.step, &bench.shape, 3, NULL));
    KERNEL_OK(cuda_state_pack(NULL, bench.step.step, &bench.shape, 3, again));
    const double *zeros = kernel_host(floats * sizeof *zeros);
    ck_assert_mem_eq(kernel_read_floats(again, floats), zeros, floats * sizeof *zeros);

    const struct cuda_slot *slots =
        kernel_read(bench.step.step.slots, sizeof bench.step.slots);
    const double *wkv = kernel_read_floats(bench.step.step.wkv, SLOTS * bench.step.slot_wkv);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const bool is_written = slot == 3 || slot == 6;
        ck_assert_uint_eq(slots[slot].parity, is_written ? 0 : bench.step.slots[slot].parity);
        if (!is_written) {
            ck_assert_mem_eq(wkv + slot * bench.step.slot_wkv,
                             bench.step.wkv + slot * bench.step.slot_wkv,
                             bench.step.slot_wkv * sizeof *wkv);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_elementwise");
    TCase *tests = tcase_create("elementwise");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, NULL, kernel_case_end);
    tcase_add_test(tests, embedding_is_normalised_and_places_are_made);
    tcase_add_test(tests, the_shift_is_that_of_the_own_sequence);
    tcase_add_test(tests, split_and_whole_rows_have_equal_bits);
    tcase_add_test(tests, relu_squared_is_clamped_and_keeps_nan);
    tcase_add_test(tests, final_norm_takes_wanted_rows_and_turns_the_shifts_over);
    tcase_add_test(tests, without_logits_the_shifts_are_turned_over_too);
    tcase_add_test(tests, rows_that_no_kernel_holds_are_refused);
    tcase_add_test(tests, a_snapshot_moves_between_slots);
    suite_add_tcase(suite, tests);
    return kernel_case_run(suite);
}
