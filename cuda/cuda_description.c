/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_description.c - counts a step, lays it out, writes it. Thread: the engine's. */
#include "cuda/cuda_description.h"

enum { ALIGNMENT = 16 }; /* Of each array. */

static size_t place(size_t *used, size_t bytes)
{
    const size_t offset = *used;
    *used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return offset;
}

static struct cuda_layout lay_out(uint32_t rows, uint32_t items, uint32_t wanted, uint32_t turns)
{
    struct cuda_layout layout = {0};
    size_t used = 0;
    layout.headers = place(&used, turns * sizeof(struct cuda_step_header));
    layout.items = place(&used, items * sizeof(struct cuda_item));
    layout.row_item = place(&used, rows * sizeof(uint32_t));
    layout.row_token = place(&used, rows * sizeof(int32_t));
    layout.logit_row = place(&used, wanted * sizeof(uint32_t));
    layout.wanted = place(&used, wanted * sizeof(struct cuda_wanted));
    layout.bytes = used;
    return layout;
}

struct cuda_layout cuda_layout_of(const struct cuda_tally *tally)
{
    /* As many wishes as rows where it can be: then steps of a size have one layout. */
    const uint32_t rows = tally->size.rows;
    return lay_out(rows, tally->size.items,
                   tally->wanted_count > rows ? tally->wanted_count : rows, tally->turn_count);
}

uint32_t cuda_wanted_max(uint32_t row_count_max, uint32_t item_count_max)
{
    return row_count_max + item_count_max;
}

size_t cuda_description_bytes(uint32_t row_count_max, uint32_t item_count_max)
{
    const uint32_t rows = cuda_forward_rows(row_count_max, false);
    const uint32_t wanted = cuda_wanted_max(rows, item_count_max);
    return lay_out(rows, rows, wanted, wanted).bytes;
}

uint32_t cuda_wishes_of(const struct backend_item *item)
{
    const bool is_drawn = (item->want & BACKEND_WANT_SAMPLE) != 0 || item->logits_out != NULL;
    const bool is_scored = (item->want & BACKEND_WANT_SCORE) != 0;
    return (is_scored ? item->target_count : 0) + (is_drawn ? 1 : 0);
}

struct cuda_tally cuda_tally_of(const struct backend_item *items, uint32_t item_count,
                                uint32_t logit_count_max)
{
    struct cuda_tally tally = {0};
    for (uint32_t index = 0; index < item_count; index++) {
        const struct backend_item *item = &items[index];
        tally.row_count += item->token_count;
        tally.wanted_count += cuda_wishes_of(item);
        tally.size.has_decode = tally.size.has_decode || item->token_count == 1;
        tally.size.scan_items += item->token_count > 1 ? 1 : 0;
        tally.wants_scores = tally.wants_scores || (item->want & BACKEND_WANT_SCORE) != 0;
        tally.wants_logits = tally.wants_logits || item->logits_out != NULL;
    }
    const uint32_t logit_max = logit_count_max;
    const uint32_t in_a_turn = tally.wanted_count < logit_max ? tally.wanted_count : logit_max;
    const bool is_decode = tally.size.scan_items == 0;
    tally.turn_count = in_a_turn == 0 ? 1 : (tally.wanted_count + logit_max - 1) / logit_max;
    tally.size.rows = cuda_forward_rows(tally.row_count, is_decode);
    tally.size.items = is_decode ? tally.size.rows : item_count;
    tally.size.logit_rows =
        in_a_turn == 0 ? 0
        : is_decode && in_a_turn <= tally.size.rows ? tally.size.rows
                                                    : cuda_forward_rows(in_a_turn, false);
    return tally;
}

/* Appends a row of logits to the description. */
static void want(const struct cuda_layout *layout, struct cuda_description *description,
                 uint32_t row, const struct cuda_wanted *wanted, float *logits_out)
{
    uint32_t *rows = (void *)(description->host + layout->logit_row);
    struct cuda_wanted *wishes = (void *)(description->host + layout->wanted);
    const uint32_t index = description->wanted_count++;
    rows[index] = row;
    wishes[index] = *wanted;
    description->logits_out[index] = logits_out;
}

static void write_wishes(const struct cuda_layout *layout, struct cuda_description *description,
                         const struct cuda_submitted *submitted)
{
    const struct backend_item *item = &submitted->item;
    const uint32_t first_row = submitted->first_row;
    struct cuda_wanted wanted = {.item = submitted->index, .flags = CUDA_WANT_SCORE};
    const uint32_t scored = (item->want & BACKEND_WANT_SCORE) != 0 ? item->target_count : 0;
    for (uint32_t index = 0; index < scored; index++) {
        wanted.target = item->targets[index];
        want(layout, description, first_row + index, &wanted, NULL);
    }
    if (cuda_wishes_of(item) > scored) {
        wanted.target = 0;
        wanted.flags = (item->want & BACKEND_WANT_SAMPLE) != 0 ? CUDA_WANT_DRAW : 0;
        want(layout, description, first_row + item->token_count - 1, &wanted, item->logits_out);
    }
}

static void write_headers(const struct cuda_tally *tally, uint32_t logit_count_max,
                          uint32_t item_count, struct cuda_step_header *headers)
{
    uint32_t left = tally->wanted_count;
    for (uint32_t turn = 0; turn < tally->turn_count; turn++) {
        headers[turn] = (struct cuda_step_header){
            .row_count = tally->row_count,
            .item_count = item_count,
            .logit_count = left < logit_count_max ? left : logit_count_max,
            .scan_first = item_count - tally->size.scan_items,
        };
        left -= headers[turn].logit_count;
    }
}

/* Writes an item and its rows behind those before it. */
static void write_item(const struct cuda_layout *layout, struct cuda_description *description,
                       const struct backend_item *item, uint32_t index, uint32_t first_row)
{
    uint32_t *row_item = (void *)(description->host + layout->row_item);
    int32_t *row_token = (void *)(description->host + layout->row_token);
    ((struct cuda_item *)(void *)(description->host + layout->items))[index] = (struct cuda_item){
        .slot = item->slot,
        .source_slot = item->source_slot,
        .first_row = first_row,
        .row_count = item->token_count,
        .tokens_given = item->tokens != NULL ? 1 : 0,
    };
    for (uint32_t token = 0; token < item->token_count; token++) {
        row_item[first_row + token] = index;
        row_token[first_row + token] = item->tokens != NULL ? item->tokens[token] : 0;
    }
}

void cuda_description_write(struct cuda_description *description, const struct cuda_tally *tally,
                            const struct cuda_layout *layout, uint32_t logit_count_max,
                            const struct backend_item *items, uint32_t item_count)
{
    uint32_t written = 0;
    uint32_t row = 0;
    write_headers(tally, logit_count_max, item_count,
                  (void *)(description->host + layout->headers));
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t index = 0; index < item_count; index++) {
            const struct backend_item *item = &items[index];
            if ((item->token_count == 1) == (pass == 0)) {
                write_item(layout, description, item, written, row);
                description->items[index] = (struct cuda_submitted){*item, written, row};
                written++;
                row += item->token_count;
            }
        }
    }
    description->item_count = item_count;
    description->wanted_count = 0;
    for (uint32_t index = 0; index < item_count; index++) {
        write_wishes(layout, description, &description->items[index]);
    }
}
