/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_history.cu - the kernels of sampling that set bits: starts, prompts, forks.
 *
 * Each goes over 4 to 16 bytes for 32 tokens of the vocabulary: a launch and little more. What a
 * draw notes itself: cuda_sampler_draw.cu. Thread: the engine's. */
#include "cuda/cuda_device.cuh"
#include "cuda/cuda_sampler.h"
#include "cuda/cuda_sampler_launch.h"
#include "cuda/cuda_sampler_row.cuh"

enum { SIDE_THREADS = 256 };

static __device__ __forceinline__ void set_bit(uint32_t *bits, uint32_t token)
{
    atomicOr(&bits[token / 32], 1u << (token % 32));
}

/* ---- Start and prompt --------------------------------------------------------------------- */

static __global__ void __launch_bounds__(SIDE_THREADS)
    sampler_forget_kernel(struct cuda_sampler sampler, uint32_t slot_index)
{
    cuda_dependency_trigger();
    cuda_dependency_wait();
    const uint32_t words = sampler_words(sampler.V);
    const struct cuda_sampler_slot *slot = &sampler.slots[slot_index];
    float *counts = sampler.counts + (size_t)slot_index * sampler.V;
    uint32_t *seen = sampler.seen_bits + (size_t)slot_index * words;
    uint32_t *prompt = sampler.prompt_bits + (size_t)slot_index * words;
    uint32_t *named = sampler.named_bits + (size_t)slot_index * words;
    for (uint32_t word = threadIdx.x; word < words; word += blockDim.x) {
        for (uint32_t bits = seen[word]; bits != 0; bits &= bits - 1) {
            counts[32 * word + (uint32_t)__ffs((int)bits) - 1] = 0.0f;
        }
        seen[word] = 0;
        prompt[word] = 0;
        named[word] = word == 0 ? 1 : 0; /* Token 0. */
    }
    __syncthreads();
    for (uint32_t index = threadIdx.x; index < slot->bias_count; index += blockDim.x) {
        set_bit(named, (uint32_t)slot->bias[index].token);
    }
    for (uint32_t index = threadIdx.x; index < slot->stop_token_count; index += blockDim.x) {
        if ((uint32_t)slot->stop_tokens[index] < sampler.V) {
            set_bit(named, (uint32_t)slot->stop_tokens[index]);
        }
    }
    if (threadIdx.x == 0) {
        sampler_mask(&sampler, slot_index)[words] = 0;
    }
}

static __device__ void fork_prompt(const struct cuda_sampler *sampler, uint32_t slot,
                                   uint32_t source)
{
    const uint32_t words = sampler_words(sampler->V);
    const uint32_t is_noted = sampler->slots[source].prompt_noted;
    const bool is_needed = is_noted != 0 || sampler->slots[slot].prompt_noted != 0;
    __syncthreads(); /* All have read the flag that is written from here on. */
    if (!is_needed) {
        return;
    }
    for (uint32_t word = threadIdx.x; word < words; word += blockDim.x) {
        sampler->prompt_bits[(size_t)slot * words + word] =
            sampler->prompt_bits[(size_t)source * words + word];
    }
    if (threadIdx.x == 0) {
        sampler->slots[slot].prompt_noted = is_noted;
    }
    __syncthreads(); /* Bits are set in what was copied. */
}

static __global__ void __launch_bounds__(SIDE_THREADS)
    sampler_note_kernel(struct cuda_sampler sampler, struct cuda_step step)
{
    cuda_dependency_trigger();
    cuda_dependency_wait();
    if (blockIdx.x >= step.header->item_count || step.places[blockIdx.x].active == 0) {
        return;
    }
    const struct cuda_item *item = &step.items[blockIdx.x];
    if (item->source_slot != item->slot) {
        fork_prompt(&sampler, item->slot, item->source_slot);
    }
    if (item->tokens_given == 0) {
        return;
    }
    uint32_t *prompt = sampler.prompt_bits + (size_t)item->slot * sampler_words(sampler.V);
    for (uint32_t row = threadIdx.x; row < item->row_count; row += blockDim.x) {
        set_bit(prompt, (uint32_t)step.row_token[item->first_row + row]);
    }
    if (threadIdx.x == 0) {
        sampler.slots[item->slot].prompt_noted = 1;
    }
}

/* ---- Launchers ---------------------------------------------------------------------------- */

extern "C" cudaError_t cuda_sampler_forget(const struct cuda_sampler *sampler, cudaStream_t stream,
                                           uint32_t slot)
{
    struct cuda_launch launch = {};
    launch.stream = stream;
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(&launch, dim3(1), dim3(SIDE_THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config, sampler_forget_kernel, *sampler, slot);
}

extern "C" cudaError_t cuda_sampler_note(const struct cuda_sampler *sampler,
                                         const struct cuda_launch *launch, struct cuda_step step)
{
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config =
        cuda_launch_config(launch, dim3(launch->item_capacity), dim3(SIDE_THREADS), 0, attributes);
    return cudaLaunchKernelEx(&config, sampler_note_kernel, *sampler, step);
}
