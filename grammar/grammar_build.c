/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_build.c - budgets of a compilation, and messages that name the place.
 *
 * Names of a client's keys get into messages; whatever is not printable ASCII is replaced there.
 * Thread: any, one compilation each. */
#include "grammar/grammar_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "grammar/json_tree.h"

enum {
    POLL_UNITS = 4096, /* Work between two looks at is_cancelled: well below a millisecond. */
    PLACE_BYTES = 200,
};

static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x20 || *text > 0x7e) {
            *text = '?';
        }
    }
}

enum error_code grammar_build_fail(struct grammar_build *build, enum error_code code,
                                   const char *format, ...)
{
    char path[PLACE_BYTES / 2] = "";
    if (build->tree != NULL) {
        json_tree_path(build->tree, build->value, path, sizeof(path));
    }
    const struct text name = build->part_name;
    char place[PLACE_BYTES];
    (void)snprintf(place, sizeof(place), "%.*s%s%s%s", (int)name.len, name.bytes,
                   name.len > 0 && path[0] != '\0' ? " " : "", path,
                   name.len > 0 || path[0] != '\0' ? ": " : "");
    char message[ERROR_MESSAGE_BYTES - PLACE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    make_printable(place);
    make_printable(message);
    return error_set(build->error, code, "%s%s", place, message);
}

void *grammar_build_alloc(struct grammar_build *build, size_t count, size_t item_bytes)
{
    size_t bytes;
    void *memory = __builtin_mul_overflow(count, item_bytes, &bytes)
                       ? NULL
                       : arena_alloc(&build->arena, bytes);
    if (memory == NULL) {
        (void)grammar_build_fail(build, ERROR_INVALID_ARGUMENT, "needs more than %d MiB of memory",
                                 GRAMMAR_BUILD_BYTES_MAX >> 20);
    }
    return memory;
}

void *grammar_build_grow(struct grammar_build *build, void *items, uint32_t count,
                         uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity) {
        return items;
    }
    const uint32_t larger = *capacity == 0 ? 32 : 2 * *capacity;
    void *copy = grammar_build_alloc(build, larger, item_bytes);
    if (copy == NULL) {
        return NULL;
    }
    if (count > 0) {
        memcpy(copy, items, count * item_bytes);
    }
    *capacity = larger;
    return copy;
}

enum error_code grammar_build_spend(struct grammar_build *build, uint64_t units)
{
    if (units > build->work_left) {
        build->work_left = 0;
        return grammar_build_fail(build, ERROR_INVALID_ARGUMENT,
                                  "too complex: more than %d units of work", GRAMMAR_WORK_MAX);
    }
    build->work_left -= units;
    if (units < build->work_until_poll) {
        build->work_until_poll -= units;
        return ERROR_NONE;
    }
    build->work_until_poll = POLL_UNITS;
    if (build->is_cancelled != NULL && build->is_cancelled(build->context)) {
        return grammar_build_fail(build, ERROR_CANCELLED, "the compilation was cancelled");
    }
    return ERROR_NONE;
}
