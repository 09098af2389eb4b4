/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_end.c - finding a text that completes a state.
 *
 * Byte by byte, each time the one after which the least is estimated to be missing. The estimate is
 * exact where it must be: within a text, a string, a number it falls with every right byte.
 * Thread: that of the state. */
#include "grammar/grammar_state.h"

#include "grammar/grammar_step_internal.h"

enum {
    NEARER = 3, /* Steps from "a property is missing" over "," and the quote into its name. */
};

/* Bytes that a node's shortest text has. */
static uint64_t length_of(const struct grammar_program *program, uint32_t node)
{
    const uint32_t length = program->nodes[node].length_min;
    return length == GRAMMAR_NONE ? 1000000 : length;
}

/* Missing in an object: required properties and the bracket. */
static uint64_t missing_in_object(const struct grammar_program *program,
                                  const struct step_frame *frame)
{
    const struct program_node *node = &program->nodes[frame->node];
    uint64_t missing = grammar_step_object_can_end(program, frame) ? 1 : 1 + NEARER;
    for (uint32_t index = 0; index < node->count; index++) {
        const struct program_property *property = &program->properties[node->first + index];
        const bool seen =
            node->ordered ? property->position < frame->seen : (frame->seen >> index & 1) != 0;
        if (property->required && !seen) {
            missing += property->name_len + 2 + length_of(program, property->node);
        }
    }
    return missing;
}

/* Missing in a frame besides the child in work (`busy`: there is one). */
static uint64_t missing_in_frame(const struct grammar_program *program,
                                 const struct step_frame *frame, bool busy)
{
    const struct program_node *node = &program->nodes[frame->node];
    const uint64_t done = frame->count + (busy ? UINT64_C(1) : 0);
    uint64_t missing = 1;
    switch (node->kind) {
    case PROGRAM_OBJECT:
        return missing_in_object(program, frame);
    case PROGRAM_ARRAY:
        for (uint64_t item = done; item < node->count; item++) {
            missing += length_of(program, program->lists[node->first + item]) + 1;
        }
        if (node->count == 0 && done < node->min) {
            missing += (node->min - done) * (length_of(program, node->child) + 1);
        }
        return missing;
    case PROGRAM_SEQUENCE:
        missing = 0;
        for (uint32_t part = frame->count + 1; part < node->count; part++) {
            missing += length_of(program, program->lists[node->first + part]);
        }
        return missing;
    case PROGRAM_REPEAT:
        return done < node->min ? (node->min - done) * length_of(program, node->child) : 0;
    case PROGRAM_CHOICE:
    case PROGRAM_BYTES:
    case PROGRAM_JSON:
    case PROGRAM_STRING:
        break; /* They have no frames. */
    }
    return 0;
}

/* Missing of a name, besides what the object misses anyway; the closer, the less. */
static uint64_t missing_of_name(const struct grammar_program *program,
                                const struct step_frame *frame, const struct step_thread *thread)
{
    const struct program_node *node = &program->nodes[frame->node];
    const struct automaton_state *at = &program->automaton.states[thread->state];
    uint64_t least = node->child != GRAMMAR_NONE ? 12 + length_of(program, node->child) : 1000000;
    for (uint32_t index = at->text_begin; index < at->text_end; index++) {
        const struct program_property *property = &program->properties[node->first + index];
        const bool seen =
            node->ordered ? property->position < frame->seen : (frame->seen >> index & 1) != 0;
        if (seen) {
            continue;
        }
        const uint64_t missing =
            property->required ? 1 : property->name_len + 6 + length_of(program, property->node);
        if (missing < least) {
            least = missing;
        }
    }
    return least;
}

static uint64_t missing_of_escape(const struct step_thread *thread)
{
    switch ((enum step_lex)thread->lex) {
    case STEP_LEX_BODY:
        return 0;
    case STEP_LEX_ESCAPE:
        return 2;
    case STEP_LEX_HEX:
        return UINT64_C(14) - thread->run; /* Perhaps a low surrogate after it. */
    case STEP_LEX_LOW_ESCAPE:
        return 6;
    case STEP_LEX_LOW_U:
        return 5;
    case STEP_LEX_LOW_HEX:
        return UINT64_C(4) - thread->run;
    }
    return 0;
}

/* On top of what the frames miss, and NEARER, so that a thread can be nearer than its object says.
 */
static uint64_t missing_of_thread(const struct grammar_program *program,
                                  const struct step_frames *frames,
                                  const struct step_thread *thread)
{
    const struct step_frame *frame = &frames->frames[thread->frame];
    switch ((enum step_phase)thread->phase) {
    case STEP_START:
    case STEP_VALUE:
        return NEARER + length_of(program, thread->node);
    case STEP_COLON:
        return NEARER + 1 + length_of(program, thread->node);
    case STEP_BYTES:
        return NEARER + program->automaton.states[thread->state].distance;
    case STEP_STRING: {
        const uint64_t distance = program->automaton.states[thread->state].distance;
        const uint32_t min = program->nodes[thread->node].min;
        const uint64_t short_of = thread->count < min ? min - thread->count : 0;
        return NEARER + 1 + (distance > short_of ? distance : short_of) + missing_of_escape(thread);
    }
    case STEP_KEY:
        return missing_of_name(program, frame, thread) + missing_of_escape(thread);
    case STEP_OBJECT_KEY:
        return grammar_step_object_can_end(program, frame) ? 12 : 2;
    case STEP_OBJECT_OPEN:
    case STEP_OBJECT_NEXT:
    case STEP_ARRAY_OPEN:
    case STEP_ARRAY_NEXT:
    case STEP_DONE:
        break;
    }
    return NEARER;
}

/* The least that is missing in any thread. */
static uint64_t missing_of_state(const struct grammar_state *state)
{
    const struct grammar_program *program = &state->grammar->program;
    const struct step_frames *frames = &state->frames;
    uint64_t least = UINT64_MAX;
    for (uint32_t index = 0; index < state->thread_count; index++) {
        const struct step_thread *thread = &state->threads[index];
        uint64_t missing = missing_of_thread(program, frames, thread);
        bool busy = thread->phase != STEP_ARRAY_OPEN && thread->phase != STEP_ARRAY_NEXT;
        for (uint32_t number = thread->frame; number != STEP_BOTTOM;
             number = frames->frames[number].parent) {
            missing += missing_in_frame(program, &frames->frames[number], busy);
            busy = true;
        }
        least = missing < least ? missing : least;
    }
    return least;
}

/* Takes the best next byte; false: there is none, which no state allows. */
static bool take_best_byte(struct grammar_state *state, struct grammar_state *trial, char *byte_out)
{
    uint64_t least = UINT64_MAX;
    for (int byte = 0; byte < 256; byte++) {
        const char one = (char)byte;
        grammar_state_copy(trial, state);
        if (!grammar_advance(trial, (struct text){.bytes = &one, .len = 1})) {
            continue;
        }
        const uint64_t missing = missing_of_state(trial);
        if (missing < least) {
            least = missing;
            *byte_out = one;
        }
    }
    return least != UINT64_MAX &&
           grammar_advance(state, (struct text){.bytes = byte_out, .len = 1});
}

size_t grammar_find_end(const struct grammar_state *state, char *buffer, size_t capacity)
{
    struct grammar_state *reached = grammar_state_create(state->grammar);
    struct grammar_state *trial = grammar_state_create(state->grammar);
    size_t len = SIZE_MAX;
    if (reached == NULL || trial == NULL) {
        goto out;
    }
    grammar_state_copy(reached, state);
    size_t found = 0;
    while (!grammar_is_complete(reached)) {
        if (found == capacity || !take_best_byte(reached, trial, &buffer[found])) {
            goto out;
        }
        found++;
    }
    len = found;
out:
    grammar_state_destroy(trial);
    grammar_state_destroy(reached);
    return len;
}
