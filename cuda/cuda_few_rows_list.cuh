/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_list.cuh - the hidden channels that are not zero in all rows, as a list.
 *
 * Marks a bit for each channel, counts the bits, and lists an equal share of all that are left,
 * in ascending order. Every block does it for itself, from L2. Only cuda_few_rows_value.cu includes
 * this. Thread: device. */
#pragma once

#include "cuda/cuda_half.cuh"

enum {
    WARPS = 8,
    THREADS = WARPS * 32,
    VECTOR = 8,     /* f16 numbers of a 16-byte load. */
    MARK_LOADS = 8, /* Loads of hidden values on the way at a time. */
};

/* Bits of 8 f16 numbers that are not zero. */
static __device__ __forceinline__ uint32_t nonzero_bits(uint4 halves)
{
    const uint32_t words[4] = {halves.x, halves.y, halves.z, halves.w};
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        bits |= (words[i] & 0x00007fffu) != 0 ? 1u << (2 * i) : 0;
        bits |= (words[i] & 0x7fff0000u) != 0 ? 2u << (2 * i) : 0;
    }
    return bits;
}

/* Several loads are on the way at a time; rows beyond the count are read and forgotten. */
template <int ROWS>
static __device__ __forceinline__ void mark_channels(const cuda_half *hidden, uint32_t F,
                                                     uint32_t count, uint8_t *marks)
{
    constexpr uint32_t BATCH = MARK_LOADS / ROWS;
    const uint32_t vectors = F / VECTOR;
    const uint4 zero = make_uint4(0, 0, 0, 0);
#pragma unroll 1
    for (uint32_t first = threadIdx.x; first < vectors; first += BATCH * THREADS) {
        uint4 halves[BATCH][ROWS];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            const uint32_t vector = first + i * THREADS;
#pragma unroll
            for (uint32_t row = 0; row < ROWS; row++) {
                const void *from = hidden + (size_t)row * F + vector * VECTOR;
                halves[i][row] = vector < vectors ? __ldcg((const uint4 *)from) : zero;
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            uint32_t bits = 0;
#pragma unroll
            for (uint32_t row = 0; row < ROWS; row++) {
                bits |= row < count ? nonzero_bits(halves[i][row]) : 0;
            }
            if (first + i * THREADS < vectors) {
                marks[first + i * THREADS] = (uint8_t)bits;
            }
        }
    }
}

/* Sum of the values of the threads before this one; *total_out of all. One barrier. */
static __device__ __forceinline__ uint32_t sum_before(uint32_t value, uint32_t *warp_sums,
                                                      uint32_t *total_out)
{
    const uint32_t lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    uint32_t sum = value;
#pragma unroll
    for (uint32_t offset = 1; offset < 32; offset <<= 1) {
        const uint32_t other = __shfl_up_sync(CUDA_WARP_ALL, sum, offset);
        sum += lane >= offset ? other : 0;
    }
    if (lane == 31) {
        warp_sums[warp] = sum;
    }
    __syncthreads();
    uint32_t before = 0, total = 0;
#pragma unroll
    for (uint32_t i = 0; i < WARPS; i++) {
        before += i < warp ? warp_sums[i] : 0;
        total += warp_sums[i];
    }
    *total_out = total;
    return before + sum - value;
}

/* What a block takes of the list, and the words of marks that it comes from. */
struct share {
    uint32_t first, end;            /* Places in the list. */
    uint32_t first_word, last_word;
};

/* Ranks each word of marks and finds this block's share. Two barriers. */
static __device__ __forceinline__ void rank_words(uint32_t F, uint32_t slices,
                                                  const uint32_t *marks, uint32_t *ranks,
                                                  uint32_t *warp_sums, struct share *share)
{
    const uint32_t words = F / 32;
    const uint32_t each = (words + THREADS - 1) / THREADS;
    const uint32_t first = threadIdx.x * each;
    const uint32_t end = first + each < words ? first + each : words;
    uint32_t own = 0, total = 0;
    for (uint32_t word = first; word < end; word++) {
        own += (uint32_t)__popc(marks[word]);
    }
    uint32_t rank = sum_before(own, warp_sums, &total);
    const uint32_t share_first = total * blockIdx.y / slices;
    const uint32_t share_end = total * (blockIdx.y + 1) / slices;
    if (threadIdx.x == 0) {
        share->first = share_first;
        share->end = share_end;
    }
    for (uint32_t word = first; word < end; word++) {
        const uint32_t next = rank + (uint32_t)__popc(marks[word]);
        ranks[word] = rank;
        if (rank <= share_first && share_first < next) {
            share->first_word = word;
        }
        if (rank < share_end && share_end <= next) {
            share->last_word = word;
        }
        rank = next;
    }
    __syncthreads();
}

/* The channels of the share in ascending order. A warp takes a word, a lane a bit. One barrier. */
static __device__ __forceinline__ void list_channels(const uint32_t *marks, const uint32_t *ranks,
                                                     const struct share *share, uint32_t *list)
{
    const uint32_t lane = threadIdx.x & 31;
    const uint32_t first = share->first, end = share->end;
    if (first < end) {
        for (uint32_t word = share->first_word + (threadIdx.x >> 5); word <= share->last_word;
             word += WARPS) {
            const uint32_t bits = marks[word];
            const uint32_t place = ranks[word] + (uint32_t)__popc(bits & ((1u << lane) - 1));
            if ((bits >> lane & 1) != 0 && first <= place && place < end) {
                list[place - first] = word * 32 + lane;
            }
        }
    }
    __syncthreads();
}
