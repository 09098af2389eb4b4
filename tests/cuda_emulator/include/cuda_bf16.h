/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/cuda_bf16.h - bfloat16: conversions only.
 *
 * Thread: any. */
#pragma once

#ifdef __cplusplus

#include <stdint.h>

#include "cuda_runtime.h"

struct __attribute__((aligned(2))) __nv_bfloat16 {
    unsigned short __x;
};

struct __attribute__((aligned(4))) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

EMULATED_INLINE(__nv_bfloat16, __ushort_as_bfloat16, (unsigned short x), __nv_bfloat16{x})
EMULATED_INLINE(unsigned short, __bfloat16_as_ushort, (__nv_bfloat16 x), x.__x)
EMULATED_INLINE(float, __bfloat162float, (__nv_bfloat16 x),
                emulated_bits<float>(static_cast<uint32_t>(x.__x) << 16))
EMULATED_INLINE(float2, __bfloat1622float2, (__nv_bfloat162 x),
                make_float2(__bfloat162float(x.x), __bfloat162float(x.y)))

/* To nearest even. */
static inline __nv_bfloat16 __float2bfloat16_rn(float value)
{
    const uint32_t bits = emulated_bits<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return __nv_bfloat16{0x7fff}; /* Not a number. */
    }
    return __nv_bfloat16{
        static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

EMULATED_INLINE(__nv_bfloat16, __float2bfloat16, (float x), __float2bfloat16_rn(x))

#endif
