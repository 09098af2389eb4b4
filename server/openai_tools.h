/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_tools.h - the functions that a request lets the model call.
 *
 * Read by openai_tools.c from any of the three APIs, shown by engine/chat_template.c, held to by
 * tool_grammar.c. All memory is the request's arena's. Thread: any; immutable once read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "engine/chat_template.h"

struct openai_tool {
    struct text name;
    struct text description; /* May be empty. */
    struct text schema;      /* Of the arguments: compact JSON. Empty: it has none. */
    struct text path;        /* What errors call the schema: "tools[0].function.parameters". */
    bool is_strict;
};

/* Zeroed: none. */
struct openai_tools {
    struct openai_tool *items; /* [count] Those that can be called. */
    uint32_t count;
    enum chat_calls calls;
    bool is_named;        /* The client named the one to be called. */
    bool is_single;       /* At most one call in an answer. */
    struct text shown;    /* Unless calls is NONE: what the prompt shows of them. */
    struct text repeated; /* For the reply of /v1/responses: tools as JSON; empty: not repeated. */
    struct text choice_repeated; /* And tool_choice. */
};
