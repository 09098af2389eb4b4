/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/state_slots.h - who holds which of the fixed state slots.
 *
 * A slot is an index into the backend's states; acquiring one does not touch the state itself
 * (backend_slot_start does). Thread: engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct state_slots;

/* NULL when out of memory. */
struct state_slots *state_slots_create(uint32_t slot_count);
void state_slots_destroy(struct state_slots *slots);

/* Takes `count` free slots, all or none; the slot free for longest comes first. */
bool state_slots_acquire(struct state_slots *slots, uint32_t count, uint32_t *slots_out);

/* Gives one back. It must be held. */
void state_slots_release(struct state_slots *slots, uint32_t slot);

uint32_t state_slots_free_count(const struct state_slots *slots);
