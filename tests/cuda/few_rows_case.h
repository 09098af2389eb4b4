/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/few_rows_case.h - arrays on host and device, for the tests of the few-row path.
 *
 * Whatever fails ends the test. Random numbers are the same in every run. Thread: one. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers as f32 on the host, as f32 or f16 on the device. */
struct array {
    float *host;
    void *device;
    size_t count;
    bool is_half;
};

static const float untouched = 77.0f; /* Exact in f16. */

void ok(cudaError_t status);

void random_start(uint64_t seed);
float random_between(float low, float high);

/* To f16 and back. */
float rounded(float x);

/* Filled with random numbers, or with `untouched`. Freed by arrays_free. */
struct array *array_make(size_t count, bool is_half, float low, float high);
struct array *array_untouched(size_t count, bool is_half);
void arrays_free(void);

/* Host to device; the host's numbers become what the device has. */
void array_upload(const struct array *array);

/* What the device holds; free() it. */
float *array_download(const struct array *array);
