/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_history.c - calls of functions in the messages of a request, and their results.
 *
 * Thread: any. */
#include "server/tool_history.h"

#include "base/json_writer.h"
#include "base/limits.h"
#include "engine/chat_template.h"
#include "server/json_copy.h"
#include "server/openai_content.h"
#include "server/openai_reading.h"

/* Notes the id. False: the arena is full. */
static bool keep_id(struct openai_reading *reading, struct text id)
{
    struct tool_history *history = &reading->history;
    if (history->ids == NULL) {
        history->ids = arena_alloc(reading->arena, LIMIT_CALLS * sizeof(*history->ids));
    }
    if (history->ids == NULL) {
        return false;
    }
    const struct text copy = arena_copy(reading->arena, id);
    history->ids[history->id_count++] = copy;
    return copy.bytes != NULL;
}

/* Makes `turn` the content of the message, without white space at its ends. */
static bool open_turn(struct openai_reading *reading, const struct chat_message *message)
{
    struct reply_buffer *turn = &reading->history.turn;
    if (turn->len > 0 && message->content.bytes == turn->bytes &&
        message->content.len == turn->len) {
        return true;
    }
    *turn = (struct reply_buffer){0};
    return reply_buffer_append(turn, text_trim(message->content), reading->arena);
}

static bool append_name(struct reply_buffer *turn, struct text name, struct arena *arena)
{
    if (!reply_buffer_reserve(turn, 6 * name.len + 6, arena)) {
        return false;
    }
    turn->len += json_escape(name, turn->bytes + turn->len, 6 * name.len + 6);
    return true;
}

static bool append_call(struct openai_reading *reading, const struct tool_history_call *call)
{
    struct reply_buffer *turn = &reading->history.turn;
    struct arena *arena = reading->arena;
    return (turn->len == 0 || reply_buffer_append(turn, TEXT("\n"), arena)) &&
           reply_buffer_append(turn, TEXT(CHAT_CALL_FENCE CHAT_CALL_OPEN), arena) &&
           append_name(turn, call->name, arena) &&
           reply_buffer_append(turn, TEXT(CHAT_CALL_MIDDLE), arena) &&
           reply_buffer_append(turn, call->arguments, arena) &&
           reply_buffer_append(turn, TEXT(CHAT_CALL_CLOSE), arena);
}

enum error_code tool_history_add(struct openai_reading *reading, struct json_value value,
                                 const struct tool_history_call *call, struct chat_message *message)
{
    if (reading->history.id_count == LIMIT_CALLS) {
        return OPENAI_READING_REFUSE(reading, value, "more than %d calls", LIMIT_CALLS);
    }
    if (!keep_id(reading, call->id) || !open_turn(reading, message) ||
        !append_call(reading, call)) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    message->content = reply_buffer_text(&reading->history.turn);
    return ERROR_NONE;
}

enum error_code tool_history_read_arguments(struct openai_reading *reading,
                                            struct json_value object, struct text *arguments_out)
{
    const struct json_value value = json_reader_member(object, "arguments");
    struct text text;
    struct json_reader json;
    struct error error = {0};
    enum error_code code = openai_content_read_string(reading, object, "arguments", &text);
    if (code != ERROR_NONE) {
        return code;
    }
    if (text_trim(text).len == 0) { /* Some clients say so that there are none. */
        *arguments_out = TEXT("{}");
        return ERROR_NONE;
    }
    code = json_reader_open(&json, text, reading->arena, &error); /* A NUL follows the string. */
    if (code != ERROR_NONE) {
        return OPENAI_READING_REFUSE(reading, value, "must be a JSON object in a string: %s",
                                     error.message);
    }
    *arguments_out = json_copy(&json, json_reader_root(&json), reading->arena);
    json_reader_close(&json);
    return arguments_out->bytes == NULL ? OPENAI_READING_NO_MEMORY(reading, value) : ERROR_NONE;
}

enum error_code tool_history_check_answer(struct openai_reading *reading, struct json_value message,
                                          const char *member)
{
    const struct tool_history *history = &reading->history;
    struct text id;
    const enum error_code code = openai_content_read_string(reading, message, member, &id);
    if (code != ERROR_NONE) {
        return code;
    }
    for (uint32_t index = history->id_count; index > 0; index--) {
        if (text_equals(history->ids[index - 1], id)) {
            return ERROR_NONE;
        }
    }
    return OPENAI_READING_REFUSE_MEMBER(reading, message, member,
                                        "'%.64s' is the id of no call before", id.bytes);
}
