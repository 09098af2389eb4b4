/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_reading.h - a request while it is being read, and the readers of single fields.
 *
 * Private to openai_params.c, openai_fields.c (the table), openai_prompt.c, openai_sampling.c,
 * openai_modes.c, openai_structured.c and openai_tools.c. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "server/json_reader.h"
#include "server/openai_params.h"
#include "server/tool_history.h"

/* What tool_choice says. */
struct openai_tool_choice {
    enum openai_tool_choice_word {
        OPENAI_TOOL_CHOICE_AUTO,
        OPENAI_TOOL_CHOICE_NONE,
        OPENAI_TOOL_CHOICE_REQUIRED,
        OPENAI_TOOL_CHOICE_NAMED,
    } word;
    struct text name; /* NAMED: borrowed from the document. */
};

struct openai_reading {
    struct json_reader json;
    const struct server_options *options;
    struct arena *arena;
    struct error error;          /* Filled by the reader that fails. */
    struct openai_params params; /* What has been read. */

    /* Fields that mean something only together with others. */
    bool chat_logprobs;
    uint32_t top_logprobs;
    uint32_t best_of; /* 0: as many as n. */
    bool stop_included;
    uint32_t message_capacity; /* Of params.prompt.messages (openai_content.c). */
    bool generation_prompt_wanted; /* add_generation_prompt: true was said. */
    struct openai_tool_choice tool_choice;
    struct tool_history history;
};

/* Reads a value that is there into reading->params. INVALID_ARGUMENT, TOO_LARGE (a limit, or the
 * arena's); NOT_FOUND: another model. */
typedef enum error_code openai_read_field(struct openai_reading *reading,
                                          struct json_value value);

/* A string or an array of token ids; for completions also an array of either. */
openai_read_field openai_prompt_read;
/* An array of objects with role and content. */
openai_read_field openai_prompt_read_messages;
/* An array of token ids. */
openai_read_field openai_prompt_read_tokens;

openai_read_field openai_sampling_read_seed;
openai_read_field openai_sampling_read_order;
openai_read_field openai_sampling_read_logit_bias;
openai_read_field openai_sampling_read_stop;
openai_read_field openai_sampling_read_stop_tokens;

openai_read_field openai_modes_read_model;
openai_read_field openai_modes_read_stream_options;
openai_read_field openai_modes_read_generation_prompt;
openai_read_field openai_modes_read_effort;
openai_read_field openai_modes_read_template_options;
openai_read_field openai_structured_read_format;
openai_read_field openai_structured_read_outputs;
openai_read_field openai_tools_read;
openai_read_field openai_tools_read_choice;
openai_read_field openai_tools_read_parallel;
/* The form before tools: nothing but empty values is accepted. */
openai_read_field openai_tools_refuse_functions;
/* Accepts what clients send for fields that they do not use: false, "" and []. */
openai_read_field openai_modes_refuse;

/* What the fields about tools say together: what the prompt shows, and the grammar. All fields have
 * been read. Fails as openai_read_field does. */
WARN_UNUSED enum error_code openai_tools_settle(struct openai_reading *reading);

/* One token id that model and vocabulary have. INVALID_ARGUMENT. */
WARN_UNUSED enum error_code openai_prompt_read_token(struct openai_reading *reading,
                                                     struct json_value value,
                                                     int32_t *token_out);

/* Reports a value as INVALID_ARGUMENT. */
#define OPENAI_READING_REFUSE(reading, value, ...)                                          \
    json_reader_fail(&(reading)->json, (value), NULL, ERROR_INVALID_ARGUMENT,               \
                     &(reading)->error, __VA_ARGS__)

/* Reports a member that is absent, or that does not fit the others. */
#define OPENAI_READING_REFUSE_MEMBER(reading, object, name, ...)                            \
    json_reader_fail(&(reading)->json, (object), (name), ERROR_INVALID_ARGUMENT,            \
                     &(reading)->error, __VA_ARGS__)

/* Reports that the arena is full. */
#define OPENAI_READING_NO_MEMORY(reading, value)                                            \
    json_reader_fail(&(reading)->json, (value), NULL, ERROR_TOO_LARGE, &(reading)->error,   \
                     "needs more memory than one request may use")
