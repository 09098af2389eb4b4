/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/kernel_case.h - arrays in device memory and a step over them, for tests of kernels.
 *
 * Everything is remembered and freed by kernel_case_end. Whatever fails ends the process. Random
 * numbers are the same in every run. Thread: one. */
#pragma once

#include <check.h>
#include <stdbool.h>
#include <stddef.h>

#include "cuda/cuda_kernels.h"

#define KERNEL_OK(call) ck_assert_int_eq((call), cudaSuccess)

/* ---- Numbers ----------------------------------------------------------------------------- */

double kernel_uniform(double low, double high);

/* f16: to nearest even; what is too large becomes infinite. Exact back. */
cuda_half kernel_half(double value);
double kernel_half_value(cuda_half half);

/* ||a - b|| / ||b||; infinite when a number is not finite. */
double kernel_difference(const double *a, const double *b, size_t count);

/* ---- Arrays ------------------------------------------------------------------------------ */

/* Host memory of zeros. */
void *kernel_host(size_t bytes);

/* Host numbers, uniform in [low, high), each exact in f32 or, with is_half, in f16. */
double *kernel_numbers(size_t count, bool is_half, double low, double high);

/* Device memory: full of NaN; or the numbers. */
void *kernel_device(size_t bytes);
float *kernel_floats(const double *numbers, size_t count);
cuda_half *kernel_halves(const double *numbers, size_t count);
void *kernel_upload(const void *bytes, size_t byte_count);

/* Waits for the device, then copies to new host memory. */
double *kernel_read_floats(const float *device, size_t count);
double *kernel_read_halves(const cuda_half *device, size_t count);
void *kernel_read(const void *device, size_t bytes);

/* ---- Steps ------------------------------------------------------------------------------- */

enum { KERNEL_ITEMS_MAX = 16, KERNEL_SLOTS_MAX = 16 };

/* A step as the host sees it, and the same on the device. Slots, states and tokens are random. */
struct kernel_step {
    struct cuda_step_header header;
    struct cuda_item items[KERNEL_ITEMS_MAX];
    struct cuda_place places[KERNEL_ITEMS_MAX]; /* As cuda_embed must make them. */
    struct cuda_slot slots[KERNEL_SLOTS_MAX];
    uint32_t *row_item;
    int32_t *row_token;
    double *wkv, *shift;
    size_t slot_wkv, slot_shift; /* Numbers of a slot; of one parity of a slot. */
    struct cuda_step step;
    struct cuda_launch launch; /* For exactly these rows and items. */
};

/* `items` with slot, source_slot, row_count and tokens_given; first rows are filled in. Slots that
 * have `ended` set: bits of ended_slots. */
void kernel_step_make(struct kernel_step *step, const struct cuda_shape *shape,
                      const struct cuda_item *items, uint32_t item_count, uint32_t slot_count,
                      uint32_t ended_slots);

/* Writes the places to the device, as cuda_embed would. */
void kernel_step_place(struct kernel_step *step);

/* Activations of the step, f16 and f32 full of NaN, N rows. */
struct cuda_activations kernel_activations(const struct cuda_shape *shape, uint32_t N,
                                           uint32_t logit_rows);

/* Whether launch.programmatic may be set. */
bool kernel_has_programmatic_launches(void);

/* Frees all arrays. */
void kernel_case_end(void);

/* Runs the suite in this process; the status for main: 77 without a device. */
int kernel_case_run(Suite *suite);
