/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex.h - a regular expression as a deterministic automaton over UTF-8 bytes.
 *
 * Inside grammar/ only. Nothing here ever backtracks: what would take too many states is refused.
 * The syntax is regex_tree.h's. Thread: any. */
#pragma once

#include "grammar/automaton.h"

enum regex_match {
    REGEX_MATCH_WHOLE,  /* The whole text matches. */
    REGEX_MATCH_SEARCH, /* Some part of it does, as JSON Schema wants of "pattern". */
};

/* Drafts the automaton of all texts that match; they are valid UTF-8. INVALID_ARGUMENT: not in the
 * syntax, or too complex. CANCELLED. */
WARN_UNUSED enum error_code regex_compile(struct grammar_build *build, struct text pattern,
                                          enum regex_match match,
                                          struct automaton_draft *draft_out);
