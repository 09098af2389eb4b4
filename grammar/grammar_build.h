/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_build.h - what every step of a compilation shares: memory, work, the error.
 *
 * Inside grammar/ only. A compilation is bounded twice, and both bounds are the same on every
 * machine: bytes of one arena and units of work (about one visit of a state or node each). The
 * caller's struct error travels in here, so that a failure deep inside can name its place.
 * Thread: any, one compilation each. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

struct json_tree;

enum {
    GRAMMAR_INPUT_BYTES_MAX = 64 * 1024, /* All texts of one grammar together. */
    GRAMMAR_ALTERNATIVES_MAX = 128,      /* Open at once: threads of a state. */
    GRAMMAR_DEPTH_MAX = 32,              /* Objects and arrays inside each other. */
    GRAMMAR_REPEAT_MAX = 1000,           /* {n,m} of a regular expression. */
    GRAMMAR_DRAFT_STATES_MAX = 32768,    /* Of one automaton while it is built. */
    GRAMMAR_STATES_MAX = 131072,         /* Of one grammar: an enum has one for each byte. */
    GRAMMAR_NODES_MAX = 65536,           /* Schemas, and nodes of one regular expression. */
    GRAMMAR_WORK_MAX = 1000000,          /* Units; 10 to 50 ns each. */
    GRAMMAR_BUILD_BYTES_MAX = 48 << 20,  /* The arena; what it becomes takes less again. */
};

#define GRAMMAR_NONE UINT32_MAX

struct grammar_build {
    struct arena arena; /* Everything built; released as a whole. */
    uint64_t work_left;
    uint64_t work_until_poll;
    bool (*is_cancelled)(void *context); /* NULL: never. */
    void *context;
    struct error *error;          /* The caller's. */
    struct text part_name;        /* Where the text came from, for messages; may be empty. */
    const struct json_tree *tree; /* The schema in work, or NULL, */
    uint32_t value;               /* and the value of it that an error is about. */
};

/* Fails the compilation: writes the place, then the message. Returns code. */
enum error_code grammar_build_fail(struct grammar_build *build, enum error_code code,
                                   const char *format, ...) PRINTF_LIKE(3, 4);

/* Zeroed memory of the arena. NULL: the budget is exhausted and the error is written, as
 * INVALID_ARGUMENT. */
void *grammar_build_alloc(struct grammar_build *build, size_t count, size_t item_bytes);

/* Makes room for items[count]: returns items, or a larger copy and its new capacity. NULL as
 * above. */
void *grammar_build_grow(struct grammar_build *build, void *items, uint32_t count,
                         uint32_t *capacity, size_t item_bytes);

/* Takes units of work. INVALID_ARGUMENT: the input is too complex. CANCELLED. */
WARN_UNUSED enum error_code grammar_build_spend(struct grammar_build *build, uint64_t units);
