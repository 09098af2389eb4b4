/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/pickle_machine.c - stack, memo and operands, each access within bounds.
 *
 * What the instructions do does not live here (pickle_reader.c). Thread: any. */
#include "engine/pickle_machine.h"

#include <string.h>

enum { GLOBAL_BYTES_MAX = 128 }; /* Of a function's name in a message. */

enum error_code pickle_machine_refuse(const struct machine *machine, const char *why)
{
    return error_set(machine->error, ERROR_CORRUPT, "%.200s: data.pkl at byte %zu: %s",
                     machine->name, machine->instruction, why);
}

enum error_code pickle_machine_refuse_memory(const struct machine *machine)
{
    return error_set(machine->error, ERROR_TOO_LARGE,
                     "%.200s: data.pkl at byte %zu: it would take more memory than the file's size "
                     "allows",
                     machine->name, machine->instruction);
}

/* What does not print becomes '?': the words come from the file. */
static void show(struct text text, char *shown, size_t capacity)
{
    text_copy_to(text, shown, capacity);
    const size_t len = text.len < capacity - 1 ? text.len : capacity - 1;
    for (size_t index = 0; index < len; index++) {
        if (shown[index] < ' ' || shown[index] > '~') {
            shown[index] = '?';
        }
    }
    shown[len] = '\0';
}

enum error_code pickle_machine_refuse_global(const struct machine *machine, struct text module,
                                             struct text name)
{
    char shown_module[GLOBAL_BYTES_MAX];
    char shown_name[GLOBAL_BYTES_MAX];
    show(module, shown_module, sizeof(shown_module));
    show(name, shown_name, sizeof(shown_name));
    if (text_equals(module, TEXT("torch")) && strstr(shown_name, "Storage") != NULL) {
        return error_set(machine->error, ERROR_CORRUPT,
                         "%.200s: data.pkl at byte %zu: numbers of type torch.%s, supported: "
                         "BFloat16Storage, HalfStorage, FloatStorage",
                         machine->name, machine->instruction, shown_name);
    }
    return error_set(machine->error, ERROR_CORRUPT,
                     "%.200s: data.pkl at byte %zu: it calls for %s.%s, which is not among the "
                     "functions of a plain checkpoint (bf16, f16 or f32 tensors): loading it in "
                     "Python could run code; save the state_dict alone, or as .safetensors",
                     machine->name, machine->instruction, shown_module, shown_name);
}

static enum error_code grow_stack(struct machine *machine)
{
    if (machine->stack_room == PICKLE_STACK_MAX) {
        return pickle_machine_refuse(machine, "more than 65,536 values on the stack");
    }
    const uint32_t room = machine->stack_room == 0 ? PICKLE_STACK_FIRST : 2 * machine->stack_room;
    struct value *stack = arena_alloc(machine->arena, room * sizeof(*stack));
    if (stack == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    if (machine->stack_count > 0) {
        memcpy(stack, machine->stack, machine->stack_count * sizeof(*stack));
    }
    machine->stack = stack;
    machine->stack_room = room;
    return ERROR_NONE;
}

enum error_code pickle_machine_push(struct machine *machine, struct value value)
{
    if (machine->stack_count == machine->stack_room) {
        const enum error_code code = grow_stack(machine);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    machine->stack[machine->stack_count] = value;
    machine->stack_count++;
    return ERROR_NONE;
}

bool pickle_machine_pop(struct machine *machine, struct value *value_out)
{
    if (machine->stack_count == 0 || machine->stack[machine->stack_count - 1].type == VALUE_MARK) {
        return false;
    }
    machine->stack_count--;
    *value_out = machine->stack[machine->stack_count];
    return true;
}

bool pickle_machine_pop_to_mark(struct machine *machine, const struct value **values_out,
                                uint32_t *count_out)
{
    uint32_t first = machine->stack_count;
    while (first > 0 && machine->stack[first - 1].type != VALUE_MARK) {
        first--;
    }
    if (first == 0) {
        return false;
    }
    *values_out = &machine->stack[first];
    *count_out = machine->stack_count - first;
    machine->stack_count = first - 1;
    return true;
}

struct value *pickle_machine_top(struct machine *machine)
{
    return machine->stack_count == 0 ? NULL : &machine->stack[machine->stack_count - 1];
}

/* Writers number the memo from 0 without holes; so it need not be larger than the pickle. */
enum error_code pickle_machine_memo_put(struct machine *machine, uint32_t index)
{
    const struct value *value = pickle_machine_top(machine);
    if (value == NULL || value->type == VALUE_MARK) {
        return pickle_machine_refuse(machine, "nothing to remember");
    }
    if (index > machine->memo_count || index >= PICKLE_MEMO_CHUNK * PICKLE_MEMO_CHUNKS_MAX) {
        return pickle_machine_refuse(machine, "the memo is not filled in order");
    }
    struct value **chunk = &machine->memo[index / PICKLE_MEMO_CHUNK];
    if (*chunk == NULL) {
        *chunk = arena_alloc(machine->arena, PICKLE_MEMO_CHUNK * sizeof(**chunk));
        if (*chunk == NULL) {
            return pickle_machine_refuse_memory(machine);
        }
    }
    (*chunk)[index % PICKLE_MEMO_CHUNK] = *value;
    machine->memo_count += index == machine->memo_count;
    return ERROR_NONE;
}

enum error_code pickle_machine_memo_get(struct machine *machine, uint32_t index)
{
    if (index >= machine->memo_count) {
        return pickle_machine_refuse(machine, "the memo has no such value");
    }
    return pickle_machine_push(machine,
                               machine->memo[index / PICKLE_MEMO_CHUNK][index % PICKLE_MEMO_CHUNK]);
}

const unsigned char *pickle_machine_take(struct machine *machine, size_t count)
{
    if (count > machine->pickle.len - machine->position) {
        return NULL;
    }
    const char *bytes = machine->pickle.bytes + machine->position;
    machine->position += count;
    return (const unsigned char *)bytes;
}

bool pickle_machine_take_number(struct machine *machine, size_t byte_count, uint64_t *value_out)
{
    const unsigned char *bytes = pickle_machine_take(machine, byte_count);
    *value_out = 0;
    for (size_t index = byte_count; bytes != NULL && index-- > 0;) {
        *value_out = *value_out << 8 | bytes[index];
    }
    return bytes != NULL;
}

bool pickle_machine_take_line(struct machine *machine, struct text *line_out)
{
    const char *begin = machine->pickle.bytes + machine->position;
    const size_t left = machine->pickle.len - machine->position;
    const char *end = left == 0 ? NULL : memchr(begin, '\n', left);
    if (end == NULL) {
        return false;
    }
    *line_out = (struct text){.bytes = begin, .len = (size_t)(end - begin)};
    machine->position += line_out->len + 1;
    return true;
}
