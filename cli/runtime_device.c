/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/runtime_device.c - which device computes: the one asked for, or the best there is.
 *
 * Thread: main. */
#include <sched.h>

#include "base/limits.h"
#include "base/log.h"
#include "cli/runtime.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"

enum {
    CPU_SLOTS_DEFAULT = 64,
    CPU_STEP_ROWS = 512, /* Activations of a step stay within tens of megabytes at 7.2B. */
};

uint32_t runtime_thread_count(const struct config *config)
{
    cpu_set_t cores;
    if (config->threads > 0) {
        return (uint32_t)config->threads;
    }
    return sched_getaffinity(0, sizeof cores, &cores) == 0 ? (uint32_t)CPU_COUNT(&cores) : 1;
}

uint32_t runtime_step_rows(uint32_t slot_count)
{
    return slot_count > CPU_STEP_ROWS ? slot_count : CPU_STEP_ROWS;
}

static enum error_code open_cpu(const struct config *config, const struct model_spec *spec,
                                const struct sampling_vocabulary *vocabulary,
                                struct backend **backend_out, struct error *error)
{
    const uint32_t slot_count = config->slots > 0 ? (uint32_t)config->slots : CPU_SLOTS_DEFAULT;
    const struct backend_options options = {
        .slot_count = slot_count,
        .row_count_max = runtime_step_rows(slot_count),
        .item_count_max = slot_count,
        .thread_count = runtime_thread_count(config),
        .vocabulary = *vocabulary,
    };
    return cpu_backend_open(spec, &options, backend_out, error);
}

static enum error_code open_cuda(const struct config *config, const struct model_spec *spec,
                                 const struct sampling_vocabulary *vocabulary,
                                 struct backend **backend_out, struct error *error)
{
    const struct backend_options options = {
        .slot_count = config->slots > 0 ? (uint32_t)config->slots : 0, /* 0: what fits. */
        .row_count_max = LIMIT_STEP_ROWS,
        .vocabulary = *vocabulary,
    };
    return cuda_backend_open(spec, &options, backend_out, error);
}

bool runtime_uses_cuda(const struct config *config, struct error *error)
{
    struct cuda_device_info device;
    return config->device != CONFIG_DEVICE_CPU && cuda_device_find(&device, error);
}

enum error_code runtime_open_backend(const struct config *config, const struct model_spec *spec,
                                     const struct sampling_vocabulary *vocabulary,
                                     struct backend **backend_out, struct error *error)
{
    struct error absence = {0};
    *backend_out = NULL;
    if (runtime_uses_cuda(config, &absence)) {
        return open_cuda(config, spec, vocabulary, backend_out, error);
    }
    if (config->device == CONFIG_DEVICE_CUDA) {
        return error_set(error, ERROR_DEVICE, "--device cuda: %.400s; use --device cpu",
                         absence.message);
    }
    if (config->device == CONFIG_DEVICE_AUTO) {
        log_event(LOG_INFO, "model", "the CPU computes", LOG_S("because", absence.message));
    }
    return open_cpu(config, spec, vocabulary, backend_out, error);
}
