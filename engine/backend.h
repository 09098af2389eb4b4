/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/backend.h - everything the engine asks of a compute device.
 *
 * cpu/ implements it; cuda/ will; tests/fakes/fake_backend.c does so again. A step advances a
 * ragged batch, decode rows and prefill rows together, in one pass over the weights. Steps are
 * submitted and collected in order, so the token sampled in step k feeds step k+1 without a round
 * trip through the host. No device pointer crosses this interface; states are named by slot.
 * Nothing allocates after open. Shape letters: engine/model_spec.h. Thread: the engine's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/sampler.h"

enum {
    BACKEND_WANT_SAMPLE = 1, /* Draw a token after the last one given. */
    BACKEND_WANT_SCORE = 2,  /* The log-probability of every target. */
};

/* One sequence's share of a step. */
struct backend_item {
    uint32_t slot;          /* State to advance: < slot_count, at most once a step. */
    uint32_t source_slot;   /* State to read: == slot, or another one, which is then forked without
                               a copy. A source other than slot is not advanced in this step. */
    const int32_t *tokens;  /* [token_count], borrowed for the call, each in [0, V);
                               NULL: the one token this slot sampled last, known to the device. */
    uint32_t token_count;   /* T >= 1: 1 is decode, more is a prefill chunk. */
    uint32_t want;          /* BACKEND_WANT_*, 0 for neither. */
    const int32_t *targets; /* SCORE: [target_count], the tokens to score after each token given;
                               borrowed for the call. */
    uint32_t target_count;  /* <= token_count. */
    float *logits_out;      /* [V] raw logits after the last token, for tests and scoring tools,
                               written by the time of collect; NULL: not wanted. */
};

/* What one item of a collected step came to; in the order of the items. */
struct backend_result {
    uint32_t slot;
    bool sampled_valid;           /* A token was drawn: SAMPLE, and the row had not ended. */
    struct sampled sampled;
    const struct sampled *scores; /* [score_count], borrowed until the next submit. */
    uint32_t score_count;
};

struct backend_options {
    uint32_t slot_count;    /* States to hold. */
    uint32_t row_count_max; /* Largest sum of token_count in a step. */
    uint32_t item_count_max;
    uint32_t thread_count;  /* CPU: >= 1. */
    struct sampling_vocabulary vocabulary;
};

struct backend_counters {
    uint64_t steps;
    uint64_t tokens;             /* Rows advanced. */
    uint64_t state_copied_bytes; /* Saves, loads and starts; 0 over steady decoding (I7). */
};

/* First member of each implementation. */
struct backend {
    const struct backend_ops *ops;
    uint32_t slot_count;
    uint32_t row_count_max;
    uint32_t item_count_max;
    uint32_t row_vocabulary;      /* V. */
    uint32_t steps_in_flight_max; /* 1: submit, then collect. 2: the next is submitted first. */
    uint32_t steps_in_flight;     /* Kept by the wrappers below. */
    size_t state_bytes;           /* Of one snapshot, f32: per layer att_prev[C], S[H][N][N],
                                     ffn_prev[C] (model_spec_state_floats). */
};

struct backend_ops {
    const char *name; /* "cpu", "cuda" or "fake", as written in the configuration. */
    void (*slot_start)(struct backend *, uint32_t slot, const struct sampling *,
                       const void *initial_state);
    void (*slot_mask)(struct backend *, uint32_t slot, const uint32_t *mask);
    enum error_code (*submit)(struct backend *, const struct backend_item *, uint32_t item_count,
                              struct error *);
    enum error_code (*collect)(struct backend *, struct backend_result *results_out,
                               uint32_t *result_count_out, struct error *);
    enum error_code (*state_save)(struct backend *, uint32_t slot, void *bytes_out,
                                  uint64_t *ticket_out, struct error *);
    enum error_code (*state_load)(struct backend *, uint32_t slot, const void *bytes,
                                  uint64_t *ticket_out, struct error *);
    bool (*ticket_is_done)(struct backend *, uint64_t ticket);
    void (*counters)(const struct backend *, struct backend_counters *counters_out);
    void (*close)(struct backend *);
};

/* The functions the engine calls: they check the contract (ASSERT: slot < slot_count, no slot
 * twice, no source advanced, T >= 1, rows within row_count_max, steps in flight), so that the
 * implementations need not repeat it. */

/* Makes the slot a new sequence: writes all of its state (zeros, or initial_state[state_bytes]) and
 * its sampler, whatever was there before (I2, I9). `sampling` is copied. */
void backend_slot_start(struct backend *backend, uint32_t slot, const struct sampling *sampling,
                        const void *initial_state);

/* Allows only tokens whose bit is set in mask[(V+31)/32] at the slot's next draws; NULL: all. */
void backend_slot_mask(struct backend *backend, uint32_t slot, const uint32_t *mask);

/* Starts a step. A row whose sequence ended in a step not yet collected writes nothing.
 * DEVICE: final, close and exit. */
WARN_UNUSED enum error_code backend_submit(struct backend *backend,
                                           const struct backend_item *items, uint32_t item_count,
                                           struct error *error);

/* Waits for the oldest step and fills results_out[item_count_max]. DEVICE: final. */
WARN_UNUSED enum error_code backend_collect(struct backend *backend,
                                            struct backend_result *results_out,
                                            uint32_t *result_count_out, struct error *error);

/* Copies one whole state out or in (state_bytes), ordered after the steps submitted before. The
 * bytes must stay valid until backend_ticket_is_done. DEVICE. */
WARN_UNUSED enum error_code backend_state_save(struct backend *backend, uint32_t slot,
                                               void *bytes_out, uint64_t *ticket_out,
                                               struct error *error);
WARN_UNUSED enum error_code backend_state_load(struct backend *backend, uint32_t slot,
                                               const void *bytes, uint64_t *ticket_out,
                                               struct error *error);
bool backend_ticket_is_done(struct backend *backend, uint64_t ticket);

void backend_counters(const struct backend *backend, struct backend_counters *counters_out);
void backend_close(struct backend *backend);
