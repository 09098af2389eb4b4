/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_schema_scalar.c - strings, numbers, and constants of every type.
 *
 * Equal strings and equal numbers share one automaton. Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "grammar/json_schema_internal.h"
#include "grammar/regex.h"
#include "grammar/string_format.h"

/* ---- Strings ---- */

static enum error_code add_string_node(struct json_schema_compiler *compiler, uint32_t start,
                                       uint32_t min, uint32_t max, uint32_t *node_out)
{
    struct program_node node = {.kind = PROGRAM_STRING, .start = start, .min = min, .max = max};
    if (start == GRAMMAR_NONE) {
        node = (struct program_node){.kind = PROGRAM_CHOICE}; /* Nothing matches. */
    }
    return grammar_program_add(compiler->build, compiler->program, node, node_out);
}

/* A keyword's text; empty when the schema has none. */
static enum error_code read_text(struct json_schema_compiler *compiler,
                                 const struct json_schema_keywords *keywords,
                                 enum json_schema_keyword keyword, struct text *text_out)
{
    const uint32_t value = keywords->values[keyword];
    if (value == GRAMMAR_NONE) {
        return ERROR_NONE;
    }
    const enum error_code code = json_schema_expect(compiler, value, JSON_TREE_STRING);
    *text_out = compiler->tree.values[value].text;
    return code;
}

/* The automaton of a pattern, a format, or both. */
static enum error_code draft_string(struct json_schema_compiler *compiler,
                                    const struct json_schema_keywords *keywords,
                                    struct text pattern, struct text format,
                                    struct automaton_draft *draft_out)
{
    const bool has_pattern = keywords->values[KEYWORD_PATTERN] != GRAMMAR_NONE;
    const bool has_format = format.len > 0;
    struct automaton_draft drafts[2];
    enum error_code code = ERROR_NONE;
    if (has_pattern) {
        json_schema_look_at(compiler, keywords->values[KEYWORD_PATTERN]);
        code = regex_compile(compiler->build, pattern, REGEX_MATCH_SEARCH, &drafts[0]);
    }
    if (code == ERROR_NONE && has_format) {
        json_schema_look_at(compiler, keywords->values[KEYWORD_FORMAT]);
        code = regex_compile(compiler->build, format, REGEX_MATCH_WHOLE, &drafts[1]);
    }
    if (code == ERROR_NONE && has_pattern && has_format) {
        return automaton_intersect(compiler->build, &drafts[0].automaton, &drafts[1].automaton,
                                   draft_out);
    }
    *draft_out = drafts[has_pattern ? 0 : 1];
    return code;
}

/* As draft_string, of at least length_min code points, in the pool; or what was built before. */
static enum error_code find_string(struct json_schema_compiler *compiler,
                                   const struct json_schema_keywords *keywords, struct text pattern,
                                   struct text format, uint32_t length_min, uint32_t *start_out)
{
    for (uint32_t index = 0; index < compiler->string_count; index++) {
        const struct json_schema_memo *memo = &compiler->strings[index];
        if (memo->length_min == length_min && text_equals(memo->pattern, pattern) &&
            text_equals(memo->format, format)) {
            *start_out = memo->node;
            return grammar_build_spend(compiler->build, 1 + index / 16);
        }
    }
    struct automaton_draft draft;
    struct automaton_draft longer;
    enum error_code code = draft_string(compiler, keywords, pattern, format, &draft);
    json_schema_look_at(compiler, keywords->schema);
    if (code == ERROR_NONE && length_min > 0) {
        code = automaton_lengthen(compiler->build, &draft.automaton, length_min, &longer);
        draft = longer;
    }
    if (code == ERROR_NONE) {
        code = automaton_append(compiler->build, &compiler->program->automaton, &draft.automaton,
                                start_out);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    compiler->strings =
        grammar_build_grow(compiler->build, compiler->strings, compiler->string_count,
                           &compiler->string_capacity, sizeof(compiler->strings[0]));
    if (compiler->strings == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    compiler->strings[compiler->string_count++] = (struct json_schema_memo){
        .pattern = pattern, .format = format, .length_min = length_min, .node = *start_out};
    return ERROR_NONE;
}

enum error_code json_schema_scalar_string(struct json_schema_compiler *compiler,
                                          const struct json_schema_keywords *keywords,
                                          uint32_t *node_out)
{
    uint32_t min = 0;
    uint32_t max = GRAMMAR_NONE;
    uint32_t format_max = GRAMMAR_NONE;
    struct text pattern = {0};
    struct text name = {0};
    struct text format = {0};
    enum error_code code = json_schema_count(compiler, keywords, KEYWORD_MIN_LENGTH, &min);
    if (code == ERROR_NONE) {
        code = json_schema_count(compiler, keywords, KEYWORD_MAX_LENGTH, &max);
    }
    if (code == ERROR_NONE) {
        code = read_text(compiler, keywords, KEYWORD_PATTERN, &pattern);
    }
    if (code == ERROR_NONE) {
        code = read_text(compiler, keywords, KEYWORD_FORMAT, &name);
    }
    if (code == ERROR_NONE && keywords->values[KEYWORD_FORMAT] != GRAMMAR_NONE) {
        format = string_format_pattern(name, &format_max);
        if (format.len == 0) {
            return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                      "the format is not supported");
        }
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (keywords->values[KEYWORD_PATTERN] == GRAMMAR_NONE && format.len == 0) {
        if (min > 0 || max != GRAMMAR_NONE) {
            return add_string_node(compiler, AUTOMATON_UTF8_START, min, max, node_out);
        }
        if (compiler->any_string == 0) {
            code = add_string_node(compiler, AUTOMATON_UTF8_START, min, max, node_out);
            compiler->any_string = *node_out + 1;
        }
        *node_out = compiler->any_string - 1;
        return code;
    }
    uint32_t start = GRAMMAR_NONE;
    code = find_string(compiler, keywords, pattern, format, min, &start);
    if (code != ERROR_NONE) {
        return code;
    }
    return add_string_node(compiler, start, 0, format_max < max ? format_max : max, node_out);
}

/* ---- Numbers ---- */

/* Reads a keyword whose value is a number; *bound_out stays when there is none. */
static enum error_code read_bound(struct json_schema_compiler *compiler,
                                  const struct json_schema_keywords *keywords,
                                  enum json_schema_keyword keyword, bool exclusive,
                                  struct number_bound *bound_out)
{
    const uint32_t value = keywords->values[keyword];
    if (value == GRAMMAR_NONE) {
        return ERROR_NONE;
    }
    const enum error_code code = json_schema_expect(compiler, value, JSON_TREE_NUMBER);
    if (code != ERROR_NONE) {
        return code;
    }
    *bound_out = (struct number_bound){.present = true, .exclusive = exclusive};
    if (!decimal_parse(compiler->tree.values[value].text, &bound_out->value)) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "more than %d digits before or after the point",
                                  DECIMAL_DIGITS_MAX);
    }
    const bool fractional = bound_out->value.fraction_count > 0;
    if (fractional && decimal_significant(&bound_out->value) > 17) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "more than 17 digits, which a double cannot hold");
    }
    return ERROR_NONE;
}

/* The stricter of two lower (sign 1) or upper (sign -1) bounds. */
static struct number_bound stricter(struct number_bound left, struct number_bound right, int sign)
{
    if (!left.present || !right.present) {
        return left.present ? left : right;
    }
    const int order = sign * decimal_compare(&left.value, &right.value);
    if (order == 0) {
        return left.exclusive ? left : right;
    }
    return order > 0 ? left : right;
}

static enum error_code read_limits(struct json_schema_compiler *compiler,
                                   const struct json_schema_keywords *keywords,
                                   struct number_limits *limits)
{
    struct number_bound bounds[5] = {{0}};
    static const enum json_schema_keyword names[] = {KEYWORD_MINIMUM, KEYWORD_EXCLUSIVE_MINIMUM,
                                                     KEYWORD_MAXIMUM, KEYWORD_EXCLUSIVE_MAXIMUM,
                                                     KEYWORD_MULTIPLE_OF};
    for (size_t index = 0; index < 5; index++) {
        const bool exclusive = index == 1 || index == 3;
        const enum error_code code =
            read_bound(compiler, keywords, names[index], exclusive, &bounds[index]);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    limits->low = stricter(bounds[0], bounds[1], 1);
    limits->high = stricter(bounds[2], bounds[3], -1);
    limits->has_multiple = bounds[4].present;
    limits->multiple = bounds[4].value;
    if (limits->has_multiple && (bounds[4].value.negative || decimal_is_zero(&bounds[4].value))) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "expected a number above 0");
    }
    return ERROR_NONE;
}

enum error_code json_schema_scalar_number(struct json_schema_compiler *compiler,
                                          const struct json_schema_keywords *keywords, bool integer,
                                          uint32_t *node_out)
{
    struct number_limits limits;
    memset(&limits, 0, sizeof(limits)); /* Compared as bytes below. */
    limits.integer = integer;
    enum error_code code = read_limits(compiler, keywords, &limits);
    for (uint32_t index = 0; code == ERROR_NONE && index < compiler->number_count; index++) {
        if (memcmp(&compiler->numbers[index].limits, &limits, sizeof(limits)) == 0) {
            *node_out = compiler->numbers[index].node;
            return grammar_build_spend(compiler->build, 1 + index / 4);
        }
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t multiple = keywords->values[KEYWORD_MULTIPLE_OF];
    json_schema_look_at(compiler, multiple != GRAMMAR_NONE ? multiple : keywords->schema);
    struct automaton_draft draft;
    code = number_compile(compiler->build, &limits, &draft);
    if (code == ERROR_NONE) {
        code = grammar_program_add_bytes(compiler->build, compiler->program, &draft, node_out);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    compiler->numbers =
        grammar_build_grow(compiler->build, compiler->numbers, compiler->number_count,
                           &compiler->number_capacity, sizeof(compiler->numbers[0]));
    if (compiler->numbers == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    compiler->numbers[compiler->number_count] = (struct json_schema_memo){.node = *node_out};
    memcpy(&compiler->numbers[compiler->number_count].limits, &limits, sizeof(limits));
    compiler->number_count++;
    return ERROR_NONE;
}

/* ---- Constants ---- */

static bool has_type(const struct json_tree_value *value, uint32_t types)
{
    if (types == 0) {
        return true;
    }
    struct decimal decimal;
    switch (value->type) {
    case JSON_TREE_NULL:
        return (types & JSON_SCHEMA_TYPE_NULL) != 0;
    case JSON_TREE_FALSE:
    case JSON_TREE_TRUE:
        return (types & JSON_SCHEMA_TYPE_BOOLEAN) != 0;
    case JSON_TREE_NUMBER:
        return (types & JSON_SCHEMA_TYPE_NUMBER) != 0 ||
               ((types & JSON_SCHEMA_TYPE_INTEGER) != 0 && decimal_parse(value->text, &decimal) &&
                decimal.fraction_count == 0);
    case JSON_TREE_STRING:
        return (types & JSON_SCHEMA_TYPE_STRING) != 0;
    case JSON_TREE_ARRAY:
        return (types & JSON_SCHEMA_TYPE_ARRAY) != 0;
    case JSON_TREE_OBJECT:
        return (types & JSON_SCHEMA_TYPE_OBJECT) != 0;
    }
    return false;
}

/* Constants sorted out: texts of strings, texts of other scalars, nodes of containers. */
struct constants {
    struct automaton_text *strings;
    struct automaton_text *words;
    uint32_t *nodes; /* With room for two more. */
    uint32_t string_count;
    uint32_t word_count;
    uint32_t node_count;
};

/* The shortest plain form of a number. */
static enum error_code print_number(struct json_schema_compiler *compiler, struct text number,
                                    struct text *text_out)
{
    struct decimal decimal;
    char *buffer = grammar_build_alloc(compiler->build, 2 * DECIMAL_DIGITS_MAX + 4, 1);
    if (buffer == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    if (!decimal_parse(number, &decimal)) {
        return grammar_build_fail(compiler->build, ERROR_INVALID_ARGUMENT,
                                  "more than %d digits before or after the point",
                                  DECIMAL_DIGITS_MAX);
    }
    *text_out = (struct text){.bytes = buffer, .len = decimal_print(&decimal, buffer)};
    return ERROR_NONE;
}

static enum error_code sort_constant(struct json_schema_compiler *compiler, uint32_t value,
                                     struct constants *constants)
{
    const struct json_tree_value *at = &compiler->tree.values[value];
    struct text word = {0};
    enum error_code code = ERROR_NONE;
    json_schema_look_at(compiler, value);
    switch (at->type) {
    case JSON_TREE_ARRAY:
    case JSON_TREE_OBJECT:
        return json_schema_container_constant(compiler, value,
                                              &constants->nodes[constants->node_count++]);
    case JSON_TREE_STRING:
        constants->strings[constants->string_count++] =
            (struct automaton_text){.text = at->text, .label = GRAMMAR_NONE};
        return ERROR_NONE;
    case JSON_TREE_NULL:
        word = TEXT("null");
        break;
    case JSON_TREE_FALSE:
        word = TEXT("false");
        break;
    case JSON_TREE_TRUE:
        word = TEXT("true");
        break;
    case JSON_TREE_NUMBER:
        code = print_number(compiler, at->text, &word);
        break;
    }
    constants->words[constants->word_count++] =
        (struct automaton_text){.text = word, .label = GRAMMAR_NONE};
    return code;
}

/* Sorts texts and drops those that appear twice; returns how many are left. */
static uint32_t sort_texts(struct automaton_text *texts, uint32_t count)
{
    if (count == 0) {
        return 0;
    }
    qsort(texts, count, sizeof(texts[0]), automaton_compare_texts);
    uint32_t kept = 1;
    for (uint32_t index = 1; index < count; index++) {
        if (automaton_compare_texts(&texts[index], &texts[kept - 1]) != 0) {
            texts[kept++] = texts[index];
        }
    }
    return kept;
}

/* Adds the nodes of the strings and of the other scalars. */
static enum error_code add_tries(struct json_schema_compiler *compiler, struct constants *constants)
{
    struct automaton *pool = &compiler->program->automaton;
    struct automaton_draft draft;
    enum error_code code = ERROR_NONE;
    if (constants->string_count > 0) {
        uint32_t start = GRAMMAR_NONE;
        code =
            automaton_draft_trie(compiler->build, pool, constants->strings,
                                 sort_texts(constants->strings, constants->string_count), &draft);
        if (code == ERROR_NONE) {
            code = automaton_append(compiler->build, pool, &draft.automaton, &start);
        }
        if (code == ERROR_NONE) {
            code = add_string_node(compiler, start, 0, GRAMMAR_NONE,
                                   &constants->nodes[constants->node_count++]);
        }
    }
    if (code == ERROR_NONE && constants->word_count > 0) {
        code = automaton_draft_trie(compiler->build, pool, constants->words,
                                    sort_texts(constants->words, constants->word_count), &draft);
        if (code == ERROR_NONE) {
            code = grammar_program_add_bytes(compiler->build, compiler->program, &draft,
                                             &constants->nodes[constants->node_count++]);
        }
    }
    return code;
}

enum error_code json_schema_scalar_constants(struct json_schema_compiler *compiler,
                                             const uint32_t *values, uint32_t count, uint32_t types,
                                             uint32_t *node_out)
{
    struct constants constants = {
        .strings = grammar_build_alloc(compiler->build, count, sizeof(struct automaton_text)),
        .words = grammar_build_alloc(compiler->build, count, sizeof(struct automaton_text)),
        .nodes = grammar_build_alloc(compiler->build, (size_t)count + 2, sizeof(uint32_t))};
    if (constants.strings == NULL || constants.words == NULL || constants.nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < count; index++) {
        if (has_type(&compiler->tree.values[values[index]], types)) {
            code = sort_constant(compiler, values[index], &constants);
        }
    }
    if (code == ERROR_NONE) {
        code = add_tries(compiler, &constants);
    }
    uint32_t first = 0;
    if (code == ERROR_NONE) {
        code = grammar_program_add_list(compiler->build, compiler->program, constants.node_count,
                                        &first);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (constants.node_count > 0) {
        memcpy(compiler->program->lists + first, constants.nodes,
               constants.node_count * sizeof(uint32_t));
    }
    const struct program_node node = {
        .kind = PROGRAM_CHOICE, .first = first, .count = constants.node_count};
    return grammar_program_add(compiler->build, compiler->program, node, node_out);
}
