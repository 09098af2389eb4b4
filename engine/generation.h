/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/generation.h - what goes into the engine and what comes out: one request, its events.
 *
 * Plain data. How a generation lives in between: engine/sequence.h. Thread: requests are filled and
 * events read by the loop; in between they belong to the engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "engine/sampler.h"

struct grammar;

/* One prompt, continued choice_count times. Lent to the engine from engine_submit until the ENDED
 * event of its last choice has been taken: the lender keeps all of it in place until then. */
struct generation_request {
    uint64_t id;                    /* Unique among the open requests; comes back in every event. */
    const int32_t *prompt;          /* [prompt_count], each a token of the vocabulary. */
    uint32_t prompt_count;          /* >= 1: an empty prompt is the one token 0. */
    uint32_t choice_count;          /* n >= 1, at most the number of slots. */
    struct sampling sampling;       /* .choice is set by the engine. max_tokens 0 only reads the
                                       prompt: each choice ends by length without a token. */
    const struct text *stops;       /* [stop_count] stop strings. */
    uint32_t stop_count;            /* <= LIMIT_STOP_STRINGS + 2. */
    uint32_t stops_included;        /* The first so many stop strings stay in the text. */
    struct grammar *grammar;        /* What each answer must be; it decides where one may end, so
                                       that ignore_eos is not looked at. NULL: any text. */
    bool every_token_wanted;        /* A TEXT event also for a token without text. */
    bool prompt_scored;             /* A PROMPT event for every prompt token but the first. */
    uint64_t queue_timeout_ns;      /* Longest wait for a slot; 0: no limit. */
};

enum generation_event_type {
    GENERATION_PROMPT, /* The score of one token of the prompt; of choice 0, before its text. */
    GENERATION_TEXT,   /* Text that can be shown, and the token that released it. */
    GENERATION_ENDED,  /* The last event of one choice. */
};

enum generation_end {
    GENERATION_ENDED_BY_STOP,   /* End token, stop token or stop string. */
    GENERATION_ENDED_BY_LENGTH, /* max_tokens. */
    GENERATION_ENDED_BY_CANCEL, /* engine_cancel. */
    GENERATION_ENDED_BY_ERROR,  /* .error says which: OVERLOADED, TIMEOUT, SHUTTING_DOWN, DEVICE. */
};

/* A message of variable length: this head, then top[top_count], then text[text_len]. */
struct generation_event {
    uint64_t request_id;
    uint32_t choice;
    enum generation_event_type type;
    enum generation_end end;      /* ENDED. */
    enum error_code error;        /* ENDED_BY_ERROR. */
    uint32_t prompt_tokens;       /* ENDED: tokens of the prompt. */
    uint32_t completion_tokens;   /* ENDED: tokens of the answer, without a stop token. */
    uint32_t stop_string;         /* ENDED_BY_STOP: 1 + index of the stop string seen; 0: none. */
    bool token_valid;             /* TEXT: false when the end released held text. */
    uint32_t position;            /* PROMPT: index of the token, from 1. */
    int32_t token;                /* PROMPT, TEXT. */
    float logprob;                /* PROMPT; TEXT: of token, when logprobs are wanted. */
    uint32_t top_count;           /* PROMPT, TEXT: alternatives that follow the head. */
    uint32_t text_len;            /* TEXT: bytes that follow the alternatives; whole UTF-8. */
};

/* Largest event, for the buffer of engine_take_event. */
enum { GENERATION_EVENT_BYTES_MAX = 8192 };

/* The parts behind the head of an event in such a buffer. */
const struct sampled_alternative *generation_event_top(const struct generation_event *event);
struct text generation_event_text(const struct generation_event *event);

/* "stop", "length", "cancelled", "error": for logs and metrics. */
const char *generation_end_text(enum generation_end end);
