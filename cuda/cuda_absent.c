/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_absent.c - the backend and its ceiling in a build without CUDA: no device.
 *
 * Thread: any. */
#include "cuda/cuda_backend.h"
#include "cuda/cuda_ceiling.h"

static enum error_code refuse(struct error *error)
{
    return error_set(error, ERROR_DEVICE, "this build has no CUDA backend");
}

bool cuda_device_find(struct cuda_device_info *info_out, struct error *error)
{
    *info_out = (struct cuda_device_info){0};
    return refuse(error) == ERROR_NONE;
}

struct cuda_backend_need cuda_backend_need_of(const struct model_spec *spec,
                                              const struct backend_options *options)
{
    (void)spec;
    (void)options;
    return (struct cuda_backend_need){0};
}

enum error_code cuda_backend_open(const struct model_spec *spec,
                                  const struct backend_options *options,
                                  struct backend **backend_out, struct error *error)
{
    (void)spec;
    (void)options;
    *backend_out = NULL;
    return refuse(error);
}

enum error_code cuda_ceiling_create(struct cuda_ceiling **ceiling_out, struct error *error)
{
    *ceiling_out = NULL;
    return refuse(error);
}

void cuda_ceiling_destroy(struct cuda_ceiling *ceiling)
{
    (void)ceiling; /* There is none. */
}

double cuda_ceiling_copy_rate(struct cuda_ceiling *ceiling, double seconds)
{
    (void)ceiling;
    (void)seconds;
    return 0.0;
}

double cuda_ceiling_multiply_rate(struct cuda_ceiling *ceiling, double seconds)
{
    (void)ceiling;
    (void)seconds;
    return 0.0;
}

void cuda_backend_profile(struct backend *backend, enum cuda_profile_mode mode)
{
    (void)backend;
    (void)mode;
}

void cuda_backend_times(struct backend *backend, struct cuda_kernel_time *times_out)
{
    (void)backend;
    for (int index = 0; index < CUDA_KERNEL_COUNT; index++) {
        times_out[index] = (struct cuda_kernel_time){.name = ""};
    }
}

double cuda_backend_gap(struct backend *backend)
{
    (void)backend;
    return 0.0;
}
