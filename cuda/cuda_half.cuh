/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_half.cuh - f16 vectors to f32 and back, and the curves of the model.
 *
 * Inline device functions only. Addresses are aligned to what is moved: 4 halves to 8 bytes, 8 to
 * 16. Conversion to f16 rounds to nearest; what is too large becomes infinite. Thread: device. */
#pragma once

#include <string.h>

#include "cuda/cuda_device.cuh"

static __device__ __forceinline__ float2 cuda_half2_unpack(uint32_t bits)
{
    __half2 pair;
    memcpy(&pair, &bits, sizeof pair);
    return __half22float2(pair);
}

static __device__ __forceinline__ uint32_t cuda_half2_pack(float low, float high)
{
    const __half2 pair = __floats2half2_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

static __device__ __forceinline__ float2 cuda_half2_load(const cuda_half *from)
{
    return cuda_half2_unpack(*(const uint32_t *)(const void *)from);
}

static __device__ __forceinline__ void cuda_half2_store(cuda_half *to, float low, float high)
{
    *(uint32_t *)(void *)to = cuda_half2_pack(low, high);
}

static __device__ __forceinline__ float4 cuda_half4_load(const cuda_half *from)
{
    const uint2 bits = *(const uint2 *)(const void *)from;
    const float2 low = cuda_half2_unpack(bits.x);
    const float2 high = cuda_half2_unpack(bits.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

static __device__ __forceinline__ void cuda_half4_store(cuda_half *to, float4 value)
{
    uint2 bits;
    bits.x = cuda_half2_pack(value.x, value.y);
    bits.y = cuda_half2_pack(value.z, value.w);
    *(uint2 *)(void *)to = bits;
}

static __device__ __forceinline__ float2 cuda_float2_load(const float *from)
{
    return *(const float2 *)(const void *)from;
}

static __device__ __forceinline__ float4 cuda_float4_load(const float *from)
{
    return *(const float4 *)(const void *)from;
}

static __device__ __forceinline__ void cuda_float4_store(float *to, float4 value)
{
    *(float4 *)(void *)to = value;
}

/* relu(x)^2, at most the largest f16. Not a number stays visible. */
static __device__ __forceinline__ float cuda_relu_squared_of(float x)
{
    const float squared = x < 0.0f ? 0.0f : x * x;
    return squared > 65504.0f ? 65504.0f : squared;
}

static __device__ __forceinline__ float cuda_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* exp of the log of a decay, in (-0.607, 0): rounded once even where the decay is close to 1, so
 * that it has no bias that a slow channel would sum up over thousands of tokens. */
static __device__ __forceinline__ float cuda_decay(float log_w)
{
    return 1.0f + expm1f(log_w);
}
