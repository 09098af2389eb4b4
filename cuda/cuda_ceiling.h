/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_ceiling.h - what the device can do at most: bytes and operations a second.
 *
 * For skein bench. Thread: one. */
#pragma once

#include "base/error.h"

struct cuda_ceiling;

/* Takes 2 GiB of device memory. OUT_OF_MEMORY. DEVICE. */
WARN_UNUSED enum error_code cuda_ceiling_create(struct cuda_ceiling **ceiling_out,
                                                struct error *error);
void cuda_ceiling_destroy(struct cuda_ceiling *ceiling);

/* Bytes read and written by a copy within device memory, and f16 operations (two for a product and
 * its sum) of a large matrix product of random numbers; by loops of about that long. 0: the device
 * failed. */
double cuda_ceiling_copy_rate(struct cuda_ceiling *ceiling, double seconds);
double cuda_ceiling_multiply_rate(struct cuda_ceiling *ceiling, double seconds);
