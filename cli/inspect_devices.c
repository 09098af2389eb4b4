/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/inspect_devices.c - memory of the machine and of its CUDA device, in sequences.
 *
 * Thread: main. */
#include "cli/inspect_devices.h"

#include <stdio.h>

#include "base/limits.h"
#include "cuda/cuda_backend.h"

/* The number behind a key of a /proc file ("MemAvailable:"), or the file's only one (key NULL). */
static bool read_number(const char *path, const char *key, uint64_t *number_out)
{
    char line[256];
    bool is_found = false;
    FILE *stream = fopen(path, "re");
    while (stream != NULL && !is_found && fgets(line, sizeof line, stream) != NULL) {
        struct text rest = text_from(line);
        if (key != NULL) {
            if (!text_equals(text_cut(&rest, ':'), text_from(key))) {
                continue;
            }
            rest = text_trim(rest);
        }
        is_found = text_to_uint64(text_trim(text_cut(&rest, ' ')), number_out);
    }
    if (stream != NULL) {
        fclose(stream);
    }
    return is_found;
}

/* What the kernel would give without swapping, or what is left of a container's share. */
static uint64_t available_memory(void)
{
    uint64_t kilobytes = 0;
    uint64_t limit;
    uint64_t used;
    read_number("/proc/meminfo", "MemAvailable", &kilobytes);
    const uint64_t available = kilobytes * 1024;
    if (!read_number("/sys/fs/cgroup/memory.max", NULL, &limit) ||
        !read_number("/sys/fs/cgroup/memory.current", NULL, &used)) {
        return available;
    }
    const uint64_t left = limit > used ? limit - used : 0;
    return left < available ? left : available;
}

static uint64_t fitting(uint64_t available_bytes, uint64_t fixed_bytes, uint64_t slot_bytes)
{
    const uint64_t count =
        available_bytes > fixed_bytes ? (available_bytes - fixed_bytes) / slot_bytes : 0;
    return count < LIMIT_SLOTS ? count : LIMIT_SLOTS;
}

static struct inspect_device cpu_device(const struct model_spec *spec, size_t weight_bytes)
{
    struct inspect_device device = {.kind = "cpu", .name = "this machine"};
    device.available_bytes = available_memory();
    device.sequence_count = fitting(device.available_bytes, weight_bytes,
                                    model_spec_state_floats(spec) * sizeof(float));
    return device;
}

static struct inspect_device cuda_device(const struct model_spec *spec,
                                         const struct cuda_device_info *info)
{
    const struct backend_options options = {
        .row_count_max = LIMIT_STEP_ROWS,
        .vocabulary = {.row_count = spec->V, .token_count = spec->V},
    };
    const struct cuda_backend_need need = cuda_backend_need_of(spec, &options);
    struct inspect_device device = {.kind = "cuda", .available_bytes = info->free_bytes};
    snprintf(device.name, sizeof device.name, "%s", info->name);
    device.sequence_count = fitting(info->free_bytes, need.fixed_bytes, need.slot_bytes);
    return device;
}

uint32_t inspect_devices(const struct model_spec *spec, size_t weight_bytes,
                         struct inspect_device *devices_out)
{
    struct cuda_device_info info;
    struct error absence;
    devices_out[0] = cpu_device(spec, weight_bytes);
    if (!cuda_device_find(&info, &absence)) {
        return 1;
    }
    devices_out[1] = cuda_device(spec, &info);
    return 2;
}
