/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_device.c - opens what skein bench measures. Thread: main. */
#include "cli/bench_device.h"

#include <stdio.h>
#include <string.h>

#include "cpu/cpu_backend.h"
#include "cpu/cpu_ceiling.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_ceiling.h"

/* NULL when there is none of that name for this processor. */
static const struct cpu_kernels *find_kernels(const char *name)
{
    const struct cpu_kernels *sets[] = {
        &cpu_kernels_reference,
        cpu_kernels_avx2_if_supported(),
        cpu_kernels_avx512_if_supported(),
    };
    for (size_t index = 0; index < sizeof sets / sizeof sets[0]; index++) {
        if (sets[index] != NULL && strcmp(sets[index]->name, name) == 0) {
            return sets[index];
        }
    }
    return NULL;
}

static enum error_code open_cuda(const struct config *config, const struct model_spec *spec,
                                 const struct cuda_device_info *info,
                                 const struct sampling_vocabulary *vocabulary,
                                 struct bench_device *device, struct error *error)
{
    snprintf(device->card, sizeof device->card, "%s", info->name);
    device->kernels = device->card;
    enum error_code code = runtime_open_backend(config, spec, vocabulary, &device->backend, error);
    if (code == ERROR_NONE) {
        code = cuda_ceiling_create(&device->cuda_ceiling, error);
    }
    return code;
}

/* As runtime_open_backend, with kernels that serve would not choose. */
static enum error_code open_with(const struct config *config, const struct model_spec *spec,
                                 const struct cpu_kernels *kernels,
                                 const struct sampling_vocabulary *vocabulary,
                                 struct backend **backend_out, struct error *error)
{
    const uint32_t slot_count = (uint32_t)config->slots;
    const struct backend_options options = {
        .slot_count = slot_count,
        .row_count_max = runtime_step_rows(slot_count),
        .item_count_max = slot_count,
        .thread_count = runtime_thread_count(config),
        .vocabulary = *vocabulary,
    };
    return cpu_backend_open_with(spec, &options, kernels, backend_out, error);
}

enum error_code bench_device_open(const struct config *config, const struct model_spec *spec,
                                  uint32_t token_count, const char *kernels,
                                  const struct clock *clock, struct bench_device *device,
                                  struct error *error)
{
    const struct sampling_vocabulary vocabulary = {.row_count = spec->V,
                                                   .token_count = token_count};
    struct cuda_device_info info;
    struct error absence = {0};
    if (kernels == NULL && config->device != CONFIG_DEVICE_CPU &&
        cuda_device_find(&info, &absence)) {
        return open_cuda(config, spec, &info, &vocabulary, device, error);
    }
    const struct cpu_kernels *set =
        kernels == NULL ? cpu_kernels_choose() : find_kernels(kernels);
    if (set == NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "--cpu-kernels %.40s: there are none of that name for this processor",
                         kernels);
    }
    device->kernels = set->name;
    device->thread_count = runtime_thread_count(config);
    enum error_code code =
        kernels == NULL
            ? runtime_open_backend(config, spec, &vocabulary, &device->backend, error)
            : open_with(config, spec, set, &vocabulary, &device->backend, error);
    if (code == ERROR_NONE) {
        code = cpu_ceiling_create(device->thread_count, clock, &device->ceiling, error);
    }
    return code;
}

void bench_device_close(struct bench_device *device)
{
    cuda_ceiling_destroy(device->cuda_ceiling);
    cpu_ceiling_destroy(device->ceiling);
    backend_close(device->backend);
    *device = (struct bench_device){0};
}

bool bench_device_has_kernels(const struct bench_device *device)
{
    return device->cuda_ceiling != NULL;
}

double bench_device_settling_seconds(const struct bench_device *device)
{
    const double of_gpu = 0.25;
    return device->cuda_ceiling != NULL ? of_gpu : 0.0;
}

double bench_device_read_rate(struct bench_device *device, double seconds)
{
    return device->cuda_ceiling != NULL ? cuda_ceiling_copy_rate(device->cuda_ceiling, seconds)
                                        : cpu_ceiling_read_rate(device->ceiling, seconds);
}

double bench_device_multiply_rate(struct bench_device *device, double seconds)
{
    return device->cuda_ceiling != NULL
               ? cuda_ceiling_multiply_rate(device->cuda_ceiling, seconds)
               : cpu_ceiling_multiply_rate(device->ceiling, seconds);
}
