/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_step_object.c - which properties may come, given those that came.
 *
 * Thread: that of the state. */
#include "grammar/grammar_step_internal.h"

/* The last position that may come next in an ordered object: a required property is not left out.
 */
static uint32_t last_position(const struct grammar_program *program,
                              const struct program_node *node, uint64_t next)
{
    for (uint32_t position = (uint32_t)next; position < node->count; position++) {
        const uint32_t index = program->lists[node->order + position];
        if (program->properties[node->first + index].required) {
            return position;
        }
    }
    return node->count;
}

static bool property_is_allowed(const struct grammar_program *program,
                                const struct step_frame *frame, uint32_t index, uint32_t last)
{
    const struct program_node *node = &program->nodes[frame->node];
    const struct program_property *property = &program->properties[node->first + index];
    if (!grammar_step_fits(program, frame, property->node)) {
        return false;
    }
    return node->ordered ? property->position >= frame->seen && property->position <= last
                         : (frame->seen >> index & 1) == 0;
}

static bool others_are_allowed(const struct grammar_program *program,
                               const struct step_frame *frame)
{
    const uint32_t child = program->nodes[frame->node].child;
    return child != GRAMMAR_NONE && grammar_step_fits(program, frame, child);
}

/* Whether one of the properties [begin, end), in order of names, is allowed. */
static bool some_is_allowed(const struct grammar_program *program, const struct step_frame *frame,
                            uint32_t begin, uint32_t end)
{
    const struct program_node *node = &program->nodes[frame->node];
    const uint32_t last = node->ordered ? last_position(program, node, frame->seen) : 0;
    for (uint32_t index = begin; index < end; index++) {
        if (property_is_allowed(program, frame, index, last)) {
            return true;
        }
    }
    return false;
}

bool grammar_step_object_key_lives(const struct grammar_program *program,
                                   const struct step_frame *frame, uint32_t state)
{
    const struct automaton_state *at = &program->automaton.states[state];
    return others_are_allowed(program, frame) ||
           (state >= AUTOMATON_UTF8_STATES &&
            some_is_allowed(program, frame, at->text_begin, at->text_end));
}

bool grammar_step_object_can_go_on(const struct grammar_program *program,
                                   const struct step_frame *frame)
{
    return others_are_allowed(program, frame) ||
           some_is_allowed(program, frame, 0, program->nodes[frame->node].count);
}

bool grammar_step_object_can_end(const struct grammar_program *program,
                                 const struct step_frame *frame)
{
    const struct program_node *node = &program->nodes[frame->node];
    return node->ordered ? last_position(program, node, frame->seen) == node->count
                         : (frame->seen & node->required) == node->required;
}

bool grammar_step_object_name(const struct grammar_program *program, struct step_frames *frames,
                              const struct step_thread *thread, struct step_thread *next_out)
{
    struct step_frame frame = frames->frames[thread->frame];
    const struct program_node *node = &program->nodes[frame.node];
    const struct automaton_state *at = &program->automaton.states[thread->state];
    *next_out =
        (struct step_thread){.phase = STEP_COLON, .frame = thread->frame, .node = node->child};
    if (thread->state < AUTOMATON_UTF8_STATES || !at->accepting) {
        return at->utf8 == AUTOMATON_UTF8_START && others_are_allowed(program, &frame);
    }
    const uint32_t last = node->ordered ? last_position(program, node, frame.seen) : 0;
    if (!property_is_allowed(program, &frame, at->label, last)) {
        return false;
    }
    const struct program_property *property = &program->properties[node->first + at->label];
    frame.seen =
        node->ordered ? property->position + UINT64_C(1) : frame.seen | UINT64_C(1) << at->label;
    next_out->frame = grammar_step_frame(frames, frame);
    next_out->node = property->node;
    return next_out->frame != GRAMMAR_NONE;
}
