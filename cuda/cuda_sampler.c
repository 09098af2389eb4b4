/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler.c - the host's part of sampling on the device: layout and parameters.
 *
 * Parameters become the integers and flags that the kernels compare with here, so that no formula
 * of engine/sampler_choice.c is evaluated in two kinds of arithmetic. Kernels and their launchers:
 * cuda_sampler_draw.cu. Thread: the engine's. */
#include "cuda/cuda_sampler.h"

#include <float.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cuda/cuda_sampler_launch.h"
#include "engine/sampler_math.h"

enum { PART_ALIGNMENT = 256 };

static size_t words_of(uint32_t V)
{
    return ((size_t)V + 31) / 32;
}

/* Takes the next part of the block; only counts when it is NULL. */
static void *take(unsigned char *block, size_t *used, size_t bytes)
{
    void *part = block == NULL ? NULL : block + *used;
    *used += (bytes + PART_ALIGNMENT - 1) / PART_ALIGNMENT * PART_ALIGNMENT;
    return part;
}

/* Sets the pointers and returns the bytes of the block. */
static size_t lay_out(struct cuda_sampler *sampler, bool has_penalty_free, unsigned char *block)
{
    const size_t slots = sampler->slot_count;
    const size_t bits = words_of(sampler->V) * sizeof(uint32_t);
    size_t used = 0;
    sampler->penalty_free = has_penalty_free ? take(block, &used, bits) : NULL;
    sampler->slots = take(block, &used, slots * sizeof(sampler->slots[0]));
    sampler->counts = take(block, &used, slots * sampler->V * sizeof(sampler->counts[0]));
    sampler->seen_bits = take(block, &used, slots * bits);
    sampler->prompt_bits = take(block, &used, slots * bits);
    sampler->named_bits = take(block, &used, slots * bits);
    sampler->masks = take(block, &used, slots * (bits + sizeof(uint32_t)));
    const size_t rows = sampler->row_count;
    const size_t views = rows * CUDA_SAMPLER_VIEWS;
    const size_t chunks = views * sampler->chunk_count;
    sampler->found = take(block, &used, rows * sizeof(sampler->found[0]));
    sampler->peaks = take(block, &used, chunks * sizeof(sampler->peaks[0]));
    sampler->masses = take(block, &used, chunks * sizeof(sampler->masses[0]));
    sampler->near_keys =
        take(block, &used, views * CUDA_SAMPLER_LIST * sizeof(sampler->near_keys[0]));
    return used;
}

static struct cuda_sampler sampler_of(const struct sampling_vocabulary *vocabulary,
                                      uint32_t slot_count, uint32_t row_count)
{
    return (struct cuda_sampler){
        .V = vocabulary->row_count,
        .token_count = vocabulary->token_count,
        .slot_count = slot_count,
        .row_count = row_count,
        .chunk_count = (vocabulary->row_count + CUDA_SAMPLER_CHUNK - 1) / CUDA_SAMPLER_CHUNK,
    };
}

size_t cuda_sampler_bytes(const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                          uint32_t row_count)
{
    struct cuda_sampler sampler = sampler_of(vocabulary, slot_count, row_count);
    return lay_out(&sampler, vocabulary->penalty_free != NULL, NULL);
}

cudaError_t cuda_sampler_init(struct cuda_sampler *sampler_out,
                              const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                              uint32_t row_count, void *block, cudaStream_t stream)
{
    _Static_assert(LIMIT_VOCABULARY / CUDA_SAMPLER_CHUNK <= 256, "a thread for each chunk");
    ASSERT_COMPARE(vocabulary->row_count, <=, LIMIT_VOCABULARY);
    ASSERT_COMPARE(vocabulary->token_count, >=, 1);
    ASSERT_COMPARE(vocabulary->token_count, <=, vocabulary->row_count);
    *sampler_out = sampler_of(vocabulary, slot_count, row_count);
    const size_t bytes = lay_out(sampler_out, vocabulary->penalty_free != NULL, block);
    cudaError_t status = cudaMemsetAsync(block, 0, bytes, stream);
    if (status == cudaSuccess && vocabulary->penalty_free != NULL) {
        /* The first part of the block. */
        status = cudaMemcpyAsync(block, vocabulary->penalty_free,
                                 words_of(sampler_out->V) * sizeof(uint32_t),
                                 cudaMemcpyHostToDevice, stream);
    }
    return status;
}

/* Bits of the largest distance whose mass is at least `least`, which a distance of 0 has: masses
 * fall as distances rise. */
static uint32_t reach_of(uint64_t least, float scale)
{
    uint32_t low = 0;
    uint32_t high = sampler_math_bits(FLT_MAX);
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        const float distance = sampler_math_from_bits(middle);
        if (sampler_math_mass(sampler_math_exp(-distance * scale)) >= least) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* As engine/sampler_choice.c at truncation_from. After scale and rwkv. */
static void flatten_truncation(const struct sampling *sampling, uint32_t token_count,
                               struct cuda_sampler_slot *slot)
{
    if (sampling->top_k > 0 && sampling->top_k < token_count) {
        slot->top_k = sampling->top_k;
    }
    if (sampling->top_p > 0.0f && sampling->top_p < 1.0f) {
        slot->top_p = (uint64_t)(sampling->top_p * 0x1p64f) | 1;
    }
    uint64_t min_mass = 0;
    if (sampling->min_p > 0.0f) {
        min_mass = sampler_math_mass(sampling->min_p < 1.0f ? sampling->min_p : 1.0f);
    }
    slot->truncates = slot->top_k > 0 || slot->top_p > 0 || min_mass > 0 ? 1 : 0;
    if (slot->truncates != 0 && slot->greedy == 0) {
        const float scale = slot->rwkv != 0 ? 1.0f : slot->scale;
        slot->reach = reach_of(1, scale);
        slot->min_p_reach = min_mass > 1 ? reach_of(min_mass, scale) : slot->reach;
    }
}

static void flatten_penalties(const struct sampling *sampling, struct cuda_sampler_slot *slot)
{
    slot->presence_penalty = sampling->presence_penalty;
    slot->frequency_penalty = sampling->frequency_penalty;
    if (sampling->repetition_penalty > 0.0f && sampling->repetition_penalty != 1.0f) {
        slot->repetition_penalty = sampling->repetition_penalty;
    }
    if (slot->rwkv != 0 && sampling->penalty_decay > 0.0f && sampling->penalty_decay < 1.0f) {
        slot->penalty_decay = sampling->penalty_decay;
    }
}

static int compare_words(const void *left_pointer, const void *right_pointer)
{
    const uint64_t left = *(const uint64_t *)left_pointer;
    const uint64_t right = *(const uint64_t *)right_pointer;
    return left < right ? -1 : left > right;
}

/* Kernels look entries up by token; those of one token apply in the order given. */
static void sort_bias(const struct sampling *sampling, uint32_t V, struct sampling_bias *sorted)
{
    uint64_t order[LIMIT_LOGIT_BIAS]; /* Token, then index. */
    for (uint32_t index = 0; index < sampling->bias_count; index++) {
        ASSERT_COMPARE(sampling->bias[index].token, <, V);
        order[index] = (uint64_t)(uint32_t)sampling->bias[index].token << 32 | index;
    }
    qsort(order, sampling->bias_count, sizeof(order[0]), compare_words);
    for (uint32_t index = 0; index < sampling->bias_count; index++) {
        sorted[index] = sampling->bias[order[index] & UINT32_MAX];
    }
}

static void flatten(const struct sampling *sampling, const struct cuda_sampler *sampler,
                    struct cuda_sampler_slot *slot)
{
    memset(slot, 0, offsetof(struct cuda_sampler_slot, bias));
    slot->greedy =
        !(sampling->temperature >= SAMPLING_TEMPERATURE_MIN) || sampling->top_k == 1 ? 1 : 0;
    slot->scale = slot->greedy != 0 ? 0.0f : 1.0f / sampling->temperature;
    slot->rwkv = sampling->order == SAMPLING_ORDER_RWKV ? 1 : 0;
    slot->seed = sampling->seed;
    slot->choice = sampling->choice;
    slot->min_tokens = sampling->min_tokens;
    slot->max_tokens = sampling->max_tokens;
    slot->ignore_eos = sampling->ignore_eos ? 1 : 0;
    slot->logprobs_wanted = sampling->logprobs_wanted;
    slot->stop_token_count = sampling->stop_token_count;
    memcpy(slot->stop_tokens, sampling->stop_tokens,
           sampling->stop_token_count * sizeof(slot->stop_tokens[0]));
    slot->bias_count = sampling->bias_count;
    flatten_truncation(sampling, sampler->token_count, slot);
    flatten_penalties(sampling, slot);
    sort_bias(sampling, sampler->V, slot->bias);
}

cudaError_t cuda_sampler_start(const struct cuda_sampler *sampler, cudaStream_t stream,
                               uint32_t slot, const struct sampling *sampling,
                               struct cuda_sampler_slot *staging)
{
    ASSERT_COMPARE(slot, <, sampler->slot_count);
    ASSERT_COMPARE(sampling->bias_count, <=, LIMIT_LOGIT_BIAS);
    ASSERT_COMPARE(sampling->stop_token_count, <=, LIMIT_STOP_TOKENS);
    ASSERT(sampling->logprobs_wanted >= -1 && sampling->logprobs_wanted <= LIMIT_TOP_LOGPROBS);
    flatten(sampling, sampler, staging);
    const size_t bytes =
        offsetof(struct cuda_sampler_slot, bias) + sampling->bias_count * sizeof(staging->bias[0]);
    const cudaError_t status =
        cudaMemcpyAsync(&sampler->slots[slot], staging, bytes, cudaMemcpyHostToDevice, stream);
    return status == cudaSuccess ? cuda_sampler_forget(sampler, stream, slot) : status;
}

cudaError_t cuda_sampler_mask(const struct cuda_sampler *sampler, cudaStream_t stream,
                              uint32_t slot, const uint32_t *mask, uint32_t *staging)
{
    ASSERT_COMPARE(slot, <, sampler->slot_count);
    const size_t words = words_of(sampler->V);
    uint32_t *to = sampler->masks + slot * (words + 1);
    if (mask == NULL) {
        return cudaMemsetAsync(to + words, 0, sizeof(uint32_t), stream);
    }
    memcpy(staging, mask, words * sizeof(uint32_t));
    staging[words] = 1;
    return cudaMemcpyAsync(to, staging, (words + 1) * sizeof(uint32_t), cudaMemcpyHostToDevice,
                           stream);
}
