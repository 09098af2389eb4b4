/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the products of 1 to 4 decode rows with a norm in front compute what the model says
 * and write nothing beyond their rows. Shown by: every product against sums in f64, with bulk
 * copies and without, over widths that fill slots unevenly.
 *
 * Exit status 77 without a device. */
#include <math.h>
#include <stdlib.h>

#include "few_rows_step.h"

/* ---- The reference ----------------------------------------------------------------------- */

static void norm(const float *x, const struct array *weight, const struct array *bias, uint32_t C,
                 double *out)
{
    double mean = 0.0, squares = 0.0;
    for (uint32_t c = 0; c < C; c++) {
        mean += (double)x[c] / C;
    }
    for (uint32_t c = 0; c < C; c++) {
        squares += (x[c] - mean) * (x[c] - mean);
    }
    const double scale = 1.0 / sqrt(squares / C + 1e-5);
    for (uint32_t c = 0; c < C; c++) {
        out[c] = (x[c] - mean) * scale * (double)weight->host[c] + (double)bias->host[c];
    }
}

/* The mixed input of a row as f16; kind 0 att, 1 ffn. Also its norm. */
static void mixed(const struct bench *b, uint32_t row, uint32_t kind, const struct array *weight,
                  const struct array *bias, const float *mix, double *n, float *in)
{
    const uint32_t C = b->shape.C, item = b->row_item[row];
    const uint32_t source = source_of(item);
    const float *before = b->shift->host + shift_at(b, source, parity_of(source), kind);
    norm(b->x->host + (size_t)row * C, weight, bias, C, n);
    for (uint32_t c = 0; c < C; c++) {
        const double previous = b->places[item].active != 0 ? (double)before[c] : n[c];
        in[c] = rounded((float)(n[c] + (previous - n[c]) * (double)mix[c]));
    }
}

static void expect_untouched(const float *got, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(got[i] == untouched, "%s[%zu]: %g", what, i, (double)got[i]);
    }
}

/* The other copy of each active item's slot has n; nothing else is written. */
static void expect_shift(const struct bench *b, uint32_t kind, const struct array *weight,
                         const struct array *bias)
{
    const uint32_t C = b->shape.C;
    float *got = array_download(b->shift);
    double *n = malloc(C * sizeof(*n));
    for (uint32_t row = 0; row < b->rows; row++) {
        const uint32_t item = b->row_item[row];
        const size_t at = shift_at(b, 2 * item + 1, 1 - parity_of(2 * item + 1), kind);
        if (b->places[item].active != 0) {
            norm(b->x->host + (size_t)row * C, weight, bias, C, n);
            expect_close(got + at, n, C, "shift_out");
            memcpy(got + at, b->shift->host + at, C * sizeof(*got));
        }
    }
    ck_assert_mem_eq(got, b->shift->host, b->shift->count * sizeof(*got));
    free(n);
    free(got);
    array_upload(b->shift);
}

/* ---- Into the time mix ------------------------------------------------------------------- */

struct att {
    struct array *ln_weight, *ln_bias, *mix, *rkv, *down[CUDA_LOW_RANKS];
    struct array *rkv_out, *hidden[CUDA_LOW_RANKS];
    struct cuda_layer layer;
};

static void att_open(struct bench *b, struct att *a, bool has_value)
{
    const size_t C = b->shape.C;
    *a = (struct att){
        .ln_weight = array_make(C, false, 0.5f, 1.5f),
        .ln_bias = array_make(C, false, -0.2f, 0.2f),
        .mix = array_make(CUDA_MIXES * C, false, 0.0f, 1.0f),
        .rkv = array_make(3 * C * C, true, -0.1f, 0.1f),
        .rkv_out = array_untouched(3 * ARENA_ROWS * C, true),
    };
    a->layer = (struct cuda_layer){
        .ln1_weight = a->ln_weight->device,
        .ln1_bias = a->ln_bias->device,
        .mix = a->mix->device,
        .rkv = a->rkv->device,
    };
    b->act.rkv = a->rkv_out->device;
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        const size_t Q = b->shape.rank[g];
        a->hidden[g] = array_untouched(ARENA_ROWS * Q, true);
        b->act.hidden[g] = a->hidden[g]->device;
        if (g != CUDA_LOW_V || has_value) {
            a->down[g] = array_make(Q * C, true, -0.1f, 0.1f);
            a->layer.down[g] = a->down[g]->device;
        }
    }
}

static double after(int group, double sum)
{
    if (group == CUDA_LOW_W) {
        return tanh(sum);
    }
    return group == CUDA_LOW_G ? 1.0 / (1.0 + exp(-sum)) : sum;
}

/* One matrix's outputs [row][outputs]; group -1: no low rank. */
static void expect_part(const struct bench *b, const struct att *a, const float *weights, int mix,
                        uint32_t outputs, int group, const float *got)
{
    const uint32_t C = b->shape.C;
    double *n = malloc(C * sizeof(*n)), *want = malloc(outputs * sizeof(*want));
    float *in = malloc(C * sizeof(*in));
    for (uint32_t row = 0; row < b->rows; row++) {
        if (b->places[b->row_item[row]].active != 0) {
            mixed(b, row, 0, a->ln_weight, a->ln_bias, a->mix->host + (size_t)mix * C, n, in);
            for (uint32_t o = 0; o < outputs; o++) {
                want[o] = after(group, dot(weights + (size_t)o * C, 1, in, C));
            }
            expect_close(got + (size_t)row * outputs, want, outputs, "att_in");
        }
    }
    expect_untouched(got + (size_t)b->rows * outputs, (size_t)(ARENA_ROWS - b->rows) * outputs,
                     "att_in beyond the rows");
    free(n);
    free(want);
    free(in);
}

static void expect_att(const struct bench *b, const struct att *a)
{
    static const int mix_of[CUDA_LOW_RANKS] = {CUDA_MIX_W, CUDA_MIX_A, CUDA_MIX_G, CUDA_MIX_V};
    const size_t C = b->shape.C;
    float *rkv = array_download(a->rkv_out);
    for (int m = 0; m < 3; m++) {
        expect_part(b, a, a->rkv->host + (size_t)m * C * C, m, (uint32_t)C, -1,
                    rkv + (size_t)m * ARENA_ROWS * C);
    }
    free(rkv);
    array_upload(a->rkv_out);
    for (int g = 0; g < CUDA_LOW_RANKS; g++) {
        float *hidden = array_download(a->hidden[g]);
        if (a->down[g] != NULL) {
            expect_part(b, a, a->down[g]->host, mix_of[g], b->shape.rank[g], g, hidden);
        } else {
            expect_untouched(hidden, a->hidden[g]->count, "hidden of no value");
        }
        free(hidden);
        array_upload(a->hidden[g]);
    }
    expect_shift(b, 0, a->ln_weight, a->ln_bias);
}

static void check_att_in(uint32_t C, uint32_t multiprocessors, bool has_value)
{
    struct bench b;
    struct att a;
    bench_open(&b, C, 256, 16);
    b.launch.multiprocessors = multiprocessors;
    att_open(&b, &a, has_value);
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            const uint32_t rows = capacity == 3 ? 2 : capacity;
            bench_rows(&b, rows, capacity, bulk != 0);
            ok(cuda_few_rows_att_in(&b.launch, b.step, &b.shape, &a.layer, LAYER, &b.act));
            ok(cudaDeviceSynchronize());
            expect_att(&b, &a);
        }
    }
    bench_close(&b);
}

START_TEST(att_in_makes_r_k_v_low_ranks_and_the_shift)
{
    check_att_in(128, 132, true);  /* One short slot a row; blocks without a row for some warps. */
    check_att_in(256, 3, false);   /* More matrices than blocks wanted; long rings. */
    check_att_in(768, 132, true);
}
END_TEST

START_TEST(att_in_takes_uneven_widths)
{
    check_att_in(1088, 16, true); /* 136 vectors a row: the last does not fill a warp. */
}
END_TEST

/* The same bits alone, in company, with bulk copies and without. */
START_TEST(att_in_does_not_depend_on_company_or_form)
{
    struct bench b;
    struct att a;
    bench_open(&b, 320, 256, 16);
    att_open(&b, &a, true);
    float *first = NULL;
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            b.item_of_row = 0;
            bench_rows(&b, capacity, capacity, bulk != 0);
            b.launch.multiprocessors = 7 * capacity;
            ok(cuda_few_rows_att_in(&b.launch, b.step, &b.shape, &a.layer, LAYER, &b.act));
            float *got = array_download(a.rkv_out);
            if (first == NULL) {
                first = got;
                continue;
            }
            for (size_t m = 0; m < 3; m++) {
                const size_t at = m * ARENA_ROWS * b.shape.C;
                ck_assert_mem_eq(got + at, first + at, b.shape.C * sizeof(float));
            }
            free(got);
        }
    }
    free(first);
    bench_close(&b);
}
END_TEST

/* ---- Out of the time mix ----------------------------------------------------------------- */

static void check_att_out(uint32_t C)
{
    struct bench b;
    bench_open(&b, C, 256, 16);
    const struct array *output = array_make((size_t)C * C, true, -0.1f, 0.1f);
    const struct array *y = array_make((size_t)ARENA_ROWS * C, true, -1.0f, 1.0f);
    const struct cuda_layer layer = {.output = output->device};
    b.act.y_gated = y->device;
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            bench_rows(&b, capacity == 4 ? 3 : capacity, capacity, bulk != 0);
            array_upload(b.x);
            ok(cuda_few_rows_att_out(&b.launch, b.step, &b.shape, &layer, &b.act));
            ok(cudaDeviceSynchronize());
            expect_added(&b, output, C, 1, y, C);
        }
    }
    bench_close(&b);
}

START_TEST(att_out_adds_to_x)
{
    check_att_out(128);
    check_att_out(832);
    check_att_out(2560); /* Two slots of 2.5 KiB a row. */
}
END_TEST

/* ---- Channel mix ------------------------------------------------------------------------- */

static void check_ffn_key(uint32_t C, uint32_t F, uint32_t multiprocessors, float scale)
{
    struct bench b;
    bench_open(&b, C, F, 16);
    b.launch.multiprocessors = multiprocessors;
    const struct array *ln_weight = array_make(C, false, 0.5f, 1.5f);
    const struct array *ln_bias = array_make(C, false, -0.2f, 0.2f);
    const struct array *mix = array_make(C, false, 0.0f, 1.0f);
    const struct array *key = array_make((size_t)F * C, true, -scale, scale);
    const struct array *hidden = array_untouched((size_t)ARENA_ROWS * F, true);
    const struct cuda_layer layer = {.ln2_weight = ln_weight->device, .ln2_bias = ln_bias->device,
                                     .ffn_mix = mix->device, .ffn_key = key->device};
    b.act.ffn_hidden = hidden->device;
    double *n = malloc(C * sizeof(*n)), *want = malloc(F * sizeof(*want));
    float *in = malloc(C * sizeof(*in));
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            bench_rows(&b, capacity, capacity, bulk != 0);
            array_upload(hidden);
            ok(cuda_few_rows_ffn_key(&b.launch, b.step, &b.shape, &layer, LAYER, &b.act));
            float *got = array_download(hidden);
            for (uint32_t row = 0; row < capacity; row++) {
                mixed(&b, row, 1, ln_weight, ln_bias, mix->host, n, in);
                for (uint32_t f = 0; f < F; f++) {
                    const double sum = fmax(dot(key->host + (size_t)f * C, 1, in, C), 0.0);
                    want[f] = fmin(sum * sum, 65504.0);
                }
                if (b.places[b.row_item[row]].active != 0) {
                    expect_close(got + (size_t)row * F, want, F, "ffn_hidden");
                }
            }
            expect_untouched(got + (size_t)capacity * F, (size_t)(ARENA_ROWS - capacity) * F,
                             "ffn_hidden beyond the rows");
            expect_shift(&b, 1, ln_weight, ln_bias);
            free(got);
        }
    }
    free(n);
    free(want);
    free(in);
    bench_close(&b);
}

START_TEST(ffn_key_is_relu_squared_within_f16)
{
    check_ffn_key(128, 256, 132, 0.1f);
    check_ffn_key(256, 96, 132, 60.0f); /* Most squares are above 65504. */
}
END_TEST

START_TEST(ffn_key_takes_wide_rows)
{
    check_ffn_key(2112, 64, 132, 0.1f); /* Four items a thread, two odd slots a row. */
    check_ffn_key(4096, 160, 132, 0.1f);
    check_ffn_key(4096, 240, 6, 0.1f); /* Rows for several turns of a ring. */
    check_ffn_key(4160, 64, 132, 0.1f); /* Eight items a thread: vectors are read again. */
}
END_TEST

/* ---- Head -------------------------------------------------------------------------------- */

static void expect_advanced(const struct bench *b)
{
    struct cuda_slot slots[SLOTS];
    ok(cudaMemcpy(slots, b->step.slots, sizeof(slots), cudaMemcpyDeviceToHost));
    for (uint32_t i = 0; i < SLOTS; i++) {
        const bool is_advanced = i % 2 == 1 && i != 2 * 2 + 1;
        ck_assert_uint_eq(slots[i].parity, is_advanced ? 1 - parity_of(i) : parity_of(i));
    }
}

static void check_head(uint32_t C, uint32_t V)
{
    struct bench b;
    bench_open(&b, C, 256, V);
    const struct array *weight = array_make(C, false, 0.5f, 1.5f);
    const struct array *bias = array_make(C, false, -0.2f, 0.2f);
    const struct array *head = array_make((size_t)V * C, true, -0.1f, 0.1f);
    const struct array *logits = array_untouched((size_t)ARENA_ROWS * V, false);
    double *n = malloc(C * sizeof(*n)), *want = malloc(V * sizeof(*want));
    float *in = malloc(C * sizeof(*in));
    for (uint32_t count = 0; count <= ROWS_MAX; count++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            bench_rows(&b, count == 0 ? 2 : count, ROWS_MAX, bulk != 0);
            bench_step(&b, count);
            array_upload(logits);
            ok(cuda_few_rows_head(&b.launch, b.step, &b.shape, weight->device, bias->device,
                                  head->device, &b.act, logits->device));
            float *got = array_download(logits);
            for (uint32_t i = 0; i < count; i++) {
                norm(b.x->host + (size_t)b.logit_row[i] * C, weight, bias, C, n);
                for (uint32_t c = 0; c < C; c++) {
                    in[c] = rounded((float)n[c]);
                }
                for (uint32_t v = 0; v < V; v++) {
                    want[v] = dot(head->host + (size_t)v * C, 1, in, C);
                }
                expect_close(got + (size_t)i * V, want, V, "logits");
            }
            expect_untouched(got + (size_t)count * V, (size_t)(ARENA_ROWS - count) * V,
                             "logits beyond the rows");
            expect_advanced(&b);
            free(got);
        }
    }
    free(n);
    free(want);
    free(in);
    bench_close(&b);
}

START_TEST(head_makes_logits_and_advances_slots)
{
    check_head(128, 17);
    check_head(256, 288);
    check_head(768, 1111);
}
END_TEST

START_TEST(shapes_that_do_not_fit_are_refused)
{
    struct bench b;
    bench_open(&b, 128, 256, 16);
    const struct cuda_layer layer = {0};
    bench_rows(&b, 1, ROWS_MAX + 1, true);
    ck_assert(cuda_few_rows_att_out(&b.launch, b.step, &b.shape, &layer, &b.act) != cudaSuccess);
    ck_assert(cuda_few_rows_ffn_value(&b.launch, b.step, &b.shape, &layer, &b.act, NULL)
              != cudaSuccess);
    b.launch.row_capacity = 1;
    b.shape.C = 100;
    ck_assert(cuda_few_rows_att_out(&b.launch, b.step, &b.shape, &layer, &b.act) != cudaSuccess);
    b.shape.C = 128;
    b.shape.F = 40;
    ck_assert(cuda_few_rows_ffn_value(&b.launch, b.step, &b.shape, &layer, &b.act, NULL)
              != cudaSuccess);
    bench_close(&b);
}
END_TEST

static void add_tests(TCase *test)
{
    tcase_add_test(test, att_in_makes_r_k_v_low_ranks_and_the_shift);
    tcase_add_test(test, att_in_takes_uneven_widths);
    tcase_add_test(test, att_in_does_not_depend_on_company_or_form);
    tcase_add_test(test, att_out_adds_to_x);
    tcase_add_test(test, ffn_key_is_relu_squared_within_f16);
    tcase_add_test(test, ffn_key_takes_wide_rows);
    tcase_add_test(test, head_makes_logits_and_advances_slots);
    tcase_add_test(test, shapes_that_do_not_fit_are_refused);
}

int main(void)
{
    return few_rows_run("cuda_few_rows", add_tests);
}
