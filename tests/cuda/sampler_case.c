/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda/sampler_case.c - random logits and parameters of sampling.
 *
 * Thread: any. */
#include "sampler_case.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
enum { REGION = 3000 }; /* Tokens; not what kernels cut rows into. */

#define ONE_OF(random, array) ((array)[sampler_case_below(random, COUNT_OF(array))])

uint64_t sampler_case_next(struct sampler_case_random *random)
{
    random->state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mixed = random->state;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ mixed >> 31;
}

uint32_t sampler_case_below(struct sampler_case_random *random, uint32_t bound)
{
    return (uint32_t)((sampler_case_next(random) >> 32) * bound >> 32);
}

/* In [-bound, bound]. */
static float even(struct sampler_case_random *random, float bound)
{
    return (float)(int32_t)(sampler_case_next(random) >> 32) * 0x1p-31f * bound;
}

/* Near enough to a bell of deviation 1, from one draw. */
static float bell(struct sampler_case_random *random)
{
    const uint64_t bits = sampler_case_next(random);
    int32_t sum = 0;
    for (int part = 0; part < 4; part++) {
        sum += (int32_t)(bits >> (16 * part) & 0xffff) - 0x8000;
    }
    return (float)sum * (0x1p-15f * 0.8660254f);
}

static int32_t token_below(struct sampler_case_random *random, uint32_t V)
{
    /* Mostly among the first, so that they meet. */
    const uint32_t bound = sampler_case_below(random, 2) == 0 && V > 40 ? 40 : V;
    return (int32_t)sampler_case_below(random, bound);
}

static void fill_bias(struct sampler_case_random *random, uint32_t V, struct sampling *sampling,
                      struct sampling_bias *bias)
{
    static const uint32_t counts[] = {0, 0, 0, 1, 3, 30, LIMIT_LOGIT_BIAS};
    static const float values[] = {-100.0f, -101.0f, -99.0f, 100.0f, 5.0f, -5.0f, 0.25f};
    sampling->bias_count = ONE_OF(random, counts);
    sampling->bias = bias;
    for (uint32_t index = 0; index < sampling->bias_count; index++) {
        bias[index] = (struct sampling_bias){token_below(random, V), ONE_OF(random, values)};
    }
}

static void fill_truncation(struct sampler_case_random *random, uint32_t V,
                            struct sampling *sampling)
{
    static const float temperatures[] = {0.0f, 0.3f,  0.7f, 1.0f, 1.0f,     1.5f,
                                         5.0f, 1e-5f, 1e3f, NAN,  INFINITY, 1.0f};
    static const float top_ps[] = {0.0f, 1.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f, 1e-30f};
    static const float min_ps[] = {0.0f, 0.0f, 0.0f, 0.05f, 0.5f, 1.0f, 1.5f, 1e-9f, 1e-30f};
    const uint32_t top_ks[] = {0, 0, 0, 1, 2, 5, 20, 50, 3000, V / 2, V - V / 8, V, V + 5};
    sampling->temperature = ONE_OF(random, temperatures);
    sampling->top_p = ONE_OF(random, top_ps);
    sampling->min_p = ONE_OF(random, min_ps);
    sampling->top_k = ONE_OF(random, top_ks);
    sampling->order =
        sampler_case_below(random, 2) == 0 ? SAMPLING_ORDER_OPENAI : SAMPLING_ORDER_RWKV;
}

static void fill_penalties(struct sampler_case_random *random, struct sampling *sampling)
{
    static const float additive[] = {0.0f, 0.0f, 0.5f, 2.0f, -1.0f, 0.1f};
    static const float repetition[] = {0.0f, 1.0f, 1.0f, 1.3f, 0.8f, 10.0f};
    static const float decays[] = {0.0f, 1.0f, 0.996f, 0.5f};
    sampling->presence_penalty = ONE_OF(random, additive);
    sampling->frequency_penalty = ONE_OF(random, additive);
    sampling->repetition_penalty = ONE_OF(random, repetition);
    sampling->penalty_decay = ONE_OF(random, decays);
}

void sampler_case_sampling(struct sampler_case_random *random, uint32_t V,
                           struct sampling *sampling_out, struct sampling_bias *bias)
{
    static const uint32_t min_tokens[] = {0, 0, 0, 2, 4};
    static const uint32_t max_tokens[] = {1, 3, 1000, 1000, 1000};
    static const int32_t logprobs[] = {-1, -1, 0, 1, 5, LIMIT_TOP_LOGPROBS};
    static const uint32_t stops[] = {0, 0, 1, 3, LIMIT_STOP_TOKENS};
    *sampling_out = (struct sampling){
        .seed = sampler_case_next(random),
        .choice = sampler_case_below(random, 4),
        .min_tokens = ONE_OF(random, min_tokens),
        .max_tokens = ONE_OF(random, max_tokens),
        .ignore_eos = sampler_case_below(random, 2) == 0,
        .logprobs_wanted = ONE_OF(random, logprobs),
        .stop_token_count = ONE_OF(random, stops),
    };
    for (uint32_t index = 0; index < sampling_out->stop_token_count; index++) {
        sampling_out->stop_tokens[index] = token_below(random, V + 3) - 1;
    }
    fill_truncation(random, V, sampling_out);
    fill_penalties(random, sampling_out);
    fill_bias(random, V, sampling_out, bias);
}

static const float accidents[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0.0f, -0.0f};

void sampler_case_logits(struct sampler_case_random *random, uint32_t V, float *logits_out)
{
    const uint32_t kind = sampler_case_below(random, 18);
    const uint32_t region = sampler_case_below(random, V / REGION + 1);
    for (uint32_t index = 0; index < V; index++) {
        const float spread = bell(random);
        float logit = 2.5f * spread; /* As a model makes them, 0 to 2. */
        switch (kind) {
        case 3: /* Many ties. */
            logit = rintf(3.0f * spread);
            break;
        case 4: /* All equal. */
            logit = 1.5f;
            break;
        case 5: /* A few far above the rest. */
            logit = sampler_case_below(random, 1000) == 0 ? 20.0f + spread : spread;
            break;
        case 6: /* Holes. */
            logit = sampler_case_below(random, 3) == 0 ? ONE_OF(random, accidents) : spread;
            break;
        case 7: /* Hardly any holes. */
            logit = sampler_case_below(random, 300) == 0 ? ONE_OF(random, accidents) : spread;
            break;
        case 8: /* Nearly flat. */
            logit = 1e-3f * spread;
            break;
        case 9: /* Zeros of both signs. */
            logit = spread > 0.0f ? 0.0f : -0.0f;
            break;
        case 10: /* Nothing is possible. */
            logit = spread > 0.0f ? NAN : -INFINITY;
            break;
        case 11: /* Over all magnitudes. */
            logit = ldexpf(spread, (int)sampler_case_below(random, 120) - 100);
            break;
        case 12: /* Evenly spread and far. */
            logit = even(random, 60.0f);
            break;
        case 13: /* Distances too small for a float. */
            logit = 30.0f + 1e-6f * spread;
            break;
        case 14: /* Possible in one region only. */
            logit = index / REGION == region ? 3.0f * spread : -INFINITY;
            break;
        case 15: /* Every other region far below. */
            logit = 3.0f * spread - (index / REGION % 2 == region % 2 ? 0.0f : 40.0f);
            break;
        case 16: /* The best ties all over the row. */
            logit = index % 997 == region ? 9.0f : spread;
            break;
        case 17: /* Flat, and one far above. */
            logit = index == region * 7 ? 12.0f : 0.25f * spread;
            break;
        default:
            break;
        }
        logits_out[index] = logit;
    }
}

void sampler_case_mask(struct sampler_case_random *random, size_t words, uint32_t *mask_out)
{
    const uint32_t kind = sampler_case_below(random, 4);
    const uint32_t only = sampler_case_below(random, 32 * (uint32_t)words);
    if (kind == 3) { /* One token is allowed, if it is one. */
        memset(mask_out, 0, words * sizeof(mask_out[0]));
        mask_out[only / 32] = UINT32_C(1) << (only % 32);
        return;
    }
    for (size_t word = 0; word < words; word++) {
        const uint64_t bits = sampler_case_next(random);
        mask_out[word] = kind == 0 ? (uint32_t)(bits & bits >> 32)
                                   : (kind == 1 ? UINT32_MAX : 0) ^ (bits % 8 == 0 ? 32u : 0u);
    }
}
