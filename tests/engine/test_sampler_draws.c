/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: every backend must draw the same token from the same logits and random numbers.
 * Shown by: a reference that sorts, on random rows and parameters; recorded draws; statistics. */
#include "engine/sampler.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler_math.h"

enum { ROWS_MAX = 65536 };

static struct sampler *sampler;
static struct sampler_scratch *scratch;
static float logits[ROWS_MAX];
static uint32_t random_index; /* Counter of this test's own random numbers. */

static void open_sampler(uint32_t row_count, uint32_t token_count)
{
    const struct sampling_vocabulary vocabulary = {.row_count = row_count,
                                                   .token_count = token_count};
    sampler = sampler_create(&vocabulary);
    scratch = sampler_scratch_create(&vocabulary);
    ck_assert_ptr_nonnull(sampler);
    ck_assert_ptr_nonnull(scratch);
}

static void close_sampler(void)
{
    sampler_destroy(sampler);
    sampler_scratch_destroy(scratch);
}

static struct sampled draw(void)
{
    struct sampled sampled;
    sampler_draw(sampler, scratch, logits, &sampled);
    return sampled;
}

static int32_t draw_first(const struct sampling *sampling)
{
    sampler_start(sampler, sampling);
    return draw().token;
}

static void setup(void)
{
    open_sampler(1000, 1000);
}

static uint32_t random_word(void)
{
    const uint32_t key[2] = {20260101, 0};
    const uint32_t counter[4] = {random_index++, 0, 0, 1};
    uint32_t words[4];
    sampler_philox(key, counter, words);
    return words[0];
}

/* In [-bound, bound], the same bits everywhere. */
static float random_float(float bound)
{
    return (float)(int32_t)random_word() * 0x1p-31f * bound;
}

/* The definition in sampler.h, read literally: sort everything, sum in order. */
static int compare_scores(const void *left_pointer, const void *right_pointer)
{
    const int32_t left = *(const int32_t *)left_pointer;
    const int32_t right = *(const int32_t *)right_pointer;
    const float left_score = sampler_math_clean(logits[left]);
    const float right_score = sampler_math_clean(logits[right]);
    if (left_score != right_score) {
        return left_score > right_score ? -1 : 1;
    }
    return left < right ? -1 : 1;
}

static uint64_t reference_mass(int32_t token, int32_t best, float scale)
{
    const float score = sampler_math_clean(logits[token]);
    const float weight = sampler_exp((score - sampler_math_clean(logits[best])) * scale);
    return (uint64_t)llrintf(weight * 0x1p40f);
}

/* floor(mass * fraction / 2^64) */
static uint64_t reference_share(uint64_t mass, uint64_t fraction)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)mass * fraction >> 64);
}

static bool is_fraction(float value)
{
    return value > 0.0f && value < 1.0f;
}

static size_t reference_top_p(const int32_t *ids, size_t count, float top_p, float scale)
{
    uint64_t total = 0;
    for (size_t index = 0; index < count; index++) {
        total += reference_mass(ids[index], ids[0], scale);
    }
    const uint64_t wanted = reference_share(total, (uint64_t)(top_p * 0x1p64f) | 1);
    uint64_t sum = 0;
    size_t kept = 0;
    while (kept < count && (kept == 0 || sum < wanted)) {
        sum += reference_mass(ids[kept], ids[0], scale);
        kept++;
    }
    return kept;
}

/* How many of ids[count], sorted, top-k and top-p leave. */
static size_t reference_prefix(const struct sampling *sampling, const int32_t *ids, size_t count)
{
    const bool rwkv = sampling->order == SAMPLING_ORDER_RWKV;
    const size_t top_k = sampling->top_k > 0 ? sampling->top_k : count;
    size_t kept = count;
    if (!rwkv) {
        kept = kept < top_k ? kept : top_k;
        return is_fraction(sampling->top_p)
                   ? reference_top_p(ids, kept, sampling->top_p, 1.0f / sampling->temperature)
                   : kept;
    }
    if (is_fraction(sampling->top_p)) {
        kept = reference_top_p(ids, kept, sampling->top_p, 1.0f);
        while (kept < count && logits[ids[kept]] == logits[ids[kept - 1]]) {
            kept++;
        }
    }
    return kept < top_k ? kept : top_k;
}

static uint64_t reference_random(const struct sampling *sampling)
{
    const uint32_t key[2] = {(uint32_t)sampling->seed, (uint32_t)(sampling->seed >> 32)};
    const uint32_t counter[4] = {0, sampling->choice, 0, 0};
    uint32_t words[4];
    sampler_philox(key, counter, words);
    return (uint64_t)words[0] << 32 | words[1];
}

static int32_t reference_draw(const struct sampling *sampling, uint32_t count)
{
    int32_t *ids = calloc(count, sizeof(ids[0]));
    uint64_t *masses = calloc(count, sizeof(masses[0])); /* Of the tokens kept, by id. */
    for (uint32_t index = 0; index < count; index++) {
        ids[index] = (int32_t)index;
    }
    qsort(ids, count, sizeof(ids[0]), compare_scores);
    const bool rwkv = sampling->order == SAMPLING_ORDER_RWKV;
    const bool truncates = is_fraction(sampling->top_p) || sampling->min_p > 0.0f ||
                           (sampling->top_k > 0 && sampling->top_k < count);
    const float scale = 1.0f / sampling->temperature;
    const size_t kept = reference_prefix(sampling, ids, count);
    const uint64_t min_mass = (uint64_t)llrintf(sampling->min_p * 0x1p40f);
    uint64_t total = 0;
    for (size_t index = 0; index < kept; index++) {
        const uint64_t mass = reference_mass(ids[index], ids[0], rwkv ? 1.0f : scale);
        if (!truncates || (mass >= min_mass && mass > 0)) {
            masses[ids[index]] = reference_mass(ids[index], ids[0], scale);
            total += masses[ids[index]];
        }
    }
    uint64_t offset = reference_share(total, reference_random(sampling));
    int32_t token = 0;
    while (offset >= masses[token]) {
        offset -= masses[token];
        token++;
    }
    free(masses);
    free(ids);
    return token;
}

/* Rows as models and their accidents make them. */
static void fill_row(uint32_t count)
{
    const uint32_t kind = random_word() % 6;
    for (uint32_t index = 0; index < count; index++) {
        const float spread = random_float(4.0f) + random_float(4.0f) + random_float(4.0f);
        switch (kind) {
        case 0: /* Bell-shaped. */
            logits[index] = spread;
            break;
        case 1: /* Many ties. */
            logits[index] = rintf(spread);
            break;
        case 2: /* All equal. */
            logits[index] = 1.5f;
            break;
        case 3: /* A few far above the rest. */
            logits[index] = random_word() % 16 == 0 ? 20.0f + spread : spread;
            break;
        case 4: /* Holes. */
            logits[index] = random_word() % 2 == 0 ? spread : index % 2 == 0 ? NAN : -INFINITY;
            break;
        default: /* Far beyond any softmax. */
            logits[index] = spread * 1e30f;
            break;
        }
    }
    if (kind == 4) {
        logits[random_word() % count] = 1.0f; /* Not all impossible. */
    }
}

static struct sampling random_sampling(uint32_t count)
{
    static const float temperatures[] = {0.3f, 1.0f, 1.0f, 1.7f, 20.0f};
    static const float top_ps[] = {0.0f, 1e-9f, 0.3f, 0.5f, 0.9f, 0.999999f, 1.0f};
    static const float min_ps[] = {0.0f, 0.0f, 0.0f, 0.01f, 0.2f, 1.0f};
    const uint32_t top_ks[] = {0, 0, 2, 5, 40, count - 1, count, count + 1};
    return (struct sampling){
        .temperature = temperatures[random_word() % 5],
        .top_p = top_ps[random_word() % 7],
        .min_p = min_ps[random_word() % 6],
        .top_k = top_ks[random_word() % 8],
        .order = random_word() % 2 == 0 ? SAMPLING_ORDER_OPENAI : SAMPLING_ORDER_RWKV,
        .seed = (uint64_t)random_word() << 32 | random_word(),
        .choice = random_word() % 128,
        .max_tokens = 10,
        .logprobs_wanted = -1,
    };
}

START_TEST(sampler_draws_as_the_sorted_reference_when_rows_and_parameters_are_random)
{
    static const uint32_t counts[] = {1, 2, 63, 64, 65, 200, 1000};
    for (size_t size = 0; size < sizeof(counts) / sizeof(counts[0]); size++) {
        const int rounds = counts[size] < 1000 ? 1000 : 300;
        close_sampler();
        open_sampler(counts[size], counts[size]);
        for (int round = 0; round < rounds; round++) {
            fill_row(counts[size]);
            const struct sampling sampling = random_sampling(counts[size]);
            const int32_t token = draw_first(&sampling);
            ck_assert_msg(token == reference_draw(&sampling, counts[size]),
                          "V %u round %d: T %g top_k %u top_p %g min_p %g order %d", counts[size],
                          round, (double)sampling.temperature, sampling.top_k,
                          (double)sampling.top_p, (double)sampling.min_p, (int)sampling.order);
        }
    }
}
END_TEST

START_TEST(sampler_draws_as_the_sorted_reference_when_vocabulary_is_large)
{
    close_sampler();
    open_sampler(ROWS_MAX, ROWS_MAX - 6);
    for (int round = 0; round < 20; round++) {
        fill_row(ROWS_MAX);
        const struct sampling sampling = random_sampling(ROWS_MAX - 6);
        ck_assert_int_eq(draw_first(&sampling), reference_draw(&sampling, ROWS_MAX - 6));
    }
}
END_TEST

/* Zeros of both signs are equal scores: the best being -0 must not push +0 behind the rest. */
START_TEST(sampler_draws_as_the_sorted_reference_when_zeros_have_signs)
{
    for (uint32_t index = 0; index < 1000; index++) {
        logits[index] = index == 0 || random_word() % 2 == 0 ? -0.0f : 0.0f;
    }
    for (int round = 0; round < 500; round++) {
        struct sampling sampling = random_sampling(1000);
        sampling.top_k = 1 + random_word() % 20;
        ck_assert_int_eq(draw_first(&sampling), reference_draw(&sampling, 1000));
    }
}
END_TEST

static const uint32_t recorded_digest = 3554717604;

/* One number for tokens and log-probabilities of many draws. Recorded once: another compiler, the
 * portable variant of the loops and other devices must come to the same. */
START_TEST(sampler_gives_recorded_draws_when_built_anywhere)
{
    close_sampler();
    open_sampler(1000, 997);
    uint32_t digest = 2166136261; /* FNV-1a. */
    for (int round = 0; round < 300; round++) {
        fill_row(1000);
        struct sampling sampling = random_sampling(997);
        sampling.logprobs_wanted = 5;
        sampling.presence_penalty = 0.3f;
        sampling.frequency_penalty = 0.7f;
        sampling.repetition_penalty = 1.1f;
        sampling.penalty_decay = 0.996f;
        sampler_start(sampler, &sampling);
        for (int index = 0; index < 4; index++) {
            const struct sampled sampled = draw();
            digest = (digest ^ (uint32_t)sampled.token) * 16777619;
            digest = (digest ^ sampler_math_bits(sampled.logprob)) * 16777619;
            for (uint32_t place = 0; place < sampled.top_count; place++) {
                digest = (digest ^ (uint32_t)sampled.top[place].token) * 16777619;
                digest = (digest ^ sampler_math_bits(sampled.top[place].logprob)) * 16777619;
            }
        }
    }
    ck_assert_uint_eq(digest, recorded_digest);
}
END_TEST

START_TEST(sampler_follows_the_distribution_when_drawing_often)
{
    enum { DRAWS = 40000 };
    int counts[8] = {0};
    for (int index = 0; index < 8; index++) {
        logits[index] = -0.5f * (float)index;
    }
    close_sampler();
    open_sampler(8, 8);
    const struct sampling sampling = {.temperature = 0.8f,
                                      .ignore_eos = true,
                                      .seed = 7,
                                      .max_tokens = DRAWS,
                                      .logprobs_wanted = -1};
    sampler_start(sampler, &sampling);
    for (int index = 0; index < DRAWS; index++) {
        counts[draw().token]++;
    }
    double total = 0.0;
    for (int index = 0; index < 8; index++) {
        total += exp(-0.5 / 0.8 * index);
    }
    double chi_square = 0.0;
    for (int index = 0; index < 8; index++) {
        const double expected = DRAWS * exp(-0.5 / 0.8 * index) / total;
        chi_square += (counts[index] - expected) * (counts[index] - expected) / expected;
    }
    ck_assert_double_lt(chi_square, 18.5); /* 7 degrees of freedom: 99 %. The seed is fixed. */
}
END_TEST

START_TEST(sampler_draws_differ_when_choice_or_seed_or_index_differ)
{
    close_sampler();
    open_sampler(1000, 1000);
    memset(logits, 0, sizeof(logits));
    struct sampling sampling = {.temperature = 1.0f, .max_tokens = 10, .logprobs_wanted = -1};
    const int32_t first = draw_first(&sampling);
    ck_assert_int_eq(draw_first(&sampling), first);
    ck_assert_int_ne(draw().token, first);
    sampling.choice = 1;
    ck_assert_int_ne(draw_first(&sampling), first);
    sampling.choice = 0;
    sampling.seed = UINT64_C(1) << 32;
    ck_assert_int_ne(draw_first(&sampling), first);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine/sampler_draws");
    TCase *draws = tcase_create("draws");
    tcase_set_timeout(draws, 100);
    tcase_add_checked_fixture(draws, setup, close_sampler);
    tcase_add_test(draws,
                   sampler_draws_as_the_sorted_reference_when_rows_and_parameters_are_random);
    tcase_add_test(draws, sampler_draws_as_the_sorted_reference_when_vocabulary_is_large);
    tcase_add_test(draws, sampler_draws_as_the_sorted_reference_when_zeros_have_signs);
    tcase_add_test(draws, sampler_gives_recorded_draws_when_built_anywhere);
    tcase_add_test(draws, sampler_follows_the_distribution_when_drawing_often);
    tcase_add_test(draws, sampler_draws_differ_when_choice_or_seed_or_index_differ);
    suite_add_tcase(suite, draws);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
