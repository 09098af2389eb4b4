/* SPDX-License-Identifier: Apache-2.0
 *
 * server/tool_grammar.c - what an answer may be where functions can be called, as a grammar.
 *
 * Thread: any. */
#include "server/tool_grammar.h"

#include "base/limits.h"

#define SPACE "[ \\t\\n\\r]"

/* Text whose first other characters than white space are not the whole fence: after each of its
 * characters the text may end, or go on with another one than the next. */
#define NO_FENCE                                                                                   \
    SPACE "*(?:[^` \\t\\n\\r][\\s\\S]*|`(?:[^`][\\s\\S]*|`(?:[^`][\\s\\S]*|`(?:[^j][\\s\\S]*"      \
          "|j(?:[^s][\\s\\S]*|s(?:[^o][\\s\\S]*|o(?:[^n][\\s\\S]*)?)?)?)?)?)?)?"

static struct grammar_part text_part(struct text text)
{
    return (struct grammar_part){.kind = GRAMMAR_PART_TEXT, .text = text};
}

/* Copies parts into the arena. False: it is full. */
static bool set_parts(struct grammar_part *whole, enum grammar_part_kind kind,
                      const struct grammar_part *parts, uint32_t count, struct arena *arena)
{
    struct grammar_part *copies = arena_alloc(arena, count * sizeof(*copies));
    for (uint32_t index = 0; copies != NULL && index < count; index++) {
        copies[index] = parts[index];
    }
    *whole = (struct grammar_part){.kind = kind, .parts = copies, .part_count = count};
    return copies != NULL;
}

static struct grammar_part arguments_part(const struct openai_tool *tool)
{
    if (tool->schema.len == 0) { /* It takes none. */
        return (struct grammar_part){
            .kind = GRAMMAR_PART_SCHEMA,
            .text = TEXT("{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"),
            .name = tool->path};
    }
    if (text_equals(tool->schema, TEXT("{}"))) { /* For others than objects it says too little. */
        return (struct grammar_part){.kind = GRAMMAR_PART_OBJECT, .name = tool->path};
    }
    return (struct grammar_part){
        .kind = GRAMMAR_PART_SCHEMA, .text = tool->schema, .name = tool->path};
}

/* A call of that function, behind its fence. */
static bool make_call(const struct openai_tool *tool, struct grammar_part *call_out,
                      struct arena *arena)
{
    static const struct text begin = {.bytes = CHAT_CALL_OPEN, .len = sizeof(CHAT_CALL_OPEN) - 1};
    static const struct text end = {.bytes = CHAT_CALL_MIDDLE, .len = sizeof(CHAT_CALL_MIDDLE) - 1};
    const size_t bytes = begin.len + tool->name.len + end.len;
    char *head = arena_alloc(arena, bytes + 1);
    if (head == NULL) {
        return false;
    }
    text_copy_to(begin, head, bytes + 1);
    text_copy_to(tool->name, head + begin.len, bytes + 1 - begin.len);
    text_copy_to(end, head + begin.len + tool->name.len, end.len + 1);
    const struct grammar_part parts[] = {
        text_part((struct text){.bytes = head, .len = bytes}),
        arguments_part(tool),
        text_part(TEXT(CHAT_CALL_CLOSE)),
    };
    return set_parts(call_out, GRAMMAR_PART_SEQUENCE, parts, 3, arena);
}

/* A call of any function: they share what they begin with. */
static bool make_any_call(const struct openai_tools *tools, struct grammar_part *call_out,
                          struct arena *arena)
{
    struct grammar_part *calls = arena_alloc(arena, tools->count * sizeof(*calls));
    for (uint32_t index = 0; calls != NULL && index < tools->count; index++) {
        if (!make_call(&tools->items[index], &calls[index], arena)) {
            return false;
        }
    }
    *call_out = (struct grammar_part){
        .kind = GRAMMAR_PART_CHOICE, .parts = calls, .part_count = tools->count};
    return calls != NULL;
}

/* min to max calls, each behind white space and a fence. */
static bool make_fenced(const struct grammar_part *call, struct text space, uint32_t min,
                        uint32_t max, struct grammar_part *fenced_out, struct arena *arena)
{
    const struct grammar_part parts[] = {
        {.kind = GRAMMAR_PART_REGEX, .text = space},
        text_part(TEXT(CHAT_CALL_FENCE)),
        *call,
    };
    struct grammar_part one;
    if (!set_parts(&one, GRAMMAR_PART_SEQUENCE, parts, 3, arena) ||
        !set_parts(fenced_out, GRAMMAR_PART_REPEAT, &one, 1, arena)) {
        return false;
    }
    fenced_out->min = min;
    fenced_out->max = max;
    return true;
}

static bool make_required(const struct openai_tools *tools, const struct grammar_part *call,
                          struct grammar_part *root_out, struct arena *arena)
{
    struct grammar_part parts[2] = {*call};
    if (tools->is_single) {
        *root_out = *call;
        return true;
    }
    return make_fenced(call, TEXT("\\n"), 0, LIMIT_ANSWER_CALLS - 1, &parts[1], arena) &&
           set_parts(root_out, GRAMMAR_PART_SEQUENCE, parts, 2, arena);
}

static bool make_offered(const struct openai_tools *tools, const struct grammar_part *call,
                         const struct grammar_part *text, struct grammar_part *root_out,
                         struct arena *arena)
{
    struct grammar_part parts[2] = {{.kind = GRAMMAR_PART_REGEX, .text = TEXT(NO_FENCE)}};
    if (text != NULL) {
        parts[0] = *text;
    }
    return make_fenced(call, TEXT(SPACE "{0,2}"), 1, tools->is_single ? 1 : LIMIT_ANSWER_CALLS,
                       &parts[1], arena) &&
           set_parts(root_out, GRAMMAR_PART_CHOICE, parts, 2, arena);
}

const struct grammar_part *tool_grammar_make(const struct openai_tools *tools,
                                             const struct grammar_part *text, struct arena *arena)
{
    struct grammar_part *root = arena_alloc(arena, sizeof(*root));
    struct grammar_part call;
    if (root == NULL || !make_any_call(tools, &call, arena)) {
        return NULL;
    }
    const bool is_made = tools->calls == CHAT_CALLS_REQUIRED
                             ? make_required(tools, &call, root, arena)
                             : make_offered(tools, &call, text, root, arena);
    return is_made ? root : NULL;
}
