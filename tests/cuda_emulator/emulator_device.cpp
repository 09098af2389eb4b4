/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_device.cpp - the one device: what it is said to be, its errors and
 * the switches of the tests.
 *
 * Thread: one at a time. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

enum { CAPABILITY = 90, MULTIPROCESSORS = 8, RESIDENT_THREADS = 2048 };

static struct {
    bool ready;
    int capability; /* 10 * major + minor. */
    bool reverse, late;
    int64_t launches_left; /* Negative: any number. */
    uint64_t launches;
    cudaError_t final_error, last_error;
} device;

static int capability_from(const char *text)
{
    int major = 0;
    int minor = 0;
    if (sscanf(text, "%d.%d", &major, &minor) != 2 || major < 1 || minor < 0 || minor > 9) {
        emulator_die("SKEIN_EMULATED_CAPABILITY=%s: expected a number like 7.5", text);
    }
    return 10 * major + minor;
}

static void make_ready(void)
{
    if (device.ready) {
        return;
    }
    const char *capability = getenv("SKEIN_EMULATED_CAPABILITY");
    const char *order = getenv("SKEIN_EMULATED_ORDER");
    const char *late = getenv("SKEIN_EMULATED_LATE");
    const char *launches = getenv("SKEIN_EMULATED_LAUNCHES");
    device.ready = true;
    device.capability = capability == NULL ? CAPABILITY : capability_from(capability);
    device.reverse = order != NULL && strcmp(order, "reverse") == 0;
    device.late = late != NULL && strcmp(late, "1") == 0;
    device.launches_left = launches == NULL ? -1 : strtoll(launches, NULL, 10);
}

void emulator_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "cuda emulator: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    fflush(stderr);
    va_end(arguments);
    abort();
}

/* ---- Switches ---------------------------------------------------------------------------- */

void cuda_emulator_set_capability(int major, int minor)
{
    make_ready();
    device.capability = 10 * major + minor;
}

void cuda_emulator_set_reverse(bool reverse)
{
    make_ready();
    device.reverse = reverse;
}

void cuda_emulator_set_late(bool late)
{
    make_ready();
    emulator_drain();
    device.late = late;
}

void cuda_emulator_fail_after(int64_t launches)
{
    make_ready();
    device.launches_left = launches;
}

void cuda_emulator_recover(void)
{
    device.final_error = cudaSuccess;
    device.last_error = cudaSuccess;
    device.launches_left = -1;
}

uint64_t cuda_emulator_launches(void)
{
    return device.launches;
}

int emulator_capability(void)
{
    make_ready();
    return device.capability;
}

bool emulator_is_reverse(void)
{
    make_ready();
    return device.reverse;
}

bool emulator_is_late(void)
{
    make_ready();
    return device.late;
}

bool emulator_may_launch(void)
{
    make_ready();
    if (device.final_error == cudaSuccess && device.launches_left == 0) {
        device.final_error = cudaErrorIllegalAddress;
    }
    if (device.final_error != cudaSuccess) {
        return false;
    }
    if (device.launches_left > 0) {
        device.launches_left--;
    }
    device.launches++;
    return true;
}

/* ---- Errors ------------------------------------------------------------------------------ */

cudaError_t emulator_final_error(void)
{
    return device.final_error;
}

cudaError_t emulator_result(cudaError_t error)
{
    if (device.final_error != cudaSuccess) {
        error = device.final_error;
    }
    if (error != cudaSuccess && error != cudaErrorNotReady) {
        device.last_error = error;
    }
    return error;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = cudaPeekAtLastError();
    device.last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return device.final_error != cudaSuccess ? device.final_error : device.last_error;
}

#define EMULATED_NAME(name, value)                                                                \
    case name:                                                                                    \
        return #name;

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
        EMULATED_ERRORS(EMULATED_NAME)
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (static_cast<int>(error)) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    default:
        return cudaGetErrorName(error);
    }
}

/* ---- Properties -------------------------------------------------------------------------- */

/* CUDA C++ Programming Guide, technical specifications per compute capability. */
static size_t shared_bytes_of_multiprocessor(void)
{
    switch (emulator_capability()) {
    case 75:
        return 64 * 1024;
    case 80:
    case 87:
        return 164 * 1024;
    case 86:
    case 89:
    case 120:
        return 100 * 1024;
    case 90:
    case 100:
    case 103:
        return 228 * 1024;
    default:
        emulator_die("compute capability %d.%d is not known", emulator_capability() / 10,
                     emulator_capability() % 10);
    }
}

size_t emulator_shared_bytes_max(void)
{
    const size_t bytes = shared_bytes_of_multiprocessor();
    return emulator_capability() < 80 ? bytes : bytes - 1024; /* One is the system's. */
}

static bool is_device(int index)
{
    return index == 0;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    make_ready();
    *count = 1;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaSetDevice(int index)
{
    return emulator_result(is_device(index) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaSetDeviceFlags(unsigned int)
{
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGetDevice(int *index)
{
    *index = 0;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int index)
{
    if (!is_device(index)) {
        return emulator_result(cudaErrorInvalidDevice);
    }
    *properties = cudaDeviceProp();
    snprintf(properties->name, sizeof properties->name, "emulated %d.%d",
             emulator_capability() / 10, emulator_capability() % 10);
    size_t free_bytes = 0;
    cudaMemGetInfo(&free_bytes, &properties->totalGlobalMem);
    properties->major = emulator_capability() / 10;
    properties->minor = emulator_capability() % 10;
    properties->warpSize = 32;
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor =
        emulator_capability() == 75 ? RESIDENT_THREADS / 2 : RESIDENT_THREADS;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->sharedMemPerBlock = 48 * 1024;
    properties->sharedMemPerBlockOptin = emulator_shared_bytes_max();
    properties->sharedMemPerMultiprocessor = shared_bytes_of_multiprocessor();
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->l2CacheSize = 50 << 20;
    properties->memoryBusWidth = 5120;
    properties->asyncEngineCount = 3;
    properties->unifiedAddressing = 1;
    return emulator_result(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int index)
{
    struct cudaDeviceProp properties;
    const cudaError_t error = cudaGetDeviceProperties(&properties, index);
    if (error != cudaSuccess) {
        return error;
    }
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = properties.maxThreadsPerBlock;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = static_cast<int>(properties.sharedMemPerBlock);
        return cudaSuccess;
    case cudaDevAttrWarpSize:
        *value = properties.warpSize;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrClockRate:
        *value = 1000000;
        return cudaSuccess;
    case cudaDevAttrMemoryClockRate:
        *value = 2500000;
        return cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = properties.memoryBusWidth;
        return cudaSuccess;
    case cudaDevAttrL2CacheSize:
        *value = properties.l2CacheSize;
        return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = properties.maxThreadsPerMultiProcessor;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(properties.sharedMemPerBlockOptin);
        return cudaSuccess;
    }
    emulator_die("cudaDeviceGetAttribute: attribute %d", static_cast<int>(attribute));
}
