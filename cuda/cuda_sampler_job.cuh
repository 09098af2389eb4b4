/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_job.cuh - what a block of the two kernels of sampling begins with: its row.
 *
 * A row has two views, its raw logits (for log-probabilities) and the scores it is drawn from.
 * Thread: a block of the device. */
#pragma once

#include "cuda/cuda_sampler_row.cuh"

enum { SAMPLER_RAW, SAMPLER_DRAWN }; /* Views. */

/* What is wanted of a row. */
struct sampler_job {
    uint32_t row;
    uint32_t item;
    uint32_t slot;
    bool draws;
    bool scores; /* Log-probabilities are wanted; of target, if nothing is drawn. */
    int32_t target;
};

/* Whether something of what `flag` asks for is wanted of the block's row. Reads what a kernel may
 * read before it waits. */
static __device__ __forceinline__ bool sampler_take_job(const struct cuda_sampler *sampler,
                                                        const struct cuda_step *step,
                                                        const struct cuda_wanted *wanted,
                                                        uint32_t flag, struct sampler_job *job_out)
{
    const struct cuda_wanted wish = wanted[blockIdx.y];
    if (blockIdx.y >= step->header->logit_count || (wish.flags & flag) == 0) {
        return false;
    }
    job_out->row = blockIdx.y;
    job_out->item = wish.item;
    job_out->slot = step->items[wish.item].slot;
    job_out->draws = flag == CUDA_WANT_DRAW;
    job_out->scores = !job_out->draws || sampler->slots[job_out->slot].logprobs_wanted >= 0;
    job_out->target = wish.target;
    return true;
}

/* Whether the item is active and its row has not ended. */
static __device__ __forceinline__ bool sampler_is_valid(const struct cuda_step *step,
                                                        const struct sampler_job *job)
{
    const uint32_t active = step->places[job->item].active;
    const uint32_t ended = step->slots[job->slot].ended;
    return (active != 0) & (!job->draws | (ended == 0));
}

/* Makes a row give scores, where they differ from its logits at all. No condition saves a load, so
 * that all are under way together. */
static __device__ __forceinline__ void
sampler_adjust_row(const struct cuda_sampler *sampler, uint32_t slot_index, struct sampler_row *row)
{
    const struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    const uint32_t words = sampler_words(sampler->V);
    const uint32_t *mask = sampler_mask(sampler, slot_index);
    const uint32_t is_masked = mask[words];
    const uint32_t generated = slot->generated_count;
    const bool has_penalty = (slot->presence_penalty != 0.0f) | (slot->frequency_penalty != 0.0f);
    const bool repetition_applies = slot->repetition_penalty != 0.0f;
    const bool ends_are_forbidden = generated < slot->min_tokens;
    const bool differs = (slot->bias_count != 0) | (is_masked != 0) | ends_are_forbidden |
                         repetition_applies | (has_penalty & (generated > 0));
    if (!differs) {
        return;
    }
    row->slot = slot;
    row->counts = sampler->counts + (size_t)slot_index * sampler->V;
    row->seen_bits = sampler->seen_bits + (size_t)slot_index * words;
    row->named_bits = sampler->named_bits + (size_t)slot_index * words;
    row->prompt_bits =
        repetition_applies ? sampler->prompt_bits + (size_t)slot_index * words : NULL;
    row->mask = is_masked != 0 ? mask : NULL;
    row->ends_are_forbidden = ends_are_forbidden;
}

/* Sets rows [CUDA_SAMPLER_VIEWS], shared; all threads. Before the wait, too: no kernel of this step
 * has written what it reads. */
static __device__ __forceinline__ void sampler_open_rows(const struct cuda_sampler *sampler,
                                                         const float *logits,
                                                         const struct sampler_job *job,
                                                         struct sampler_row *rows)
{
    if (threadIdx.x < CUDA_SAMPLER_VIEWS) {
        struct sampler_row row = {};
        row.V = sampler->V;
        row.token_count = sampler->token_count;
        row.logits = logits + (size_t)job->row * sampler->V;
        if (threadIdx.x == SAMPLER_DRAWN && job->draws) {
            sampler_adjust_row(sampler, job->slot, &row);
        }
        rows[threadIdx.x] = row;
    }
    __syncthreads();
}

/* Where a view's chunks begin in peaks and masses. */
static __device__ __forceinline__ size_t sampler_first_chunk(const struct cuda_sampler *sampler,
                                                             uint32_t row, uint32_t view)
{
    return ((size_t)row * CUDA_SAMPLER_VIEWS + view) * sampler->chunk_count;
}

static __device__ __forceinline__ uint64_t *sampler_near_keys(const struct cuda_sampler *sampler,
                                                              uint32_t row, uint32_t view)
{
    return sampler->near_keys + ((size_t)row * CUDA_SAMPLER_VIEWS + view) * CUDA_SAMPLER_LIST;
}
