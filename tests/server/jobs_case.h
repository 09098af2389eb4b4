/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/server/jobs_case.h - one request between a fake exchange and the fake engine.
 *
 * Thread: main. */
#pragma once

#include "fake_engine.h"
#include "fake_exchange.h"
#include "openai_case.h"
#include "server/openai_handlers.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define MS UINT64_C(1000000)

/* What jobs_case_assert_choices sees of each event of a chat. */
#define ROLE(index)                                                                                \
    "{\"index\":" #index ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"                   \
    "\"logprobs\":null,\"finish_reason\":null}]}\n"
#define DELTA(index, text)                                                                         \
    "{\"index\":" #index ",\"delta\":{\"content\":\"" text "\"},\"logprobs\":null,"                \
    "\"finish_reason\":null}]}\n"
#define FINISH(index, reason)                                                                      \
    "{\"index\":" #index ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" reason "\"}]}\n"
#define DONE "[DONE]\n"

extern struct openai_case openai_case;
extern struct server server;
extern struct fake_exchange fake; /* Of the request begun last. */
extern uint64_t now_ns;

/* Fixture. Every test must end with no job open and nobody holding its exchange. */
void jobs_case_setup(void);
void jobs_case_teardown(void);

/* Starts a request that the engine takes; returns its id. */
uint64_t jobs_case_start(http_handler *handler, const char *body);

/* The engine ends a choice by a stop, after so many tokens. */
void jobs_case_stop(uint64_t id, uint32_t choice, uint32_t tokens);

/* Hands all queued events to the jobs. */
void jobs_case_take_events(void);

/* Compares what differs between events: of each, what follows "choices":[, a line each. */
void jobs_case_assert_choices(const char *expected);
