/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openapi.c - GET /openapi.json: what this server serves, as OpenAPI 3.1 says it.
 *
 * Every row of http_routes.c needs one of the table below, by its handler: the unit test looks.
 * Thread: any; the handler: loop. */
#include "server/openapi.h"

#include <stdio.h>
#include <string.h>

#include "server/api_keys.h"
#include "server/http_routes.h"
#include "server/openai_fields.h"
#include "server/openai_handlers.h"
#include "server/openapi_schemas.h"
#include "server/server_internal.h"

/* ---- What each handler takes and gives ---- */

enum {
    COMMON = 1,     /* Every request may get these: server/http_guard.c. */
    UPLOAD = 2,     /* It has a body. */
    NOT_FOUND = 4,  /* Another model than the one served. */
    GENERATION = 8, /* It may be too late for an answer. */
};

struct operation {
    http_handler *handler;
    const char *id; /* operationId, and the tail of the path where there are several. */
    const char *summary;
    const char *request; /* Name of its schema, made from .fields; NULL: no body. */
    enum openai_endpoint fields;
    const char *required;     /* Which of them must be there: JSON, members of its schema. */
    const char *response;     /* Name of its schema; NULL: no JSON. */
    const char *failure;      /* Name of the schema of all its errors. */
    const char *content_type; /* Of a good answer besides JSON, or NULL. */
    unsigned statuses;        /* COMMON and others. */
};

static const char event_stream[] = "text/event-stream";

#define REQUIRED(...) "\"required\":[" #__VA_ARGS__ "]"
#define ANY_TEXT                                                                        \
    "\"anyOf\":[{\"required\":[\"prompt\"]},{\"required\":[\"content\"]},"               \
    "{\"required\":[\"text\"]},{\"required\":[\"messages\"]}]"

/* clang-format off */
static const struct operation operations[] = {
    {openai_chat_handle, "chat", "Answers a conversation, plain or as an event stream.",
     "ChatRequest", OPENAI_CHAT, REQUIRED("messages"), "ChatReply", "Error", event_stream,
     COMMON | UPLOAD | NOT_FOUND | GENERATION},
    {openai_completions_handle, "completions", "Continues texts, plain or as an event stream.",
     "CompletionRequest", OPENAI_COMPLETIONS, REQUIRED("prompt"), "CompletionReply", "Error",
     event_stream, COMMON | UPLOAD | NOT_FOUND | GENERATION},
    {responses_handle, "responses", "Answers an input, plain or as a stream of typed events.",
     "ResponsesRequest", OPENAI_RESPONSES, REQUIRED("input"), "Response", "Error", event_stream,
     COMMON | UPLOAD | NOT_FOUND | GENERATION},
    {responses_count_handle, "responses_count", "Counts the tokens of an input.",
     "ResponsesCountRequest", OPENAI_RESPONSES_COUNT, REQUIRED("input"), "ResponseInputTokens",
     "Error", NULL, COMMON | UPLOAD | NOT_FOUND},
    {messages_handle, "messages", "Answers a conversation in Anthropic's form.",
     "MessagesRequest", OPENAI_MESSAGES, REQUIRED("messages", "max_tokens"), "MessageReply",
     "AnyError", event_stream, COMMON | UPLOAD | NOT_FOUND | GENERATION},
    {messages_count_handle, "messages_count", "Counts the tokens of a conversation.",
     "MessagesCountRequest", OPENAI_MESSAGES_COUNT, REQUIRED("messages"), "MessageTokens",
     "AnyError", NULL, COMMON | UPLOAD | NOT_FOUND},
    {tokens_count_handle, "tokens_count", "Counts the tokens of a text or of messages.",
     "TokenizeRequest", OPENAI_TOKENIZE, ANY_TEXT, "TokenCount", "Error", NULL,
     COMMON | UPLOAD | NOT_FOUND},
    {apply_template_handle, "apply_template", "Messages to the prompt that a chat would read.",
     "TemplateRequest", OPENAI_TEMPLATE, REQUIRED("messages"), "TemplateReply", "Error", NULL,
     COMMON | UPLOAD | NOT_FOUND},
    {openai_models_list_handle, "models", "Lists the model that is served.",
     NULL, 0, NULL, "ModelList", "Error", NULL, COMMON},
    {openai_model_handle, "model", "Describes the model that is served.",
     NULL, 0, NULL, "Model", "Error", NULL, COMMON | NOT_FOUND},
    {tokenize_handle, "tokenize", "Text, or messages in the chat template, to token ids.",
     "TokenizeRequest", OPENAI_TOKENIZE, ANY_TEXT, "TokenizeReply", "Error", NULL,
     COMMON | UPLOAD | NOT_FOUND},
    {detokenize_handle, "detokenize", "Token ids to text.",
     "DetokenizeRequest", OPENAI_DETOKENIZE, REQUIRED("tokens"), "DetokenizeReply", "Error", NULL,
     COMMON | UPLOAD | NOT_FOUND},
    {admin_index_handle, "index", "The table of routes.",
     NULL, 0, NULL, "Index", "Error", NULL, COMMON},
    {admin_health_handle, "ready", "200 when requests are welcome; 404 while draining.",
     NULL, 0, NULL, "Status", "StatusOrError", NULL, COMMON | NOT_FOUND},
    {admin_live_handle, "live", "200 while the engine makes progress.",
     NULL, 0, NULL, "Status", "StatusOrError", NULL, COMMON},
    {admin_metrics_handle, "metrics", "Counters and gauges for Prometheus.",
     NULL, 0, NULL, NULL, "Error", "text/plain", COMMON},
    {admin_version_handle, "version", "Version, model and device.",
     NULL, 0, NULL, "Version", "Error", NULL, COMMON},
    {openapi_handle, "openapi", "This document.", NULL, 0, NULL, "OpenApi", "Error", NULL, COMMON},
};

static const struct {
    const char *status;
    unsigned when; /* Bits of the operation that bring it. */
    const char *description;
    const char *header; /* That comes with it, or NULL. */
} failures[] = {
    {"400", COMMON, "The request is malformed, or a field has a value that is not allowed.", NULL},
    {"401", COMMON, "No API key, or an unknown one.", "WWW-Authenticate"},
    {"404", NOT_FOUND, "There is no such model.", NULL},
    {"405", COMMON, "The path does not answer that method.", "Allow"},
    {"411", COMMON, "A body without Content-Length.", NULL},
    {"413", UPLOAD, "The body is larger than --max-body.", NULL},
    {"415", UPLOAD, "The body is not JSON, or compressed.", NULL},
    {"417", COMMON, "Expect is not 100-continue.", NULL},
    {"421", COMMON, "Host is not this server.", NULL},
    {"500", COMMON, "A fault of the server.", NULL},
    {"503", COMMON, "The queue is full, or the server is starting or draining.", "Retry-After"},
    {"504", GENERATION, "No first token in time.", NULL},
    {"505", COMMON, "Not HTTP/1.", NULL},
};
/* clang-format on */

static const struct operation *operation_of(const struct http_route *route)
{
    for (size_t index = 0; index < sizeof(operations) / sizeof(operations[0]); index++) {
        if (operations[index].handler == route->handler) {
            return &operations[index];
        }
    }
    return NULL;
}

static void write_ref(const char *name, struct json_writer *writer)
{
    char reference[128];
    snprintf(reference, sizeof(reference), "#/components/schemas/%s", name);
    json_object_begin(writer);
    json_key_string(writer, "$ref", text_from(reference));
    json_object_end(writer);
}

/* A member of "content"; schema may be NULL. */
static void write_content(const char *type, const char *schema, struct json_writer *writer)
{
    json_key(writer, type);
    json_object_begin(writer);
    if (schema != NULL) { /* Events and plain text have no schema. */
        json_key(writer, "schema");
        write_ref(schema, writer);
    }
    json_object_end(writer);
}

static void write_good_answer(const struct operation *operation, struct json_writer *writer)
{
    json_key(writer, "200");
    json_object_begin(writer);
    json_key_string(writer, "description", TEXT("The answer."));
    json_key(writer, "content");
    json_object_begin(writer);
    if (operation->response != NULL) {
        write_content("application/json", operation->response, writer);
    }
    if (operation->content_type != NULL) {
        write_content(operation->content_type, NULL, writer);
    }
    json_object_end(writer);
    json_object_end(writer);
}

static void write_failure(const struct operation *operation, size_t index,
                          struct json_writer *writer)
{
    const char *status = failures[index].status;
    json_key(writer, status);
    json_object_begin(writer);
    json_key_string(writer, "description", text_from(failures[index].description));
    if (failures[index].header != NULL) {
        json_key(writer, "headers");
        json_object_begin(writer);
        json_key(writer, failures[index].header);
        json_raw(writer, TEXT("{\"schema\":{\"type\":\"string\"}}"));
        json_object_end(writer);
    }
    json_key(writer, "content");
    json_object_begin(writer);
    write_content("application/json", operation->failure, writer);
    json_object_end(writer);
    json_object_end(writer);
}

static void write_responses(const struct operation *operation, struct json_writer *writer)
{
    json_key(writer, "responses");
    json_object_begin(writer);
    write_good_answer(operation, writer);
    for (size_t index = 0; index < sizeof(failures) / sizeof(failures[0]); index++) {
        if ((failures[index].when & operation->statuses) != 0) {
            write_failure(operation, index, writer);
        }
    }
    json_object_end(writer);
}

/* ---- Paths ---- */

/* Paths that share a handler get the rest of the path into their ids. */
static void write_operation_id(const struct operation *operation, const struct http_route *route,
                               struct json_writer *writer)
{
    char id[128];
    size_t len = (size_t)snprintf(id, sizeof(id), "%s", operation->id);
    for (const char *byte = route->path; *byte != '\0' && len + 2 < sizeof(id); byte++) {
        const bool is_letter = (*byte >= 'a' && *byte <= 'z') || (*byte >= '0' && *byte <= '9');
        id[len++] = is_letter ? *byte : '_';
    }
    json_key_string(writer, "operationId", (struct text){.bytes = id, .len = len});
}

static void write_operation(const struct operation *operation, const struct http_route *route,
                            bool needs_key, struct json_writer *writer)
{
    json_key(writer, strcmp(route->method, "GET") == 0 ? "get" : "post");
    json_object_begin(writer);
    write_operation_id(operation, route, writer);
    json_key_string(writer, "summary", text_from(operation->summary));
    json_key(writer, "security");
    const bool open = route->access == HTTP_ACCESS_PUBLIC || !needs_key;
    json_raw(writer, open ? TEXT("[]") : TEXT("[{\"key\":[]}]"));
    if (strchr(route->path, '{') != NULL) {
        json_key(writer, "parameters");
        json_raw(writer, TEXT("[{\"name\":\"id\",\"in\":\"path\",\"required\":true,"
                              "\"schema\":{\"$ref\":\"#/components/schemas/ModelId\"}}]"));
    }
    if (operation->request != NULL) {
        json_key(writer, "requestBody");
        json_object_begin(writer);
        json_key_bool(writer, "required", true);
        json_key(writer, "content");
        json_object_begin(writer);
        write_content("application/json", operation->request, writer);
        json_object_end(writer);
        json_object_end(writer);
    }
    write_responses(operation, writer);
    json_object_end(writer);
}

/* No path has two rows: a path answers GET or POST. */
static void write_paths(bool needs_key, struct json_writer *writer)
{
    json_key(writer, "paths");
    json_object_begin(writer);
    for (size_t index = 0; index < http_routes_count(); index++) {
        const struct http_route *route = http_routes_at(index);
        const struct operation *operation = operation_of(route);
        if (operation != NULL) {
            json_key(writer, route->path);
            json_object_begin(writer);
            write_operation(operation, route, needs_key, writer);
            json_object_end(writer);
        }
    }
    json_object_end(writer);
}

/* ---- Requests ---- */

static void write_number(const char *key, const struct openai_field *field,
                         struct openai_number number, const struct server_options *options,
                         struct json_writer *writer)
{
    const double value = openai_fields_number(number, options);
    json_key(writer, key);
    if (field->type == OPENAI_FIELD_REAL) {
        json_real(writer, value);
    } else {
        json_integer(writer, (int64_t)value);
    }
}

/* Null stands for absent, where a field may be absent. */
static bool is_required(const struct openai_field *field, const struct operation *operation)
{
    char name[64];
    snprintf(name, sizeof(name), "\"%s\"", field->name);
    return strcmp(operation->required, ANY_TEXT) != 0 &&
           strstr(operation->required, name) != NULL;
}

static void write_own_schema(const struct openai_field *field, bool required,
                             struct json_writer *writer)
{
    json_key(writer, "anyOf");
    json_array_begin(writer);
    json_raw(writer, text_from(field->schema));
    if (!required) {
        json_raw(writer, TEXT("{\"type\":\"null\"}"));
    }
    json_array_end(writer);
}

static void write_type(const char *type, bool required, struct json_writer *writer)
{
    json_key(writer, "type");
    json_array_begin(writer);
    json_string(writer, text_from(type));
    if (!required) {
        json_string(writer, TEXT("null"));
    }
    json_array_end(writer);
}

static void write_field(const struct openai_field *field, const struct operation *operation,
                        const struct server_options *options, struct json_writer *writer)
{
    const bool required = is_required(field, operation);
    json_key(writer, field->name);
    json_object_begin(writer);
    json_key_string(writer, "description", text_from(field->help));
    switch (field->type) {
    case OPENAI_FIELD_BOOL:
        write_type("boolean", required, writer);
        json_key_bool(writer, "default", false);
        break;
    case OPENAI_FIELD_INTEGER:
    case OPENAI_FIELD_OPTIONAL:
    case OPENAI_FIELD_REAL:
        write_type(field->type == OPENAI_FIELD_REAL ? "number" : "integer", required, writer);
        write_number("minimum", field, field->min, options, writer);
        write_number("maximum", field, field->max, options, writer);
        if (field->type != OPENAI_FIELD_OPTIONAL) {
            write_number("default", field, field->fallback, options, writer);
        }
        break;
    case OPENAI_FIELD_OWN:
    case OPENAI_FIELD_REFUSED:
        write_own_schema(field, required, writer);
        break;
    case OPENAI_FIELD_IGNORED:
        break;
    }
    json_object_end(writer);
}

static void write_request(const struct operation *operation, const struct server_options *options,
                          struct json_writer *writer)
{
    json_key(writer, operation->request);
    json_object_begin(writer);
    json_key_string(writer, "type", TEXT("object"));
    json_raw(writer, text_from(operation->required));
    json_key(writer, "properties");
    json_object_begin(writer);
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if ((field->endpoints & operation->fields) != 0) {
            write_field(field, operation, options, writer);
        }
    }
    json_object_end(writer);
    json_object_end(writer);
}

/* ---- The document ---- */

static void write_model_schemas(const struct server_model *model, struct json_writer *writer)
{
    json_key(writer, "ModelId");
    json_object_begin(writer);
    json_key_string(writer, "type", TEXT("string"));
    json_key(writer, "enum");
    json_array_begin(writer);
    json_string(writer, text_from(model->id));
    json_array_end(writer);
    json_object_end(writer);
    json_key(writer, "TokenId");
    json_object_begin(writer);
    json_key_string(writer, "type", TEXT("integer"));
    json_key_integer(writer, "minimum", 0);
    json_key_integer(writer, "maximum", (int64_t)model->token_count - 1);
    json_object_end(writer);
}

/* Operations may share a request. */
static bool is_first_of_request(size_t index)
{
    const char *request = operations[index].request;
    for (size_t before = 0; request != NULL && before < index; before++) {
        if (operations[before].request != NULL &&
            strcmp(operations[before].request, request) == 0) {
            return false;
        }
    }
    return request != NULL;
}

static void write_components(const struct server_options *options, struct json_writer *writer)
{
    json_key(writer, "components");
    json_object_begin(writer);
    json_key(writer, "securitySchemes");
    json_raw(writer, TEXT("{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}}"));
    json_key(writer, "schemas");
    json_object_begin(writer);
    write_model_schemas(options->model, writer);
    for (size_t index = 0; index < sizeof(operations) / sizeof(operations[0]); index++) {
        if (is_first_of_request(index)) {
            write_request(&operations[index], options, writer);
        }
    }
    for (size_t index = 0; index < openapi_schemas_count(); index++) {
        const struct openapi_schema *schema = openapi_schemas_at(index);
        json_key(writer, schema->name);
        json_raw(writer, text_from(schema->json));
    }
    json_object_end(writer);
    json_object_end(writer);
}

void openapi_write(const struct server_options *options, bool needs_key,
                   struct json_writer *writer)
{
    json_object_begin(writer);
    json_key_string(writer, "openapi", TEXT("3.1.0"));
    json_key(writer, "info");
    json_object_begin(writer);
    json_key_string(writer, "title", TEXT("Skein"));
    json_key_string(writer, "version", TEXT(SKEIN_VERSION));
    json_key_string(writer, "description",
                    TEXT("An inference server for RWKV-7 language models. Fields that are not "
                         "listed are ignored, null means absent. GET paths answer HEAD too."));
    json_object_end(writer);
    write_paths(needs_key, writer);
    write_components(options, writer);
    json_object_end(writer);
}

void openapi_handle(struct http_exchange *exchange)
{
    const struct server *server = exchange->server;
    const struct server_options options = {
        .config = server->config, .model = server->model, .tokenizer = server->tokenizer};
    const bool needs_key = api_keys_count(server->keys) > 0;
    struct json_writer writer;
    json_writer_init(&writer, NULL, 0);
    openapi_write(&options, needs_key, &writer);
    char *body = arena_alloc(&exchange->arena, writer.len);
    if (body == NULL) {
        struct openai_error error;
        openai_error_set(&error, OPENAI_ERROR_INTERNAL, NULL, "no memory for the document");
        openai_error_reply(exchange, &error);
        return;
    }
    json_writer_init(&writer, body, writer.len);
    openapi_write(&options, needs_key, &writer);
    http_exchange_reply(exchange, 200, "application/json",
                        (struct text){.bytes = body, .len = writer.len});
}
