/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_schema_container.c - arrays and objects, of schemas and of constants.
 *
 * Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "grammar/json_schema_internal.h"

/* ---- Arrays ---- */

enum error_code json_schema_container_array(struct json_schema_compiler *compiler,
                                            const struct json_schema_keywords *keywords,
                                            uint32_t *node_out)
{
    struct program_node node = {.kind = PROGRAM_ARRAY, .max = GRAMMAR_NONE};
    enum error_code code = json_schema_count(compiler, keywords, KEYWORD_MIN_ITEMS, &node.min);
    if (code == ERROR_NONE) {
        code = json_schema_count(compiler, keywords, KEYWORD_MAX_ITEMS, &node.max);
    }
    const uint32_t items = keywords->values[KEYWORD_ITEMS];
    if (code == ERROR_NONE) {
        code = items == GRAMMAR_NONE ? json_schema_any(compiler, &node.child)
                                     : json_schema_node(compiler, items, &node.child);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    return grammar_program_add(compiler->build, compiler->program, node, node_out);
}

/* ---- Objects ---- */

static int compare_members(const void *left_pointer, const void *right_pointer)
{
    const struct json_schema_member *left = left_pointer;
    const struct json_schema_member *right = right_pointer;
    const struct automaton_text left_text = {.text = left->name};
    const struct automaton_text right_text = {.text = right->name};
    return automaton_compare_texts(&left_text, &right_text);
}

/* Adds the trie of the names; the label of each is its place among the sorted members. */
static enum error_code add_names(struct json_schema_compiler *compiler,
                                 const struct json_schema_member *members, uint32_t count,
                                 uint32_t *start_out)
{
    struct automaton_text *texts = grammar_build_alloc(compiler->build, count, sizeof(texts[0]));
    if (texts == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t index = 0; index < count; index++) {
        texts[index] = (struct automaton_text){.text = members[index].name, .label = index};
    }
    struct automaton *pool = &compiler->program->automaton;
    struct automaton_draft draft;
    const enum error_code code = automaton_draft_trie(compiler->build, pool, texts, count, &draft);
    if (code != ERROR_NONE) {
        return code;
    }
    if (count == 0) {
        *start_out = AUTOMATON_UTF8_START; /* Only names that are not in the schema. */
        return ERROR_NONE;
    }
    return automaton_append(compiler->build, pool, &draft.automaton, start_out);
}

static enum error_code add_property(struct json_schema_compiler *compiler,
                                    const struct json_schema_member *member)
{
    struct grammar_program *program = compiler->program;
    program->properties =
        grammar_build_grow(compiler->build, program->properties, program->property_count,
                           &program->property_capacity, sizeof(program->properties[0]));
    if (program->properties == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    program->properties[program->property_count++] =
        (struct program_property){.node = member->node,
                                  .position = member->position,
                                  .name_len = (uint32_t)member->name.len + 2,
                                  .required = member->required};
    return grammar_build_spend(compiler->build, 1);
}

enum error_code json_schema_container_build(struct json_schema_compiler *compiler,
                                            struct json_schema_member *members, uint32_t count,
                                            uint32_t additional, uint32_t *node_out)
{
    struct grammar_program *program = compiler->program;
    struct program_node node = {.kind = PROGRAM_OBJECT,
                                .first = program->property_count,
                                .count = count,
                                .child = additional,
                                .ordered = compiler->options.schema_order ||
                                           count > PROGRAM_FREE_ORDER_MAX};
    if (count > 0) {
        qsort(members, count, sizeof(members[0]), compare_members);
    }
    enum error_code code = add_names(compiler, members, count, &node.start);
    if (code == ERROR_NONE) {
        code = grammar_program_add_list(compiler->build, program, count, &node.order);
    }
    for (uint32_t index = 0; code == ERROR_NONE && index < count; index++) {
        code = add_property(compiler, &members[index]);
        program->lists[node.order + members[index].position] = index;
        if (members[index].required && !node.ordered) {
            node.required |= UINT64_C(1) << index;
        }
    }
    if (code != ERROR_NONE) {
        return code;
    }
    return grammar_program_add(compiler->build, program, node, node_out);
}

/* Marks the members that "required" names. */
static enum error_code read_required(struct json_schema_compiler *compiler, uint32_t required,
                                     uint32_t properties, struct json_schema_member *members)
{
    const struct json_tree_value *values = compiler->tree.values;
    if (required == GRAMMAR_NONE) {
        return ERROR_NONE;
    }
    enum error_code code = json_schema_expect(compiler, required, JSON_TREE_ARRAY);
    for (uint32_t child = values[required].first; code == ERROR_NONE && child != GRAMMAR_NONE;
         child = values[child].next) {
        code = json_schema_expect(compiler, child, JSON_TREE_STRING);
        if (code != ERROR_NONE) {
            return code;
        }
        uint32_t position = 0;
        uint32_t property = properties != GRAMMAR_NONE ? values[properties].first : GRAMMAR_NONE;
        while (property != GRAMMAR_NONE && !text_equals(values[property].key, values[child].text)) {
            property = values[property].next;
            position++;
        }
        if (property == GRAMMAR_NONE) {
            return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                      "not one of the properties");
        }
        members[position].required = true;
        code = grammar_build_spend(compiler->build, 1 + position / 8);
    }
    return code;
}

/* The node of the properties that are not named; GRAMMAR_NONE: there are none. */
static enum error_code read_additional(struct json_schema_compiler *compiler,
                                       const struct json_schema_keywords *keywords,
                                       uint32_t *additional_out)
{
    const uint32_t value = keywords->values[KEYWORD_ADDITIONAL];
    *additional_out = GRAMMAR_NONE;
    if (value != GRAMMAR_NONE) {
        return compiler->tree.values[value].type == JSON_TREE_FALSE
                   ? ERROR_NONE
                   : json_schema_node(compiler, value, additional_out);
    }
    if (!compiler->options.closed) {
        json_schema_look_at(compiler, keywords->schema);
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "additionalProperties is missing, it should be false");
    }
    return keywords->values[KEYWORD_PROPERTIES] != GRAMMAR_NONE
               ? ERROR_NONE
               : json_schema_any(compiler, additional_out);
}

enum error_code json_schema_container_object(struct json_schema_compiler *compiler,
                                             const struct json_schema_keywords *keywords,
                                             uint32_t *node_out)
{
    const struct json_tree_value *values = compiler->tree.values;
    const uint32_t properties = keywords->values[KEYWORD_PROPERTIES];
    struct json_schema_member *members = NULL;
    uint32_t count = 0;
    enum error_code code = ERROR_NONE;
    if (properties != GRAMMAR_NONE) {
        code = json_schema_expect(compiler, properties, JSON_TREE_OBJECT);
        members =
            grammar_build_alloc(compiler->build, values[properties].count, sizeof(members[0]));
        if (members == NULL) {
            return ERROR_INVALID_ARGUMENT;
        }
        for (uint32_t child = values[properties].first; code == ERROR_NONE && child != GRAMMAR_NONE;
             child = values[child].next) {
            members[count].name = values[child].key;
            members[count].position = count;
            code = json_schema_node(compiler, child, &members[count].node);
            count++;
        }
    }
    if (code == ERROR_NONE) {
        code = read_required(compiler, keywords->values[KEYWORD_REQUIRED], properties, members);
    }
    uint32_t additional = GRAMMAR_NONE;
    if (code == ERROR_NONE) {
        code = read_additional(compiler, keywords, &additional);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    return json_schema_container_build(compiler, members, count, additional, node_out);
}

/* ---- Constants ---- */

static enum error_code build_constant_array(struct json_schema_compiler *compiler, uint32_t value,
                                            uint32_t *node_out)
{
    const struct json_tree_value *values = compiler->tree.values;
    const uint32_t count = values[value].count;
    struct program_node node = {
        .kind = PROGRAM_ARRAY, .count = count, .child = GRAMMAR_NONE, .min = count, .max = count};
    enum error_code code =
        grammar_program_add_list(compiler->build, compiler->program, count, &node.first);
    uint32_t place = node.first;
    for (uint32_t child = values[value].first; code == ERROR_NONE && child != GRAMMAR_NONE;
         child = values[child].next) {
        uint32_t item;
        code = json_schema_constant(compiler, child, &item);
        compiler->program->lists[place++] = item;
    }
    if (code != ERROR_NONE) {
        return code;
    }
    return grammar_program_add(compiler->build, compiler->program, node, node_out);
}

enum error_code json_schema_container_constant(struct json_schema_compiler *compiler,
                                               uint32_t value, uint32_t *node_out)
{
    const struct json_tree_value *values = compiler->tree.values;
    if (values[value].type == JSON_TREE_ARRAY) {
        return build_constant_array(compiler, value, node_out);
    }
    uint32_t count = 0;
    struct json_schema_member *members =
        grammar_build_alloc(compiler->build, values[value].count, sizeof(members[0]));
    if (members == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    enum error_code code = ERROR_NONE;
    for (uint32_t child = values[value].first; code == ERROR_NONE && child != GRAMMAR_NONE;
         child = values[child].next) {
        members[count].name = values[child].key;
        members[count].position = count;
        members[count].required = true;
        code = json_schema_constant(compiler, child, &members[count].node);
        count++;
    }
    if (code != ERROR_NONE) {
        return code;
    }
    return json_schema_container_build(compiler, members, count, GRAMMAR_NONE, node_out);
}
