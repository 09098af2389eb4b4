/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/chat_template.h - messages to the prompt text of this model family.
 *
 * Built in, never taken from a file or a request. Text from users is cleaned so that a blank line
 * can only be a turn's end. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct arena;

enum chat_template {
    CHAT_TEMPLATE_NONE,     /* Chat is refused. */
    CHAT_TEMPLATE_WORLD,    /* "User: ..", blank line, "Assistant:". */
    CHAT_TEMPLATE_G1,       /* World with a closed think block: "Assistant: <think>\n</think". */
    CHAT_TEMPLATE_G1_THINK, /* World with an open one: "Assistant: <think". */
};

/* A call of a function, as the model writes it and as it stands in a chat: fence, open, the name,
 * middle, a JSON object, close. Several are joined by a line feed. */
#define CHAT_CALL_FENCE "```json"
#define CHAT_CALL_OPEN "\n{\"name\":\""
#define CHAT_CALL_MIDDLE "\",\"arguments\":"
#define CHAT_CALL_CLOSE "}\n```"

/* Whether the model may call functions. */
enum chat_calls {
    CHAT_CALLS_NONE,
    CHAT_CALLS_OFFERED,
    CHAT_CALLS_REQUIRED, /* The generation prompt begins the call: it ends with the fence. */
};

enum chat_role { CHAT_ROLE_SYSTEM, CHAT_ROLE_USER, CHAT_ROLE_ASSISTANT, CHAT_ROLE_TOOL };

struct chat_message {
    enum chat_role role;
    struct text content;
};

/* How long a G1 model is asked to think, in the words it was trained on; only with G1_THINK. */
enum chat_effort {
    CHAT_EFFORT_UNSAID,
    CHAT_EFFORT_LOW,    /* " (think a bit)" after the last user message. */
    CHAT_EFFORT_MEDIUM, /* " (think)" */
    CHAT_EFFORT_HIGH,   /* " (think a lot)" */
};

struct chat_options {
    bool continue_final_message; /* The last message is the assistant's, to be continued. */
    bool omit_generation_prompt; /* Ends after the last message: no "Assistant:". */
    enum chat_effort effort;
    enum chat_calls calls;
    struct text tools; /* Unless calls is NONE: a JSON array, on one line, of the functions. */
};

/* Renders into the arena. INVALID_ARGUMENT: no messages, template NONE, or continue_final_message
 * without a last assistant message. TOO_LARGE: the arena is exhausted. */
WARN_UNUSED enum error_code
chat_template_render(enum chat_template chat_template, const struct chat_message *messages,
                     size_t message_count, const struct chat_options *options, struct arena *arena,
                     struct text *prompt_out, struct error *error);

/* Whether a prompt of this template leaves the model inside a think block, to write it first. */
bool chat_template_thinks(enum chat_template chat_template);

/* The stop strings that end an assistant's turn; returns how many (at most 2). */
uint32_t chat_template_stops(enum chat_template chat_template, const struct text **stops_out);

/* "world", "g1", ...; false for an unknown name. "auto" is resolved by the caller. */
bool chat_template_from_name(struct text name, enum chat_template *template_out);
