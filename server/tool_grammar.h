/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_grammar.h - what an answer may be where functions can be called, as a grammar.
 *
 * A call names one of the functions, and its arguments fit that one's schema. Required: one call or
 * several, the first behind a fence that the prompt has already. Offered: the same with all fences,
 * or a text that does not begin with one. tool_call_split.h cuts what this lets through.
 * Thread: any. */
#pragma once

#include "base/arena.h"
#include "grammar/grammar.h"
#include "server/openai_tools.h"

/* The root of the grammar, in the arena; NULL when that is full. tools->calls is not NONE. text:
 * what an answer without calls must be; NULL: anything. */
const struct grammar_part *tool_grammar_make(const struct openai_tools *tools,
                                             const struct grammar_part *text, struct arena *arena);
