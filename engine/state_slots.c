/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/state_slots.c - a ring of free slot indices. */
#include "engine/state_slots.h"

#include <stdlib.h>

struct state_slots {
    uint32_t slot_count;
    uint32_t free_count;
    uint32_t free_first; /* Index into free_ring of the slot free for longest. */
    uint32_t *free_ring; /* [slot_count] */
    bool *held;          /* [slot_count] */
};

struct state_slots *state_slots_create(uint32_t slot_count)
{
    ASSERT(slot_count > 0);
    struct state_slots *slots = calloc(1, sizeof *slots);
    if (slots == NULL) {
        return NULL;
    }
    slots->slot_count = slot_count;
    slots->free_count = slot_count;
    slots->free_ring = calloc(slot_count, sizeof *slots->free_ring);
    slots->held = calloc(slot_count, sizeof *slots->held);
    if (slots->free_ring == NULL || slots->held == NULL) {
        state_slots_destroy(slots);
        return NULL;
    }
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        slots->free_ring[slot] = slot;
    }
    return slots;
}

void state_slots_destroy(struct state_slots *slots)
{
    if (slots == NULL) {
        return;
    }
    free(slots->free_ring);
    free(slots->held);
    free(slots);
}

bool state_slots_acquire(struct state_slots *slots, uint32_t count, uint32_t *slots_out)
{
    if (count > slots->free_count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t slot = slots->free_ring[slots->free_first];
        slots->free_first = (slots->free_first + 1) % slots->slot_count;
        ASSERT(!slots->held[slot]);
        slots->held[slot] = true;
        slots_out[i] = slot;
    }
    slots->free_count -= count;
    return true;
}

void state_slots_release(struct state_slots *slots, uint32_t slot)
{
    ASSERT_COMPARE(slot, <, slots->slot_count);
    ASSERT(slots->held[slot]);
    slots->held[slot] = false;
    slots->free_ring[(slots->free_first + slots->free_count) % slots->slot_count] = slot;
    slots->free_count++;
}

uint32_t state_slots_free_count(const struct state_slots *slots)
{
    return slots->free_count;
}
