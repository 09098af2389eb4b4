/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/cuda_fp16.h - halves: exact conversions, and arithmetic that rounds
 * once, to nearest even, as the device does.
 *
 * Sums, products and quotients of two halves are computed in float and rounded again, which gives
 * the same: 24 >= 2 * 11 + 2 (Figueroa, When is double rounding innocuous?, 1995). Thread: any. */
#pragma once

#ifdef __cplusplus

#include <stdint.h>

#include "cuda_runtime.h"

struct __attribute__((aligned(2))) __half {
    unsigned short __x;
    __half() = default;
    inline __half(float value);
    inline explicit operator float() const;
};

struct __attribute__((aligned(4))) __half2 {
    __half x, y;
    __half2() = default;
    __half2(__half low, __half high) : x(low), y(high)
    {
    }
};

struct __half_raw {
    unsigned short x;
};

/* ---- Conversions ------------------------------------------------------------------------- */

static inline __half __ushort_as_half(unsigned short bits)
{
    __half value;
    value.__x = bits;
    return value;
}

EMULATED_INLINE(unsigned short, __half_as_ushort, (__half x), x.__x)
EMULATED_INLINE(short, __half_as_short, (__half x), static_cast<short>(x.__x))
EMULATED_INLINE(__half, __short_as_half, (short x),
                __ushort_as_half(static_cast<unsigned short>(x)))

static inline float __half2float(__half value)
{
    const uint32_t magnitude = value.__x & 0x7fffu;
    /* A float of the same digits, whose exponent is too small by the difference of the biases. */
    uint32_t bits = emulated_bits<uint32_t>(emulated_bits<float>(magnitude << 13) * 0x1p112f);
    if (magnitude >= 0x7c00u) {
        bits |= 0x7f800000u; /* Infinite, or not a number. */
    }
    return emulated_bits<float>(bits | (value.__x & 0x8000u) << 16);
}

/* To nearest even. */
static inline __half __float2half_rn(float value)
{
    const uint32_t bits = emulated_bits<uint32_t>(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t result;
    if (magnitude > 0x7f800000u) {
        return __ushort_as_half(0x7fffu); /* Not a number, as the device writes it. */
    } else if (magnitude >= 0x47800000u) {
        result = 0x7c00u;
    } else if (magnitude < 0x38800000u) {
        /* Subnormal: adding 0.5 makes the adder round to multiples of 2^-24. */
        result = emulated_bits<uint32_t>(emulated_bits<float>(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        result = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return __ushort_as_half(static_cast<unsigned short>(sign | result));
}

/* Towards zero. */
static inline __half __float2half_rz(float value)
{
    const __half near = __float2half_rn(value);
    const bool is_away = fabsf(__half2float(near)) > fabsf(value) && !isinf(value);
    return is_away ? __ushort_as_half(static_cast<unsigned short>(near.__x - 1u)) : near;
}

/* A sum of doubles as a double that a further rounding cannot spoil: inexact ones become odd. */
static inline double emulated_sum_to_odd(double a, double b)
{
    const double sum = a + b;
    const double b_seen = sum - a;
    const double error = (a - (sum - b_seen)) + (b - b_seen);
    const uint64_t bits = emulated_bits<uint64_t>(sum);
    if (!(error != 0.0) || isinf(sum) || (bits & 1u) != 0) {
        return sum;
    }
    return emulated_bits<double>((error > 0.0) == (sum > 0.0) ? bits + 1u : bits - 1u);
}

static inline __half __double2half(double value)
{
    float near = static_cast<float>(value);
    const double error = value - static_cast<double>(near);
    const uint32_t bits = emulated_bits<uint32_t>(near);
    if (error != 0.0 && !isinf(near) && near != 0.0f && (bits & 1u) == 0) {
        near = emulated_bits<float>((error > 0.0) == (near > 0.0f) ? bits + 1u : bits - 1u);
    }
    return __float2half_rn(near);
}

inline __half::__half(float value) : __x(__float2half_rn(value).__x)
{
}

inline __half::operator float() const
{
    return __half2float(*this);
}

EMULATED_INLINE(__half, __float2half, (float x), __float2half_rn(x))
EMULATED_INLINE(__half, __int2half_rn, (int x), __double2half(x))
EMULATED_INLINE(__half, __uint2half_rn, (unsigned int x), __double2half(x))
EMULATED_INLINE(int, __half2int_rn, (__half x), __float2int_rn(__half2float(x)))
EMULATED_INLINE(__half2, __floats2half2_rn, (float x, float y),
                __half2(__float2half_rn(x), __float2half_rn(y)))
EMULATED_INLINE(__half2, __float22half2_rn, (float2 x), __floats2half2_rn(x.x, x.y))
EMULATED_INLINE(__half2, __float2half2_rn, (float x), __floats2half2_rn(x, x))
EMULATED_INLINE(float2, __half22float2, (__half2 x),
                make_float2(__half2float(x.x), __half2float(x.y)))
EMULATED_INLINE(__half2, __halves2half2, (__half x, __half y), __half2(x, y))
EMULATED_INLINE(__half2, make_half2, (__half x, __half y), __half2(x, y))
EMULATED_INLINE(__half2, __half2half2, (__half x), __half2(x, x))
EMULATED_INLINE(__half, __low2half, (__half2 x), x.x)
EMULATED_INLINE(__half, __high2half, (__half2 x), x.y)
EMULATED_INLINE(float, __low2float, (__half2 x), __half2float(x.x))
EMULATED_INLINE(float, __high2float, (__half2 x), __half2float(x.y))
EMULATED_INLINE(__half2, __low2half2, (__half2 x), __half2(x.x, x.x))
EMULATED_INLINE(__half2, __high2half2, (__half2 x), __half2(x.y, x.y))
EMULATED_INLINE(__half2, __lowhigh2highlow, (__half2 x), __half2(x.y, x.x))

/* ---- Arithmetic -------------------------------------------------------------------------- */

EMULATED_INLINE(__half, __hadd, (__half a, __half b),
                __float2half_rn(__half2float(a) + __half2float(b)))
EMULATED_INLINE(__half, __hsub, (__half a, __half b),
                __float2half_rn(__half2float(a) - __half2float(b)))
EMULATED_INLINE(__half, __hmul, (__half a, __half b),
                __float2half_rn(__half2float(a) * __half2float(b)))
EMULATED_INLINE(__half, __hdiv, (__half a, __half b),
                __float2half_rn(__half2float(a) / __half2float(b)))
/* The product is exact in double; the sum is rounded to odd, then to half. */
EMULATED_INLINE(__half, __hfma, (__half a, __half b, __half c),
                __double2half(emulated_sum_to_odd(
                    static_cast<double>(__half2float(a)) * static_cast<double>(__half2float(b)),
                    static_cast<double>(__half2float(c)))))
EMULATED_INLINE(__half, __hneg, (__half a),
                __ushort_as_half(static_cast<unsigned short>(a.__x ^ 0x8000u)))
EMULATED_INLINE(__half, __habs, (__half a),
                __ushort_as_half(static_cast<unsigned short>(a.__x & 0x7fffu)))
EMULATED_INLINE(__half, __hmax, (__half a, __half b),
                __float2half_rn(fmaxf(__half2float(a), __half2float(b))))
EMULATED_INLINE(__half, __hmin, (__half a, __half b),
                __float2half_rn(fminf(__half2float(a), __half2float(b))))
EMULATED_INLINE(__half, hsqrt, (__half a), __float2half_rn(sqrtf(__half2float(a))))

EMULATED_INLINE(bool, __heq, (__half a, __half b), __half2float(a) == __half2float(b))
EMULATED_INLINE(bool, __hne, (__half a, __half b), __half2float(a) != __half2float(b))
EMULATED_INLINE(bool, __hlt, (__half a, __half b), __half2float(a) < __half2float(b))
EMULATED_INLINE(bool, __hle, (__half a, __half b), __half2float(a) <= __half2float(b))
EMULATED_INLINE(bool, __hgt, (__half a, __half b), __half2float(a) > __half2float(b))
EMULATED_INLINE(bool, __hge, (__half a, __half b), __half2float(a) >= __half2float(b))
EMULATED_INLINE(bool, __hisnan, (__half a), (a.__x & 0x7fffu) > 0x7c00u)
EMULATED_INLINE(int, __hisinf, (__half a),
                a.__x == 0x7c00u ? 1 : a.__x == 0xfc00u ? -1 : 0)

#define EMULATED_HALF2(name, of)                                                                  \
    EMULATED_INLINE(__half2, name, (__half2 a, __half2 b), __half2(of(a.x, b.x), of(a.y, b.y)))
EMULATED_HALF2(__hadd2, __hadd)
EMULATED_HALF2(__hsub2, __hsub)
EMULATED_HALF2(__hmul2, __hmul)
EMULATED_HALF2(__h2div, __hdiv)
EMULATED_HALF2(__hmax2, __hmax)
EMULATED_HALF2(__hmin2, __hmin)
EMULATED_INLINE(__half2, __hfma2, (__half2 a, __half2 b, __half2 c),
                __half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)))
EMULATED_INLINE(__half2, __hneg2, (__half2 a), __half2(__hneg(a.x), __hneg(a.y)))
EMULATED_INLINE(__half2, __habs2, (__half2 a), __half2(__habs(a.x), __habs(a.y)))

EMULATED_INLINE(__half, operator+, (__half a, __half b), __hadd(a, b))
EMULATED_INLINE(__half, operator-, (__half a, __half b), __hsub(a, b))
EMULATED_INLINE(__half, operator*, (__half a, __half b), __hmul(a, b))
EMULATED_INLINE(__half, operator/, (__half a, __half b), __hdiv(a, b))
EMULATED_INLINE(bool, operator==, (__half a, __half b), __heq(a, b))
EMULATED_INLINE(bool, operator!=, (__half a, __half b), __hne(a, b))
EMULATED_INLINE(bool, operator<, (__half a, __half b), __hlt(a, b))
EMULATED_INLINE(bool, operator>, (__half a, __half b), __hgt(a, b))
EMULATED_INLINE(__half2, operator+, (__half2 a, __half2 b), __hadd2(a, b))
EMULATED_INLINE(__half2, operator*, (__half2 a, __half2 b), __hmul2(a, b))

#endif
