/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler_math.h - the arithmetic of sampling: exponential, logarithm, integer masses.
 *
 * Written so that every device gives the same bits: each operation is an IEEE 754 binary32 one
 * rounded to nearest, fused where it says fmaf and nowhere else, and sums of probabilities are sums
 * of integers, which have no order. Inline, for the loops of sampler_row.c. Thread: any. */
#pragma once

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__ /* Compiled with -fmad=false. */
#define SAMPLER_MATH_INLINE static __host__ __device__ __forceinline__
#else
#define SAMPLER_MATH_INLINE static inline __attribute__((always_inline))
#endif

enum {
    SAMPLER_MASS_BITS = 40, /* A weight of 1 has mass 2^40: 2^20 tokens (LIMIT_VOCABULARY) fit. */
    SAMPLER_PHILOX_ROUNDS = 10,
};
#define SAMPLER_MASS_ONE (UINT64_C(1) << SAMPLER_MASS_BITS)

SAMPLER_MATH_INLINE uint32_t sampler_math_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

SAMPLER_MATH_INLINE float sampler_math_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A score that can be compared and subtracted: not a number counts as impossible, and a finite
 * ceiling keeps max - max from being inf - inf. */
SAMPLER_MATH_INLINE float sampler_math_clean(float score)
{
    const float number = score == score ? score : -INFINITY;
    return number < FLT_MAX ? number : FLT_MAX;
}

/* exp(x) for x <= 0; 0 below -87 (where results stop being normal) and for NaN.
 *
 * x = n ln 2 + r with |r| <= ln(2)/2; exp(r) by the polynomial of Cephes' expf (S. Moshier, Methods
 * and Programs for Mathematical Functions, 1989), n into the exponent. ln 2 is split so that n
 * times its high part is exact. Over all inputs the error is at most 1.02 units in the last place,
 * and the result never falls where x rises. */
SAMPLER_MATH_INLINE float sampler_math_exp(float x)
{
    const float round_to_integer = 12582912.0f; /* 1.5 * 2^23: one unit in the last place is 1. */
    const float shifted = fmaf(x, 1.44269504f, round_to_integer);
    const float n = shifted - round_to_integer;
    const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    /* The low bits of `shifted` hold n in two's complement; the shift drops all others. */
    const uint32_t power = sampler_math_bits(p) + (sampler_math_bits(shifted) << 23);
    const uint32_t keep = 0 - (uint32_t)(x >= -87.0f); /* A mask: a branch would stop vectors. */
    return sampler_math_from_bits(power & keep);
}

/* log(x) for normal x > 0.
 *
 * x = 2^e m with sqrt(1/2) <= m < sqrt(2); log(m) by the polynomial of Cephes' logf. Over all
 * inputs the error is at most 0.83 units in the last place. */
SAMPLER_MATH_INLINE float sampler_math_log(float x)
{
    const uint32_t sqrt_half_bits = 0x3f3504f3;
    const uint32_t bits = sampler_math_bits(x);
    const int32_t exponent = (int32_t)(bits - sqrt_half_bits) >> 23;
    const float m = sampler_math_from_bits(bits - ((uint32_t)exponent << 23));
    const float e = (float)exponent;
    const float f = m - 1.0f;
    const float z = f * f;
    float p = 7.0376836292e-2f;
    p = fmaf(p, f, -1.1514610310e-1f);
    p = fmaf(p, f, 1.1676998740e-1f);
    p = fmaf(p, f, -1.2420140846e-1f);
    p = fmaf(p, f, 1.4249322787e-1f);
    p = fmaf(p, f, -1.6668057665e-1f);
    p = fmaf(p, f, 2.0000714765e-1f);
    p = fmaf(p, f, -2.4999993993e-1f);
    p = fmaf(p, f, 3.3333331174e-1f);
    float low = fmaf(p * f, z, e * -2.12194440e-4f);
    low = fmaf(-0.5f, z, low);
    return fmaf(e, 0.693359375f, f + low);
}

/* The mass of a weight in [0, 1]: weight * 2^40, rounded to the nearest integer, ties to even.
 *
 * Adding 2^12 to the weight as a binary64 number leaves a last place worth 2^-40, so the sum's
 * rounding is the one wanted and its low bits are the answer; this form has vector instructions
 * everywhere, a conversion to 64-bit integers has not. */
SAMPLER_MATH_INLINE uint64_t sampler_math_mass(float weight)
{
    const double shift = 4096.0;
    const double sum = (double)weight + shift;
    uint64_t bits;
    uint64_t shift_bits;
    memcpy(&bits, &sum, sizeof(bits));
    memcpy(&shift_bits, &shift, sizeof(shift_bits));
    return bits - shift_bits;
}

/* sampler_philox of engine/sampler.h. */
SAMPLER_MATH_INLINE void sampler_math_philox(const uint32_t key[2], const uint32_t counter[4],
                                             uint32_t words_out[4])
{
    uint32_t key0 = key[0];
    uint32_t key1 = key[1];
    for (int index = 0; index < 4; index++) {
        words_out[index] = counter[index];
    }
    for (int round = 0; round < SAMPLER_PHILOX_ROUNDS; round++) {
        const uint64_t product0 = UINT64_C(0xD2511F53) * words_out[0];
        const uint64_t product1 = UINT64_C(0xCD9E8D57) * words_out[2];
        words_out[0] = (uint32_t)(product1 >> 32) ^ words_out[1] ^ key0;
        words_out[1] = (uint32_t)product1;
        words_out[2] = (uint32_t)(product0 >> 32) ^ words_out[3] ^ key1;
        words_out[3] = (uint32_t)product0;
        key0 += UINT32_C(0x9E3779B9);
        key1 += UINT32_C(0xBB67AE85);
    }
}
