/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_sampler.h - sampling on the device: the same tokens as engine/sampler.c, bit for bit.
 *
 * The definition is engine/sampler.h at sampler_draw, the arithmetic engine/sampler_math.h. Every
 * slot's parameters and history lie in one block of device memory, so that a step draws without
 * the host; what a step asks for lies in device memory too, so that the launches may be captured.
 * Launchers never allocate and never wait. No scheduling, no text. Thread: the engine's. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_kernels.h"
#include "engine/sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CUDA_WANT_DRAW = 1, CUDA_WANT_SCORE = 2 };

/* What a step asks of one row of logits, as the host writes it. A row may be both. */
struct cuda_wanted {
    uint32_t item;  /* Index in the step's items. */
    uint32_t flags; /* CUDA_WANT_*; 0: nothing. */
    int32_t target; /* SCORE: the token whose log-probability is wanted. */
    uint32_t unused;
};

/* What came of it. Invalid: the row has ended. Alternatives from top_count on are not written. */
struct cuda_sampled {
    uint32_t valid;
    struct sampled sampled;
};

/* One slot's parameters as the device wants them, and its history. Also what the host stages for
 * cuda_sampler_start; made by that function, of no interest elsewhere. */
struct cuda_sampler_slot {
    uint64_t top_p; /* In units of 2^-64; 0: off. */
    uint64_t min_mass;
    uint64_t seed;
    uint32_t top_k; /* 0: off. */
    float scale;    /* 1 / temperature. */
    float presence_penalty;
    float frequency_penalty;
    float repetition_penalty; /* 0: off. */
    float penalty_decay;      /* 0: none. */
    uint32_t choice;
    uint32_t min_tokens;
    uint32_t max_tokens;
    int32_t logprobs_wanted;
    uint32_t greedy;
    uint32_t rwkv; /* SAMPLING_ORDER_RWKV. */
    uint32_t ignore_eos;
    uint32_t generated_count;
    uint32_t prompt_noted;
    uint32_t stop_token_count;
    uint32_t bias_count;
    int32_t stop_tokens[LIMIT_STOP_TOKENS];
    struct sampling_bias bias[LIMIT_LOGIT_BIAS]; /* By token; repeated ones in the order given. */
};

/* Borrowed pointers into the block and the vocabulary; by value to kernels. W = ceil(V / 32). */
struct cuda_sampler {
    uint32_t V;
    uint32_t token_count; /* Ids at and above are never drawn. */
    uint32_t slot_count;
    uint32_t cached_tiles;        /* Tiles of a row kept in shared memory (cuda_sampler_row.cuh). */
    const uint32_t *penalty_free; /* [W] device; NULL: none. */
    struct cuda_sampler_slot *slots; /* [slot_count] */
    float *counts;         /* [slot_count][V] How often a token was generated, decayed; 0 where
                              its bit in seen_bits is not set. */
    uint32_t *seen_bits;   /* [slot_count][W] Tokens generated. */
    uint32_t *prompt_bits; /* [slot_count][W] Tokens of the prompt; 0 unless prompt_noted. */
    uint32_t *named_bits;  /* [slot_count][W] Tokens that a bias or a stop names, and token 0. */
    uint32_t *masks;       /* [slot_count][W + 1] Tokens allowed; then 1 where the mask applies. */
};

/* Bytes of the block, about 4.5 V a slot; it must be aligned to 256. */
size_t cuda_sampler_bytes(const struct sampling_vocabulary *vocabulary, uint32_t slot_count);

/* Lays the slots out in `block` (device, cuda_sampler_bytes, the caller's until the end), enqueues
 * their zeroing and the copy of vocabulary->penalty_free (host, until the stream has passed), and
 * asks the device for shared memory. Every other function needs it first. */
cudaError_t cuda_sampler_init(struct cuda_sampler *sampler_out,
                              const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                              void *block, cudaStream_t stream);

/* sampler_start: the slot's next draw is its first, without a mask, with nothing noted of a prompt.
 * staging: pinned, written here, the caller's again when the stream has passed. Tells nothing to
 * struct cuda_slot: last_token and ended are the caller's to reset. */
cudaError_t cuda_sampler_start(const struct cuda_sampler *sampler, cudaStream_t stream,
                               uint32_t slot, const struct sampling *sampling,
                               struct cuda_sampler_slot *staging);

/* sampler_set_mask. mask [W] host, copied to staging [W + 1] (pinned, the caller's again when the
 * stream has passed); NULL allows all and leaves staging alone. */
cudaError_t cuda_sampler_mask(const struct cuda_sampler *sampler, cudaStream_t stream,
                              uint32_t slot, const uint32_t *mask, uint32_t *staging);

/* sampler_fork and sampler_note_prompt for every active item, after cuda_embed and before the
 * draw. Only the repetition penalty looks at the result: a step may leave it out when neither its
 * slots nor any slot forked from them later has one. */
cudaError_t cuda_sampler_note(const struct cuda_sampler *sampler, const struct cuda_launch *launch,
                              struct cuda_step step);

/* sampler_draw for the rows with CUDA_WANT_DRAW whose item is active and whose slot has not ended:
 * also writes last_token and ended of the slot. A slot at most once a step. logits
 * [logit_capacity][V] f32, aligned to 16, only read; wanted [logit_capacity]; results_out
 * [logit_capacity], device or pinned, written where the flag is set. One block a row, of the
 * header's logit_count. */
cudaError_t cuda_sampler_draw(const struct cuda_sampler *sampler, const struct cuda_launch *launch,
                              struct cuda_step step, uint32_t logit_capacity, const float *logits,
                              const struct cuda_wanted *wanted, struct cuda_sampled *results_out);

/* sampler_score in the same way for the rows with CUDA_WANT_SCORE of active items, with as many
 * alternatives as their slot's logprobs_wanted. Before or after the draw. */
cudaError_t cuda_sampler_score(const struct cuda_sampler *sampler, const struct cuda_launch *launch,
                               struct cuda_step step, uint32_t logit_capacity, const float *logits,
                               const struct cuda_wanted *wanted, struct cuda_sampled *results_out);

#ifdef __cplusplus
}
#endif
