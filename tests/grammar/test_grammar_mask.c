/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a mask that forbids a token that fits, or allows one that does not.
 * Shown by: every bit against an attempt to take the token, along random texts, with caches of one
 * mask and of many; with SKEIN_TEST_VOCAB also over the World vocabulary. */
#include "grammar/grammar_mask.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/tokenizer.h"
#include "grammar_case.h"
#include "small_vocabulary.h"

#define NESTED                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"c\":{\"type\":\"array\",\"items\":"                    \
    "{\"$ref\":\"#\"}}},\"required\":[\"c\"],\"additionalProperties\":false}"

static const char *const schemas[] = {
    "true",
    "{\"type\":\"string\",\"minLength\":2,\"maxLength\":6}",
    "{\"type\":\"string\",\"pattern\":\"^(a\\\"b|n\xc3\xa9|[\\\\x00-\\\\x1f])*$\"}",
    "{\"enum\":[\"the name\",\"the\",\"\xf0\x9f\x98\x80\",12,120,null,\"\\n\"]}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"na\":{\"type\":"
    "\"integer\",\"minimum\":-5,\"maximum\":12}},\"required\":[\"name\"],"
    "\"additionalProperties\":{\"type\":\"boolean\"}}",
    "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"number\",\"maximum\":2.5},{\"type\":"
    "\"string\",\"maxLength\":2},{\"type\":\"string\",\"minLength\":3}]},\"minItems\":1,"
    "\"maxItems\":3}",
    NESTED,
};

static uint64_t random_state = 7;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % limit);
}

static bool bit(const uint32_t *mask, uint32_t token)
{
    return (mask[token / 32] >> (token % 32) & 1) != 0;
}

/* Compares all bits with attempts; returns a random token that is allowed, and 0 only when there is
 * no other. */
static uint32_t check_mask(const struct grammar_vocabulary_options *options, const uint32_t *mask,
                           const struct grammar_state *state, struct grammar_state *trial)
{
    uint32_t chosen = 0;
    uint32_t allowed = 0;
    ck_assert_int_eq(bit(mask, 0), grammar_is_complete(state));
    for (uint32_t token = 1; token < options->token_count; token++) {
        const struct text text = options->token_text(options->context, (int32_t)token);
        grammar_state_copy(trial, state);
        const bool fits = text.len > 0 && grammar_advance(trial, text);
        ck_assert_msg(bit(mask, token) == fits, "token %u '%.*s': mask says %d", token,
                      (int)text.len, text.bytes, bit(mask, token));
        if (fits && random_below(++allowed) == 0) {
            chosen = token;
        }
    }
    for (uint32_t token = options->token_count; token < options->row_count; token++) {
        ck_assert(!bit(mask, token));
    }
    ck_assert(allowed > 0 || bit(mask, 0));
    return chosen;
}

static void check_schema(const struct grammar_vocabulary_options *options,
                         struct grammar_masks *masks, const char *schema, int steps)
{
    struct grammar *grammar = grammar_case_schema(schema);
    struct grammar_state *state = grammar_state_create(grammar);
    struct grammar_state *trial = grammar_state_create(grammar);
    for (int step = 0; step < steps; step++) {
        const uint32_t *mask = grammar_masks_find(masks, state);
        const uint32_t token = check_mask(options, mask, state, trial);
        if (token == 0) {
            grammar_state_reset(state);
            continue;
        }
        ck_assert(grammar_advance(state, options->token_text(options->context, (int32_t)token)));
    }
    grammar_state_destroy(trial);
    grammar_state_destroy(state);
    grammar_release(grammar);
}

static void check_all(const struct grammar_vocabulary_options *options, size_t cache_bytes,
                      int steps)
{
    struct grammar_vocabulary *vocabulary;
    struct error error;
    ck_assert_int_eq(grammar_vocabulary_create(options, &vocabulary, &error), ERROR_NONE);
    struct grammar_masks *masks = grammar_masks_create(vocabulary, cache_bytes);
    ck_assert_ptr_nonnull(masks);
    for (size_t index = 0; index < sizeof(schemas) / sizeof(schemas[0]); index++) {
        check_schema(options, masks, schemas[index], steps);
    }
    grammar_masks_destroy(masks);
    grammar_vocabulary_destroy(vocabulary);
}

START_TEST(grammar_mask_agrees_with_attempts_when_cache_is_large)
{
    const uint32_t count = small_vocabulary_count();
    const struct grammar_vocabulary_options options = {
        .row_count = count + 77, .token_count = count, .token_text = small_vocabulary_text};
    check_all(&options, 8 << 20, 400);
}
END_TEST

START_TEST(grammar_mask_agrees_with_attempts_when_cache_holds_few)
{
    const uint32_t count = small_vocabulary_count();
    const struct grammar_vocabulary_options options = {
        .row_count = count, .token_count = count, .token_text = small_vocabulary_text};
    check_all(&options, 0, 100);
    check_all(&options, 5000, 100);
}
END_TEST

START_TEST(grammar_mask_is_found_again_when_place_recurs)
{
    const uint32_t count = small_vocabulary_count();
    const struct grammar_vocabulary_options options = {
        .row_count = count, .token_count = count, .token_text = small_vocabulary_text};
    struct grammar_vocabulary *vocabulary;
    struct error error;
    ck_assert_int_eq(grammar_vocabulary_create(&options, &vocabulary, &error), ERROR_NONE);
    struct grammar_masks *masks = grammar_masks_create(vocabulary, 1 << 20);
    struct grammar *grammar =
        grammar_case_schema("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":"
                            "500},\"maxItems\":500}");
    struct grammar_state *state = grammar_state_create(grammar);
    ck_assert(grammar_advance(state, TEXT("[\"")));
    for (int item = 0; item < 100; item++) {
        (void)grammar_masks_find(masks, state); /* In a string, far from both limits. */
        ck_assert(grammar_advance(state, TEXT("abc")));
        (void)grammar_masks_find(masks, state);
        ck_assert(grammar_advance(state, TEXT("\",\"")));
    }
    ck_assert_uint_eq(grammar_masks_count(masks).built, 1);
    ck_assert_uint_eq(grammar_masks_count(masks).found, 199);
    grammar_state_destroy(state);
    grammar_release(grammar);
    grammar_masks_destroy(masks);
    grammar_vocabulary_destroy(vocabulary);
}
END_TEST

static uint64_t no_time(void *context)
{
    (void)context;
    return 1; /* Every deadline has passed. */
}

/* Begins many arrays at once: each item is of any of 60 kinds. */
static struct grammar *many_readings(void)
{
    char schema[60 * 64 + 64];
    size_t len = (size_t)snprintf(schema, sizeof(schema), "{\"anyOf\":[{\"type\":\"null\"}");
    for (int kind = 0; kind < 60; kind++) {
        len += (size_t)snprintf(schema + len, sizeof(schema) - len,
                                ",{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"maxItems\":%d}",
                                1000 + kind);
    }
    snprintf(schema + len, sizeof(schema) - len, "]}");
    return grammar_case_schema(schema);
}

START_TEST(grammar_mask_is_prepared_part_by_part_when_there_is_no_time)
{
    const struct clock clock = {.monotonic_ns = no_time};
    const uint32_t count = small_vocabulary_count();
    const struct grammar_vocabulary_options options = {
        .row_count = count, .token_count = count, .token_text = small_vocabulary_text};
    struct grammar_vocabulary *vocabulary;
    struct error error;
    ck_assert_int_eq(grammar_vocabulary_create(&options, &vocabulary, &error), ERROR_NONE);
    struct grammar_masks *masks = grammar_masks_create(vocabulary, 2 << 20);
    struct grammar *grammar = many_readings();
    struct grammar_state *state = grammar_state_create(grammar);
    struct grammar_state *trial = grammar_state_create(grammar);
    for (uint32_t depth = 1; depth <= 2; depth++) {
        const struct grammar_masks_counters before = grammar_masks_count(masks);
        uint32_t calls = 1;
        ck_assert(grammar_advance(state, TEXT("[")));
        ck_assert(!grammar_masks_prepare(masks, state, &clock, 0));
        ck_assert_uint_eq(grammar_masks_count(masks).built, before.built);
        while (!grammar_masks_prepare(masks, state, &clock, 1)) {
            ck_assert_uint_eq(grammar_masks_count(masks).built - before.built, calls);
            calls++;
        }
        ck_assert_uint_ge(calls, 60);
        (void)check_mask(&options, grammar_masks_find(masks, state), state, trial);
        ck_assert_uint_eq(grammar_masks_count(masks).built - before.built, calls);
    }
    grammar_state_destroy(trial);
    grammar_state_destroy(state);
    grammar_release(grammar);
    grammar_masks_destroy(masks);
    grammar_vocabulary_destroy(vocabulary);
}
END_TEST

START_TEST(grammar_mask_is_never_that_of_a_grammar_released)
{
    const uint32_t count = small_vocabulary_count();
    const struct grammar_vocabulary_options options = {
        .row_count = count, .token_count = count, .token_text = small_vocabulary_text};
    struct grammar_vocabulary *vocabulary;
    struct error error;
    ck_assert_int_eq(grammar_vocabulary_create(&options, &vocabulary, &error), ERROR_NONE);
    struct grammar_masks *masks = grammar_masks_create(vocabulary, 1 << 20);
    for (int round = 0; round < 8; round++) {
        struct grammar *grammar = grammar_case_schema(round % 2 == 0 ? "{\"enum\":[\"a\",\"b\"]}"
                                                                     : "{\"enum\":[\"c\",\"d\"]}");
        struct grammar_state *state = grammar_state_create(grammar);
        ck_assert(grammar_advance(state, TEXT("\"")));
        const uint32_t *mask = grammar_masks_find(masks, state);
        ck_assert_int_eq(bit(mask, 'a' + 1), round % 2 == 0);
        ck_assert_int_eq(bit(mask, 'd' + 1), round % 2 == 1);
        grammar_state_destroy(state);
        grammar_release(grammar);
    }
    grammar_masks_destroy(masks);
    grammar_vocabulary_destroy(vocabulary);
}
END_TEST

static struct text world_text(const void *context, int32_t token)
{
    return tokenizer_decode(context, token);
}

START_TEST(grammar_mask_agrees_with_attempts_over_the_world_vocabulary)
{
    struct tokenizer *tokenizer;
    struct error error;
    ck_assert_int_eq(tokenizer_open(getenv("SKEIN_TEST_VOCAB"), &tokenizer, &error), ERROR_NONE);
    const struct grammar_vocabulary_options options = {.row_count = 65536,
                                                       .token_count =
                                                           tokenizer_token_count(tokenizer),
                                                       .token_text = world_text,
                                                       .context = tokenizer};
    check_all(&options, 1 << 20, 6);
    tokenizer_close(tokenizer);
}
END_TEST

int main(void)
{
    TCase *mask = tcase_create("grammar_mask");
    tcase_set_timeout(mask, 300);
    tcase_add_test(mask, grammar_mask_agrees_with_attempts_when_cache_is_large);
    tcase_add_test(mask, grammar_mask_agrees_with_attempts_when_cache_holds_few);
    tcase_add_test(mask, grammar_mask_is_found_again_when_place_recurs);
    tcase_add_test(mask, grammar_mask_is_prepared_part_by_part_when_there_is_no_time);
    tcase_add_test(mask, grammar_mask_is_never_that_of_a_grammar_released);
    const char *world = getenv("SKEIN_TEST_VOCAB");
    if (world != NULL && access(world, R_OK) == 0) {
        tcase_add_test(mask, grammar_mask_agrees_with_attempts_over_the_world_vocabulary);
    }
    Suite *suite = suite_create("grammar/grammar_mask");
    suite_add_tcase(suite, mask);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
