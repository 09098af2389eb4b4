/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_state.c - following a text: the set of threads, all or nothing per token.
 *
 * Thread: that of the state. */
#include "grammar/grammar_state.h"

#include <stdlib.h>
#include <string.h>

struct grammar_state *grammar_state_create(struct grammar *grammar)
{
    struct grammar_state *state = malloc(sizeof(*state));
    if (state != NULL) {
        state->grammar = grammar_retain(grammar);
        grammar_state_reset(state);
    }
    return state;
}

void grammar_state_destroy(struct grammar_state *state)
{
    if (state == NULL) {
        return;
    }
    grammar_release(state->grammar);
    free(state);
}

void grammar_state_copy(struct grammar_state *state, const struct grammar_state *source)
{
    ASSERT(state->grammar == source->grammar);
    const struct step_frames *from = &source->frames;
    memcpy(state->threads, source->threads, source->thread_count * sizeof(state->threads[0]));
    state->thread_count = source->thread_count;
    memcpy(state->frames.heads, from->heads, sizeof(from->heads));
    memcpy(state->frames.frames, from->frames, from->count * sizeof(from->frames[0]));
    state->frames.count = from->count;
}

void grammar_state_reset(struct grammar_state *state)
{
    grammar_step_frames_init(&state->frames);
    state->threads[0] =
        (struct step_thread){.phase = STEP_START, .node = state->grammar->program.root};
    state->thread_count = 1;
}

/* Drops frames that neither the state nor the threads reached so far need. */
static void make_room(struct grammar_state *state, struct step_thread *threads, uint32_t count)
{
    struct step_thread both[2 * STEP_THREADS_MAX];
    const size_t thread_bytes = sizeof(both[0]);
    memcpy(both, state->threads, state->thread_count * thread_bytes);
    memcpy(both + state->thread_count, threads, count * thread_bytes);
    grammar_step_frames_compact(&state->frames, both, state->thread_count + count);
    memcpy(state->threads, both, state->thread_count * thread_bytes);
    memcpy(threads, both + state->thread_count, count * thread_bytes);
}

bool grammar_advance(struct grammar_state *state, struct text bytes)
{
    struct step_thread buffers[2][STEP_THREADS_MAX];
    struct step_thread *threads = state->threads;
    uint32_t thread_count = state->thread_count;
    for (size_t at = 0; at < bytes.len; at++) {
        struct step_set set = {.threads = buffers[at % 2], .capacity = STEP_THREADS_MAX};
        for (uint32_t index = 0; index < thread_count; index++) {
            grammar_step_byte(&state->grammar->program, &state->frames, &threads[index],
                              (unsigned char)bytes.bytes[at], &set);
        }
        if (set.count == 0) {
            grammar_step_frames_compact(&state->frames, state->threads, state->thread_count);
            return false;
        }
        threads = set.threads;
        thread_count = set.count;
        if (state->frames.count > STEP_FRAMES_MAX / 2) {
            make_room(state, threads, thread_count);
        }
    }
    if (bytes.len > 0) {
        memcpy(state->threads, threads, thread_count * sizeof(threads[0]));
        state->thread_count = thread_count;
        grammar_step_frames_compact(&state->frames, state->threads, thread_count);
    }
    return true;
}

bool grammar_is_complete(const struct grammar_state *state)
{
    /* The frames are used as scratch and cut back: to the caller nothing changes. */
    struct step_frames *frames = (struct step_frames *)(uintptr_t)&state->frames;
    const uint32_t frames_before = frames->count;
    bool complete = false;
    for (uint32_t index = 0; index < state->thread_count && !complete; index++) {
        complete =
            grammar_step_is_complete(&state->grammar->program, frames, &state->threads[index]);
    }
    grammar_step_frames_cut(frames, frames_before);
    return complete;
}
