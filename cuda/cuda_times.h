/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_times.h - what a profile of the CUDA backend is made of; plain data.
 *
 * Thread: any. */
#pragma once

#include <stdint.h>

/* The kernels of a step, in their order. */
#define CUDA_KERNELS(X)                                   \
    X(EMBED, "embed")                                     \
    X(MIX_ATT, "norm, shift, 6 mixes")                    \
    X(RKV, "r, k, v")                                     \
    X(DOWN, "low rank down")                              \
    X(ATT_IN, "r, k, v, low rank down")                   \
    X(FEW_ATT_IN, "norm, mixes, r, k, v, down")           \
    X(FEW_RECURRENCE, "low rank up, wkv decode")          \
    X(UP, "low rank up")                                  \
    X(WKV_DECODE, "wkv decode")                           \
    X(WKV_SCAN, "wkv scan")                               \
    X(OUTPUT, "att output")                               \
    X(MIX_FFN, "norm, shift, mix")                        \
    X(KEY, "ffn key")                                     \
    X(RELU, "relu squared")                               \
    X(VALUE, "ffn value")                                 \
    X(FINAL_NORM, "final norm")                           \
    X(HEAD, "head")                                       \
    X(SAMPLE, "sample")

enum cuda_kernel {
#define X(name, text) CUDA_KERNEL_##name,
    CUDA_KERNELS(X)
#undef X
    CUDA_KERNEL_COUNT,
};

/* What one kernel came to over all profiled steps. */
struct cuda_kernel_time {
    const char *name;
    uint64_t launches;
    double seconds;
    double bytes, flops; /* That all its launches had to move and compute at least. */
};

enum cuda_profile_mode {
    CUDA_PROFILE_OFF,
    CUDA_PROFILE_KERNELS, /* Steps are launched kernel by kernel and nothing overlaps: the sum is
                             more than a step takes. */
    CUDA_PROFILE_GAPS,    /* The device's time from the end of a step to the start of the next. */
};
