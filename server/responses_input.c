/* SPDX-License-Identifier: Apache-2.0
 *
 * server/responses_input.c - the fields that only /v1/responses has: input, instructions, ..
 *
 * Every request brings its whole conversation: nothing is stored between two of them. How messages
 * become text is engine/chat_template.c's. Thread: any. */
#include "server/responses_input.h"

#include "base/json_writer.h"
#include "base/limits.h"
#include "server/openai_content.h"
#include "server/openai_structured.h"

enum { METADATA_MAX = 16, METADATA_NAME_MAX = 64, METADATA_VALUE_MAX = 512 }; /* OpenAI's. */

static const struct openai_content_kind kind_rows[] = {
    {"input_text", "text"},
    {"output_text", "text"},
    {"text", "text"},
    {"refusal", "refusal"},
};
static const struct openai_content_kinds kinds = {
    .rows = kind_rows,
    .count = sizeof(kind_rows) / sizeof(kind_rows[0]),
    .names = "'input_text', 'output_text' and 'refusal' are",
};

enum error_code responses_input_read_instructions(struct openai_reading *reading,
                                                  struct json_value value)
{
    struct text text;
    const enum error_code code = openai_content_read(reading, value, &kinds, &text);
    if (code != ERROR_NONE) {
        return code;
    }
    if (text.len <= LIMIT_REPEATED_BYTES) {
        reading->params.responses.instructions = text;
    }
    return openai_content_add(reading, value, CHAT_ROLE_SYSTEM, text);
}

/* ---- Input ---- */

static const struct openai_content_role role_rows[] = {
    {"user", CHAT_ROLE_USER},
    {"assistant", CHAT_ROLE_ASSISTANT},
    {"system", CHAT_ROLE_SYSTEM},
    {"developer", CHAT_ROLE_SYSTEM},
};

static const struct openai_content_roles roles = {
    .rows = role_rows,
    .count = sizeof(role_rows) / sizeof(role_rows[0]),
    .names = "user, assistant, system or developer",
};

/* Adds what the item's member says as one message. */
static enum error_code read_content(struct openai_reading *reading, struct json_value item,
                                    const char *member, enum chat_role role)
{
    const struct json_value content = json_reader_member(item, member);
    struct text text;
    if (content.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, item, member, "is required");
    }
    const enum error_code code = openai_content_read(reading, content, &kinds, &text);
    if (code != ERROR_NONE) {
        return code;
    }
    return openai_content_add(reading, item, role, text);
}

/* A call stands in the assistant's turn before it, if it is the last one, or in one of its own. */
static enum error_code read_call(struct openai_reading *reading, struct json_value item)
{
    const struct openai_prompt *prompt = &reading->params.prompt;
    struct tool_history_call call = {0};
    enum error_code code = openai_content_read_string(reading, item, "call_id", &call.id);
    if (code == ERROR_NONE) {
        code = openai_content_read_string(reading, item, "name", &call.name);
    }
    if (code == ERROR_NONE) {
        code = tool_history_read_arguments(reading, item, &call.arguments);
    }
    if (code == ERROR_NONE &&
        (prompt->message_count == 0 ||
         prompt->messages[prompt->message_count - 1].role != CHAT_ROLE_ASSISTANT)) {
        code = openai_content_add(reading, item, CHAT_ROLE_ASSISTANT, TEXT(""));
    }
    return code != ERROR_NONE
               ? code
               : tool_history_add(reading, item, &call,
                                  &prompt->messages[prompt->message_count - 1]);
}

/* What a function returned. */
static enum error_code read_call_output(struct openai_reading *reading, struct json_value item)
{
    const enum error_code code = tool_history_check_answer(reading, item, "call_id");
    return code != ERROR_NONE ? code : read_content(reading, item, "output", CHAT_ROLE_TOOL);
}

static enum error_code read_item(struct openai_reading *reading, struct json_value item)
{
    struct text type = TEXT("message"); /* Its type may be left out. */
    enum chat_role role = CHAT_ROLE_USER;
    enum error_code code =
        json_reader_expect(&reading->json, item, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE && json_reader_member(item, "type").node != NULL) {
        code = openai_content_read_type(reading, item, &type);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (text_equals(type, TEXT("message"))) {
        code = openai_content_read_role(reading, item, &roles, &role);
        return code != ERROR_NONE ? code : read_content(reading, item, "content", role);
    }
    if (text_equals(type, TEXT("function_call_output"))) {
        return read_call_output(reading, item);
    }
    if (text_equals(type, TEXT("function_call"))) {
        return read_call(reading, item);
    }
    if (text_equals(type, TEXT("reasoning"))) { /* Earlier thoughts are not shown to the model. */
        return ERROR_NONE;
    }
    if (text_equals(type, TEXT("item_reference"))) {
        return responses_input_refuse_state(reading, item);
    }
    return OPENAI_READING_REFUSE_MEMBER(reading, item, "type",
                                        "'%.32s' is not supported by this version", type.bytes);
}

enum error_code responses_input_read(struct openai_reading *reading, struct json_value value)
{
    if (json_reader_type(value) == JSON_TYPE_STRING) {
        struct text text;
        const enum error_code code = openai_content_read(reading, value, &kinds, &text);
        return code != ERROR_NONE ? code : openai_content_add(reading, value, CHAT_ROLE_USER, text);
    }
    if (json_reader_type(value) != JSON_TYPE_ARRAY) {
        return OPENAI_READING_REFUSE(reading, value, "must be a string or an array of items");
    }
    const uint32_t count_before = reading->params.prompt.message_count;
    for (struct json_value item = json_reader_first(value); item.node != NULL;
         item = json_reader_next(item)) {
        const enum error_code code = read_item(reading, item);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    if (reading->params.prompt.message_count == count_before) {
        return OPENAI_READING_REFUSE(reading, value, "holds no message");
    }
    return ERROR_NONE;
}

enum error_code responses_input_refuse_state(struct openai_reading *reading,
                                             struct json_value value)
{
    return OPENAI_READING_REFUSE(reading, value,
                                 "this server keeps no responses: send the whole conversation as "
                                 "input");
}

/* ---- How to answer ---- */

enum error_code responses_input_read_reasoning(struct openai_reading *reading,
                                               struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    const struct json_value effort = json_reader_member(value, "effort");
    if (code != ERROR_NONE || effort.node == NULL) {
        return code;
    }
    code = openai_modes_read_effort(reading, effort);
    if (code != ERROR_NONE) {
        return code;
    }
    return openai_content_read(reading, effort, &kinds, &reading->params.responses.effort);
}

/* Without white space between tokens: events of a stream hold it in one line. */
static size_t compact(struct text json, char *bytes_out)
{
    size_t len = 0;
    bool in_string = false;
    for (size_t at = 0; at < json.len; at++) {
        const char byte = json.bytes[at];
        const bool is_escape = in_string && byte == '\\';
        if (!in_string && (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r')) {
            continue;
        }
        in_string = byte == '"' ? !in_string : in_string;
        bytes_out[len++] = byte;
        if (is_escape) {
            bytes_out[len++] = json.bytes[++at];
        }
    }
    return len;
}

/* Keeps the form of the answer as the reply repeats it. */
static enum error_code keep_form(struct openai_reading *reading, struct json_value form)
{
    const struct text source = json_reader_source(&reading->json, form);
    char *bytes = source.bytes == NULL ? NULL : arena_alloc(reading->arena, source.len);
    if (bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, form);
    }
    const size_t len = compact(source, bytes);
    if (len > LIMIT_REPEATED_BYTES) {
        return OPENAI_READING_REFUSE(reading, form, "%zu bytes, at most %d", len,
                                     LIMIT_REPEATED_BYTES);
    }
    reading->params.responses.form = (struct text){.bytes = bytes, .len = len};
    return ERROR_NONE;
}

enum error_code responses_input_read_format(struct openai_reading *reading, struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    const struct json_value format = json_reader_member(value, "format");
    if (code != ERROR_NONE || format.node == NULL) {
        return code;
    }
    code = openai_structured_read_form(reading, format, "text.format", OPENAI_FORM_FLAT);
    if (code != ERROR_NONE || reading->params.grammar.root == NULL) {
        return code;
    }
    return keep_form(reading, format);
}

/* ---- Metadata ---- */

static enum error_code check_pair(struct openai_reading *reading, struct json_value value,
                                  struct text *text_out)
{
    const enum error_code code =
        json_reader_string(&reading->json, value, text_out, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (utf8_count(json_reader_name(value)) > METADATA_NAME_MAX ||
        utf8_count(*text_out) > METADATA_VALUE_MAX) {
        return OPENAI_READING_REFUSE(reading, value, "names have at most %d characters, values %d",
                                     METADATA_NAME_MAX, METADATA_VALUE_MAX);
    }
    return ERROR_NONE;
}

/* Writes the object as the reply repeats it. */
static enum error_code write_metadata(struct openai_reading *reading, struct json_value object,
                                      struct json_writer *writer)
{
    json_object_begin(writer);
    for (struct json_value value = json_reader_first(object); value.node != NULL;
         value = json_reader_next(value)) {
        struct text text;
        const enum error_code code = check_pair(reading, value, &text);
        if (code != ERROR_NONE) {
            return code;
        }
        json_string(writer, json_reader_name(value));
        writer->needs_comma = false;
        json_raw(writer, TEXT(":"));
        writer->needs_comma = false;
        json_string(writer, text);
    }
    json_object_end(writer);
    return ERROR_NONE;
}

enum error_code responses_input_read_metadata(struct openai_reading *reading,
                                              struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (json_reader_count(value) > METADATA_MAX) {
        return OPENAI_READING_REFUSE(reading, value, "%u pairs, at most %d",
                                     (unsigned)json_reader_count(value), METADATA_MAX);
    }
    struct json_writer writer;
    json_writer_init(&writer, NULL, 0);
    code = write_metadata(reading, value, &writer);
    if (code != ERROR_NONE) {
        return code;
    }
    char *bytes = arena_alloc(reading->arena, writer.len);
    if (bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    json_writer_init(&writer, bytes, writer.len);
    code = write_metadata(reading, value, &writer);
    reading->params.responses.metadata = (struct text){.bytes = bytes, .len = writer.len};
    return code;
}
