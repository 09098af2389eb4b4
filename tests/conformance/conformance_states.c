/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/conformance_states.c - cases about starting, forking and saving states.
 *
 * At stake: states as things: begun, forked, saved, restored, and never copied without need.
 * Shown by: continuations from a copy that equal the uninterrupted run bit by bit, by slots filled
 * with rubbish before they are used again, and by the counter of copied bytes. */
#include "tests/conformance/backend_conformance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/state_snapshot.h"
#include "tests/data/golden_expected.h"

enum { TOKEN_COUNT = sizeof(golden_tokens) / sizeof(golden_tokens[0]) };

/* A new sequence in slot 2; logits after its first and its last token. The last layer's channel-mix
 * shift shows in the first ones only. */
static void feed_prompt(struct fixture *fixture, float logits[2][GOLDEN_V])
{
    fixture_start(fixture, 2);
    fixture_feed(fixture, 2, golden_tokens, 1, logits[0]);
    fixture_feed(fixture, 2, golden_tokens + 1, TOKEN_COUNT - 1, logits[1]);
}

START_TEST(backend_slot_is_new_when_it_held_rubbish_before)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    float *rubbish = malloc(fixture.state_floats * sizeof(*rubbish));
    float first[2][GOLDEN_V], again[2][GOLDEN_V];
    for (uint32_t round = 0; round < 2; round++) {
        for (size_t index = 0; index < fixture.state_floats; index++) {
            rubbish[index] = round == 0 ? NAN : 1e3f * (float)(index % 17);
        }
        feed_prompt(&fixture, first);
        fixture_load(&fixture, 2, rubbish);
        fixture_feed(&fixture, 2, golden_tokens, 2, NULL);
        feed_prompt(&fixture, again);
        fixture_assert_same_bits("logits", again[0], first[0], 2 * GOLDEN_V);
        const struct golden_row row = golden_row_of(again[1]);
        ck_assert(logits_agree(row.logits, golden_logits[TOKEN_COUNT - 1], GOLDEN_V,
                               fixture.under_test->logit_error_max));
    }
    /* Nothing of a started slot may be what it was, also where no logits would tell. */
    fixture_load(&fixture, 2, rubbish);
    fixture_start(&fixture, 2);
    float *started = fixture_state(&fixture, 2);
    for (size_t index = 0; index < fixture.state_floats; index++) {
        ck_assert(started[index] == 0.0f);
    }
    free(started);
    free(rubbish);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_continues_the_same_when_restored_from_a_snapshot)
{
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    const struct model_spec *spec = &fixture.model.spec;
    float whole[GOLDEN_V];
    fixture_start(&fixture, 0);
    fixture_feed(&fixture, 0, golden_tokens, TOKEN_COUNT, whole);
    void *snapshot = malloc(state_snapshot_bytes(spec));
    for (uint32_t point = 1; point < TOKEN_COUNT; point += 6) {
        struct error error = {0};
        uint64_t ticket = 0;
        fixture_start(&fixture, 1);
        fixture_feed(&fixture, 1, golden_tokens, point, NULL);
        ck_assert_int_eq(backend_state_save(fixture.backend, 1, state_snapshot_payload(snapshot),
                                            &ticket, &error),
                         ERROR_NONE);
        while (!backend_ticket_is_done(fixture.backend, ticket)) {
        }
        state_snapshot_seal(snapshot, spec, point);

        const void *payload = NULL;
        uint64_t token_count = 0;
        ck_assert_int_eq(state_snapshot_check(snapshot, state_snapshot_bytes(spec), spec, &payload,
                                              &token_count, &error),
                         ERROR_NONE);
        ck_assert_uint_eq(token_count, point);
        float logits[GOLDEN_V];
        fixture_start(&fixture, 40);
        fixture_load(&fixture, 40, payload);
        fixture_feed(&fixture, 40, golden_tokens + point, TOKEN_COUNT - point, logits);
        fixture_assert_same(&fixture, "logits", logits, whole, GOLDEN_V);
    }
    free(snapshot);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_children_are_independent_when_a_slot_is_forked)
{
    enum { CHILDREN = 5, PARENT = 9, PARENT_TOKENS = 12 };
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    fixture_start(&fixture, PARENT);
    fixture_feed(&fixture, PARENT, golden_tokens, PARENT_TOKENS, NULL);
    float *parent = fixture_state(&fixture, PARENT);

    /* Each child goes its own way in the very step that forks it; one by a single token. */
    int32_t tokens[CHILDREN][24];
    float logits[CHILDREN][GOLDEN_V];
    struct backend_item items[CHILDREN];
    struct backend_counters before, after;
    for (uint32_t child = 0; child < CHILDREN; child++) {
        random_tokens(child + 1, tokens[child], 24);
        fixture_start(&fixture, child);
        items[child] = fixture_item(child, tokens[child], 1 + child * 3, logits[child]);
        items[child].source_slot = PARENT;
    }
    backend_counters(fixture.backend, &before);
    fixture_step(&fixture, items, CHILDREN);
    backend_counters(fixture.backend, &after);
    ck_assert_uint_eq(after.state_copied_bytes, before.state_copied_bytes);

    float *parent_after = fixture_state(&fixture, PARENT);
    fixture_assert_same_bits("parent", parent_after, parent, fixture.state_floats);
    for (uint32_t child = 0; child < CHILDREN; child++) {
        float alone[GOLDEN_V];
        fixture_start(&fixture, 20);
        fixture_load(&fixture, 20, parent);
        fixture_feed(&fixture, 20, tokens[child], 1 + child * 3, alone);
        fixture_assert_same(&fixture, "logits", logits[child], alone, GOLDEN_V);
        float *state = fixture_state(&fixture, child);
        float *expected = fixture_state(&fixture, 20);
        fixture_assert_same(&fixture, "state", state, expected, fixture.state_floats);
        free(expected);
        free(state);
    }
    free(parent_after);
    free(parent);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_forked_prompt_is_the_same_when_it_spans_a_long_chunk)
{
    /* A fork whose rows are more than any internal division of a step. */
    enum { CHUNK = 700 };
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    static int32_t tokens[CHUNK];
    random_tokens(9, tokens, CHUNK);
    float forked[GOLDEN_V], plain[GOLDEN_V];
    fixture_start(&fixture, 0);
    fixture_feed(&fixture, 0, golden_tokens, 5, NULL);
    fixture_start(&fixture, 1);
    struct backend_item item = fixture_item(1, tokens, CHUNK, forked);
    item.source_slot = 0;
    fixture_step(&fixture, &item, 1);
    for (uint32_t at = 0; at < CHUNK; at += 100) {
        fixture_feed(&fixture, 0, tokens + at, 100, plain);
    }
    fixture_assert_same(&fixture, "logits", forked, plain, GOLDEN_V);
    fixture_close(&fixture);
}
END_TEST

START_TEST(backend_copies_no_state_when_decoding_steadily)
{
    enum { BATCH = 8, STEPS = 100 };
    struct fixture fixture;
    fixture_open(&fixture, conformance_under_test(_i), &(struct golden_options){0});
    struct backend_item items[BATCH];
    for (uint32_t row = 0; row < BATCH; row++) {
        fixture_start(&fixture, row);
        items[row] = fixture_item(row, &golden_tokens[row], 1, NULL);
        items[row].want = BACKEND_WANT_SAMPLE;
    }
    struct backend_counters before, after;
    backend_counters(fixture.backend, &before);
    for (uint32_t step = 0; step < STEPS; step++) {
        fixture_step(&fixture, items, BATCH);
        for (uint32_t row = 0; row < BATCH; row++) {
            items[row].tokens = NULL;
        }
    }
    backend_counters(fixture.backend, &after);
    ck_assert_uint_eq(after.state_copied_bytes, before.state_copied_bytes);
    ck_assert_uint_eq(after.tokens - before.tokens, BATCH * STEPS);
    free(fixture_state(&fixture, 0));
    backend_counters(fixture.backend, &before);
    ck_assert_uint_eq(before.state_copied_bytes - after.state_copied_bytes,
                      fixture.backend->state_bytes);
    fixture_close(&fixture);
}
END_TEST

void conformance_add_state_cases(Suite *suite, int backend_count)
{
    TCase *tests = tcase_create("states");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, backend_slot_is_new_when_it_held_rubbish_before, 0, backend_count);
    tcase_add_loop_test(tests, backend_continues_the_same_when_restored_from_a_snapshot, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_children_are_independent_when_a_slot_is_forked, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_forked_prompt_is_the_same_when_it_spans_a_long_chunk, 0,
                        backend_count);
    tcase_add_loop_test(tests, backend_copies_no_state_when_decoding_steadily, 0, backend_count);
    suite_add_tcase(suite, tests);
}
