/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_kernels.h - skein bench --kernels: where the time of a step goes.
 *
 * Thread: main. */
#pragma once

#include "cli/bench_device.h"
#include "cli/bench_run.h"

/* What the device can do at most, a second. */
struct bench_ceilings {
    double bytes, flops;
};

/* Runs the row again with events around each kernel and prints their times and shares of the floor,
 * max(bytes / ceiling, flops / ceiling); for decode also the gap between two steps. Only for a
 * device of bench_device_has_kernels. DEVICE. */
WARN_UNUSED enum error_code bench_kernels_print(struct bench_device *device,
                                                struct bench_runner *runner,
                                                const struct bench_row *row,
                                                const struct bench_ceilings *ceilings,
                                                const struct clock *clock, struct error *error);
