/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_params.h - a request's JSON to parameters.
 *
 * The table in openai_fields.c has every field. Unknown fields are ignored, null is absent, known
 * fields are checked. Text becomes tokens in prompt_job.c. Thread: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/chat_template.h"
#include "engine/generation.h"
#include "grammar/grammar.h"
#include "server/openai_error.h"
#include "server/openai_tools.h"
#include "server/reasoning_split.h"
#include "server/server.h"
#include "server/tool_call_split.h"

/* Bits: a row of the table names the endpoints that know its field. */
enum openai_endpoint {
    OPENAI_COMPLETIONS = 1,
    OPENAI_CHAT = 2,
    OPENAI_TOKENIZE = 4,
    OPENAI_DETOKENIZE = 8,
    OPENAI_RESPONSES = 16,
    OPENAI_RESPONSES_COUNT = 32, /* /v1/responses/input_tokens */
    OPENAI_MESSAGES = 64,        /* Anthropic's. */
    OPENAI_MESSAGES_COUNT = 128, /* /v1/messages/count_tokens */
    OPENAI_TEMPLATE = 256,       /* /apply-template */
};

enum {
    OPENAI_TURNS = OPENAI_CHAT | OPENAI_RESPONSES | OPENAI_MESSAGES, /* An assistant's turn. */
    OPENAI_GENERATIONS = OPENAI_COMPLETIONS | OPENAI_TURNS,
    /* Whose prompts are what a generation reads. */
    OPENAI_READERS = OPENAI_GENERATIONS | OPENAI_RESPONSES_COUNT | OPENAI_MESSAGES_COUNT,
};

enum openai_prompt_kind {
    OPENAI_PROMPT_ABSENT,
    OPENAI_PROMPT_TEXT,
    OPENAI_PROMPT_TOKENS,
    OPENAI_PROMPT_MESSAGES,
};

/* Whether a G1 model is to think first; other models do not know how. */
enum openai_thinking {
    OPENAI_THINKING_UNSAID, /* As the chat template served says. */
    OPENAI_THINKING_OFF,
    OPENAI_THINKING_ON,
};

/* One prompt of TEXT or TOKENS. */
struct openai_input {
    struct text text; /* TEXT */
    int32_t *tokens;  /* TOKENS: [token_count], each a token of the model. */
    uint32_t token_count;
};

/* All memory is the arena's. Zeroed: nothing is asked yet, all as the server does by default. */
struct openai_prompt {
    enum openai_prompt_kind kind;
    struct openai_input *inputs; /* TEXT, TOKENS: [input_count], at least one. */
    uint32_t input_count;
    struct chat_message *messages; /* MESSAGES: [message_count], at least one. */
    uint32_t message_count;
    bool continue_final_message; /* MESSAGES: the last one is the assistant's, to go on. */
    bool omit_generation_prompt; /* add_generation_prompt: false. */
    enum openai_thinking thinking;
    enum chat_effort effort;
};

/* What a reply of /v1/responses repeats of its request. Zeroed texts are null. */
struct responses_params {
    struct text instructions;
    struct text effort;
    struct text metadata; /* JSON. */
    struct text form;     /* JSON: text.format; empty: any text. */
};

/* Which texts an answer may be. prompt_job.c compiles it, behind what the chat template lets a
 * model write before its answer (openai_grammar.h). */
struct openai_grammar {
    const struct grammar_part *root; /* NULL: any text. Arena. */
    enum grammar_objects objects;
    enum grammar_order order;
    const char *param; /* Whose fault a refusal is: "response_format", "tools", .. Arena. */
};

/* What one request asks for. All memory is the arena's. */
struct openai_params {
    enum openai_endpoint endpoint;
    struct openai_prompt prompt;
    struct openai_tools tools;
    struct openai_grammar grammar;
    struct sampling sampling; /* .logprobs_wanted covers both kinds below. */
    bool seed_given;          /* Else the caller draws one. */
    uint32_t choice_count;    /* n */
    uint32_t stop_count;
    uint32_t own_stop_count; /* The request's. */
    struct text stops[LIMIT_STOP_STRINGS + 2]; /* The request's, then the chat template's. */
    uint32_t stops_included;                   /* The first so many stay in the text. */
    bool echo;
    int32_t logprobs;        /* Alternatives of each token of the answer; -1: no logprobs. */
    int32_t prompt_logprobs; /* vLLM's: of each token of the prompt. */
    bool token_ids;          /* return_token_ids */
    bool tokens_as_ids;      /* return_tokens_as_token_ids */
    bool stream;
    bool usage_in_stream; /* stream_options.include_usage */
    struct responses_params responses;
};

/* Reads a body (NUL follows its last byte) as a request to that endpoint. Nothing is kept of the
 * body. False: *error_out is the answer, with the parameter at fault. */
WARN_UNUSED bool openai_params_read(enum openai_endpoint endpoint, struct text body,
                                    const struct server_options *options, struct arena *arena,
                                    struct openai_params *params_out,
                                    struct openai_error *error_out);

/* The template that renders this prompt: the one served, or its sibling that thinks or does not. */
enum chat_template openai_prompt_template(const struct openai_prompt *prompt,
                                          enum chat_template served);

/* Where the text of an answer begins: the prompt may end inside a turn or a think tag. */
enum reasoning_start openai_params_answer_start(const struct openai_params *params,
                                                enum chat_template served);

/* Whether calls of functions may come in an answer, and how they begin. */
enum tool_call_start openai_params_call_start(const struct openai_params *params);
