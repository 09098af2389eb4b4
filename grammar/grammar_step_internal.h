/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_step_internal.h - what grammar_step.c and grammar_step_string.c share.
 *
 * Thread: that of the state. */
#pragma once

#include "grammar/grammar_step.h"

/* One call of grammar_step_byte. */
struct stepper {
    const struct grammar_program *program;
    struct step_frames *frames;
    struct step_set *set;
    unsigned char byte;
    uint32_t pending_count;
    struct step_thread pending[STEP_THREADS_MAX]; /* Reached without a byte: still to step. */
};

/* ---- grammar_step.c ---- */

void grammar_step_emit(struct stepper *stepper, struct step_thread thread);

/* What is open around a finished value goes on: adds those threads. */
void grammar_step_finish(struct stepper *stepper, uint32_t frame, bool byte_is_left);

/* Finds or adds a frame; GRAMMAR_NONE: there is no room. */
uint32_t grammar_step_frame(struct step_frames *frames, struct step_frame frame);

/* ---- grammar_step_string.c ---- */

/* A byte within a string or key. */
void grammar_step_string(struct stepper *stepper, const struct step_thread *thread);

/* ---- grammar_step_object.c ---- */

/* Whether the node can be completed inside the frame. */
static inline bool grammar_step_fits(const struct grammar_program *program,
                                     const struct step_frame *frame, uint32_t node)
{
    const uint32_t depth_min = program->nodes[node].depth_min;
    return depth_min != GRAMMAR_NONE && frame->depth + depth_min <= GRAMMAR_DEPTH_MAX;
}

/* Whether a name that leads to this state of the trie can still become an allowed one. */
bool grammar_step_object_key_lives(const struct grammar_program *program,
                                   const struct step_frame *frame, uint32_t state);

/* Whether another property may come; whether none has to. */
bool grammar_step_object_can_go_on(const struct grammar_program *program,
                                   const struct step_frame *frame);
bool grammar_step_object_can_end(const struct grammar_program *program,
                                 const struct step_frame *frame);

/* The thread after the name that ended in `state`; false: it is not allowed. */
bool grammar_step_object_name(const struct grammar_program *program, struct step_frames *frames,
                              const struct step_thread *thread, struct step_thread *next_out);
