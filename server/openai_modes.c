/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_modes.c - the fields that say how to answer: model, stream, thinking, form.
 *
 * What is not supported is refused here, each with a reason. Thread: any. */
#include "server/openai_reading.h"

enum error_code openai_modes_read_model(struct openai_reading *reading, struct json_value value)
{
    const char *served = reading->options->model->id;
    struct text name;
    const enum error_code code = json_reader_string(&reading->json, value, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, text_from(served))) {
        return code;
    }
    return json_reader_fail(&reading->json, value, NULL, ERROR_NOT_FOUND, &reading->error,
                            "'%.128s' does not exist, this server has '%s'", name.bytes, served);
}

/* Reads a member that is true, false or absent; *truth_out stays when it is absent. */
static enum error_code read_bool_member(struct openai_reading *reading, struct json_value object,
                                        const char *name, bool *truth_out)
{
    const struct json_value member = json_reader_member(object, name);
    if (member.node == NULL) {
        return ERROR_NONE;
    }
    return json_reader_bool(&reading->json, member, truth_out, &reading->error);
}

enum error_code openai_modes_read_stream_options(struct openai_reading *reading,
                                                 struct json_value value)
{
    bool obfuscation = false; /* Against eavesdroppers without TLS; accepted, and not done. */
    bool continuous = false;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE) {
        code = read_bool_member(reading, value, "include_usage", &reading->params.usage_in_stream);
    }
    if (code == ERROR_NONE) {
        code = read_bool_member(reading, value, "include_obfuscation", &obfuscation);
    }
    if (code == ERROR_NONE) {
        code = read_bool_member(reading, value, "continuous_usage_stats", &continuous);
    }
    if (code == ERROR_NONE && continuous) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "continuous_usage_stats",
                                            "not supported by this version");
    }
    return code;
}

/* ---- Chats ---- */

enum error_code openai_modes_read_generation_prompt(struct openai_reading *reading,
                                                    struct json_value value)
{
    bool wanted;
    const enum error_code code = json_reader_bool(&reading->json, value, &wanted, &reading->error);
    reading->generation_prompt_wanted = wanted;
    reading->params.prompt.omit_generation_prompt = !wanted;
    return code;
}

enum error_code openai_modes_read_effort(struct openai_reading *reading, struct json_value value)
{
    static const struct {
        const char *name;
        enum openai_thinking thinking;
        enum chat_effort effort;
    } efforts[] = {
        {"none", OPENAI_THINKING_OFF, CHAT_EFFORT_UNSAID},
        {"minimal", OPENAI_THINKING_ON, CHAT_EFFORT_LOW},
        {"low", OPENAI_THINKING_ON, CHAT_EFFORT_LOW},
        {"medium", OPENAI_THINKING_ON, CHAT_EFFORT_MEDIUM},
        {"high", OPENAI_THINKING_ON, CHAT_EFFORT_HIGH},
        {"xhigh", OPENAI_THINKING_ON, CHAT_EFFORT_HIGH},
    };
    struct text name;
    const enum error_code code = json_reader_string(&reading->json, value, &name, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    for (size_t index = 0; index < sizeof(efforts) / sizeof(efforts[0]); index++) {
        if (text_equals(name, text_from(efforts[index].name))) {
            reading->params.prompt.thinking = efforts[index].thinking;
            reading->params.prompt.effort = efforts[index].effort;
            return ERROR_NONE;
        }
    }
    return OPENAI_READING_REFUSE(reading, value,
                                 "'%.32s', must be none, minimal, low, medium, high or xhigh",
                                 name.bytes);
}

/* enable_thinking is the plainer word: it wins over reasoning_effort. */
enum error_code openai_modes_read_template_options(struct openai_reading *reading,
                                                   struct json_value value)
{
    const struct json_value thinking = json_reader_member(value, "enable_thinking");
    bool enabled = false;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE) {
        code = read_bool_member(reading, value, "enable_thinking", &enabled);
    }
    if (code == ERROR_NONE && thinking.node != NULL) {
        reading->params.prompt.thinking = enabled ? OPENAI_THINKING_ON : OPENAI_THINKING_OFF;
    }
    return code;
}

/* ---- Forms of an answer ---- */

enum error_code openai_modes_refuse(struct openai_reading *reading, struct json_value value)
{
    enum error_code code = ERROR_NONE;
    bool is_empty = false;
    const enum json_type type = json_reader_type(value);
    if (type == JSON_TYPE_BOOL) {
        bool truth;
        code = json_reader_bool(&reading->json, value, &truth, &reading->error);
        is_empty = !truth;
    } else if (type == JSON_TYPE_STRING) {
        struct text text;
        code = json_reader_string(&reading->json, value, &text, &reading->error);
        is_empty = text.len == 0;
    } else if (type == JSON_TYPE_ARRAY) {
        is_empty = json_reader_count(value) == 0;
    }
    if (code != ERROR_NONE || is_empty) {
        return code;
    }
    return OPENAI_READING_REFUSE(reading, value, "not supported by this version");
}
