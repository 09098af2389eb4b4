/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_reply.h - every JSON of a generation: chunks of a stream, the whole reply, usage.
 *
 * What is the same in all events of a request is formatted once; a token then costs a copy and an
 * escape. Errors are openai_error.c's, models and tokens their handlers'. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json_writer.h"
#include "server/openai_logprobs.h"

struct openai_reply_options {
    bool chat; /* Else completions. */
    bool stream;
    bool usage_in_stream; /* stream_options.include_usage */
    bool logprobs;        /* Chunks show those of their tokens; else null. */
    bool token_ids;       /* return_token_ids */
    const char *id;       /* "chatcmpl-..", "cmpl-..": the same in every event. */
    int64_t created;      /* Seconds since 1970. */
    const char *model;
};

struct openai_reply {
    bool chat;
    bool logprobs;
    bool token_ids;
    struct text head;      /* From the opening brace to the bracket of choices. */
    struct text chunk_end; /* From the brace that ends a streamed choice. */
};

struct openai_usage {
    uint32_t prompt_tokens;     /* Of all prompts. */
    uint32_t completion_tokens; /* Of all choices. */
    uint32_t reasoning_tokens;  /* Those of them that were thought. */
};

enum { OPENAI_CALL_ID_BYTES = 25 }; /* 24 hexadecimal digits and a NUL; each API has its prefix. */

enum openai_piece_kind {
    OPENAI_PIECE_TEXT,
    OPENAI_PIECE_THOUGHT,   /* reasoning_content instead of content. */
    OPENAI_PIECE_CALL,      /* A call begins: the text is the function's name. */
    OPENAI_PIECE_ARGUMENTS, /* Of the call that began last. */
};

/* A piece of a streamed choice. */
struct openai_piece {
    enum openai_piece_kind kind;
    struct text text;
    const struct openai_token *tokens; /* Linked: what the text is made of; NULL: not known. */
    uint32_t call_index;               /* CALL, ARGUMENTS */
    const char *call_id;               /* CALL: without a prefix. */
};

/* A call of a function in an answer that is kept. */
struct openai_call {
    struct openai_call *next;
    uint32_t index;
    char id[OPENAI_CALL_ID_BYTES];
    struct text name;
    struct reply_buffer arguments; /* JSON, or its beginning when the answer was cut. */
};

/* What vLLM tells about a prompt, where it is wanted. */
struct openai_prompt_reply {
    const int32_t *tokens; /* NULL: no prompt_token_ids. */
    uint32_t token_count;
    const struct prompt_scores *scores; /* NULL: no prompt_logprobs. */
    uint32_t top_max;
};

/* One answer of a reply that is not streamed. */
struct openai_choice_reply {
    struct text text;
    const struct text *thought;             /* NULL: the request does not think. */
    const struct openai_call *calls;        /* Linked; NULL: none. */
    const char *finish;                     /* "stop", "length" or "tool_calls". */
    const struct openai_logprobs *logprobs; /* NULL is null. */
    const struct prompt_scores *echoed;     /* Before the logprobs; NULL: no echo of them. */
    const struct text *token_ids;           /* JSON: numbers and commas. NULL: not wanted. */
    struct openai_prompt_reply prompt;
};

/* Formats what all events share, into the arena. False: the arena is full. */
WARN_UNUSED bool openai_reply_init(struct openai_reply *reply,
                                   const struct openai_reply_options *options, struct arena *arena);

/* One event of a stream each. The role chunk is chat's: it opens a choice. rest: tokens that no
 * text came of, or NULL. */
void openai_reply_role_chunk(const struct openai_reply *reply, uint32_t choice,
                             struct json_writer *writer);
void openai_reply_text_chunk(const struct openai_reply *reply, uint32_t choice,
                             const struct openai_piece *piece, struct json_writer *writer);
void openai_reply_finish_chunk(const struct openai_reply *reply, uint32_t choice,
                               const struct openai_token *rest, const char *finish,
                               struct json_writer *writer);
void openai_reply_usage_chunk(const struct openai_reply *reply, const struct openai_usage *usage,
                              struct json_writer *writer);

/* A part of an echoed prompt: text, and the scores of the tokens [begin, end), or NULL. */
void openai_reply_echo_chunk(const struct openai_reply *reply, uint32_t choice, struct text text,
                             const struct prompt_scores *scores, uint32_t begin, uint32_t end,
                             struct json_writer *writer);

/* The whole reply. Measure with an empty writer first. */
void openai_reply_whole(const struct openai_reply *reply, const struct openai_choice_reply *choices,
                        uint32_t choice_count, const struct openai_usage *usage,
                        struct json_writer *writer);
