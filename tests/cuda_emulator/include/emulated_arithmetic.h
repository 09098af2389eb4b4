/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/emulated_arithmetic.h - the arithmetic that device code has beyond
 * <math.h>. The quick approximations (__expf and such) are computed exactly here: a test must not
 * rest on their errors.
 *
 * Names that the C library already declares are macros. Thread: any. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <limits>

template <typename To, typename From> static inline To emulated_bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

#define EMULATED_INLINE(type, name, parameters, expression)                                       \
    static inline type name parameters                                                            \
    {                                                                                             \
        return expression;                                                                        \
    }

/* ---- Bits -------------------------------------------------------------------------------- */

EMULATED_INLINE(unsigned int, __float_as_uint, (float x), emulated_bits<unsigned int>(x))
EMULATED_INLINE(int, __float_as_int, (float x), emulated_bits<int>(x))
EMULATED_INLINE(float, __uint_as_float, (unsigned int x), emulated_bits<float>(x))
EMULATED_INLINE(float, __int_as_float, (int x), emulated_bits<float>(x))
EMULATED_INLINE(long long, __double_as_longlong, (double x), emulated_bits<long long>(x))
EMULATED_INLINE(double, __longlong_as_double, (long long x), emulated_bits<double>(x))

EMULATED_INLINE(int, __popc, (unsigned int x), __builtin_popcount(x))
EMULATED_INLINE(int, __popcll, (unsigned long long x), __builtin_popcountll(x))
EMULATED_INLINE(int, __ffs, (int x), __builtin_ffs(x))
EMULATED_INLINE(int, __ffsll, (long long x), __builtin_ffsll(x))
EMULATED_INLINE(int, __clz, (int x), x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)))
EMULATED_INLINE(int, __clzll, (long long x),
                x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)))

static inline unsigned int __brev(unsigned int x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}

static inline unsigned int __byte_perm(unsigned int x, unsigned int y, unsigned int selector)
{
    const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
    unsigned int result = 0;
    for (unsigned int index = 0; index < 4; index++) {
        const unsigned int which = selector >> 4 * index & 7u;
        result |= static_cast<unsigned int>(bytes >> 8 * which & 0xffu) << 8 * index;
    }
    return result;
}

EMULATED_INLINE(unsigned int, __umulhi, (unsigned int a, unsigned int b),
                static_cast<unsigned int>(static_cast<uint64_t>(a) * b >> 32))
EMULATED_INLINE(int, __mulhi, (int a, int b),
                static_cast<int>(static_cast<int64_t>(a) * b >> 32))
__extension__ typedef unsigned __int128 emulated_uint128;
EMULATED_INLINE(unsigned long long, __umul64hi, (unsigned long long a, unsigned long long b),
                static_cast<unsigned long long>(static_cast<emulated_uint128>(a) * b >> 64))
EMULATED_INLINE(unsigned int, __funnelshift_l, (unsigned int low, unsigned int high, unsigned s),
                static_cast<unsigned int>(
                    ((static_cast<uint64_t>(high) << 32 | low) << (s & 31u)) >> 32))
EMULATED_INLINE(unsigned int, __funnelshift_r, (unsigned int low, unsigned int high, unsigned s),
                static_cast<unsigned int>(
                    (static_cast<uint64_t>(high) << 32 | low) >> (s & 31u)))

/* ---- Floats ------------------------------------------------------------------------------ */

EMULATED_INLINE(float, __fmaf_rn, (float a, float b, float c), fmaf(a, b, c))
EMULATED_INLINE(float, __fmul_rn, (float a, float b), a *b)
EMULATED_INLINE(float, __fadd_rn, (float a, float b), a + b)
EMULATED_INLINE(float, __fsub_rn, (float a, float b), a - b)
EMULATED_INLINE(float, __fdiv_rn, (float a, float b), a / b)
EMULATED_INLINE(float, __fsqrt_rn, (float a), sqrtf(a))
EMULATED_INLINE(float, __frcp_rn, (float a), 1.0f / a)
EMULATED_INLINE(float, __fdividef, (float a, float b), a / b)
EMULATED_INLINE(float, __frsqrt_rn, (float a), static_cast<float>(1.0 / sqrt(a)))
EMULATED_INLINE(double, __dadd_rn, (double a, double b), a + b)
EMULATED_INLINE(double, __dmul_rn, (double a, double b), a *b)
EMULATED_INLINE(double, __fma_rn, (double a, double b, double c), fma(a, b, c))
EMULATED_INLINE(float, __saturatef, (float a), !(a > 0.0f) ? 0.0f : a > 1.0f ? 1.0f : a)

#define __expf(x) expf(x)
#define __exp2f(x) exp2f(x)
#define __exp10f(x) emulated_exp10(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanhf(x) tanhf(x)
#define rsqrtf(x) emulated_rsqrt(x)
EMULATED_INLINE(float, emulated_rsqrt, (float x), static_cast<float>(1.0 / sqrt(x)))
EMULATED_INLINE(float, emulated_exp10, (float x), static_cast<float>(pow(10.0, x)))

/* Conversions of the device saturate; what is not a number gives 0, or of 64 bits the top one. */
template <typename Integer> static inline Integer emulated_to_integer(double x)
{
    const Integer low = std::numeric_limits<Integer>::min();
    const Integer high = std::numeric_limits<Integer>::max();
    if (x != x) {
        return sizeof(Integer) == 4 ? Integer(0) : static_cast<Integer>(1ull << 63);
    }
    /* In double, the highest of 64 bits is one too many, which is what must saturate. */
    return x >= static_cast<double>(high)  ? high
           : x <= static_cast<double>(low) ? low
                                           : static_cast<Integer>(x);
}

EMULATED_INLINE(unsigned int, __float2uint_rn, (float x),
                emulated_to_integer<unsigned int>(rintf(x)))
EMULATED_INLINE(unsigned int, __float2uint_rz, (float x),
                emulated_to_integer<unsigned int>(truncf(x)))
EMULATED_INLINE(unsigned int, __float2uint_rd, (float x),
                emulated_to_integer<unsigned int>(floorf(x)))
EMULATED_INLINE(int, __float2int_rn, (float x), emulated_to_integer<int>(rintf(x)))
EMULATED_INLINE(int, __float2int_rz, (float x), emulated_to_integer<int>(truncf(x)))
EMULATED_INLINE(int, __float2int_rd, (float x), emulated_to_integer<int>(floorf(x)))
EMULATED_INLINE(unsigned long long, __float2ull_rn, (float x),
                emulated_to_integer<unsigned long long>(rintf(x)))
EMULATED_INLINE(unsigned long long, __float2ull_rz, (float x),
                emulated_to_integer<unsigned long long>(truncf(x)))
EMULATED_INLINE(unsigned long long, __double2ull_rn, (double x),
                emulated_to_integer<unsigned long long>(rint(x)))
EMULATED_INLINE(unsigned long long, __double2ull_rz, (double x),
                emulated_to_integer<unsigned long long>(trunc(x)))
EMULATED_INLINE(long long, __float2ll_rn, (float x),
                emulated_to_integer<long long>(rintf(x)))
EMULATED_INLINE(float, __int2float_rn, (int x), static_cast<float>(x))
EMULATED_INLINE(float, __uint2float_rn, (unsigned int x), static_cast<float>(x))
EMULATED_INLINE(float, __ull2float_rn, (unsigned long long x), static_cast<float>(x))
EMULATED_INLINE(double, __ull2double_rn, (unsigned long long x), static_cast<double>(x))
EMULATED_INLINE(float, __double2float_rn, (double x), static_cast<float>(x))

/* ---- Least and greatest ------------------------------------------------------------------ */

/* The pairs that device code has; others are ambiguous, there as here. */
#define EMULATED_EXTREMES(type)                                                                   \
    EMULATED_INLINE(type, min, (type a, type b), b < a ? b : a)                                   \
    EMULATED_INLINE(type, max, (type a, type b), a < b ? b : a)
EMULATED_EXTREMES(int)
EMULATED_EXTREMES(unsigned int)
EMULATED_EXTREMES(long)
EMULATED_EXTREMES(unsigned long)
EMULATED_EXTREMES(long long)
EMULATED_EXTREMES(unsigned long long)
EMULATED_INLINE(float, min, (float a, float b), fminf(a, b))
EMULATED_INLINE(float, max, (float a, float b), fmaxf(a, b))
EMULATED_INLINE(double, min, (double a, double b), fmin(a, b))
EMULATED_INLINE(double, max, (double a, double b), fmax(a, b))
EMULATED_INLINE(unsigned int, min, (int a, unsigned int b), min(static_cast<unsigned int>(a), b))
EMULATED_INLINE(unsigned int, min, (unsigned int a, int b), min(a, static_cast<unsigned int>(b)))
EMULATED_INLINE(unsigned int, max, (int a, unsigned int b), max(static_cast<unsigned int>(a), b))
EMULATED_INLINE(unsigned int, max, (unsigned int a, int b), max(a, static_cast<unsigned int>(b)))
