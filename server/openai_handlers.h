/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_handlers.h - the handlers that server/http_routes.c names. Thread: loop. */
#pragma once

#include "server/http_exchange.h"

http_handler openai_chat_handle;         /* POST /v1/chat/completions (openai_chat.c) */
http_handler openai_completions_handle;  /* POST /v1/completions (openai_completions.c) */
http_handler openai_models_list_handle;  /* GET /v1/models (openai_models.c) */
http_handler openai_model_handle;        /* GET /v1/models/{id} */
http_handler responses_handle;           /* POST /v1/responses (responses.c) */
http_handler messages_handle;            /* POST /v1/messages (messages.c) */
http_handler tokenize_handle;            /* POST /tokenize (tokenize.c) */
http_handler detokenize_handle;          /* POST /detokenize */
http_handler apply_template_handle;      /* POST /apply-template */
http_handler tokens_count_handle;        /* POST /v1/tokens/count */
http_handler responses_count_handle;     /* POST /v1/responses/input_tokens */
http_handler messages_count_handle;      /* POST /v1/messages/count_tokens */
http_handler admin_health_handle;        /* GET /health, /readyz (admin.c) */
http_handler admin_live_handle;          /* GET /livez */
http_handler admin_metrics_handle;       /* GET /metrics (metrics.c) */
http_handler admin_version_handle;       /* GET /version */
http_handler openapi_handle;             /* GET /openapi.json (openapi.c) */
http_handler admin_index_handle;         /* GET /: the table of routes */
