/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/pickle_machine.h - values, stack, memo and operands of the machine in pickle_reader.c.
 *
 * Knows nothing of instructions. Included by engine/pickle_*.c only. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "engine/model_file.h"

enum {
    PICKLE_STACK_FIRST = 256,   /* Room to begin with; doubled when it is full. */
    PICKLE_STACK_MAX = 1 << 16, /* Values; a dictionary's items are written 1,000 at a time. */
    PICKLE_MEMO_CHUNK = 1024,   /* Values that the memo grows by. */
    PICKLE_MEMO_CHUNKS_MAX = 1024,
};

enum value_type {
    VALUE_MARK,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_REAL, /* Its number is not kept. */
    VALUE_LIST, /* Its elements are not kept. */
    VALUE_TEXT,
    VALUE_TUPLE,
    VALUE_DICT,
    VALUE_GLOBAL,
    VALUE_STORAGE,
    VALUE_TENSOR,
};

enum global {
    GLOBAL_ORDERED_DICT,
    GLOBAL_REBUILD_TENSOR,
    GLOBAL_REBUILD_PARAMETER,
    GLOBAL_STORAGE_F32,
    GLOBAL_STORAGE_F16,
    GLOBAL_STORAGE_BF16,
};

/* Anything on the stack; what it refers to lies in the arena or in the pickle. */
struct value {
    enum value_type type;
    uint32_t len; /* Bytes of a text, values of a tuple. */
    union {
        int64_t integer; /* BOOL, INTEGER */
        const char *text;
        const struct value *values;
        struct dict *dict;
        enum global global;
        const struct storage *storage;
        const struct view *view;
    };
};

/* A dictionary: what was set, in order, in pieces. */
struct items {
    struct items *next;
    uint32_t value_count;  /* Twice the pairs. */
    struct value values[]; /* Key, value, key, value, ... */
};

struct dict {
    struct items *first;
    struct items *last;
    uint32_t pair_count;
};

struct storage {
    struct text key;
    enum tensor_type type;
    uint64_t element_count;
};

/* A tensor before it has a name. */
struct view {
    const struct storage *storage;
    uint64_t offset;
    struct value shape, strides; /* Tuples of as many integers, none negative. */
};

struct machine {
    const char *name; /* Of the file. */
    struct text pickle;
    size_t position;
    size_t instruction; /* Where the current one began. */
    struct arena *arena;
    struct error *error;
    struct value *stack; /* [stack_room], in the arena. */
    uint32_t stack_room, stack_count;
    struct value *memo[PICKLE_MEMO_CHUNKS_MAX];
    uint32_t memo_count;
    bool has_stopped;
};

/* Refuses the pickle at the current instruction and returns the code. */
enum error_code pickle_machine_refuse(const struct machine *machine, const char *why);
enum error_code pickle_machine_refuse_memory(const struct machine *machine);
enum error_code pickle_machine_refuse_global(const struct machine *machine, struct text module,
                                             struct text name);

/* CORRUPT: the stack is full. */
WARN_UNUSED enum error_code pickle_machine_push(struct machine *machine, struct value value);

/* Takes the topmost value; a mark is none. */
bool pickle_machine_pop(struct machine *machine, struct value *value_out);

/* Takes everything above the topmost mark, and the mark. The values stay where they are until the
 * next push. */
bool pickle_machine_pop_to_mark(struct machine *machine, const struct value **values_out,
                                uint32_t *count_out);

/* The topmost value, or NULL. */
struct value *pickle_machine_top(struct machine *machine);

/* Remembers the topmost value under a number, and pushes it again. */
WARN_UNUSED enum error_code pickle_machine_memo_put(struct machine *machine, uint32_t index);
WARN_UNUSED enum error_code pickle_machine_memo_get(struct machine *machine, uint32_t index);

/* Takes `byte_count` bytes from the program; NULL past its end. */
const unsigned char *pickle_machine_take(struct machine *machine, size_t byte_count);

/* Takes a little-endian number of 0 to 8 bytes, unsigned; or a line without its end. */
bool pickle_machine_take_number(struct machine *machine, size_t byte_count, uint64_t *value_out);
bool pickle_machine_take_line(struct machine *machine, struct text *line_out);
