/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/json_tree.c - a parser without recursion: the tree's own parents are the stack.
 *
 * Thread: any. */
#include "grammar/json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/utf8_ranges.h"

struct parser {
    struct grammar_build *build;
    struct json_tree *tree;
    struct text text;
    size_t at;
    uint32_t container; /* Open array or object; GRAMMAR_NONE: the top. */
    uint32_t last;      /* Its last child so far; GRAMMAR_NONE: none. */
    uint32_t depth;
};

static enum error_code refuse(const struct parser *parser, const char *what)
{
    return grammar_build_fail(parser->build, ERROR_INVALID_ARGUMENT, "invalid JSON: %s at byte %zu",
                              what, parser->at);
}

static int next_byte(const struct parser *parser)
{
    return parser->at < parser->text.len ? (unsigned char)parser->text.bytes[parser->at] : -1;
}

static void skip_white(struct parser *parser)
{
    int byte = next_byte(parser);
    while (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') {
        parser->at++;
        byte = next_byte(parser);
    }
}

/* ---- Strings ---- */

static int hex_value(int byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Takes "\uXXXX"; -1 when it is not there. */
static int32_t take_unit(struct parser *parser)
{
    const size_t at = parser->at;
    if (at + 6 > parser->text.len || memcmp(parser->text.bytes + at, "\\u", 2) != 0) {
        return -1;
    }
    int32_t unit = 0;
    for (size_t index = at + 2; index < at + 6; index++) {
        const int digit = hex_value((unsigned char)parser->text.bytes[index]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    parser->at += 6;
    return unit;
}

static enum error_code take_escape(struct parser *parser, char *out, size_t *len)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const int letter =
        parser->at + 1 < parser->text.len ? parser->text.bytes[parser->at + 1] : '\0';
    const char *found = letter != '\0' ? strchr(letters, letter) : NULL;
    if (found != NULL) {
        out[(*len)++] = values[found - letters];
        parser->at += 2;
        return ERROR_NONE;
    }
    const int32_t unit = take_unit(parser);
    if (unit < 0) {
        return refuse(parser, "a bad escape");
    }
    if (unit < 0xd800 || unit > 0xdfff) {
        *len += utf8_encode((uint32_t)unit, (unsigned char *)out + *len);
        return ERROR_NONE;
    }
    const int32_t low = unit < 0xdc00 ? take_unit(parser) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        return refuse(parser, "a lone surrogate");
    }
    const uint32_t point = 0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    *len += utf8_encode(point, (unsigned char *)out + *len);
    return ERROR_NONE;
}

/* Takes a string with its quotes; the decoded text is never longer than the written one. */
static enum error_code take_string(struct parser *parser, struct text *text_out)
{
    const char *begin = parser->text.bytes + parser->at + 1;
    const char *limit = parser->text.bytes + parser->text.len;
    const char *end = begin;
    while (end < limit && *end != '"') {
        end += *end == '\\' && end + 1 < limit ? 2 : 1;
    }
    if (end >= limit) {
        return refuse(parser, "a string without an end");
    }
    char *out = grammar_build_alloc(parser->build, (size_t)(end - begin) + 1, 1);
    if (out == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    size_t len = 0;
    for (parser->at++; next_byte(parser) != '"';) {
        const int byte = next_byte(parser);
        if (byte < 0x20) {
            return refuse(parser, "a control character");
        }
        if (byte == '\\') {
            const enum error_code code = take_escape(parser, out, &len);
            if (code != ERROR_NONE) {
                return code;
            }
        } else {
            out[len++] = (char)byte;
            parser->at++;
        }
    }
    parser->at++;
    *text_out = (struct text){.bytes = out, .len = len};
    return ERROR_NONE;
}

/* ---- Numbers ---- */

static size_t take_digits(struct parser *parser)
{
    const size_t begin = parser->at;
    while (next_byte(parser) >= '0' && next_byte(parser) <= '9') {
        parser->at++;
    }
    return parser->at - begin;
}

static enum error_code take_number(struct parser *parser, struct text *text_out)
{
    const size_t begin = parser->at;
    parser->at += next_byte(parser) == '-' ? 1 : 0;
    const bool zero = next_byte(parser) == '0';
    const size_t whole = take_digits(parser);
    if (whole == 0 || (zero && whole > 1)) {
        return refuse(parser, "a bad number");
    }
    if (next_byte(parser) == '.') {
        parser->at++;
        if (take_digits(parser) == 0) {
            return refuse(parser, "a bad number");
        }
    }
    if (next_byte(parser) == 'e' || next_byte(parser) == 'E') {
        parser->at++;
        parser->at += next_byte(parser) == '-' || next_byte(parser) == '+' ? 1 : 0;
        if (take_digits(parser) == 0) {
            return refuse(parser, "a bad number");
        }
    }
    *text_out = (struct text){.bytes = parser->text.bytes + begin, .len = parser->at - begin};
    return ERROR_NONE;
}

/* ---- The tree ---- */

static enum error_code take_word(struct parser *parser, const char *word)
{
    const size_t len = strlen(word);
    if (parser->text.len - parser->at < len ||
        memcmp(parser->text.bytes + parser->at, word, len) != 0) {
        return refuse(parser, "an unknown word");
    }
    parser->at += len;
    return ERROR_NONE;
}

static enum error_code take_scalar(struct parser *parser, struct json_tree_value *value)
{
    const int byte = next_byte(parser);
    switch (byte) {
    case '"':
        value->type = JSON_TREE_STRING;
        return take_string(parser, &value->text);
    case 't':
        value->type = JSON_TREE_TRUE;
        return take_word(parser, "true");
    case 'f':
        value->type = JSON_TREE_FALSE;
        return take_word(parser, "false");
    case 'n':
        value->type = JSON_TREE_NULL;
        return take_word(parser, "null");
    default:
        if (byte != '-' && (byte < '0' || byte > '9')) {
            return refuse(parser, byte < 0 ? "the end" : "an unexpected character");
        }
        value->type = JSON_TREE_NUMBER;
        return take_number(parser, &value->text);
    }
}

/* Appends a value to the open container. */
static enum error_code link_value(struct parser *parser, struct json_tree_value value)
{
    struct json_tree *tree = parser->tree;
    tree->values = grammar_build_grow(parser->build, tree->values, tree->value_count,
                                      &tree->value_capacity, sizeof(tree->values[0]));
    if (tree->values == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    const uint32_t index = tree->value_count++;
    tree->values[index] = value;
    if (parser->container != GRAMMAR_NONE) {
        struct json_tree_value *container = &tree->values[parser->container];
        container->count++;
        if (parser->last == GRAMMAR_NONE) {
            container->first = index;
        } else {
            tree->values[parser->last].next = index;
        }
    }
    parser->last = index;
    return ERROR_NONE;
}

/* Takes a value, of a container only the bracket: it is then the open one. */
static enum error_code take_value(struct parser *parser, struct text key)
{
    struct json_tree_value value = {
        .parent = parser->container, .first = GRAMMAR_NONE, .next = GRAMMAR_NONE, .key = key};
    const int byte = next_byte(parser);
    if (byte != '{' && byte != '[') {
        const enum error_code code = take_scalar(parser, &value);
        return code != ERROR_NONE ? code : link_value(parser, value);
    }
    value.type = byte == '{' ? JSON_TREE_OBJECT : JSON_TREE_ARRAY;
    if (++parser->depth > JSON_TREE_DEPTH_MAX) {
        return refuse(parser, "more than 64 levels");
    }
    parser->at++;
    const enum error_code code = link_value(parser, value);
    if (code == ERROR_NONE) {
        parser->container = parser->last;
        parser->last = GRAMMAR_NONE;
    }
    return code;
}

static int compare_keys(const void *left_pointer, const void *right_pointer)
{
    const struct text *left = left_pointer;
    const struct text *right = right_pointer;
    if (left->len != right->len) {
        return left->len < right->len ? -1 : 1;
    }
    return memcmp(left->bytes, right->bytes, left->len);
}

static enum error_code check_keys(struct parser *parser, uint32_t object)
{
    const struct json_tree_value *values = parser->tree->values;
    const uint32_t count = values[object].count;
    struct text *keys = grammar_build_alloc(parser->build, count, sizeof(keys[0]));
    if (keys == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    uint32_t index = 0;
    for (uint32_t child = values[object].first; child != GRAMMAR_NONE; child = values[child].next) {
        keys[index++] = values[child].key;
    }
    qsort(keys, count, sizeof(keys[0]), compare_keys);
    for (index = 1; index < count; index++) {
        if (text_equals(keys[index - 1], keys[index])) {
            return grammar_build_fail(parser->build, ERROR_INVALID_ARGUMENT,
                                      "invalid JSON: the key \"%.*s\" appears twice",
                                      (int)(keys[index].len < 64 ? keys[index].len : 64),
                                      keys[index].bytes);
        }
    }
    return ERROR_NONE;
}

/* Takes the closing bracket: the container's parent is open again. */
static enum error_code close_container(struct parser *parser)
{
    const uint32_t closed = parser->container;
    parser->at++;
    parser->depth--;
    parser->container = parser->tree->values[closed].parent;
    parser->last = closed;
    return parser->tree->values[closed].type == JSON_TREE_OBJECT ? check_keys(parser, closed)
                                                                 : ERROR_NONE;
}

/* Takes one member or element of the open container, or its end. */
static enum error_code take_child(struct parser *parser)
{
    const bool in_object = parser->tree->values[parser->container].type == JSON_TREE_OBJECT;
    skip_white(parser);
    if (next_byte(parser) == (in_object ? '}' : ']')) {
        return close_container(parser);
    }
    if (parser->last != GRAMMAR_NONE) {
        if (next_byte(parser) != ',') {
            return refuse(parser, "no comma");
        }
        parser->at++;
        skip_white(parser);
    }
    struct text key = {0};
    if (in_object) {
        if (next_byte(parser) != '"') {
            return refuse(parser, "no key");
        }
        const enum error_code code = take_string(parser, &key);
        if (code != ERROR_NONE) {
            return code;
        }
        skip_white(parser);
        if (next_byte(parser) != ':') {
            return refuse(parser, "no colon");
        }
        parser->at++;
        skip_white(parser);
    }
    return take_value(parser, key);
}

enum error_code json_tree_parse(struct grammar_build *build, struct text text,
                                struct json_tree *tree_out)
{
    *tree_out = (struct json_tree){0};
    struct parser parser = {.build = build,
                            .tree = tree_out,
                            .text = text,
                            .container = GRAMMAR_NONE,
                            .last = GRAMMAR_NONE};
    if (!utf8_is_valid(text)) {
        return grammar_build_fail(build, ERROR_INVALID_ARGUMENT, "invalid JSON: not UTF-8");
    }
    enum error_code code = grammar_build_spend(build, text.len);
    if (code == ERROR_NONE) {
        skip_white(&parser);
        code = take_value(&parser, (struct text){0});
    }
    while (code == ERROR_NONE && parser.container != GRAMMAR_NONE) {
        code = take_child(&parser);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    skip_white(&parser);
    return parser.at < text.len ? refuse(&parser, "text after the end") : ERROR_NONE;
}

/* ---- Looking at it ---- */

uint32_t json_tree_member(const struct json_tree *tree, uint32_t object, struct text key)
{
    if (tree->values[object].type != JSON_TREE_OBJECT) {
        return GRAMMAR_NONE;
    }
    uint32_t child = tree->values[object].first;
    while (child != GRAMMAR_NONE && !text_equals(tree->values[child].key, key)) {
        child = tree->values[child].next;
    }
    return child;
}

static uint32_t element(const struct json_tree *tree, uint32_t array, struct text index_text)
{
    uint64_t index;
    if (!text_to_uint64(index_text, &index)) {
        return GRAMMAR_NONE;
    }
    uint32_t child = tree->values[array].first;
    for (; child != GRAMMAR_NONE && index > 0; index--) {
        child = tree->values[child].next;
    }
    return child;
}

/* Undoes ~0 and ~1 in place (RFC 6901, section 4). */
static void unescape_token(char *bytes, size_t *len)
{
    size_t kept = 0;
    for (size_t at = 0; at < *len; at++, kept++) {
        bytes[kept] = bytes[at];
        if (bytes[at] == '~' && at + 1 < *len) {
            at++;
            bytes[kept] = bytes[at] == '1' ? '/' : '~';
        }
    }
    *len = kept;
}

uint32_t json_tree_find(const struct json_tree *tree, struct text pointer)
{
    if (pointer.len == 0 || pointer.bytes[0] != '#') {
        return GRAMMAR_NONE;
    }
    struct text rest = {.bytes = pointer.bytes + 1, .len = pointer.len - 1};
    if (rest.len > 0 && rest.bytes[0] != '/') {
        return GRAMMAR_NONE;
    }
    uint32_t value = 0;
    while (rest.len > 0 && value != GRAMMAR_NONE) {
        char token[256];
        rest.bytes++;
        rest.len--;
        const char *slash = memchr(rest.bytes, '/', rest.len);
        size_t len = slash != NULL ? (size_t)(slash - rest.bytes) : rest.len;
        if (len > sizeof(token)) {
            return GRAMMAR_NONE;
        }
        memcpy(token, rest.bytes, len);
        rest.bytes += len;
        rest.len -= len;
        unescape_token(token, &len);
        const struct text name = {.bytes = token, .len = len};
        value = tree->values[value].type == JSON_TREE_ARRAY ? element(tree, value, name)
                                                            : json_tree_member(tree, value, name);
    }
    return value;
}

static uint32_t position_in_parent(const struct json_tree *tree, uint32_t value)
{
    uint32_t position = 0;
    uint32_t child = tree->values[tree->values[value].parent].first;
    for (; child != value; child = tree->values[child].next) {
        position++;
    }
    return position;
}

void json_tree_path(const struct json_tree *tree, uint32_t value, char *buffer, size_t capacity)
{
    uint32_t chain[JSON_TREE_DEPTH_MAX + 1];
    size_t count = 0;
    for (; value != GRAMMAR_NONE && value != 0 && count <= JSON_TREE_DEPTH_MAX;
         value = tree->values[value].parent) {
        chain[count++] = value;
    }
    size_t used = (size_t)snprintf(buffer, capacity, "#");
    while (count > 0 && used < capacity) {
        const struct json_tree_value *part = &tree->values[chain[--count]];
        int written;
        if (tree->values[part->parent].type == JSON_TREE_ARRAY) {
            written = snprintf(buffer + used, capacity - used, "/%u",
                               position_in_parent(tree, chain[count]));
        } else {
            written = snprintf(buffer + used, capacity - used, "/%.*s",
                               (int)(part->key.len < 64 ? part->key.len : 64), part->key.bytes);
        }
        used += written > 0 ? (size_t)written : 0;
    }
}
