/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_routes.c - THE TABLE: method, path, handler, access, dialect. Start reading here.
 *
 * What happens before a handler runs is in http_guard.c. Thread: any. */
#include "server/http_routes.h"

#include <string.h>

#include "base/error.h"
#include "server/openai_handlers.h"

static const struct http_route routes[] = {
    {"POST", "/v1/chat/completions", openai_chat_handle, HTTP_ACCESS_KEY},
    {"POST", "/v1/completions", openai_completions_handle, HTTP_ACCESS_KEY},
    {"GET", "/v1/models", openai_models_list_handle, HTTP_ACCESS_KEY},
    {"GET", "/v1/models/{id}", openai_model_handle, HTTP_ACCESS_KEY},

    {"POST", "/v1/responses", responses_handle, HTTP_ACCESS_KEY},
    {"POST", "/v1/responses/input_tokens", responses_count_handle, HTTP_ACCESS_KEY},
    {"POST", "/v1/messages", messages_handle, HTTP_ACCESS_KEY, HTTP_DIALECT_ANTHROPIC},
    {"POST", "/v1/messages/count_tokens", messages_count_handle, HTTP_ACCESS_KEY,
     HTTP_DIALECT_ANTHROPIC},
    {"POST", "/v1/tokens/count", tokens_count_handle, HTTP_ACCESS_KEY},

    /* Clients whose base URL lacks /v1. */
    {"POST", "/chat/completions", openai_chat_handle, HTTP_ACCESS_KEY},
    {"POST", "/completions", openai_completions_handle, HTTP_ACCESS_KEY},
    {"GET", "/models", openai_models_list_handle, HTTP_ACCESS_KEY},
    {"GET", "/models/{id}", openai_model_handle, HTTP_ACCESS_KEY},
    {"POST", "/responses", responses_handle, HTTP_ACCESS_KEY},
    {"POST", "/responses/input_tokens", responses_count_handle, HTTP_ACCESS_KEY},
    {"POST", "/messages", messages_handle, HTTP_ACCESS_KEY, HTTP_DIALECT_ANTHROPIC},
    {"POST", "/messages/count_tokens", messages_count_handle, HTTP_ACCESS_KEY,
     HTTP_DIALECT_ANTHROPIC},
    {"POST", "/tokens/count", tokens_count_handle, HTTP_ACCESS_KEY},

    {"POST", "/tokenize", tokenize_handle, HTTP_ACCESS_KEY},
    {"POST", "/detokenize", detokenize_handle, HTTP_ACCESS_KEY},
    {"POST", "/apply-template", apply_template_handle, HTTP_ACCESS_KEY},

    {"GET", "/", admin_index_handle, HTTP_ACCESS_KEY},
    {"GET", "/openapi.json", openapi_handle, HTTP_ACCESS_KEY},
    {"GET", "/health", admin_health_handle, HTTP_ACCESS_PUBLIC},
    {"GET", "/readyz", admin_health_handle, HTTP_ACCESS_PUBLIC},
    {"GET", "/livez", admin_live_handle, HTTP_ACCESS_PUBLIC},
    {"GET", "/metrics", admin_metrics_handle, HTTP_ACCESS_KEY},
    {"GET", "/version", admin_version_handle, HTTP_ACCESS_KEY},
};

enum { ROUTE_COUNT = sizeof(routes) / sizeof(routes[0]) };
_Static_assert(sizeof(routes) / sizeof(routes[0]) <= HTTP_ROUTES_MAX,
               "arrays by route hold every row");

size_t http_routes_count(void)
{
    return ROUTE_COUNT;
}

const struct http_route *http_routes_at(size_t index)
{
    ASSERT_COMPARE(index, <, ROUTE_COUNT);
    return &routes[index];
}

size_t http_routes_index(const struct http_route *route)
{
    return route == NULL ? ROUTE_COUNT : (size_t)(route - routes);
}

static bool path_matches(const struct http_route *route, struct text path, struct text *tail_out)
{
    const struct text pattern = text_from(route->path);
    const char *hole = strchr(route->path, '{');
    *tail_out = TEXT("");
    if (hole == NULL) {
        return text_equals(path, pattern);
    }
    const struct text prefix = {.bytes = pattern.bytes, .len = (size_t)(hole - pattern.bytes)};
    if (!text_starts_with(path, prefix) || path.len == prefix.len) {
        return false;
    }
    *tail_out = (struct text){.bytes = path.bytes + prefix.len, .len = path.len - prefix.len};
    return true;
}

static bool method_matches(const struct http_route *route, struct text method)
{
    const struct text row_method = text_from(route->method);
    return text_equals(method, row_method) ||
           (text_equals(method, TEXT("HEAD")) && text_equals(row_method, TEXT("GET")));
}

const struct http_route *http_routes_find(struct text method, struct text path,
                                          struct text *tail_out)
{
    for (size_t index = 0; index < ROUTE_COUNT; index++) {
        if (method_matches(&routes[index], method) &&
            path_matches(&routes[index], path, tail_out)) {
            return &routes[index];
        }
    }
    *tail_out = TEXT("");
    return NULL;
}

bool http_routes_allowed(struct text path, char *buffer, size_t capacity)
{
    bool answers_get = false;
    bool answers_post = false;
    for (size_t index = 0; index < ROUTE_COUNT; index++) {
        struct text tail;
        if (path_matches(&routes[index], path, &tail)) {
            answers_get = answers_get || method_matches(&routes[index], TEXT("GET"));
            answers_post = answers_post || method_matches(&routes[index], TEXT("POST"));
        }
    }
    if (!answers_get && !answers_post) {
        return false;
    }
    const char *methods = answers_get && answers_post ? "GET, HEAD, POST, OPTIONS"
                          : answers_get               ? "GET, HEAD, OPTIONS"
                                                      : "POST, OPTIONS";
    text_copy_to(text_from(methods), buffer, capacity);
    return true;
}

struct text http_routes_normalise(struct text path, char *buffer)
{
    size_t len = 0;
    for (size_t index = 0; index < path.len; index++) {
        if (path.bytes[index] == '/' && len > 0 && buffer[len - 1] == '/') {
            continue;
        }
        buffer[len++] = path.bytes[index];
    }
    if (len > 1 && buffer[len - 1] == '/') {
        len--;
    }
    buffer[len] = '\0';
    return (struct text){.bytes = buffer, .len = len};
}
