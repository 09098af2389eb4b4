/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_cors.c - which web pages of other sites may read our answers (Fetch standard, 3.2).
 *
 * Thread: any; the headers: loop. */
#include "server/http_cors.h"

#include <microhttpd.h>

#include "server/http_connections.h"
#include "server/http_exchange_internal.h"
#include "server/server_internal.h"

/* A browser asks again after so many seconds; 10 minutes is what most of them allow. */
#define PREFLIGHT_SECONDS "600"

enum http_cors_verdict http_cors_judge(struct text list, struct text origin)
{
    if (origin.len == 0) {
        return HTTP_CORS_REFUSED;
    }
    while (list.len > 0) {
        const struct text allowed = text_trim(text_cut(&list, ','));
        if (text_equals(allowed, TEXT("*"))) {
            return HTTP_CORS_ANY;
        }
        if (text_equals(allowed, origin)) {
            return HTTP_CORS_LISTED;
        }
    }
    return HTTP_CORS_REFUSED;
}

static const char *header_of(const struct http_exchange_record *record, const char *name)
{
    return MHD_lookup_connection_value(record->connection->mhd, MHD_HEADER_KIND, name);
}

/* A header without a value is left out. */
static bool add(struct MHD_Response *response, const char *name, const char *value)
{
    return value == NULL || value[0] == '\0' ||
           MHD_add_response_header(response, name, value) == MHD_YES;
}

/* The answer to "may I send this method with these headers?": any header that is well-formed. */
static bool add_preflight(const struct http_exchange_record *record, struct MHD_Response *response)
{
    char methods[32];
    return http_routes_allowed(text_from(record->shared.path), methods, sizeof(methods)) &&
           add(response, "Access-Control-Allow-Methods", methods) &&
           add(response, "Access-Control-Allow-Headers",
               header_of(record, "Access-Control-Request-Headers")) &&
           add(response, "Access-Control-Max-Age", PREFLIGHT_SECONDS);
}

bool http_cors_add_headers(const struct http_exchange_record *record, struct MHD_Response *response)
{
    const struct text list = text_from(record->shared.server->config->cors_origin);
    if (list.len == 0) {
        return true;
    }
    const char *origin = header_of(record, "Origin");
    const enum http_cors_verdict verdict = http_cors_judge(list, text_from(origin));
    bool added = true;
    if (!text_equals(text_trim(list), TEXT("*"))) {
        added = add(response, "Vary", "Origin"); /* Also of refusals: caches must not mix them. */
    }
    if (verdict == HTTP_CORS_REFUSED) {
        return added;
    }
    added = added &&
            add(response, "Access-Control-Allow-Origin", verdict == HTTP_CORS_ANY ? "*" : origin);
    if (record->verdict.action == HTTP_ACTION_OPTIONS) {
        return added && add_preflight(record, response);
    }
    return added && add(response, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
}
