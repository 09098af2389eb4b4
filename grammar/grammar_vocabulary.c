/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_vocabulary.c - sorting the vocabulary into tries and into classes of strings.
 *
 * Most steps of JSON are inside strings, where nearly every token is allowed: what a string does
 * with a token is worked out here once, by the machine itself. Thread: any. */
#include "grammar/grammar_vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "grammar/grammar_state.h"

struct sorted_token {
    struct text text;
    int32_t token;
};

static int compare_tokens(const void *left_pointer, const void *right_pointer)
{
    const struct text left = ((const struct sorted_token *)left_pointer)->text;
    const struct text right = ((const struct sorted_token *)right_pointer)->text;
    const int order = memcmp(left.bytes, right.bytes, left.len < right.len ? left.len : right.len);
    return order != 0 ? order : (left.len > right.len) - (left.len < right.len);
}

static size_t common_prefix(struct text left, struct text right)
{
    size_t len = 0;
    while (len < left.len && len < right.len && left.bytes[len] == right.bytes[len]) {
        len++;
    }
    return len;
}

/* Builds the trie of sorted tokens; false: out of memory. */
static bool build_trie(const struct sorted_token *tokens, uint32_t count,
                       struct vocabulary_trie *trie)
{
    size_t node_max = 0;
    for (uint32_t index = 0; index < count; index++) {
        node_max += tokens[index].text.len;
    }
    trie->nodes = malloc((node_max + 1) * sizeof(trie->nodes[0]));
    if (trie->nodes == NULL) {
        return false;
    }
    uint32_t open[LIMIT_TOKEN_BYTES + 1]; /* The node of each depth that is not yet closed. */
    struct text last = {0};
    for (uint32_t index = 0; index <= count; index++) {
        const struct text text = index < count ? tokens[index].text : (struct text){0};
        const size_t shared = common_prefix(last, text);
        for (size_t depth = last.len; depth > shared; depth--) {
            trie->nodes[open[depth]].skip = trie->node_count;
        }
        for (size_t depth = shared + 1; depth <= text.len; depth++) {
            open[depth] = trie->node_count;
            trie->nodes[trie->node_count++] = (struct vocabulary_node){
                .depth = (uint16_t)depth, .byte = (uint8_t)text.bytes[depth - 1]};
        }
        if (text.len > 0) {
            trie->nodes[open[text.len]].token = tokens[index].token;
        }
        last = text;
    }
    struct vocabulary_node *fitting =
        realloc(trie->nodes, ((size_t)trie->node_count + 1) * sizeof(trie->nodes[0]));
    trie->nodes = fitting != NULL ? fitting : trie->nodes;
    return true;
}

/* ---- Classes of strings ---- */

static int compare_inside(const void *left_pointer, const void *right_pointer)
{
    const struct vocabulary_inside *left = left_pointer;
    const struct vocabulary_inside *right = right_pointer;
    if (left->points != right->points) {
        return left->points > right->points ? -1 : 1;
    }
    return (left->token > right->token) - (left->token < right->token);
}

/* Moves the tokens that leave a string to the front of `tokens`, in order, and notes those that
 * stay; returns how many leave. `string` stands inside a string. */
static uint32_t classify(struct grammar_vocabulary *vocabulary, struct grammar_state *string,
                         struct sorted_token *tokens, uint32_t count)
{
    uint32_t leaving = 0;
    for (uint32_t index = 0; index < count; index++) {
        struct step_thread thread = string->threads[0];
        const struct text text = tokens[index].text;
        for (size_t at = 0; at < text.len && thread.phase == STEP_STRING; at++) {
            struct step_thread next = {.phase = STEP_COLON}; /* Stands for "does not fit". */
            struct step_set set = {.threads = &next, .capacity = 1};
            grammar_step_byte(&string->grammar->program, &string->frames, &thread,
                              (unsigned char)text.bytes[at], &set);
            thread = next;
        }
        const uint32_t token = (uint32_t)tokens[index].token;
        if (thread.phase == STEP_STRING) {
            vocabulary->inside_mask[token / 32] |= UINT32_C(1) << (token % 32);
            const uint32_t begun = thread.lex != STEP_LEX_BODY ? 1 : 0; /* An escape. */
            vocabulary->inside[vocabulary->inside_count++] = (struct vocabulary_inside){
                .token = tokens[index].token, .points = thread.count + begun};
        } else if (thread.phase == STEP_DONE) {
            tokens[leaving++] = tokens[index];
        }
    }
    qsort(vocabulary->inside, vocabulary->inside_count, sizeof(vocabulary->inside[0]),
          compare_inside);
    return leaving;
}

static enum error_code build_classes(struct grammar_vocabulary *vocabulary,
                                     struct sorted_token *tokens, uint32_t count,
                                     struct error *error)
{
    /* A limit makes the machine count code points. */
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA,
                                      .text = TEXT("{\"type\":\"string\",\"maxLength\":100000}")};
    const struct grammar_options options = {.objects = GRAMMAR_OBJECTS_EXPLICIT};
    struct grammar *grammar;
    enum error_code code = grammar_compile(&part, &options, &grammar, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct grammar_state *string = grammar_state_create(grammar);
    grammar_release(grammar);
    const bool built =
        string != NULL && grammar_advance(string, TEXT("\"")) &&
        build_trie(tokens, classify(vocabulary, string, tokens, count), &vocabulary->leaving);
    grammar_state_destroy(string);
    return built ? ERROR_NONE
                 : error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar's vocabulary");
}

/* The tokens with a text, sorted; NULL: out of memory. */
static struct sorted_token *sort_tokens(const struct grammar_vocabulary_options *options,
                                        uint32_t *length_max_out, uint32_t *count_out)
{
    struct sorted_token *tokens = calloc((size_t)options->token_count + 1, sizeof(tokens[0]));
    uint32_t count = 0;
    *length_max_out = 0;
    for (uint32_t id = 1; tokens != NULL && id < options->token_count; id++) {
        const struct text text = options->token_text(options->context, (int32_t)id);
        if (text.len > 0 && text.len <= LIMIT_TOKEN_BYTES) {
            tokens[count++] = (struct sorted_token){.text = text, .token = (int32_t)id};
            *length_max_out = text.len > *length_max_out ? (uint32_t)text.len : *length_max_out;
        }
    }
    if (count > 0) {
        qsort(tokens, count, sizeof(tokens[0]), compare_tokens);
    }
    *count_out = count;
    return tokens;
}

enum error_code grammar_vocabulary_create(const struct grammar_vocabulary_options *options,
                                          struct grammar_vocabulary **vocabulary_out,
                                          struct error *error)
{
    ASSERT_COMPARE(options->token_count, <=, options->row_count);
    *vocabulary_out = NULL;
    struct grammar_vocabulary *vocabulary = calloc(1, sizeof(*vocabulary));
    struct sorted_token *tokens = NULL;
    enum error_code code = ERROR_OUT_OF_MEMORY;
    if (vocabulary == NULL) {
        goto out;
    }
    vocabulary->row_count = options->row_count;
    vocabulary->words = (options->row_count + 31) / 32;
    uint32_t count;
    tokens = sort_tokens(options, &vocabulary->length_max, &count);
    vocabulary->inside_mask = calloc(vocabulary->words, sizeof(uint32_t));
    vocabulary->inside = calloc((size_t)options->token_count + 1, sizeof(vocabulary->inside[0]));
    if (tokens == NULL || vocabulary->inside_mask == NULL || vocabulary->inside == NULL ||
        !build_trie(tokens, count, &vocabulary->all)) {
        goto out;
    }
    code = build_classes(vocabulary, tokens, count, error);
out:
    free(tokens);
    if (code == ERROR_NONE) {
        *vocabulary_out = vocabulary;
        return ERROR_NONE;
    }
    grammar_vocabulary_destroy(vocabulary);
    return error_set(error, code, "no memory for the grammar's vocabulary");
}

void grammar_vocabulary_destroy(struct grammar_vocabulary *vocabulary)
{
    if (vocabulary == NULL) {
        return;
    }
    free(vocabulary->inside);
    free(vocabulary->inside_mask);
    free(vocabulary->leaving.nodes);
    free(vocabulary->all.nodes);
    free(vocabulary);
}
