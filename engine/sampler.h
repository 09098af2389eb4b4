/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler.h - logits to token: the definition of sampling, which every backend obeys.
 *
 * The CPU backend calls it; a device backend must choose the same token from the same logits, so
 * the order of operations and of ties is part of the contract (see sampler_draw), and the
 * arithmetic is that of engine/sampler_math.h. No scheduling, no text. Thread: the engine's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* Temperatures below are greedy: the most likely token, the lowest id among equals. */
#define SAMPLING_TEMPERATURE_MIN 1e-5f

enum sampling_order {
    SAMPLING_ORDER_OPENAI, /* penalties, temperature, top-k, top-p, min-p, draw. */
    SAMPLING_ORDER_RWKV,   /* penalties with decay, top-p (keeping ties), top-k, min-p, all three at
                              temperature 1, then p^(1/T), draw. */
};

struct sampling_bias {
    int32_t token;
    float bias; /* Added to the logit; -100 and below forbids, as OpenAI documents. */
};

/* Everything a slot needs to generate alone. Zeroed: greedy, no limits but max_tokens = 0. */
struct sampling {
    float temperature;        /* Below SAMPLING_TEMPERATURE_MIN: greedy. */
    uint32_t top_k;           /* 0: all. */
    float top_p;              /* 1 or 0: all. */
    float min_p;              /* 0: all. Relative to the largest probability. */
    float presence_penalty;   /* Subtracted once from a token generated before. */
    float frequency_penalty;  /* Subtracted as often as it was generated. */
    float repetition_penalty; /* 1 or 0: off. Divides positive, multiplies negative logits of tokens
                                 in prompt or output. */
    float penalty_decay;      /* 1 or 0: none. RWKV order: counts shrink by it at each token. */
    enum sampling_order order;
    uint64_t seed;
    uint32_t choice;         /* Index among n choices: its own random numbers. */
    uint32_t min_tokens;     /* Tokens that would end the row are forbidden before. */
    uint32_t max_tokens;     /* The row ends with this many generated. */
    bool ignore_eos;         /* Token 0 may be drawn and does not end the row. */
    int32_t logprobs_wanted; /* -1: none; 0..20: the chosen token and that many most likely. */
    uint32_t stop_token_count;
    int32_t stop_tokens[LIMIT_STOP_TOKENS]; /* Besides token 0; end the row, are not fed. */
    uint32_t bias_count;
    const struct sampling_bias *bias; /* [bias_count], copied by the backend at slot_start. */
};

/* What sampling must know of the vocabulary. Borrowed, immutable. */
struct sampling_vocabulary {
    uint32_t row_count;           /* V: length of logits. */
    uint32_t token_count;         /* Ids at and above are masked: rows without a token. */
    const uint32_t *penalty_free; /* Bit set [(V+31)/32] of tokens that the RWKV order does not
                                     count (white space, digits); NULL: none. */
};

struct sampled_alternative {
    int32_t token;
    float logprob;
};

enum sampled_end { SAMPLED_GOES_ON, SAMPLED_STOP_TOKEN, SAMPLED_LENGTH };

/* One drawn token. */
struct sampled {
    int32_t token;
    enum sampled_end end; /* STOP_TOKEN: token is the stop token and is not part of the text. */
    float logprob;        /* Log-softmax of the raw logits over the vocabulary's ids; -inf for an
                             impossible token; 0 when logprobs_wanted is -1. */
    uint32_t top_count;   /* Fewer than wanted when fewer tokens are possible. */
    struct sampled_alternative top[LIMIT_TOP_LOGPROBS]; /* Most likely first, lower id first. */
};

struct sampler; /* State of one slot: parameters, penalties, count of generated tokens. */

/* Scratch shared by all slots of one thread. */
struct sampler_scratch;

/* NULL when out of memory. Nothing below allocates. */
struct sampler *sampler_create(const struct sampling_vocabulary *vocabulary);
void sampler_destroy(struct sampler *sampler);
struct sampler_scratch *sampler_scratch_create(const struct sampling_vocabulary *vocabulary);
void sampler_scratch_destroy(struct sampler_scratch *scratch);

/* Begins a generation: copies the parameters and forgets everything else. bias_count <=
 * LIMIT_LOGIT_BIAS; every token id is below V. */
void sampler_start(struct sampler *sampler, const struct sampling *sampling);

/* Tells which tokens the prompt held (only the repetition penalty looks at them). */
void sampler_note_prompt(struct sampler *sampler, const int32_t *tokens, uint32_t token_count);

/* Takes over what `source` noted of the prompt: the sampler's part of a fork. */
void sampler_fork(struct sampler *sampler, const struct sampler *source);

/* Allows only the tokens whose bit is set in mask[(V+31)/32]; NULL allows all. Copied. */
void sampler_set_mask(struct sampler *sampler, const uint32_t *mask);

/* Draws the next token from logits[V] (f32, not modified) and counts it. Same parameters, history
 * and logits give the same token on every backend. Never fails: NaN counts as -inf, and when no
 * token is possible the row ends with token 0, drawn as a stop token. In this order:
 *
 * 1. Scores: logits of ids below token_count; + bias; repetition penalty; - (presence + count *
 *    frequency), one fused multiply-add; -inf where a mask, a bias or min_tokens forbids.
 * 2. Greedy: the largest score, the lowest id among equals.
 * 3. Else masses: round(2^40 exp((score - best) * (1 / T))), integers, so that sums have no order.
 *    A token whose mass is 0 is never drawn.
 * 4. Truncations keep prefixes of the order (score descending, id ascending): top-k its first k;
 *    top-p (Holtzman et al., arXiv 1904.09751) its shortest prefix whose mass is at least
 *    floor(top_p * the mass before); min-p the masses of at least round(2^40 min_p). In RWKV order
 *    they see the masses at T = 1, and top-p also keeps what ties with its last token.
 * 5. The token is the first, in id order, at which the summed masses kept exceed
 *    floor(their sum * r / 2^64); r is the first two words of Philox4x32-10 with key = seed,
 * counter
 *    = (index of the generated token, choice, 0, 0), the first word on top.
 *
 * A stop token, or token 0 unless ignore_eos, ends the row as SAMPLED_STOP_TOKEN; else the
 * max_tokens-th token ends it as SAMPLED_LENGTH. */
void sampler_draw(struct sampler *sampler, struct sampler_scratch *scratch, const float *logits,
                  struct sampled *sampled_out);

/* Log-probability of `token` (and the top_count most likely) under logits[V]: scores a prompt. */
void sampler_score(const struct sampling_vocabulary *vocabulary, const float *logits, int32_t token,
                   uint32_t top_count, struct sampled *sampled_out);

/* The shared exponential and logarithm: at most 1.02 units in the last place, same bits everywhere
 * (engine/sampler_math.h has them inline). */
float sampler_exp(float x); /* x <= 0; 0 below -87. */
float sampler_log(float x); /* x > 0 and normal. */

/* Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011): four random
 * words from key and counter. */
void sampler_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t words_out[4]);
