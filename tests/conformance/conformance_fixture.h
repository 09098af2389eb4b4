/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/conformance_fixture.h - the golden model on a backend under test, and the
 * few moves that every case is made of.
 *
 * The cases live in backend_conformance.c and its neighbours. Thread: one. */
#pragma once

#include "engine/backend.h"
#include "tests/fakes/golden_model.h"

enum {
    CONFORMANCE_SLOTS = 66,
    CONFORMANCE_ROWS = 1024,
};

/* A backend under test. */
struct conformance_backend {
    const char *name; /* For messages: "avx2, 2 threads". */
    enum error_code (*open)(const struct conformance_backend *self, const struct model_spec *spec,
                            const struct backend_options *options, struct backend **backend_out,
                            struct error *error);
    const void *context; /* Of the backend, e.g. its kernels. */
    uint32_t thread_count;
    double logit_error_max; /* Against float64; logits of the golden model reach 5. */
    double state_error_max; /* Of the state's sums, relative. */
    /* Whether a sequence's bits may not depend on its company. Where false, results in company are
     * compared within logit_error_max. */
    bool company_is_exact;
    const struct conformance_backend *twin; /* Must give the same bits as that one; may be NULL. */
};

struct fixture {
    const struct conformance_backend *under_test;
    struct golden_model model;
    struct backend *backend;
    size_t state_floats;
};

void fixture_open(struct fixture *fixture, const struct conformance_backend *under_test,
                  const struct golden_options *options);
void fixture_close(struct fixture *fixture);

/* Greedy, without a limit that matters, token 0 ends nothing. */
struct sampling fixture_greedy(void);

/* Starts a greedy sequence from zeros. */
void fixture_start(struct fixture *fixture, uint32_t slot);

/* One item that advances a slot; logits_out may be NULL. */
struct backend_item fixture_item(uint32_t slot, const int32_t *tokens, uint32_t token_count,
                                 float *logits_out);

/* Submits and collects; results are borrowed until the next step. */
const struct backend_result *fixture_step(struct fixture *fixture,
                                          const struct backend_item *items, uint32_t item_count);

/* A step of one item, for its logits[GOLDEN_V]. */
void fixture_feed(struct fixture *fixture, uint32_t slot, const int32_t *tokens,
                  uint32_t token_count, float *logits_out);

/* A copy of a slot's state; free() it. */
float *fixture_state(struct fixture *fixture, uint32_t slot);
void fixture_load(struct fixture *fixture, uint32_t slot, const float *state);

/* Fails the test unless both are the same: bit by bit. */
void fixture_assert_same_bits(const char *what, const float *left, const float *right,
                              size_t count);

/* As fixture_assert_same_bits, or within the bound where company may change rounding. */
void fixture_assert_same(const struct fixture *fixture, const char *what, const float *left,
                         const float *right, size_t count);

/* The one comparison of logits with float64 ones; also judges the deliberate mistakes. */
bool logits_agree(const double *found, const double *expected, size_t count, double error_max);

/* Logits of GOLDEN_V as double. */
struct golden_row {
    double logits[GOLDEN_V];
};
struct golden_row golden_row_of(const float *logits);

/* Tokens in 0..GOLDEN_V-1 that depend on the seed only. */
void random_tokens(uint32_t seed, int32_t *tokens_out, uint32_t count);

/* The next random number below bound. */
uint32_t random_below(uint32_t *seed, uint32_t bound);
