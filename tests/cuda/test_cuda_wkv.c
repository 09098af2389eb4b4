/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the recurrence of the time mix, of one token and of many, with forks, ended rows and
 * neighbours in the batch. Shown by: both kernels against float64, state and output; states of
 * other slots unchanged; the same bits twice and for equal rows.
 *
 * Usage: test_cuda_wkv [TOKENS]: with TOKENS only the long sequence. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_case.h"

enum { L = 2, LAYER = 1, N = CUDA_HEAD, SLOTS = 8, LONG_TOKENS = 16384, SHORT_TOKENS = 1024 };

static const double f32_error_max = 1e-5;
static const double long_error_max = 1e-4;
static const double f16_error_max = 1e-3; /* Of y_gated, which is rounded to 11 bits. */

static uint32_t long_tokens = LONG_TOKENS;

/* Inputs of the recurrence as the kernels before leave them, [rows][C], and a layer's weights. */
struct inputs {
    struct cuda_shape shape;
    struct kernel_step step;
    struct cuda_layer layer;
    struct cuda_activations act;
    double *rkv[3], *log_w, *a, *gate;
    double *k_k, *k_a, *r_k, *ln_weight, *ln_bias; /* [C] */
    double *y, *y_gated, *wkv;                     /* Expected. */
    bool hides_y; /* Blocks with all rows of a head keep y to themselves. */
};

static double *weights(const struct inputs *in, double low, double high, const float **device_out)
{
    double *numbers = kernel_numbers(in->shape.C, false, low, high);
    *device_out = kernel_floats(numbers, in->shape.C);
    return numbers;
}

static double *activation(const struct inputs *in, double low, double high, float *device)
{
    const size_t count = (size_t)in->step.header.row_count * in->shape.C;
    double *numbers = kernel_numbers(count, false, low, high);
    KERNEL_OK(cudaMemcpy(device, kernel_floats(numbers, count), count * sizeof(float),
                         cudaMemcpyDeviceToDevice));
    return numbers;
}

/* log of the decays: channels of a head from fast ones to those that forget e in 20,000 tokens. */
static void make_decays(struct inputs *in)
{
    const size_t count = (size_t)in->step.header.row_count * in->shape.C;
    in->log_w = kernel_numbers(count, false, -0.6065, 0.0);
    for (size_t at = 0; at < count; at++) {
        in->log_w[at] = (double)(float)(in->log_w[at] * pow(1e-4, (double)(at % N) / (N - 1)));
    }
    KERNEL_OK(cudaMemcpy(in->act.log_w, kernel_floats(in->log_w, count), count * sizeof(float),
                         cudaMemcpyDeviceToDevice));
}

/* The arena has more rows than the step. */
static void make_inputs(struct inputs *in, uint32_t H, const struct cuda_item *items,
                        uint32_t item_count, uint32_t ended_slots)
{
    *in = (struct inputs){.shape = {.V = 8, .L = L, .C = H * N, .H = H, .F = 64,
                                    .rank = {16, 16, 16, 16}}};
    kernel_step_make(&in->step, &in->shape, items, item_count, SLOTS, ended_slots);
    kernel_step_place(&in->step);
    const uint32_t rows = in->step.header.row_count;
    const size_t count = (size_t)rows * in->shape.C;
    in->act = kernel_activations(&in->shape, rows + 3, 1);
    for (size_t plane = 0; plane < 3; plane++) {
        in->rkv[plane] = kernel_numbers(count, true, -2.0, 2.0);
        KERNEL_OK(cudaMemcpy(in->act.rkv + plane * in->act.N * in->shape.C,
                             kernel_halves(in->rkv[plane], count), count * sizeof(cuda_half),
                             cudaMemcpyDeviceToDevice));
    }
    make_decays(in);
    in->a = activation(in, 0.0, 1.0, in->act.a);
    in->gate = activation(in, -1.0, 1.0, in->act.gate);
    in->k_k = weights(in, 0.5, 1.5, &in->layer.k_k);
    in->k_a = weights(in, 0.5, 1.5, &in->layer.k_a);
    in->r_k = weights(in, -0.2, 0.2, &in->layer.r_k);
    in->ln_weight = weights(in, 0.5, 1.5, &in->layer.ln_x_weight);
    in->ln_bias = weights(in, -0.5, 0.5, &in->layer.ln_x_bias);
}

/* ---- Reference --------------------------------------------------------------------------- */

struct head_vectors {
    double minus_kk[N], w[N], b[N], k[N], bonus;
};

static void prepare(const struct inputs *in, size_t at, size_t channel, struct head_vectors *out)
{
    double squares = 0.0;
    for (size_t j = 0; j < N; j++) {
        out->minus_kk[j] = -in->rkv[1][at + j] * in->k_k[channel + j];
        squares += out->minus_kk[j] * out->minus_kk[j];
    }
    const double length = fmax(sqrt(squares), 1e-12);
    out->bonus = 0.0;
    for (size_t j = 0; j < N; j++) {
        const double a = in->a[at + j];
        out->minus_kk[j] /= length;
        out->b[j] = -out->minus_kk[j] * a;
        out->w[j] = exp(in->log_w[at + j]);
        out->k[j] = in->rkv[1][at + j] * (1.0 + (a - 1.0) * in->k_a[channel + j]);
        out->bonus += in->rkv[0][at + j] * out->k[j] * in->r_k[channel + j];
    }
}

static void advance(const struct inputs *in, size_t at, const struct head_vectors *head, double *S,
                    double *y)
{
    for (size_t i = 0; i < N; i++) {
        double *row = S + i * N;
        double sa = 0.0;
        for (size_t j = 0; j < N; j++) {
            sa += row[j] * head->minus_kk[j];
        }
        y[i] = 0.0;
        for (size_t j = 0; j < N; j++) {
            row[j] = row[j] * head->w[j] + sa * head->b[j] + in->rkv[2][at + i] * head->k[j];
            y[i] += row[j] * in->rkv[0][at + j];
        }
    }
}

static void finish(const struct inputs *in, size_t at, size_t channel, double bonus,
                   const double *y, double *out)
{
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < N; i++) {
        mean += y[i] / N;
    }
    for (size_t i = 0; i < N; i++) {
        variance += (y[i] - mean) * (y[i] - mean) / N;
    }
    for (size_t i = 0; i < N; i++) {
        const double norm = (y[i] - mean) / sqrt(variance + 64e-5) * in->ln_weight[channel + i]
                            + in->ln_bias[channel + i];
        out[i] = (norm + bonus * in->rkv[2][at + i]) * in->gate[at + i];
    }
}

static size_t state_at(const struct inputs *in, uint32_t slot, uint32_t head)
{
    return slot * in->step.slot_wkv + ((size_t)LAYER * in->shape.H + head) * N * N;
}

/* What every row's output and every slot's state must become. */
static void compute(struct inputs *in)
{
    const size_t count = (size_t)in->step.header.row_count * in->shape.C;
    in->y = kernel_host(count * sizeof(double));
    in->y_gated = kernel_host(count * sizeof(double));
    in->wkv = kernel_host(SLOTS * in->step.slot_wkv * sizeof(double));
    memcpy(in->wkv, in->step.wkv, SLOTS * in->step.slot_wkv * sizeof(double));
    for (uint32_t index = 0; index < in->step.header.item_count; index++) {
        const struct cuda_place *place = &in->step.places[index];
        for (uint32_t h = 0; h < in->shape.H; h++) {
            double S[N * N];
            memcpy(S, in->step.wkv + state_at(in, in->step.items[index].source_slot, h), sizeof S);
            for (uint32_t t = 0; t < place->row_count; t++) {
                const size_t at = (size_t)(place->first_row + t) * in->shape.C + h * N;
                struct head_vectors head;
                prepare(in, at, h * N, &head);
                advance(in, at, &head, S, in->y + at);
                finish(in, at, h * N, head.bonus, in->y + at, in->y_gated + at);
            }
            if (place->active != 0) {
                memcpy(in->wkv + state_at(in, place->slot, h), S, sizeof S);
            }
        }
    }
}

/* ---- Comparison -------------------------------------------------------------------------- */

static void run(struct inputs *in)
{
    KERNEL_OK(cuda_wkv_decode(&in->step.launch, in->step.step, &in->shape, &in->layer, LAYER,
                              &in->act));
    KERNEL_OK(
        cuda_wkv_scan(&in->step.launch, in->step.step, &in->shape, &in->layer, LAYER, &in->act));
}

/* The largest error of a state; slots that nobody advances keep their bits. */
static double state_error(const struct inputs *in)
{
    const double *got = kernel_read_floats(in->step.step.wkv, SLOTS * in->step.slot_wkv);
    bool is_advanced[SLOTS] = {false};
    for (uint32_t index = 0; index < in->step.header.item_count; index++) {
        is_advanced[in->step.places[index].slot] |= in->step.places[index].active != 0;
    }
    double worst = 0.0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const double *own = got + slot * in->step.slot_wkv;
        const double *expected = in->wkv + slot * in->step.slot_wkv;
        if (is_advanced[slot]) {
            worst = fmax(worst, kernel_difference(own, expected, in->step.slot_wkv));
        } else {
            ck_assert_mem_eq(own, expected, in->step.slot_wkv * sizeof *own);
        }
    }
    return worst;
}

static void check(struct inputs *in)
{
    compute(in);
    run(in);
    ck_assert_double_lt(state_error(in), f32_error_max);
    const double *got = kernel_read_halves(in->act.y_gated, (size_t)in->act.N * in->shape.C);
    const double *y = kernel_read_floats(in->act.y, (size_t)in->act.N * in->shape.C);
    for (uint32_t index = 0; index < in->step.header.item_count; index++) {
        const struct cuda_place *place = &in->step.places[index];
        const size_t at = (size_t)place->first_row * in->shape.C;
        const size_t count = (size_t)place->row_count * in->shape.C;
        if (place->active != 0) {
            ck_assert_double_lt(kernel_difference(got + at, in->y_gated + at, count),
                                f16_error_max);
            if (place->row_count > 1 && !in->hides_y) {
                ck_assert_double_lt(kernel_difference(y + at, in->y + at, count), f32_error_max);
            }
        }
    }
    /* Rows beyond the step are not written. */
    const size_t rows = (size_t)in->step.header.row_count * in->shape.C;
    for (size_t at = rows; at < (size_t)in->act.N * in->shape.C; at++) {
        ck_assert(isnan(got[at]) && isnan(y[at]));
    }
}

/* ---- Cases ------------------------------------------------------------------------------- */

START_TEST(one_token)
{
    struct inputs in;
    static const struct cuda_item items[] = {
        {.slot = 3, .source_slot = 3, .row_count = 1},
        {.slot = 0, .source_slot = 0, .row_count = 1}, /* Ended: nothing is written. */
        {.slot = 5, .source_slot = 2, .row_count = 1, .tokens_given = 1}, /* A fork. */
        {.slot = 6, .source_slot = 2, .row_count = 1, .tokens_given = 1},
        {.slot = 1, .source_slot = 1, .row_count = 1, .tokens_given = 1}, /* Ended, but told. */
    };
    make_inputs(&in, 3, items, 5, 1u << 0 | 1u << 1);
    check(&in);
}
END_TEST

START_TEST(one_token_with_programmatic_launches)
{
    struct inputs in;
    static const struct cuda_item items[] = {{.slot = 3, .source_slot = 4, .row_count = 1}};
    make_inputs(&in, 2, items, 1, 0);
    in.step.launch.programmatic = kernel_has_programmatic_launches();
    check(&in);
}
END_TEST

/* Each number of heads for a multiprocessor has its own layout. */
static void take_multiprocessors(struct inputs *in, uint32_t multiprocessors, uint32_t items)
{
    in->step.launch.multiprocessors = multiprocessors;
    in->hides_y = in->shape.H * items * 2 > multiprocessors;
}

static void mixed_lengths(uint32_t multiprocessors, uint32_t scan_first)
{
    struct inputs in;
    static const struct cuda_item items[] = {
        {.slot = 4, .source_slot = 4, .row_count = 1},
        {.slot = 1, .source_slot = 1, .row_count = 77, .tokens_given = 77},
        {.slot = 2, .source_slot = 0, .row_count = 2, .tokens_given = 2},
        {.slot = 3, .source_slot = 3, .row_count = 33, .tokens_given = 33},
        {.slot = 7, .source_slot = 0, .row_count = 16, .tokens_given = 16},
    };
    make_inputs(&in, 2, items, 5, 0);
    take_multiprocessors(&in, multiprocessors, 5 - scan_first);
    if (scan_first != 0) {
        in.step.header.scan_first = scan_first;
        in.step.launch.scan_capacity = in.step.header.item_count - scan_first;
        in.step.step.header = kernel_upload(&in.step.header, sizeof in.step.header);
    }
    check(&in);
}

START_TEST(many_tokens_few_heads)
{
    mixed_lengths(132, 0);
}
END_TEST

START_TEST(many_tokens_a_head_for_two_multiprocessors)
{
    mixed_lengths(20, 0);
}
END_TEST

START_TEST(many_tokens_a_head_for_each_multiprocessor)
{
    mixed_lengths(10, 0);
}
END_TEST

START_TEST(many_tokens_most_heads)
{
    mixed_lengths(1, 0);
}
END_TEST

START_TEST(only_items_from_scan_first_on_are_scanned)
{
    mixed_lengths(132, 1);
}
END_TEST

START_TEST(five_hundred_tokens)
{
    struct inputs in;
    static const struct cuda_item items[] = {
        {.slot = 1, .source_slot = 1, .row_count = 512, .tokens_given = 512},
    };
    make_inputs(&in, 1, items, 1, 0);
    check(&in);
}
END_TEST

/* The larger error of the state and of y, where that can be seen. */
static double error_after(uint32_t tokens, uint32_t multiprocessors)
{
    struct inputs in;
    const struct cuda_item item = {.slot = 1, .source_slot = 1, .row_count = tokens,
                                   .tokens_given = tokens};
    make_inputs(&in, 1, &item, 1, 0);
    take_multiprocessors(&in, multiprocessors, 1);
    compute(&in);
    run(&in);
    double error = state_error(&in);
    if (!in.hides_y) {
        const size_t count = (size_t)tokens * in.shape.C;
        error = fmax(error,
                     kernel_difference(kernel_read_floats(in.act.y, count), in.y, count));
    }
    kernel_case_end();
    return error;
}

/* What is rounded away in one token is missed in all that follow. Both kinds of blocks, with a part
 * of a head's rows and with all, see the longest sequence. */
START_TEST(long_sequence)
{
    static const struct {
        uint32_t multiprocessors, divisor;
    } layouts[] = {{4, 1}, {2, 4}, {1, 4}, {0, 1}}; /* One head: all layouts. */
    const uint32_t tokens = long_tokens / layouts[_i].divisor;
    const double short_error = error_after(SHORT_TOKENS, layouts[_i].multiprocessors);
    const double error = error_after(tokens, layouts[_i].multiprocessors);
    printf("layout %d: error %.1e after %u tokens, %.1e after %u\n", _i, short_error,
           (uint32_t)SHORT_TOKENS, error, tokens);
    ck_assert_double_lt(error, long_error_max);
    ck_assert_double_le(error, 2.0 * short_error);
}
END_TEST

/* Items 0 and 1 get the same inputs and states. */
static void make_equal(struct inputs *in, uint32_t row_count)
{
    const size_t C = in->shape.C, N_rows = in->act.N;
    const size_t half_bytes = row_count * C * sizeof(cuda_half);
    const size_t float_bytes = row_count * C * sizeof(float);
    for (size_t plane = 0; plane < 3; plane++) {
        cuda_half *rows = in->act.rkv + plane * N_rows * C;
        KERNEL_OK(cudaMemcpy(rows + row_count * C, rows, half_bytes, cudaMemcpyDeviceToDevice));
    }
    float *const floats[3] = {in->act.log_w, in->act.a, in->act.gate};
    for (size_t n = 0; n < 3; n++) {
        KERNEL_OK(cudaMemcpy(floats[n] + row_count * C, floats[n], float_bytes,
                             cudaMemcpyDeviceToDevice));
    }
}

static void equal_rows_and_repeats(uint32_t row_count, uint32_t multiprocessors)
{
    struct inputs in;
    const struct cuda_item items[] = {
        {.slot = 3, .source_slot = 0, .row_count = row_count, .tokens_given = row_count},
        {.slot = 4, .source_slot = 0, .row_count = row_count, .tokens_given = row_count},
    };
    make_inputs(&in, 2, items, 2, 0);
    take_multiprocessors(&in, multiprocessors, 2);
    make_equal(&in, row_count);
    const size_t bytes = (size_t)row_count * in.shape.C * sizeof(cuda_half);
    const size_t state_bytes = in.step.slot_wkv / L * sizeof(float);
    run(&in);
    const char *first = kernel_read(in.act.y_gated, 2 * bytes);
    const float *states = kernel_read(in.step.step.wkv, SLOTS * in.step.slot_wkv * sizeof(float));
    ck_assert_mem_eq(first, first + bytes, bytes);
    const float *layer = states + in.step.slot_wkv / L * LAYER;
    ck_assert_mem_eq(layer + 3 * in.step.slot_wkv, layer + 4 * in.step.slot_wkv, state_bytes);
    run(&in); /* Slot 0 was only read: the same again. */
    ck_assert_mem_eq(first, kernel_read(in.act.y_gated, 2 * bytes), 2 * bytes);
    ck_assert_mem_eq(states,
                     kernel_read(in.step.step.wkv, SLOTS * in.step.slot_wkv * sizeof(float)),
                     SLOTS * in.step.slot_wkv * sizeof(float));
}

START_TEST(equal_rows_have_equal_bits)
{
    equal_rows_and_repeats(1, 132);
    for (uint32_t multiprocessors = 16; multiprocessors > 1; multiprocessors /= 2) {
        kernel_case_end();
        equal_rows_and_repeats(21, multiprocessors);
    }
}
END_TEST

int main(int argument_count, char **arguments)
{
    Suite *suite = suite_create("cuda_wkv");
    TCase *tests = tcase_create("wkv");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, NULL, kernel_case_end);
    if (argument_count > 1) {
        long_tokens = (uint32_t)strtoul(arguments[1], NULL, 10);
    } else {
        tcase_add_test(tests, one_token);
        tcase_add_test(tests, one_token_with_programmatic_launches);
        tcase_add_test(tests, many_tokens_few_heads);
        tcase_add_test(tests, many_tokens_a_head_for_two_multiprocessors);
        tcase_add_test(tests, many_tokens_a_head_for_each_multiprocessor);
        tcase_add_test(tests, many_tokens_most_heads);
        tcase_add_test(tests, only_items_from_scan_first_on_are_scanned);
        tcase_add_test(tests, five_hundred_tokens);
        tcase_add_test(tests, equal_rows_have_equal_bits);
    }
    tcase_add_loop_test(tests, long_sequence, 0, 4);
    suite_add_tcase(suite, tests);
    return kernel_case_run(suite);
}
