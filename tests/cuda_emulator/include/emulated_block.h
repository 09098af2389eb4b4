/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/include/emulated_block.h - where a thread of a kernel is, and its ways to
 * meet the others of its block.
 *
 * Thread: fibers of a block; one runs at a time. */
#pragma once

#include <stdint.h>

#include "vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* This thread's place in its warp. */
unsigned int emulated_lane(void);

/* The block's dynamic shared memory; NaN at the start of each block. */
unsigned char *emulated_dynamic_shared(void);

/* Does what a collective does, once for the whole group: operands[lane] is what the lane gave, and
 * where its result goes; bits of arrived say which there are. */
typedef void (*emulated_complete)(void *const operands[32], uint32_t arrived);

/* Waits for the lanes of mask that have not returned; all must come with the same name and mask.
 * `operand` stays valid until all have it. */
void emulated_warp_collective(const char *name, uint32_t mask, void *operand,
                              emulated_complete complete);

struct emulated_votes {
    int any, all, count;
};

/* Waits for all threads of the block that have not returned. */
struct emulated_votes emulated_block_barrier(const char *name, int predicate);

/* Ends the process with a message that names kernel, block and thread. */
[[noreturn]] void emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline void __syncthreads()
{
    emulated_block_barrier("__syncthreads", 0);
}

static inline int __syncthreads_or(int predicate)
{
    return emulated_block_barrier("__syncthreads_or", predicate).any;
}

static inline int __syncthreads_and(int predicate)
{
    return emulated_block_barrier("__syncthreads_and", predicate).all;
}

static inline int __syncthreads_count(int predicate)
{
    return emulated_block_barrier("__syncthreads_count", predicate).count;
}

static inline void __threadfence()
{
}

static inline void __threadfence_block()
{
}

static inline void __threadfence_system()
{
}

[[noreturn]] static inline void __trap()
{
    emulated_fail("__trap");
}
