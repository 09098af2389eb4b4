/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/regex_tree.c - parser of regular expressions, as deep as groups may be nested.
 *
 * Thread: any. */
#include "grammar/regex_tree.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct grammar_build *build;
    struct regex_tree *tree;
    struct text text;
    size_t at;
    uint32_t depth;
};

/* A list of siblings under construction. */
struct siblings {
    uint32_t first;
    uint32_t last;
};

static const struct utf8_ranges digits[] = {{'0', '9'}};
static const struct utf8_ranges words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/* WhiteSpace and LineTerminator of ECMA 262. */
static const struct utf8_ranges spaces[] = {
    {0x09, 0x0d},     {0x20, 0x20},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const struct utf8_ranges line_ends[] = {{0x0a, 0x0a}, {0x0d, 0x0d}, {0x2028, 0x2029}};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

static enum error_code refuse(const struct parser *parser, const char *what)
{
    return grammar_build_fail(parser->build, ERROR_INVALID_ARGUMENT,
                              "regular expression: %s at byte %zu", what, parser->at);
}

static int next_byte(const struct parser *parser)
{
    return parser->at < parser->text.len ? (unsigned char)parser->text.bytes[parser->at] : -1;
}

static bool starts_with(const struct parser *parser, const char *prefix)
{
    const struct text rest = {.bytes = parser->text.bytes + parser->at,
                              .len = parser->text.len - parser->at};
    return text_starts_with(rest, text_from(prefix));
}

static enum error_code add_node(struct parser *parser, struct regex_node node, uint32_t *node_out)
{
    struct regex_tree *tree = parser->tree;
    const enum error_code code = grammar_build_spend(parser->build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    tree->nodes = grammar_build_grow(parser->build, tree->nodes, tree->node_count,
                                     &tree->node_capacity, sizeof(tree->nodes[0]));
    if (tree->nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    node.next = GRAMMAR_NONE;
    *node_out = tree->node_count++;
    tree->nodes[*node_out] = node;
    return ERROR_NONE;
}

static void append(struct parser *parser, struct siblings *siblings, uint32_t node)
{
    if (siblings->first == GRAMMAR_NONE) {
        siblings->first = node;
    } else {
        parser->tree->nodes[siblings->last].next = node;
    }
    siblings->last = node;
}

/* ---- Classes ---- */

static enum error_code add_range(struct parser *parser, uint32_t low, uint32_t high)
{
    struct regex_tree *tree = parser->tree;
    const enum error_code code = grammar_build_spend(parser->build, 1);
    if (code != ERROR_NONE) {
        return code;
    }
    tree->ranges = grammar_build_grow(parser->build, tree->ranges, tree->range_count,
                                      &tree->range_capacity, sizeof(tree->ranges[0]));
    if (tree->ranges == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    tree->ranges[tree->range_count++] = (struct utf8_ranges){.low = low, .high = high};
    return ERROR_NONE;
}

/* Adds what lies between ranges that are ascending and apart. */
static enum error_code add_complement(struct parser *parser, const struct utf8_ranges *ranges,
                                      uint32_t count)
{
    uint32_t low = 0;
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < count; index++) {
        if (ranges[index].low > low) {
            code = add_range(parser, low, ranges[index].low - 1);
        }
        low = ranges[index].high + 1;
    }
    if (code == ERROR_NONE && low <= UTF8_POINT_MAX) {
        code = add_range(parser, low, UTF8_POINT_MAX);
    }
    return code;
}

static enum error_code add_ranges(struct parser *parser, const struct utf8_ranges *ranges,
                                  uint32_t count)
{
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < count; index++) {
        code = add_range(parser, ranges[index].low, ranges[index].high);
    }
    return code;
}

static int compare_ranges(const void *left_pointer, const void *right_pointer)
{
    const struct utf8_ranges *left = left_pointer;
    const struct utf8_ranges *right = right_pointer;
    return (left->low > right->low) - (left->low < right->low);
}

/* Sorts and joins the ranges from `begin` on. */
static void normalise_ranges(struct regex_tree *tree, uint32_t begin)
{
    if (begin == tree->range_count) {
        return;
    }
    struct utf8_ranges *ranges = tree->ranges + begin;
    const uint32_t count = tree->range_count - begin;
    qsort(ranges, count, sizeof(ranges[0]), compare_ranges);
    uint32_t kept = 0;
    for (uint32_t index = 1; index < count; index++) {
        if (ranges[index].low <= ranges[kept].high + 1) {
            if (ranges[index].high > ranges[kept].high) {
                ranges[kept].high = ranges[index].high;
            }
        } else {
            ranges[++kept] = ranges[index];
        }
    }
    tree->range_count = begin + kept + 1;
}

static enum error_code add_class(struct parser *parser, uint32_t begin, uint32_t *node_out)
{
    const struct regex_node node = {.kind = REGEX_CLASS,
                                    .first = GRAMMAR_NONE,
                                    .range_begin = begin,
                                    .range_count = parser->tree->range_count - begin};
    return add_node(parser, node, node_out);
}

/* Adds the ranges of \d and its like; false: the letter is none of them. */
static bool add_shorthand(struct parser *parser, int letter, enum error_code *code_out)
{
    switch (letter) {
    case 'd':
        *code_out = add_ranges(parser, digits, COUNT(digits));
        return true;
    case 'D':
        *code_out = add_complement(parser, digits, COUNT(digits));
        return true;
    case 'w':
        *code_out = add_ranges(parser, words, COUNT(words));
        return true;
    case 'W':
        *code_out = add_complement(parser, words, COUNT(words));
        return true;
    case 's':
        *code_out = add_ranges(parser, spaces, COUNT(spaces));
        return true;
    case 'S':
        *code_out = add_complement(parser, spaces, COUNT(spaces));
        return true;
    default:
        return false;
    }
}

/* ---- Characters ---- */

static uint32_t take_point(struct parser *parser)
{
    const unsigned char *bytes = (const unsigned char *)parser->text.bytes + parser->at;
    const uint32_t len = bytes[0] < 0x80 ? 1 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = bytes[0] & masks[len];
    for (uint32_t index = 1; index < len; index++) {
        point = point << 6 | (bytes[index] & 0x3f);
    }
    parser->at += len;
    return point;
}

/* Takes hexadecimal digits: exactly count of them, or (0) as many as there are up to a brace. */
static enum error_code take_hex(struct parser *parser, uint32_t count, uint32_t *point_out)
{
    uint32_t value = 0;
    uint32_t taken = 0;
    for (; taken < (count > 0 ? count : 6); taken++) {
        const int byte = next_byte(parser);
        const int lower = byte | 0x20;
        if (byte >= '0' && byte <= '9') {
            value = value * 16 + (uint32_t)(byte - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value * 16 + (uint32_t)(lower - 'a' + 10);
        } else {
            break;
        }
        parser->at++;
    }
    const bool closed = count > 0 || next_byte(parser) == '}';
    if (taken < (count > 0 ? count : 1) || !closed || value > UTF8_POINT_MAX ||
        (value >= 0xd800 && value <= 0xdfff)) {
        return refuse(parser, "a bad character code");
    }
    parser->at += count > 0 ? 0 : 1;
    *point_out = value;
    return ERROR_NONE;
}

/* Takes what follows a backslash and stands for one character. */
static enum error_code take_escaped_point(struct parser *parser, uint32_t *point_out)
{
    static const char letters[] = "tnrfv";
    static const char values[] = "\t\n\r\f\v";
    const int letter = next_byte(parser);
    const char *found = letter > 0 ? strchr(letters, letter) : NULL;
    if (found != NULL) {
        parser->at++;
        *point_out = (uint32_t)values[found - letters];
        return ERROR_NONE;
    }
    if (letter == 'x' || letter == 'u') {
        parser->at++;
        const bool braced = letter == 'u' && next_byte(parser) == '{';
        parser->at += braced ? 1 : 0;
        return take_hex(parser, braced ? 0 : letter == 'x' ? 2 : 4, point_out);
    }
    const bool punctuation =
        (letter >= 0x21 && letter <= 0x2f) || (letter >= 0x3a && letter <= 0x40) ||
        (letter >= 0x5b && letter <= 0x60 && letter != '_') || (letter >= 0x7b && letter <= 0x7e);
    if (!punctuation) {
        return refuse(parser, letter < 0 ? "a backslash at the end" : "an unsupported escape");
    }
    parser->at++;
    *point_out = (uint32_t)letter;
    return ERROR_NONE;
}

/* Takes one character of a class; *single_out is false when it was a shorthand, now added. */
static enum error_code take_class_item(struct parser *parser, uint32_t *point_out, bool *single_out)
{
    *single_out = true;
    if (next_byte(parser) < 0) {
        return refuse(parser, "a class without an end");
    }
    if (next_byte(parser) != '\\') {
        *point_out = take_point(parser);
        return ERROR_NONE;
    }
    parser->at++;
    enum error_code code;
    if (add_shorthand(parser, next_byte(parser), &code)) {
        parser->at++;
        *single_out = false;
        return code;
    }
    return take_escaped_point(parser, point_out);
}

static enum error_code take_class_range(struct parser *parser)
{
    uint32_t low;
    uint32_t high;
    bool single;
    enum error_code code = take_class_item(parser, &low, &single);
    if (code != ERROR_NONE) {
        return code;
    }
    const bool is_range = next_byte(parser) == '-' && parser->at + 1 < parser->text.len &&
                          parser->text.bytes[parser->at + 1] != ']';
    if (!is_range) {
        return single ? add_range(parser, low, low) : ERROR_NONE;
    }
    if (!single) {
        return refuse(parser, "a range that starts with a class");
    }
    parser->at++;
    code = take_class_item(parser, &high, &single);
    if (code != ERROR_NONE) {
        return code;
    }
    if (!single || high < low) {
        return refuse(parser, "a range that ends before it begins");
    }
    return add_range(parser, low, high);
}

/* Takes a class from its bracket on. */
static enum error_code take_class(struct parser *parser, uint32_t *node_out)
{
    struct regex_tree *tree = parser->tree;
    const uint32_t begin = tree->range_count;
    parser->at++;
    const bool negated = next_byte(parser) == '^';
    parser->at += negated ? 1 : 0;
    if (next_byte(parser) == ']') {
        return refuse(parser, "an empty class");
    }
    while (next_byte(parser) != ']') {
        const enum error_code code = take_class_range(parser);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    parser->at++;
    normalise_ranges(tree, begin);
    if (!negated) {
        return add_class(parser, begin, node_out);
    }
    const uint32_t count = tree->range_count - begin;
    struct utf8_ranges *positive = grammar_build_alloc(parser->build, count, sizeof(positive[0]));
    if (positive == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    memcpy(positive, tree->ranges + begin, count * sizeof(positive[0]));
    tree->range_count = begin;
    const enum error_code code = add_complement(parser, positive, count);
    return code != ERROR_NONE ? code : add_class(parser, begin, node_out);
}

/* ---- Atoms and repetition ---- */

static enum error_code take_alternatives(struct parser *parser, uint32_t *node_out);

/* Takes "(?:" and its like; what is special after "(?" and not one of them is refused. */
static enum error_code take_group_head(struct parser *parser)
{
    parser->at++;
    if (next_byte(parser) != '?') {
        return ERROR_NONE;
    }
    if (starts_with(parser, "?:")) {
        parser->at += 2;
        return ERROR_NONE;
    }
    const size_t head = starts_with(parser, "?P<") ? 3 : starts_with(parser, "?<") ? 2 : 0;
    parser->at += head;
    const size_t begin = parser->at;
    while (head > 0 && next_byte(parser) > 0 &&
           (next_byte(parser) == '_' ||
            ((next_byte(parser) | 0x20) >= 'a' && (next_byte(parser) | 0x20) <= 'z') ||
            (next_byte(parser) >= '0' && next_byte(parser) <= '9'))) {
        parser->at++;
    }
    if (parser->at == begin || next_byte(parser) != '>') {
        return refuse(parser, "an unsupported group");
    }
    parser->at++;
    return ERROR_NONE;
}

static enum error_code take_group(struct parser *parser, uint32_t *node_out)
{
    if (++parser->depth > GRAMMAR_DEPTH_MAX) {
        return refuse(parser, "groups nested deeper than 32");
    }
    enum error_code code = take_group_head(parser);
    if (code == ERROR_NONE) {
        code = take_alternatives(parser, node_out);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (next_byte(parser) != ')') {
        return refuse(parser, "a group without an end");
    }
    parser->at++;
    parser->depth--;
    return ERROR_NONE;
}

static enum error_code take_backslash(struct parser *parser, uint32_t *node_out)
{
    const uint32_t begin = parser->tree->range_count;
    uint32_t point;
    enum error_code code;
    parser->at++;
    if (add_shorthand(parser, next_byte(parser), &code)) {
        parser->at++;
    } else {
        code = take_escaped_point(parser, &point);
        if (code == ERROR_NONE) {
            code = add_range(parser, point, point);
        }
    }
    return code != ERROR_NONE ? code : add_class(parser, begin, node_out);
}

/* Takes what a repetition may follow, or an anchor. */
static enum error_code take_atom(struct parser *parser, uint32_t *node_out)
{
    const uint32_t begin = parser->tree->range_count;
    enum error_code code;
    switch (next_byte(parser)) {
    case '(':
        return take_group(parser, node_out);
    case '[':
        return take_class(parser, node_out);
    case '\\':
        return take_backslash(parser, node_out);
    case '^':
    case '$': {
        const bool is_begin = next_byte(parser) == '^';
        parser->at++;
        return add_node(
            parser,
            (struct regex_node){.kind = is_begin ? REGEX_BEGIN : REGEX_END, .first = GRAMMAR_NONE},
            node_out);
    }
    case '*':
    case '+':
    case '?':
    case '{':
        return refuse(parser, "nothing to repeat");
    case '.':
        parser->at++;
        code = add_complement(parser, line_ends, COUNT(line_ends));
        break;
    default: {
        const uint32_t point = take_point(parser);
        code = add_range(parser, point, point);
        break;
    }
    }
    return code != ERROR_NONE ? code : add_class(parser, begin, node_out);
}

/* Takes a decimal number; false: there is none. Values above the limit are clipped to past it. */
static bool take_number(struct parser *parser, uint32_t *value_out)
{
    const size_t begin = parser->at;
    uint32_t value = 0;
    for (; next_byte(parser) >= '0' && next_byte(parser) <= '9'; parser->at++) {
        value = value * 10 + (uint32_t)(next_byte(parser) - '0');
        value = value > GRAMMAR_REPEAT_MAX ? GRAMMAR_REPEAT_MAX + 1 : value;
    }
    *value_out = value;
    return parser->at > begin;
}

/* Takes "{n}", "{n,}" or "{n,m}". */
static enum error_code take_counts(struct parser *parser, uint32_t *min_out, uint32_t *max_out)
{
    parser->at++;
    if (!take_number(parser, min_out)) {
        return refuse(parser, "a bad repetition");
    }
    *max_out = *min_out;
    if (next_byte(parser) == ',') {
        parser->at++;
        if (!take_number(parser, max_out)) {
            *max_out = GRAMMAR_NONE;
        }
    }
    if (next_byte(parser) != '}') {
        return refuse(parser, "a bad repetition");
    }
    parser->at++;
    if (*min_out > GRAMMAR_REPEAT_MAX ||
        (*max_out > GRAMMAR_REPEAT_MAX && *max_out != GRAMMAR_NONE)) {
        return refuse(parser, "a repetition above 1000");
    }
    return *min_out > *max_out ? refuse(parser, "a repetition of n to less than n") : ERROR_NONE;
}

/* Takes the repetition of the atom, if there is one. */
static enum error_code take_repeat(struct parser *parser, uint32_t atom, uint32_t *node_out)
{
    uint32_t min = 0;
    uint32_t max = GRAMMAR_NONE;
    *node_out = atom;
    switch (next_byte(parser)) {
    case '*':
        parser->at++;
        break;
    case '+':
        min = 1;
        parser->at++;
        break;
    case '?':
        max = 1;
        parser->at++;
        break;
    case '{': {
        const enum error_code code = take_counts(parser, &min, &max);
        if (code != ERROR_NONE) {
            return code;
        }
        break;
    }
    default:
        return ERROR_NONE;
    }
    const enum regex_kind kind = parser->tree->nodes[atom].kind;
    if (kind == REGEX_BEGIN || kind == REGEX_END) {
        return refuse(parser, "a repeated anchor");
    }
    parser->at += next_byte(parser) == '?' ? 1 : 0; /* Lazy: the same texts. */
    const int next = next_byte(parser);
    if (next == '*' || next == '+' || next == '?' || next == '{') {
        return refuse(parser, "a repetition of a repetition");
    }
    return add_node(
        parser, (struct regex_node){.kind = REGEX_REPEAT, .first = atom, .min = min, .max = max},
        node_out);
}

static enum error_code take_sequence(struct parser *parser, uint32_t *node_out)
{
    struct siblings siblings = {.first = GRAMMAR_NONE};
    while (next_byte(parser) >= 0 && next_byte(parser) != '|' && next_byte(parser) != ')') {
        uint32_t atom = GRAMMAR_NONE;
        uint32_t repeat;
        enum error_code code = take_atom(parser, &atom);
        if (code == ERROR_NONE) {
            code = take_repeat(parser, atom, &repeat);
        }
        if (code != ERROR_NONE) {
            return code;
        }
        append(parser, &siblings, repeat);
    }
    return add_node(parser, (struct regex_node){.kind = REGEX_SEQUENCE, .first = siblings.first},
                    node_out);
}

static enum error_code take_alternatives(struct parser *parser, uint32_t *node_out)
{
    struct siblings siblings = {.first = GRAMMAR_NONE};
    for (;;) {
        uint32_t sequence;
        const enum error_code code = take_sequence(parser, &sequence);
        if (code != ERROR_NONE) {
            return code;
        }
        append(parser, &siblings, sequence);
        if (next_byte(parser) != '|') {
            break;
        }
        parser->at++;
    }
    if (siblings.first == siblings.last) {
        *node_out = siblings.first;
        return ERROR_NONE;
    }
    return add_node(
        parser, (struct regex_node){.kind = REGEX_ALTERNATIVES, .first = siblings.first}, node_out);
}

enum error_code regex_tree_parse(struct grammar_build *build, struct text pattern,
                                 struct regex_tree *tree_out)
{
    *tree_out = (struct regex_tree){0};
    struct parser parser = {.build = build, .tree = tree_out, .text = pattern};
    if (!utf8_is_valid(pattern)) {
        return grammar_build_fail(build, ERROR_INVALID_ARGUMENT, "regular expression: not UTF-8");
    }
    const enum error_code code = take_alternatives(&parser, &tree_out->root);
    if (code != ERROR_NONE) {
        return code;
    }
    return parser.at < pattern.len ? refuse(&parser, "a ) without its (") : ERROR_NONE;
}
