/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/token_trie.c - construction of the double array.
 *
 * Texts are sorted, so that every node of the tree is a range of them; ranges are split breadth
 * first and their children placed where a page has room. Thread: any. */
#include "engine/token_trie.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 256,          /* Cells that base XOR byte can reach. */
    PAGES_SEARCHED = 16, /* Older pages are nearly full: not worth the time of a search. */
};

struct sorted_token {
    struct text text;
    int32_t id;
};

/* A node whose children are still to be placed: the texts [begin, end) share `depth` bytes. */
struct pending_node {
    uint32_t cell;
    uint32_t begin;
    uint32_t end;
    uint32_t depth;
};

struct trie_builder {
    struct token_trie trie;
    uint16_t *free_counts; /* [pages_max] Free cells of each page. */
    size_t page_count;
    size_t pages_max;            /* Allocated, in cells and free_counts. */
    struct sorted_token *tokens; /* [token_count] */
    uint32_t token_count;
    struct pending_node *pending; /* A queue: [pending_begin, pending_end) are waiting. */
    size_t pending_begin;
    size_t pending_end;
    size_t pending_max;
};

static void builder_deinit(struct trie_builder *builder)
{
    free(builder->pending);
    free(builder->tokens);
    free(builder->free_counts);
    free(builder->trie.cells);
}

static bool add_page(struct trie_builder *builder)
{
    if (builder->page_count == builder->pages_max) {
        const size_t pages_max = builder->pages_max == 0 ? 64 : 2 * builder->pages_max;
        void *cells =
            realloc(builder->trie.cells, pages_max * PAGE * sizeof(builder->trie.cells[0]));
        if (cells == NULL) {
            return false;
        }
        builder->trie.cells = cells;
        void *free_counts =
            realloc(builder->free_counts, pages_max * sizeof(builder->free_counts[0]));
        if (free_counts == NULL) {
            return false;
        }
        builder->free_counts = free_counts;
        builder->pages_max = pages_max;
    }
    for (size_t index = 0; index < PAGE; index++) {
        builder->trie.cells[builder->page_count * PAGE + index] =
            (struct token_trie_cell){.parent = TOKEN_TRIE_FREE};
    }
    builder->free_counts[builder->page_count] = PAGE;
    builder->page_count++;
    builder->trie.cell_count = builder->page_count * PAGE;
    return true;
}

static void claim_cell(struct trie_builder *builder, uint32_t cell, uint32_t parent)
{
    builder->trie.cells[cell] = (struct token_trie_cell){.parent = parent};
    builder->free_counts[cell / PAGE]--;
}

static bool push_pending(struct trie_builder *builder, struct pending_node node)
{
    if (builder->pending_end == builder->pending_max) {
        const size_t pending_max = builder->pending_max == 0 ? 1024 : 2 * builder->pending_max;
        void *pending = realloc(builder->pending, pending_max * sizeof(builder->pending[0]));
        if (pending == NULL) {
            return false;
        }
        builder->pending = pending;
        builder->pending_max = pending_max;
    }
    builder->pending[builder->pending_end++] = node;
    return true;
}

static bool base_fits(const struct token_trie_cell *cells, uint32_t base,
                      const unsigned char *labels, size_t label_count)
{
    for (size_t index = 0; index < label_count; index++) {
        if (cells[base ^ labels[index]].parent != TOKEN_TRIE_FREE) {
            return false;
        }
    }
    return true;
}

/* Finds a base at which the cells of all labels are free; 0 when there is no memory. Page 0 is
 * never searched: a base of 0 means "no children". */
static uint32_t find_base(struct trie_builder *builder, const unsigned char *labels,
                          size_t label_count)
{
    const size_t page_count = builder->page_count;
    size_t page = page_count > PAGES_SEARCHED ? page_count - PAGES_SEARCHED : 1;
    for (; page < page_count; page++) {
        if (builder->free_counts[page] < label_count) {
            continue;
        }
        for (uint32_t offset = 0; offset < PAGE; offset++) {
            const uint32_t base = (uint32_t)(page * PAGE) + offset;
            if (base_fits(builder->trie.cells, base, labels, label_count)) {
                return base;
            }
        }
    }
    return add_page(builder) ? (uint32_t)(page_count * PAGE) : 0;
}

static int compare_tokens(const void *left_pointer, const void *right_pointer)
{
    const struct sorted_token *left = left_pointer;
    const struct sorted_token *right = right_pointer;
    const size_t shorter = left->text.len < right->text.len ? left->text.len : right->text.len;
    const int order = memcmp(left->text.bytes, right->text.bytes, shorter);
    if (order != 0) {
        return order;
    }
    return (left->text.len > right->text.len) - (left->text.len < right->text.len);
}

/* Ids may have holes, and one line may name the highest: only texts count. */
static size_t count_texts(const struct vocabulary_file *file)
{
    size_t count = 0;
    for (uint32_t id = 0; id < file->token_count; id++) {
        count += vocabulary_file_text(file, id).len > 0;
    }
    return count;
}

static bool sort_tokens(struct trie_builder *builder, const struct vocabulary_file *file)
{
    builder->tokens = calloc(count_texts(file) + 1, sizeof(builder->tokens[0]));
    if (builder->tokens == NULL) {
        return false;
    }
    for (uint32_t id = 0; id < file->token_count; id++) {
        const struct text text = vocabulary_file_text(file, id);
        if (text.len > 0) {
            builder->tokens[builder->token_count++] =
                (struct sorted_token){.text = text, .id = (int32_t)id};
        }
    }
    qsort(builder->tokens, builder->token_count, sizeof(builder->tokens[0]), compare_tokens);
    return true;
}

static enum error_code check_distinct(const struct trie_builder *builder,
                                      const struct vocabulary_file *file, const char *name,
                                      struct error *error)
{
    for (uint32_t index = 1; index < builder->token_count; index++) {
        const struct sorted_token *left = &builder->tokens[index - 1];
        const struct sorted_token *right = &builder->tokens[index];
        if (text_equals(left->text, right->text)) {
            const uint32_t left_line = file->entries[left->id].line;
            const uint32_t right_line = file->entries[right->id].line;
            const bool left_first = left_line < right_line;
            return error_set(error, ERROR_CORRUPT, "%s line %u: the same text as line %u", name,
                             left_first ? right_line : left_line,
                             left_first ? left_line : right_line);
        }
    }
    return ERROR_NONE;
}

/* Places the children of one node and queues them; false when there is no memory. */
static bool expand(struct trie_builder *builder, struct pending_node node)
{
    unsigned char labels[PAGE];
    uint32_t begins[PAGE + 1];
    size_t label_count = 0;
    uint32_t index = node.begin;
    if (index < node.end && builder->tokens[index].text.len == node.depth) {
        builder->trie.cells[node.cell].token = builder->tokens[index].id; /* Sorts first. */
        index++;
    }
    for (; index < node.end; index++) {
        const unsigned char label = (unsigned char)builder->tokens[index].text.bytes[node.depth];
        if (label_count == 0 || labels[label_count - 1] != label) {
            labels[label_count] = label;
            begins[label_count] = index;
            label_count++;
        }
    }
    if (label_count == 0) {
        return true;
    }
    begins[label_count] = node.end;
    const uint32_t base = find_base(builder, labels, label_count);
    if (base == 0) {
        return false;
    }
    builder->trie.cells[node.cell].base = base;
    for (size_t child = 0; child < label_count; child++) {
        const uint32_t cell = base ^ labels[child];
        claim_cell(builder, cell, node.cell);
        const struct pending_node next = {.cell = cell,
                                          .begin = begins[child],
                                          .end = begins[child + 1],
                                          .depth = node.depth + 1};
        if (!push_pending(builder, next)) {
            return false;
        }
    }
    return true;
}

static bool expand_all(struct trie_builder *builder)
{
    const uint32_t no_parent = TOKEN_TRIE_FREE - 1;
    if (!add_page(builder)) {
        return false;
    }
    claim_cell(builder, 0, no_parent);
    const struct pending_node root = {.cell = 0, .begin = 0, .end = builder->token_count};
    if (!push_pending(builder, root)) {
        return false;
    }
    while (builder->pending_begin < builder->pending_end) {
        if (!expand(builder, builder->pending[builder->pending_begin++])) {
            return false;
        }
    }
    return true;
}

enum error_code token_trie_build(const struct vocabulary_file *file, const char *name,
                                 struct token_trie *trie_out, struct error *error)
{
    *trie_out = (struct token_trie){0};
    struct trie_builder builder = {0};
    enum error_code code = ERROR_NONE;
    if (!sort_tokens(&builder, file)) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the trie", name);
        goto out;
    }
    code = check_distinct(&builder, file, name, error);
    if (code != ERROR_NONE) {
        goto out;
    }
    if (!expand_all(&builder)) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the trie", name);
        goto out;
    }
    *trie_out = builder.trie;
    builder.trie = (struct token_trie){0};
out:
    builder_deinit(&builder);
    return code;
}

void token_trie_deinit(struct token_trie *trie)
{
    if (trie == NULL) {
        return;
    }
    free(trie->cells);
    *trie = (struct token_trie){0};
}
