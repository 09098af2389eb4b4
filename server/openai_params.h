/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_params.h - a request's JSON to parameters: names, ranges, defaults.
 *
 * The table in openai_params.c has every field. Unknown fields are ignored, null is absent, known
 * fields are checked. Text becomes tokens in prompt_job.c. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/chat_template.h"
#include "engine/generation.h"
#include "server/openai_error.h"
#include "server/server.h"

/* Bits: a row of the table names the endpoints that know its field. */
enum openai_endpoint {
    OPENAI_COMPLETIONS = 1,
    OPENAI_CHAT = 2,
    OPENAI_TOKENIZE = 4,
    OPENAI_DETOKENIZE = 8,
};

enum openai_prompt_kind {
    OPENAI_PROMPT_ABSENT,
    OPENAI_PROMPT_TEXT,
    OPENAI_PROMPT_TOKENS,
    OPENAI_PROMPT_MESSAGES,
};

/* All memory is the arena's. */
struct openai_prompt {
    enum openai_prompt_kind kind;
    struct text text; /* TEXT */
    int32_t *tokens;  /* TOKENS: [token_count], each a token of the model. */
    uint32_t token_count;
    struct chat_message *messages; /* MESSAGES: [message_count], at least one. */
    uint32_t message_count;
    bool continue_final_message; /* MESSAGES: the last one is the assistant's, to go on. */
};

/* What one request asks for. All memory is the arena's. */
struct openai_params {
    enum openai_endpoint endpoint;
    struct openai_prompt prompt;
    struct sampling sampling;
    bool seed_given;       /* Else the caller draws one. */
    uint32_t choice_count; /* n */
    uint32_t stop_count;
    struct text stops[LIMIT_STOP_STRINGS + 2]; /* The request's, then the chat template's. */
    bool stop_included;                        /* include_stop_str_in_output */
    bool stream;
    bool usage_in_stream; /* stream_options.include_usage */
};

/* Reads a body (NUL follows its last byte) as a request to that endpoint. Nothing is kept of the
 * body. False: *error_out is the answer, with the parameter at fault. */
WARN_UNUSED bool openai_params_read(enum openai_endpoint endpoint, struct text body,
                                    const struct server_options *options, struct arena *arena,
                                    struct openai_params *params_out,
                                    struct openai_error *error_out);
