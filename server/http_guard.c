/* SPDX-License-Identifier: Apache-2.0
 *
 * server/http_guard.c - the gate's rules, in order: framing, Host, route, method, key, body.
 *
 * Framing refusals close the connection: what follows on it cannot be trusted to be a request.
 * Thread: any. */
#include "server/http_guard.h"

#include <string.h>

#include "base/limits.h"
#include "server/api_keys.h"

/* RFC 9110, 5.6.2. */
static bool is_token_byte(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

static bool is_token(struct text text)
{
    for (size_t index = 0; index < text.len; index++) {
        if (!is_token_byte((unsigned char)text.bytes[index])) {
            return false;
        }
    }
    return text.len > 0;
}

/* RFC 9110, 5.5: visible bytes, those above 0x7f, space and tab. */
static bool is_field_value(struct text text)
{
    for (size_t index = 0; index < text.len; index++) {
        const unsigned char byte = (unsigned char)text.bytes[index];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

static void note(struct text value, struct text *field, uint32_t *count)
{
    *field = value;
    (*count)++;
}

void http_head_add_field(struct http_head *head, struct text name, struct text value)
{
    const struct text trimmed = text_trim(value);
    uint32_t uncounted = 0;
    struct text unused;
    if (!is_token(name) || !is_field_value(value)) {
        head->malformed = true;
    } else if (text_equals_ignoring_case(name, TEXT("Host"))) {
        note(trimmed, &head->host, &head->host_count);
    } else if (text_equals_ignoring_case(name, TEXT("Content-Length"))) {
        note(trimmed, &head->content_length, &head->content_length_count);
    } else if (text_equals_ignoring_case(name, TEXT("Transfer-Encoding"))) {
        note(trimmed, &unused, &head->transfer_encoding_count);
    } else if (text_equals_ignoring_case(name, TEXT("Content-Type"))) {
        note(trimmed, &head->content_type, &head->content_type_count);
    } else if (text_equals_ignoring_case(name, TEXT("Content-Encoding"))) {
        note(trimmed, &head->content_encoding, &uncounted);
    } else if (text_equals_ignoring_case(name, TEXT("Expect"))) {
        note(trimmed, &head->expect, &head->expect_count);
    } else if (text_equals_ignoring_case(name, TEXT("Authorization"))) {
        note(trimmed, &head->authorization, &head->authorization_count);
    } else if (text_equals_ignoring_case(name, TEXT("X-Api-Key"))) {
        note(trimmed, &head->api_key, &head->api_key_count);
    }
}

static void refuse(struct http_verdict *verdict, enum openai_error_kind kind, const char *message)
{
    verdict->action = HTTP_ACTION_REFUSE;
    verdict->kind = kind;
    verdict->message = message;
}

/* As refuse, for a request whose end cannot be trusted. */
static void refuse_framing(struct http_verdict *verdict, enum openai_error_kind kind,
                           const char *message)
{
    refuse(verdict, kind, message);
    verdict->closes = true;
}

/* Digits only, so "+5", "5, 5" and "0x5" are refused whatever the parser below makes of them. */
static bool parse_content_length(struct text text, uint64_t *bytes_out)
{
    for (size_t index = 0; index < text.len; index++) {
        if (text.bytes[index] < '0' || text.bytes[index] > '9') {
            return false;
        }
    }
    return text_to_uint64(text, bytes_out);
}

static bool passes_framing(const struct http_head *head, struct http_verdict *verdict)
{
    const bool is_1_1 = text_equals(head->version, TEXT("HTTP/1.1"));
    if (!is_1_1 && !text_equals(head->version, TEXT("HTTP/1.0"))) {
        refuse_framing(verdict, OPENAI_ERROR_HTTP_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken");
    } else if (head->malformed) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST,
                       "malformed request line or header field");
    } else if (head->host_count > 1 || (is_1_1 && head->host_count == 0)) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST, "exactly one Host header is needed");
    } else if (head->content_length_count > 0 && head->transfer_encoding_count > 0) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST,
                       "Content-Length and Transfer-Encoding exclude each other");
    } else if (head->transfer_encoding_count > 0) {
        refuse_framing(verdict, OPENAI_ERROR_LENGTH_REQUIRED,
                       "Transfer-Encoding is not accepted: send Content-Length");
    } else if (head->content_length_count > 1 || head->content_type_count > 1 ||
               head->authorization_count > 1 || head->api_key_count > 1 || head->expect_count > 1) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST, "a header that must not be repeated");
    } else if (head->content_length_count == 1 &&
               !parse_content_length(head->content_length, &verdict->body_bytes)) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST, "Content-Length is not a number");
    }
    return verdict->action != HTTP_ACTION_REFUSE;
}

/* Splits "name", "name:port", "[v6]" and "[v6]:port"; false when it is none of them. The name has
 * no brackets. */
static bool split_host(struct text host, struct text *name_out)
{
    struct text port = {0};
    if (host.len > 0 && host.bytes[0] == '[') {
        struct text rest = {.bytes = host.bytes + 1, .len = host.len - 1};
        if (memchr(rest.bytes, ']', rest.len) == NULL) {
            return false;
        }
        *name_out = text_cut(&rest, ']');
        if (rest.len > 0 && rest.bytes[0] != ':') {
            return false;
        }
        port = rest.len > 0 ? (struct text){.bytes = rest.bytes + 1, .len = rest.len - 1} : rest;
    } else {
        port = host;
        *name_out = text_cut(&port, ':');
    }
    for (size_t index = 0; index < name_out->len; index++) {
        if (strchr("/@?#\\ \t[]\"<>", name_out->bytes[index]) != NULL) {
            return false;
        }
    }
    uint64_t number = 0;
    return port.len == 0 || (parse_content_length(port, &number) && number <= UINT16_MAX);
}

/* A page of another site that has its name point to 127.0.0.1 still sends its own name. */
static bool is_name_of_this_machine(struct text name, const struct http_rules *rules)
{
    return text_equals_ignoring_case(name, TEXT("localhost")) ||
           text_equals(name, TEXT("127.0.0.1")) || text_equals(name, TEXT("::1")) ||
           text_equals_ignoring_case(name, rules->bound_host);
}

static bool passes_host(const struct http_head *head, const struct http_rules *rules,
                        struct http_verdict *verdict)
{
    struct text name;
    if (head->host_count == 0) {
        return true;
    }
    if (!split_host(head->host, &name)) {
        refuse_framing(verdict, OPENAI_ERROR_INVALID_REQUEST, "malformed Host header");
        return false;
    }
    if (rules->bound_to_loopback && !is_name_of_this_machine(name, rules)) {
        refuse(verdict, OPENAI_ERROR_MISDIRECTED,
               "the Host header does not name this server, which listens on loopback only");
        return false;
    }
    return true;
}

static bool passes_route(const struct http_head *head, struct http_verdict *verdict)
{
    char allowed[32];
    verdict->route = http_routes_find(head->method, head->path, &verdict->path_tail);
    if (verdict->route != NULL) {
        return true;
    }
    if (!http_routes_allowed(head->path, allowed, sizeof(allowed))) {
        refuse(verdict, OPENAI_ERROR_ROUTE_NOT_FOUND, "no such path; GET / lists the paths");
    } else if (text_equals(head->method, TEXT("OPTIONS"))) {
        verdict->action = HTTP_ACTION_OPTIONS;
    } else {
        refuse(verdict, OPENAI_ERROR_METHOD, "the path does not answer this method");
    }
    return false;
}

static bool is_json(struct text content_type)
{
    return text_equals_ignoring_case(text_trim(text_cut(&content_type, ';')),
                                     TEXT("application/json"));
}

/* Clients of OpenAI send one header, those of Anthropic the other; some send both. */
static bool has_key(const struct http_head *head, const struct http_rules *rules)
{
    return api_keys_accept(rules->keys, head->authorization) ||
           (head->api_key_count > 0 && api_keys_accept_bare(rules->keys, head->api_key));
}

/* What can be refused knowing the route, before the body. */
static void judge_request(const struct http_head *head, const struct http_rules *rules,
                          struct http_verdict *verdict)
{
    const bool is_post = text_equals(head->method, TEXT("POST"));
    if (verdict->route->access == HTTP_ACCESS_KEY && !has_key(head, rules)) {
        const bool sent_one = head->authorization_count > 0 || head->api_key_count > 0;
        refuse(verdict, OPENAI_ERROR_INVALID_KEY,
               sent_one ? "incorrect API key" : "no API key: send Authorization: Bearer <key>");
    } else if (head->expect_count > 0 &&
               !text_equals_ignoring_case(head->expect, TEXT("100-continue"))) {
        refuse(verdict, OPENAI_ERROR_EXPECTATION, "only Expect: 100-continue is met");
    } else if (is_post && rules->draining) {
        refuse(verdict, OPENAI_ERROR_UNAVAILABLE, "the server is shutting down");
    } else if (is_post && !is_json(head->content_type)) {
        refuse(verdict, OPENAI_ERROR_CONTENT_TYPE, "Content-Type must be application/json");
    } else if (head->content_encoding.len > 0 &&
               !text_equals_ignoring_case(head->content_encoding, TEXT("identity"))) {
        refuse(verdict, OPENAI_ERROR_CONTENT_TYPE, "Content-Encoding is not accepted");
    } else if (verdict->body_bytes > (is_post ? rules->body_bytes_max : LIMIT_DRAINED_BODY_BYTES)) {
        refuse(verdict, OPENAI_ERROR_BODY_TOO_LARGE, "the request body is too large");
    }
}

struct http_verdict http_guard_judge(const struct http_head *head, const struct http_rules *rules)
{
    struct http_verdict verdict = {.action = HTTP_ACTION_HANDLE, .path_tail = TEXT("")};
    if (passes_framing(head, &verdict) && passes_host(head, rules, &verdict) &&
        passes_route(head, &verdict)) {
        judge_request(head, rules, &verdict);
    }
    /* A small body of a refused request is read, to keep the connection; not one that the client
     * sends only when told to. */
    const bool worth_reading =
        verdict.body_bytes <= LIMIT_DRAINED_BODY_BYTES && head->expect_count == 0;
    verdict.reads_body = verdict.action == HTTP_ACTION_HANDLE || (worth_reading && !verdict.closes);
    verdict.closes = verdict.closes || !verdict.reads_body || rules->draining;
    return verdict;
}
