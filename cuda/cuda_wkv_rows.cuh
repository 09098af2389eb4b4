/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_wkv_rows.cuh - the scanning warps of cuda_wkv_scan.cu: rows of S advance by two
 * prepared tokens at a time.
 *
 * LANES lanes share ROWS rows of S, each with 64 / LANES columns of them in registers. In a lane
 * register i holds row i ^ flip of the ROWS: then a sum over lanes that halves the rows at each
 * step sends the same registers in every lane. Thread: device. */
#pragma once

#include "cuda/cuda_wkv.cuh"

/* One token of one head as the kernels before left it. */
struct raw_token {
    cuda_half rkv[3][CUDA_HEAD];
    float log_w[CUDA_HEAD], a[CUDA_HEAD];
};

/* Prepared: a is -kk; of the second token of a pair w_1 (-kk_2). */
struct token {
    float w[CUDA_HEAD], a[CUDA_HEAD], b[CUDA_HEAD], k[CUDA_HEAD];
};

struct pair {
    struct token token[2];
    float sums[4]; /* b_1 . a_2, k_1 . a_2, and the bonus of both */
};

/* Which part of S a lane has. */
struct scan_part {
    uint32_t row; /* First of its rows in the block. */
    uint32_t column;
    uint32_t flip;
    uint32_t y_at;        /* Of the sum that it ends with, in a pair's y: no two lanes' the same. */
    uint32_t selector[2]; /* Halves of v in the order of the registers. */
    uint32_t is_second;   /* Ends with sums of a pair's second token. */
    uint32_t from[4][2];  /* Lane with the sum of a register's row, of both tokens. */
};

static __device__ __forceinline__ uint32_t half_selector(uint32_t index)
{
    return index * 2 | (index * 2 + 1) << 4;
}

/* The same value, of which the compiler does not know that it could be computed again in a loop to
 * save a register. */
static __device__ __forceinline__ uint32_t kept(uint32_t value)
{
    return __shfl_sync(CUDA_WARP_ALL, value, (int)(threadIdx.x % 32));
}

/* Where the y of a pair are in its SCAN_THREADS floats, for a row of the block: 32 floats a warp,
 * of each row those of both tokens; then the same again from the other lanes with the same sums. */
template <int ROWS, int LANES> static __device__ __forceinline__ uint32_t y_index(uint32_t row)
{
    constexpr uint32_t WARP_ROWS = 32 / LANES * ROWS;
    return row / WARP_ROWS * 32 + row % WARP_ROWS * 2;
}

template <int ROWS, int LANES>
static __device__ __forceinline__ struct scan_part scan_part_of(uint32_t thread)
{
    constexpr uint32_t ROW_LANES = LANES / ROWS; /* That end with the sums of a row. */
    const uint32_t lane = thread % LANES;
    struct scan_part part;
    part.row = thread / LANES * ROWS;
    part.column = kept(lane * 4);
    part.flip = lane / ROW_LANES;
    part.is_second = kept(lane / (ROW_LANES / 2) % 2);
    part.y_at = kept(y_index<ROWS, LANES>(part.row + part.flip) + part.is_second
                     + lane % (ROW_LANES / 2) * (32 / LANES * ROWS * 2));
    const uint32_t sum_lane = thread % 32 / ROW_LANES * ROW_LANES;
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++) {
        part.from[i][0] = kept(sum_lane ^ i * ROW_LANES);
        part.from[i][1] = kept(sum_lane ^ (i * ROW_LANES + ROW_LANES / 2));
    }
#pragma unroll
    for (uint32_t i = 0; i < ROWS / 2; i++) {
        part.selector[i] = kept(half_selector((2 * i) ^ part.flip)
                                | half_selector((2 * i + 1) ^ part.flip) << 8);
    }
    return part;
}

/* ---- Sums over the lanes of a row -------------------------------------------------------- */

/* Adds v[row][token of a pair] over the lanes; a lane gets that of row `flip` and its token. */
template <int ROWS, int LANES>
static __device__ __forceinline__ float row_sum(float (*v)[2], bool is_second)
{
    int offset = LANES / 2;
#pragma unroll
    for (int left = ROWS / 2; left > 0; left /= 2, offset /= 2) {
#pragma unroll
        for (int i = 0; i < left; i++) {
            v[i][0] += __shfl_xor_sync(CUDA_WARP_ALL, v[i + left][0], offset);
            v[i][1] += __shfl_xor_sync(CUDA_WARP_ALL, v[i + left][1], offset);
        }
    }
    const float send = is_second ? v[0][0] : v[0][1];
    float sum = is_second ? v[0][1] : v[0][0];
    sum += __shfl_xor_sync(CUDA_WARP_ALL, send, LANES / ROWS / 2);
#pragma unroll
    for (offset = LANES / ROWS / 4; offset > 0; offset /= 2) {
        sum += __shfl_xor_sync(CUDA_WARP_ALL, sum, offset);
    }
    return sum;
}

/* The sums of row_sum in every lane. */
template <int ROWS>
static __device__ __forceinline__ void row_gather(float (*v)[2], float sum,
                                                  const struct scan_part &part)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        v[i][0] = __shfl_sync(CUDA_WARP_ALL, sum, (int)part.from[i][0]);
        v[i][1] = __shfl_sync(CUDA_WARP_ALL, sum, (int)part.from[i][1]);
    }
}

/* ---- What a token gives to a lane -------------------------------------------------------- */

template <int CHUNKS> struct columns {
    float4 chunk[CHUNKS]; /* LANES * 4 columns apart. */
};

template <int LANES>
static __device__ __forceinline__ struct columns<CUDA_HEAD / 4 / LANES>
columns_load(const float *from, uint32_t column)
{
    constexpr int CHUNKS = CUDA_HEAD / 4 / LANES;
    struct columns<CHUNKS> to;
#pragma unroll
    for (int m = 0; m < CHUNKS; m++) {
        to.chunk[m] = cuda_float4_load(from + column + m * LANES * 4);
    }
    return to;
}

template <int ROWS, int CHUNKS> struct terms {
    struct columns<CHUNKS> w, k, b, r;
    float v[ROWS];
};

template <int ROWS>
static __device__ __forceinline__ void values_load(float *to, const cuda_half *v,
                                                   const struct scan_part &part)
{
    uint32_t bits[2];
    if (ROWS == 2) {
        bits[0] = *(const uint32_t *)(const void *)v;
        bits[1] = 0;
    } else {
        const uint2 both = *(const uint2 *)(const void *)v;
        bits[0] = both.x;
        bits[1] = both.y;
    }
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) {
        const float2 two = cuda_half2_unpack(__byte_perm(bits[0], bits[1], part.selector[i]));
        to[2 * i] = two.x;
        to[2 * i + 1] = two.y;
    }
}

template <int ROWS, int LANES, int CHUNKS>
static __device__ __forceinline__ void
terms_load(struct terms<ROWS, CHUNKS> *to, const struct token *token, const struct raw_token *raw,
           const struct scan_part &part, uint32_t value)
{
    to->w = columns_load<LANES>(token->w, part.column);
    to->k = columns_load<LANES>(token->k, part.column);
    values_load<ROWS>(to->v, &raw->rkv[2][value], part);
    to->b = columns_load<LANES>(token->b, part.column);
#pragma unroll
    for (int m = 0; m < CHUNKS; m++) {
        to->r.chunk[m] = cuda_half4_load(&raw->rkv[0][part.column + m * LANES * 4]);
    }
}

/* ---- One token --------------------------------------------------------------------------- */

template <int CHUNKS>
static __device__ __forceinline__ float dot(const struct columns<CHUNKS> &x,
                                            const struct columns<CHUNKS> &y)
{
    float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int m = 0; m < CHUNKS; m++) {
        const float4 a = x.chunk[m], b = y.chunk[m];
        sum.x = m == 0 ? a.x * b.x : fmaf(a.x, b.x, sum.x);
        sum.y = m == 0 ? a.z * b.z : fmaf(a.z, b.z, sum.y);
        sum.x = fmaf(a.y, b.y, sum.x);
        sum.y = fmaf(a.w, b.w, sum.y);
    }
    return sum.x + sum.y;
}

/* S = S w + v k: independent of the sums over lanes, so it fills their latency. */
template <int ROWS, int CHUNKS>
static __device__ __forceinline__ void decay(struct columns<CHUNKS> *s,
                                             const struct terms<ROWS, CHUNKS> &t)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int m = 0; m < CHUNKS; m++) {
            float4 *to = &s[i].chunk[m];
            to->x = fmaf(to->x, t.w.chunk[m].x, t.v[i] * t.k.chunk[m].x);
            to->y = fmaf(to->y, t.w.chunk[m].y, t.v[i] * t.k.chunk[m].y);
            to->z = fmaf(to->z, t.w.chunk[m].z, t.v[i] * t.k.chunk[m].z);
            to->w = fmaf(to->w, t.w.chunk[m].w, t.v[i] * t.k.chunk[m].w);
        }
    }
}

/* S += sa b; the lane's part of y = S r. */
template <int ROWS, int CHUNKS>
static __device__ __forceinline__ void correct(struct columns<CHUNKS> *s, const float (*sa)[2],
                                               const struct terms<ROWS, CHUNKS> &t, float (*y)[2],
                                               int token)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int m = 0; m < CHUNKS; m++) {
            float4 *to = &s[i].chunk[m];
            to->x = fmaf(sa[i][token], t.b.chunk[m].x, to->x);
            to->y = fmaf(sa[i][token], t.b.chunk[m].y, to->y);
            to->z = fmaf(sa[i][token], t.b.chunk[m].z, to->z);
            to->w = fmaf(sa[i][token], t.b.chunk[m].w, to->w);
        }
        y[i][token] = dot<CHUNKS>(s[i], t.r);
    }
}

/* ---- A block of tokens ------------------------------------------------------------------- */

/* Advances the lane's part of S by PAIRS pairs. `value`: its first row in the head. The y of a pair
 * are summed in the shadow of the next pair's sums: those of pair n go to y_to[n + 1], and y_to[0]
 * holds nothing. */
template <int ROWS, int LANES, int PAIRS, int Y_FLOATS>
static __device__ __forceinline__ void
block_scan(struct columns<CUDA_HEAD / 4 / LANES> *s, const struct pair *pairs,
           const struct raw_token *raw, float (*y_to)[Y_FLOATS], const struct scan_part &part,
           uint32_t value)
{
    constexpr int CHUNKS = CUDA_HEAD / 4 / LANES;
    const bool is_second = part.is_second != 0;
    struct columns<CHUNKS> a[2];
    float sa[ROWS][2], y[ROWS][2] = {};
    a[0] = columns_load<LANES>(pairs->token[0].a, part.column);
    a[1] = columns_load<LANES>(pairs->token[1].a, part.column);
#pragma unroll 2
    for (int n = 0; n < PAIRS; n++) {
        struct terms<ROWS, CHUNKS> t[2];
        terms_load<ROWS, LANES>(&t[0], &pairs[n].token[0], &raw[2 * n], part, value);
        terms_load<ROWS, LANES>(&t[1], &pairs[n].token[1], &raw[2 * n + 1], part, value);
        const float2 ahead = cuda_float2_load(pairs[n].sums);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sa[i][0] = dot<CHUNKS>(s[i], a[0]);
            sa[i][1] = dot<CHUNKS>(s[i], a[1]);
        }
        row_gather<ROWS>(sa, row_sum<ROWS, LANES>(sa, is_second), part);
        y_to[n][part.y_at] = row_sum<ROWS, LANES>(y, is_second);
        const struct pair *next = &pairs[n + 1 < PAIRS ? n + 1 : n];
        a[0] = columns_load<LANES>(next->token[0].a, part.column);
        a[1] = columns_load<LANES>(next->token[1].a, part.column);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sa[i][1] = fmaf(sa[i][0], ahead.x, fmaf(t[0].v[i], ahead.y, sa[i][1]));
        }
        decay<ROWS, CHUNKS>(s, t[0]);
        correct<ROWS, CHUNKS>(s, sa, t[0], y, 0);
        decay<ROWS, CHUNKS>(s, t[1]);
        correct<ROWS, CHUNKS>(s, sa, t[1], y, 1);
    }
    y_to[PAIRS][part.y_at] = row_sum<ROWS, LANES>(y, is_second);
}
