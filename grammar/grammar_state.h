/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_state.h - what a state is made of, for masks and the search for an end.
 *
 * Inside grammar/ only; grammar.h has the functions. Thread: that of the state. */
#pragma once

#include "grammar/grammar.h"
#include "grammar/grammar_step.h"

/* At least one thread, all different, and only frames that they need. */
struct grammar_state {
    struct grammar *grammar; /* Retained. */
    uint32_t thread_count;
    struct step_thread threads[STEP_THREADS_MAX];
    struct step_frames frames;
};
