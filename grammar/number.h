/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/number.h - numbers within bounds, or multiples of another, as automata over digits.
 *
 * Inside grammar/ only. A bounded number is compared as a decimal, digit by digit, never rounded.
 * How numbers are written: an integer has no fraction and no exponent and at most 19 digits. A
 * number without bounds has at most 19 digits before and 19 after the point and an exponent of at
 * most two digits. A number with bounds has no exponent and at most 15 digits in all, so that no
 * two of them are the same double. -0 is 0. Thread: any. */
#pragma once

#include "grammar/automaton.h"
#include "grammar/decimal.h"

struct number_bound {
    bool present;
    bool exclusive;
    struct decimal value;
};

/* Zeroed: any number. */
struct number_limits {
    bool integer;
    struct number_bound low;
    struct number_bound high;
    bool has_multiple;
    struct decimal multiple; /* Above 0. */
};

/* Drafts the automaton of the numbers within the limits. INVALID_ARGUMENT: too complex, which
 * multiples above about 1500 are, or a multiple that binary fractions cannot express (0.1), about
 * which validators disagree. CANCELLED. */
WARN_UNUSED enum error_code number_compile(struct grammar_build *build,
                                           const struct number_limits *limits,
                                           struct automaton_draft *draft_out);
