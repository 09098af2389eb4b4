/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/backend.c - the checked way to a device: asserts the contract, then calls the table.
 *
 * What fails here is a bug of the engine, never a client's input: that was refused long before.
 * Thread: the engine's. */
#include "engine/backend.h"

#include "base/limits.h"

/* One bit a slot. */
struct slot_set {
    uint64_t words[LIMIT_SLOTS / 64];
};

static bool slot_set_has(const struct slot_set *set, uint32_t slot)
{
    return (set->words[slot / 64] >> (slot % 64) & 1u) != 0;
}

static void slot_set_add(struct slot_set *set, uint32_t slot)
{
    set->words[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static void check_tokens(const int32_t *tokens, uint32_t token_count, uint32_t row_vocabulary)
{
    for (uint32_t index = 0; index < token_count; index++) {
        ASSERT_COMPARE((uint32_t)tokens[index], <, row_vocabulary); /* Negative: far above V. */
    }
}

static void check_item(const struct backend *backend, const struct backend_item *item)
{
    ASSERT_COMPARE(item->slot, <, backend->slot_count);
    ASSERT_COMPARE(item->source_slot, <, backend->slot_count);
    ASSERT_COMPARE(item->token_count, >=, 1);
    ASSERT((item->want & ~(uint32_t)(BACKEND_WANT_SAMPLE | BACKEND_WANT_SCORE)) == 0);
    if (item->tokens == NULL) {
        /* The token drawn last: there is one, and it was drawn for this state. */
        ASSERT_COMPARE(item->token_count, ==, 1);
        ASSERT_COMPARE(item->source_slot, ==, item->slot);
    } else {
        check_tokens(item->tokens, item->token_count, backend->row_vocabulary);
    }
    if ((item->want & BACKEND_WANT_SCORE) != 0) {
        ASSERT_COMPARE(item->target_count, <=, item->token_count);
        check_tokens(item->targets, item->target_count, backend->row_vocabulary);
    }
}

static void check_step(const struct backend *backend, const struct backend_item *items,
                       uint32_t item_count)
{
    ASSERT_COMPARE(backend->slot_count, <=, LIMIT_SLOTS);
    ASSERT_COMPARE(item_count, >=, 1);
    ASSERT_COMPARE(item_count, <=, backend->item_count_max);
    struct slot_set advanced = {0};
    uint64_t row_count = 0;
    for (uint32_t index = 0; index < item_count; index++) {
        check_item(backend, &items[index]);
        ASSERT(!slot_set_has(&advanced, items[index].slot));
        slot_set_add(&advanced, items[index].slot);
        row_count += items[index].token_count;
    }
    ASSERT_COMPARE(row_count, <=, backend->row_count_max);
    for (uint32_t index = 0; index < item_count; index++) {
        ASSERT(items[index].source_slot == items[index].slot ||
               !slot_set_has(&advanced, items[index].source_slot));
    }
}

void backend_slot_start(struct backend *backend, uint32_t slot, const struct sampling *sampling,
                        const void *initial_state)
{
    ASSERT_COMPARE(slot, <, backend->slot_count);
    ASSERT_COMPARE(sampling->bias_count, <=, LIMIT_LOGIT_BIAS);
    ASSERT_COMPARE(sampling->stop_token_count, <=, LIMIT_STOP_TOKENS);
    ASSERT(sampling->logprobs_wanted >= -1 && sampling->logprobs_wanted <= LIMIT_TOP_LOGPROBS);
    backend->ops->slot_start(backend, slot, sampling, initial_state);
}

void backend_slot_mask(struct backend *backend, uint32_t slot, const uint32_t *mask)
{
    ASSERT_COMPARE(slot, <, backend->slot_count);
    backend->ops->slot_mask(backend, slot, mask);
}

enum error_code backend_submit(struct backend *backend, const struct backend_item *items,
                               uint32_t item_count, struct error *error)
{
    ASSERT_COMPARE(backend->steps_in_flight, <, backend->steps_in_flight_max);
    check_step(backend, items, item_count);
    const enum error_code code = backend->ops->submit(backend, items, item_count, error);
    if (code == ERROR_NONE) {
        backend->steps_in_flight++;
    }
    return code;
}

enum error_code backend_collect(struct backend *backend, struct backend_result *results_out,
                                uint32_t *result_count_out, struct error *error)
{
    ASSERT_COMPARE(backend->steps_in_flight, >=, 1);
    backend->steps_in_flight--;
    const enum error_code code =
        backend->ops->collect(backend, results_out, result_count_out, error);
    if (code == ERROR_NONE) {
        ASSERT_COMPARE(*result_count_out, <=, backend->item_count_max);
    }
    return code;
}

enum error_code backend_state_save(struct backend *backend, uint32_t slot, void *bytes_out,
                                   uint64_t *ticket_out, struct error *error)
{
    ASSERT_COMPARE(slot, <, backend->slot_count);
    ASSERT(bytes_out != NULL);
    return backend->ops->state_save(backend, slot, bytes_out, ticket_out, error);
}

enum error_code backend_state_load(struct backend *backend, uint32_t slot, const void *bytes,
                                   uint64_t *ticket_out, struct error *error)
{
    ASSERT_COMPARE(slot, <, backend->slot_count);
    ASSERT(bytes != NULL);
    return backend->ops->state_load(backend, slot, bytes, ticket_out, error);
}

bool backend_ticket_is_done(struct backend *backend, uint64_t ticket)
{
    return backend->ops->ticket_is_done(backend, ticket);
}

void backend_counters(const struct backend *backend, struct backend_counters *counters_out)
{
    backend->ops->counters(backend, counters_out);
}

void backend_close(struct backend *backend)
{
    if (backend != NULL) {
        backend->ops->close(backend);
    }
}
