/* SPDX-License-Identifier: Apache-2.0
 *
 * server/messages_input.c - the fields that only /v1/messages has: system, messages, thinking.
 *
 * One message of Anthropic's may hold what a tool returned and what the user says: it becomes
 * several turns. Thread: any. */
#include "server/messages_input.h"

#include "server/json_copy.h"
#include "server/openai_content.h"
#include "server/reply_buffer.h"

static const struct openai_content_kind text_rows[] = {{"text", "text"}};
static const struct openai_content_kinds texts = {
    .rows = text_rows,
    .count = sizeof(text_rows) / sizeof(text_rows[0]),
    .names = "'text' is",
};

enum error_code messages_input_read_system(struct openai_reading *reading, struct json_value value)
{
    struct text text;
    const enum error_code code = openai_content_read(reading, value, &texts, &text);
    if (code != ERROR_NONE || text.len == 0) {
        return code;
    }
    return openai_content_add(reading, value, CHAT_ROLE_SYSTEM, text);
}

/* ---- Messages ---- */

static const struct openai_content_role role_rows[] = {
    {"user", CHAT_ROLE_USER},
    {"assistant", CHAT_ROLE_ASSISTANT},
};

static const struct openai_content_roles roles = {
    .rows = role_rows,
    .count = sizeof(role_rows) / sizeof(role_rows[0]),
    .names = "user or assistant (system is a field of its own)",
};

/* What a tool returned; it may have returned nothing. The model is not told that it is an error. */
static enum error_code read_tool_result(struct openai_reading *reading, struct json_value block)
{
    const struct json_value content = json_reader_member(block, "content");
    const struct json_value is_error = json_reader_member(block, "is_error");
    struct text text = TEXT("");
    bool truth;
    enum error_code code = tool_history_check_answer(reading, block, "tool_use_id");
    if (code == ERROR_NONE && is_error.node != NULL) {
        code = json_reader_bool(&reading->json, is_error, &truth, &reading->error);
    }
    if (code == ERROR_NONE && content.node != NULL) {
        code = openai_content_read(reading, content, &texts, &text);
    }
    return code != ERROR_NONE ? code : openai_content_add(reading, block, CHAT_ROLE_TOOL, text);
}

/* The turn that this message has begun; NULL: none, or it is another role's. */
static struct chat_message *open_turn(const struct openai_reading *reading, enum chat_role role,
                                      uint32_t count_before)
{
    const struct openai_prompt *prompt = &reading->params.prompt;
    if (prompt->message_count == count_before ||
        prompt->messages[prompt->message_count - 1].role != role) {
        return NULL;
    }
    return &prompt->messages[prompt->message_count - 1];
}

/* What the assistant called, behind what it said. */
static enum error_code read_tool_use(struct openai_reading *reading, struct json_value block,
                                     uint32_t count_before)
{
    const struct json_value input = json_reader_member(block, "input");
    struct tool_history_call call = {0};
    enum error_code code = openai_content_read_string(reading, block, "id", &call.id);
    if (code == ERROR_NONE) {
        code = openai_content_read_string(reading, block, "name", &call.name);
    }
    if (code == ERROR_NONE && input.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, block, "input", "is required");
    }
    if (code == ERROR_NONE) {
        code = json_reader_expect(&reading->json, input, JSON_TYPE_OBJECT, &reading->error);
    }
    if (code == ERROR_NONE) {
        call.arguments = json_copy(&reading->json, input, reading->arena);
    }
    if (code == ERROR_NONE && call.arguments.bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, input);
    }
    if (code == ERROR_NONE && open_turn(reading, CHAT_ROLE_ASSISTANT, count_before) == NULL) {
        code = openai_content_add(reading, block, CHAT_ROLE_ASSISTANT, TEXT(""));
    }
    return code != ERROR_NONE
               ? code
               : tool_history_add(reading, block, &call,
                                  open_turn(reading, CHAT_ROLE_ASSISTANT, count_before));
}

/* Joins text blocks that follow each other in one message: it is the last one, and was begun by
 * this message. */
static enum error_code add_text(struct openai_reading *reading, struct json_value block,
                                enum chat_role role, struct text text, uint32_t count_before)
{
    struct chat_message *last = open_turn(reading, role, count_before);
    if (last == NULL) {
        return openai_content_add(reading, block, role, text);
    }
    struct reply_buffer joined = {0};
    if (!reply_buffer_append(&joined, last->content, reading->arena) ||
        (joined.len > 0 && !reply_buffer_append(&joined, TEXT("\n"), reading->arena)) ||
        !reply_buffer_append(&joined, text, reading->arena)) {
        return OPENAI_READING_NO_MEMORY(reading, block);
    }
    last->content = reply_buffer_text(&joined);
    return ERROR_NONE;
}

static enum error_code read_text_block(struct openai_reading *reading, struct json_value block,
                                       enum chat_role role, uint32_t count_before)
{
    const struct json_value value = json_reader_member(block, "text");
    struct text text;
    if (value.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, block, "text", "is required");
    }
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_STRING, &reading->error);
    if (code == ERROR_NONE) {
        code = openai_content_read(reading, value, &texts, &text);
    }
    return code != ERROR_NONE ? code : add_text(reading, block, role, text, count_before);
}

static enum error_code read_block(struct openai_reading *reading, struct json_value block,
                                  enum chat_role role, uint32_t count_before)
{
    struct text type;
    const enum error_code code = openai_content_read_type(reading, block, &type);
    if (code != ERROR_NONE) {
        return code;
    }
    if (text_equals(type, TEXT("text"))) {
        return read_text_block(reading, block, role, count_before);
    }
    if (text_equals(type, TEXT("tool_result")) && role == CHAT_ROLE_USER) {
        return read_tool_result(reading, block);
    }
    if (text_equals(type, TEXT("tool_use")) && role == CHAT_ROLE_ASSISTANT) {
        return read_tool_use(reading, block, count_before);
    }
    if (role == CHAT_ROLE_ASSISTANT && (text_equals(type, TEXT("thinking")) ||
                                        text_equals(type, TEXT("redacted_thinking")))) {
        return ERROR_NONE; /* Earlier thoughts are not shown to the model. */
    }
    return OPENAI_READING_REFUSE_MEMBER(
        reading, block, "type", "'%.32s' is not supported here by this version", type.bytes);
}

static enum error_code read_message(struct openai_reading *reading, struct json_value message,
                                    enum chat_role *role_out)
{
    const uint32_t count_before = reading->params.prompt.message_count;
    struct text text;
    enum error_code code =
        json_reader_expect(&reading->json, message, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE) {
        code = openai_content_read_role(reading, message, &roles, role_out);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const struct json_value content = json_reader_member(message, "content");
    if (content.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, message, "content", "is required");
    }
    if (json_reader_type(content) != JSON_TYPE_ARRAY) {
        code = openai_content_read(reading, content, &texts, &text);
        return code != ERROR_NONE ? code : openai_content_add(reading, message, *role_out, text);
    }
    for (struct json_value block = json_reader_first(content); block.node != NULL;
         block = json_reader_next(block)) {
        code = read_block(reading, block, *role_out, count_before);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    if (reading->params.prompt.message_count == count_before) { /* Thoughts only, or nothing. */
        return openai_content_add(reading, message, *role_out, TEXT(""));
    }
    return ERROR_NONE;
}

enum error_code messages_input_read(struct openai_reading *reading, struct json_value value)
{
    enum chat_role last_role = CHAT_ROLE_USER;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (json_reader_count(value) == 0) {
        return OPENAI_READING_REFUSE(reading, value, "holds no message");
    }
    for (struct json_value message = json_reader_first(value);
         message.node != NULL && code == ERROR_NONE; message = json_reader_next(message)) {
        code = read_message(reading, message, &last_role);
    }
    reading->params.prompt.continue_final_message = last_role == CHAT_ROLE_ASSISTANT;
    return code;
}

/* ---- How to answer ---- */

enum error_code messages_input_read_thinking(struct openai_reading *reading,
                                             struct json_value value)
{
    struct text type;
    const enum error_code code = openai_content_read_type(reading, value, &type);
    if (code != ERROR_NONE) {
        return code;
    }
    if (text_equals(type, TEXT("disabled"))) {
        reading->params.prompt.thinking = OPENAI_THINKING_OFF;
    } else if (text_equals(type, TEXT("enabled"))) {
        reading->params.prompt.thinking = OPENAI_THINKING_ON;
    } else if (!text_equals(type, TEXT("adaptive"))) { /* As the chat template served says. */
        return OPENAI_READING_REFUSE_MEMBER(
            reading, value, "type", "'%.32s', must be enabled, disabled or adaptive", type.bytes);
    }
    return ERROR_NONE;
}
