/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_draw.cu - the kernels of sampling: draws and scores.
 *
 * A draw reads its row of 4 V bytes once from memory, and up to four times from the caches; it
 * takes one block of at most 1024 threads. At V = 65536 and 132 rows the floor is 34.6 MB: 8 us.
 * Compiled with -fmad=false. Thread: the engine's. */
#include "cuda/cuda_sampler.h"

#include "cuda/cuda_device.cuh"
#include "cuda/cuda_sampler_choice.cuh"
#include "cuda/cuda_sampler_launch.h"
#include "cuda/cuda_sampler_row.cuh"

enum {
    RESERVED_SHARED = 2048, /* Of a block's shared memory, beside ours. */
    NO_TOKEN = -1,
};

/* ---- Log-probabilities: sampler_score ----------------------------------------------------- */

/* What the raw logits come to. */
struct sampler_norm {
    uint64_t best_key; /* SAMPLER_NO_KEY: no token is possible. */
    float best;
    float log_sum;
};

static __device__ __forceinline__ struct sampler_norm norm_of(struct sampler_shared *shared,
                                                              const struct sampler_row *row)
{
    struct sampler_norm norm = {sampler_best(shared, row), 0.0f, 0.0f};
    if (norm.best_key != SAMPLER_NO_KEY) {
        norm.best = sampler_math_clean(row->logits[(uint32_t)norm.best_key]);
        const uint64_t mass = sampler_total_mass(shared, row, norm.best, 1.0f);
        norm.log_sum = sampler_math_log((float)mass * 0x1p-40f);
    }
    return norm;
}

static __device__ __forceinline__ float logprob_of(const struct sampler_row *row,
                                                   const struct sampler_norm *norm, uint32_t token)
{
    if (norm->best_key == SAMPLER_NO_KEY || token >= row->token_count) {
        return -INFINITY;
    }
    return sampler_math_clean(row->logits[token]) - norm->best - norm->log_sum;
}

/* Fills the alternatives; all threads. */
static __device__ __forceinline__ void write_top(struct sampler_shared *shared,
                                                 const struct sampler_row *row,
                                                 const struct sampler_norm *norm,
                                                 uint32_t top_wanted, struct sampled *to)
{
    uint32_t count = 0;
    if (top_wanted > 0 && norm->best_key != SAMPLER_NO_KEY) {
        const struct sampler_order order = {norm->best, 1.0f, true, false};
        const struct sampler_tally wanted = {UINT64_MAX, top_wanted};
        const uint64_t cutoff =
            sampler_select(shared, row, &order, sampler_last_key(&order), wanted);
        count = sampler_measure(shared, row, &order, 0, cutoff).count;
        count = count < top_wanted ? count : top_wanted;
        sampler_sort(shared, count);
    }
    for (uint32_t index = threadIdx.x; index < count; index += blockDim.x) {
        const uint32_t token = (uint32_t)shared->list[index];
        to->top[index].token = (int32_t)token;
        to->top[index].logprob = logprob_of(row, norm, token);
    }
    if (threadIdx.x == 0) {
        to->top_count = count;
    }
}

static __device__ __forceinline__ void score_row(struct sampler_shared *shared,
                                                 const struct sampler_row *row, int32_t top_wanted,
                                                 int32_t target, struct sampled *to)
{
    const struct sampler_norm norm = norm_of(shared, row);
    write_top(shared, row, &norm, top_wanted > 0 ? (uint32_t)top_wanted : 0, to);
    if (threadIdx.x == 0) {
        to->token = target;
        to->end = SAMPLED_GOES_ON;
        to->logprob = logprob_of(row, &norm, (uint32_t)target);
    }
}

/* ---- The row ------------------------------------------------------------------------------ */

/* Sets shared->row to the block's row of raw logits; all threads. */
static __device__ __forceinline__ struct sampler_row *open_row(struct sampler_shared *shared,
                                                               const struct cuda_sampler *sampler,
                                                               const float *logits, float4 *cache)
{
    if (threadIdx.x == 0) {
        const uint32_t block_tile = blockDim.x / SAMPLER_LANES * SAMPLER_TILE;
        struct sampler_row row = {};
        row.V = sampler->V;
        row.token_count = sampler->token_count;
        row.tiles = (sampler->V + block_tile - 1) / block_tile;
        row.cached_tiles = sampler->cached_tiles;
        row.logits = logits + (size_t)blockIdx.x * sampler->V;
        row.cache = cache;
        shared->row = row;
    }
    __syncthreads();
    return &shared->row;
}

/* Whether scores differ from logits at all; if so, the row is made to give scores. All threads. */
static __device__ __forceinline__ bool adjust_row(const struct cuda_sampler *sampler,
                                                  uint32_t slot_index, struct sampler_row *row)
{
    const struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    const uint32_t words = sampler_words(sampler->V);
    const uint32_t *mask = sampler_mask(sampler, slot_index);
    const bool is_masked = mask[words] != 0;
    const bool counts_matter =
        (slot->presence_penalty != 0.0f || slot->frequency_penalty != 0.0f) &&
        slot->generated_count > 0;
    const bool repetition_applies = slot->repetition_penalty != 0.0f;
    const bool ends_are_forbidden = slot->generated_count < slot->min_tokens;
    if (slot->bias_count == 0 && !is_masked && !ends_are_forbidden && !repetition_applies &&
        !counts_matter) {
        return false;
    }
    __syncthreads(); /* The row is read no more. */
    if (threadIdx.x == 0) {
        row->slot = slot;
        row->counts = sampler->counts + (size_t)slot_index * sampler->V;
        row->seen_bits = sampler->seen_bits + (size_t)slot_index * words;
        row->named_bits = sampler->named_bits + (size_t)slot_index * words;
        row->prompt_bits =
            repetition_applies ? sampler->prompt_bits + (size_t)slot_index * words : NULL;
        row->mask = is_masked ? mask : NULL;
        row->ends_are_forbidden = ends_are_forbidden;
    }
    __syncthreads();
    return true;
}

/* ---- The draw ----------------------------------------------------------------------------- */

static __device__ __forceinline__ uint64_t random_of(const struct cuda_sampler_slot *slot)
{
    const uint32_t key[2] = {(uint32_t)slot->seed, (uint32_t)(slot->seed >> 32)};
    const uint32_t counter[4] = {slot->generated_count, slot->choice, 0, 0};
    uint32_t words[4];
    sampler_math_philox(key, counter, words);
    return (uint64_t)words[0] << 32 | words[1];
}

/* As engine/sampler.c: in RWKV order counts decay first, and a token that is penalty-free is seen
 * with a count that stays 0. All threads. */
static __device__ __forceinline__ void note_generated(const struct cuda_sampler *sampler,
                                                      uint32_t slot_index, uint32_t token)
{
    const uint32_t words = sampler_words(sampler->V);
    struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    uint32_t *seen = sampler->seen_bits + (size_t)slot_index * words;
    float *counts = sampler->counts + (size_t)slot_index * sampler->V;
    if (slot->penalty_decay != 0.0f) {
        for (uint32_t word = threadIdx.x; word < words; word += blockDim.x) {
            for (uint32_t bits = seen[word]; bits != 0; bits &= bits - 1) {
                counts[32 * word + (uint32_t)__ffs((int)bits) - 1] *= slot->penalty_decay;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x != 0) {
        return;
    }
    const bool is_free = slot->rwkv != 0 && sampler->penalty_free != NULL &&
                         sampler_bit(sampler->penalty_free, token);
    slot->generated_count++;
    seen[token / 32] |= 1u << (token % 32);
    counts[token] += is_free ? 0.0f : 1.0f;
}

static __device__ __forceinline__ enum sampled_end end_of(const struct cuda_sampler_slot *slot,
                                                          int32_t token)
{
    if (token == NO_TOKEN || sampler_is_end(slot, (uint32_t)token)) {
        return SAMPLED_STOP_TOKEN;
    }
    return slot->generated_count >= slot->max_tokens ? SAMPLED_LENGTH : SAMPLED_GOES_ON;
}

/* Steps 1 to 5 of sampler_draw; NO_TOKEN when none is possible. raw_key: of the raw logits' best
 * where they were passed over before. */
static __device__ __forceinline__ int32_t choose(struct sampler_shared *shared,
                                                 const struct cuda_sampler *sampler,
                                                 uint32_t slot_index, struct sampler_row *row,
                                                 uint64_t raw_key)
{
    const struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    const bool is_scored = slot->logprobs_wanted >= 0;
    const bool is_adjusted = adjust_row(sampler, slot_index, row);
    const uint64_t key = is_adjusted || !is_scored ? sampler_best(shared, row) : raw_key;
    if (key == SAMPLER_NO_KEY || slot->greedy != 0) {
        return key == SAMPLER_NO_KEY ? NO_TOKEN : (int32_t)(uint32_t)key;
    }
    const float best = sampler_score_of_rank((uint32_t)(key >> 32));
    return sampler_choose(shared, row, slot, best, random_of(slot));
}

static __device__ __forceinline__ void draw_row(struct sampler_shared *shared,
                                                const struct cuda_sampler *sampler,
                                                const struct cuda_step *step, uint32_t slot_index,
                                                struct sampler_row *row, struct sampled *to)
{
    struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    const bool is_scored = slot->logprobs_wanted >= 0;
    struct sampler_norm norm = {SAMPLER_NO_KEY, 0.0f, 0.0f};
    if (is_scored) {
        norm = norm_of(shared, row);
    }
    write_top(shared, row, &norm, is_scored ? (uint32_t)slot->logprobs_wanted : 0, to);
    const int32_t token = choose(shared, sampler, slot_index, row, norm.best_key);
    const uint32_t written = token == NO_TOKEN ? 0 : (uint32_t)token;
    note_generated(sampler, slot_index, written);
    if (threadIdx.x == 0) {
        const enum sampled_end end = end_of(slot, token);
        to->token = (int32_t)written;
        to->end = end;
        to->logprob = is_scored ? logprob_of(row, &norm, written) : 0.0f;
        step->slots[slot_index].last_token = (int32_t)written;
        step->slots[slot_index].ended = end != SAMPLED_GOES_ON ? 1 : 0;
    }
}

/* Whether something is wanted of this block's row; its slot, and whether it goes on. All threads.
 */
static __device__ __forceinline__ bool is_wanted(const struct cuda_step *step,
                                                 const struct cuda_wanted *wanted, uint32_t flag,
                                                 uint32_t *slot_out, bool *valid_out)
{
    if (blockIdx.x >= step->header->logit_count || (wanted[blockIdx.x].flags & flag) == 0) {
        return false;
    }
    const struct cuda_place *place = &step->places[wanted[blockIdx.x].item];
    *slot_out = place->slot;
    *valid_out =
        place->active != 0 && (flag == CUDA_WANT_SCORE || step->slots[place->slot].ended == 0);
    __syncthreads(); /* Only then may a thread write `ended`. */
    return true;
}

static __global__ void __launch_bounds__(SAMPLER_WARPS_MAX *SAMPLER_LANES, 1)
    sampler_draw_kernel(struct cuda_sampler sampler, struct cuda_step step, const float *logits,
                        const struct cuda_wanted *wanted, struct cuda_sampled *results_out)
{
    CUDA_DYNAMIC_SHARED(cache);
    __shared__ struct sampler_shared shared;
    cuda_dependency_trigger();
    cuda_dependency_wait();
    uint32_t slot;
    bool is_valid;
    if (!is_wanted(&step, wanted, CUDA_WANT_DRAW, &slot, &is_valid)) {
        return;
    }
    struct cuda_sampled *result = &results_out[blockIdx.x];
    if (threadIdx.x == 0) {
        result->valid = is_valid ? 1 : 0;
    }
    if (is_valid) {
        struct sampler_row *row = open_row(&shared, &sampler, logits, (float4 *)cache);
        draw_row(&shared, &sampler, &step, slot, row, &result->sampled);
    }
}

static __global__ void __launch_bounds__(SAMPLER_WARPS_MAX *SAMPLER_LANES, 1)
    sampler_score_kernel(struct cuda_sampler sampler, struct cuda_step step, const float *logits,
                         const struct cuda_wanted *wanted, struct cuda_sampled *results_out)
{
    CUDA_DYNAMIC_SHARED(cache);
    __shared__ struct sampler_shared shared;
    cuda_dependency_trigger();
    cuda_dependency_wait();
    uint32_t slot;
    bool is_valid;
    if (!is_wanted(&step, wanted, CUDA_WANT_SCORE, &slot, &is_valid)) {
        return;
    }
    struct cuda_sampled *result = &results_out[blockIdx.x];
    if (threadIdx.x == 0) {
        result->valid = is_valid ? 1 : 0;
    }
    if (is_valid) {
        const struct sampler_row *row = open_row(&shared, &sampler, logits, (float4 *)cache);
        score_row(&shared, row, sampler.slots[slot].logprobs_wanted, wanted[blockIdx.x].target,
                  &result->sampled);
    }
}

/* ---- Launchers ---------------------------------------------------------------------------- */

static uint32_t warps_for(uint32_t V)
{
    const uint32_t warps = (V + SAMPLER_TILE - 1) / SAMPLER_TILE;
    return warps < SAMPLER_WARPS_MAX ? warps : (uint32_t)SAMPLER_WARPS_MAX;
}

static size_t cache_bytes(const struct cuda_sampler *sampler)
{
    return (size_t)sampler->cached_tiles * warps_for(sampler->V) * SAMPLER_LANES * sizeof(float4);
}

extern "C" cudaError_t cuda_sampler_prepare(struct cuda_sampler *sampler)
{
    int device = 0;
    int shared_bytes = 0;
    cudaError_t status = cudaGetDevice(&device);
    if (status == cudaSuccess) {
        status =
            cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    }
    if (status != cudaSuccess) {
        return status;
    }
    const size_t own = sizeof(struct sampler_shared) + RESERVED_SHARED;
    const size_t left = (size_t)shared_bytes > own ? (size_t)shared_bytes - own : 0;
    const uint32_t block_tile = warps_for(sampler->V) * SAMPLER_TILE;
    const uint32_t tiles = (sampler->V + block_tile - 1) / block_tile;
    const size_t fitting = left / (block_tile * sizeof(float));
    sampler->cached_tiles = fitting < tiles ? (uint32_t)fitting : tiles;
    const int bytes = (int)cache_bytes(sampler);
    status = cudaFuncSetAttribute((const void *)sampler_draw_kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    return status == cudaSuccess
               ? cudaFuncSetAttribute((const void *)sampler_score_kernel,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)
               : status;
}

extern "C" cudaError_t cuda_sampler_draw(const struct cuda_sampler *sampler,
                                         const struct cuda_launch *launch, struct cuda_step step,
                                         uint32_t logit_capacity, const float *logits,
                                         const struct cuda_wanted *wanted,
                                         struct cuda_sampled *results_out)
{
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(logit_capacity), dim3(warps_for(sampler->V) * SAMPLER_LANES),
        cache_bytes(sampler), attributes);
    return cudaLaunchKernelEx(&config, sampler_draw_kernel, *sampler, step, logits, wanted,
                              results_out);
}

extern "C" cudaError_t cuda_sampler_score(const struct cuda_sampler *sampler,
                                          const struct cuda_launch *launch, struct cuda_step step,
                                          uint32_t logit_capacity, const float *logits,
                                          const struct cuda_wanted *wanted,
                                          struct cuda_sampled *results_out)
{
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(logit_capacity), dim3(warps_for(sampler->V) * SAMPLER_LANES),
        cache_bytes(sampler), attributes);
    return cudaLaunchKernelEx(&config, sampler_score_kernel, *sampler, step, logits, wanted,
                              results_out);
}
