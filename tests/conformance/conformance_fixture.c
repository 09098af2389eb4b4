/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/conformance_fixture.c - opens, steps, saves and compares.
 *
 * Thread: one. */
#include "tests/conformance/conformance_fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void fixture_open(struct fixture *fixture, const struct conformance_backend *under_test,
                  const struct golden_options *options)
{
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    *fixture = (struct fixture){.under_test = under_test};
    golden_model_open(&fixture->model, options);
    const struct backend_options backend_options = {
        .slot_count = CONFORMANCE_SLOTS,
        .row_count_max = CONFORMANCE_ROWS,
        .item_count_max = CONFORMANCE_SLOTS,
        .thread_count = under_test->thread_count,
        .vocabulary = {.row_count = GOLDEN_V, .token_count = GOLDEN_V},
    };
    struct error error = {0};
    const enum error_code code = under_test->open(under_test, &fixture->model.spec,
                                                  &backend_options, &fixture->backend, &error);
    ck_assert_msg(code == ERROR_NONE, "%s: %s", under_test->name, error.message);
    fixture->state_floats = model_spec_state_floats(&fixture->model.spec);
    ck_assert_uint_eq(fixture->backend->state_bytes, fixture->state_floats * sizeof(float));
}

void fixture_close(struct fixture *fixture)
{
    backend_close(fixture->backend);
    golden_model_close(&fixture->model);
}

struct sampling fixture_greedy(void)
{
    return (struct sampling){.max_tokens = 1000000, .ignore_eos = true, .logprobs_wanted = -1};
}

void fixture_start(struct fixture *fixture, uint32_t slot)
{
    const struct sampling sampling = fixture_greedy();
    backend_slot_start(fixture->backend, slot, &sampling, NULL);
}

struct backend_item fixture_item(uint32_t slot, const int32_t *tokens, uint32_t token_count,
                                 float *logits_out)
{
    return (struct backend_item){
        .slot = slot,
        .source_slot = slot,
        .tokens = tokens,
        .token_count = token_count,
        .logits_out = logits_out,
    };
}

const struct backend_result *fixture_step(struct fixture *fixture,
                                          const struct backend_item *items, uint32_t item_count)
{
    static struct backend_result results[CONFORMANCE_SLOTS];
    struct error error = {0};
    uint32_t result_count = 0;
    ck_assert_msg(backend_submit(fixture->backend, items, item_count, &error) == ERROR_NONE, "%s",
                  error.message);
    ck_assert_msg(backend_collect(fixture->backend, results, &result_count, &error) == ERROR_NONE,
                  "%s", error.message);
    ck_assert_uint_eq(result_count, item_count);
    for (uint32_t index = 0; index < item_count; index++) {
        ck_assert_uint_eq(results[index].slot, items[index].slot);
    }
    return results;
}

void fixture_feed(struct fixture *fixture, uint32_t slot, const int32_t *tokens,
                  uint32_t token_count, float *logits_out)
{
    const struct backend_item item = fixture_item(slot, tokens, token_count, logits_out);
    fixture_step(fixture, &item, 1);
}

static void wait_for_ticket(struct fixture *fixture, uint64_t ticket)
{
    while (!backend_ticket_is_done(fixture->backend, ticket)) {
    }
}

float *fixture_state(struct fixture *fixture, uint32_t slot)
{
    float *state = malloc(fixture->backend->state_bytes);
    ck_assert_ptr_nonnull(state);
    struct error error = {0};
    uint64_t ticket = 0;
    ck_assert_int_eq(backend_state_save(fixture->backend, slot, state, &ticket, &error),
                     ERROR_NONE);
    wait_for_ticket(fixture, ticket);
    return state;
}

void fixture_load(struct fixture *fixture, uint32_t slot, const float *state)
{
    struct error error = {0};
    uint64_t ticket = 0;
    ck_assert_int_eq(backend_state_load(fixture->backend, slot, state, &ticket, &error),
                     ERROR_NONE);
    wait_for_ticket(fixture, ticket);
}

void fixture_assert_same_bits(const char *what, const float *left, const float *right,
                              size_t count)
{
    for (size_t index = 0; index < count; index++) {
        ck_assert_msg(memcmp(&left[index], &right[index], sizeof(float)) == 0,
                      "%s: element %zu: %.9g and %.9g", what, index, (double)left[index],
                      (double)right[index]);
    }
}

void fixture_assert_same(const struct fixture *fixture, const char *what, const float *left,
                         const float *right, size_t count)
{
    if (fixture->under_test->company_is_exact) {
        fixture_assert_same_bits(what, left, right, count);
        return;
    }
    for (size_t index = 0; index < count; index++) {
        ck_assert_msg(fabs((double)left[index] - (double)right[index]) <=
                          fixture->under_test->logit_error_max,
                      "%s: element %zu: %.9g and %.9g", what, index, (double)left[index],
                      (double)right[index]);
    }
}

bool logits_agree(const double *found, const double *expected, size_t count, double error_max)
{
    for (size_t index = 0; index < count; index++) {
        if (!(fabs(found[index] - expected[index]) <= error_max)) {
            return false; /* Also when not a number. */
        }
    }
    return true;
}

struct golden_row golden_row_of(const float *logits)
{
    struct golden_row row;
    for (size_t index = 0; index < GOLDEN_V; index++) {
        row.logits[index] = (double)logits[index];
    }
    return row;
}

uint32_t random_below(uint32_t *seed, uint32_t bound)
{
    *seed = 1664525u * *seed + 1013904223u;
    return (uint32_t)((uint64_t)*seed * bound >> 32);
}

void random_tokens(uint32_t seed, int32_t *tokens_out, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        tokens_out[index] = (int32_t)random_below(&seed, GOLDEN_V);
    }
}
