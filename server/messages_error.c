/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages_error.c - an error as Anthropic's clients expect it.
 *
 * The field at fault has no member of its own there: messages begin with it. Thread: any. */
#include "server/messages_error.h"

#include "base/json_writer.h"

/* Anthropic's own status for a full server is 529; ours stays 503, which proxies know. */
static const char *type_of(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 500:
        return "api_error";
    case 503:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return "invalid_request_error";
    }
}

size_t messages_error_body(const struct openai_error *error, const char *request_id, char *buffer,
                           size_t capacity)
{
    ASSERT_COMPARE(capacity, >=, OPENAI_ERROR_BODY_BYTES);
    struct json_writer writer;
    json_writer_init(&writer, buffer, capacity);
    json_object_begin(&writer);
    json_key_string(&writer, "type", TEXT("error"));
    json_key(&writer, "error");
    json_object_begin(&writer);
    json_key_string(&writer, "type", text_from(type_of(error->status)));
    json_key_string(&writer, "message", text_from(error->message));
    json_object_end(&writer);
    json_key_string(&writer, "request_id", text_from(request_id));
    json_object_end(&writer);
    ASSERT(json_writer_fits(&writer));
    return writer.len;
}
