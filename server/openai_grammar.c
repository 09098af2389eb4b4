/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_grammar.c - from what an answer may be to a compiled grammar.
 *
 * The patterns here agree with reasoning_split.c, which takes off what they let through.
 * Thread: any. */
#include "server/openai_grammar.h"

/* Of "</think>" after its first "<": what may follow so that another "<" begins it again. */
#define TAG_RESTARTS "(?:<|/<|/t<|/th<|/thi<|/thin<|/think<)*"
/* And what ends the hope that this is the tag. */
#define TAG_FAILS                                                                               \
    "(?:[^</]|/[^<t]|/t[^<h]|/th[^<i]|/thi[^<n]|/thin[^<k]|/think[^<>])"

/* Everything up to and with the first "</think>". */
#define THOUGHT "(?:[^<]|<" TAG_RESTARTS TAG_FAILS ")*<" TAG_RESTARTS "/think>"

/* What comes before the answer; empty: nothing may. */
static struct text lead_pattern(enum reasoning_start start)
{
    switch (start) {
    case REASONING_START_TEXT:
        break;
    case REASONING_START_TURN:
        return TEXT(" ?");
    case REASONING_START_CLOSED:
        return TEXT(">[ \\n]{0,2}");
    case REASONING_START_OPEN:
        return TEXT(THOUGHT "[ \\n]{0,2}");
    }
    return TEXT("");
}

enum error_code openai_grammar_compile(const struct openai_grammar *grammar,
                                       const struct openai_grammar_options *options,
                                       struct grammar **grammar_out, struct error *error)
{
    const struct grammar_options how = {
        .objects = grammar->objects,
        .order = grammar->order,
        .white_space_max = GRAMMAR_WHITE_SPACE_MAX,
        .is_cancelled = options->is_cancelled,
        .context = options->context,
    };
    const struct text lead = lead_pattern(options->start);
    if (lead.len == 0) {
        return grammar_cache_find(options->cache, grammar->root, &how, grammar_out, error);
    }
    const struct grammar_part parts[] = {
        {.kind = GRAMMAR_PART_REGEX, .text = lead},
        *grammar->root,
    };
    const struct grammar_part whole = {
        .kind = GRAMMAR_PART_SEQUENCE, .parts = parts, .part_count = 2};
    return grammar_cache_find(options->cache, &whole, &how, grammar_out, error);
}
