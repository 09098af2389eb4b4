/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/kernel_case.c - arrays in device memory and a step over them, for tests of kernels. */
#include "kernel_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS_MAX = 1024, SKIPPED = 77 };

static struct {
    void *host[ARRAYS_MAX];
    void *device[ARRAYS_MAX];
    size_t host_count, device_count;
    uint64_t random;
} arrays;

/* ---- Numbers ----------------------------------------------------------------------------- */

double kernel_uniform(double low, double high)
{
    uint64_t z = (arrays.random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return low + (high - low) * (double)(z >> 40) / 16777216.0;
}

cuda_half kernel_half(double value)
{
    const uint32_t sign = signbit(value) ? 0x8000u : 0u;
    const double magnitude = fabs(value);
    uint32_t bits;
    if (isnan(value)) {
        bits = 0x7e00u;
    } else if (magnitude >= 65520.0) {
        bits = 0x7c00u;
    } else if (magnitude < 0x1p-14) {
        bits = (uint32_t)nearbyint(magnitude * 0x1p24);
    } else {
        int exponent;
        const double fraction = frexp(magnitude, &exponent); /* [0.5, 1) */
        const uint32_t digits = (uint32_t)nearbyint(fraction * 2048.0); /* 1024 .. 2048 */
        bits = (uint32_t)(exponent + 13) * 1024u + digits;
    }
    return (cuda_half){(uint16_t)(sign | bits)};
}

double kernel_half_value(cuda_half half)
{
    const uint32_t exponent = half.bits >> 10 & 31u;
    const double digits = half.bits & 1023u;
    double value;
    if (exponent == 31) {
        value = digits == 0.0 ? INFINITY : NAN;
    } else {
        value = exponent == 0 ? digits * 0x1p-24 : ldexp(1024.0 + digits, (int)exponent - 25);
    }
    return (half.bits & 0x8000u) != 0 ? -value : value;
}

double kernel_difference(const double *a, const double *b, size_t count)
{
    double error = 0.0, norm = 0.0;
    for (size_t index = 0; index < count; index++) {
        error += (a[index] - b[index]) * (a[index] - b[index]);
        norm += b[index] * b[index];
    }
    return isfinite(error) && isfinite(norm) ? sqrt(error / fmax(norm, 1e-30)) : INFINITY;
}

/* ---- Arrays ------------------------------------------------------------------------------ */

void *kernel_host(size_t bytes)
{
    void *memory = calloc(1, bytes + 1);
    if (memory == NULL || arrays.host_count == ARRAYS_MAX) {
        abort();
    }
    arrays.host[arrays.host_count++] = memory;
    return memory;
}

double *kernel_numbers(size_t count, bool is_half, double low, double high)
{
    double *numbers = kernel_host(count * sizeof *numbers);
    for (size_t index = 0; index < count; index++) {
        const double number = kernel_uniform(low, high);
        numbers[index] = is_half ? kernel_half_value(kernel_half(number)) : (double)(float)number;
    }
    return numbers;
}

void *kernel_device(size_t bytes)
{
    void *memory = NULL;
    KERNEL_OK(cudaMalloc(&memory, bytes));
    KERNEL_OK(cudaMemset(memory, 0xff, bytes));
    if (arrays.device_count == ARRAYS_MAX) {
        abort();
    }
    arrays.device[arrays.device_count++] = memory;
    return memory;
}

void *kernel_upload(const void *bytes, size_t byte_count)
{
    void *memory = kernel_device(byte_count);
    KERNEL_OK(cudaMemcpy(memory, bytes, byte_count, cudaMemcpyHostToDevice));
    return memory;
}

float *kernel_floats(const double *numbers, size_t count)
{
    float *narrowed = kernel_host(count * sizeof *narrowed);
    for (size_t index = 0; index < count; index++) {
        narrowed[index] = (float)numbers[index];
    }
    return kernel_upload(narrowed, count * sizeof *narrowed);
}

cuda_half *kernel_halves(const double *numbers, size_t count)
{
    cuda_half *narrowed = kernel_host(count * sizeof *narrowed);
    for (size_t index = 0; index < count; index++) {
        narrowed[index] = kernel_half(numbers[index]);
    }
    return kernel_upload(narrowed, count * sizeof *narrowed);
}

void *kernel_read(const void *device, size_t bytes)
{
    void *host = kernel_host(bytes);
    KERNEL_OK(cudaDeviceSynchronize());
    KERNEL_OK(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
    return host;
}

double *kernel_read_floats(const float *device, size_t count)
{
    const float *read = kernel_read(device, count * sizeof *read);
    double *numbers = kernel_host(count * sizeof *numbers);
    for (size_t index = 0; index < count; index++) {
        numbers[index] = (double)read[index];
    }
    return numbers;
}

double *kernel_read_halves(const cuda_half *device, size_t count)
{
    const cuda_half *read = kernel_read(device, count * sizeof *read);
    double *numbers = kernel_host(count * sizeof *numbers);
    for (size_t index = 0; index < count; index++) {
        numbers[index] = kernel_half_value(read[index]);
    }
    return numbers;
}

void kernel_case_end(void)
{
    for (size_t index = 0; index < arrays.host_count; index++) {
        free(arrays.host[index]);
    }
    for (size_t index = 0; index < arrays.device_count; index++) {
        KERNEL_OK(cudaFree(arrays.device[index]));
    }
    memset(&arrays, 0, sizeof arrays);
}

/* ---- Steps ------------------------------------------------------------------------------- */

static void fill_rows(struct kernel_step *step, const struct cuda_shape *shape)
{
    uint32_t row_count = 0;
    for (uint32_t index = 0; index < step->header.item_count; index++) {
        step->items[index].first_row = row_count;
        row_count += step->items[index].row_count;
    }
    step->header.row_count = row_count;
    step->row_item = kernel_host(row_count * sizeof *step->row_item);
    step->row_token = kernel_host(row_count * sizeof *step->row_token);
    for (uint32_t index = 0; index < step->header.item_count; index++) {
        for (uint32_t row = 0; row < step->items[index].row_count; row++) {
            step->row_item[step->items[index].first_row + row] = index;
        }
    }
    for (uint32_t row = 0; row < row_count; row++) {
        step->row_token[row] = (int32_t)kernel_uniform(0.0, shape->V);
    }
}

static void fill_slots(struct kernel_step *step, const struct cuda_shape *shape,
                       uint32_t slot_count, uint32_t ended_slots)
{
    step->slot_wkv = (size_t)shape->L * shape->H * CUDA_HEAD * CUDA_HEAD;
    step->slot_shift = (size_t)shape->L * 2 * shape->C;
    step->wkv = kernel_numbers(slot_count * step->slot_wkv, false, -1.0, 1.0);
    step->shift = kernel_numbers(slot_count * 2 * step->slot_shift, false, -1.0, 1.0);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        step->slots[slot].last_token = (int32_t)kernel_uniform(0.0, shape->V);
        step->slots[slot].parity = kernel_uniform(0.0, 1.0) < 0.5 ? 0 : 1;
        step->slots[slot].ended = ended_slots >> slot & 1u;
    }
}

static void fill_places(struct kernel_step *step)
{
    for (uint32_t index = 0; index < step->header.item_count; index++) {
        const struct cuda_item *item = &step->items[index];
        const struct cuda_slot *slot = &step->slots[item->slot];
        const struct cuda_slot *source = &step->slots[item->source_slot];
        const size_t shift_in = (size_t)item->source_slot * 2 + source->parity;
        const size_t shift_out = (size_t)item->slot * 2 + (slot->parity ^ 1u);
        step->places[index] = (struct cuda_place){
            .wkv_in = step->step.wkv + item->source_slot * step->slot_wkv,
            .wkv_out = step->step.wkv + item->slot * step->slot_wkv,
            .shift_in = step->step.shift + shift_in * step->slot_shift,
            .shift_out = step->step.shift + shift_out * step->slot_shift,
            .first_row = item->first_row,
            .row_count = item->row_count,
            .active = item->tokens_given != 0 || slot->ended == 0,
            .slot = item->slot,
            .parity_out = slot->parity ^ 1u,
        };
    }
}

void kernel_step_make(struct kernel_step *step, const struct cuda_shape *shape,
                      const struct cuda_item *items, uint32_t item_count, uint32_t slot_count,
                      uint32_t ended_slots)
{
    ck_assert_uint_le(item_count, KERNEL_ITEMS_MAX);
    ck_assert_uint_le(slot_count, KERNEL_SLOTS_MAX);
    memset(step, 0, sizeof *step);
    memcpy(step->items, items, item_count * sizeof *items);
    step->header.item_count = item_count;
    fill_rows(step, shape);
    fill_slots(step, shape, slot_count, ended_slots);
    const uint32_t row_count = step->header.row_count;
    uint32_t *logit_row = kernel_host(row_count * sizeof *logit_row);
    for (uint32_t row = 0; row < row_count; row++) {
        logit_row[row] = row_count - 1 - row;
    }
    step->header.logit_count = row_count;
    step->step = (struct cuda_step){
        .header = kernel_upload(&step->header, sizeof step->header),
        .items = kernel_upload(step->items, sizeof step->items),
        .row_item = kernel_upload(step->row_item, row_count * sizeof *step->row_item),
        .row_token = kernel_upload(step->row_token, row_count * sizeof *step->row_token),
        .logit_row = kernel_upload(logit_row, row_count * sizeof *logit_row),
        .places = kernel_upload(step->places, sizeof step->places),
        .slots = kernel_upload(step->slots, sizeof step->slots),
        .wkv = kernel_floats(step->wkv, slot_count * step->slot_wkv),
        .shift = kernel_floats(step->shift, slot_count * 2 * step->slot_shift),
    };
    step->launch = (struct cuda_launch){
        .row_capacity = row_count,
        .item_capacity = item_count,
        .multiprocessors = 132,
    };
    fill_places(step);
}

void kernel_step_place(struct kernel_step *step)
{
    KERNEL_OK(cudaMemcpy(step->step.places, step->places, sizeof step->places,
                         cudaMemcpyHostToDevice));
}

struct cuda_activations kernel_activations(const struct cuda_shape *shape, uint32_t N,
                                           uint32_t logit_rows)
{
    const size_t plane = (size_t)N * shape->C;
    struct cuda_activations act = {.N = N};
    act.x = kernel_device(plane * sizeof(float));
    act.planes = kernel_device(CUDA_MIXES * plane * sizeof(cuda_half));
    act.rkv = kernel_device(3 * plane * sizeof(cuda_half));
    for (size_t index = 0; index < CUDA_LOW_RANKS; index++) {
        act.hidden[index] = kernel_device((size_t)N * shape->rank[index] * sizeof(cuda_half));
    }
    act.log_w = kernel_device(plane * sizeof(float));
    act.a = kernel_device(plane * sizeof(float));
    act.gate = kernel_device(plane * sizeof(float));
    act.v_first = kernel_device(plane * sizeof(cuda_half));
    act.y = kernel_device(plane * sizeof(float));
    act.y_gated = kernel_device(plane * sizeof(cuda_half));
    act.ffn_in = kernel_device(plane * sizeof(cuda_half));
    act.ffn_hidden = kernel_device((size_t)N * shape->F * sizeof(cuda_half));
    act.head_in = kernel_device((size_t)logit_rows * shape->C * sizeof(cuda_half));
    return act;
}

bool kernel_has_programmatic_launches(void)
{
    int major = 0;
    KERNEL_OK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    return major >= 9;
}

int kernel_case_run(Suite *suite)
{
    int device_count = 0;
    if (cudaGetDeviceCount(&device_count) != cudaSuccess || device_count == 0) {
        puts("skipped: no CUDA device");
        return SKIPPED;
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* A CUDA context does not survive a fork. */
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
