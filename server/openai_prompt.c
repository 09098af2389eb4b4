/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_prompt.c - the prompt of a request: text, token ids or messages.
 *
 * How messages become text is engine/chat_template.c's. Thread: any. */
#include "server/openai_reading.h"

#include "base/limits.h"
#include "engine/tokenizer.h"
#include "server/openai_content.h"
#include "server/reply_buffer.h"

/* ---- Token ids ---- */

enum error_code openai_prompt_read_token(struct openai_reading *reading, struct json_value value,
                                         int32_t *token_out)
{
    const int64_t max = (int64_t)reading->options->model->token_count - 1;
    int64_t token;
    const enum error_code code =
        json_reader_integer(&reading->json, value, 0, max, &token, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (!tokenizer_has(reading->options->tokenizer, token)) {
        return OPENAI_READING_REFUSE(reading, value, "the vocabulary has no token %d", (int)token);
    }
    *token_out = (int32_t)token;
    return ERROR_NONE;
}

static enum error_code read_tokens(struct openai_reading *reading, struct json_value value,
                                   struct openai_input *input_out)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    int32_t *tokens = arena_alloc(reading->arena, count * sizeof(*tokens));
    if (tokens == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    uint32_t index = 0;
    for (struct json_value element = json_reader_first(value); element.node != NULL;
         element = json_reader_next(element)) {
        code = openai_prompt_read_token(reading, element, &tokens[index++]);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    *input_out = (struct openai_input){.tokens = tokens, .token_count = count};
    return ERROR_NONE;
}

/* ---- One prompt or several ---- */

static enum error_code read_text(struct openai_reading *reading, struct json_value value,
                                 struct text *text_out)
{
    struct text borrowed;
    const enum error_code code =
        json_reader_string(&reading->json, value, &borrowed, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    *text_out = arena_copy(reading->arena, borrowed);
    return text_out->bytes == NULL ? OPENAI_READING_NO_MEMORY(reading, value) : ERROR_NONE;
}

/* Reads `count` prompts of one kind: the value itself, or from it on to the end of its array. */
static enum error_code read_inputs(struct openai_reading *reading, enum openai_prompt_kind kind,
                                   struct json_value first, uint32_t count)
{
    struct openai_prompt *prompt = &reading->params.prompt;
    struct openai_input *inputs = arena_alloc(reading->arena, count * sizeof(*inputs));
    if (inputs == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, first);
    }
    struct json_value value = first;
    for (uint32_t index = 0; index < count; index++) {
        const enum error_code code = kind == OPENAI_PROMPT_TEXT
                                         ? read_text(reading, value, &inputs[index].text)
                                         : read_tokens(reading, value, &inputs[index]);
        if (code != ERROR_NONE) {
            return code;
        }
        value = index + 1 < count ? json_reader_next(value) : value;
    }
    prompt->kind = kind;
    prompt->inputs = inputs;
    prompt->input_count = count;
    return ERROR_NONE;
}

enum error_code openai_prompt_read_tokens(struct openai_reading *reading, struct json_value value)
{
    return read_inputs(reading, OPENAI_PROMPT_TOKENS, value, 1);
}

/* An array of prompts; `first` is its first element. */
static enum error_code read_several(struct openai_reading *reading, struct json_value array,
                                    struct json_value first)
{
    const bool are_texts = json_reader_type(first) == JSON_TYPE_STRING;
    const uint32_t count = json_reader_count(array);
    const uint32_t count_max = reading->params.endpoint == OPENAI_COMPLETIONS ? LIMIT_PROMPTS : 1;
    if (count > count_max) {
        return OPENAI_READING_REFUSE(reading, array, "%u prompts, at most %u", (unsigned)count,
                                     (unsigned)count_max);
    }
    return read_inputs(reading, are_texts ? OPENAI_PROMPT_TEXT : OPENAI_PROMPT_TOKENS, first,
                       count);
}

enum error_code openai_prompt_read(struct openai_reading *reading, struct json_value value)
{
    if (json_reader_type(value) == JSON_TYPE_STRING) {
        return read_inputs(reading, OPENAI_PROMPT_TEXT, value, 1);
    }
    if (json_reader_type(value) != JSON_TYPE_ARRAY) {
        return OPENAI_READING_REFUSE(reading, value,
                                     "must be a string, an array of token ids, or an array of "
                                     "either");
    }
    const struct json_value first = json_reader_first(value);
    const enum json_type type = json_reader_type(first);
    if (type == JSON_TYPE_STRING || type == JSON_TYPE_ARRAY) {
        return read_several(reading, value, first);
    }
    return openai_prompt_read_tokens(reading, value);
}

/* ---- Messages ---- */

static const struct openai_content_role role_rows[] = {
    {"system", CHAT_ROLE_SYSTEM},
    {"developer", CHAT_ROLE_SYSTEM},
    {"user", CHAT_ROLE_USER},
    {"assistant", CHAT_ROLE_ASSISTANT},
    {"tool", CHAT_ROLE_TOOL},
    {"function", CHAT_ROLE_TOOL},
};

static const struct openai_content_roles roles = {
    .rows = role_rows,
    .count = sizeof(role_rows) / sizeof(role_rows[0]),
    .names = "system, developer, user, assistant, tool or function",
};

/* Reads {"type":"text","text":".."}; other kinds of parts are images, sound, files. */
static enum error_code read_part(struct openai_reading *reading, struct json_value part,
                                 struct text *text_out)
{
    enum error_code code =
        json_reader_expect(&reading->json, part, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct json_value type = json_reader_member(part, "type");
    const struct json_value text = json_reader_member(part, "text");
    if (type.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, part, "type", "is required");
    }
    struct text name;
    code = json_reader_string(&reading->json, type, &name, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (!text_equals(name, TEXT("text"))) {
        return OPENAI_READING_REFUSE(
            reading, type, "'%.32s' is not supported by this version, only 'text' is", name.bytes);
    }
    if (text.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, part, "text", "is required");
    }
    return json_reader_string(&reading->json, text, text_out, &reading->error);
}

/* Joins the parts with line feeds. */
static enum error_code read_parts(struct openai_reading *reading, struct json_value parts,
                                  struct text *content_out)
{
    struct reply_buffer joined = {0};
    for (struct json_value part = json_reader_first(parts); part.node != NULL;
         part = json_reader_next(part)) {
        struct text text;
        const enum error_code code = read_part(reading, part, &text);
        if (code != ERROR_NONE) {
            return code;
        }
        const bool is_first = part.node == json_reader_first(parts).node;
        if ((!is_first && !reply_buffer_append(&joined, TEXT("\n"), reading->arena)) ||
            !reply_buffer_append(&joined, text, reading->arena)) {
            return OPENAI_READING_NO_MEMORY(reading, parts);
        }
    }
    *content_out = reply_buffer_text(&joined);
    return ERROR_NONE;
}

static enum error_code read_content(struct openai_reading *reading, struct json_value value,
                                    struct chat_message *message_out)
{
    const struct json_value content = json_reader_member(value, "content");
    if (json_reader_type(content) == JSON_TYPE_ARRAY) {
        return read_parts(reading, content, &message_out->content);
    }
    if (content.node != NULL) {
        return read_text(reading, content, &message_out->content);
    }
    if (message_out->role == CHAT_ROLE_ASSISTANT) {
        return ERROR_NONE; /* It called tools and said nothing. */
    }
    return OPENAI_READING_REFUSE_MEMBER(reading, value, "content", "is required");
}

/* Reads {"id":..,"type":"function","function":{"name":..,"arguments":".."}}. */
static enum error_code read_call(struct openai_reading *reading, struct json_value value,
                                 struct chat_message *message)
{
    const struct json_value function = json_reader_member(value, "function");
    struct tool_history_call call = {0};
    struct text type;
    enum error_code code = openai_content_read_type(reading, value, &type);
    if (code == ERROR_NONE && !text_equals(type, TEXT("function"))) {
        return OPENAI_READING_REFUSE_MEMBER(
            reading, value, "type", "'%.32s' is not supported by this version, only 'function' is",
            type.bytes);
    }
    if (code == ERROR_NONE) {
        code = openai_content_read_string(reading, value, "id", &call.id);
    }
    if (code == ERROR_NONE && function.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "function", "is required");
    }
    if (code == ERROR_NONE) {
        code = json_reader_expect(&reading->json, function, JSON_TYPE_OBJECT, &reading->error);
    }
    if (code == ERROR_NONE) {
        code = openai_content_read_string(reading, function, "name", &call.name);
    }
    if (code == ERROR_NONE) {
        code = tool_history_read_arguments(reading, function, &call.arguments);
    }
    return code != ERROR_NONE ? code : tool_history_add(reading, value, &call, message);
}

/* What an assistant called, behind what it said. */
static enum error_code read_calls(struct openai_reading *reading, struct json_value calls,
                                  struct chat_message *message)
{
    enum error_code code =
        json_reader_expect(&reading->json, calls, JSON_TYPE_ARRAY, &reading->error);
    for (struct json_value call = json_reader_first(calls);
         code == ERROR_NONE && call.node != NULL; call = json_reader_next(call)) {
        code = read_call(reading, call, message);
    }
    return code;
}

static enum error_code read_message(struct openai_reading *reading, struct json_value value,
                                    struct chat_message *message_out)
{
    const struct json_value calls = json_reader_member(value, "tool_calls");
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE) {
        code = openai_content_read_role(reading, value, &roles, &message_out->role);
    }
    if (code == ERROR_NONE) {
        code = read_content(reading, value, message_out);
    }
    if (code == ERROR_NONE && message_out->role == CHAT_ROLE_ASSISTANT && calls.node != NULL) {
        return read_calls(reading, calls, message_out);
    }
    /* The results of functions, as they were called before there were tools, have no id. */
    if (code == ERROR_NONE && message_out->role == CHAT_ROLE_TOOL &&
        json_reader_member(value, "tool_call_id").node != NULL) {
        return tool_history_check_answer(reading, value, "tool_call_id");
    }
    return code;
}

enum error_code openai_prompt_read_messages(struct openai_reading *reading, struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    if (count == 0 || count > LIMIT_MESSAGES) {
        return OPENAI_READING_REFUSE(reading, value, "%u messages, allowed 1 to %d",
                                     (unsigned)count, LIMIT_MESSAGES);
    }
    struct chat_message *messages = arena_alloc(reading->arena, count * sizeof(*messages));
    if (messages == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    uint32_t index = 0;
    for (struct json_value element = json_reader_first(value); element.node != NULL;
         element = json_reader_next(element)) {
        code = read_message(reading, element, &messages[index++]);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    reading->params.prompt.kind = OPENAI_PROMPT_MESSAGES;
    reading->params.prompt.messages = messages;
    reading->params.prompt.message_count = count;
    return ERROR_NONE;
}
