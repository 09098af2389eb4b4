/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_memory.cpp - device and pinned memory, from the heap, so that the
 * sanitizer sees who leaves a block; copies check that both ends are where the call says.
 *
 * New memory is all ones: floats read before they were written are not numbers. Thread: one at a
 * time. */
#include <stdlib.h>
#include <string.h>

#include <map>

#include "emulator.h"

enum { ALIGNMENT = 256 };

struct allocation {
    size_t bytes;
    enum emulator_memory memory;
};

static std::map<uintptr_t, allocation> allocations; /* By address. */
static size_t device_bytes_max = static_cast<size_t>(8) << 30;
static size_t device_bytes;
static int64_t allocations_left = -1; /* Negative: any number. */

void cuda_emulator_fail_allocation_after(int64_t count)
{
    allocations_left = count;
}

void cuda_emulator_set_memory(size_t bytes)
{
    device_bytes_max = bytes;
}

size_t cuda_emulator_allocations(void)
{
    return allocations.size();
}

enum emulator_memory emulator_memory_of(const void *address, size_t bytes, const char *call)
{
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    std::map<uintptr_t, allocation>::const_iterator next = allocations.upper_bound(at);
    if (next != allocations.end() && at + bytes > next->first) {
        emulator_die("%s: %zu bytes at %p run into a block at %p", call, bytes, address,
                     reinterpret_cast<void *>(next->first));
    }
    if (next == allocations.begin()) {
        return EMULATOR_PAGEABLE;
    }
    --next;
    if (at >= next->first + next->second.bytes) {
        return EMULATOR_PAGEABLE;
    }
    if (at + bytes > next->first + next->second.bytes) {
        emulator_die("%s: %zu bytes at %p, offset %zu of a block of %zu", call, bytes, address,
                     static_cast<size_t>(at - next->first), next->second.bytes);
    }
    return next->second.memory;
}

/* ---- Blocks ------------------------------------------------------------------------------ */

static cudaError_t allocate(void **pointer, size_t bytes, enum emulator_memory memory)
{
    *pointer = NULL;
    if (emulator_final_error() != cudaSuccess) {
        return emulator_result(emulator_final_error());
    }
    if (emulator_spoils_capture()) {
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    if (bytes == 0) {
        return cudaSuccess;
    }
    if (allocations_left >= 0 && allocations_left-- == 0) {
        return emulator_result(cudaErrorMemoryAllocation);
    }
    const bool is_device = memory == EMULATOR_DEVICE;
    if (is_device && bytes > device_bytes_max - device_bytes) {
        return emulator_result(cudaErrorMemoryAllocation);
    }
    if (posix_memalign(pointer, ALIGNMENT, bytes) != 0) {
        *pointer = NULL;
        return emulator_result(cudaErrorMemoryAllocation);
    }
    memset(*pointer, 0xff, bytes);
    device_bytes += is_device ? bytes : 0;
    allocations[reinterpret_cast<uintptr_t>(*pointer)] = allocation{bytes, memory};
    return cudaSuccess;
}

static cudaError_t release(void *pointer, enum emulator_memory memory, const char *call)
{
    if (pointer == NULL) {
        return emulator_result(cudaSuccess);
    }
    std::map<uintptr_t, allocation>::iterator found =
        allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == allocations.end() || found->second.memory != memory) {
        emulator_die("%s: %p was not given by its counterpart", call, pointer);
    }
    if (emulator_spoils_capture()) {
        return emulator_result(cudaErrorStreamCaptureUnsupported);
    }
    emulator_drain(); /* As the device does. */
    device_bytes -= memory == EMULATOR_DEVICE ? found->second.bytes : 0;
    allocations.erase(found);
    free(pointer);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    return allocate(pointer, bytes, EMULATOR_DEVICE);
}

cudaError_t cudaFree(void *pointer)
{
    return release(pointer, EMULATOR_DEVICE, "cudaFree");
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    return allocate(pointer, bytes, EMULATOR_PINNED);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned int)
{
    return allocate(pointer, bytes, EMULATOR_PINNED);
}

cudaError_t cudaFreeHost(void *pointer)
{
    return release(pointer, EMULATOR_PINNED, "cudaFreeHost");
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = device_bytes_max - device_bytes;
    *total_bytes = device_bytes_max;
    return emulator_result(cudaSuccess);
}

/* ---- Copies ------------------------------------------------------------------------------ */

/* A rectangle; width_bytes by height, rows `pitch` apart. */
struct copy {
    char *to;
    const char *from;
    size_t to_pitch, from_pitch, width_bytes, height;
};

static size_t extent(size_t pitch, size_t width_bytes, size_t height)
{
    return height == 0 ? 0 : (height - 1) * pitch + width_bytes;
}

/* Checks both ends; whether one is memory that the device cannot reach by itself. */
static bool check_ends(const struct copy *copy, enum cudaMemcpyKind kind, const char *call)
{
    const enum emulator_memory to = emulator_memory_of(
        copy->to, extent(copy->to_pitch, copy->width_bytes, copy->height), call);
    const enum emulator_memory from = emulator_memory_of(
        copy->from, extent(copy->from_pitch, copy->width_bytes, copy->height), call);
    const bool wants_device_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool wants_device_from =
        kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault && ((to == EMULATOR_DEVICE) != wants_device_to ||
                                      (from == EMULATOR_DEVICE) != wants_device_from)) {
        emulator_die("%s: kind %d, but the target is %s memory and the source %s", call, kind,
                     to == EMULATOR_DEVICE ? "device" : "host",
                     from == EMULATOR_DEVICE ? "device" : "host");
    }
    return to == EMULATOR_PAGEABLE || from == EMULATOR_PAGEABLE;
}

static void run_copy(const struct copy &copy)
{
    for (size_t row = 0; row < copy.height; row++) {
        memcpy(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch,
               copy.width_bytes);
    }
}

static cudaError_t submit_copy(const struct copy &copy, enum cudaMemcpyKind kind,
                               cudaStream_t stream, const char *call)
{
    if (copy.width_bytes == 0 || copy.height == 0) {
        return emulator_result(cudaSuccess);
    }
    if (copy.width_bytes > copy.to_pitch || copy.width_bytes > copy.from_pitch) {
        return emulator_result(cudaErrorInvalidValue);
    }
    const bool is_pageable = check_ends(&copy, kind, call);
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaError_t known = cudaStreamIsCapturing(stream, &status);
    if (known != cudaSuccess) {
        return known;
    }
    const cudaError_t error = emulator_submit(stream, [copy]() { run_copy(copy); });
    if (is_pageable && status == cudaStreamCaptureStatusNone) {
        emulator_drain(); /* The call returns when the host's memory is free again. */
    }
    return error;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return submit_copy({static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes,
                        bytes, 1},
                       kind, stream, "cudaMemcpyAsync");
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width_bytes, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    return submit_copy({static_cast<char *>(to), static_cast<const char *>(from), to_pitch,
                        from_pitch, width_bytes, height},
                       kind, stream, "cudaMemcpy2DAsync");
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    const cudaError_t error = submit_copy({static_cast<char *>(to),
                                           static_cast<const char *>(from), bytes, bytes, bytes,
                                           1},
                                          kind, NULL, "cudaMemcpy");
    emulator_drain();
    return emulator_result(error);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    if (emulator_memory_of(to, bytes, "cudaMemsetAsync") == EMULATOR_PAGEABLE && bytes > 0) {
        emulator_die("cudaMemsetAsync: %p is not device memory", to);
    }
    return emulator_submit(stream, [=]() { memset(to, value, bytes); });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    const cudaError_t error = cudaMemsetAsync(to, value, bytes, NULL);
    emulator_drain();
    return emulator_result(error);
}
