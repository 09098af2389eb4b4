/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_device.h - the device under measurement: its backend, and its ceilings.
 *
 * The only part of skein bench that knows which devices exist. Thread: main. */
#pragma once

#include "base/clock.h"
#include "cli/runtime.h"

struct cpu_ceiling;
struct cuda_ceiling;

/* Zeroed is valid to bench_device_close. */
struct bench_device {
    struct backend *backend;
    const char *kernels;         /* Which variant of them, for people; on CUDA the card. */
    char card[64];
    uint32_t thread_count;       /* 0: not the CPU. */
    struct cpu_ceiling *ceiling; /* Of the CPU, */
    struct cuda_ceiling *cuda_ceiling; /* or of the CUDA device; the other is NULL. */
};

/* Opens a backend with config->slots sequences that draws ids below token_count; `kernels` NULL:
 * those that serve would choose. INVALID_ARGUMENT: no such kernels, or not for this processor.
 * DEVICE. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code bench_device_open(const struct config *config,
                                              const struct model_spec *spec,
                                              uint32_t token_count, const char *kernels,
                                              const struct clock *clock,
                                              struct bench_device *device, struct error *error);
void bench_device_close(struct bench_device *device);

/* Whether it can tell the times of its kernels (bench_kernels.h). */
bool bench_device_has_kernels(const struct bench_device *device);

/* How long a row runs before its time counts: the clock of a GPU follows the power of what ran
 * before, and stays at three quarters for some tenths of a second after the ceilings' products. */
double bench_device_settling_seconds(const struct bench_device *device);

/* Bytes and operations a second by loops that do nothing else; each takes about that long. On the
 * CPU reading and f32, on CUDA copying within the device and f16 matrix products. */
double bench_device_read_rate(struct bench_device *device, double seconds);
double bench_device_multiply_rate(struct bench_device *device, double seconds);
