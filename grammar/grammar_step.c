/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_step.c - the machine: frames, and what each phase does with a byte.
 *
 * A BYTES node that may end here is left only when the next byte comes, so that a number is one
 * thread and not two. Thread: that of the state. */
#include "grammar/grammar_step.h"

#include <string.h>

#include "grammar/grammar_step_internal.h"

_Static_assert(sizeof(struct step_thread) == 24, "threads are compared as bytes");

/* ---- Frames ---- */

static uint32_t head_of(const struct step_frame *frame)
{
    uint64_t hash = frame->seen * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ frame->parent ^ (uint64_t)frame->node << 32) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ frame->count ^ hash >> 29) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 40) % STEP_FRAME_HEADS;
}

static void link_frame(struct step_frames *frames, uint32_t number)
{
    uint32_t *head = &frames->heads[head_of(&frames->frames[number])];
    frames->frames[number].next = *head;
    *head = number;
}

void grammar_step_frames_init(struct step_frames *frames)
{
    memset(frames->heads, 0xff, sizeof(frames->heads));
    frames->frames[STEP_BOTTOM] = (struct step_frame){.node = GRAMMAR_NONE, .next = GRAMMAR_NONE};
    frames->count = 1;
}

void grammar_step_frames_cut(struct step_frames *frames, uint32_t count)
{
    while (frames->count > count) {
        const struct step_frame *frame = &frames->frames[--frames->count];
        frames->heads[head_of(frame)] = frame->next; /* The newest of its chain. */
    }
}

uint32_t grammar_step_frame(struct step_frames *frames, struct step_frame frame)
{
    for (uint32_t number = frames->heads[head_of(&frame)]; number != GRAMMAR_NONE;
         number = frames->frames[number].next) {
        const struct step_frame *other = &frames->frames[number];
        if (other->parent == frame.parent && other->node == frame.node &&
            other->count == frame.count && other->seen == frame.seen) {
            return number;
        }
    }
    if (frames->count >= STEP_FRAMES_MAX) {
        return GRAMMAR_NONE;
    }
    frames->frames[frames->count] = frame;
    link_frame(frames, frames->count);
    return frames->count++;
}

void grammar_step_frames_compact(struct step_frames *frames, struct step_thread *threads,
                                 uint32_t count)
{
    uint16_t numbers[STEP_FRAMES_MAX] = {[STEP_BOTTOM] = 1}; /* First 1 for those in use. */
    for (uint32_t index = 0; index < count; index++) {
        for (uint32_t number = threads[index].frame; numbers[number] == 0;
             number = frames->frames[number].parent) {
            numbers[number] = 1;
        }
    }
    memset(frames->heads, 0xff, sizeof(frames->heads));
    uint32_t kept = 0;
    for (uint32_t number = 0; number < frames->count; number++) {
        if (numbers[number] == 0) {
            continue;
        }
        struct step_frame frame = frames->frames[number];
        frame.parent = number == STEP_BOTTOM ? 0 : numbers[frame.parent];
        numbers[number] = (uint16_t)kept;
        frames->frames[kept] = frame;
        if (kept != STEP_BOTTOM) {
            link_frame(frames, kept);
        }
        kept++;
    }
    frames->count = kept;
    for (uint32_t index = 0; index < count; index++) {
        threads[index].frame = numbers[threads[index].frame];
    }
}

/* ---- Threads ---- */

void grammar_step_emit(struct stepper *stepper, struct step_thread thread)
{
    struct step_set *set = stepper->set;
    for (uint32_t index = 0; index < set->count; index++) {
        if (memcmp(&set->threads[index], &thread, sizeof(thread)) == 0) {
            return;
        }
    }
    if (set->count < set->capacity) {
        set->threads[set->count++] = thread;
    }
}

static void add_pending(struct stepper *stepper, struct step_thread thread)
{
    if (stepper->pending_count < STEP_THREADS_MAX) {
        stepper->pending[stepper->pending_count++] = thread;
    }
}

static void add(struct stepper *stepper, struct step_thread thread, bool byte_is_left)
{
    if (byte_is_left) {
        add_pending(stepper, thread);
    } else {
        grammar_step_emit(stepper, thread);
    }
}

/* Starts part number `index` of a sequence; the last one needs no frame to come back to. */
static void start_part(struct stepper *stepper, uint32_t sequence, uint32_t index, uint32_t parent,
                       bool byte_is_left)
{
    const struct program_node *node = &stepper->program->nodes[sequence];
    uint32_t frame = parent;
    if (index + 1 < node->count) {
        frame = grammar_step_frame(
            stepper->frames, (struct step_frame){.parent = parent,
                                                 .node = sequence,
                                                 .count = index,
                                                 .depth = stepper->frames->frames[parent].depth});
    }
    if (frame != GRAMMAR_NONE) {
        add(stepper,
            (struct step_thread){.phase = STEP_START,
                                 .node = stepper->program->lists[node->first + index],
                                 .frame = frame},
            byte_is_left);
    }
}

/* Starts a further round of a repetition of which `count` are done. */
static void start_round(struct stepper *stepper, uint32_t repeat, uint32_t count, uint32_t parent,
                        bool byte_is_left)
{
    const struct program_node *node = &stepper->program->nodes[repeat];
    const uint32_t kept = node->max == GRAMMAR_NONE && count > node->min ? node->min : count;
    if (count >= node->max) {
        return;
    }
    const uint32_t frame = grammar_step_frame(
        stepper->frames, (struct step_frame){.parent = parent,
                                             .node = repeat,
                                             .count = kept,
                                             .depth = stepper->frames->frames[parent].depth});
    if (frame != GRAMMAR_NONE) {
        add(stepper, (struct step_thread){.phase = STEP_START, .node = node->child, .frame = frame},
            byte_is_left);
    }
}

/* An item is done: the array's frame with one more. */
static void finish_item(struct stepper *stepper, uint32_t number, bool byte_is_left)
{
    struct step_frame frame = stepper->frames->frames[number];
    const struct program_node *node = &stepper->program->nodes[frame.node];
    if (node->max != GRAMMAR_NONE || frame.count < node->min) {
        frame.count++;
    }
    const uint32_t next = grammar_step_frame(stepper->frames, frame);
    if (next != GRAMMAR_NONE) {
        add(stepper, (struct step_thread){.phase = STEP_ARRAY_NEXT, .frame = next}, byte_is_left);
    }
}

void grammar_step_finish(struct stepper *stepper, uint32_t number, bool byte_is_left)
{
    for (;;) {
        if (number == STEP_BOTTOM) {
            add(stepper, (struct step_thread){.phase = STEP_DONE}, byte_is_left);
            return;
        }
        const struct step_frame frame = stepper->frames->frames[number];
        const struct program_node *node = &stepper->program->nodes[frame.node];
        switch (node->kind) {
        case PROGRAM_OBJECT:
            add(stepper, (struct step_thread){.phase = STEP_OBJECT_NEXT, .frame = number},
                byte_is_left);
            return;
        case PROGRAM_ARRAY:
            finish_item(stepper, number, byte_is_left);
            return;
        case PROGRAM_SEQUENCE:
            start_part(stepper, frame.node, frame.count + 1, frame.parent, byte_is_left);
            return;
        case PROGRAM_REPEAT:
            start_round(stepper, frame.node, frame.count + 1, frame.parent, byte_is_left);
            if (frame.count + 1 < node->min) {
                return;
            }
            number = frame.parent;
            break;
        case PROGRAM_CHOICE:
        case PROGRAM_BYTES:
        case PROGRAM_JSON:
        case PROGRAM_STRING:
            return; /* They have no frames. */
        }
    }
}

/* ---- Phases ---- */

static bool take_white_space(struct stepper *stepper, const struct step_thread *thread)
{
    const unsigned char byte = stepper->byte;
    if (byte != ' ' && byte != '\n' && byte != '\t' && byte != '\r') {
        return false;
    }
    if (thread->run < stepper->program->white_space_max) {
        struct step_thread next = *thread;
        next.run++;
        grammar_step_emit(stepper, next);
    }
    return true;
}

static void step_bytes(struct stepper *stepper, const struct step_thread *thread)
{
    const struct automaton_state *at = &stepper->program->automaton.states[thread->state];
    const uint32_t state =
        automaton_next(&stepper->program->automaton, thread->state, stepper->byte);
    if (state != GRAMMAR_NONE) {
        struct step_thread next = *thread;
        next.state = state;
        grammar_step_emit(stepper, next);
    }
    if (!at->accepting) {
        return;
    }
    if (at->label == GRAMMAR_NONE) {
        grammar_step_finish(stepper, thread->frame, true);
    } else {
        add_pending(stepper, (struct step_thread){
                                 .phase = STEP_START, .node = at->label, .frame = thread->frame});
    }
}

static struct step_thread at_bytes(const struct grammar_program *program, uint32_t node,
                                   uint32_t frame)
{
    return (struct step_thread){
        .phase = STEP_BYTES, .frame = frame, .state = program->nodes[node].start};
}

/* Takes the first byte of an array or object. */
static void open_container(struct stepper *stepper, uint32_t node, uint32_t parent,
                           enum step_phase phase)
{
    const uint32_t frame = grammar_step_frame(
        stepper->frames,
        (struct step_frame){.parent = parent,
                            .node = node,
                            .depth = (uint16_t)(stepper->frames->frames[parent].depth + 1)});
    if (frame != GRAMMAR_NONE) {
        grammar_step_emit(stepper, (struct step_thread){.phase = (uint8_t)phase, .frame = frame});
    }
}

/* Takes the first byte of a value that is no choice. */
static void begin_one(struct stepper *stepper, uint32_t node, uint32_t frame)
{
    const struct grammar_program *program = stepper->program;
    if (!grammar_step_fits(program, &stepper->frames->frames[frame], node)) {
        return;
    }
    switch (program->nodes[node].kind) {
    case PROGRAM_STRING:
        if (stepper->byte == '"') {
            grammar_step_emit(stepper, (struct step_thread){.phase = STEP_STRING,
                                                            .node = node,
                                                            .frame = frame,
                                                            .state = program->nodes[node].start});
        }
        return;
    case PROGRAM_ARRAY:
        if (stepper->byte == '[') {
            open_container(stepper, node, frame, STEP_ARRAY_OPEN);
        }
        return;
    case PROGRAM_OBJECT:
        if (stepper->byte == '{') {
            open_container(stepper, node, frame, STEP_OBJECT_OPEN);
        }
        return;
    case PROGRAM_BYTES: {
        const struct step_thread thread = at_bytes(program, node, frame);
        step_bytes(stepper, &thread);
        return;
    }
    case PROGRAM_CHOICE:
    case PROGRAM_SEQUENCE:
    case PROGRAM_REPEAT:
    case PROGRAM_JSON:
        return; /* No JSON values. */
    }
}

static void begin_value(struct stepper *stepper, uint32_t number, uint32_t frame)
{
    const struct program_node *node = &stepper->program->nodes[number];
    if (node->kind != PROGRAM_CHOICE) {
        begin_one(stepper, number, frame);
        return;
    }
    for (uint32_t index = 0; index < node->count; index++) {
        begin_one(stepper, stepper->program->lists[node->first + index], frame);
    }
}

/* The node of the next item; GRAMMAR_NONE: there is none, or it cannot be completed here. */
static uint32_t next_item(const struct grammar_program *program, const struct step_frame *frame)
{
    const struct program_node *node = &program->nodes[frame->node];
    if (frame->count >= node->max) {
        return GRAMMAR_NONE;
    }
    const uint32_t item =
        frame->count < node->count ? program->lists[node->first + frame->count] : node->child;
    return grammar_step_fits(program, frame, item) ? item : GRAMMAR_NONE;
}

static void step_array(struct stepper *stepper, const struct step_thread *thread)
{
    const struct step_frame frame = stepper->frames->frames[thread->frame];
    const struct program_node *node = &stepper->program->nodes[frame.node];
    if (take_white_space(stepper, thread)) {
        return;
    }
    if (stepper->byte == ']') {
        if (frame.count >= node->min) {
            grammar_step_finish(stepper, frame.parent, false);
        }
        return;
    }
    const uint32_t item = next_item(stepper->program, &frame);
    if (item == GRAMMAR_NONE) {
        return;
    }
    if (thread->phase == STEP_ARRAY_OPEN) {
        begin_value(stepper, item, thread->frame);
    } else if (stepper->byte == ',') {
        grammar_step_emit(stepper, (struct step_thread){
                                       .phase = STEP_VALUE, .node = item, .frame = thread->frame});
    }
}

static void step_object(struct stepper *stepper, const struct step_thread *thread)
{
    const struct grammar_program *program = stepper->program;
    const struct step_frame frame = stepper->frames->frames[thread->frame];
    if (take_white_space(stepper, thread)) {
        return;
    }
    if (stepper->byte == '}') {
        if (thread->phase != STEP_OBJECT_KEY && grammar_step_object_can_end(program, &frame)) {
            grammar_step_finish(stepper, frame.parent, false);
        }
        return;
    }
    const bool after_property = thread->phase == STEP_OBJECT_NEXT;
    if (stepper->byte != (after_property ? ',' : '"') ||
        !grammar_step_object_can_go_on(program, &frame)) {
        return;
    }
    struct step_thread next = {.phase = STEP_OBJECT_KEY, .frame = thread->frame};
    if (!after_property) {
        next.phase = STEP_KEY;
        next.node = frame.node;
        next.state = program->nodes[frame.node].start;
    }
    grammar_step_emit(stepper, next);
}

static void step_start(struct stepper *stepper, const struct step_thread *thread)
{
    const struct grammar_program *program = stepper->program;
    const struct program_node *node = &program->nodes[thread->node];
    switch (node->kind) {
    case PROGRAM_CHOICE:
        for (uint32_t index = 0; index < node->count; index++) {
            struct step_thread next = *thread;
            next.node = program->lists[node->first + index];
            add_pending(stepper, next);
        }
        return;
    case PROGRAM_SEQUENCE:
        if (node->count == 0) {
            grammar_step_finish(stepper, thread->frame, true);
        } else {
            start_part(stepper, thread->node, 0, thread->frame, true);
        }
        return;
    case PROGRAM_REPEAT:
        start_round(stepper, thread->node, 0, thread->frame, true);
        if (node->min == 0) {
            grammar_step_finish(stepper, thread->frame, true);
        }
        return;
    case PROGRAM_BYTES:
        add_pending(stepper, at_bytes(program, thread->node, thread->frame));
        return;
    case PROGRAM_JSON:
        add_pending(stepper, (struct step_thread){
                                 .phase = STEP_VALUE, .node = node->child, .frame = thread->frame});
        return;
    case PROGRAM_STRING:
    case PROGRAM_ARRAY:
    case PROGRAM_OBJECT:
        return; /* Only inside of JSON. */
    }
}

static void step_thread(struct stepper *stepper, const struct step_thread *thread)
{
    switch ((enum step_phase)thread->phase) {
    case STEP_START:
        step_start(stepper, thread);
        return;
    case STEP_BYTES:
        step_bytes(stepper, thread);
        return;
    case STEP_VALUE:
        if (!take_white_space(stepper, thread)) {
            begin_value(stepper, thread->node, thread->frame);
        }
        return;
    case STEP_STRING:
    case STEP_KEY:
        grammar_step_string(stepper, thread);
        return;
    case STEP_ARRAY_OPEN:
    case STEP_ARRAY_NEXT:
        step_array(stepper, thread);
        return;
    case STEP_OBJECT_OPEN:
    case STEP_OBJECT_KEY:
    case STEP_OBJECT_NEXT:
        step_object(stepper, thread);
        return;
    case STEP_COLON:
        if (!take_white_space(stepper, thread) && stepper->byte == ':') {
            grammar_step_emit(stepper, (struct step_thread){.phase = STEP_VALUE,
                                                            .node = thread->node,
                                                            .frame = thread->frame});
        }
        return;
    case STEP_DONE:
        return;
    }
}

void grammar_step_byte(const struct grammar_program *program, struct step_frames *frames,
                       const struct step_thread *thread, unsigned char byte,
                       struct step_set *set_out)
{
    struct stepper stepper;
    stepper.program = program;
    stepper.frames = frames;
    stepper.set = set_out;
    stepper.byte = byte;
    stepper.pending_count = 0;
    step_thread(&stepper, thread);
    while (stepper.pending_count > 0) {
        const struct step_thread pending = stepper.pending[--stepper.pending_count];
        step_thread(&stepper, &pending);
    }
}

bool grammar_step_is_complete(const struct grammar_program *program, struct step_frames *frames,
                              const struct step_thread *thread)
{
    /* A byte that no text contains: only what needs none goes on, up to STEP_DONE. */
    struct step_set none = {.threads = NULL};
    struct stepper stepper;
    stepper.program = program;
    stepper.frames = frames;
    stepper.set = &none;
    stepper.byte = 0xff;
    stepper.pending_count = 0;
    add_pending(&stepper, *thread);
    while (stepper.pending_count > 0) {
        const struct step_thread pending = stepper.pending[--stepper.pending_count];
        if (pending.phase == STEP_DONE) {
            return true;
        }
        step_thread(&stepper, &pending);
    }
    return false;
}
