/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/conformance_sequences.c - cases about chunks, company, slots and order.
 *
 * At stake: that a sequence is alone with its state, however it is cut and whoever runs beside it.
 * Shown by: the same prompts alone and packed, whole and in pieces, in any slot and order; results
 * are compared bit by bit. */
#include "tests/conformance/backend_conformance.h"

#include <stdlib.h>
#include <string.h>

#include "tests/data/golden_expected.h"

enum {
    PROMPT_COUNT = 7,
    PROMPT_TOKENS_MAX = 300,
    TOKEN_COUNT = sizeof(golden_tokens) / sizeof(golden_tokens[0]),
};

static const uint32_t prompt_lengths[PROMPT_COUNT] = {1, 300, 2, 17, 64, 33, 255};

/* Different prompts and what each comes to when it runs alone. */
struct prompts {
    int32_t tokens[PROMPT_COUNT][PROMPT_TOKENS_MAX];
    float logits[PROMPT_COUNT][GOLDEN_V];
    float *states[PROMPT_COUNT];
};

static struct prompts *prompts_create(struct fixture *fixture)
{
    struct prompts *prompts = calloc(1, sizeof(*prompts));
    ck_assert_ptr_nonnull(prompts);
    for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
        random_tokens(100 + index, prompts->tokens[index], prompt_lengths[index]);
        fixture_start(fixture, 60);
        fixture_feed(fixture, 60, prompts->tokens[index], prompt_lengths[index],
                     prompts->logits[index]);
        prompts->states[index] = fixture_state(fixture, 60);
    }
    return prompts;
}

static void prompts_destroy(struct prompts *prompts)
{
    for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
        free(prompts->states[index]);
    }
    free(prompts);
}

/* Checks that the slot holds what the prompt leaves when it runs alone: S and both shifts. */
static void assert_state_of(struct fixture *fixture, const struct prompts *prompts,
                            uint32_t prompt, uint32_t slot)
{
    float *state = fixture_state(fixture, slot);
    fixture_assert_same(fixture, "state", state, prompts->states[prompt], fixture->state_floats);
    free(state);
}

START_TEST(backend_batch_equals_single_runs_when_lengths_differ)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct prompts *prompts = prompts_create(&fixture);
    float logits[PROMPT_COUNT][GOLDEN_V];
    struct backend_item items[PROMPT_COUNT];
    for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
        fixture_start(&fixture, index + 3);
        items[index] = fixture_item(index + 3, prompts->tokens[index], prompt_lengths[index],
                                    logits[index]);
    }
    fixture_step(&fixture, items, PROMPT_COUNT);
    for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
        fixture_assert_same(&fixture, "logits", logits[index], prompts->logits[index], GOLDEN_V);
        assert_state_of(&fixture, prompts, index, index + 3);
    }
    prompts_destroy(prompts);
    fixture_close(&fixture);
}
END_TEST

/* Runs all prompts in slots first_slot.. in random pieces, several resumed together in a step. */
static void run_in_pieces(struct fixture *fixture, const struct prompts *prompts,
                          uint32_t first_slot, uint32_t seed, float (*logits)[GOLDEN_V])
{
    uint32_t done[PROMPT_COUNT] = {0};
    for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
        fixture_start(fixture, first_slot + index);
    }
    for (;;) {
        struct backend_item items[PROMPT_COUNT];
        uint32_t item_count = 0;
        for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
            const uint32_t left = prompt_lengths[index] - done[index];
            if (left == 0 || random_below(&seed, 4) == 0) {
                continue; /* Rests in this step. */
            }
            /* One row in half of the cases: decode and prefill rows in one step. */
            const uint32_t wanted = random_below(&seed, 2) == 0 ? 1 : 1 + random_below(&seed, 80);
            const uint32_t count = wanted < left ? wanted : left;
            items[item_count] = fixture_item(first_slot + index,
                                             prompts->tokens[index] + done[index], count,
                                             logits[index]);
            item_count++;
            done[index] += count;
        }
        if (item_count > 0) {
            fixture_step(fixture, items, item_count);
        }
        if (memcmp(done, prompt_lengths, sizeof(done)) == 0) {
            return;
        }
    }
}

START_TEST(backend_batch_equals_single_runs_when_resumed_in_pieces)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct prompts *prompts = prompts_create(&fixture);
    for (uint32_t round = 0; round < 2; round++) {
        float logits[PROMPT_COUNT][GOLDEN_V];
        run_in_pieces(&fixture, prompts, 10 * round, 77 + round, logits);
        for (uint32_t index = 0; index < PROMPT_COUNT; index++) {
            fixture_assert_same(&fixture, "logits", logits[index], prompts->logits[index],
                                GOLDEN_V);
            assert_state_of(&fixture, prompts, index, 10 * round + index);
        }
    }
    prompts_destroy(prompts);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_result_is_the_same_when_a_prompt_is_split_anywhere)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    /* Logits after each token, when all tokens up to it come in one call. */
    float whole[TOKEN_COUNT][GOLDEN_V];
    for (uint32_t t = 0; t < TOKEN_COUNT; t++) {
        fixture_start(&fixture, 0);
        fixture_feed(&fixture, 0, golden_tokens, t + 1, whole[t]);
    }
    float *state = fixture_state(&fixture, 0);
    for (uint32_t split = 1; split < TOKEN_COUNT; split++) {
        float logits[2][GOLDEN_V];
        fixture_start(&fixture, 1);
        fixture_feed(&fixture, 1, golden_tokens, split, logits[0]);
        fixture_feed(&fixture, 1, golden_tokens + split, TOKEN_COUNT - split, logits[1]);
        fixture_assert_same(&fixture, "before the split", logits[0], whole[split - 1], GOLDEN_V);
        fixture_assert_same(&fixture, "after the split", logits[1], whole[TOKEN_COUNT - 1],
                            GOLDEN_V);
        float *split_state = fixture_state(&fixture, 1);
        fixture_assert_same(&fixture, "state", split_state, state, fixture.state_floats);
        free(split_state);
    }
    fixture_start(&fixture, 2);
    for (uint32_t t = 0; t < TOKEN_COUNT; t++) {
        float logits[GOLDEN_V];
        fixture_feed(&fixture, 2, &golden_tokens[t], 1, logits);
        fixture_assert_same(&fixture, "one by one", logits, whole[t], GOLDEN_V);
    }
    free(state);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_processes_the_whole_prompt_when_the_slot_is_new_and_empty)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct backend_counters before, after;
    fixture_start(&fixture, 4);
    backend_counters(fixture.backend, &before);
    float logits[GOLDEN_V];
    fixture_feed(&fixture, 4, golden_tokens, TOKEN_COUNT, logits);
    backend_counters(fixture.backend, &after);
    ck_assert_uint_eq(after.tokens - before.tokens, TOKEN_COUNT);
    ck_assert_uint_eq(after.steps - before.steps, 1);
    const struct golden_row row = golden_row_of(logits);
    ck_assert(logits_agree(row.logits, golden_logits[TOKEN_COUNT - 1], GOLDEN_V,
                           fixture.under_test->logit_error_max));
    /* What a prompt cut to its last token would give. */
    const double last_token_only[4] = {0.35327453, -2.692393, -0.93804632, -1.4268484};
    ck_assert(!logits_agree(row.logits, last_token_only, 4, 0.1));
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_first_call_is_golden_when_it_has_one_token)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    float logits[GOLDEN_V];
    fixture_start(&fixture, 0);
    fixture_feed(&fixture, 0, golden_tokens, 1, logits);
    const struct golden_row row = golden_row_of(logits);
    ck_assert(logits_agree(row.logits, golden_logits[0], GOLDEN_V,
                           fixture.under_test->logit_error_max));
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_sequence_is_unchanged_when_others_start_and_stop)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct prompts *prompts = prompts_create(&fixture);
    const uint32_t watched = 4; /* 64 tokens, one by one in slot 3. */
    float logits[GOLDEN_V];
    int32_t noise[64];
    uint32_t seed = 5;
    fixture_start(&fixture, 3);
    for (uint32_t t = 0; t < prompt_lengths[watched]; t++) {
        struct backend_item items[8] = {
            fixture_item(3, &prompts->tokens[watched][t], 1, logits)};
        uint32_t item_count = 1;
        random_tokens(t, noise, 64);
        for (uint32_t slot = 4; slot < 10; slot++) {
            if (random_below(&seed, 3) == 0) {
                fixture_start(&fixture, slot); /* Cancelled, and a new one in its place. */
            }
            if (random_below(&seed, 2) == 0) {
                items[item_count] =
                    fixture_item(slot, noise, 1 + random_below(&seed, 8), NULL);
                item_count++;
            }
        }
        /* The watched row stands at any place in the step. */
        const uint32_t place = random_below(&seed, item_count);
        const struct backend_item moved = items[place];
        items[place] = items[0];
        items[0] = moved;
        fixture_step(&fixture, items, item_count);
    }
    fixture_assert_same(&fixture, "logits", logits, prompts->logits[watched], GOLDEN_V);
    assert_state_of(&fixture, prompts, watched, 3);
    prompts_destroy(prompts);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_results_follow_the_request_when_slots_and_order_change)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct prompts *prompts = prompts_create(&fixture);
    for (uint32_t round = 0; round < 2; round++) {
        float logits[PROMPT_COUNT][GOLDEN_V];
        struct backend_item items[PROMPT_COUNT];
        for (uint32_t place = 0; place < PROMPT_COUNT; place++) {
            const uint32_t prompt = (place * 3 + round) % PROMPT_COUNT;
            const uint32_t slot = (prompt * 5 + round * 11) % CONFORMANCE_SLOTS;
            fixture_start(&fixture, slot);
            items[place] = fixture_item(slot, prompts->tokens[prompt], prompt_lengths[prompt],
                                        logits[prompt]);
        }
        fixture_step(&fixture, items, PROMPT_COUNT);
        for (uint32_t prompt = 0; prompt < PROMPT_COUNT; prompt++) {
            fixture_assert_same(&fixture, "logits", logits[prompt], prompts->logits[prompt],
                                GOLDEN_V);
            assert_state_of(&fixture, prompts, prompt,
                            (prompt * 5 + round * 11) % CONFORMANCE_SLOTS);
        }
    }
    prompts_destroy(prompts);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_leaves_other_slots_alone_whatever_the_batch_size)
{
    static const uint32_t batch_sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 17, 64};
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    float alone[GOLDEN_V];
    fixture_start(&fixture, 0);
    fixture_feed(&fixture, 0, golden_tokens, 3, NULL);
    fixture_feed(&fixture, 0, &golden_tokens[3], 1, alone);
    for (uint32_t slot = 0; slot < CONFORMANCE_SLOTS; slot++) {
        fixture_start(&fixture, slot);
        fixture_feed(&fixture, slot, golden_tokens, 3, NULL);
    }
    float *before = fixture_state(&fixture, 0);
    for (size_t index = 0; index < sizeof(batch_sizes) / sizeof(batch_sizes[0]); index++) {
        const uint32_t batch_size = batch_sizes[index];
        static float logits[CONFORMANCE_SLOTS][GOLDEN_V];
        struct backend_item items[CONFORMANCE_SLOTS];
        for (uint32_t row = 0; row < batch_size; row++) {
            fixture_load(&fixture, row + 1, before);
            items[row] = fixture_item(row + 1, &golden_tokens[3], 1, logits[row]);
        }
        fixture_step(&fixture, items, batch_size);
        for (uint32_t row = 0; row < batch_size; row++) {
            fixture_assert_same(&fixture, "logits", logits[row], alone, GOLDEN_V);
        }
        static const uint32_t idle[] = {0, 65};
        for (size_t which = 0; which < 2; which++) {
            float *after = fixture_state(&fixture, idle[which]);
            fixture_assert_same_bits("idle slot", after, before, fixture.state_floats);
            free(after);
        }
    }
    free(before);
    fixture_close(&fixture);
}
END_TEST

void conformance_add_sequence_cases(Suite *suite, int backend_count)
{
    TCase *tests = tcase_create("sequences");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, backend_batch_equals_single_runs_when_lengths_differ, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_batch_equals_single_runs_when_resumed_in_pieces, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_result_is_the_same_when_a_prompt_is_split_anywhere, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_processes_the_whole_prompt_when_the_slot_is_new_and_empty,
                        0, backend_count);
    tcase_add_loop_test(tests, backend_first_call_is_golden_when_it_has_one_token, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_sequence_is_unchanged_when_others_start_and_stop, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_results_follow_the_request_when_slots_and_order_change, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_leaves_other_slots_alone_whatever_the_batch_size, 0,
                        backend_count);
    suite_add_tcase(suite, tests);
}
