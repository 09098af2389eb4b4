/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/few_rows_step.c - the step, and sums in f64. Thread: one. */
#include "few_rows_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct step_memory {
    struct cuda_step_header header;
    struct cuda_item items[ROWS_MAX];
    struct cuda_place places[ROWS_MAX];
    uint32_t row_item[ROWS_MAX], logit_row[ROWS_MAX];
    struct cuda_slot slots[SLOTS];
};

uint32_t parity_of(uint32_t slot)
{
    return slot % 8 == 2 || slot % 8 == 5 ? 1 : 0;
}

uint32_t source_of(uint32_t item)
{
    return item == 3 ? 1 : 2 * item;
}

size_t shift_at(const struct bench *b, uint32_t slot, uint32_t parity, uint32_t kind)
{
    return (((size_t)slot * 2 + parity) * LAYERS * 2 + LAYER * 2 + kind) * b->shape.C;
}

void bench_step(struct bench *b, uint32_t logit_count)
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

void bench_open(struct bench *b, uint32_t C, uint32_t F, uint32_t V)
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

void bench_close(struct bench *b)
{
    ok(cudaFree(b->memory));
    arrays_free();
}

void bench_rows(struct bench *b, uint32_t rows, uint32_t capacity, bool bulk)
{
    b->rows = rows;
    b->launch.row_capacity = capacity;
    b->launch.bulk_copies = bulk;
    bench_step(b, rows);
}

double dot(const float *weights, size_t stride, const float *in, uint32_t count)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        if (in[i] != 0.0f) {
            sum += (double)weights[i * stride] * (double)in[i];
        }
    }
    return sum;
}

void expect_close(const float *got, const double *want, size_t count, const char *what)
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

void expect_added(const struct bench *b, const struct array *weights, size_t output_stride,
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

int few_rows_run(const char *name, void (*add_tests)(TCase *test))
{
    enum { SKIPPED = 77 };
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        puts("skipped: no device");
        return SKIPPED;
    }
    Suite *suite = suite_create(name);
    TCase *test = tcase_create(name);
    tcase_set_timeout(test, 300);
    add_tests(test);
    suite_add_tcase(suite, test);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
