/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_jobs.h - the open generations: starts them, hands them the engine's events.
 *
 * Every completion or chat request is one job: prompt made (server/prompt_job.h), submitted, its
 * events turned into a reply or a stream (server/openai_job.h), ended. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "server/http_exchange.h"
#include "server/openai_params.h"

struct openai_jobs;

/* OUT_OF_MEMORY. */
WARN_UNUSED enum error_code openai_jobs_create(struct server *server, struct openai_jobs **jobs_out,
                                               struct error *error);
void openai_jobs_destroy(struct openai_jobs *jobs);

/* Begins the generation that the exchange's body asks for; the exchange is answered now or later.
 * endpoint: one of OPENAI_GENERATIONS. */
void openai_jobs_start(struct openai_jobs *jobs, struct http_exchange *exchange,
                       enum openai_endpoint endpoint);

/* Takes at most `max` waiting events from the engine and hands each to its job; returns true when
 * more may wait. Called once per wake-up of the loop. */
bool openai_jobs_take_events(struct openai_jobs *jobs, uint32_t max);

/* Called every 100 ms: commits streams that waited LIMIT_COMMIT_MS, pings are sse_stream's; answers
 * 504 to jobs without a first event for --queue-timeout + 5 s. */
void openai_jobs_tick(struct openai_jobs *jobs, uint64_t now_ns);

/* Cancels every open job (drain timeout). */
void openai_jobs_cancel_all(struct openai_jobs *jobs);

/* Open jobs, those whose prompt is still being made included. */
uint32_t openai_jobs_count(const struct openai_jobs *jobs);
