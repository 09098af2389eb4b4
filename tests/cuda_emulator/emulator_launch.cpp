/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_launch.cpp - launches: the limits of the device, then block after
 * block.
 *
 * Thread: one at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <memory>
#include <string>

#include "emulator.h"

enum { SHARED_ALIGNMENT = 1024, SHARED_BYTES = 48 * 1024, THREADS_MAX = 1024, DEPTH_MAX = 64 };

static std::map<const void *, size_t> shared_bytes_allowed; /* By kernel, where opted in. */

cudaError_t emulated_launch_work(const char *name, const cudaLaunchConfig_t *config,
                                 const void *kernel, std::function<void()> run);

static size_t shared_bytes_max(const void *kernel)
{
    const std::map<const void *, size_t>::const_iterator found = shared_bytes_allowed.find(kernel);
    return found == shared_bytes_allowed.end() ? static_cast<size_t>(SHARED_BYTES)
                                               : found->second;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
        if (value < 0 || static_cast<size_t>(value) > emulator_shared_bytes_max()) {
            return emulator_result(cudaErrorInvalidValue);
        }
        shared_bytes_allowed[function] = static_cast<size_t>(value);
        return emulator_result(cudaSuccess);
    case cudaFuncAttributePreferredSharedMemoryCarveout:
        return emulator_result(cudaSuccess);
    }
    emulator_die("cudaFuncSetAttribute: attribute %d", static_cast<int>(attribute));
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function,
                                                          int block_threads,
                                                          size_t dynamic_shared_bytes)
{
    struct cudaDeviceProp properties;
    const cudaError_t error = cudaGetDeviceProperties(&properties, 0);
    if (error != cudaSuccess) {
        return error;
    }
    if (block_threads <= 0) {
        return emulator_result(cudaErrorInvalidValue);
    }
    const size_t by_threads =
        static_cast<size_t>(properties.maxThreadsPerMultiProcessor / block_threads);
    const size_t by_memory =
        properties.sharedMemPerMultiprocessor / (dynamic_shared_bytes + 1024);
    const bool fits =
        block_threads <= THREADS_MAX && dynamic_shared_bytes <= shared_bytes_max(function);
    *blocks = !fits ? 0 : static_cast<int>(by_threads < by_memory ? by_threads : by_memory);
    return emulator_result(cudaSuccess);
}

/* ---- Limits ------------------------------------------------------------------------------ */

/* Says why, for the device only gives a number. */
static cudaError_t refuse(const std::string &name, const cudaLaunchConfig_t *config,
                          cudaError_t error, const char *why)
{
    fprintf(stderr, "cuda emulator: %s: grid (%u, %u, %u), block (%u, %u, %u), %zu bytes: %s\n",
            name.c_str(), config->gridDim.x, config->gridDim.y, config->gridDim.z,
            config->blockDim.x, config->blockDim.y, config->blockDim.z, config->dynamicSmemBytes,
            why);
    return emulator_result(error);
}

static bool is_block_allowed(dim3 block)
{
    return block.x > 0 && block.y > 0 && block.z > 0 && block.x <= THREADS_MAX &&
           block.y <= THREADS_MAX && block.z <= DEPTH_MAX &&
           block.x * block.y * block.z <= THREADS_MAX;
}

static bool is_grid_allowed(dim3 grid)
{
    return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
           grid.z <= 65535;
}

static cudaError_t check_attributes(const std::string &name, const cudaLaunchConfig_t *config)
{
    for (unsigned int index = 0; index < config->numAttrs; index++) {
        switch (config->attrs[index].id) {
        case cudaLaunchAttributeIgnore:
            break;
        case cudaLaunchAttributeProgrammaticStreamSerialization:
            if (emulator_capability() < 90) {
                return refuse(name, config, cudaErrorNotSupported,
                              "programmatic launches need capability 9.0");
            }
            break;
        default:
            emulator_die("%s: launch attribute %d", name.c_str(),
                         static_cast<int>(config->attrs[index].id));
        }
    }
    return cudaSuccess;
}

static cudaError_t check_limits(const std::string &name, const cudaLaunchConfig_t *config,
                                const void *kernel)
{
    if (!is_block_allowed(config->blockDim)) {
        return refuse(name, config, cudaErrorInvalidConfiguration, "no such block");
    }
    if (!is_grid_allowed(config->gridDim)) {
        return refuse(name, config, cudaErrorInvalidConfiguration, "no such grid");
    }
    if (config->dynamicSmemBytes > shared_bytes_max(kernel)) {
        return refuse(name, config, cudaErrorInvalidValue,
                      "more shared memory than cudaFuncSetAttribute allowed");
    }
    return check_attributes(name, config);
}

/* ---- Blocks ------------------------------------------------------------------------------ */

struct launch {
    std::string name;
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> run; /* One thread of it. */
};

static void run_grid(const struct launch &launch)
{
    if (!emulator_may_launch()) {
        return;
    }
    void *shared = NULL;
    if (launch.shared_bytes > 0 &&
        posix_memalign(&shared, SHARED_ALIGNMENT, launch.shared_bytes) != 0) {
        emulator_die("%s: no memory", launch.name.c_str());
    }
    const dim3 grid = launch.grid;
    const uint64_t count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    for (uint64_t done = 0; done < count; done++) {
        const uint64_t at = emulator_is_reverse() ? count - 1 - done : done;
        const uint3 index = {static_cast<unsigned int>(at % grid.x),
                             static_cast<unsigned int>(at / grid.x % grid.y),
                             static_cast<unsigned int>(at / grid.x / grid.y)};
        if (shared != NULL) {
            memset(shared, 0xff, launch.shared_bytes);
        }
        emulator_run_block(launch.name.c_str(), grid, launch.block, index,
                           static_cast<unsigned char *>(shared), launch.run);
    }
    free(shared);
}

/* "kernel<4>, step at file.cu:12", without the arguments. */
static std::string short_name(const char *text)
{
    const std::string whole = text;
    const size_t place = whole.rfind(" at ");
    size_t end = 0;
    for (int depth = 0; end < place && (whole[end] != ',' || depth > 0); end++) {
        depth += whole[end] == '<' || whole[end] == '(';
        depth -= whole[end] == '>' || whole[end] == ')';
    }
    return whole.substr(0, end) + whole.substr(place);
}

cudaError_t emulated_launch_work(const char *name, const cudaLaunchConfig_t *config,
                                 const void *kernel, std::function<void()> run)
{
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    const std::shared_ptr<struct launch> launch = std::make_shared<struct launch>();
    launch->name = short_name(name);
    launch->grid = config->gridDim;
    launch->block = config->blockDim;
    launch->shared_bytes = config->dynamicSmemBytes;
    launch->run = std::move(run);
    const cudaError_t error = check_limits(launch->name, config, kernel);
    return error != cudaSuccess
               ? error
               : emulator_submit(config->stream, [launch]() { run_grid(*launch); });
}
