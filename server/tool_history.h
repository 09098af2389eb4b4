/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_history.h - calls of functions in the messages of a request, and their results.
 *
 * A call becomes text at the end of the assistant's turn that made it, in the form that models
 * write (engine/chat_template.h). A result must name a call before it. Thread: any. */
#pragma once

#include <stdint.h>

#include "server/json_reader.h"
#include "server/reply_buffer.h"

struct chat_message;
struct openai_reading;

/* Zeroed is a valid empty history. */
struct tool_history {
    struct text *ids; /* [id_count] Of all calls so far, in the arena. */
    uint32_t id_count;
    struct reply_buffer turn; /* The content of the turn that got a call last. */
};

/* One call; texts are borrowed for the time of one call below. */
struct tool_history_call {
    struct text id;
    struct text name;
    struct text arguments; /* Compact JSON: an object. */
};

/* Adds the call to a message of the assistant's. `value` is where it came from, for errors.
 * INVALID_ARGUMENT: more than LIMIT_CALLS. TOO_LARGE: the arena is full. */
WARN_UNUSED enum error_code tool_history_add(struct openai_reading *reading,
                                             struct json_value value,
                                             const struct tool_history_call *call,
                                             struct chat_message *message);

/* Reads the member arguments, which must be there: JSON in a string; "" stands for {}.
 * INVALID_ARGUMENT: no object. */
WARN_UNUSED enum error_code tool_history_read_arguments(struct openai_reading *reading,
                                                        struct json_value object,
                                                        struct text *arguments_out);

/* Checks the id of a call that is answered: the member of a message, which must be there.
 * INVALID_ARGUMENT: there was no such call. */
WARN_UNUSED enum error_code tool_history_check_answer(struct openai_reading *reading,
                                                      struct json_value message,
                                                      const char *member);
