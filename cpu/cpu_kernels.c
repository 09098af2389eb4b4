/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels.c - which set of kernels this processor runs.
 *
 * Thread: any. */
#include "cpu/cpu_kernels.h"

const struct cpu_kernels *cpu_kernels_avx2_if_supported(void)
{
#ifdef SKEIN_HAS_AVX2_KERNELS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        return &cpu_kernels_avx2;
    }
#endif
    return NULL;
}

const struct cpu_kernels *cpu_kernels_choose(void)
{
    const struct cpu_kernels *avx2 = cpu_kernels_avx2_if_supported();
    return avx2 != NULL ? avx2 : &cpu_kernels_reference;
}
