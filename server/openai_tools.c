/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_tools.c - the fields about functions that the model may call, of all three APIs.
 *
 * What is checked here is their shape; schemas are looked at when the grammar is compiled.
 * Thread: any. */
#include "server/openai_tools.h"

#include <stdio.h>

#include "base/json_writer.h"
#include "base/limits.h"
#include "server/json_copy.h"
#include "server/openai_reading.h"
#include "server/tool_grammar.h"

/* Where an API has what. */
struct tool_form {
    const char *inner;  /* The member that holds name, description and schema; NULL: the tool. */
    const char *schema; /* Name of the schema's member. */
    const char *path;   /* Where in the tool that is. */
    const char *type;   /* The only one supported. */
    bool needs_type;
    bool needs_schema;
};

static const struct tool_form *form_of(enum openai_endpoint endpoint)
{
    static const struct tool_form chat = {"function", "parameters", "function.parameters",
                                          "function", true,         false};
    static const struct tool_form responses = {NULL,       "parameters", "parameters",
                                               "function", true,         false};
    static const struct tool_form messages = {NULL,     "input_schema", "input_schema",
                                              "custom", false,          true};
    if ((endpoint & (OPENAI_RESPONSES | OPENAI_RESPONSES_COUNT)) != 0) {
        return &responses;
    }
    return (endpoint & (OPENAI_MESSAGES | OPENAI_MESSAGES_COUNT)) != 0 ? &messages : &chat;
}

/* ---- tools ---- */

static enum error_code check_type(struct openai_reading *reading, struct json_value tool,
                                  const struct tool_form *form)
{
    const struct json_value type = json_reader_member(tool, "type");
    struct text name;
    enum error_code code =
        json_reader_expect(&reading->json, tool, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE && type.node == NULL && form->needs_type) {
        return OPENAI_READING_REFUSE_MEMBER(reading, tool, "type", "is required");
    }
    if (code != ERROR_NONE || type.node == NULL) {
        return code;
    }
    code = json_reader_string(&reading->json, type, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, text_from(form->type))) {
        return code;
    }
    return OPENAI_READING_REFUSE(reading, type,
                                 "'%.32s' is not supported by this version, only '%s' is",
                                 name.bytes, form->type);
}

static bool is_name(struct text name)
{
    for (size_t index = 0; index < name.len; index++) {
        const char byte = name.bytes[index];
        const char letter = (char)(byte | 0x20);
        if ((letter < 'a' || letter > 'z') && (byte < '0' || byte > '9') && byte != '_' &&
            byte != '-') {
            return false;
        }
    }
    return name.len > 0 && name.len <= TOOL_CALL_NAME_MAX;
}

/* Reads a member that is a string into the arena; *text_out stays when it is absent. */
static enum error_code read_string(struct openai_reading *reading, struct json_value object,
                                   const char *name, struct text *text_out)
{
    const struct json_value member = json_reader_member(object, name);
    struct text borrowed;
    if (member.node == NULL) {
        return ERROR_NONE;
    }
    const enum error_code code =
        json_reader_string(&reading->json, member, &borrowed, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    *text_out = arena_copy(reading->arena, borrowed);
    return text_out->bytes == NULL ? OPENAI_READING_NO_MEMORY(reading, member) : ERROR_NONE;
}

static enum error_code read_name(struct openai_reading *reading, struct json_value object,
                                 struct openai_tool *tool)
{
    const enum error_code code = read_string(reading, object, "name", &tool->name);
    if (code != ERROR_NONE) {
        return code;
    }
    if (tool->name.bytes == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, object, "name", "is required");
    }
    if (!is_name(tool->name)) {
        return OPENAI_READING_REFUSE_MEMBER(reading, object, "name",
                                            "must be 1 to %d letters, digits, '_' and '-'",
                                            TOOL_CALL_NAME_MAX);
    }
    const struct openai_tools *tools = &reading->params.tools;
    for (const struct openai_tool *before = tools->items; before < tool; before++) {
        if (text_equals(before->name, tool->name)) {
            return OPENAI_READING_REFUSE_MEMBER(reading, object, "name", "'%s' is there twice",
                                                tool->name.bytes);
        }
    }
    return ERROR_NONE;
}

/* Arguments are an object, so that every schema says so; {} says nothing. */
static enum error_code check_schema(struct openai_reading *reading, struct json_value schema)
{
    const struct json_value type = json_reader_member(schema, "type");
    struct text name = {0};
    enum error_code code =
        json_reader_expect(&reading->json, schema, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE || json_reader_count(schema) == 0) {
        return code;
    }
    if (type.node != NULL) {
        code = json_reader_string(&reading->json, type, &name, &reading->error);
    }
    if (code != ERROR_NONE || text_equals(name, TEXT("object"))) {
        return code;
    }
    return OPENAI_READING_REFUSE_MEMBER(reading, schema, "type", "must be 'object'");
}

static enum error_code read_schema(struct openai_reading *reading, struct json_value object,
                                   const struct tool_form *form, struct openai_tool *tool)
{
    const struct json_value schema = json_reader_member(object, form->schema);
    if (schema.node == NULL) {
        return form->needs_schema
                   ? OPENAI_READING_REFUSE_MEMBER(reading, object, form->schema, "is required")
                   : ERROR_NONE;
    }
    const enum error_code code = check_schema(reading, schema);
    if (code != ERROR_NONE) {
        return code;
    }
    char path[64];
    const uint32_t index = (uint32_t)(tool - reading->params.tools.items);
    snprintf(path, sizeof(path), "tools[%u].%s", (unsigned)index, form->path);
    tool->path = arena_copy(reading->arena, text_from(path));
    tool->schema = json_copy(&reading->json, schema, reading->arena);
    return tool->path.bytes == NULL || tool->schema.bytes == NULL
               ? OPENAI_READING_NO_MEMORY(reading, schema)
               : ERROR_NONE;
}

static enum error_code read_tool(struct openai_reading *reading, struct json_value value,
                                 struct openai_tool *tool)
{
    const struct tool_form *form = form_of(reading->params.endpoint);
    struct json_value object = value;
    enum error_code code = check_type(reading, value, form);
    if (code == ERROR_NONE && form->inner != NULL) {
        object = json_reader_member(value, form->inner);
        if (object.node == NULL) {
            return OPENAI_READING_REFUSE_MEMBER(reading, value, form->inner, "is required");
        }
        code = json_reader_expect(&reading->json, object, JSON_TYPE_OBJECT, &reading->error);
    }
    if (code == ERROR_NONE) {
        code = read_name(reading, object, tool);
    }
    if (code == ERROR_NONE) {
        code = read_string(reading, object, "description", &tool->description);
    }
    if (code == ERROR_NONE) {
        code = read_schema(reading, object, form, tool);
    }
    const struct json_value strict = json_reader_member(object, "strict");
    if (code == ERROR_NONE && strict.node != NULL) {
        code = json_reader_bool(&reading->json, strict, &tool->is_strict, &reading->error);
    }
    return code;
}

static void write_or_null(struct json_writer *writer, struct text json)
{
    if (json.len > 0) {
        json_raw(writer, json);
    } else {
        json_null(writer);
    }
}

/* All members, as OpenAI's types want them. */
static void write_repeated(const struct openai_tools *tools, struct json_writer *writer)
{
    json_array_begin(writer);
    for (uint32_t index = 0; index < tools->count; index++) {
        const struct openai_tool *tool = &tools->items[index];
        json_object_begin(writer);
        json_key_string(writer, "type", TEXT("function"));
        json_key_string(writer, "name", tool->name);
        json_key(writer, "description");
        if (tool->description.bytes == NULL) {
            json_null(writer);
        } else {
            json_string(writer, tool->description);
        }
        json_key(writer, "parameters");
        write_or_null(writer, tool->schema);
        json_key_bool(writer, "strict", tool->is_strict);
        json_object_end(writer);
    }
    json_array_end(writer);
}

typedef void write_tools(const struct openai_tools *tools, struct json_writer *writer);

/* What the function writes, as a text in the arena; .bytes is NULL when that is full. */
static struct text write_text(const struct openai_tools *tools, write_tools *write,
                              struct arena *arena)
{
    struct json_writer writer;
    json_writer_init(&writer, NULL, 0);
    write(tools, &writer);
    char *bytes = arena_alloc(arena, writer.len);
    if (bytes == NULL) {
        return (struct text){0};
    }
    json_writer_init(&writer, bytes, writer.len);
    write(tools, &writer);
    return (struct text){.bytes = bytes, .len = writer.len};
}

/* Keeps a field for the reply of /v1/responses, unless it is too long to be repeated. */
static enum error_code keep_repeated(struct openai_reading *reading, struct json_value value,
                                     struct text json, struct text *text_out)
{
    if (json.bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    if (json.len <= LIMIT_REPEATED_BYTES) {
        *text_out = json;
    }
    return ERROR_NONE;
}

enum error_code openai_tools_read(struct openai_reading *reading, struct json_value value)
{
    struct openai_tools *tools = &reading->params.tools;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    if (count > LIMIT_TOOLS) {
        return OPENAI_READING_REFUSE(reading, value, "%u tools, at most %d", (unsigned)count,
                                     LIMIT_TOOLS);
    }
    tools->items = arena_alloc(reading->arena, count * sizeof(*tools->items));
    if (tools->items == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    for (struct json_value tool = json_reader_first(value); tool.node != NULL;
         tool = json_reader_next(tool)) {
        code = read_tool(reading, tool, &tools->items[tools->count]);
        if (code != ERROR_NONE) {
            return code;
        }
        tools->count++;
    }
    if (reading->params.endpoint != OPENAI_RESPONSES) {
        return ERROR_NONE;
    }
    return keep_repeated(reading, value, write_text(tools, write_repeated, reading->arena),
                         &tools->repeated);
}

enum error_code openai_tools_read_parallel(struct openai_reading *reading, struct json_value value)
{
    bool parallel;
    const enum error_code code =
        json_reader_bool(&reading->json, value, &parallel, &reading->error);
    reading->params.tools.is_single = !parallel;
    return code;
}

enum error_code openai_tools_refuse_functions(struct openai_reading *reading,
                                              struct json_value value)
{
    if (openai_modes_refuse(reading, value) == ERROR_NONE) {
        return ERROR_NONE;
    }
    return OPENAI_READING_REFUSE(reading, value, "not supported: use tools and tool_choice");
}

/* ---- tool_choice ---- */

/* A word that stands for a choice. */
struct choice_word {
    const char *word;
    enum openai_tool_choice_word meaning;
};

static bool find_word(const struct choice_word *words, size_t count, struct text word,
                      enum openai_tool_choice_word *meaning_out)
{
    for (size_t index = 0; index < count; index++) {
        if (text_equals(word, text_from(words[index].word))) {
            *meaning_out = words[index].meaning;
            return true;
        }
    }
    return false;
}

static enum error_code read_chosen_name(struct openai_reading *reading, struct json_value object)
{
    const struct json_value name = json_reader_member(object, "name");
    if (name.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, object, "name", "is required");
    }
    reading->tool_choice.word = OPENAI_TOOL_CHOICE_NAMED;
    return json_reader_string(&reading->json, name, &reading->tool_choice.name, &reading->error);
}

/* OpenAI's: a word, or {"type": "function", ..} with the name where tools have it. */
static enum error_code read_openai_choice(struct openai_reading *reading, struct json_value value)
{
    static const struct choice_word words[] = {{"none", OPENAI_TOOL_CHOICE_NONE},
                                               {"auto", OPENAI_TOOL_CHOICE_AUTO},
                                               {"required", OPENAI_TOOL_CHOICE_REQUIRED}};
    const struct tool_form *form = form_of(reading->params.endpoint);
    struct text word;
    if (json_reader_type(value) == JSON_TYPE_STRING) {
        const enum error_code code =
            json_reader_string(&reading->json, value, &word, &reading->error);
        if (code != ERROR_NONE ||
            find_word(words, sizeof(words) / sizeof(words[0]), word, &reading->tool_choice.word)) {
            return code;
        }
        return OPENAI_READING_REFUSE(
            reading, value, "'%.32s', must be none, auto, required or a function", word.bytes);
    }
    const enum error_code code = check_type(reading, value, form);
    if (code != ERROR_NONE || form->inner == NULL) {
        return code != ERROR_NONE ? code : read_chosen_name(reading, value);
    }
    const struct json_value inner = json_reader_member(value, form->inner);
    if (inner.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, form->inner, "is required");
    }
    return read_chosen_name(reading, inner);
}

/* Anthropic's: {"type": a word, "name": .., "disable_parallel_tool_use": ..}. */
static enum error_code read_claude_choice(struct openai_reading *reading, struct json_value value)
{
    static const struct choice_word words[] = {{"none", OPENAI_TOOL_CHOICE_NONE},
                                               {"auto", OPENAI_TOOL_CHOICE_AUTO},
                                               {"any", OPENAI_TOOL_CHOICE_REQUIRED},
                                               {"tool", OPENAI_TOOL_CHOICE_NAMED}};
    const struct json_value type = json_reader_member(value, "type");
    const struct json_value single = json_reader_member(value, "disable_parallel_tool_use");
    struct text word;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code == ERROR_NONE && type.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "type", "is required");
    }
    if (code == ERROR_NONE) {
        code = json_reader_string(&reading->json, type, &word, &reading->error);
    }
    if (code == ERROR_NONE &&
        !find_word(words, sizeof(words) / sizeof(words[0]), word, &reading->tool_choice.word)) {
        return OPENAI_READING_REFUSE(reading, type, "'%.32s', must be auto, any, tool or none",
                                     word.bytes);
    }
    if (code == ERROR_NONE && reading->tool_choice.word == OPENAI_TOOL_CHOICE_NAMED) {
        code = read_chosen_name(reading, value);
    }
    if (code == ERROR_NONE && single.node != NULL) {
        code = json_reader_bool(&reading->json, single, &reading->params.tools.is_single,
                                &reading->error);
    }
    return code;
}

enum error_code openai_tools_read_choice(struct openai_reading *reading, struct json_value value)
{
    const bool is_claude =
        (reading->params.endpoint & (OPENAI_MESSAGES | OPENAI_MESSAGES_COUNT)) != 0;
    const enum error_code code =
        is_claude ? read_claude_choice(reading, value) : read_openai_choice(reading, value);
    if (code != ERROR_NONE || reading->params.endpoint != OPENAI_RESPONSES) {
        return code;
    }
    return keep_repeated(reading, value, json_copy(&reading->json, value, reading->arena),
                         &reading->params.tools.choice_repeated);
}

/* ---- Together ---- */

static void write_shown(const struct openai_tools *tools, struct json_writer *writer)
{
    json_array_begin(writer);
    for (uint32_t index = 0; index < tools->count; index++) {
        const struct openai_tool *tool = &tools->items[index];
        json_object_begin(writer);
        json_key_string(writer, "name", tool->name);
        if (tool->description.len > 0) {
            json_key_string(writer, "description", tool->description);
        }
        json_key(writer, "arguments");
        json_raw(writer, tool->schema.len > 0 ? tool->schema : TEXT("{}"));
        json_object_end(writer);
    }
    json_array_end(writer);
}

/* Leaves only the function that was named. */
static enum error_code keep_named(struct openai_reading *reading)
{
    struct openai_tools *tools = &reading->params.tools;
    for (uint32_t index = 0; index < tools->count; index++) {
        if (text_equals(tools->items[index].name, reading->tool_choice.name)) {
            tools->items = &tools->items[index];
            tools->count = 1;
            tools->is_named = true;
            return ERROR_NONE;
        }
    }
    return OPENAI_READING_REFUSE_MEMBER(reading, json_reader_root(&reading->json), "tool_choice",
                                        "'%.64s' is the name of no tool",
                                        reading->tool_choice.name.bytes);
}

static bool are_strict(const struct openai_tools *tools)
{
    for (uint32_t index = 0; index < tools->count; index++) {
        if (!tools->items[index].is_strict) {
            return false;
        }
    }
    return true;
}

/* An answer without a call is what the request wants of answers besides. */
static enum error_code set_grammar(struct openai_reading *reading)
{
    struct openai_params *params = &reading->params;
    const struct grammar_part *text = params->grammar.root;
    const bool is_strict = are_strict(&params->tools);
    const bool is_text_strict = text == NULL || params->grammar.objects == GRAMMAR_OBJECTS_EXPLICIT;
    params->grammar = (struct openai_grammar){
        .root = tool_grammar_make(&params->tools, text, reading->arena),
        .objects = is_strict && is_text_strict ? GRAMMAR_OBJECTS_EXPLICIT : GRAMMAR_OBJECTS_CLOSED,
        .order = is_strict || text != NULL ? GRAMMAR_ORDER_SCHEMA : GRAMMAR_ORDER_ANY,
        .param = "tools",
    };
    return params->grammar.root == NULL
               ? OPENAI_READING_NO_MEMORY(reading, json_reader_root(&reading->json))
               : ERROR_NONE;
}

enum error_code openai_tools_settle(struct openai_reading *reading)
{
    const struct json_value root = json_reader_root(&reading->json);
    const enum openai_tool_choice_word word = reading->tool_choice.word;
    struct openai_params *params = &reading->params;
    struct openai_tools *tools = &params->tools;
    const bool is_required =
        word == OPENAI_TOOL_CHOICE_REQUIRED || word == OPENAI_TOOL_CHOICE_NAMED;
    const bool generates = (params->endpoint & OPENAI_GENERATIONS) != 0;
    if (tools->count == 0) {
        return is_required
                   ? OPENAI_READING_REFUSE_MEMBER(reading, root, "tool_choice", "needs tools")
                   : ERROR_NONE;
    }
    if (word == OPENAI_TOOL_CHOICE_NONE) {
        return ERROR_NONE;
    }
    tools->calls = is_required ? CHAT_CALLS_REQUIRED : CHAT_CALLS_OFFERED;
    enum error_code code = word == OPENAI_TOOL_CHOICE_NAMED ? keep_named(reading) : ERROR_NONE;
    if (code == ERROR_NONE) {
        tools->shown = write_text(tools, write_shown, reading->arena);
    }
    if (code == ERROR_NONE && tools->shown.bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, root);
    }
    const bool can_call = openai_params_call_start(params) != TOOL_CALL_START_NONE;
    if (code == ERROR_NONE && generates && is_required && !can_call) {
        return OPENAI_READING_REFUSE_MEMBER(
            reading, root, "tool_choice",
            "a call begins the assistant's turn: it cannot continue one, nor do without one");
    }
    if (code == ERROR_NONE && generates && can_call) {
        code = set_grammar(reading);
    }
    return code;
}
