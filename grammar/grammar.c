/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar.c - parts into one program, within budgets.
 *
 * Thread: any, one compilation each. */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/grammar_program.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"

enum { PART_DEPTH_MAX = 8 };

/* A part and the node it became: checked at the end, when it is known what can match. */
struct part_node {
    struct text name;
    uint32_t node;
};

struct compiler {
    struct grammar_build build;
    struct grammar_program program;
    const struct grammar_options *options;
    size_t text_bytes; /* Of all parts so far. */
    uint32_t depth;
    struct part_node *parts;
    uint32_t part_count;
    uint32_t part_capacity;
};

static enum error_code compile_part(struct compiler *compiler, const struct grammar_part *part,
                                    uint32_t *node_out);

static enum error_code add_node(struct compiler *compiler, struct program_node node,
                                uint32_t *node_out)
{
    return grammar_program_add(&compiler->build, &compiler->program, node, node_out);
}

static bool is_nullable(const struct compiler *compiler, uint32_t node)
{
    return compiler->program.nodes[node].nullable;
}

static enum error_code count_text(struct compiler *compiler, struct text text)
{
    compiler->text_bytes += text.len;
    if (text.len > GRAMMAR_INPUT_BYTES_MAX || compiler->text_bytes > GRAMMAR_INPUT_BYTES_MAX) {
        return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT, "more than %d bytes",
                                  GRAMMAR_INPUT_BYTES_MAX);
    }
    return ERROR_NONE;
}

/* ---- Parts without parts ---- */

static enum error_code check_text(struct compiler *compiler, struct text text)
{
    return utf8_is_valid(text) ? ERROR_NONE
                               : grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT,
                                                    "the text is not UTF-8");
}

static enum error_code compile_text(struct compiler *compiler, struct text text, uint32_t *node_out)
{
    const enum error_code code = check_text(compiler, text);
    return code != ERROR_NONE
               ? code
               : grammar_program_add_text(&compiler->build, &compiler->program, text, node_out);
}

static enum error_code compile_regex(struct compiler *compiler, struct text pattern,
                                     uint32_t *node_out)
{
    struct automaton_draft draft;
    const enum error_code code =
        regex_compile(&compiler->build, pattern, REGEX_MATCH_WHOLE, &draft);
    return code != ERROR_NONE
               ? code
               : grammar_program_add_bytes(&compiler->build, &compiler->program, &draft, node_out);
}

static enum error_code compile_json(struct compiler *compiler, const struct grammar_part *part,
                                    uint32_t *node_out)
{
    const struct json_schema_options options = {
        .closed = compiler->options->objects == GRAMMAR_OBJECTS_CLOSED,
        .schema_order = compiler->options->order == GRAMMAR_ORDER_SCHEMA};
    struct program_node node = {.kind = PROGRAM_JSON};
    const enum error_code code =
        part->kind == GRAMMAR_PART_SCHEMA
            ? json_schema_compile(&compiler->build, &compiler->program, part->text, options,
                                  &node.child)
            : json_schema_any_object(&compiler->build, &compiler->program, &node.child);
    return code != ERROR_NONE ? code : add_node(compiler, node, node_out);
}

/* ---- Sequences and repetitions ---- */

/* The parts from `first` on, in turn. */
static enum error_code compile_sequence(struct compiler *compiler, const struct grammar_part *part,
                                        uint32_t first, uint32_t *node_out)
{
    struct program_node node = {
        .kind = PROGRAM_SEQUENCE, .count = part->part_count - first, .nullable = true};
    enum error_code code =
        grammar_program_add_list(&compiler->build, &compiler->program, node.count, &node.first);
    for (uint32_t index = 0; code == ERROR_NONE && index < node.count; index++) {
        uint32_t one = 0;
        code = compile_part(compiler, &part->parts[first + index], &one);
        if (code == ERROR_NONE) {
            compiler->program.lists[node.first + index] = one;
            node.nullable = node.nullable && is_nullable(compiler, one);
        }
    }
    return code != ERROR_NONE ? code : add_node(compiler, node, node_out);
}

static enum error_code compile_repeat(struct compiler *compiler, const struct grammar_part *part,
                                      uint32_t *node_out)
{
    struct program_node node = {.kind = PROGRAM_REPEAT,
                                .min = part->min,
                                .max = part->max == 0 ? GRAMMAR_NONE : part->max,
                                .nullable = part->min == 0};
    if (part->part_count != 1 || node.min > node.max) {
        return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT,
                                  "a repetition of %u parts, %u to %u times", part->part_count,
                                  node.min, node.max);
    }
    const enum error_code code = compile_part(compiler, &part->parts[0], &node.child);
    if (code == ERROR_NONE && is_nullable(compiler, node.child)) {
        return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT,
                                  "a repetition of what may be empty");
    }
    return code != ERROR_NONE ? code : add_node(compiler, node, node_out);
}

/* ---- Choices ---- */

/* Alternatives that begin with a text, as the trie sees them: the label is what follows. */
struct led_alternatives {
    struct automaton_text *texts; /* [count] */
    uint32_t count;
    bool any_rest;  /* For some alternative something follows. */
    uint32_t empty; /* A node that matches only the empty text, + 1; 0: none yet. */
};

static bool is_led(const struct grammar_part *part)
{
    return part->kind == GRAMMAR_PART_TEXT ||
           (part->kind == GRAMMAR_PART_SEQUENCE && part->part_count > 0 &&
            part->parts[0].kind == GRAMMAR_PART_TEXT);
}

static enum error_code add_led(struct compiler *compiler, const struct grammar_part *part,
                               struct led_alternatives *led)
{
    const struct text text = part->kind == GRAMMAR_PART_TEXT ? part->text : part->parts[0].text;
    const struct text outer_name = compiler->build.part_name;
    uint32_t label = GRAMMAR_NONE;
    compiler->build.part_name = part->name.len > 0 ? part->name : outer_name;
    enum error_code code = count_text(compiler, text);
    if (code == ERROR_NONE) {
        code = check_text(compiler, text);
    }
    if (code == ERROR_NONE && part->kind == GRAMMAR_PART_SEQUENCE && part->part_count > 1) {
        code = compile_sequence(compiler, part, 1, &label);
        led->any_rest = true;
    }
    led->texts[led->count++] = (struct automaton_text){.text = text, .label = label};
    if (code == ERROR_NONE) {
        compiler->build.part_name = outer_name;
    }
    return code;
}

/* Gives a label to alternatives after which nothing follows, when others have one. */
static enum error_code label_all(struct compiler *compiler, struct led_alternatives *led)
{
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && led->any_rest && index < led->count; index++) {
        if (led->texts[index].label != GRAMMAR_NONE) {
            continue;
        }
        if (led->empty == 0) {
            code = add_node(compiler,
                            (struct program_node){.kind = PROGRAM_SEQUENCE, .nullable = true},
                            &led->empty);
            led->empty++;
        }
        led->texts[index].label = led->empty - 1;
    }
    return code;
}

/* Joins alternatives of the same text: their label becomes a choice of what follows. */
static enum error_code join_equal(struct compiler *compiler, struct led_alternatives *led)
{
    qsort(led->texts, led->count, sizeof(led->texts[0]), automaton_compare_texts);
    uint32_t kept = 0;
    enum error_code code = ERROR_NONE;
    for (uint32_t begin = 0; code == ERROR_NONE && begin < led->count;) {
        uint32_t end = begin + 1;
        while (end < led->count &&
               automaton_compare_texts(&led->texts[begin], &led->texts[end]) == 0) {
            end++;
        }
        led->texts[kept] = led->texts[begin];
        if (end - begin > 1 && led->any_rest) {
            struct program_node node = {.kind = PROGRAM_CHOICE, .count = end - begin};
            code = grammar_program_add_list(&compiler->build, &compiler->program, node.count,
                                            &node.first);
            for (uint32_t index = begin; code == ERROR_NONE && index < end; index++) {
                const uint32_t label = led->texts[index].label;
                compiler->program.lists[node.first + index - begin] = label;
                node.nullable = node.nullable || is_nullable(compiler, label);
            }
            if (code == ERROR_NONE) {
                code = add_node(compiler, node, &led->texts[kept].label);
            }
        }
        kept++;
        begin = end;
    }
    led->count = kept;
    return code;
}

/* One node for all alternatives that begin with a text. */
static enum error_code compile_led(struct compiler *compiler, struct led_alternatives *led,
                                   uint32_t *node_out)
{
    enum error_code code = label_all(compiler, led);
    if (code == ERROR_NONE) {
        code = join_equal(compiler, led);
    }
    struct automaton_draft draft;
    if (code == ERROR_NONE) {
        code = automaton_draft_trie(&compiler->build, &compiler->program.automaton, led->texts,
                                    led->count, &draft);
    }
    if (code == ERROR_NONE) {
        code = grammar_program_add_bytes(&compiler->build, &compiler->program, &draft, node_out);
    }
    uint32_t first = 0;
    if (code == ERROR_NONE && led->any_rest) {
        code = grammar_program_add_list(&compiler->build, &compiler->program, led->count, &first);
    }
    for (uint32_t index = 0; code == ERROR_NONE && led->any_rest && index < led->count; index++) {
        compiler->program.lists[first + index] = led->texts[index].label;
        compiler->program.nodes[*node_out].first = first;
        compiler->program.nodes[*node_out].count = led->count;
    }
    return code;
}

static enum error_code compile_choice(struct compiler *compiler, const struct grammar_part *part,
                                      uint32_t *node_out)
{
    if (part->part_count == 0) {
        return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT, "no alternative");
    }
    struct led_alternatives led = {
        .texts = grammar_build_alloc(&compiler->build, part->part_count, sizeof(led.texts[0]))};
    uint32_t *nodes =
        grammar_build_alloc(&compiler->build, (size_t)part->part_count + 1, sizeof(nodes[0]));
    if (led.texts == NULL || nodes == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    struct program_node node = {.kind = PROGRAM_CHOICE};
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < part->part_count; index++) {
        if (is_led(&part->parts[index])) {
            code = add_led(compiler, &part->parts[index], &led);
        } else {
            code = compile_part(compiler, &part->parts[index], &nodes[node.count++]);
        }
    }
    if (code == ERROR_NONE && led.count > 0) {
        code = compile_led(compiler, &led, &nodes[node.count++]);
    }
    if (code == ERROR_NONE) {
        code =
            grammar_program_add_list(&compiler->build, &compiler->program, node.count, &node.first);
    }
    for (uint32_t index = 0; code == ERROR_NONE && index < node.count; index++) {
        compiler->program.lists[node.first + index] = nodes[index];
        node.nullable = node.nullable || is_nullable(compiler, nodes[index]);
    }
    return code != ERROR_NONE ? code : add_node(compiler, node, node_out);
}

/* ---- All parts ---- */

static enum error_code compile_kind(struct compiler *compiler, const struct grammar_part *part,
                                    uint32_t *node_out)
{
    switch (part->kind) {
    case GRAMMAR_PART_TEXT:
        return compile_text(compiler, part->text, node_out);
    case GRAMMAR_PART_REGEX:
        return compile_regex(compiler, part->text, node_out);
    case GRAMMAR_PART_SCHEMA:
    case GRAMMAR_PART_OBJECT:
        return compile_json(compiler, part, node_out);
    case GRAMMAR_PART_SEQUENCE:
        return compile_sequence(compiler, part, 0, node_out);
    case GRAMMAR_PART_CHOICE:
        return compile_choice(compiler, part, node_out);
    case GRAMMAR_PART_REPEAT:
        return compile_repeat(compiler, part, node_out);
    }
    return ERROR_INVALID_ARGUMENT;
}

/* As deep as parts may be nested. */
static enum error_code compile_part(struct compiler *compiler, const struct grammar_part *part,
                                    uint32_t *node_out)
{
    const struct text outer_name = compiler->build.part_name;
    if (part->name.len > 0) {
        compiler->build.part_name = part->name;
    }
    if (++compiler->depth > PART_DEPTH_MAX) {
        return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT,
                                  "more than %d levels of parts", PART_DEPTH_MAX);
    }
    enum error_code code = count_text(compiler, part->text);
    if (code == ERROR_NONE) {
        code = compile_kind(compiler, part, node_out);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    compiler->parts = grammar_build_grow(&compiler->build, compiler->parts, compiler->part_count,
                                         &compiler->part_capacity, sizeof(compiler->parts[0]));
    if (compiler->parts == NULL) {
        return ERROR_INVALID_ARGUMENT;
    }
    compiler->parts[compiler->part_count++] =
        (struct part_node){.name = compiler->build.part_name, .node = *node_out};
    compiler->build.part_name = outer_name;
    compiler->depth--;
    return ERROR_NONE;
}

static enum error_code compile(struct compiler *compiler, const struct grammar_part *root)
{
    enum error_code code = automaton_init_pool(&compiler->build, &compiler->program.automaton);
    if (code == ERROR_NONE) {
        code = compile_part(compiler, root, &compiler->program.root);
    }
    if (code == ERROR_NONE) {
        code = grammar_program_finish(&compiler->build, &compiler->program);
    }
    /* Every part must be able to match: a sequence takes it for granted. */
    for (uint32_t index = 0; code == ERROR_NONE && index < compiler->part_count; index++) {
        const struct part_node *part = &compiler->parts[index];
        if (compiler->program.nodes[part->node].depth_min == GRAMMAR_NONE) {
            compiler->build.part_name = part->name;
            return grammar_build_fail(&compiler->build, ERROR_INVALID_ARGUMENT,
                                      "no finite text of at most %d levels matches",
                                      GRAMMAR_DEPTH_MAX);
        }
    }
    return code;
}

/* ---- The result ---- */

/* Copies an array to the end of the block; returns the copy. */
static void *pack(char *block, size_t *used, const void *items, size_t bytes)
{
    void *copy = block + *used;
    if (bytes > 0) {
        memcpy(copy, items, bytes);
    }
    *used += (bytes + 15) / 16 * 16;
    return copy;
}

static struct grammar *pack_program(const struct grammar_program *program)
{
    static atomic_uint_fast64_t last_serial;
    const size_t node_bytes = program->node_count * sizeof(program->nodes[0]);
    const size_t list_bytes = program->list_count * sizeof(program->lists[0]);
    const size_t property_bytes = program->property_count * sizeof(program->properties[0]);
    const size_t state_bytes =
        program->automaton.state_count * sizeof(program->automaton.states[0]);
    const size_t edge_bytes = program->automaton.edge_count * sizeof(program->automaton.edges[0]);
    const size_t bytes = sizeof(struct grammar) + node_bytes + list_bytes + property_bytes +
                         state_bytes + edge_bytes + (size_t)6 * 16;
    char *block = calloc(1, bytes);
    if (block == NULL) {
        return NULL;
    }
    struct grammar *grammar = (struct grammar *)(void *)block;
    size_t used = (sizeof(struct grammar) + 15) / 16 * 16;
    grammar->program = *program;
    grammar->program.nodes = pack(block, &used, program->nodes, node_bytes);
    grammar->program.lists = pack(block, &used, program->lists, list_bytes);
    grammar->program.properties = pack(block, &used, program->properties, property_bytes);
    grammar->program.automaton.states = pack(block, &used, program->automaton.states, state_bytes);
    grammar->program.automaton.edges = pack(block, &used, program->automaton.edges, edge_bytes);
    grammar->program.serial = atomic_fetch_add(&last_serial, 1) + 1;
    grammar->bytes = bytes;
    atomic_init(&grammar->references, 1);
    return grammar;
}

enum error_code grammar_compile(const struct grammar_part *root,
                                const struct grammar_options *options, struct grammar **grammar_out,
                                struct error *error)
{
    ASSERT_COMPARE(options->white_space_max, <=, GRAMMAR_WHITE_SPACE_MAX);
    struct error ignored;
    struct compiler compiler = {.build = {.arena = {.bytes_max = GRAMMAR_BUILD_BYTES_MAX},
                                          .work_left = GRAMMAR_WORK_MAX,
                                          .is_cancelled = options->is_cancelled,
                                          .context = options->context,
                                          .error = error != NULL ? error : &ignored},
                                .program = {.white_space_max = options->white_space_max},
                                .options = options};
    *grammar_out = NULL;
    enum error_code code = compile(&compiler, root);
    if (code == ERROR_NONE) {
        *grammar_out = pack_program(&compiler.program);
        if (*grammar_out == NULL) {
            code = error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
        }
    }
    arena_reset(&compiler.build.arena);
    return code;
}

struct grammar *grammar_retain(struct grammar *grammar)
{
    atomic_fetch_add_explicit(&grammar->references, 1, memory_order_relaxed);
    return grammar;
}

void grammar_release(struct grammar *grammar)
{
    if (grammar != NULL &&
        atomic_fetch_sub_explicit(&grammar->references, 1, memory_order_acq_rel) == 1) {
        free(grammar);
    }
}

size_t grammar_bytes(const struct grammar *grammar)
{
    return grammar->bytes;
}
