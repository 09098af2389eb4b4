/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_content.c - content as text or as typed parts, and the chat that is made of it.
 *
 * Thread: any. */
#include "server/openai_content.h"

#include <string.h>

#include "base/limits.h"
#include "server/reply_buffer.h"

enum error_code openai_content_read_role(struct openai_reading *reading,
                                         struct json_value message,
                                         const struct openai_content_roles *roles,
                                         enum chat_role *role_out)
{
    const struct json_value value = json_reader_member(message, "role");
    if (value.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, message, "role", "is required");
    }
    struct text name;
    const enum error_code code = json_reader_string(&reading->json, value, &name, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    for (size_t index = 0; index < roles->count; index++) {
        if (text_equals(name, text_from(roles->rows[index].name))) {
            *role_out = roles->rows[index].role;
            return ERROR_NONE;
        }
    }
    return OPENAI_READING_REFUSE(reading, value, "'%.32s', must be %s", name.bytes, roles->names);
}

enum error_code openai_content_read_type(struct openai_reading *reading, struct json_value value,
                                         struct text *type_out)
{
    const enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct json_value type = json_reader_member(value, "type");
    if (type.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "type", "is required");
    }
    return json_reader_string(&reading->json, type, type_out, &reading->error);
}

enum error_code openai_content_read_string(struct openai_reading *reading,
                                           struct json_value object, const char *name,
                                           struct text *text_out)
{
    const struct json_value member = json_reader_member(object, name);
    if (member.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, object, name, "is required");
    }
    return json_reader_string(&reading->json, member, text_out, &reading->error);
}

static const struct openai_content_kind *find_kind(const struct openai_content_kinds *kinds,
                                                   struct text type)
{
    for (size_t index = 0; index < kinds->count; index++) {
        if (text_equals(type, text_from(kinds->rows[index].type))) {
            return &kinds->rows[index];
        }
    }
    return NULL;
}

/* *text_out stays empty for a part that is skipped. */
static enum error_code read_part(struct openai_reading *reading, struct json_value part,
                                 const struct openai_content_kinds *kinds, struct text *text_out)
{
    struct text type;
    const enum error_code code = openai_content_read_type(reading, part, &type);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct openai_content_kind *kind = find_kind(kinds, type);
    if (kind == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, part, "type",
                                            "'%.32s' is not supported by this version, only %s",
                                            type.bytes, kinds->names);
    }
    if (kind->member == NULL) {
        return ERROR_NONE;
    }
    const struct json_value text = json_reader_member(part, kind->member);
    if (text.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, part, kind->member, "is required");
    }
    return json_reader_string(&reading->json, text, text_out, &reading->error);
}

enum error_code openai_content_read(struct openai_reading *reading, struct json_value value,
                                    const struct openai_content_kinds *kinds, struct text *text_out)
{
    struct reply_buffer joined = {0};
    struct text text = {0};
    if (json_reader_type(value) == JSON_TYPE_STRING) {
        const enum error_code code =
            json_reader_string(&reading->json, value, &text, &reading->error);
        if (code != ERROR_NONE) {
            return code;
        }
        *text_out = arena_copy(reading->arena, text);
        return text_out->bytes == NULL ? OPENAI_READING_NO_MEMORY(reading, value) : ERROR_NONE;
    }
    if (json_reader_type(value) != JSON_TYPE_ARRAY) {
        return OPENAI_READING_REFUSE(reading, value, "must be a string or an array of parts");
    }
    for (struct json_value part = json_reader_first(value); part.node != NULL;
         part = json_reader_next(part)) {
        text = (struct text){0};
        const enum error_code code = read_part(reading, part, kinds, &text);
        if (code != ERROR_NONE) {
            return code;
        }
        const bool is_joined = joined.len > 0 && text.len > 0;
        if ((is_joined && !reply_buffer_append(&joined, TEXT("\n"), reading->arena)) ||
            !reply_buffer_append(&joined, text, reading->arena)) {
            return OPENAI_READING_NO_MEMORY(reading, value);
        }
    }
    *text_out = reply_buffer_text(&joined);
    return ERROR_NONE;
}

/* Room for one more message: twice as much as before when there is none. */
static bool make_room(struct openai_reading *reading)
{
    struct openai_prompt *prompt = &reading->params.prompt;
    if (prompt->message_count < reading->message_capacity) {
        return true;
    }
    const uint32_t capacity = reading->message_capacity == 0 ? 16 : 2 * reading->message_capacity;
    struct chat_message *messages = arena_alloc(reading->arena, capacity * sizeof(*messages));
    if (messages == NULL) {
        return false;
    }
    if (prompt->message_count > 0) {
        memcpy(messages, prompt->messages, prompt->message_count * sizeof(*messages));
    }
    prompt->messages = messages;
    reading->message_capacity = capacity;
    return true;
}

enum error_code openai_content_add(struct openai_reading *reading, struct json_value value,
                                   enum chat_role role, struct text content)
{
    struct openai_prompt *prompt = &reading->params.prompt;
    if (prompt->message_count == LIMIT_MESSAGES) {
        return OPENAI_READING_REFUSE(reading, value, "more than %d messages", LIMIT_MESSAGES);
    }
    if (!make_room(reading)) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    prompt->kind = OPENAI_PROMPT_MESSAGES;
    prompt->messages[prompt->message_count++] =
        (struct chat_message){.role = role, .content = content};
    return ERROR_NONE;
}
