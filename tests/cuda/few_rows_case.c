/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/few_rows_case.c - the arrays, and f16 by hand. Thread: one. */
#include "few_rows_case.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { ARRAYS_MAX = 64 };

static struct array *arrays[ARRAYS_MAX];
static size_t array_count;
static uint64_t random_state;

void ok(cudaError_t status)
{
    ck_assert_msg(status == cudaSuccess, "%s", cudaGetErrorString(status));
}

void random_start(uint64_t seed)
{
    random_state = seed;
}

float random_between(float low, float high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (float)(random_state >> 40) / 16777216.0f;
}

static uint16_t half_of(float x)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const float size = fabsf(x);
    if (isnan(x)) {
        return 0x7e00;
    }
    if (size >= 65520.0f) {
        return (uint16_t)(sign | 0x7c00);
    }
    int exponent = 0;
    frexpf(size, &exponent);
    exponent = exponent < -13 || size == 0.0f ? -13 : exponent;
    float units = nearbyintf(ldexpf(size, 11 - exponent));
    if (units == 2048.0f) {
        units = 1024.0f;
        exponent++;
    }
    const int bits = units < 1024.0f ? (int)units : ((exponent + 14) << 10) + (int)units - 1024;
    return (uint16_t)(sign | bits);
}

static float half_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 31;
    const float mantissa = (float)(bits & 1023);
    float size = exponent == 0 ? ldexpf(mantissa, -24) : ldexpf(mantissa + 1024.0f, exponent - 25);
    if (exponent == 31) {
        size = mantissa != 0.0f ? NAN : INFINITY;
    }
    return (bits & 0x8000) != 0 ? -size : size;
}

float rounded(float x)
{
    return half_value(half_of(x));
}

void array_upload(const struct array *array)
{
    const size_t bytes = array->count * (array->is_half ? 2 : 4);
    if (!array->is_half) {
        ok(cudaMemcpy(array->device, array->host, bytes, cudaMemcpyHostToDevice));
        return;
    }
    uint16_t *halves = malloc(bytes);
    ck_assert_ptr_nonnull(halves);
    for (size_t i = 0; i < array->count; i++) {
        halves[i] = half_of(array->host[i]);
        array->host[i] = half_value(halves[i]);
    }
    ok(cudaMemcpy(array->device, halves, bytes, cudaMemcpyHostToDevice));
    free(halves);
}

/* What the device holds; free() it. */
float *array_download(const struct array *array)
{
    const size_t bytes = array->count * (array->is_half ? 2 : 4);
    float *values = malloc(array->count * sizeof(*values));
    void *raw = malloc(bytes);
    ck_assert(values != NULL && raw != NULL);
    ok(cudaMemcpy(raw, array->device, bytes, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < array->count; i++) {
        values[i] = array->is_half ? half_value(((uint16_t *)raw)[i]) : ((float *)raw)[i];
    }
    free(raw);
    return values;
}

/* Filled with random numbers. Freed by arrays_free. */
struct array *array_make(size_t count, bool is_half, float low, float high)
{
    struct array *array = calloc(1, sizeof(*array));
    ck_assert(array != NULL && array_count < ARRAYS_MAX);
    arrays[array_count++] = array;
    *array = (struct array){.count = count, .is_half = is_half};
    array->host = malloc(count * sizeof(float));
    ck_assert_ptr_nonnull(array->host);
    ok(cudaMalloc(&array->device, count * (is_half ? 2 : 4)));
    for (size_t i = 0; i < count; i++) {
        array->host[i] = random_between(low, high);
    }
    array_upload(array);
    return array;
}

struct array *array_untouched(size_t count, bool is_half)
{
    return array_make(count, is_half, untouched, untouched);
}

void arrays_free(void)
{
    while (array_count > 0) {
        struct array *array = arrays[--array_count];
        ok(cudaFree(array->device));
        free(array->host);
        free(array);
    }
}
