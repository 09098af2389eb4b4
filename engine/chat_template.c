/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/chat_template.c - the prompt text of World and G1 models, byte for byte.
 *
 * These models were trained on turns "Role: text" joined by one blank line. A blank line inside a
 * user's text would look like the end of the turn, so cleaning takes it out. No token ids and no
 * JSON here. Thread: any. */
#include "engine/chat_template.h"

#include <string.h>

#include "base/arena.h"

static const struct text turn_end = {.bytes = "\n\n", .len = 2};
static const struct text tool_heading = {.bytes = "Function output:", .len = 16};
static const struct text tools_heading = {.bytes = "Tools:\n", .len = 7};

/* The turn that the model is to fill. The think tags of G1 models stay unfinished on purpose: the
 * model itself writes the ">". */
static struct text generation_prompt(enum chat_template chat_template, enum chat_calls calls)
{
    if (calls == CHAT_CALLS_REQUIRED) { /* Nothing is thought before the call. */
        return chat_template == CHAT_TEMPLATE_WORLD
                   ? TEXT("Assistant: " CHAT_CALL_FENCE)
                   : TEXT("Assistant: <think>\n</think>\n" CHAT_CALL_FENCE);
    }
    switch (chat_template) {
    case CHAT_TEMPLATE_WORLD:
        return TEXT("Assistant:");
    case CHAT_TEMPLATE_G1:
        return TEXT("Assistant: <think>\n</think");
    case CHAT_TEMPLATE_G1_THINK:
        return TEXT("Assistant: <think");
    case CHAT_TEMPLATE_NONE:
        break;
    }
    return (struct text){0};
}

static struct text effort_text(enum chat_effort effort)
{
    switch (effort) {
    case CHAT_EFFORT_LOW:
        return TEXT(" (think a bit)");
    case CHAT_EFFORT_MEDIUM:
        return TEXT(" (think)");
    case CHAT_EFFORT_HIGH:
        return TEXT(" (think a lot)");
    case CHAT_EFFORT_UNSAID:
        break;
    }
    return (struct text){0};
}

static struct text role_name(enum chat_role role)
{
    switch (role) {
    case CHAT_ROLE_SYSTEM:
        return TEXT("System:");
    case CHAT_ROLE_USER:
    case CHAT_ROLE_TOOL: /* A tool answers in a user's turn. */
        return TEXT("User:");
    case CHAT_ROLE_ASSISTANT:
        return TEXT("Assistant:");
    }
    return (struct text){0};
}

/* What a model that knows functions was trained to read behind their list. */
static struct text calls_text(enum chat_calls calls)
{
    switch (calls) {
    case CHAT_CALLS_OFFERED:
        return TEXT("Return a JSON function call when one is needed, else answer.");
    case CHAT_CALLS_REQUIRED:
        return TEXT("Return only a JSON function call.");
    case CHAT_CALLS_NONE:
        break;
    }
    return (struct text){0};
}

/* Room that was measured before: see bytes_max. */
struct prompt_writer {
    char *bytes;
    size_t len;
};

static void put(struct prompt_writer *writer, struct text text)
{
    if (text.len > 0) {
        memcpy(writer->bytes + writer->len, text.bytes, text.len);
        writer->len += text.len;
    }
}

/* Appends text with CRLF as LF and every run of line feeds as one. The text is trimmed already, and
 * so is what comes out: neither rule makes white space at an end. */
static void put_cleaned(struct prompt_writer *writer, struct text text)
{
    bool after_line_feed = false;
    for (size_t index = 0; index < text.len; index++) {
        const char byte = text.bytes[index];
        const bool starts_crlf =
            byte == '\r' && index + 1 < text.len && text.bytes[index + 1] == '\n';
        const bool repeats = byte == '\n' && after_line_feed;
        if (starts_crlf || repeats) {
            continue;
        }
        writer->bytes[writer->len++] = byte;
        after_line_feed = byte == '\n';
    }
}

/* "Role: text", or "Role:" where there is no text. */
static void put_turn(struct prompt_writer *writer, const struct chat_message *message)
{
    const struct text content = text_trim(message->content);
    put(writer, role_name(message->role));
    switch (message->role) {
    case CHAT_ROLE_ASSISTANT: /* As the model wrote it. */
        put(writer, content.len > 0 ? TEXT(" ") : TEXT(""));
        put(writer, content);
        return;
    case CHAT_ROLE_TOOL:
        put(writer, TEXT(" "));
        put(writer, tool_heading);
        put(writer, content.len > 0 ? TEXT("\n") : TEXT(""));
        put_cleaned(writer, content);
        return;
    case CHAT_ROLE_SYSTEM:
    case CHAT_ROLE_USER:
        put(writer, content.len > 0 ? TEXT(" ") : TEXT(""));
        put_cleaned(writer, content);
        return;
    }
}

/* The assistant's turn to be continued: white space at its end is part of what is continued. */
static void put_open_turn(struct prompt_writer *writer, struct text content)
{
    const struct text trimmed = text_trim(content);
    put(writer, role_name(CHAT_ROLE_ASSISTANT));
    if (trimmed.len > 0) {
        const size_t leading = (size_t)(trimmed.bytes - content.bytes);
        put(writer, TEXT(" "));
        put(writer, (struct text){.bytes = trimmed.bytes, .len = content.len - leading});
    }
}

/* The system's turn with the functions behind its text. JSON has no line feeds, so that cleaning
 * would find nothing in it. */
static void put_tools_turn(struct prompt_writer *writer, struct text content,
                           const struct chat_options *options)
{
    const struct text trimmed = text_trim(content);
    put(writer, role_name(CHAT_ROLE_SYSTEM));
    put(writer, TEXT(" "));
    put_cleaned(writer, trimmed);
    put(writer, trimmed.len > 0 ? TEXT("\n") : TEXT(""));
    put(writer, tools_heading);
    put(writer, options->tools);
    put(writer, TEXT("\n"));
    put(writer, calls_text(options->calls));
}

/* Cleaning only shortens; what is added to a message is bounded. */
static size_t bytes_max(const struct chat_message *messages, size_t message_count,
                        const struct chat_options *options)
{
    enum { ADDED_TO_A_TURN = 32, GENERATION_PROMPT = 64, EFFORT = 32, TOOLS = 128 };
    size_t bytes = GENERATION_PROMPT + EFFORT + TOOLS + options->tools.len;
    for (size_t index = 0; index < message_count; index++) {
        bytes += messages[index].content.len + ADDED_TO_A_TURN;
    }
    return bytes;
}

/* Index of the user's last message; message_count when there is none. */
static size_t last_user_message(const struct chat_message *messages, size_t message_count)
{
    for (size_t index = message_count; index > 0; index--) {
        if (messages[index - 1].role == CHAT_ROLE_USER) {
            return index - 1;
        }
    }
    return message_count;
}

/* All whole turns. The wish for effort belongs behind the user's last words, the functions into the
 * system's first turn. */
static void put_turns(struct prompt_writer *writer, const struct chat_message *messages,
                      size_t message_count, const struct chat_options *options,
                      enum chat_effort effort)
{
    const size_t last_user = last_user_message(messages, message_count);
    const bool has_system = message_count > 0 && messages[0].role == CHAT_ROLE_SYSTEM;
    const bool shows_tools = options->calls != CHAT_CALLS_NONE;
    if (shows_tools && !has_system) {
        put_tools_turn(writer, TEXT(""), options);
        put(writer, turn_end);
    }
    for (size_t index = 0; index < message_count; index++) {
        if (shows_tools && has_system && index == 0) {
            put_tools_turn(writer, messages[0].content, options);
        } else {
            put_turn(writer, &messages[index]);
        }
        put(writer, index == last_user ? effort_text(effort) : TEXT(""));
        put(writer, turn_end);
    }
}

enum error_code chat_template_render(enum chat_template chat_template,
                                     const struct chat_message *messages, size_t message_count,
                                     const struct chat_options *options, struct arena *arena,
                                     struct text *prompt_out, struct error *error)
{
    if (chat_template == CHAT_TEMPLATE_NONE) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "this model has no chat template");
    }
    if (message_count == 0) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "messages is empty");
    }
    const struct chat_message *last = &messages[message_count - 1];
    const bool continues = options->continue_final_message;
    if (continues && last->role != CHAT_ROLE_ASSISTANT) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "continue_final_message: the last message is not the assistant's");
    }
    const size_t bytes = bytes_max(messages, message_count, options);
    struct prompt_writer writer = {.bytes = arena_alloc(arena, bytes)};
    if (writer.bytes == NULL) {
        return error_set(error, ERROR_TOO_LARGE, "messages are too large");
    }
    const size_t whole_turns = continues ? message_count - 1 : message_count;
    const bool thinks =
        chat_template_thinks(chat_template) && options->calls != CHAT_CALLS_REQUIRED;
    put_turns(&writer, messages, whole_turns, options,
              thinks ? options->effort : CHAT_EFFORT_UNSAID);
    if (continues) {
        put_open_turn(&writer, last->content);
    } else if (!options->omit_generation_prompt) {
        put(&writer, generation_prompt(chat_template, options->calls));
    }
    *prompt_out = (struct text){.bytes = writer.bytes, .len = writer.len};
    return ERROR_NONE;
}

bool chat_template_thinks(enum chat_template chat_template)
{
    return chat_template == CHAT_TEMPLATE_G1_THINK;
}

uint32_t chat_template_stops(enum chat_template chat_template, const struct text **stops_out)
{
    /* On text, not on the token of the blank line: answers may have several paragraphs. */
    static const struct text stops[] = {{.bytes = "\n\nUser:", .len = 7}};
    *stops_out = stops;
    return chat_template == CHAT_TEMPLATE_NONE ? 0 : (uint32_t)(sizeof(stops) / sizeof(stops[0]));
}

bool chat_template_from_name(struct text name, enum chat_template *template_out)
{
    static const struct {
        struct text name;
        enum chat_template chat_template;
    } known[] = {
        {{.bytes = "none", .len = 4}, CHAT_TEMPLATE_NONE},
        {{.bytes = "world", .len = 5}, CHAT_TEMPLATE_WORLD},
        {{.bytes = "g1", .len = 2}, CHAT_TEMPLATE_G1},
        {{.bytes = "g1-think", .len = 8}, CHAT_TEMPLATE_G1_THINK},
    };
    for (size_t index = 0; index < sizeof(known) / sizeof(known[0]); index++) {
        if (text_equals(name, known[index].name)) {
            *template_out = known[index].chat_template;
            return true;
        }
    }
    return false;
}
