/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a grammar for the wrong request, memory without bound, a refusal paid for twice.
 * Shown by: counters after the same and nearly the same requests; budgets; threads in a race. */
#include "grammar/grammar_cache.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar_case.h"

static struct grammar *find(struct grammar_cache *cache, const char *pattern, const char *name)
{
    const struct grammar_part part = {
        .kind = GRAMMAR_PART_REGEX, .text = text_from(pattern), .name = text_from(name)};
    struct grammar *grammar;
    struct error error = {0};
    const enum error_code code =
        grammar_cache_find(cache, &part, &grammar_case_options, &grammar, &error);
    ck_assert_int_eq(code, error.code);
    ck_assert_int_eq(code == ERROR_NONE, grammar != NULL);
    return grammar;
}

START_TEST(grammar_cache_compiles_once_when_request_is_the_same)
{
    struct grammar_cache *cache = grammar_cache_create(1 << 20);
    struct grammar *first = find(cache, "a+", "");
    struct grammar *again = find(cache, "a+", "");
    struct grammar *other = find(cache, "a*", "");
    ck_assert_ptr_eq(first, again);
    ck_assert_ptr_ne(first, other);
    ck_assert_uint_eq(grammar_cache_count(cache).found, 1);
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 2);
    grammar_release(other);
    grammar_release(again);
    grammar_cache_destroy(cache); /* What was handed out lives on. */
    grammar_case_check(first, GRAMMAR_ACCEPTED, GRAMMAR_TEXTS("aaa"));
    grammar_release(first);
}
END_TEST

START_TEST(grammar_cache_tells_apart_what_differs_in_options_or_shape)
{
    struct grammar_cache *cache = grammar_cache_create(1 << 20);
    static const struct grammar_part letters[] = {
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "a", .len = 1}},
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "b", .len = 1}}};
    static const struct grammar_part joined[] = {
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "ab", .len = 2}},
        {.kind = GRAMMAR_PART_TEXT, .text = {.bytes = "", .len = 0}}};
    const struct grammar_part parts[] = {
        {.kind = GRAMMAR_PART_SEQUENCE, .parts = letters, .part_count = 2},
        {.kind = GRAMMAR_PART_CHOICE, .parts = letters, .part_count = 2},
        {.kind = GRAMMAR_PART_SEQUENCE, .parts = joined, .part_count = 2},
        {.kind = GRAMMAR_PART_REPEAT, .parts = letters, .part_count = 1, .min = 1},
        {.kind = GRAMMAR_PART_REPEAT, .parts = letters, .part_count = 1, .min = 2},
        {.kind = GRAMMAR_PART_OBJECT}};
    const struct grammar_options options[] = {{.white_space_max = 1},
                                              {.white_space_max = 2},
                                              {.order = GRAMMAR_ORDER_SCHEMA},
                                              {.objects = GRAMMAR_OBJECTS_CLOSED}};
    for (size_t round = 0; round < 2; round++) {
        for (size_t part = 0; part < 6; part++) {
            for (size_t option = 0; option < 4; option++) {
                struct grammar *grammar;
                ck_assert_int_eq(
                    grammar_cache_find(cache, &parts[part], &options[option], &grammar, NULL),
                    ERROR_NONE);
                grammar_release(grammar);
            }
        }
    }
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 24);
    ck_assert_uint_eq(grammar_cache_count(cache).found, 24);
    grammar_cache_destroy(cache);
}
END_TEST

START_TEST(grammar_cache_keeps_refusals_with_their_message)
{
    struct grammar_cache *cache = grammar_cache_create(1 << 20);
    const struct grammar_part part = {
        .kind = GRAMMAR_PART_REGEX, .text = TEXT("(a|b)*a(a|b){20}"), .name = TEXT("r")};
    struct error errors[2] = {{0}};
    for (int round = 0; round < 2; round++) {
        struct grammar *grammar;
        ck_assert_int_eq(
            grammar_cache_find(cache, &part, &grammar_case_options, &grammar, &errors[round]),
            ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_null(grammar);
    }
    ck_assert_str_eq(errors[0].message, errors[1].message);
    ck_assert_ptr_nonnull(strstr(errors[0].message, "r: too complex"));
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 1);
    ck_assert_ptr_null(find(cache, "(", "other name"));
    ck_assert_ptr_null(find(cache, "(", ""));
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 3);
    grammar_cache_destroy(cache);
}
END_TEST

START_TEST(grammar_cache_drops_the_oldest_when_budget_is_reached)
{
    struct grammar_cache *cache = grammar_cache_create(10 * 4096);
    char pattern[16];
    for (int index = 0; index < 30; index++) {
        snprintf(pattern, sizeof(pattern), "a%d", index);
        grammar_release(find(cache, "kept", ""));
        grammar_release(find(cache, pattern, ""));
        ck_assert_uint_le(grammar_cache_count(cache).bytes, 10 * 4096);
    }
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 31);
    grammar_release(find(cache, "a29", ""));
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 31);
    grammar_release(find(cache, "a3", ""));
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 32);
    grammar_cache_destroy(cache);
    cache = grammar_cache_create(100); /* Nothing fits: still right. */
    grammar_release(find(cache, "a", ""));
    grammar_release(find(cache, "a", ""));
    ck_assert_uint_eq(grammar_cache_count(cache).compiled, 2);
    ck_assert_uint_eq(grammar_cache_count(cache).bytes, 0);
    grammar_cache_destroy(cache);
}
END_TEST

static void *find_many(void *context)
{
    for (int round = 0; round < 200; round++) {
        char pattern[16];
        snprintf(pattern, sizeof(pattern), "x{%d}", 1 + round % 7);
        const struct grammar_part part = {.kind = GRAMMAR_PART_REGEX, .text = text_from(pattern)};
        struct grammar *grammar;
        if (grammar_cache_find(context, &part, &grammar_case_options, &grammar, NULL) !=
            ERROR_NONE) {
            return context;
        }
        struct grammar_state *state = grammar_state_create(grammar);
        grammar_release(grammar);
        const bool right = grammar_advance(state, (struct text){.bytes = "xxxxxxx",
                                                                .len = 1 + (size_t)round % 7}) &&
                           grammar_is_complete(state);
        grammar_state_destroy(state);
        if (!right) {
            return context;
        }
    }
    return NULL;
}

START_TEST(grammar_cache_serves_threads_at_the_same_time)
{
    struct grammar_cache *cache = grammar_cache_create(4 * 4096);
    pthread_t threads[4];
    for (size_t index = 0; index < 4; index++) {
        ck_assert_int_eq(pthread_create(&threads[index], NULL, find_many, cache), 0);
    }
    for (size_t index = 0; index < 4; index++) {
        void *failed;
        ck_assert_int_eq(pthread_join(threads[index], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    const struct grammar_cache_counters counters = grammar_cache_count(cache);
    ck_assert_uint_eq(counters.found + counters.compiled, 800);
    grammar_cache_destroy(cache);
}
END_TEST

int main(void)
{
    TCase *cache = tcase_create("grammar_cache");
    tcase_set_timeout(cache, 60);
    tcase_add_test(cache, grammar_cache_compiles_once_when_request_is_the_same);
    tcase_add_test(cache, grammar_cache_tells_apart_what_differs_in_options_or_shape);
    tcase_add_test(cache, grammar_cache_keeps_refusals_with_their_message);
    tcase_add_test(cache, grammar_cache_drops_the_oldest_when_budget_is_reached);
    tcase_add_test(cache, grammar_cache_serves_threads_at_the_same_time);
    Suite *suite = suite_create("grammar/grammar_cache");
    suite_add_tcase(suite, cache);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
