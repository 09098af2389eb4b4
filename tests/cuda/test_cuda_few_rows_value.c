/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the second product of the channel mix of 1 to 4 decode rows reads no weights of
 * channels that are zero, and a row's bits do not depend on its company. Shown by: sums in f64,
 * with bulk copies and without, over widths that fill stripes and lists unevenly.
 *
 * Exit status 77 without a device. */
#include <math.h>
#include <stdlib.h>

#include "few_rows_step.h"

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

struct product {
    struct bench bench;
    struct array *value, *hidden;
    struct cuda_layer layer;
    void *scratch;
};

static void product_open(struct product *p, uint32_t C, uint32_t F, uint32_t multiprocessors,
                         uint32_t rows, float share)
{
    struct bench *b = &p->bench;
    bench_open(b, C, F, 16);
    b->launch.multiprocessors = multiprocessors;
    p->value = array_untouched((size_t)F * C, true);
    p->hidden = array_untouched((size_t)ARENA_ROWS * F, true);
    p->layer = (struct cuda_layer){.ffn_value = p->value->device};
    b->act.ffn_hidden = p->hidden->device;
    const size_t scratch_bytes = cuda_few_rows_scratch_bytes(&b->shape, multiprocessors);
    ok(cudaMalloc(&p->scratch, scratch_bytes));
    ok(cudaMemset(p->scratch, 0, scratch_bytes));
    b->rows = rows;
    fill_hidden(b, p->hidden, p->value, share);
}

static void product_close(struct product *p)
{
    ok(cudaFree(p->scratch));
    bench_close(&p->bench);
}

static void run(const struct product *p)
{
    const struct bench *b = &p->bench;
    ok(cuda_few_rows_ffn_value(&b->launch, b->step, &b->shape, &p->layer, &b->act, p->scratch));
}

static void check_ffn_value(uint32_t C, uint32_t F, uint32_t multiprocessors, uint32_t rows,
                            uint32_t capacity, float share)
{
    struct product product;
    product_open(&product, C, F, multiprocessors, rows, share);
    struct bench *b = &product.bench;
    for (int bulk = 0; bulk <= 1; bulk++) {
        bench_rows(b, rows, capacity, bulk != 0);
        float *first = NULL;
        for (int again = 0; again < 2; again++) { /* The counters are back at zero. */
            array_upload(b->x);
            run(&product);
            expect_added(b, product.value, 1, C, product.hidden, F);
            float *got = array_download(b->x);
            if (first != NULL) {
                ck_assert_mem_eq(got, first, b->x->count * sizeof(float));
            }
            free(again == 0 ? NULL : got);
            first = again == 0 ? got : first;
        }
        free(first);
    }
    product_close(&product);
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
    struct product product;
    product_open(&product, C, F, multiprocessors, ROWS_MAX, 0.6f);
    struct bench *b = &product.bench;
    float *first = NULL;
    for (uint32_t capacity = 1; capacity <= ROWS_MAX; capacity++) {
        for (int bulk = 0; bulk <= 1; bulk++) {
            bench_rows(b, capacity, capacity, bulk != 0);
            array_upload(b->x);
            run(&product);
            float *got = array_download(b->x);
            if (first != NULL) {
                ck_assert_mem_eq(got, first, C * sizeof(*got));
            }
            free(first);
            first = got;
        }
    }
    free(first);
    product_close(&product);
}

START_TEST(ffn_value_does_not_depend_on_company_or_form)
{
    check_ffn_value_alone(192, 1600, 12); /* One vector; a stripe that is not full. */
    check_ffn_value_alone(2048, 800, 24);
    check_ffn_value_alone(4096, 544, 16);
}
END_TEST

static void add_tests(TCase *test)
{
    tcase_add_test(test, ffn_value_reads_only_channels_that_are_left);
    tcase_add_test(test, ffn_value_takes_every_stripe);
    tcase_add_test(test, ffn_value_does_not_depend_on_company_or_form);
}

int main(void)
{
    return few_rows_run("cuda_few_rows_value", add_tests);
}
