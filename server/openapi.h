/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openapi.h - GET /openapi.json: what this server serves, as OpenAPI 3.1 says it.
 *
 * Made from the table of routes, the table of fields and openapi_schemas.c, with the limits of the
 * running server. Nothing is described twice. Thread: any; the handler: loop. */
#pragma once

#include <stdbool.h>

#include "base/json_writer.h"
#include "server/server.h"

/* Writes the document. needs_key: requests carry an API key. Measure with an empty writer first. */
void openapi_write(const struct server_options *options, bool needs_key,
                   struct json_writer *writer);
