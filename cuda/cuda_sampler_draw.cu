/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler_draw.cu - the kernels of sampling: draws and scores.
 *
 * Two kernels, each with one block of 256 threads for each chunk of 4096 tokens of each row: the
 * first finds the best score, the second weighs all tokens and lists the likely ones. The block
 * that is done last with a row goes on alone: its work is on the list, seldom on the row. Both read
 * 4 V bytes a row, the second from the caches mostly: at V = 65536 and 132 rows 34.6 MB, 8 us from
 * memory; the second also computes V exponentials of about 30 instructions, 8 us for 132 rows on
 * 132 multiprocessors. Compiled with -fmad=false. Thread: the engine's. */
#include "cuda/cuda_sampler.h"

#include "cuda/cuda_device.cuh"
#include "cuda/cuda_sampler_choice.cuh"
#include "cuda/cuda_sampler_chunk.cuh"
#include "cuda/cuda_sampler_row.cuh"

enum { NO_TOKEN = -1 };

/* Blocks of the second kernel that a multiprocessor shall have room for. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
enum { BLOCKS_TOGETHER = 4 };
#else
enum { BLOCKS_TOGETHER = 5 };
#endif

/* ---- The last block of a row -------------------------------------------------------------- */

/* Whether all other blocks of the row are done; what they found is in `shared` then, and 0 again in
 * memory. All threads. */
static __device__ __forceinline__ bool is_last(struct sampler_shared *shared,
                                               struct cuda_sampler_found *found)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* The block's results before its arrival. */
        shared->is_last = atomicAdd(&found->arrived, 1u) == gridDim.x - 1;
        if (shared->is_last) {
            __threadfence(); /* All arrivals before what is read. */
            shared->found = *found;
            *found = {};
        }
    }
    __syncthreads();
    return shared->is_last;
}

enum { KEYS_TOGETHER = 8 }; /* Of a thread; whole visits. */

/* Fills the list, up to whole visits. */
static __device__ __forceinline__ void load_keys(const uint64_t *keys, uint32_t count,
                                                 uint64_t *list)
{
#pragma unroll 1
    for (uint32_t first = 0; first < count; first += KEYS_TOGETHER * SAMPLER_THREADS) {
        uint64_t loaded[KEYS_TOGETHER];
#pragma unroll
        for (uint32_t index = 0; index < KEYS_TOGETHER; index++) {
            const uint32_t place = first + index * SAMPLER_THREADS + threadIdx.x;
            loaded[index] = place < count ? keys[place] : SAMPLER_NO_KEY;
        }
#pragma unroll
        for (uint32_t index = 0; index < KEYS_TOGETHER; index++) {
            list[first + index * SAMPLER_THREADS + threadIdx.x] = loaded[index];
        }
    }
}

/* Makes a view the set that is searched. All threads. */
static __device__ __forceinline__ void load_view(struct sampler_shared *shared,
                                                 const struct cuda_sampler *sampler, uint32_t row,
                                                 uint32_t view)
{
    const uint32_t listed = shared->found.listed[view];
    const bool fits = listed <= CUDA_SAMPLER_LIST;
    __syncthreads(); /* The last set is read no more. */
    load_keys(sampler_near_keys(sampler, row, view), fits ? listed : 0, shared->list);
    if (threadIdx.x == 0) {
        struct sampler_set set = shared->sets[view];
        set.mass = shared->found.mass[view];
        set.near.mass = shared->found.near_mass[view];
        set.near.count = listed;
        set.is_listed = fits;
        shared->set = set;
    }
    __syncthreads();
}

/* ---- Log-probabilities: sampler_score ----------------------------------------------------- */

/* What the raw logits come to. */
struct sampler_norm {
    bool is_possible;
    float best;
    float log_sum;
};

/* The raw view is loaded. */
static __device__ __forceinline__ struct sampler_norm norm_of(const struct sampler_shared *shared)
{
    const uint64_t best_key = shared->best_keys[SAMPLER_RAW];
    struct sampler_norm norm = {best_key != SAMPLER_NO_KEY, 0.0f, 0.0f};
    if (norm.is_possible) {
        norm.best = sampler_math_clean(shared->rows[SAMPLER_RAW].logits[(uint32_t)best_key]);
        norm.log_sum = sampler_math_log((float)shared->set.mass * 0x1p-40f);
    }
    return norm;
}

static __device__ __forceinline__ float logprob_of(const struct sampler_row *row,
                                                   const struct sampler_norm *norm, uint32_t token)
{
    if (!norm->is_possible || token >= row->token_count) {
        return -INFINITY;
    }
    return sampler_math_clean(row->logits[token]) - norm->best - norm->log_sum;
}

/* Fills the alternatives from the raw view, which is loaded; all threads. */
static __device__ __forceinline__ void write_top(struct sampler_shared *shared,
                                                 const struct sampler_norm *norm, uint32_t wanted,
                                                 struct sampled *to)
{
    uint32_t count = 0;
    if (wanted > 0 && norm->is_possible) {
        const struct sampler_set *set = &shared->set;
        const struct sampler_tally most_likely = {UINT64_MAX, wanted};
        const uint64_t cutoff = sampler_select(shared, most_likely).cutoff;
        const struct sampler_range range = sampler_range_over(&set->order, set->first_key, cutoff);
        count = set->is_listed && cutoff <= set->near_key ? sampler_gather<true>(shared, &range)
                                                          : sampler_gather<false>(shared, &range);
    }
    if (threadIdx.x < count) {
        const uint64_t key = shared->few[threadIdx.x].position;
        struct sampled_alternative *top = &to->top[sampler_tally_before(shared, count, key).count];
        top->token = (int32_t)(uint32_t)key;
        top->logprob = logprob_of(&shared->rows[SAMPLER_RAW], norm, (uint32_t)key);
    }
    if (threadIdx.x == 0) {
        to->top_count = count;
    }
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

/* In RWKV order counts decay before the token is counted. All threads. */
static __device__ __forceinline__ void decay_counts(const struct cuda_sampler *sampler,
                                                    uint32_t slot_index)
{
    const uint32_t words = sampler_words(sampler->V);
    const float decay = sampler->slots[slot_index].penalty_decay;
    const uint32_t *seen = sampler->seen_bits + (size_t)slot_index * words;
    float *counts = sampler->counts + (size_t)slot_index * sampler->V;
    if (decay != 0.0f) {
        for (uint32_t word = threadIdx.x; word < words; word += blockDim.x) {
            for (uint32_t bits = seen[word]; bits != 0; bits &= bits - 1) {
                counts[32 * word + (uint32_t)__ffs((int)bits) - 1] *= decay;
            }
        }
        __syncthreads();
    }
}

/* What a draw tells the slot and the host, as engine/sampler.c: a token that is penalty-free is
 * seen with a count that stays 0. Of one thread, all of whose loads are under way together. */
static __device__ __forceinline__ void write_draw(const struct cuda_sampler *sampler,
                                                  const struct cuda_step *step, uint32_t slot_index,
                                                  int32_t token, struct sampled *to)
{
    struct cuda_sampler_slot *slot = &sampler->slots[slot_index];
    const uint32_t written = token == NO_TOKEN ? 0 : (uint32_t)token;
    uint32_t *seen =
        &sampler->seen_bits[(size_t)slot_index * sampler_words(sampler->V) + written / 32];
    float *count = &sampler->counts[(size_t)slot_index * sampler->V + written];
    const uint32_t seen_before = *seen;
    const float count_before = *count;
    const uint32_t generated = slot->generated_count + 1;
    const bool is_free = slot->rwkv != 0 && sampler->penalty_free != NULL &&
                         sampler_bit(sampler->penalty_free, written);
    enum sampled_end end = SAMPLED_GOES_ON;
    if (token == NO_TOKEN || sampler_is_end(slot, written)) {
        end = SAMPLED_STOP_TOKEN;
    } else if (generated >= slot->max_tokens) {
        end = SAMPLED_LENGTH;
    }
    *seen = seen_before | 1u << (written % 32);
    *count = count_before + (is_free ? 0.0f : 1.0f);
    slot->generated_count = generated;
    step->slots[slot_index].last_token = (int32_t)written;
    step->slots[slot_index].ended = end != SAMPLED_GOES_ON ? 1 : 0;
    to->end = end;
}

/* Steps 2 to 5 of sampler_draw; NO_TOKEN when none is possible. */
static __device__ __forceinline__ int32_t choose(struct sampler_shared *shared,
                                                 const struct cuda_sampler *sampler,
                                                 const struct sampler_job *job)
{
    const struct cuda_sampler_slot *slot = &sampler->slots[job->slot];
    const uint64_t key = shared->best_keys[SAMPLER_DRAWN];
    if (key == SAMPLER_NO_KEY || slot->greedy != 0) {
        return key == SAMPLER_NO_KEY ? NO_TOKEN : (int32_t)(uint32_t)key;
    }
    load_view(shared, sampler, job->row, SAMPLER_DRAWN);
    const uint64_t *masses =
        sampler->masses + sampler_first_chunk(sampler, job->row, SAMPLER_DRAWN);
    return sampler_choose(shared, slot, masses, sampler->chunk_count, random_of(slot));
}

/* What the last block of a row does. */
static __device__ __forceinline__ void finish(struct sampler_shared *shared,
                                              const struct cuda_sampler *sampler,
                                              const struct cuda_step *step,
                                              const struct sampler_job *job, struct sampled *to)
{
    struct sampler_norm norm = {false, 0.0f, 0.0f};
    uint32_t top_wanted = 0;
    if (job->scores) {
        const int32_t wanted = sampler->slots[job->slot].logprobs_wanted;
        top_wanted = wanted > 0 ? (uint32_t)wanted : 0;
        load_view(shared, sampler, job->row, SAMPLER_RAW);
        norm = norm_of(shared);
    }
    write_top(shared, &norm, top_wanted, to);
    int32_t token = job->target;
    if (job->draws) {
        token = choose(shared, sampler, job);
        decay_counts(sampler, job->slot);
    }
    if (threadIdx.x == 0) {
        to->end = SAMPLED_GOES_ON;
        if (job->draws) {
            write_draw(sampler, step, job->slot, token, to);
        }
        const uint32_t written = token == NO_TOKEN ? 0 : (uint32_t)token;
        to->token = (int32_t)written;
        to->logprob = job->scores ? logprob_of(&shared->rows[SAMPLER_RAW], &norm, written) : 0.0f;
    }
}

/* ---- Kernels ------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(SAMPLER_THREADS)
    sampler_peak_kernel(struct cuda_sampler sampler, struct cuda_step step, uint32_t flag,
                        const float *logits, const struct cuda_wanted *wanted)
{
    __shared__ float4 chunk[SAMPLER_VISITS * SAMPLER_THREADS];
    __shared__ struct sampler_row rows[CUDA_SAMPLER_VIEWS];
    __shared__ uint64_t reduced[CUDA_SAMPLER_VIEWS][SAMPLER_WARPS];
    __shared__ uint32_t floors[CUDA_SAMPLER_VIEWS][SAMPLER_WARPS];
    cuda_dependency_trigger();
    struct sampler_job job;
    const bool is_wanted = sampler_take_job(&sampler, &step, wanted, flag, &job);
    if (is_wanted) {
        sampler_open_rows(&sampler, logits, &job, rows);
    }
    cuda_dependency_wait();
    if (!is_wanted) {
        return;
    }
    const bool is_valid = sampler_is_valid(&step, &job);
    sampler_load_chunk(&sampler, logits + (size_t)job.row * sampler.V, chunk);
    if (!is_valid) {
        return;
    }
    struct cuda_sampler_peak *peaks =
        &sampler.peaks[sampler_first_chunk(&sampler, job.row, 0) + blockIdx.x];
    if (job.scores) {
        sampler_find_peak(chunk, reduced[SAMPLER_RAW], floors[SAMPLER_RAW], peaks);
    }
    if (job.draws) {
        sampler_adjust_chunk(&rows[SAMPLER_DRAWN], chunk);
        sampler_find_peak(chunk, reduced[SAMPLER_DRAWN], floors[SAMPLER_DRAWN],
                          peaks + sampler.chunk_count);
    }
}

static __global__ void __launch_bounds__(SAMPLER_THREADS, BLOCKS_TOGETHER)
    sampler_draw_kernel(struct cuda_sampler sampler, struct cuda_step step, uint32_t flag,
                        const float *logits, const struct cuda_wanted *wanted,
                        struct cuda_sampled *results_out)
{
    __shared__ struct sampler_shared shared;
    cuda_dependency_trigger();
    struct sampler_job job;
    const bool is_wanted = sampler_take_job(&sampler, &step, wanted, flag, &job);
    if (is_wanted) {
        sampler_open_rows(&sampler, logits, &job, shared.rows);
    }
    cuda_dependency_wait();
    if (!is_wanted) {
        return;
    }
    const struct cuda_sampler_peak raw_peak = sampler_load_peak(&sampler, job.row, SAMPLER_RAW);
    const struct cuda_sampler_peak peak = sampler_load_peak(&sampler, job.row, SAMPLER_DRAWN);
    const bool is_valid = sampler_is_valid(&step, &job);
    sampler_load_chunk(&sampler, logits + (size_t)job.row * sampler.V, shared.chunk);
    struct cuda_sampled *result = &results_out[job.row];
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        result->valid = is_valid ? 1 : 0;
    }
    if (!is_valid) {
        return;
    }
    const struct cuda_sampler_slot *slot = &sampler.slots[job.slot];
    if (job.scores &&
        sampler_open_view(&shared, &sampler, &job, SAMPLER_RAW, raw_peak) != SAMPLER_NO_KEY) {
        sampler_weigh_view<SAMPLER_RAW>(&shared, &sampler, &job, slot->logprobs_wanted > 0,
                                        shared.chunk);
    }
    if (job.draws &&
        sampler_open_view(&shared, &sampler, &job, SAMPLER_DRAWN, peak) != SAMPLER_NO_KEY &&
        slot->greedy == 0) {
        sampler_adjust_chunk(&shared.rows[SAMPLER_DRAWN], shared.chunk);
        sampler_weigh_view<SAMPLER_DRAWN>(&shared, &sampler, &job, slot->truncates != 0,
                                          shared.chunk);
    }
    if (is_last(&shared, &sampler.found[job.row])) {
        finish(&shared, &sampler, &step, &job, &result->sampled);
    }
}

/* ---- Launchers ---------------------------------------------------------------------------- */

static cudaError_t launch_both(const struct cuda_sampler *sampler, const struct cuda_launch *launch,
                               struct cuda_step step, uint32_t flag, uint32_t logit_capacity,
                               const float *logits, const struct cuda_wanted *wanted,
                               struct cuda_sampled *results_out)
{
    if (logit_capacity > sampler->row_count) {
        return cudaErrorInvalidValue;
    }
    cudaLaunchAttribute attributes[CUDA_LAUNCH_ATTRIBUTES];
    const cudaLaunchConfig_t config = cuda_launch_config(
        launch, dim3(sampler->chunk_count, logit_capacity), dim3(SAMPLER_THREADS), 0, attributes);
    const cudaError_t status =
        cudaLaunchKernelEx(&config, sampler_peak_kernel, *sampler, step, flag, logits, wanted);
    return status == cudaSuccess ? cudaLaunchKernelEx(&config, sampler_draw_kernel, *sampler, step,
                                                      flag, logits, wanted, results_out)
                                 : status;
}

extern "C" cudaError_t cuda_sampler_draw(const struct cuda_sampler *sampler,
                                         const struct cuda_launch *launch, struct cuda_step step,
                                         uint32_t logit_capacity, const float *logits,
                                         const struct cuda_wanted *wanted,
                                         struct cuda_sampled *results_out)
{
    return launch_both(sampler, launch, step, CUDA_WANT_DRAW, logit_capacity, logits, wanted,
                       results_out);
}

extern "C" cudaError_t cuda_sampler_score(const struct cuda_sampler *sampler,
                                          const struct cuda_launch *launch, struct cuda_step step,
                                          uint32_t logit_capacity, const float *logits,
                                          const struct cuda_wanted *wanted,
                                          struct cuda_sampled *results_out)
{
    return launch_both(sampler, launch, step, CUDA_WANT_SCORE, logit_capacity, logits, wanted,
                       results_out);
}
