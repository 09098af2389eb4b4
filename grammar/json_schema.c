/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_schema.c - the walk over a schema: keywords, types, references.
 *
 * No recursion: a schema that is referred to gets a node at once and waits in a list of tasks, so
 * circles of references need nothing special. Thread: any. */
#include "grammar/json_schema.h"

#include <string.h>

#include "grammar/json_schema_internal.h"

static const struct text keyword_names[] = {
#define X(name, text) {text, sizeof(text) - 1},
    JSON_SCHEMA_KEYWORDS(X)
#undef X
};

/* Keywords that say nothing about a value. */
static const struct text annotations[] = {
    {"title", 5},       {"description", 11}, {"default", 7},   {"examples", 8},
    {"$schema", 7},     {"$comment", 8},     {"$defs", 5},     {"definitions", 11},
    {"deprecated", 10}, {"readOnly", 8},     {"writeOnly", 9},
};

struct type_name {
    struct text name;
    enum json_schema_type type;
};

static const struct type_name type_names[] = {
    {{"null", 4}, JSON_SCHEMA_TYPE_NULL},       {{"boolean", 7}, JSON_SCHEMA_TYPE_BOOLEAN},
    {{"integer", 7}, JSON_SCHEMA_TYPE_INTEGER}, {{"number", 6}, JSON_SCHEMA_TYPE_NUMBER},
    {{"string", 6}, JSON_SCHEMA_TYPE_STRING},   {{"array", 5}, JSON_SCHEMA_TYPE_ARRAY},
    {{"object", 6}, JSON_SCHEMA_TYPE_OBJECT},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void json_schema_look_at(struct json_schema_compiler *compiler, uint32_t value)
{
    compiler->build->value = value;
}

enum error_code json_schema_expect(struct json_schema_compiler *compiler, uint32_t value,
                                   enum json_tree_type type)
{
    static const char *const names[] = {"null",     "false",    "true",     "a number",
                                        "a string", "an array", "an object"};
    json_schema_look_at(compiler, value);
    if (compiler->tree.values[value].type == type) {
        return ERROR_NONE;
    }
    return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT, "expected %s", names[type]);
}

enum error_code json_schema_count(struct json_schema_compiler *compiler,
                                  const struct json_schema_keywords *keywords,
                                  enum json_schema_keyword keyword, uint32_t *value_out)
{
    const uint32_t value = keywords->values[keyword];
    if (value == GRAMMAR_NONE) {
        return ERROR_NONE;
    }
    const enum error_code code = json_schema_expect(compiler, value, JSON_TREE_NUMBER);
    if (code != ERROR_NONE) {
        return code;
    }
    struct decimal decimal;
    uint64_t count;
    if (!decimal_parse(compiler->tree.values[value].text, &decimal) || decimal.negative ||
        decimal.fraction_count > 0 || !decimal_scaled(&decimal, &count) || count > 1000000000) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "expected a whole number from 0 to 1000000000");
    }
    *value_out = (uint32_t)count;
    return ERROR_NONE;
}

/* ---- Nodes to be filled in ---- */

static enum error_code add_task(struct json_schema_compiler *compiler, uint32_t value,
                                bool is_constant, uint32_t *node_out)
{
    const enum error_code code =
        grammar_program_add(compiler->build, compiler->program,
                            (struct program_node){.kind = PROGRAM_CHOICE}, node_out);
    if (code != ERROR_NONE) {
        return code;
    }
    compiler->tasks = grammar_build_grow(compiler->build, compiler->tasks, compiler->task_count,
                                         &compiler->task_capacity, sizeof(compiler->tasks[0]));
    if (compiler->tasks == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    compiler->tasks[compiler->task_count++] =
        (struct json_schema_task){.value = value, .node = *node_out, .is_constant = is_constant};
    return ERROR_NONE;
}

enum error_code json_schema_node(struct json_schema_compiler *compiler, uint32_t value,
                                 uint32_t *node_out)
{
    if (compiler->nodes[value] != 0) {
        *node_out = compiler->nodes[value] - 1;
        return ERROR_NONE;
    }
    const enum error_code code = add_task(compiler, value, false, node_out);
    if (code == ERROR_NONE) {
        compiler->nodes[value] = *node_out + 1;
    }
    return code;
}

enum error_code json_schema_constant(struct json_schema_compiler *compiler, uint32_t value,
                                     uint32_t *node_out)
{
    return add_task(compiler, value, true, node_out);
}

/* Makes a node a choice of others. */
static enum error_code set_choice(struct json_schema_compiler *compiler, uint32_t node,
                                  const uint32_t *alternatives, uint32_t count)
{
    uint32_t first;
    const enum error_code code =
        grammar_program_add_list(compiler->build, compiler->program, count, &first);
    if (code == ERROR_NONE) {
        if (count > 0) {
            memcpy(compiler->program->lists + first, alternatives, count * sizeof(uint32_t));
        }
        compiler->program->nodes[node].first = first;
        compiler->program->nodes[node].count = count;
    }
    return code;
}

/* ---- Values without limits ---- */

enum error_code json_schema_words(struct json_schema_compiler *compiler, enum json_tree_type type,
                                  uint32_t *node_out)
{
    uint32_t *const kept = type == JSON_TREE_NULL ? &compiler->null : &compiler->booleans;
    if (*kept == 0) {
        static const struct automaton_text words[] = {
            {{"false", 5}, GRAMMAR_NONE}, {{"true", 4}, GRAMMAR_NONE}, {{"null", 4}, GRAMMAR_NONE}};
        struct automaton_draft draft;
        const bool null = type == JSON_TREE_NULL;
        enum error_code code = automaton_draft_trie(compiler->build, &compiler->program->automaton,
                                                    null ? words + 2 : words, null ? 1 : 2, &draft);
        if (code == ERROR_NONE) {
            code = grammar_program_add_bytes(compiler->build, compiler->program, &draft, node_out);
        }
        if (code != ERROR_NONE) {
            return code;
        }
        *kept = *node_out + 1;
    }
    *node_out = *kept - 1;
    return ERROR_NONE;
}

/* Adds what has no limits of each type to the list of alternatives. */
static enum error_code list_any(struct json_schema_compiler *compiler, uint32_t any,
                                uint32_t alternatives[6])
{
    struct json_schema_keywords none;
    memset(&none, 0xff, sizeof(none));
    enum error_code code = json_schema_scalar_string(compiler, &none, &alternatives[0]);
    if (code == ERROR_NONE) {
        code = json_schema_scalar_number(compiler, &none, false, &alternatives[1]);
    }
    if (code == ERROR_NONE) {
        code = json_schema_words(compiler, JSON_TREE_TRUE, &alternatives[2]);
    }
    if (code == ERROR_NONE) {
        code = json_schema_words(compiler, JSON_TREE_NULL, &alternatives[3]);
    }
    if (code == ERROR_NONE) {
        const struct program_node array = {
            .kind = PROGRAM_ARRAY, .child = any, .max = GRAMMAR_NONE};
        code = grammar_program_add(compiler->build, compiler->program, array, &alternatives[4]);
    }
    if (code == ERROR_NONE) {
        code = json_schema_container_build(compiler, NULL, 0, any, &alternatives[5]);
    }
    return code;
}

enum error_code json_schema_any(struct json_schema_compiler *compiler, uint32_t *node_out)
{
    if (compiler->any != 0) {
        *node_out = compiler->any - 1;
        return ERROR_NONE;
    }
    enum error_code code =
        grammar_program_add(compiler->build, compiler->program,
                            (struct program_node){.kind = PROGRAM_CHOICE}, node_out);
    if (code != ERROR_NONE) {
        return code;
    }
    compiler->any = *node_out + 1;
    uint32_t alternatives[6];
    code = list_any(compiler, *node_out, alternatives);
    return code != ERROR_NONE ? code : set_choice(compiler, *node_out, alternatives, 6);
}

/* ---- Keywords ---- */

static bool is_annotation(struct text name, bool at_root)
{
    for (size_t index = 0; index < COUNT(annotations); index++) {
        if (text_equals(annotations[index], name)) {
            return true;
        }
    }
    return at_root && text_equals(name, TEXT("$id"));
}

static enum error_code read_keywords(struct json_schema_compiler *compiler, uint32_t schema,
                                     struct json_schema_keywords *keywords_out)
{
    const struct json_tree_value *values = compiler->tree.values;
    memset(keywords_out, 0xff, sizeof(*keywords_out));
    keywords_out->schema = schema;
    enum error_code code = json_schema_expect(compiler, schema, JSON_TREE_OBJECT);
    if (code != ERROR_NONE) {
        return code;
    }
    for (uint32_t member = values[schema].first; member != GRAMMAR_NONE;
         member = values[member].next) {
        size_t keyword = 0;
        while (keyword < KEYWORD_COUNT &&
               !text_equals(keyword_names[keyword], values[member].key)) {
            keyword++;
        }
        if (keyword < KEYWORD_COUNT) {
            keywords_out->values[keyword] = member;
        } else if (!is_annotation(values[member].key, schema == 0)) {
            json_schema_look_at(compiler, member);
            return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                      "the keyword is not supported");
        }
    }
    return grammar_build_spend(compiler->build, values[schema].count);
}

/* Fails when the schema has a keyword besides those of `allowed` (bits). */
static enum error_code allow_only(struct json_schema_compiler *compiler,
                                  const struct json_schema_keywords *keywords, uint32_t allowed,
                                  const char *what)
{
    for (uint32_t keyword = 0; keyword < KEYWORD_COUNT; keyword++) {
        if ((allowed >> keyword & 1) == 0 && keywords->values[keyword] != GRAMMAR_NONE) {
            json_schema_look_at(compiler, keywords->values[keyword]);
            return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                      "not supported together with %s", what);
        }
    }
    return ERROR_NONE;
}

static enum error_code add_type(struct json_schema_compiler *compiler, uint32_t value,
                                uint32_t *types)
{
    const enum error_code code = json_schema_expect(compiler, value, JSON_TREE_STRING);
    if (code != ERROR_NONE) {
        return code;
    }
    for (size_t index = 0; index < COUNT(type_names); index++) {
        if (text_equals(type_names[index].name, compiler->tree.values[value].text)) {
            *types |= type_names[index].type;
            return ERROR_NONE;
        }
    }
    return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT, "an unknown type");
}

/* Reads "type", one or a list. */
static enum error_code read_types(struct json_schema_compiler *compiler, uint32_t value,
                                  uint32_t *types_out)
{
    const struct json_tree_value *values = compiler->tree.values;
    *types_out = 0;
    if (values[value].type != JSON_TREE_ARRAY) {
        return add_type(compiler, value, types_out);
    }
    enum error_code code = ERROR_NONE;
    for (uint32_t child = values[value].first; code == ERROR_NONE && child != GRAMMAR_NONE;
         child = values[child].next) {
        code = add_type(compiler, child, types_out);
    }
    json_schema_look_at(compiler, value);
    if (code == ERROR_NONE && *types_out == 0) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT, "no type");
    }
    return code;
}

/* ---- Kinds of schemas ---- */

static enum error_code compile_reference(struct json_schema_compiler *compiler, uint32_t node,
                                         const struct json_schema_keywords *keywords)
{
    const uint32_t value = keywords->values[KEYWORD_REF];
    enum error_code code = allow_only(compiler, keywords, UINT32_C(1) << KEYWORD_REF, "$ref");
    if (code == ERROR_NONE) {
        code = json_schema_expect(compiler, value, JSON_TREE_STRING);
    }
    if (code == ERROR_NONE) {
        code = grammar_build_spend(compiler->build, 16);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const struct text pointer = compiler->tree.values[value].text;
    const uint32_t target = json_tree_find(&compiler->tree, pointer);
    if (target == GRAMMAR_NONE) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "\"%.*s\" leads nowhere within this schema",
                                  (int)(pointer.len < 64 ? pointer.len : 64), pointer.bytes);
    }
    uint32_t alternative;
    code = json_schema_node(compiler, target, &alternative);
    return code != ERROR_NONE ? code : set_choice(compiler, node, &alternative, 1);
}

static enum error_code compile_any_of(struct json_schema_compiler *compiler, uint32_t node,
                                      const struct json_schema_keywords *keywords)
{
    const struct json_tree_value *values = compiler->tree.values;
    const uint32_t value = keywords->values[KEYWORD_ANY_OF];
    enum error_code code = allow_only(compiler, keywords, UINT32_C(1) << KEYWORD_ANY_OF, "anyOf");
    if (code == ERROR_NONE) {
        code = json_schema_expect(compiler, value, JSON_TREE_ARRAY);
    }
    if (code == ERROR_NONE && values[value].count == 0) {
        code = grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT, "no alternative");
    }
    if (code == ERROR_NONE && values[value].count > GRAMMAR_ALTERNATIVES_MAX) {
        code = grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "more than %d alternatives", GRAMMAR_ALTERNATIVES_MAX);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    uint32_t *alternatives =
        grammar_build_alloc(compiler->build, values[value].count, sizeof(uint32_t));
    if (alternatives == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    uint32_t count = 0;
    for (uint32_t child = values[value].first; code == ERROR_NONE && child != GRAMMAR_NONE;
         child = values[child].next) {
        code = json_schema_node(compiler, child, &alternatives[count++]);
    }
    return code != ERROR_NONE ? code : set_choice(compiler, node, alternatives, count);
}

/* "enum" or "const", with or without "type". */
static enum error_code compile_constants(struct json_schema_compiler *compiler, uint32_t node,
                                         const struct json_schema_keywords *keywords,
                                         enum json_schema_keyword keyword)
{
    const struct json_tree_value *values = compiler->tree.values;
    const uint32_t value = keywords->values[keyword];
    const uint32_t type = keywords->values[KEYWORD_TYPE];
    enum error_code code =
        allow_only(compiler, keywords, UINT32_C(1) << keyword | UINT32_C(1) << KEYWORD_TYPE,
                   keyword == KEYWORD_ENUM ? "enum" : "const");
    uint32_t types = 0;
    if (code == ERROR_NONE && type != GRAMMAR_NONE) {
        code = read_types(compiler, type, &types);
    }
    if (code == ERROR_NONE && keyword == KEYWORD_ENUM) {
        code = json_schema_expect(compiler, value, JSON_TREE_ARRAY);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    uint32_t count = 1;
    uint32_t *constants =
        grammar_build_alloc(compiler->build, values[value].count + (size_t)1, sizeof(uint32_t));
    if (constants == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    constants[0] = value;
    if (keyword == KEYWORD_ENUM) {
        count = 0;
        for (uint32_t child = values[value].first; child != GRAMMAR_NONE;
             child = values[child].next) {
            constants[count++] = child;
        }
    }
    uint32_t alternative;
    code = json_schema_scalar_constants(compiler, constants, count, types, &alternative);
    return code != ERROR_NONE ? code : set_choice(compiler, node, &alternative, 1);
}

static enum error_code compile_one_type(struct json_schema_compiler *compiler,
                                        const struct json_schema_keywords *keywords,
                                        enum json_schema_type type, uint32_t *node_out)
{
    switch (type) {
    case JSON_SCHEMA_TYPE_NULL:
        return json_schema_words(compiler, JSON_TREE_NULL, node_out);
    case JSON_SCHEMA_TYPE_BOOLEAN:
        return json_schema_words(compiler, JSON_TREE_TRUE, node_out);
    case JSON_SCHEMA_TYPE_INTEGER:
    case JSON_SCHEMA_TYPE_NUMBER:
        return json_schema_scalar_number(compiler, keywords, type == JSON_SCHEMA_TYPE_INTEGER,
                                         node_out);
    case JSON_SCHEMA_TYPE_STRING:
        return json_schema_scalar_string(compiler, keywords, node_out);
    case JSON_SCHEMA_TYPE_ARRAY:
        return json_schema_container_array(compiler, keywords, node_out);
    case JSON_SCHEMA_TYPE_OBJECT:
        return json_schema_container_object(compiler, keywords, node_out);
    }
    return ERROR_INVALID_ARGUMENT;
}

static enum error_code compile_types(struct json_schema_compiler *compiler, uint32_t node,
                                     const struct json_schema_keywords *keywords)
{
    uint32_t types;
    enum error_code code = read_types(compiler, keywords->values[KEYWORD_TYPE], &types);
    uint32_t alternatives[COUNT(type_names)];
    uint32_t count = 0;
    if ((types & JSON_SCHEMA_TYPE_NUMBER) != 0) {
        types &= ~(uint32_t)JSON_SCHEMA_TYPE_INTEGER; /* An integer is a number. */
    }
    for (size_t index = 0; code == ERROR_NONE && index < COUNT(type_names); index++) {
        if ((types & type_names[index].type) != 0) {
            code = compile_one_type(compiler, keywords, type_names[index].type,
                                    &alternatives[count++]);
        }
    }
    return code != ERROR_NONE ? code : set_choice(compiler, node, alternatives, count);
}

static enum error_code compile_schema(struct json_schema_compiler *compiler, uint32_t schema,
                                      uint32_t node)
{
    uint32_t any;
    if (compiler->tree.values[schema].type == JSON_TREE_TRUE) {
        const enum error_code code = json_schema_any(compiler, &any);
        return code != ERROR_NONE ? code : set_choice(compiler, node, &any, 1);
    }
    struct json_schema_keywords keywords;
    enum error_code code = read_keywords(compiler, schema, &keywords);
    if (code != ERROR_NONE) {
        return code;
    }
    if (keywords.values[KEYWORD_REF] != GRAMMAR_NONE) {
        return compile_reference(compiler, node, &keywords);
    }
    if (keywords.values[KEYWORD_ANY_OF] != GRAMMAR_NONE) {
        return compile_any_of(compiler, node, &keywords);
    }
    if (keywords.values[KEYWORD_CONST] != GRAMMAR_NONE) {
        return compile_constants(compiler, node, &keywords, KEYWORD_CONST);
    }
    if (keywords.values[KEYWORD_ENUM] != GRAMMAR_NONE) {
        return compile_constants(compiler, node, &keywords, KEYWORD_ENUM);
    }
    if (keywords.values[KEYWORD_TYPE] != GRAMMAR_NONE) {
        return compile_types(compiler, node, &keywords);
    }
    code = allow_only(compiler, &keywords, 0, "a missing type");
    if (code == ERROR_NONE) {
        code = json_schema_any(compiler, &any);
    }
    return code != ERROR_NONE ? code : set_choice(compiler, node, &any, 1);
}

static enum error_code run_task(struct json_schema_compiler *compiler, struct json_schema_task task)
{
    json_schema_look_at(compiler, task.value);
    if (!task.is_constant) {
        return compile_schema(compiler, task.value, task.node);
    }
    uint32_t alternative;
    const enum error_code code =
        json_schema_scalar_constants(compiler, &task.value, 1, 0, &alternative);
    return code != ERROR_NONE ? code : set_choice(compiler, task.node, &alternative, 1);
}

enum error_code json_schema_compile(struct grammar_build *build, struct grammar_program *program,
                                    struct text schema, struct json_schema_options options,
                                    uint32_t *node_out)
{
    struct json_schema_compiler compiler = {.build = build, .program = program, .options = options};
    enum error_code code = json_tree_parse(build, schema, &compiler.tree);
    if (code != ERROR_NONE) {
        return code;
    }
    compiler.nodes = grammar_build_alloc(build, compiler.tree.value_count, sizeof(uint32_t));
    if (compiler.nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    build->tree = &compiler.tree;
    code = json_schema_node(&compiler, 0, node_out);
    for (uint32_t task = 0; code == ERROR_NONE && task < compiler.task_count; task++) {
        code = run_task(&compiler, compiler.tasks[task]);
    }
    build->tree = NULL;
    return code;
}

enum error_code json_schema_any_object(struct grammar_build *build, struct grammar_program *program,
                                       uint32_t *node_out)
{
    struct json_schema_compiler compiler = {.build = build, .program = program};
    uint32_t any;
    const enum error_code code = json_schema_any(&compiler, &any);
    return code != ERROR_NONE ? code
                              : json_schema_container_build(&compiler, NULL, 0, any, node_out);
}
