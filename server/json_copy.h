/* SPDX-License-Identifier: Apache-2.0
 *
 * server/json_copy.h - a client's JSON written again: compact, in its order, with its numbers.
 *
 * For what a prompt shows or a reply repeats. No white space between tokens; strings without
 * needless escapes; numbers as they were written. Thread: any. */
#pragma once

#include "base/arena.h"
#include "server/json_reader.h"

/* A value of the open document as a text in the arena; .bytes is NULL when that is full. */
struct text json_copy(struct json_reader *reader, struct json_value value, struct arena *arena);
