/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels.c - which set of kernels this processor runs.
 *
 * Thread: any. */
#include "cpu/cpu_kernels.h"

#ifdef SKEIN_HAS_AVX2_KERNELS
#include <cpuid.h>
#include <stdbool.h>
#endif

#ifdef SKEIN_HAS_AVX2_KERNELS
/* Not every compiler's __builtin_cpu_supports knows F16C: leaf 1 of CPUID, bit 29 of ECX. */
static bool has_f16c(void)
{
    unsigned int eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

const struct cpu_kernels *cpu_kernels_avx2_if_supported(void)
{
#ifdef SKEIN_HAS_AVX2_KERNELS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        return &cpu_kernels_avx2;
    }
#endif
    return NULL;
}

const struct cpu_kernels *cpu_kernels_avx512_if_supported(void)
{
#ifdef SKEIN_HAS_AVX2_KERNELS
    if (cpu_kernels_avx2_if_supported() != NULL && __builtin_cpu_supports("avx512f")) {
        return &cpu_kernels_avx512;
    }
#endif
    return NULL;
}

const struct cpu_kernels *cpu_kernels_choose(void)
{
    const struct cpu_kernels *avx512 = cpu_kernels_avx512_if_supported();
    const struct cpu_kernels *avx2 = cpu_kernels_avx2_if_supported();
    return avx512 != NULL ? avx512 : avx2 != NULL ? avx2 : &cpu_kernels_reference;
}
