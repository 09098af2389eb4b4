/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a thought shown as the answer, a tag or a part of one shown at all, a byte lost.
 * Shown by: texts with their parts known, pushed whole, byte by byte and in random pieces. */
#include "server/reasoning_split.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 256, ROUNDS = 200 };

/* What came out, joined by part. */
struct parts {
    char answer[TEXT_MAX];
    char thought[TEXT_MAX];
    size_t answer_len, thought_len, bytes;
    bool cuts_characters;
};

static uint32_t random_below(uint32_t bound)
{
    static uint64_t state = 1;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % bound;
}

static void take_pieces(struct reasoning_split *split, struct parts *parts)
{
    struct reasoning_piece piece;
    while (reasoning_split_next(split, &piece)) {
        ck_assert_uint_gt(piece.text.len, 0);
        parts->cuts_characters = parts->cuts_characters || !utf8_is_valid(piece.text);
        parts->bytes += piece.text.len;
        ck_assert_uint_lt(parts->bytes, TEXT_MAX);
        if (piece.part == REASONING_ANSWER) {
            memcpy(parts->answer + parts->answer_len, piece.text.bytes, piece.text.len);
            parts->answer_len += piece.text.len;
        } else if (piece.part == REASONING_THOUGHT) {
            ck_assert_uint_eq(parts->answer_len, 0);
            memcpy(parts->thought + parts->thought_len, piece.text.bytes, piece.text.len);
            parts->thought_len += piece.text.len;
        }
    }
}

/* Pieces of at most piece_max bytes; 0: of random lengths. */
static struct parts check_split(enum reasoning_start start, const char *text, size_t piece_max,
                        const char *thought, const char *answer)
{
    struct reasoning_split split;
    struct parts parts = {0};
    struct text rest = text_from(text);
    reasoning_split_init(&split, start);
    while (rest.len > 0) {
        size_t len = piece_max == 0 ? random_below(12) : piece_max;
        len = len < rest.len ? len : rest.len;
        reasoning_split_push(&split, (struct text){.bytes = rest.bytes, .len = len});
        take_pieces(&split, &parts);
        rest.bytes += len;
        rest.len -= len;
    }
    reasoning_split_end(&split);
    take_pieces(&split, &parts);
    ck_assert_uint_eq(parts.bytes, strlen(text));
    ck_assert_msg(strcmp(parts.thought, thought) == 0, "'%s': thought '%s'", text, parts.thought);
    ck_assert_msg(strcmp(parts.answer, answer) == 0, "'%s': answer '%s'", text, parts.answer);
    return parts;
}

static const struct {
    enum reasoning_start start;
    const char *text, *thought, *answer;
} cases[] = {
    {REASONING_START_TEXT, " a</think>b", "", " a</think>b"},
    {REASONING_START_TURN, " Paris.", "", "Paris."},
    {REASONING_START_TURN, "  x", "", " x"},
    {REASONING_START_TURN, "Paris", "", "Paris"},
    {REASONING_START_TURN, "", "", ""},
    {REASONING_START_CLOSED, ">\nParis.", "", "Paris."},
    {REASONING_START_CLOSED, ">\n\n Paris.\n", "", "Paris.\n"},
    {REASONING_START_CLOSED, "Paris", "", "Paris"},
    {REASONING_START_CLOSED, ">a</think>", "", "a</think>"},
    {REASONING_START_OPEN, ">\nIt asks.\n</think>\n\nParis.", "It asks.", "Paris."},
    {REASONING_START_OPEN, ">It asks.</think>Paris.", "It asks.", "Paris."},
    {REASONING_START_OPEN, "no tag end</think> x", "no tag end", "x"},
    {REASONING_START_OPEN, ">a\n\n</think>\nb", "a\n", "b"},
    {REASONING_START_OPEN, ">a\n<\n</thin</think>b</think>c", "a\n<\n</thin", "b</think>c"},
    {REASONING_START_OPEN, ">a<<</think>b", "a<<", "b"},
    {REASONING_START_OPEN, "></think>b", "", "b"},
    {REASONING_START_OPEN, ">\n</think>\n", "", ""},
    {REASONING_START_OPEN, ">a\n</thin", "a\n</thin", ""},
    {REASONING_START_OPEN, ">a\n", "a\n", ""},
    {REASONING_START_OPEN, ">", "", ""},
    {REASONING_START_OPEN, ">a</\xe2\x82\xac</think>b", "a</\xe2\x82\xac", "b"},
    {REASONING_START_OPEN, ">\xe2\x82\xac</think>\xe2\x82\xac", "\xe2\x82\xac", "\xe2\x82\xac"},
};

START_TEST(reasoning_split_finds_the_parts_when_cut_in_any_way)
{
    const enum reasoning_start start = cases[_i].start;
    const char *text = cases[_i].text;
    const struct parts parts = check_split(start, text, TEXT_MAX, cases[_i].thought,
                                           cases[_i].answer);
    ck_assert(!parts.cuts_characters);
    check_split(start, text, 1, cases[_i].thought, cases[_i].answer);
    for (int round = 0; round < ROUNDS; round++) {
        check_split(start, text, 0, cases[_i].thought, cases[_i].answer);
    }
}
END_TEST

START_TEST(reasoning_split_gives_thought_at_once_when_it_cannot_be_a_tag)
{
    struct reasoning_split split;
    struct reasoning_piece piece;
    reasoning_split_init(&split, REASONING_START_OPEN);
    reasoning_split_push(&split, TEXT(">It asks.\n"));
    ck_assert(reasoning_split_next(&split, &piece));
    ck_assert_int_eq(piece.part, REASONING_MARK);
    ck_assert(reasoning_split_next(&split, &piece));
    ck_assert_int_eq(piece.part, REASONING_THOUGHT);
    ck_assert(text_equals(piece.text, TEXT("It asks.")));
    ck_assert(!reasoning_split_next(&split, &piece)); /* The line feed may begin a tag. */
    reasoning_split_push(&split, TEXT("So"));
    ck_assert(reasoning_split_next(&split, &piece));
    ck_assert_int_eq(piece.text.bytes[0], '\n');
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reasoning_split");
    TCase *tests = tcase_create("reasoning_split");
    tcase_add_loop_test(tests, reasoning_split_finds_the_parts_when_cut_in_any_way, 0,
                        sizeof(cases) / sizeof(cases[0]));
    tcase_add_test(tests, reasoning_split_gives_thought_at_once_when_it_cannot_be_a_tag);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
