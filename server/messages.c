/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages.c - POST /v1/messages.
 *
 * Fields: messages_input.c and openai_fields.c. The answer: messages_reply.c. Thread: loop. */
#include "server/openai_handlers.h"
#include "server/openai_jobs.h"
#include "server/server_internal.h"

void messages_handle(struct http_exchange *exchange)
{
    openai_jobs_start(exchange->server->jobs, exchange, OPENAI_MESSAGES);
}
