/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_structured.c - the fields that say what an answer must be: response_format and
 * structured_outputs.
 *
 * They only become parts of a grammar here; openai_grammar.c compiles them. Thread: any. */
#include "server/openai_structured.h"

#include <string.h>

/* Makes the part the whole grammar of the request. */
static enum error_code set_root(struct openai_reading *reading, struct json_value value,
                                struct grammar_part part, const char *param,
                                enum grammar_objects objects)
{
    if (reading->params.grammar.root != NULL) {
        return OPENAI_READING_REFUSE(reading, value, "excludes %s",
                                     reading->params.grammar.param);
    }
    struct grammar_part *root = arena_alloc(reading->arena, sizeof(*root));
    if (root == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    *root = part;
    root->name = text_from(param);
    reading->params.grammar = (struct openai_grammar){
        .root = root, .objects = objects, .order = GRAMMAR_ORDER_SCHEMA, .param = param};
    return ERROR_NONE;
}

/* The path of a value as errors name it, in the arena; NULL: it is full. */
static const char *path_of(struct openai_reading *reading, const char *object, const char *member)
{
    char path[JSON_PATH_BYTES];
    const size_t len = strlen(object);
    text_copy_to(text_from(object), path, sizeof(path));
    text_copy_to(text_from(member), path + len, sizeof(path) - len);
    return arena_copy(reading->arena, text_from(path)).bytes;
}

enum error_code openai_structured_read_schema(struct openai_reading *reading,
                                              struct json_value value, struct text *schema_out)
{
    const enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct text source = json_reader_source(&reading->json, value);
    *schema_out = source.bytes == NULL ? source : arena_copy(reading->arena, source);
    return schema_out->bytes == NULL ? OPENAI_READING_NO_MEMORY(reading, value) : ERROR_NONE;
}

/* ---- response_format ---- */

/* Checks a member that says nothing to us, but has a type. */
static enum error_code check_string(struct openai_reading *reading, struct json_value object,
                                    const char *name)
{
    const struct json_value member = json_reader_member(object, name);
    struct text ignored;
    return member.node == NULL
               ? ERROR_NONE
               : json_reader_string(&reading->json, member, &ignored, &reading->error);
}

/* Reads name, description, schema and strict of an object that errors call `path`. */
static enum error_code read_json_schema(struct openai_reading *reading, struct json_value object,
                                        const char *path)
{
    const struct json_value schema = json_reader_member(object, "schema");
    const struct json_value strict = json_reader_member(object, "strict");
    struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA};
    bool is_strict = false;
    enum error_code code = check_string(reading, object, "name");
    if (code == ERROR_NONE) {
        code = check_string(reading, object, "description");
    }
    if (code == ERROR_NONE && strict.node != NULL) {
        code = json_reader_bool(&reading->json, strict, &is_strict, &reading->error);
    }
    if (code == ERROR_NONE && schema.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, object, "schema", "is required");
    }
    if (code == ERROR_NONE) {
        code = openai_structured_read_schema(reading, schema, &part.text);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const char *param = path_of(reading, path, ".schema");
    if (param == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, object);
    }
    return set_root(reading, object, part, param,
                    is_strict ? GRAMMAR_OBJECTS_EXPLICIT : GRAMMAR_OBJECTS_CLOSED);
}

enum error_code openai_structured_read_form(struct openai_reading *reading,
                                            struct json_value value, const char *path,
                                            enum openai_form_shape shape)
{
    const struct json_value type = json_reader_member(value, "type");
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (type.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "type", "is required");
    }
    struct text name;
    code = json_reader_string(&reading->json, type, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, TEXT("text"))) {
        return code;
    }
    if (text_equals(name, TEXT("json_object"))) {
        return set_root(reading, value, (struct grammar_part){.kind = GRAMMAR_PART_OBJECT}, path,
                        GRAMMAR_OBJECTS_CLOSED);
    }
    if (!text_equals(name, TEXT("json_schema"))) {
        return OPENAI_READING_REFUSE(reading, type,
                                     "'%.32s' is not supported by this version, only 'text', "
                                     "'json_object' and 'json_schema' are",
                                     name.bytes);
    }
    if (shape == OPENAI_FORM_FLAT) {
        return read_json_schema(reading, value, path);
    }
    const struct json_value nested = json_reader_member(value, "json_schema");
    if (nested.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "json_schema", "is required");
    }
    code = json_reader_expect(&reading->json, nested, JSON_TYPE_OBJECT, &reading->error);
    const char *nested_path = path_of(reading, path, ".json_schema");
    if (code == ERROR_NONE && nested_path == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    return code != ERROR_NONE ? code : read_json_schema(reading, nested, nested_path);
}

enum error_code openai_structured_read_format(struct openai_reading *reading,
                                              struct json_value value)
{
    return openai_structured_read_form(reading, value, "response_format", OPENAI_FORM_NESTED);
}

/* ---- structured_outputs ---- */

static enum error_code read_copy(struct openai_reading *reading, struct json_value value,
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

/* One of several texts. */
static enum error_code read_choice(struct openai_reading *reading, struct json_value value,
                                   struct grammar_part *part_out)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    if (count == 0) {
        return OPENAI_READING_REFUSE(reading, value, "is empty");
    }
    struct grammar_part *parts = arena_alloc(reading->arena, count * sizeof(*parts));
    if (parts == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    uint32_t index = 0;
    for (struct json_value element = json_reader_first(value); element.node != NULL;
         element = json_reader_next(element)) {
        parts[index].kind = GRAMMAR_PART_TEXT;
        code = read_copy(reading, element, &parts[index++].text);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    *part_out = (struct grammar_part){
        .kind = GRAMMAR_PART_CHOICE, .parts = parts, .part_count = count};
    return ERROR_NONE;
}

static enum error_code read_regex(struct openai_reading *reading, struct json_value value,
                                  struct grammar_part *part_out)
{
    *part_out = (struct grammar_part){.kind = GRAMMAR_PART_REGEX};
    return read_copy(reading, value, &part_out->text);
}

/* A schema, or its text in a string. */
static enum error_code read_json(struct openai_reading *reading, struct json_value value,
                                 struct grammar_part *part_out)
{
    *part_out = (struct grammar_part){.kind = GRAMMAR_PART_SCHEMA};
    return json_reader_type(value) == JSON_TYPE_STRING
               ? read_copy(reading, value, &part_out->text)
               : openai_structured_read_schema(reading, value, &part_out->text);
}

static enum error_code read_json_object(struct openai_reading *reading, struct json_value value,
                                        struct grammar_part *part_out)
{
    bool wanted;
    *part_out = (struct grammar_part){.kind = GRAMMAR_PART_OBJECT};
    const enum error_code code = json_reader_bool(&reading->json, value, &wanted, &reading->error);
    if (code != ERROR_NONE || wanted) {
        return code;
    }
    return OPENAI_READING_REFUSE(reading, value, "must be true");
}

static enum error_code refuse_kind(struct openai_reading *reading, struct json_value value,
                                   struct grammar_part *part_out)
{
    (void)part_out;
    return OPENAI_READING_REFUSE(reading, value, "not supported by this version");
}

typedef enum error_code read_kind(struct openai_reading *reading, struct json_value value,
                                  struct grammar_part *part_out);

static const struct structured_kind {
    const char *name;
    const char *path;
    read_kind *read;
} kinds[] = {
    {"json", "structured_outputs.json", read_json},
    {"regex", "structured_outputs.regex", read_regex},
    {"choice", "structured_outputs.choice", read_choice},
    {"json_object", "structured_outputs.json_object", read_json_object},
    {"grammar", "structured_outputs.grammar", refuse_kind},
    {"structural_tag", "structured_outputs.structural_tag", refuse_kind},
};

enum error_code openai_structured_read_outputs(struct openai_reading *reading,
                                               struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    const struct structured_kind *kind = NULL;
    uint32_t count = 0;
    for (size_t index = 0; index < sizeof(kinds) / sizeof(kinds[0]); index++) {
        if (json_reader_member(value, kinds[index].name).node != NULL) {
            kind = &kinds[index];
            count++;
        }
    }
    if (code == ERROR_NONE && count != 1) {
        return OPENAI_READING_REFUSE(reading, value,
                                     "must have one of json, regex, choice and json_object, has "
                                     "%u",
                                     (unsigned)count);
    }
    struct grammar_part part;
    if (code == ERROR_NONE) {
        code = kind->read(reading, json_reader_member(value, kind->name), &part);
    }
    return code != ERROR_NONE
               ? code
               : set_root(reading, value, part, kind->path, GRAMMAR_OBJECTS_CLOSED);
}
