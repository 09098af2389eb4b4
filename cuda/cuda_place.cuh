/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_place.cuh - what follows from an item and its slots: whether it is active, and which
 * copies of the shifts it reads and writes.
 *
 * Both are settled before a step begins: items come by its copy, `ended` was written by the sampler
 * and `parity` by the head of an earlier step. Only the head of the step itself makes the other
 * copies the live ones, so that a kernel before it may ask without waiting for anything, and may
 * read the live copies: the step writes the other ones, those of a slot that is forked included.
 * Thread: device. */
#pragma once

#include "cuda/cuda_device.cuh"

static __device__ __forceinline__ bool cuda_item_is_active(const struct cuda_step &step,
                                                           const struct cuda_item &item)
{
    return item.tokens_given != 0 || __ldcg(&step.slots[item.slot].ended) == 0;
}

/* Indices into step.shift, [slot_count][2 parities]. */
struct cuda_copies {
    size_t in;           /* Live copy of the source. */
    size_t out;          /* Other copy of the slot. */
    uint32_t parity_out; /* Of the slot, when `out` is its live copy. */
};

static __device__ __forceinline__ struct cuda_copies cuda_copies_of(const struct cuda_step &step,
                                                                    const struct cuda_item &item)
{
    struct cuda_copies copies;
    const uint32_t parity_in = __ldcg(&step.slots[item.source_slot].parity);
    copies.parity_out = 1 - __ldcg(&step.slots[item.slot].parity);
    copies.in = (size_t)item.source_slot * 2 + parity_in;
    copies.out = (size_t)item.slot * 2 + copies.parity_out;
    return copies;
}
