/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: clients must get whole characters, and not one byte of a stop string.
 * Shown by: 10,000 random texts in random pieces against a decoder that sees all at once. */
#include "engine/text_stream.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { WHOLE_MAX = 64, OUTPUT_MAX = 3 * WHOLE_MAX };

static struct text_stream stream;
static char piece[TEXT_STREAM_PIECE_BYTES];

static void check_push(struct text token, struct text expected)
{
    const size_t len = text_stream_push(&stream, token, piece);
    ck_assert_msg(text_equals((struct text){.bytes = piece, .len = len}, expected),
                  "%.*s gave '%.*s', expected '%.*s'", (int)token.len, token.bytes, (int)len, piece,
                  (int)expected.len, expected.bytes);
}

static void check_finish(struct text expected)
{
    const size_t len = text_stream_finish(&stream, piece);
    ck_assert(text_equals((struct text){.bytes = piece, .len = len}, expected));
}

START_TEST(text_stream_releases_at_once_when_nothing_can_follow)
{
    text_stream_init(&stream, NULL, 0, false);
    check_push(TEXT("Hello"), TEXT("Hello"));
    check_push(TEXT(""), TEXT(""));
    check_push(TEXT("\0 \xc3\xa9"), TEXT("\0 \xc3\xa9"));
    ck_assert_uint_eq(stream.held_len, 0);
    check_finish(TEXT(""));
}
END_TEST

START_TEST(text_stream_holds_code_point_when_it_is_split)
{
    text_stream_init(&stream, NULL, 0, false);
    check_push(TEXT("a\xf0\x9f"), TEXT("a")); /* An emoji in three tokens. */
    check_push(TEXT("\x98"), TEXT(""));
    check_push(TEXT("\x80z"), TEXT("\xf0\x9f\x98\x80z"));
    check_finish(TEXT(""));
}
END_TEST

START_TEST(text_stream_replaces_maximal_subpart_when_bytes_are_invalid)
{
    text_stream_init(&stream, NULL, 0, false);
    /* Unicode 3.9, table 3-8: 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64 */
    check_push(TEXT("a\xf1\x80"), TEXT("a"));
    check_push(TEXT("\x80\xe1\x80\xc2"), TEXT("\xef\xbf\xbd\xef\xbf\xbd"));
    check_push(TEXT("b\x80"), TEXT("\xef\xbf\xbd"
                                   "b\xef\xbf\xbd"));
    check_push(TEXT("c\x80\xbf"
                    "d"),
               TEXT("c\xef\xbf\xbd\xef\xbf\xbd"
                    "d"));
    check_push(TEXT("\xe4\xbd"), TEXT(""));
    check_finish(TEXT("\xef\xbf\xbd"));
    check_finish(TEXT(""));
}
END_TEST

START_TEST(text_stream_stops_before_stop_string_when_it_is_complete)
{
    const struct text stops[] = {TEXT("\n\nUser:")};
    text_stream_init(&stream, stops, 1, false);
    check_push(TEXT("Two\n\n"), TEXT("Two"));
    check_push(TEXT("paragraphs\n\n"), TEXT("\n\nparagraphs"));
    check_push(TEXT("User"), TEXT(""));
    ck_assert(!stream.stopped);
    check_push(TEXT(": more"), TEXT(""));
    ck_assert(stream.stopped);
    ck_assert_uint_eq(stream.stop_index, 0);
    check_push(TEXT("nothing comes any more"), TEXT(""));
    check_finish(TEXT(""));
}
END_TEST

START_TEST(text_stream_releases_stop_string_when_it_is_included)
{
    const struct text stops[] = {TEXT("END")};
    text_stream_init(&stream, stops, 1, true);
    check_push(TEXT("a EN"), TEXT("a "));
    check_push(TEXT("D b"), TEXT("END"));
    ck_assert(stream.stopped);
    check_finish(TEXT(""));
}
END_TEST

START_TEST(text_stream_releases_held_text_when_it_ends_without_stop)
{
    const struct text stops[] = {TEXT("\n\nUser:")};
    text_stream_init(&stream, stops, 1, false);
    check_push(TEXT("ok\n\nUse"), TEXT("ok"));
    check_finish(TEXT("\n\nUse"));
    ck_assert(!stream.stopped);
}
END_TEST

START_TEST(text_stream_takes_the_first_complete_stop_when_stops_overlap)
{
    const struct text stops[] = {TEXT("b"), TEXT("abc"), TEXT("xab")};
    text_stream_init(&stream, stops, 3, false);
    check_push(TEXT("zabc"), TEXT("za")); /* "b" is complete before "abc". */
    ck_assert_uint_eq(stream.stop_index, 0);
    text_stream_init(&stream, stops, 3, false);
    check_push(TEXT("zxab"), TEXT("z")); /* "b" and "xab" end together: the longer. */
    ck_assert_uint_eq(stream.stop_index, 2);
}
END_TEST

START_TEST(text_stream_finds_stop_when_a_false_start_precedes_it)
{
    const struct text stops[] = {TEXT("aab")};
    text_stream_init(&stream, stops, 1, false);
    check_push(TEXT("a"), TEXT(""));
    check_push(TEXT("a"), TEXT(""));
    check_push(TEXT("a"), TEXT("a"));
    check_push(TEXT("b"), TEXT(""));
    ck_assert(stream.stopped);
}
END_TEST

START_TEST(text_stream_keeps_its_bounds_when_tokens_and_stops_are_longest)
{
    static char stop[LIMIT_STOP_STRING_BYTES];
    static char token[LIMIT_TOKEN_BYTES];
    memset(stop, 's', sizeof(stop));
    memset(token, 0xff, sizeof(token));
    stop[LIMIT_STOP_STRING_BYTES - 1] = 'e';
    struct text stops[TEXT_STREAM_STOPS];
    for (int index = 0; index < TEXT_STREAM_STOPS; index++) {
        stops[index] = (struct text){.bytes = stop, .len = sizeof(stop)};
    }
    text_stream_init(&stream, stops, TEXT_STREAM_STOPS, false);
    const struct text start = {.bytes = stop, .len = LIMIT_STOP_STRING_BYTES - 1};
    ck_assert_uint_eq(text_stream_push(&stream, TEXT("\xf0\x9f\x98"), piece), 0);
    /* The emoji is broken by what follows: its replacement comes out, the stop's start stays. */
    ck_assert_uint_eq(text_stream_push(&stream, start, piece), 3);
    ck_assert_uint_eq(stream.held_len, LIMIT_STOP_STRING_BYTES - 1);
    const struct text bad = {.bytes = token, .len = sizeof(token)};
    ck_assert_uint_eq(text_stream_push(&stream, bad, piece),
                      LIMIT_STOP_STRING_BYTES - 1 + 3 * LIMIT_TOKEN_BYTES);
    ck_assert_uint_eq(text_stream_push(&stream, start, piece), 0);
    ck_assert_uint_eq(text_stream_push(&stream, TEXT("e"), piece), 0);
    ck_assert(stream.stopped);
}
END_TEST

/* A random case: the bytes of a generation, and stop strings likely to be in it. */
struct random_case {
    char bytes[WHOLE_MAX];
    size_t len;
    char stop_bytes[3][8];
    struct text stops[3];
    uint32_t stop_count;
    uint32_t included_count;
};

static uint32_t random_below(uint32_t bound)
{
    static uint64_t state;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % bound;
}

/* Appends a letter of few, a piece of a longer sequence, or any byte. */
static size_t append_random(char *bytes, size_t len, size_t len_max)
{
    static const struct text pieces[] = {
        {.bytes = "a", .len = 1},
        {.bytes = "b", .len = 1},
        {.bytes = "\n", .len = 1},
        {.bytes = "\xc3\xa9", .len = 2},
        {.bytes = "\xe4\xbd\xa0", .len = 3},
        {.bytes = "\xf0\x9f\x98\x80", .len = 4},
        {.bytes = "\xe4\xbd", .len = 2},
        {.bytes = "\x80", .len = 1},
    };
    const struct text *chosen = &pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];
    if (random_below(8) == 0 || len + chosen->len > len_max) {
        bytes[len] = (char)(unsigned char)random_below(256);
        return len + 1;
    }
    memcpy(bytes + len, chosen->bytes, chosen->len);
    return len + chosen->len;
}

static void fill_case(struct random_case *random_case)
{
    random_case->len = 0;
    const size_t len = random_below(WHOLE_MAX + 1);
    while (random_case->len < len) {
        random_case->len = append_random(random_case->bytes, random_case->len, len);
    }
    random_case->stop_count = random_below(4);
    random_case->included_count = random_below(4);
    for (uint32_t index = 0; index < random_case->stop_count; index++) {
        const size_t stop_len = 1 + random_below(6);
        char *bytes = random_case->stop_bytes[index];
        size_t filled = 0;
        while (filled < stop_len) {
            filled = append_random(bytes, filled, stop_len);
        }
        random_case->stops[index] = (struct text){.bytes = bytes, .len = filled};
    }
}

/* How many of the bytes are text, by looking at every end and every stop string. */
static size_t whole_text_len(const struct random_case *random_case, bool *stopped_out)
{
    for (size_t end = 1; end <= random_case->len; end++) {
        size_t longest = 0;
        bool included = false;
        for (uint32_t index = 0; index < random_case->stop_count; index++) {
            const struct text stop = random_case->stops[index];
            const bool matches = stop.len <= end && memcmp(random_case->bytes + end - stop.len,
                                                           stop.bytes, stop.len) == 0;
            if (matches && stop.len > longest) {
                longest = stop.len;
                included = index < random_case->included_count;
            }
        }
        if (longest > 0) {
            *stopped_out = true;
            return included ? end : end - longest;
        }
    }
    *stopped_out = false;
    return random_case->len;
}

static size_t whole_decode(struct text text, char *output)
{
    size_t output_len = 0;
    while (text.len > 0) {
        size_t len = 0;
        const enum utf8_status status = utf8_next(text, &len);
        len = status == UTF8_INCOMPLETE ? text.len : len;
        const struct text out = status == UTF8_COMPLETE
                                    ? (struct text){.bytes = text.bytes, .len = len}
                                    : TEXT("\xef\xbf\xbd");
        memcpy(output + output_len, out.bytes, out.len);
        output_len += out.len;
        text.bytes += len;
        text.len -= len;
    }
    return output_len;
}

/* Pushes the case in random pieces; true if every piece was whole UTF-8 and went on where the
 * expected text was. */
static bool stream_case(const struct random_case *random_case, struct text expected)
{
    size_t position = 0;
    size_t output_len = 0;
    bool good = true;
    text_stream_init(&stream, random_case->stops, random_case->stop_count,
                     random_case->included_count);
    while (good && output_len <= expected.len) {
        const bool ends = position == random_case->len;
        size_t take = 1 + random_below(random_below(2) == 0 ? 2 : 10);
        take = take < random_case->len - position ? take : random_case->len - position;
        const struct text token = {.bytes = random_case->bytes + position, .len = take};
        const size_t len =
            ends ? text_stream_finish(&stream, piece) : text_stream_push(&stream, token, piece);
        const struct text out = {.bytes = piece, .len = len};
        good = utf8_is_valid(out) && len <= expected.len - output_len &&
               (len == 0 || memcmp(expected.bytes + output_len, piece, len) == 0);
        output_len += len;
        position += take;
        if (ends) {
            break;
        }
    }
    return good && output_len == expected.len;
}

START_TEST(text_stream_equals_the_whole_text_when_split_at_random)
{
    static struct random_case random_case;
    static char expected[OUTPUT_MAX];
    int stopped_count = 0;
    for (int round = 0; round < 10000; round++) {
        bool stopped;
        fill_case(&random_case);
        const size_t text_len = whole_text_len(&random_case, &stopped);
        const struct text text = {.bytes = random_case.bytes, .len = text_len};
        const size_t expected_len = whole_decode(text, expected);
        const struct text expected_text = {.bytes = expected, .len = expected_len};
        for (int split = 0; split < 4; split++) {
            if (!stream_case(&random_case, expected_text) || stream.stopped != stopped) {
                ck_abort_msg("round %d, split %d", round, split);
            }
        }
        stopped_count += stopped ? 1 : 0;
    }
    ck_assert_int_gt(stopped_count, 2000); /* Both ends are common. */
    ck_assert_int_lt(stopped_count, 8000);
}
END_TEST

int main(void)
{
    TCase *pieces = tcase_create("pieces");
    tcase_set_timeout(pieces, 60);
    tcase_add_test(pieces, text_stream_releases_at_once_when_nothing_can_follow);
    tcase_add_test(pieces, text_stream_holds_code_point_when_it_is_split);
    tcase_add_test(pieces, text_stream_replaces_maximal_subpart_when_bytes_are_invalid);
    tcase_add_test(pieces, text_stream_stops_before_stop_string_when_it_is_complete);
    tcase_add_test(pieces, text_stream_releases_stop_string_when_it_is_included);
    tcase_add_test(pieces, text_stream_releases_held_text_when_it_ends_without_stop);
    tcase_add_test(pieces, text_stream_takes_the_first_complete_stop_when_stops_overlap);
    tcase_add_test(pieces, text_stream_finds_stop_when_a_false_start_precedes_it);
    tcase_add_test(pieces, text_stream_keeps_its_bounds_when_tokens_and_stops_are_longest);
    tcase_add_test(pieces, text_stream_equals_the_whole_text_when_split_at_random);
    Suite *suite = suite_create("engine/text_stream");
    suite_add_tcase(suite, pieces);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
