/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/vector_types.h - dim3 and the short vectors of CUDA, for C and C++.
 *
 * Aligned as on the device, so that the sanitizer sees a misaligned vector access. Thread: any. */
#pragma once

#include <stdint.h>

#define EMULATED_VECTOR2(name, type, bytes)                                                       \
    typedef struct __attribute__((aligned(bytes))) name {                                         \
        type x, y;                                                                                \
    } name
#define EMULATED_VECTOR3(name, type)                                                              \
    typedef struct name {                                                                         \
        type x, y, z;                                                                             \
    } name
#define EMULATED_VECTOR4(name, type, bytes)                                                       \
    typedef struct __attribute__((aligned(bytes))) name {                                         \
        type x, y, z, w;                                                                          \
    } name

EMULATED_VECTOR2(uchar2, unsigned char, 2);
EMULATED_VECTOR2(short2, short, 4);
EMULATED_VECTOR2(ushort2, unsigned short, 4);
EMULATED_VECTOR2(int2, int, 8);
EMULATED_VECTOR2(uint2, unsigned int, 8);
EMULATED_VECTOR2(float2, float, 8);
EMULATED_VECTOR2(double2, double, 16);
EMULATED_VECTOR2(longlong2, long long, 16);
EMULATED_VECTOR2(ulonglong2, unsigned long long, 16);
EMULATED_VECTOR3(int3, int);
EMULATED_VECTOR3(uint3, unsigned int);
EMULATED_VECTOR3(float3, float);
EMULATED_VECTOR4(uchar4, unsigned char, 4);
EMULATED_VECTOR4(ushort4, unsigned short, 8);
EMULATED_VECTOR4(int4, int, 16);
EMULATED_VECTOR4(uint4, unsigned int, 16);
EMULATED_VECTOR4(float4, float, 16);

typedef struct dim3 {
    unsigned int x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned int x_count = 1, unsigned int y_count = 1, unsigned int z_count = 1)
        : x(x_count), y(y_count), z(z_count)
    {
    }
#endif
} dim3;

#ifdef __cplusplus
#define EMULATED_MAKE2(name, type)                                                                \
    static inline name make_##name(type x, type y)                                                \
    {                                                                                             \
        return name{x, y};                                                                        \
    }
#define EMULATED_MAKE3(name, type)                                                                \
    static inline name make_##name(type x, type y, type z)                                        \
    {                                                                                             \
        return name{x, y, z};                                                                     \
    }
#define EMULATED_MAKE4(name, type)                                                                \
    static inline name make_##name(type x, type y, type z, type w)                                \
    {                                                                                             \
        return name{x, y, z, w};                                                                  \
    }

EMULATED_MAKE2(uchar2, unsigned char)
EMULATED_MAKE2(short2, short)
EMULATED_MAKE2(ushort2, unsigned short)
EMULATED_MAKE2(int2, int)
EMULATED_MAKE2(uint2, unsigned int)
EMULATED_MAKE2(float2, float)
EMULATED_MAKE2(double2, double)
EMULATED_MAKE2(longlong2, long long)
EMULATED_MAKE2(ulonglong2, unsigned long long)
EMULATED_MAKE3(int3, int)
EMULATED_MAKE3(uint3, unsigned int)
EMULATED_MAKE3(float3, float)
EMULATED_MAKE4(uchar4, unsigned char)
EMULATED_MAKE4(ushort4, unsigned short)
EMULATED_MAKE4(int4, int)
EMULATED_MAKE4(uint4, unsigned int)
EMULATED_MAKE4(float4, float)
#endif
