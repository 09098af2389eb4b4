/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_profile.h - times by events: of each kernel of a step, or between steps.
 *
 * For skein bench --kernels. Thread: the engine's. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "base/error.h"
#include "cuda/cuda_times.h"

struct cuda_profile;

/* Off; NULL: out of memory. */
struct cuda_profile *cuda_profile_create(void);
void cuda_profile_destroy(struct cuda_profile *profile);

enum cuda_profile_mode cuda_profile_mode(const struct cuda_profile *profile);

/* Forgets all times. No step may be in flight. */
void cuda_profile_switch(struct cuda_profile *profile, enum cuda_profile_mode mode);

/* Around a launch; nothing unless in mode KERNELS. */
void cuda_profile_begin(struct cuda_profile *profile, cudaStream_t stream,
                        enum cuda_kernel kernel, double bytes, double flops);
void cuda_profile_end(struct cuda_profile *profile, cudaStream_t stream);

/* Around all launches of a step; nothing unless in mode GAPS. */
void cuda_profile_step_begin(struct cuda_profile *profile, cudaStream_t stream);
void cuda_profile_step_end(struct cuda_profile *profile, cudaStream_t stream);

/* Adds what the oldest step not added yet came to; it is over. DEVICE. */
WARN_UNUSED enum error_code cuda_profile_collect(struct cuda_profile *profile,
                                                 struct error *error);

/* What was added so far: times_out[CUDA_KERNEL_COUNT]. */
void cuda_profile_read(const struct cuda_profile *profile, struct cuda_kernel_time *times_out);

/* Median seconds between steps; 0: fewer than two were added. */
double cuda_profile_gap(const struct cuda_profile *profile);
