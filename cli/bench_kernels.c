/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_kernels.c - a table of kernels for each row. Thread: main. */
#include "cli/bench_kernels.h"

#include <stdio.h>

#include "cli/bench_report.h"
#include "cuda/cuda_backend.h"

enum { NAME_BYTES = 64 };

static const double profile_seconds = 0.1;

static void print_kernel(const struct cuda_kernel_time *time, const struct bench_ceilings *ceilings,
                         double total_seconds)
{
    const double by_bytes = time->bytes / ceilings->bytes;
    const double by_flops = time->flops / ceilings->flops;
    const double floor = by_bytes > by_flops ? by_bytes : by_flops;
    const double launches = (double)time->launches;
    printf("  %-26s %8.2f us %6s %8.2f us %5.1f%% of floor %5.1f%% of all\n", time->name,
           time->seconds / launches * 1e6, by_bytes > by_flops ? "bytes" : "flops",
           floor / launches * 1e6, floor / time->seconds * 100.0,
           time->seconds / total_seconds * 100.0);
}

static void print_kernels(struct backend *backend, const struct bench_ceilings *ceilings)
{
    struct cuda_kernel_time times[CUDA_KERNEL_COUNT];
    double total_seconds = 0.0;
    cuda_backend_times(backend, times);
    for (size_t index = 0; index < CUDA_KERNEL_COUNT; index++) {
        total_seconds += times[index].seconds;
    }
    for (size_t index = 0; index < CUDA_KERNEL_COUNT; index++) {
        if (times[index].launches > 0) {
            print_kernel(&times[index], ceilings, total_seconds);
        }
    }
}

static enum error_code run(struct bench_device *device, struct bench_runner *runner,
                           const struct bench_row *row, enum cuda_profile_mode mode,
                           const struct clock *clock, struct error *error)
{
    double seconds = 0.0;
    cuda_backend_profile(device->backend, mode);
    return bench_runner_time(runner, row, profile_seconds, clock, &seconds, error);
}

enum error_code bench_kernels_print(struct bench_device *device, struct bench_runner *runner,
                                    const struct bench_row *row,
                                    const struct bench_ceilings *ceilings,
                                    const struct clock *clock, struct error *error)
{
    char name[NAME_BYTES];
    bench_row_name(row, name, sizeof name);
    enum error_code code = run(device, runner, row, CUDA_PROFILE_KERNELS, clock, error);
    if (code == ERROR_NONE) {
        printf("\nkernels of %s: mean time, floor, share\n", name);
        print_kernels(device->backend, ceilings);
    }
    if (code == ERROR_NONE && row->kind == BENCH_DECODE) {
        code = run(device, runner, row, CUDA_PROFILE_GAPS, clock, error);
        printf("  %-26s %8.2f us median\n", "gap between steps",
               cuda_backend_gap(device->backend) * 1e6);
    }
    if (code == ERROR_NONE) {
        cuda_backend_profile(device->backend, CUDA_PROFILE_OFF);
    }
    return code;
}
