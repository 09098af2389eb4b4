/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the path of 1 to 4 decode rows computes what the model says, writes nothing beyond its
 * rows, and reads no weights of channels that are zero. Shown by: every product against sums in
 * f64, with bulk copies and without, over widths that fill slots, stripes and lists unevenly.
 *
 * Exit status 77 without a device. */
#include <check.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_kernels.h"
#include "few_rows_case.h"

enum {
    SKIPPED = 77,
    ROWS_MAX = CUDA_FEW_ROWS_MAX,
    ARENA_ROWS = 6, /* More than are used, so that writes beyond them are seen. */
    LAYERS = 2,
    LAYER = 1,
    SLOTS = 2 * ROWS_MAX,
};

/* ---- A step ------------------------------------------------------------------------------ */

/* Row r belongs to item r ^ item_of_row of a round number of items; item 2 is inactive. Item i
 * reads slot 2 i and writes slot 2 i + 1; item 3 forks what item 0 advances. Some live copies
 * lie in parity 1. */
struct bench {
    struct cuda_shape shape;
    uint32_t rows;
    struct cuda_launch launch;
    struct cuda_step step;
    struct cuda_place places[ROWS_MAX];
    uint32_t row_item[ROWS_MAX], logit_row[ROWS_MAX];
    uint32_t item_of_row;
    void *memory; /* Of the step. */
    struct array *shift; /* [SLOTS][2 parities][LAYERS][2][C] */
    struct array *x, *x_before;
    struct cuda_activations act;
};

struct step_memory {
    struct cuda_step_header header;
    struct cuda_item items[ROWS_MAX];
    struct cuda_place places[ROWS_MAX];
    uint32_t row_item[ROWS_MAX], logit_row[ROWS_MAX];
    struct cuda_slot slots[SLOTS];
};

/* Of a slot's live copy before the step. */
static uint32_t parity_of(uint32_t slot)
{
    return slot % 8 == 2 || slot % 8 == 5 ? 1 : 0;
}

static uint32_t source_of(uint32_t item)
{
    return item == 3 ? 1 : 2 * item;
}

/* First float of a copy of a slot's shifts of LAYER. */
static size_t shift_at(const struct bench *b, uint32_t slot, uint32_t parity, uint32_t kind)
{
    return (((size_t)slot * 2 + parity) * LAYERS * 2 + LAYER * 2 + kind) * b->shape.C;
}

static void bench_step(struct bench *b, uint32_t logit_count)
{
    struct step_memory memory = {.header = {b->rows, ROWS_MAX, logit_count, 0}};
    for (uint32_t i = 0; i < SLOTS; i++) {
        memory.slots[i].parity = parity_of(i);
        memory.slots[i].ended = i == 2 * 2 + 1 ? 1 : 0;
    }
    for (uint32_t i = 0; i < ROWS_MAX; i++) {
        memory.items[i] = (struct cuda_item){
            .slot = 2 * i + 1,
            .source_slot = source_of(i),
            .first_row = i ^ b->item_of_row,
            .row_count = 1,
            .tokens_given = i == 2 ? 0 : 1,
        };
        memory.places[i] = (struct cuda_place){
            .first_row = i ^ b->item_of_row,
            .row_count = 1,
            .active = i != 2,
            .slot = 2 * i + 1,
            .parity_out = 1 - parity_of(2 * i + 1),
        };
        memory.row_item[i] = i ^ b->item_of_row;
        memory.logit_row[i] = b->rows - 1 - i % b->rows;
    }
    memcpy(b->row_item, memory.row_item, sizeof(b->row_item));
    memcpy(b->logit_row, memory.logit_row, sizeof(b->logit_row));
    memcpy(b->places, memory.places, sizeof(b->places));
    ok(cudaMemcpy(b->memory, &memory, sizeof(memory), cudaMemcpyHostToDevice));
    char *at = b->memory;
    b->step = (struct cuda_step){
        .header = (void *)(at + offsetof(struct step_memory, header)),
        .items = (void *)(at + offsetof(struct step_memory, items)),
        .row_item = (void *)(at + offsetof(struct step_memory, row_item)),
        .logit_row = (void *)(at + offsetof(struct step_memory, logit_row)),
        .places = (void *)(at + offsetof(struct step_memory, places)),
        .slots = (void *)(at + offsetof(struct step_memory, slots)),
        .shift = b->shift->device,
    };
}

static void bench_open(struct bench *b, uint32_t C, uint32_t F, uint32_t V)
{
    random_start(C + F + V);
    *b = (struct bench){
        .shape = {.V = V, .L = LAYERS, .C = C, .H = C / CUDA_HEAD, .F = F,
                  .rank = {32, 16, 64, 48}},
        .rows = 1,
        .item_of_row = 1,
        .launch = {.row_capacity = 1, .item_capacity = ROWS_MAX, .multiprocessors = 132,
                   .bulk_copies = true},
    };
    ok(cudaMalloc(&b->memory, sizeof(struct step_memory)));
    b->shift = array_make((size_t)SLOTS * 2 * LAYERS * 2 * C, false, -2.0f, 2.0f);
    b->x = array_make((size_t)ARENA_ROWS * C, false, -1.0f, 3.0f);
    b->act.N = ARENA_ROWS;
    b->act.x = b->x->device;
}

static void bench_close(struct bench *b)
{
    ok(cudaFree(b->memory));
    arrays_free();
}

static void bench_rows(struct bench *b, uint32_t rows, uint32_t capacity, bool bulk)
{
    b->rows = rows;
    b->launch.row_capacity = capacity;
    b->launch.bulk_copies = bulk;
    bench_step(b, rows);
}

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

static double dot(const float *weights, size_t stride, const float *in, uint32_t count)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        if (in[i] != 0.0f) {
            sum += (double)weights[i * stride] * (double)in[i];
        }
    }
    return sum;
}

/* Outputs close to those wanted: 1e-3 in the mean, each within 1 % of the usual size. */
static void expect_close(const float *got, const double *want, size_t count, const char *what)
{
    double error = 0.0, size = 0.0;
    for (size_t i = 0; i < count; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    ck_assert_msg(error <= 1e-6 * size, "%s: error %g", what, sqrt(error / size));
    for (size_t i = 0; i < count; i++) {
        const double bound = 0.01 * sqrt(size / (double)count) + 2e-3 * fabs(want[i]);
        ck_assert_msg(fabs(got[i] - want[i]) <= bound, "%s[%zu]: %g, not %g", what, i,
                      (double)got[i], want[i]);
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

static void expect_added(const struct bench *b, const struct array *weights, size_t output_stride,
                         size_t input_stride, const struct array *in, uint32_t inputs)
{
    const uint32_t C = b->shape.C;
    float *got = array_download(b->x);
    double *want = malloc(C * sizeof(*want));
    for (uint32_t row = 0; row < b->rows; row++) {
        for (uint32_t o = 0; o < C; o++) {
            want[o] = (double)b->x->host[(size_t)row * C + o]
                      + dot(weights->host + o * output_stride, input_stride,
                            in->host + (size_t)row * inputs, inputs);
        }
        expect_close(got + (size_t)row * C, want, C, "x");
    }
    ck_assert_mem_eq(got + (size_t)b->rows * C, b->x->host + (size_t)b->rows * C,
                     (size_t)(ARENA_ROWS - b->rows) * C * sizeof(float));
    free(want);
    free(got);
}

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

/* Zeros in `share` of the hidden channels of each row. Rows of channels that no row has are not
 * numbers: one that is read shows. */
static void fill_hidden(const struct bench *b, struct array *hidden, struct array *value,
                        float share)
{
    const uint32_t C = b->shape.C, F = b->shape.F;
    for (uint32_t f = 0; f < F; f++) {
        bool is_used = false;
        for (uint32_t row = 0; row < ARENA_ROWS; row++) {
            float *h = &hidden->host[(size_t)row * F + f];
            const bool is_zero = random_between(0.0f, 1.0f) < share;
            *h = is_zero ? (f % 2 == 0 ? 0.0f : -0.0f) : random_between(0.1f, 1.0f);
            is_used = is_used || (!is_zero && row < b->rows);
        }
        for (uint32_t c = 0; c < C; c++) {
            value->host[(size_t)f * C + c] = is_used ? random_between(-0.1f, 0.1f) : NAN;
        }
    }
    array_upload(hidden);
    array_upload(value);
}

static void check_ffn_value(uint32_t C, uint32_t F, uint32_t multiprocessors, uint32_t rows,
                            uint32_t capacity, float share)
{
    struct bench b;
    bench_open(&b, C, F, 16);
    b.launch.multiprocessors = multiprocessors;
    struct array *value = array_untouched((size_t)F * C, true);
    struct array *hidden = array_untouched((size_t)ARENA_ROWS * F, true);
    const struct cuda_layer layer = {.ffn_value = value->device};
    b.act.ffn_hidden = hidden->device;
    void *scratch = NULL;
    const size_t scratch_bytes = cuda_few_rows_scratch_bytes(&b.shape, multiprocessors);
    ok(cudaMalloc(&scratch, scratch_bytes));
    ok(cudaMemset(scratch, 0, scratch_bytes));
    b.rows = rows;
    fill_hidden(&b, hidden, value, share);
    for (int bulk = 0; bulk <= 1; bulk++) {
        bench_rows(&b, rows, capacity, bulk != 0);
        float *first = NULL;
        for (int again = 0; again < 2; again++) { /* The counters are back at zero. */
            array_upload(b.x);
            ok(cuda_few_rows_ffn_value(&b.launch, b.step, &b.shape, &layer, &b.act, scratch));
            expect_added(&b, value, 1, C, hidden, F);
            float *got = array_download(b.x);
            if (first != NULL) {
                ck_assert_mem_eq(got, first, b.x->count * sizeof(float));
            }
            free(again == 0 ? NULL : got);
            first = again == 0 ? got : first;
        }
        free(first);
    }
    ok(cudaFree(scratch));
    bench_close(&b);
}

START_TEST(ffn_value_reads_only_channels_that_are_left)
{
    static const float shares[] = {0.0f, 0.5f, 0.87f, 0.999f, 1.0f};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
            check_ffn_value(128, 256, 132, capacity, capacity, shares[i]);
            check_ffn_value(320, 1056, 4, capacity == 1 ? 1 : capacity - 1, capacity, shares[i]);
        }
    }
}
END_TEST

START_TEST(ffn_value_takes_every_stripe)
{
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        check_ffn_value(768, 3072, 132, capacity, capacity, 0.5f);
        check_ffn_value(2048, 1600, 24, capacity, capacity, 0.5f);
        check_ffn_value(4096, 544, 132, capacity, capacity, 0.87f);
    }
    check_ffn_value(4096, 4096, 132, 1, 1, 0.5f);
}
END_TEST

/* The same bits alone, in company, with bulk copies and without. */
static void check_ffn_value_alone(uint32_t C, uint32_t F, uint32_t multiprocessors)
{
    struct bench b;
    bench_open(&b, C, F, 16);
    b.launch.multiprocessors = multiprocessors;
    struct array *value = array_untouched((size_t)F * C, true);
    struct array *hidden = array_untouched((size_t)ARENA_ROWS * F, true);
    const struct cuda_layer layer = {.ffn_value = value->device};
    b.act.ffn_hidden = hidden->device;
    void *scratch = NULL;
    const size_t scratch_bytes = cuda_few_rows_scratch_bytes(&b.shape, multiprocessors);
    ok(cudaMalloc(&scratch, scratch_bytes));
    ok(cudaMemset(scratch, 0, scratch_bytes));
    b.rows = ROWS_MAX;
    fill_hidden(&b, hidden, value, 0.6f);
    float *first = NULL;
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            bench_rows(&b, capacity, capacity, bulk != 0);
            array_upload(b.x);
            ok(cuda_few_rows_ffn_value(&b.launch, b.step, &b.shape, &layer, &b.act, scratch));
            float *got = array_download(b.x);
            if (first != NULL) {
                ck_assert_mem_eq(got, first, C * sizeof(*got));
            }
            free(first);
            first = got;
        }
    }
    free(first);
    ok(cudaFree(scratch));
    bench_close(&b);
}

START_TEST(ffn_value_does_not_depend_on_company_or_form)
{
    check_ffn_value_alone(192, 1600, 12); /* One vector; a stripe that is not full. */
    check_ffn_value_alone(2048, 800, 24);
    check_ffn_value_alone(4096, 544, 16);
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

int main(void)
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        return SKIPPED;
    }
    Suite *suite = suite_create("cuda_few_rows");
    TCase *test = tcase_create("cuda_few_rows");
    tcase_set_timeout(test, 300);
    tcase_add_test(test, att_in_makes_r_k_v_low_ranks_and_the_shift);
    tcase_add_test(test, att_in_takes_uneven_widths);
    tcase_add_test(test, att_in_does_not_depend_on_company_or_form);
    tcase_add_test(test, att_out_adds_to_x);
    tcase_add_test(test, ffn_key_is_relu_squared_within_f16);
    tcase_add_test(test, ffn_key_takes_wide_rows);
    tcase_add_test(test, ffn_value_reads_only_channels_that_are_left);
    tcase_add_test(test, ffn_value_takes_every_stripe);
    tcase_add_test(test, ffn_value_does_not_depend_on_company_or_form);
    tcase_add_test(test, head_makes_logits_and_advances_slots);
    tcase_add_test(test, shapes_that_do_not_fit_are_refused);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
