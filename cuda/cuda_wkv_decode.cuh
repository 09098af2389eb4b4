/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_decode.cuh - one token of the recurrence, on a head's state in registers.
 *
 * 16 lanes share a row of S, each with four neighbouring keys; a thread has ROWS rows. A row's sums
 * are added in one order, however many rows a thread has. Thread: device. */
#pragma once

#include "cuda/cuda_wkv.cuh"

enum {
    WKV_LANES = 16,                           /* Of a row. */
    WKV_STATE_FLOATS = CUDA_HEAD * CUDA_HEAD, /* Of one head. */
};

/* A lane's four keys of the vectors that every row of S needs; cuda_wkv_decode.cu says what they
 * are. */
struct wkv_keys {
    float4 kk, w, b, k, r;
};

static __device__ __forceinline__ float wkv_dot(float4 x, float4 y)
{
    return fmaf(x.x, y.x, x.y * y.y) + fmaf(x.z, y.z, x.w * y.w);
}

/* Sums over the lanes of a row, all rows of a thread together; in every lane. */
template <int ROWS> static __device__ __forceinline__ void wkv_row_sums(float *sums)
{
#pragma unroll
    for (int offset = 1; offset < WKV_LANES; offset <<= 1) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sums[i] += __shfl_xor_sync(CUDA_WARP_ALL, sums[i], offset);
        }
    }
}

/* sum_m S[i][m] kk[m] */
template <int ROWS>
static __device__ __forceinline__ void wkv_removed(const float4 *s, float4 kk, float *removed_out)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        removed_out[i] = wkv_dot(s[i], kk);
    }
    wkv_row_sums<ROWS>(removed_out);
}

/* S[i][j] = S[i][j] w[j] - removed[i] b[j] + v[i] k[j] */
template <int ROWS>
static __device__ __forceinline__ void wkv_advance(float4 *s, const struct wkv_keys &keys,
                                                   const float *removed, const float *v)
{
    const float4 w = keys.w, b = keys.b, k = keys.k;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        s[i].x = fmaf(v[i], k.x, fmaf(-removed[i], b.x, s[i].x * w.x));
        s[i].y = fmaf(v[i], k.y, fmaf(-removed[i], b.y, s[i].y * w.y));
        s[i].z = fmaf(v[i], k.z, fmaf(-removed[i], b.z, s[i].z * w.z));
        s[i].w = fmaf(v[i], k.w, fmaf(-removed[i], b.w, s[i].w * w.w));
    }
}

/* y[i] = sum_j S[i][j] r[j] */
template <int ROWS>
static __device__ __forceinline__ void wkv_read(const float4 *s, float4 r, float *y_out)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        y_out[i] = wkv_dot(s[i], r);
    }
    wkv_row_sums<ROWS>(y_out);
}
