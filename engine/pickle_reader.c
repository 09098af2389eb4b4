/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/pickle_reader.c - a stack machine for the instructions that torch.save writes.
 *
 * Instructions as in CPython's pickletools, protocol 2 and the strings of later ones. Where the
 * tensors' bytes are does not live here (model_file_pth.c). Thread: any. */
#include "engine/pickle_reader.h"

#include <stdlib.h>
#include <string.h>

#include "engine/pickle_machine.h"

enum {
    PICKLE_BYTES_MAX = 64 << 20,
    PROTOCOL_MAX = 5,
};

/* Every function that a pickle may name. */
static const struct {
    const char *module;
    const char *name;
    enum global global;
} globals[] = {
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER},
    {"torch", "FloatStorage", GLOBAL_STORAGE_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE_BF16},
};

static enum error_code push_integer(struct machine *machine, size_t byte_count)
{
    uint64_t value;
    if (!pickle_machine_take_number(machine, byte_count, &value)) {
        return pickle_machine_refuse(machine, "it ends within a number");
    }
    /* Of the fixed sizes, only the one of 4 bytes is signed. */
    const int64_t integer = byte_count == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
    return pickle_machine_push(machine, (struct value){.type = VALUE_INTEGER, .integer = integer});
}

/* LONG1: a length, then two's complement of that many bytes. */
static enum error_code push_long(struct machine *machine)
{
    uint64_t byte_count;
    uint64_t value;
    if (!pickle_machine_take_number(machine, 1, &byte_count) || byte_count > sizeof(value) ||
        !pickle_machine_take_number(machine, (size_t)byte_count, &value)) {
        return pickle_machine_refuse(machine, "a number that is cut off or past 64 bits");
    }
    if (byte_count > 0 && byte_count < sizeof(value) && (value >> (byte_count * 8 - 1) & 1) != 0) {
        value |= ~UINT64_C(0) << (byte_count * 8);
    }
    return pickle_machine_push(machine,
                               (struct value){.type = VALUE_INTEGER, .integer = (int64_t)value});
}

static enum error_code push_text(struct machine *machine, size_t length_bytes)
{
    uint64_t len;
    if (!pickle_machine_take_number(machine, length_bytes, &len) || len > UINT32_MAX) {
        return pickle_machine_refuse(machine, "it ends within a text");
    }
    const unsigned char *bytes = pickle_machine_take(machine, (size_t)len);
    if (bytes == NULL) {
        return pickle_machine_refuse(machine, "it ends within a text");
    }
    return pickle_machine_push(
        machine,
        (struct value){.type = VALUE_TEXT, .len = (uint32_t)len, .text = (const char *)bytes});
}

static enum error_code push_global(struct machine *machine)
{
    struct text module;
    struct text name;
    if (!pickle_machine_take_line(machine, &module) || !pickle_machine_take_line(machine, &name)) {
        return pickle_machine_refuse(machine, "it ends within a function's name");
    }
    for (size_t index = 0; index < sizeof(globals) / sizeof(globals[0]); index++) {
        if (text_equals(module, text_from(globals[index].module)) &&
            text_equals(name, text_from(globals[index].name))) {
            return pickle_machine_push(
                machine, (struct value){.type = VALUE_GLOBAL, .global = globals[index].global});
        }
    }
    return pickle_machine_refuse_global(machine, module, name);
}

/* STACK_GLOBAL of later protocols: torch.save does not write it, but its function is named. */
static enum error_code refuse_stack_global(struct machine *machine)
{
    struct value name;
    struct value module;
    if (!pickle_machine_pop(machine, &name) || !pickle_machine_pop(machine, &module) ||
        name.type != VALUE_TEXT || module.type != VALUE_TEXT) {
        return pickle_machine_refuse(machine, "a function without a name");
    }
    return pickle_machine_refuse_global(machine,
                                        (struct text){.bytes = module.text, .len = module.len},
                                        (struct text){.bytes = name.text, .len = name.len});
}

/* ---- Tuples and dictionaries ------------------------------------------------------------- */

static enum error_code push_tuple(struct machine *machine, const struct value *values,
                                  uint32_t count)
{
    struct value *copy = NULL;
    if (count > 0) {
        copy = arena_alloc(machine->arena, count * sizeof(*copy));
        if (copy == NULL) {
            return pickle_machine_refuse_memory(machine);
        }
        memcpy(copy, values, count * sizeof(*copy));
    }
    return pickle_machine_push(machine,
                               (struct value){.type = VALUE_TUPLE, .len = count, .values = copy});
}

/* TUPLE1, TUPLE2, TUPLE3. */
static enum error_code make_short_tuple(struct machine *machine, uint32_t count)
{
    struct value values[3];
    for (uint32_t index = count; index-- > 0;) {
        if (!pickle_machine_pop(machine, &values[index])) {
            return pickle_machine_refuse(machine, "a tuple of more than there is");
        }
    }
    return push_tuple(machine, values, count);
}

static enum error_code make_tuple(struct machine *machine)
{
    const struct value *values;
    uint32_t count;
    if (!pickle_machine_pop_to_mark(machine, &values, &count)) {
        return pickle_machine_refuse(machine, "a tuple without a mark");
    }
    return push_tuple(machine, values, count);
}

static enum error_code push_dict(struct machine *machine)
{
    struct dict *dict = arena_alloc(machine->arena, sizeof(*dict));
    if (dict == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    return pickle_machine_push(machine, (struct value){.type = VALUE_DICT, .dict = dict});
}

/* Adds pairs to the dictionary on top of the stack. */
static enum error_code set_items(struct machine *machine, const struct value *values,
                                 uint32_t count)
{
    const struct value *target = pickle_machine_top(machine);
    if (target == NULL || target->type != VALUE_DICT || count % 2 != 0) {
        return pickle_machine_refuse(machine, "items for what is no dictionary");
    }
    if (count == 0) {
        return ERROR_NONE;
    }
    struct dict *dict = target->dict;
    struct items *items =
        arena_alloc(machine->arena, sizeof(*items) + count * sizeof(items->values[0]));
    if (items == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    items->value_count = count;
    memcpy(items->values, values, count * sizeof(items->values[0]));
    *(dict->first == NULL ? &dict->first : &dict->last->next) = items;
    dict->last = items;
    dict->pair_count += count / 2;
    return ERROR_NONE;
}

static enum error_code set_item(struct machine *machine)
{
    struct value pair[2];
    if (!pickle_machine_pop(machine, &pair[1]) || !pickle_machine_pop(machine, &pair[0])) {
        return pickle_machine_refuse(machine, "an item without key or value");
    }
    return set_items(machine, pair, 2);
}

static enum error_code set_many_items(struct machine *machine)
{
    const struct value *values;
    uint32_t count;
    if (!pickle_machine_pop_to_mark(machine, &values, &count)) {
        return pickle_machine_refuse(machine, "items without a mark");
    }
    return set_items(machine, values, count);
}

/* APPEND and APPENDS: a list's elements are of no use here. */
static enum error_code append(struct machine *machine, bool many)
{
    const struct value *values;
    struct value value;
    uint32_t count;
    if (!(many ? pickle_machine_pop_to_mark(machine, &values, &count)
               : pickle_machine_pop(machine, &value)) ||
        pickle_machine_top(machine) == NULL || pickle_machine_top(machine)->type != VALUE_LIST) {
        return pickle_machine_refuse(machine, "elements for what is no list");
    }
    return ERROR_NONE;
}

/* BUILD sets attributes; of a dictionary (_metadata) they are ignored, others have none. */
static enum error_code build(struct machine *machine)
{
    struct value state;
    if (!pickle_machine_pop(machine, &state) || pickle_machine_top(machine) == NULL ||
        pickle_machine_top(machine)->type != VALUE_DICT) {
        return pickle_machine_refuse(machine, "attributes for what is no dictionary");
    }
    return ERROR_NONE;
}

/* ---- Storages and tensors ---------------------------------------------------------------- */

static bool is_text(const struct value *value, struct text wanted)
{
    return value->type == VALUE_TEXT &&
           text_equals((struct text){.bytes = value->text, .len = value->len}, wanted);
}

static bool is_count(const struct value *value)
{
    return value->type == VALUE_INTEGER && value->integer >= 0;
}

static bool storage_type(const struct value *value, enum tensor_type *type_out)
{
    if (value->type != VALUE_GLOBAL) {
        return false;
    }
    switch (value->global) {
    case GLOBAL_STORAGE_F32:
        *type_out = TENSOR_F32;
        return true;
    case GLOBAL_STORAGE_F16:
        *type_out = TENSOR_F16;
        return true;
    case GLOBAL_STORAGE_BF16:
        *type_out = TENSOR_BF16;
        return true;
    case GLOBAL_ORDERED_DICT:
    case GLOBAL_REBUILD_TENSOR:
    case GLOBAL_REBUILD_PARAMETER:
        return false;
    }
    return false;
}

/* BINPERSID: ("storage", class, key, location, element count). */
static enum error_code make_storage(struct machine *machine)
{
    struct value id;
    enum tensor_type type;
    if (!pickle_machine_pop(machine, &id) || id.type != VALUE_TUPLE || id.len != 5 ||
        !is_text(&id.values[0], TEXT("storage")) || !storage_type(&id.values[1], &type) ||
        id.values[2].type != VALUE_TEXT || id.values[3].type != VALUE_TEXT ||
        !is_count(&id.values[4])) {
        return pickle_machine_refuse(machine, "an object from outside that is no storage");
    }
    struct storage *storage = arena_alloc(machine->arena, sizeof(*storage));
    if (storage == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    *storage = (struct storage){
        .key = {.bytes = id.values[2].text, .len = id.values[2].len},
        .type = type,
        .element_count = (uint64_t)id.values[4].integer,
    };
    return pickle_machine_push(machine, (struct value){.type = VALUE_STORAGE, .storage = storage});
}

static bool is_tuple_of_counts(const struct value *value)
{
    if (value->type != VALUE_TUPLE || value->len > LIMIT_TENSOR_DIMENSIONS) {
        return false;
    }
    for (uint32_t index = 0; index < value->len; index++) {
        if (!is_count(&value->values[index])) {
            return false;
        }
    }
    return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]). */
static enum error_code rebuild_tensor(struct machine *machine, const struct value *arguments,
                                      uint32_t count)
{
    if (count < 6 || count > 7 || arguments[0].type != VALUE_STORAGE || !is_count(&arguments[1]) ||
        !is_tuple_of_counts(&arguments[2]) || !is_tuple_of_counts(&arguments[3]) ||
        arguments[2].len != arguments[3].len) {
        return pickle_machine_refuse(
            machine, "a tensor whose storage, offset, shape or strides make no sense");
    }
    struct view *view = arena_alloc(machine->arena, sizeof(*view));
    if (view == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    *view = (struct view){
        .storage = arguments[0].storage,
        .offset = (uint64_t)arguments[1].integer,
        .shape = arguments[2],
        .strides = arguments[3],
    };
    return pickle_machine_push(machine, (struct value){.type = VALUE_TENSOR, .view = view});
}

static enum error_code reduce(struct machine *machine)
{
    struct value arguments;
    struct value function;
    if (!pickle_machine_pop(machine, &arguments) || !pickle_machine_pop(machine, &function) ||
        arguments.type != VALUE_TUPLE || function.type != VALUE_GLOBAL) {
        return pickle_machine_refuse(machine, "a call of what is no function");
    }
    switch (function.global) {
    case GLOBAL_ORDERED_DICT:
        return arguments.len == 0
                   ? push_dict(machine)
                   : pickle_machine_refuse(machine, "a dictionary made from arguments");
    case GLOBAL_REBUILD_TENSOR:
        return rebuild_tensor(machine, arguments.values, arguments.len);
    case GLOBAL_REBUILD_PARAMETER:
        return arguments.len == 3 && arguments.values[0].type == VALUE_TENSOR
                   ? pickle_machine_push(machine, arguments.values[0])
                   : pickle_machine_refuse(machine, "a parameter that is no tensor");
    case GLOBAL_STORAGE_F32:
    case GLOBAL_STORAGE_F16:
    case GLOBAL_STORAGE_BF16:
        break;
    }
    return pickle_machine_refuse(machine, "a call of what is no function");
}

/* ---- Instructions ------------------------------------------------------------------------ */

static enum error_code push_plain(struct machine *machine, enum value_type type, int64_t integer)
{
    return pickle_machine_push(machine, (struct value){.type = type, .integer = integer});
}

static enum error_code check_protocol(struct machine *machine)
{
    uint64_t protocol;
    if (!pickle_machine_take_number(machine, 1, &protocol) || protocol > PROTOCOL_MAX) {
        return pickle_machine_refuse(machine, "a protocol that nobody knows");
    }
    return ERROR_NONE;
}

static enum error_code skip_real(struct machine *machine)
{
    if (pickle_machine_take(machine, sizeof(double)) == NULL) {
        return pickle_machine_refuse(machine, "it ends within a number");
    }
    return push_plain(machine, VALUE_REAL, 0);
}

/* The memo's four instructions: the number has 1 or 4 bytes. */
static enum error_code use_memo(struct machine *machine, size_t byte_count, bool puts)
{
    uint64_t index;
    if (!pickle_machine_take_number(machine, byte_count, &index)) {
        return pickle_machine_refuse(machine, "it ends within a number");
    }
    return puts ? pickle_machine_memo_put(machine, (uint32_t)index)
                : pickle_machine_memo_get(machine, (uint32_t)index);
}

/* Instructions that push something new. */
static enum error_code run_push(struct machine *machine, unsigned char instruction, bool *is_known)
{
    *is_known = true;
    switch (instruction) {
    case '(':
        return push_plain(machine, VALUE_MARK, 0);
    case 'N':
        return push_plain(machine, VALUE_NONE, 0);
    case 0x88: /* NEWTRUE */
        return push_plain(machine, VALUE_BOOL, 1);
    case 0x89: /* NEWFALSE */
        return push_plain(machine, VALUE_BOOL, 0);
    case 'J': /* BININT */
        return push_integer(machine, 4);
    case 'K': /* BININT1 */
        return push_integer(machine, 1);
    case 'M': /* BININT2 */
        return push_integer(machine, 2);
    case 0x8a: /* LONG1 */
        return push_long(machine);
    case 'G': /* BINFLOAT */
        return skip_real(machine);
    case 'X': /* BINUNICODE */
        return push_text(machine, 4);
    case 0x8c: /* SHORT_BINUNICODE */
        return push_text(machine, 1);
    case ']': /* EMPTY_LIST */
        return push_plain(machine, VALUE_LIST, 0);
    case ')': /* EMPTY_TUPLE */
        return push_tuple(machine, NULL, 0);
    case '}': /* EMPTY_DICT */
        return push_dict(machine);
    case 'c': /* GLOBAL */
        return push_global(machine);
    default:
        *is_known = false;
        return ERROR_NONE;
    }
}

/* Instructions that work on what is there. */
static enum error_code run_work(struct machine *machine, unsigned char instruction, bool *is_known)
{
    *is_known = true;
    switch (instruction) {
    case 0x80: /* PROTO */
        return check_protocol(machine);
    case '.': /* STOP */
        machine->has_stopped = true;
        return ERROR_NONE;
    case 'q': /* BINPUT */
        return use_memo(machine, 1, true);
    case 'r': /* LONG_BINPUT */
        return use_memo(machine, 4, true);
    case 'h': /* BINGET */
        return use_memo(machine, 1, false);
    case 'j': /* LONG_BINGET */
        return use_memo(machine, 4, false);
    case 't': /* TUPLE */
        return make_tuple(machine);
    case 0x85: /* TUPLE1, TUPLE2, TUPLE3 */
    case 0x86:
    case 0x87:
        return make_short_tuple(machine, instruction - 0x84u);
    case 's': /* SETITEM */
        return set_item(machine);
    case 'u': /* SETITEMS */
        return set_many_items(machine);
    case 'a': /* APPEND */
        return append(machine, false);
    case 'e': /* APPENDS */
        return append(machine, true);
    case 'R': /* REDUCE */
        return reduce(machine);
    case 'b': /* BUILD */
        return build(machine);
    case 'Q': /* BINPERSID */
        return make_storage(machine);
    case 0x93: /* STACK_GLOBAL */
        return refuse_stack_global(machine);
    default:
        *is_known = false;
        return ERROR_NONE;
    }
}

static enum error_code run(struct machine *machine)
{
    enum error_code code = ERROR_NONE;
    while (code == ERROR_NONE && !machine->has_stopped) {
        machine->instruction = machine->position;
        const unsigned char *instruction = pickle_machine_take(machine, 1);
        if (instruction == NULL) {
            return pickle_machine_refuse(machine, "it ends without STOP: truncated");
        }
        bool is_known;
        code = run_push(machine, *instruction, &is_known);
        if (!is_known) {
            code = run_work(machine, *instruction, &is_known);
        }
        if (!is_known) {
            return error_set(machine->error, ERROR_CORRUPT,
                             "%.200s: data.pkl at byte %zu: instruction 0x%02x, which a checkpoint "
                             "does not need",
                             machine->name, machine->instruction, *instruction);
        }
    }
    if (code == ERROR_NONE && machine->position != machine->pickle.len) {
        return pickle_machine_refuse(machine, "bytes after STOP");
    }
    return code;
}

/* ---- The table --------------------------------------------------------------------------- */

/* The dictionary of tensors: the result itself, or what its only key leads to. */
static const struct dict *find_table(const struct value *result)
{
    static const char *const wrappers[] = {"state_dict", "model", "module"};
    if (result->type != VALUE_DICT) {
        return NULL;
    }
    const struct dict *dict = result->dict;
    for (size_t index = 0; index < sizeof(wrappers) / sizeof(wrappers[0]); index++) {
        const bool is_wrapper = dict->pair_count == 1 &&
                                is_text(&dict->first->values[0], text_from(wrappers[index])) &&
                                dict->first->values[1].type == VALUE_DICT;
        if (is_wrapper) {
            return dict->first->values[1].dict;
        }
    }
    return dict;
}

static void fill_tensor(const struct value *key, const struct view *view,
                        struct pickle_tensor *tensor)
{
    *tensor = (struct pickle_tensor){
        .name = {.bytes = key->text, .len = key->len},
        .storage_key = view->storage->key,
        .type = view->storage->type,
        .storage_count = view->storage->element_count,
        .offset = view->offset,
        .dimension_count = view->shape.len,
    };
    for (uint32_t index = 0; index < view->shape.len; index++) {
        tensor->shape[index] = (uint64_t)view->shape.values[index].integer;
        tensor->strides[index] = (uint64_t)view->strides.values[index].integer;
    }
}

static enum error_code fill_table(struct machine *machine, const struct dict *dict,
                                  struct pickle_table *table)
{
    if (dict->pair_count > LIMIT_TENSORS) {
        return pickle_machine_refuse(machine, "more than 100,000 tensors");
    }
    table->tensors = arena_alloc(machine->arena, dict->pair_count * sizeof(*table->tensors));
    if (table->tensors == NULL) {
        return pickle_machine_refuse_memory(machine);
    }
    for (const struct items *items = dict->first; items != NULL; items = items->next) {
        for (uint32_t index = 0; index < items->value_count; index += 2) {
            const struct value *key = &items->values[index];
            const struct value *value = &items->values[index + 1];
            if (key->type != VALUE_TEXT || value->type != VALUE_TENSOR) {
                return pickle_machine_refuse(
                    machine, "not a dictionary of tensors: a value of it is something else");
            }
            fill_tensor(key, value->view, &table->tensors[table->tensor_count]);
            table->tensor_count++;
        }
    }
    return ERROR_NONE;
}

enum error_code pickle_read(struct text pickle, const char *name, struct arena *arena,
                            struct pickle_table *table_out, struct error *error)
{
    *table_out = (struct pickle_table){0};
    if (pickle.len > PICKLE_BYTES_MAX) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: data.pkl has %zu bytes, at most %d are read", name, pickle.len,
                         PICKLE_BYTES_MAX);
    }
    struct machine *machine = arena_alloc(arena, sizeof(*machine));
    if (machine == NULL) {
        return error_set(error, ERROR_TOO_LARGE, "%.200s: no memory for reading data.pkl", name);
    }
    *machine =
        (struct machine){.name = name, .pickle = pickle, .arena = arena, .error = error};
    const enum error_code code = run(machine);
    if (code != ERROR_NONE) {
        return code;
    }
    struct value result;
    if (!pickle_machine_pop(machine, &result) || machine->stack_count != 0) {
        return pickle_machine_refuse(machine, "it leaves no result, or several");
    }
    const struct dict *dict = find_table(&result);
    if (dict == NULL) {
        return pickle_machine_refuse(machine, "not a dictionary of tensors");
    }
    return fill_table(machine, dict, table_out);
}
