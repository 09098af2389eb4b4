/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sampler.c - one slot's sampler: parameters, history, penalties, log-probabilities, end.
 *
 * Truncation and the draw itself: engine/sampler_choice.c. Loops over the vocabulary:
 * engine/sampler_row.c. Thread: the engine's. */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/sampler_choice.h"
#include "engine/sampler_math.h"
#include "engine/sampler_row.h"

enum {
    END_TOKEN = 0, /* The end of text of every vocabulary of this family. */
    NO_TOKEN = -1,
};

/* OpenAI: -100 "should result in a ban". */
#define BIAS_THAT_FORBIDS (-100.0f)

/* Invariants: seen[seen_count] lists the distinct generated tokens in order of first appearance;
 * exactly these have their bit set in seen_bits; counts are 0 for all others. Starting anew
 * therefore costs as much as was generated, not V. */
struct sampler {
    struct sampling_vocabulary vocabulary;
    struct sampling sampling; /* .bias points to the array below. */
    struct sampling_bias bias[LIMIT_LOGIT_BIAS];
    uint32_t generated_count; /* Tokens drawn, also repeated ones. */
    uint32_t seen_count;
    int32_t *seen;         /* [V] */
    float *counts;         /* [V] How often a token was generated, decayed in RWKV order. */
    uint32_t *seen_bits;   /* [(V+31)/32] */
    uint32_t *prompt_bits; /* [(V+31)/32] Tokens of the prompt. */
    uint32_t *mask;        /* [(V+31)/32] Tokens allowed. */
    bool prompt_noted;     /* prompt_bits are not all 0. */
    bool masked;           /* mask applies. */
};

static size_t bit_words(const struct sampling_vocabulary *vocabulary)
{
    return ((size_t)vocabulary->row_count + 31) / 32;
}

static bool bit_is_set(const uint32_t *bits, int32_t token)
{
    return (bits[token / 32] >> (token % 32) & 1) != 0;
}

static void bit_set(uint32_t *bits, int32_t token)
{
    bits[token / 32] |= UINT32_C(1) << (token % 32);
}

static void assert_vocabulary(const struct sampling_vocabulary *vocabulary)
{
    ASSERT_COMPARE(vocabulary->row_count, <=, LIMIT_VOCABULARY);
    ASSERT_COMPARE(vocabulary->token_count, >=, 1);
    ASSERT_COMPARE(vocabulary->token_count, <=, vocabulary->row_count);
}

struct sampler *sampler_create(const struct sampling_vocabulary *vocabulary)
{
    assert_vocabulary(vocabulary);
    const size_t V = vocabulary->row_count;
    const size_t words = bit_words(vocabulary);
    /* One block; all parts have the alignment of 4 that the struct's size is a multiple of. */
    const size_t bytes = sizeof(struct sampler) + V * (sizeof(int32_t) + sizeof(float)) +
                         3 * words * sizeof(uint32_t);
    struct sampler *sampler = calloc(1, bytes);
    if (sampler == NULL) {
        return NULL;
    }
    sampler->vocabulary = *vocabulary;
    sampler->seen = (int32_t *)(sampler + 1);
    sampler->counts = (float *)(sampler->seen + V);
    sampler->seen_bits = (uint32_t *)(sampler->counts + V);
    sampler->prompt_bits = sampler->seen_bits + words;
    sampler->mask = sampler->prompt_bits + words;
    return sampler;
}

void sampler_destroy(struct sampler *sampler)
{
    free(sampler);
}

struct sampler_scratch *sampler_scratch_create(const struct sampling_vocabulary *vocabulary)
{
    assert_vocabulary(vocabulary);
    const size_t V = vocabulary->row_count;
    const size_t blocks = (V + SAMPLER_ROW_BLOCK - 1) / SAMPLER_ROW_BLOCK;
    struct sampler_scratch *scratch = calloc(1, sizeof(*scratch));
    if (scratch == NULL) {
        return NULL;
    }
    scratch->scores = calloc(V, sizeof(scratch->scores[0]));
    scratch->block_masses = calloc(blocks, sizeof(scratch->block_masses[0]));
    scratch->candidates = calloc(V + 1, sizeof(scratch->candidates[0]));
    if (scratch->scores == NULL || scratch->block_masses == NULL || scratch->candidates == NULL) {
        sampler_scratch_destroy(scratch);
        return NULL;
    }
    return scratch;
}

void sampler_scratch_destroy(struct sampler_scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    free(scratch->candidates);
    free(scratch->block_masses);
    free(scratch->scores);
    free(scratch);
}

void sampler_start(struct sampler *sampler, const struct sampling *sampling)
{
    ASSERT_COMPARE(sampling->bias_count, <=, LIMIT_LOGIT_BIAS);
    ASSERT_COMPARE(sampling->stop_token_count, <=, LIMIT_STOP_TOKENS);
    ASSERT(sampling->logprobs_wanted >= -1 && sampling->logprobs_wanted <= LIMIT_TOP_LOGPROBS);
    for (uint32_t index = 0; index < sampler->seen_count; index++) {
        const int32_t token = sampler->seen[index];
        sampler->counts[token] = 0.0f;
        sampler->seen_bits[token / 32] = 0;
    }
    if (sampler->prompt_noted) {
        memset(sampler->prompt_bits, 0, bit_words(&sampler->vocabulary) * sizeof(uint32_t));
    }
    sampler->seen_count = 0;
    sampler->generated_count = 0;
    sampler->prompt_noted = false;
    sampler->masked = false;
    for (uint32_t index = 0; index < sampling->bias_count; index++) {
        ASSERT_COMPARE(sampling->bias[index].token, <, sampler->vocabulary.row_count);
        sampler->bias[index] = sampling->bias[index];
    }
    sampler->sampling = *sampling;
    sampler->sampling.bias = sampler->bias;
}

void sampler_note_prompt(struct sampler *sampler, const int32_t *tokens, uint32_t token_count)
{
    for (uint32_t index = 0; index < token_count; index++) {
        ASSERT_COMPARE(tokens[index], <, sampler->vocabulary.row_count);
        bit_set(sampler->prompt_bits, tokens[index]);
    }
    sampler->prompt_noted = sampler->prompt_noted || token_count > 0;
}

void sampler_fork(struct sampler *sampler, const struct sampler *source)
{
    ASSERT_COMPARE(sampler->vocabulary.row_count, ==, source->vocabulary.row_count);
    if (sampler == source || (!source->prompt_noted && !sampler->prompt_noted)) {
        return;
    }
    memcpy(sampler->prompt_bits, source->prompt_bits,
           bit_words(&sampler->vocabulary) * sizeof(uint32_t));
    sampler->prompt_noted = source->prompt_noted;
}

void sampler_set_mask(struct sampler *sampler, const uint32_t *mask)
{
    sampler->masked = mask != NULL;
    if (mask != NULL) {
        memcpy(sampler->mask, mask, bit_words(&sampler->vocabulary) * sizeof(uint32_t));
    }
}

static bool repetition_applies(const struct sampling *sampling)
{
    return sampling->repetition_penalty > 0.0f && sampling->repetition_penalty != 1.0f;
}

static bool ends_are_forbidden(const struct sampler *sampler)
{
    return sampler->generated_count < sampler->sampling.min_tokens;
}

/* Whether scores differ from logits at all: greedy decoding without adjustments copies nothing. */
static bool adjusts(const struct sampler *sampler)
{
    const struct sampling *sampling = &sampler->sampling;
    const bool counts_matter =
        sampling->presence_penalty != 0.0f || sampling->frequency_penalty != 0.0f;
    return sampling->bias_count > 0 || sampler->masked || ends_are_forbidden(sampler) ||
           repetition_applies(sampling) || (counts_matter && sampler->seen_count > 0);
}

static void add_bias(const struct sampling *sampling, float *scores)
{
    for (uint32_t index = 0; index < sampling->bias_count; index++) {
        const struct sampling_bias *bias = &sampling->bias[index];
        const float biased = scores[bias->token] + bias->bias;
        scores[bias->token] =
            bias->bias <= BIAS_THAT_FORBIDS ? -INFINITY : sampler_math_clean(biased);
    }
}

/* Keskar et al., CTRL, arXiv 1909.05858, section 4.1, with the usual mirror image for negative
 * scores. Each token of prompt and output once. */
static void penalize_repetition(const struct sampler *sampler, float *scores)
{
    const float penalty = sampler->sampling.repetition_penalty;
    const size_t words = bit_words(&sampler->vocabulary);
    for (size_t word = 0; word < words; word++) {
        uint32_t bits = sampler->prompt_bits[word] | sampler->seen_bits[word];
        for (; bits != 0; bits &= bits - 1) {
            float *score = &scores[32 * word + (size_t)__builtin_ctz(bits)];
            *score = sampler_math_clean(*score > 0.0f ? *score / penalty : *score * penalty);
        }
    }
}

static void penalize_generated(const struct sampler *sampler, float *scores)
{
    const struct sampling *sampling = &sampler->sampling;
    for (uint32_t index = 0; index < sampler->seen_count; index++) {
        const int32_t token = sampler->seen[index];
        const float penalty =
            fmaf(sampler->counts[token], sampling->frequency_penalty, sampling->presence_penalty);
        scores[token] = sampler_math_clean(scores[token] - penalty);
    }
}

static void forbid_ends(const struct sampling *sampling, size_t score_count, float *scores)
{
    if (!sampling->ignore_eos) {
        scores[END_TOKEN] = -INFINITY;
    }
    for (uint32_t index = 0; index < sampling->stop_token_count; index++) {
        const int32_t token = sampling->stop_tokens[index];
        if (token >= 0 && (size_t)token < score_count) {
            scores[token] = -INFINITY;
        }
    }
}

static void apply_mask(const uint32_t *mask, size_t score_count, float *scores)
{
    for (size_t first = 0; first < score_count; first += 32) {
        const uint32_t allowed = mask[first / 32];
        if (allowed == UINT32_MAX) {
            continue;
        }
        for (size_t token = first; token < score_count && token < first + 32; token++) {
            scores[token] = (allowed >> (token - first) & 1) != 0 ? scores[token] : -INFINITY;
        }
    }
}

/* Step 1 of sampler_draw. scores[V]: copies of the logits of all rows; those at score_count and
 * above are adjusted too where a client named them, and never looked at. */
static void adjust(const struct sampler *sampler, size_t score_count, float *scores)
{
    add_bias(&sampler->sampling, scores);
    if (repetition_applies(&sampler->sampling)) {
        penalize_repetition(sampler, scores);
    }
    penalize_generated(sampler, scores);
    if (ends_are_forbidden(sampler)) {
        forbid_ends(&sampler->sampling, score_count, scores);
    }
    if (sampler->masked) {
        apply_mask(sampler->mask, score_count, scores);
    }
}

static uint64_t random_of(const struct sampler *sampler)
{
    const uint64_t seed = sampler->sampling.seed;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {sampler->generated_count, sampler->sampling.choice, 0, 0};
    uint32_t words[4];
    sampler_philox(key, counter, words);
    return (uint64_t)words[0] << 32 | words[1];
}

/* Steps 1 to 5 of sampler_draw; NO_TOKEN when none is possible. */
static int32_t choose(const struct sampler *sampler, struct sampler_scratch *scratch,
                      const float *logits)
{
    const struct sampling *sampling = &sampler->sampling;
    const size_t score_count = sampler->vocabulary.token_count;
    const bool greedy =
        !(sampling->temperature >= SAMPLING_TEMPERATURE_MIN) || sampling->top_k == 1;
    const float *scores = logits;
    if (!greedy || adjusts(sampler)) {
        memcpy(scratch->scores, logits, sampler->vocabulary.row_count * sizeof(scores[0]));
        adjust(sampler, score_count, scratch->scores);
        scores = scratch->scores;
    }
    int32_t best;
    if (sampler_row_top(scores, score_count, 1, &best) == 0) {
        return NO_TOKEN;
    }
    if (greedy) {
        return best;
    }
    return sampler_choice_draw(scratch, sampling, score_count, sampler_math_clean(scores[best]),
                               random_of(sampler));
}

/* Counts a drawn token. In RWKV order counts decay first, and a token that is penalty-free enters
 * the table, for the presence penalty, with a count that stays 0. */
static void note_generated(struct sampler *sampler, int32_t token)
{
    const struct sampling *sampling = &sampler->sampling;
    const bool rwkv = sampling->order == SAMPLING_ORDER_RWKV;
    const uint32_t *penalty_free = rwkv ? sampler->vocabulary.penalty_free : NULL;
    sampler->generated_count++;
    if (rwkv && sampling->penalty_decay > 0.0f && sampling->penalty_decay < 1.0f) {
        for (uint32_t index = 0; index < sampler->seen_count; index++) {
            sampler->counts[sampler->seen[index]] *= sampling->penalty_decay;
        }
    }
    if (!bit_is_set(sampler->seen_bits, token)) {
        bit_set(sampler->seen_bits, token);
        sampler->seen[sampler->seen_count++] = token;
    }
    if (penalty_free == NULL || !bit_is_set(penalty_free, token)) {
        sampler->counts[token] += 1.0f;
    }
}

static enum sampled_end end_of(const struct sampler *sampler, int32_t token)
{
    const struct sampling *sampling = &sampler->sampling;
    if (token == END_TOKEN && !sampling->ignore_eos) {
        return SAMPLED_STOP_TOKEN;
    }
    for (uint32_t index = 0; index < sampling->stop_token_count; index++) {
        if (sampling->stop_tokens[index] == token) {
            return SAMPLED_STOP_TOKEN;
        }
    }
    return sampler->generated_count >= sampling->max_tokens ? SAMPLED_LENGTH : SAMPLED_GOES_ON;
}

void sampler_draw(struct sampler *sampler, struct sampler_scratch *scratch, const float *logits,
                  struct sampled *sampled_out)
{
    const int32_t token = choose(sampler, scratch, logits);
    const int32_t wanted = sampler->sampling.logprobs_wanted;
    *sampled_out = (struct sampled){.token = token == NO_TOKEN ? END_TOKEN : token};
    if (wanted >= 0) {
        sampler_score(&sampler->vocabulary, logits, sampled_out->token, (uint32_t)wanted,
                      sampled_out);
    }
    note_generated(sampler, sampled_out->token);
    sampled_out->end = token == NO_TOKEN ? SAMPLED_STOP_TOKEN : end_of(sampler, token);
}

void sampler_score(const struct sampling_vocabulary *vocabulary, const float *logits, int32_t token,
                   uint32_t top_count, struct sampled *sampled_out)
{
    ASSERT_COMPARE(top_count, <=, LIMIT_TOP_LOGPROBS);
    ASSERT_COMPARE(token, <, vocabulary->row_count);
    const size_t token_count = vocabulary->token_count;
    int32_t top[LIMIT_TOP_LOGPROBS];
    const size_t found = sampler_row_top(logits, token_count, top_count > 0 ? top_count : 1, top);
    *sampled_out = (struct sampled){.token = token, .logprob = -INFINITY};
    if (found == 0) {
        return;
    }
    const struct sampler_weighing weighing = {.best = sampler_math_clean(logits[top[0]]),
                                              .scale = 1.0f};
    const uint64_t mass = sampler_row_weigh(logits, token_count, weighing, NULL);
    /* Rounded once to f32; at least 1, the best token's weight. */
    const float log_sum = sampler_math_log((float)mass * 0x1p-40f);
    if ((size_t)token < token_count) {
        sampled_out->logprob = sampler_math_clean(logits[token]) - weighing.best - log_sum;
    }
    sampled_out->top_count = top_count > 0 ? (uint32_t)found : 0;
    for (uint32_t index = 0; index < sampled_out->top_count; index++) {
        const float score = sampler_math_clean(logits[top[index]]);
        sampled_out->top[index] = (struct sampled_alternative){
            .token = top[index], .logprob = score - weighing.best - log_sum};
    }
}

float sampler_exp(float x)
{
    return sampler_math_exp(x);
}

float sampler_log(float x)
{
    return sampler_math_log(x);
}

void sampler_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t words_out[4])
{
    sampler_math_philox(key, counter, words_out);
}
