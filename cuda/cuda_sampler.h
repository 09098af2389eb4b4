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

enum {
    CUDA_SAMPLER_CHUNK = 4096, /* Tokens of a row that one block looks at. */
    CUDA_SAMPLER_LIST = 4096,  /* Tokens of a row that are listed as likely. */
    CUDA_SAMPLER_VIEWS = 2,    /* A row as it is, and as it is drawn from. */
};

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
    uint64_t seed;
    uint32_t top_k;       /* 0: off. */
    uint32_t truncates;   /* Whether any of top_k, top_p, min_p is on. */
    uint32_t reach;       /* truncates: bits of the largest distance from the best score whose mass
                             is not 0, at the temperature that truncation sees; */
    uint32_t min_p_reach; /* of the largest that min_p lets pass. */
    float scale;          /* 1 / temperature. */
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

/* What the first kernel finds in a chunk. */
struct cuda_sampler_peak {
    uint64_t best_key; /* Of the order (score descending, id ascending); all ones: none possible. */
    uint32_t floor;    /* Rank of a score that few tokens reach; 0: none. */
    uint32_t unused;
};

/* What the second kernel has found in a row; 0 between launches. */
struct cuda_sampler_found {
    uint64_t mass[CUDA_SAMPLER_VIEWS];      /* Of all tokens; */
    uint64_t near_mass[CUDA_SAMPLER_VIEWS]; /* of the likely ones, */
    uint32_t listed[CUDA_SAMPLER_VIEWS];    /* which are so many, also beyond the list's room. */
    uint32_t arrived;                       /* Blocks that are done with their chunk. */
    uint32_t unused;
};

/* Borrowed pointers into the block and the vocabulary; by value to kernels. W = ceil(V / 32), R =
 * row_count, X = chunk_count. */
struct cuda_sampler {
    uint32_t V;
    uint32_t token_count; /* Ids at and above are never drawn. */
    uint32_t slot_count;
    uint32_t row_count;              /* Rows of logits that one launch may have. */
    uint32_t chunk_count;            /* ceil(V / CUDA_SAMPLER_CHUNK) */
    const uint32_t *penalty_free;    /* [W] device; NULL: none. */
    struct cuda_sampler_slot *slots; /* [slot_count] */
    float *counts;         /* [slot_count][V] How often a token was generated, decayed; 0 where
                              its bit in seen_bits is not set. */
    uint32_t *seen_bits;   /* [slot_count][W] Tokens generated. */
    uint32_t *prompt_bits; /* [slot_count][W] Tokens of the prompt; 0 unless prompt_noted. */
    uint32_t *named_bits;  /* [slot_count][W] Tokens that a bias or a stop names, and token 0. */
    uint32_t *masks;       /* [slot_count][W + 1] Tokens allowed; then 1 where the mask applies. */
    struct cuda_sampler_found *found; /* [R] */
    struct cuda_sampler_peak *peaks;  /* [R][CUDA_SAMPLER_VIEWS][X] */
    uint64_t *masses;                 /* [R][CUDA_SAMPLER_VIEWS][X] Of a chunk. */
    uint64_t *near_keys;              /* [R][CUDA_SAMPLER_VIEWS][CUDA_SAMPLER_LIST] */
};

/* Bytes of the block, about 4.5 V a slot and 65 KiB a row of logits; it must be aligned to 256. */
size_t cuda_sampler_bytes(const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                          uint32_t row_count);

/* Lays everything out in `block` (device, cuda_sampler_bytes, the caller's until the end), enqueues
 * its zeroing and the copy of vocabulary->penalty_free (host, until the stream has passed). Every
 * other function needs it first. row_count: the largest logit_capacity below. */
cudaError_t cuda_sampler_init(struct cuda_sampler *sampler_out,
                              const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                              uint32_t row_count, void *block, cudaStream_t stream);

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
 * [logit_capacity], device or pinned, written where the flag is set. Two kernels, one block for
 * each chunk of each row of the header's logit_count. They read wanted and the slots' parameters
 * before they wait, as the step's description may be. */
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
