/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_few_rows_ring.cuh - a block's weights through a ring in shared memory, one warp copying
 * for the others.
 *
 * What the block reads lies in one piece, cut into slots of equal size (the last may be shorter).
 * Slot i takes stage i modulo the stages; its reader is warp i modulo FEW_ROWS_WARPS. The producer
 * keeps so many copies on the way and no more, although more stages are free: enough to saturate
 * the memory, few enough that a small load of the same multiprocessor does not queue behind a ring
 * of them. Only cuda_few_rows.cu includes this. Thread: device. */
#pragma once

#include "cuda/cuda_bulk_copy.cuh"
#include "cuda/cuda_few_rows_input.cuh"

enum {
    RING_STAGES_MAX = 32,
};

struct ring_barriers {
    uint64_t full[RING_STAGES_MAX];  /* A phase ends with the slot's bytes, */
    uint64_t empty[RING_STAGES_MAX]; /* and with its reader's arrival. */
};

struct ring {
    unsigned char *slots; /* [stages][slot_bytes] */
    struct ring_barriers *barriers;
    uint32_t stages, slot_bytes;
};

/* A place in the ring and the phase of its barriers. */
struct ring_place {
    uint32_t stage, parity;
};

static __device__ __forceinline__ void ring_advance(struct ring_place *place, uint32_t by,
                                                    uint32_t stages)
{
    place->stage += by;
    while (place->stage >= stages) {
        place->stage -= stages;
        place->parity ^= 1;
    }
}

/* By all threads of the block; contains a barrier. Lanes would initialise one after the other,
 * warps do it side by side. */
static __device__ __forceinline__ void ring_open(const struct ring &ring)
{
    if ((threadIdx.x & 31) == 0) {
        uint32_t stage = threadIdx.x >> 5;
        for (; stage < ring.stages; stage += FEW_ROWS_WARPS + 1) {
            cuda_mbarrier_init(&ring.barriers->full[stage], 1);
            cuda_mbarrier_init(&ring.barriers->empty[stage], 1);
        }
        cuda_mbarrier_init_fence();
    }
    __syncthreads();
}

/* By one lane of the producer. At most `in_flight` slots, 1 to stages, are on their way. */
static __device__ __forceinline__ void ring_produce(const struct ring &ring, const void *weights,
                                                    uint32_t bytes, uint32_t in_flight)
{
    const unsigned char *from = (const unsigned char *)weights;
    struct ring_place next = {0, 0}, landing = {0, 0};
    for (uint32_t issued = 0; bytes > 0; issued++) {
        const uint32_t size = bytes < ring.slot_bytes ? bytes : ring.slot_bytes;
        if (issued >= in_flight) {
            cuda_mbarrier_wait(&ring.barriers->full[landing.stage], landing.parity);
            ring_advance(&landing, 1, ring.stages);
        }
        cuda_mbarrier_wait(&ring.barriers->empty[next.stage], next.parity ^ 1); /* First: free. */
        uint64_t *full = &ring.barriers->full[next.stage];
        cuda_mbarrier_expect(full, size);
        cuda_bulk_load(ring.slots + next.stage * ring.slot_bytes, from, size, full);
        from += size;
        bytes -= size;
        ring_advance(&next, 1, ring.stages);
    }
}

/* The slot that a reader comes to next. */
static __device__ __forceinline__ const uint4 *ring_wait(const struct ring &ring,
                                                         struct ring_place place)
{
    cuda_mbarrier_wait(&ring.barriers->full[place.stage], place.parity);
    return (const uint4 *)(const void *)(ring.slots + place.stage * ring.slot_bytes);
}

/* The whole warp has read it. */
static __device__ __forceinline__ void ring_release(const struct ring &ring,
                                                    struct ring_place place)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) {
        cuda_mbarrier_arrive(&ring.barriers->empty[place.stage]);
    }
}
