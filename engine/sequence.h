/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/sequence.h - one choice of a request while it holds a slot: what it has run, what is next.
 *
 * Progress is counted, never inferred: `prompt_run` and `sampled_run` advance only by rows that a
 * step was given. With n choices, choice 0 leads: it runs the prompt up to its last token; the
 * others fork from its state with that token; then it runs the token itself.
 * Internal to engine/. Thread: engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/backend.h"
#include "engine/generation.h"
#include "engine/scheduler.h"
#include "engine/text_stream.h"
#include "grammar/grammar.h"

struct tokenizer;

/* A request from its admission to the end of its last choice. */
struct open_request {
    const struct generation_request *request; /* Lent by the caller; NULL: this record is free. */
    uint64_t submitted_ns;
    uint32_t choices_open;
    uint32_t forks_pending; /* Choices that have not read the leader's state yet. */
    bool paused;
    bool first_token_seen;
};

enum sequence_phase {
    SEQUENCE_FREE,   /* The slot belongs to nobody. */
    SEQUENCE_PROMPT, /* Runs the prompt. */
    SEQUENCE_FORK,   /* Waits for the leader to reach the last token of the prompt. */
    SEQUENCE_DECODE, /* Every step draws a token. */
};

struct sequence {
    enum sequence_phase phase;
    struct open_request *open;
    uint32_t slot;
    uint32_t leader_slot;    /* FORK: whose state to read. */
    uint32_t choice;
    uint32_t epoch;          /* Grows when the slot changes hands: a late result finds no owner. */
    uint64_t order;          /* Of admission. */
    uint32_t prompt_run;     /* Tokens of the prompt given to steps so far. */
    uint32_t sampled_run;    /* Draws given to steps so far. */
    uint32_t token_count;    /* Tokens of the answer so far. */
    uint64_t last_token_ns;
    struct grammar_state *grammar; /* Owned, given before the start; NULL: any text. */
    bool mask_ready;               /* The device has the mask of the next draw. */
    struct text_stream text;
};

/* Makes a free sequence a choice of `open`, which has its slots. */
void sequence_start(struct sequence *sequence, struct open_request *open, uint32_t choice,
                    uint32_t leader_slot, uint64_t order);

/* Frees the sequence and its grammar's state; the slot is the caller's to release. */
void sequence_end(struct sequence *sequence);

/* Whether the sequence must be given the mask of its next draw, and all it depends on is known. */
bool sequence_wants_mask(const struct sequence *sequence);

/* Whether the sequence can advance in the next step, and by how much. `leader` is the sequence of
 * leader_slot. */
bool sequence_candidate(const struct sequence *sequence, const struct sequence *leader,
                        struct scheduler_candidate *candidate_out);

/* Writes the step's item for token_count tokens, as planned, and counts them as run. */
void sequence_advance(struct sequence *sequence, uint32_t token_count,
                      struct backend_item *item_out);

/* What one drawn token meant. */
struct sequence_outcome {
    bool ended;
    enum generation_end end;
    size_t text_len; /* Bytes in the piece. */
};

/* Takes a drawn token: text that can be shown goes to piece_out[TEXT_STREAM_PIECE_BYTES]. */
struct sequence_outcome sequence_take(struct sequence *sequence, const struct sampled *sampled,
                                      const struct tokenizer *tokenizer, char *piece_out);
