/* SPDX-License-Identifier: Apache-2.0
 *
 * server/responses.c - POST /v1/responses.
 *
 * Fields: responses_input.c and openai_fields.c. The answer: responses_reply.c. Thread: loop. */
#include "server/openai_handlers.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

void responses_handle(struct http_exchange *exchange)
{
    openai_jobs_start(exchange->server->jobs, exchange, OPENAI_RESPONSES);
}
