/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_description.h - a step as the host writes it for the device.
 *
 * One block of arrays, copied at once. Where they lie depends on the step's size only, so that a
 * captured graph finds them. A row of logits serves one wish: a row that is drawn from and scored
 * is listed twice. Where more rows are wanted than there is room for logits, the head runs in
 * turns. Thread: the engine's. */
#pragma once

#include "cuda/cuda_forward.h"
#include "cuda/cuda_sampler.h"
#include "engine/backend.h"

/* What a step comes to, counted before anything is written. */
struct cuda_tally {
    struct cuda_step_size size;
    uint32_t row_count;
    uint32_t wanted_count; /* Rows of logits. */
    uint32_t turn_count;   /* Of the head; at least one, which may have no rows. */
    bool wants_scores;
    bool wants_logits;     /* Raw ones, for the caller. */
};

/* At most logit_count_max rows of logits in a turn. */
struct cuda_tally cuda_tally_of(const struct backend_item *items, uint32_t item_count,
                                uint32_t logit_count_max);

/* Rows of logits that an item asks for. */
uint32_t cuda_wishes_of(const struct backend_item *item);

/* The arrays, by offset into the block. */
struct cuda_layout {
    size_t headers;   /* [turn_count] struct cuda_step_header */
    size_t items;     /* [items] struct cuda_item */
    size_t row_item;  /* [rows] u32 */
    size_t row_token; /* [rows] i32 */
    size_t logit_row; /* [wanted] u32 */
    size_t wanted;    /* [wanted] struct cuda_wanted */
    size_t bytes;
};

struct cuda_layout cuda_layout_of(const struct cuda_tally *tally);

/* Bytes of the largest description of steps with so many rows and items. */
size_t cuda_description_bytes(uint32_t row_count_max, uint32_t item_count_max);

/* Rows of logits of the largest step: every row scored, every item drawn. */
uint32_t cuda_wanted_max(uint32_t row_count_max, uint32_t item_count_max);

/* An item as the caller gave it; its tokens and targets are not there any more after the submit. */
struct cuda_submitted {
    struct backend_item item;
    uint32_t index; /* In the description. */
    uint32_t first_row;
};

/* What is written. All memory is the caller's. */
struct cuda_description {
    char *host;                   /* Pinned: the block. */
    struct cuda_submitted *items; /* [item_count] In the caller's order. */
    float **logits_out;           /* [wanted_count] Where raw logits are wanted; else NULL. */
    uint32_t item_count;
    uint32_t wanted_count;        /* In the caller's order of items: scores, then the draw. */
};

/* On the device items of one row stand before all others; wishes keep the caller's order. */
void cuda_description_write(struct cuda_description *description, const struct cuda_tally *tally,
                            const struct cuda_layout *layout, uint32_t logit_count_max,
                            const struct backend_item *items, uint32_t item_count);
