/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_backend.h - opens the CUDA implementation of engine/backend.h.
 *
 * Everything after opening goes through that interface. Thread: the engine's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cuda/cuda_times.h"
#include "engine/backend.h"
#include "engine/model_spec.h"

/* The device that cuda_backend_open would take. */
struct cuda_device_info {
    char name[64];
    int compute_capability; /* 90: 9.0. */
    uint32_t multiprocessors;
    size_t free_bytes, total_bytes;
};

/* False: there is none; the reason goes to error, as DEVICE. */
WARN_UNUSED bool cuda_device_find(struct cuda_device_info *info_out, struct error *error);

/* Device memory of one more slot, and of everything else; what skein inspect shows. */
struct cuda_backend_need {
    size_t slot_bytes;
    size_t fixed_bytes;
};
struct cuda_backend_need cuda_backend_need_of(const struct model_spec *spec,
                                              const struct backend_options *options);

/* Takes all memory and uploads the weights. options->slot_count 0: as many as fit, at most 1024;
 * item_count_max 0: a share for each slot; row_count_max is raised to the slot count. The spec and
 * its file are not needed afterwards, the vocabulary must outlive the backend. Two steps may be in
 * flight. OUT_OF_MEMORY: the message has the sum. CORRUPT: weights that f16 cannot hold. DEVICE. */
WARN_UNUSED enum error_code cuda_backend_open(const struct model_spec *spec,
                                              const struct backend_options *options,
                                              struct backend **backend_out, struct error *error);

/* Where the backend's time goes, for skein bench. Switching forgets what was measured; no step may
 * be in flight. times_out[CUDA_KERNEL_COUNT]; gap: median seconds between steps, 0: none seen. */
void cuda_backend_profile(struct backend *backend, enum cuda_profile_mode mode);
void cuda_backend_times(struct backend *backend, struct cuda_kernel_time *times_out);
double cuda_backend_gap(struct backend *backend);
