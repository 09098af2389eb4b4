/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_completions.c - POST /v1/completions.
 *
 * Fields: openai_params.c. The answer: openai_job.c. Thread: loop. */
#include "server/openai_handlers.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

void openai_completions_handle(struct http_exchange *exchange)
{
    openai_jobs_start(exchange->server->jobs, exchange, OPENAI_COMPLETIONS);
}
