/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openapi_schemas.h - the shapes that never change: replies, messages, prompts.
 *
 * Requests are not here: they come from the table of fields. Thread: any. */
#pragma once

#include <stddef.h>

struct openapi_schema {
    const char *name;
    const char *json; /* JSON Schema 2020-12, one object. */
};

size_t openapi_schemas_count(void);
const struct openapi_schema *openapi_schemas_at(size_t index);
