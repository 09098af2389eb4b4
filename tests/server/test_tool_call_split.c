/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a call shown as text, a part of a fence in its arguments, arguments lost or kept back.
 * Shown by: texts with their parts known, pushed whole, byte by byte and in 10,000 random ways. */
#include "server/tool_call_split.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 1024, ROUNDS = 10000 };

#define FENCE "```json"
#define CALL(name, arguments) "\n{\"name\":\"" name "\",\"arguments\":" arguments "}\n```"

/* Each part with a letter before it: c content, n name, a arguments. Joined where pieces of one
 * part follow each other. */
struct shown {
    char text[SHOWN_MAX];
    size_t len, bytes;
    char last;
    bool is_bad; /* An empty piece, or a part of a character. */
};

static uint32_t random_below(uint32_t bound)
{
    static uint64_t state = 3;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % bound;
}

static void show(struct shown *shown, const struct tool_call_piece *piece)
{
    static const char letters[] = {
        [TOOL_CALL_CONTENT] = 'c', [TOOL_CALL_NAME] = 'n', [TOOL_CALL_ARGUMENTS] = 'a'};
    const bool is_shown = piece->part != TOOL_CALL_SPACE && piece->part != TOOL_CALL_MARK;
    shown->is_bad = shown->is_bad || piece->text.len == 0 || !utf8_is_valid(piece->text);
    shown->bytes += piece->text.len;
    if (!is_shown) {
        return;
    }
    const char letter = letters[piece->part];
    const bool goes_on = letter == shown->last && letter != 'n';
    shown->len += (size_t)snprintf(shown->text + shown->len, SHOWN_MAX - shown->len, "%s%.*s",
                                   goes_on         ? ""
                                   : letter == 'c' ? "c:"
                                   : letter == 'n' ? "n:"
                                                   : "a:",
                                   (int)piece->text.len, piece->text.bytes);
    shown->last = letter;
}

static void take_pieces(struct tool_call_split *split, struct shown *shown)
{
    struct tool_call_piece piece;
    while (tool_call_split_next(split, &piece)) {
        show(shown, &piece);
    }
}

/* Pieces of whole characters, of about piece_max bytes; 0: of random lengths. */
static struct tool_call_split split_text(enum tool_call_start start, struct text text,
                                         size_t piece_max, struct shown *shown)
{
    struct tool_call_split split;
    *shown = (struct shown){0};
    tool_call_split_init(&split, start);
    for (size_t begin = 0; begin < text.len;) {
        size_t end = begin + (piece_max == 0 ? random_below(12) : piece_max);
        while (end < text.len && ((unsigned char)text.bytes[end] & 0xc0) == 0x80) {
            end++;
        }
        end = end < text.len ? end : text.len;
        tool_call_split_push(&split,
                             (struct text){.bytes = text.bytes + begin, .len = end - begin});
        take_pieces(&split, shown);
        begin = end;
    }
    tool_call_split_end(&split);
    take_pieces(&split, shown);
    ck_assert(!shown->is_bad && shown->bytes == text.len && shown->len < SHOWN_MAX);
    return split;
}

static const struct {
    enum tool_call_start start;
    const char *text, *shown;
    uint32_t calls, whole;
} cases[] = {
    {TOOL_CALL_START_NONE, FENCE CALL("f", "{}"), "c:" FENCE CALL("f", "{}"), 0, 0},
    {TOOL_CALL_START_FENCE, "", "", 0, 0},
    {TOOL_CALL_START_FENCE, "21", "c:21", 0, 0},
    {TOOL_CALL_START_FENCE, " \n 21 \n", "c:21 \n", 0, 0},
    {TOOL_CALL_START_FENCE, "\xe2\x82\xac", "c:\xe2\x82\xac", 0, 0},
    {TOOL_CALL_START_FENCE, "``\xe2\x82\xac", "c:``\xe2\x82\xac", 0, 0},
    {TOOL_CALL_START_FENCE, "```js", "c:```js", 0, 0},
    {TOOL_CALL_START_FENCE, "x\n" FENCE CALL("f", "{}"), "c:x\n" FENCE CALL("f", "{}"), 0, 0},
    {TOOL_CALL_START_FENCE, " " FENCE CALL("get_price", "{\"item\":\"plum\"}"),
     "n:get_pricea:{\"item\":\"plum\"}", 1, 1},
    {TOOL_CALL_START_FENCE, FENCE CALL("f", " \n{ \"a\" : [ 1 , {} ] }"),
     "n:fa:{ \"a\" : [ 1 , {} ] }", 1, 1},
    {TOOL_CALL_START_FENCE, FENCE CALL("f", "{\"a\":\"}\\\"]\\\\\",\"b\":{}}"),
     "n:fa:{\"a\":\"}\\\"]\\\\\",\"b\":{}}", 1, 1},
    {TOOL_CALL_START_FENCE, FENCE CALL("f", "{\"a\":\"```\xf0\x9f\x98\x80\"}"),
     "n:fa:{\"a\":\"```\xf0\x9f\x98\x80\"}", 1, 1},
    {TOOL_CALL_START_FENCE, FENCE CALL("a-b_C9", "{}") "\n" FENCE CALL("g", "{\"x\":1}"),
     "n:a-b_C9a:{}n:ga:{\"x\":1}", 2, 2},
    {TOOL_CALL_START_NAME, CALL("f", "{}"), "n:fa:{}", 1, 1},
    {TOOL_CALL_START_NAME, CALL("f", "{}") "\n" FENCE CALL("f", "{}"), "n:fa:{}n:fa:{}", 2, 2},
    /* Cut. */
    {TOOL_CALL_START_FENCE, FENCE, "", 0, 0},
    {TOOL_CALL_START_FENCE, FENCE "\n{\"name\":\"get_pr", "", 0, 0},
    {TOOL_CALL_START_NAME, "\n{\"na", "", 0, 0},
    {TOOL_CALL_START_NAME, "\n{\"name\":\"f\",\"arguments\":", "n:f", 1, 0},
    {TOOL_CALL_START_NAME, "\n{\"name\":\"f\",\"arguments\":{\"a\":[1", "n:fa:{\"a\":[1", 1, 0},
    {TOOL_CALL_START_NAME, "\n{\"name\":\"f\",\"arguments\":{}", "n:fa:{}", 1, 1},
    {TOOL_CALL_START_NAME, CALL("f", "{}") "\n" FENCE "\n{\"name\":\"", "n:fa:{}", 1, 1},
    {TOOL_CALL_START_NAME, CALL("f", "{}") "\n" FENCE "\n{\"name\":\"g\",\"arguments\":{",
     "n:fa:{}n:ga:{", 2, 1},
    /* Malformed: no grammar lets it through. */
    {TOOL_CALL_START_FENCE, FENCE "\n{\"nam\":\"f\"}\n```", "c:" FENCE "\n{\"nam\":\"f\"}\n```", 0,
     0},
    {TOOL_CALL_START_FENCE, FENCE CALL("", "{}"), "c:" FENCE CALL("", "{}"), 0, 0},
    {TOOL_CALL_START_FENCE, FENCE CALL("f g", "{}"), "c:" FENCE CALL("f g", "{}"), 0, 0},
    {TOOL_CALL_START_NAME, "x", "c:x", 0, 0},
    {TOOL_CALL_START_NAME, CALL("f", "[1]"), "n:f", 1, 0},
    {TOOL_CALL_START_NAME, CALL("f", "{}") " and so on", "n:fa:{}", 1, 1},
    {TOOL_CALL_START_NAME, "\n{\"name\":\"f\",\"arguments\":{}]}", "n:fa:{}", 1, 1},
};

static void check_case(int index, size_t piece_max)
{
    struct shown shown;
    const struct tool_call_split split =
        split_text(cases[index].start, text_from(cases[index].text), piece_max, &shown);
    ck_assert_str_eq(shown.text, cases[index].shown);
    ck_assert_uint_eq(split.call_count, cases[index].calls);
    ck_assert_uint_eq(split.whole_count, cases[index].whole);
    ck_assert(tool_call_split_is_whole(&split) ==
              (cases[index].calls > 0 && cases[index].calls == cases[index].whole));
}

START_TEST(tool_call_split_finds_the_parts_when_cut_in_any_way)
{
    check_case(_i, SHOWN_MAX);
    check_case(_i, 1);
    for (int round = 0; round < 100; round++) {
        check_case(_i, 0);
    }
}
END_TEST

/* Texts of the pieces that matter, in any order and cut anywhere. */
START_TEST(tool_call_split_says_the_same_when_texts_are_random)
{
    static const char *const words[] = {FENCE,
                                        "```",
                                        "\n",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        "\\",
                                        "\"name\":\"",
                                        "f",
                                        "_9",
                                        "\",\"arguments\":",
                                        " ",
                                        ",",
                                        ":",
                                        "\xc3\xa9",
                                        "`",
                                        "json"};
    for (int round = 0; round < ROUNDS; round++) {
        const enum tool_call_start start = (enum tool_call_start)random_below(3);
        struct shown whole, pieces, bytes;
        char text[SHOWN_MAX / 4] = "";
        size_t len = 0;
        if (random_below(2) == 0) {
            len = (size_t)snprintf(text, sizeof(text), "%s\n{\"name\":\"f\",\"arguments\":{",
                                   start == TOOL_CALL_START_NAME ? "" : FENCE);
        }
        while (random_below(24) > 0 && len + 32 < sizeof(text)) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s",
                                    words[random_below(sizeof(words) / sizeof(words[0]))]);
        }
        const struct text all = {.bytes = text, .len = len};
        split_text(start, all, SHOWN_MAX, &whole);
        split_text(start, all, 1, &bytes);
        split_text(start, all, 0, &pieces);
        ck_assert_msg(strcmp(bytes.text, whole.text) == 0 && strcmp(pieces.text, whole.text) == 0,
                      "%s: '%s', '%s', '%s'", text, whole.text, bytes.text, pieces.text);
    }
}
END_TEST

START_TEST(tool_call_split_holds_no_longer_than_the_longest_head)
{
    char text[2 * TOOL_CALL_HELD_BYTES] = FENCE "\n{\"name\":\"";
    const size_t head = strlen(text);
    memset(text + head, 'n', TOOL_CALL_NAME_MAX + 1);
    struct shown shown;
    split_text(TOOL_CALL_START_FENCE, text_from(text), 1, &shown);
    ck_assert_uint_eq(shown.len, 2 + head + TOOL_CALL_NAME_MAX + 1); /* Content after all. */
    memcpy(text + head + TOOL_CALL_NAME_MAX, "\",\"arguments\":{}}", 18);
    split_text(TOOL_CALL_START_FENCE, text_from(text), 1, &shown);
    ck_assert_uint_eq(shown.len, 2 + TOOL_CALL_NAME_MAX + strlen("a:{}"));
}
END_TEST

START_TEST(tool_call_split_gives_arguments_at_once)
{
    struct tool_call_split split;
    struct tool_call_piece piece;
    tool_call_split_init(&split, TOOL_CALL_START_NAME);
    tool_call_split_push(&split, TEXT("\n{\"name\":\"f\",\"arguments\":{\"a\":\""));
    const enum tool_call_part parts[] = {TOOL_CALL_MARK, TOOL_CALL_NAME, TOOL_CALL_MARK,
                                         TOOL_CALL_ARGUMENTS};
    for (size_t index = 0; index < sizeof(parts) / sizeof(parts[0]); index++) {
        ck_assert(tool_call_split_next(&split, &piece));
        ck_assert_int_eq(piece.part, parts[index]);
    }
    ck_assert(text_equals(piece.text, TEXT("{\"a\":\"")));
    ck_assert(!tool_call_split_next(&split, &piece));
    tool_call_split_push(&split, TEXT("\n"));
    ck_assert(tool_call_split_next(&split, &piece));
    ck_assert_int_eq(piece.part, TOOL_CALL_ARGUMENTS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tool_call_split");
    TCase *tests = tcase_create("tool_call_split");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, tool_call_split_finds_the_parts_when_cut_in_any_way, 0,
                        sizeof(cases) / sizeof(cases[0]));
    tcase_add_test(tests, tool_call_split_says_the_same_when_texts_are_random);
    tcase_add_test(tests, tool_call_split_holds_no_longer_than_the_longest_head);
    tcase_add_test(tests, tool_call_split_gives_arguments_at_once);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
