/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/fake_engine.h - an engine that does what the test says, and notes what it was asked.
 *
 * Linked instead of engine/engine.c. Thread: main. */
#pragma once

#include "engine/engine.h"
#include "engine/engine_stats.h"

enum { FAKE_ENGINE_REQUESTS = 16 };

struct fake_engine {
    const struct generation_request *request; /* Submitted last. */
    const struct generation_request *requests[FAKE_ENGINE_REQUESTS]; /* In order. */
    enum error_code submit_code; /* What engine_submit answers, */
    uint32_t submits_refused_at; /* from this submission on. */
    uint32_t submits, cancels, pauses, resumes;
    uint64_t cancelled_id;
    struct engine_stats stats;
};

extern struct fake_engine fake_engine;

/* Forgets everything. */
void fake_engine_reset(void);

/* Queue one event: text released by a token; the end of a choice. */
void fake_engine_text(uint64_t id, uint32_t choice, int32_t token, const char *text);
void fake_engine_held_text(uint64_t id, uint32_t choice, const char *text); /* Without a token. */
void fake_engine_score(uint64_t id, uint32_t position, int32_t token); /* Of the prompt. */
void fake_engine_end(uint64_t id, uint32_t choice, enum generation_end end, enum error_code code,
                     uint32_t completion_tokens);
void fake_engine_end_by_string(uint64_t id, uint32_t choice, uint32_t stop_string);

/* Alternatives of the text events to come; their logprob is -0.5 - index, the token's own -0.5. */
void fake_engine_set_top(const int32_t *tokens, uint32_t count);
