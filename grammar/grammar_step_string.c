/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_step_string.c - JSON strings: escapes are decoded, content is what they stand
 * for.
 *
 * An escape is followed only as long as some character that it can still become fits the content,
 * so that no escape is a dead end. Thread: that of the state. */
#include "grammar/grammar_step_internal.h"
#include "grammar/utf8_ranges.h"

/* Counts a byte of a string; false: the limits leave no room to end after it. */
static bool count_byte(const struct program_node *node, const struct automaton_state *state,
                       struct step_thread *thread, unsigned char byte)
{
    const bool begins = (byte & 0xc0) != 0x80;
    if (begins && (node->max != GRAMMAR_NONE || thread->count < node->min)) {
        thread->count++;
    }
    return node->max == GRAMMAR_NONE || thread->count + (uint64_t)state->distance <= node->max;
}

/* Gives the content one byte; false: it does not fit. */
static bool take_content(const struct stepper *stepper, struct step_thread *thread,
                         unsigned char byte)
{
    const struct automaton *automaton = &stepper->program->automaton;
    const struct program_node *node = &stepper->program->nodes[thread->node];
    uint32_t state = automaton_next(automaton, thread->state, byte);
    if (thread->phase == STEP_KEY) {
        if (state == GRAMMAR_NONE && node->child != GRAMMAR_NONE) {
            /* Off the trie: a name that is not in the schema. */
            state = automaton_next(automaton, automaton->states[thread->state].utf8, byte);
        }
        thread->state = state;
        return state != GRAMMAR_NONE &&
               grammar_step_object_key_lives(stepper->program,
                                             &stepper->frames->frames[thread->frame], state);
    }
    if (state == GRAMMAR_NONE) {
        return false;
    }
    thread->state = state;
    return count_byte(node, &automaton->states[state], thread, byte);
}

static bool take_point(const struct stepper *stepper, struct step_thread *thread, uint32_t point)
{
    unsigned char bytes[UTF8_BYTES_MAX];
    const size_t len = utf8_encode(point, bytes);
    for (size_t index = 0; index < len; index++) {
        if (!take_content(stepper, thread, bytes[index])) {
            return false;
        }
    }
    return true;
}

/* Whether some choice of bytes from `at` on fits; as deep as a character has bytes. */
static bool sequence_fits(const struct stepper *stepper, const struct step_thread *thread,
                          const struct utf8_sequence *sequence, uint32_t at)
{
    for (uint32_t byte = sequence->low[at]; byte <= sequence->high[at]; byte++) {
        struct step_thread next = *thread;
        if (take_content(stepper, &next, (unsigned char)byte) &&
            (at + 1 == sequence->len || sequence_fits(stepper, &next, sequence, at + 1))) {
            return true;
        }
    }
    return false;
}

/* Whether some character of the range fits. */
static bool range_fits(const struct stepper *stepper, const struct step_thread *thread,
                       uint32_t low, uint32_t high)
{
    struct utf8_ranges rest = {.low = low, .high = high};
    struct utf8_sequence sequence;
    while (utf8_ranges_next(&rest, &sequence)) {
        if (sequence_fits(stepper, thread, &sequence, 0)) {
            return true;
        }
    }
    return false;
}

/* Whether \u with a value in the range can be, or begin, a character that fits. */
static bool units_fit(const struct stepper *stepper, const struct step_thread *thread, uint32_t low,
                      uint32_t high)
{
    if (range_fits(stepper, thread, low, high)) { /* Surrogates do not count there. */
        return true;
    }
    low = low < 0xd800 ? 0xd800 : low;
    high = high > 0xdbff ? 0xdbff : high;
    return low <= high && range_fits(stepper, thread, 0x10000 + ((low - 0xd800) << 10),
                                     0x103ff + ((high - 0xd800) << 10));
}

static int hex_value(unsigned char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    const int lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static void emit_point(struct stepper *stepper, struct step_thread thread, uint32_t point)
{
    thread.lex = STEP_LEX_BODY;
    thread.run = 0;
    thread.escape = 0;
    if (take_point(stepper, &thread, point)) {
        grammar_step_emit(stepper, thread);
    }
}

static void take_escape(struct stepper *stepper, struct step_thread thread)
{
    static const unsigned char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'b', '\b'},
                                               {'f', '\f'}, {'n', '\n'},  {'r', '\r'}, {'t', '\t'}};
    for (size_t index = 0; index < sizeof(escapes) / sizeof(escapes[0]); index++) {
        if (escapes[index][0] == stepper->byte) {
            emit_point(stepper, thread, escapes[index][1]);
            return;
        }
    }
    if (stepper->byte == 'u') {
        thread.lex = STEP_LEX_HEX; /* That some character fits is known since the backslash. */
        grammar_step_emit(stepper, thread);
    }
}

static void take_hex(struct stepper *stepper, struct step_thread thread)
{
    const int digit = hex_value(stepper->byte);
    if (digit < 0) {
        return;
    }
    thread.escape = thread.escape << 4 | (uint32_t)digit;
    thread.run++;
    const uint32_t bits = 4 * (4 - (uint32_t)thread.run);
    const uint32_t low = thread.escape << bits;
    const uint32_t high = low | ((UINT32_C(1) << bits) - 1);
    if (bits > 0) {
        if (units_fit(stepper, &thread, low, high)) {
            grammar_step_emit(stepper, thread);
        }
        return;
    }
    if (low < 0xd800 || low > 0xdfff) {
        emit_point(stepper, thread, low);
    } else if (units_fit(stepper, &thread, low, low)) {
        thread.lex = STEP_LEX_LOW_ESCAPE;
        thread.run = 0;
        thread.escape = low << 16;
        grammar_step_emit(stepper, thread);
    }
}

/* A digit of the low surrogate. */
static void take_low_hex(struct stepper *stepper, struct step_thread thread)
{
    const int digit = hex_value(stepper->byte);
    if (digit < 0) {
        return;
    }
    const uint32_t value = (thread.escape & 0xffff) << 4 | (uint32_t)digit;
    const uint32_t base = 0x10000 + (((thread.escape >> 16) - 0xd800) << 10);
    thread.escape = (thread.escape & 0xffff0000) | value;
    thread.run++;
    const uint32_t bits = 4 * (4 - (uint32_t)thread.run);
    uint32_t low = value << bits;
    uint32_t high = low | ((UINT32_C(1) << bits) - 1);
    low = low < 0xdc00 ? 0xdc00 : low;
    high = high > 0xdfff ? 0xdfff : high;
    if (low > high || !range_fits(stepper, &thread, base + low - 0xdc00, base + high - 0xdc00)) {
        return;
    }
    if (bits > 0) {
        grammar_step_emit(stepper, thread);
    } else {
        emit_point(stepper, thread, base + low - 0xdc00);
    }
}

static void close_string(struct stepper *stepper, const struct step_thread *thread)
{
    if (thread->phase == STEP_KEY) {
        struct step_thread next;
        if (grammar_step_object_name(stepper->program, stepper->frames, thread, &next)) {
            grammar_step_emit(stepper, next);
        }
        return;
    }
    if (stepper->program->automaton.states[thread->state].accepting &&
        thread->count >= stepper->program->nodes[thread->node].min) {
        grammar_step_finish(stepper, thread->frame, false);
    }
}

static void take_body(struct stepper *stepper, const struct step_thread *thread)
{
    struct step_thread next = *thread;
    const unsigned char byte = stepper->byte;
    if (byte == '"') {
        close_string(stepper, thread);
    } else if (byte == '\\') {
        next.lex = STEP_LEX_ESCAPE;
        if (range_fits(stepper, thread, 0, UTF8_POINT_MAX)) {
            grammar_step_emit(stepper, next);
        }
    } else if (byte >= 0x20 && take_content(stepper, &next, byte)) {
        grammar_step_emit(stepper, next);
    }
}

enum step_within grammar_step_within(const struct grammar_program *program,
                                     struct step_thread *thread, unsigned char byte)
{
    const struct automaton *automaton = &program->automaton;
    const struct automaton_state *from = &automaton->states[thread->state];
    const bool in_body = thread->phase == STEP_STRING && thread->lex == STEP_LEX_BODY &&
                         byte >= 0x20 && byte != '"' && byte != '\\';
    /* What may end here goes on in other ways too, but not at the very end. */
    const bool in_bytes =
        thread->phase == STEP_BYTES &&
        (!from->accepting || (thread->frame == STEP_BOTTOM && from->label == GRAMMAR_NONE));
    if (!in_body && !in_bytes) {
        return STEP_WITHIN_UNKNOWN;
    }
    const uint32_t state = automaton_next(automaton, thread->state, byte);
    if (state == GRAMMAR_NONE) {
        return STEP_WITHIN_REFUSED;
    }
    thread->state = state;
    return in_bytes || count_byte(&program->nodes[thread->node], &automaton->states[state], thread,
                                  byte)
               ? STEP_WITHIN_TAKEN
               : STEP_WITHIN_REFUSED;
}

void grammar_step_string(struct stepper *stepper, const struct step_thread *thread)
{
    struct step_thread next = *thread;
    switch ((enum step_lex)thread->lex) {
    case STEP_LEX_BODY:
        take_body(stepper, thread);
        return;
    case STEP_LEX_ESCAPE:
        take_escape(stepper, next);
        return;
    case STEP_LEX_HEX:
        take_hex(stepper, next);
        return;
    case STEP_LEX_LOW_ESCAPE:
    case STEP_LEX_LOW_U:
        if (stepper->byte == (thread->lex == STEP_LEX_LOW_ESCAPE ? '\\' : 'u')) {
            next.lex++;
            grammar_step_emit(stepper, next);
        }
        return;
    case STEP_LEX_LOW_HEX:
        take_low_hex(stepper, next);
        return;
    }
}
