/* SPDX-License-Identifier: Apache-2.0
 *
 * base/limits.h - every fixed bound of the program, with its reason.
 *
 * What an operator may set is in config/config_options.def instead. Reaching a limit is a normal,
 * tested answer (ERROR_TOO_LARGE, ERROR_OVERLOADED), never a resize. Thread: any. */
#pragma once

#include <assert.h>
#include <stdint.h>

enum {
    /* Requests (server/openai_params.c answers 400 past these). */
    LIMIT_JSON_DEPTH = 64,           /* cJSON recurses: 64 levels are far within any stack. */
    LIMIT_JSON_ITEMS = 100000,       /* A megabyte of "1," costs cJSON 40 MB and 50 ms. */
    LIMIT_MESSAGES = 1024,           /* Per chat; a day of talk. */
    LIMIT_STOP_STRINGS = 4,          /* OpenAI's own limit. */
    LIMIT_STOP_STRING_BYTES = 256,   /* Bounds what a text stream may hold back. */
    LIMIT_STOP_TOKENS = 64,          /* Token ids that end a generation. */
    LIMIT_LOGIT_BIAS = 1024,         /* Entries; copied into the slot. */
    LIMIT_TOP_LOGPROBS = 20,         /* OpenAI's limit for chat. */
    LIMIT_CHOICES = 128,             /* OpenAI's limit for n; --max-n may lower it. */
    LIMIT_REPEATED_BYTES = 64 * 1024, /* Of a field that a reply repeats, up to three times. */
    LIMIT_PROMPTS = 128,             /* Of one completion; each gets n answers. */
    LIMIT_ECHO_BYTES = 128 * 1024,   /* Prompts echoed in a stream: they leave at once, and the
                                        ring holds them also when JSON makes six bytes of each. */
    LIMIT_ECHO_TOKENS = 1024,        /* The same with logprobs. */

    /* Tokens. */
    LIMIT_TOKEN_BYTES = 1024,        /* Longest token text; World's longest has 128. */
    LIMIT_VOCABULARY = 1 << 20,      /* Rows of an embedding. */
    LIMIT_STEP_ROWS = 4096,          /* Tokens of one step, all sequences together. */

    /* Slots and queues. */
    LIMIT_SLOTS = 4096,              /* Sequences alive at once. */
    LIMIT_QUEUE = 65536,             /* Requests waiting for a slot. */

    /* Structured answers. */
    LIMIT_TOOLS = 128,               /* Functions of one request; OpenAI's limit. */
    LIMIT_CALLS = 1024,              /* Of functions, in all messages of one request. */
    LIMIT_ANSWER_CALLS = 16,         /* Of functions, in one answer: a model may never stop. */
    LIMIT_GRAMMARS_BYTES = 64 << 20,      /* Compiled grammars kept; one is a few KB to some MB. */
    LIMIT_GRAMMAR_MASKS_BYTES = 64 << 20, /* Token masks kept; World's has 8 KB. */
    LIMIT_BACKGROUND_TASKS = 64,          /* Forms that take long to compile and wait for it: some
                                             seconds of work at most. */

    /* HTTP. */
    LIMIT_HEADER_POOL_BYTES = 16 * 1024,  /* libmicrohttpd's memory of one connection. */
    LIMIT_DRAINED_BODY_BYTES = 64 * 1024, /* A refused body up to this is read, to keep alive. */
    LIMIT_LOOP_PARSE_BYTES = 16 * 1024,   /* Larger bodies are parsed on libuv's pool. */
    LIMIT_STREAM_RING_BYTES = 32 * 1024,  /* Unsent bytes of one event stream. */
    LIMIT_STREAM_BACKLOG_BYTES = 1 << 20, /* And of what was under way when it was paused. */
    LIMIT_EXCHANGE_BYTES = 64 << 20,      /* Arena of one request, besides 8 times --max-body. */
    LIMIT_BODIES_BYTES = 256 << 20,       /* All bodies being received; past it 503. */
    LIMIT_KEYS = 1024,                    /* API keys of one server; each costs a comparison. */
    LIMIT_CONNECTIONS = 4096,             /* Above slots + queue: we answer 503 ourselves. */
    LIMIT_HEADER_MS = 10 * 1000,          /* A request's header must be complete by then. */
    LIMIT_BODY_MS = 30 * 1000,            /* And its body. */
    LIMIT_IDLE_MS = 60 * 1000,            /* A kept-alive connection without a request. */
    LIMIT_COMMIT_MS = 5 * 1000,           /* A stream's status is committed at the latest then. */
    LIMIT_PING_MS = 15 * 1000,            /* Comment on a silent stream: proxies cut at 60 s. */
    LIMIT_REQUEST_ID_BYTES = 64,          /* Of a client's X-Request-Id. */

    /* Files. */
    LIMIT_SAFETENSORS_HEADER_BYTES = 16 << 20, /* The format allows 100 MB, 0.3 is usual. */
    LIMIT_TENSORS = 100000,
    LIMIT_TENSOR_DIMENSIONS = 8,
};

static_assert(LIMIT_STREAM_RING_BYTES >= 4 * LIMIT_TOKEN_BYTES, "a ring holds several events");
static_assert(6 * LIMIT_ECHO_BYTES < LIMIT_STREAM_BACKLOG_BYTES, "an echo fits the backlog");
static_assert(LIMIT_STEP_ROWS <= INT32_MAX, "row counts fit 32 bits");
