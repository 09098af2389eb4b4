/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: character classes over bytes: one byte sequence too many is invalid UTF-8.
 * Shown by: counting and checking the sequences of random ranges against all code points. */
#include "grammar/utf8_ranges.h"

#include <check.h>
#include <stdlib.h>

#include "base/text.h"

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % limit);
}

/* How many code points the sequences stand for; each is checked at both ends. */
static uint64_t count_sequences(uint32_t low, uint32_t high)
{
    struct utf8_ranges rest = {.low = low, .high = high};
    struct utf8_sequence sequence;
    uint64_t total = 0;
    while (utf8_ranges_next(&rest, &sequence)) {
        uint64_t count = 1;
        for (uint32_t at = 0; at < sequence.len; at++) {
            ck_assert_uint_le(sequence.low[at], sequence.high[at]);
            count *= sequence.high[at] - sequence.low[at] + UINT64_C(1);
        }
        ck_assert(
            utf8_is_valid((struct text){.bytes = (const char *)sequence.low, .len = sequence.len}));
        ck_assert(utf8_is_valid(
            (struct text){.bytes = (const char *)sequence.high, .len = sequence.len}));
        total += count;
    }
    return total;
}

START_TEST(utf8_ranges_cover_every_code_point_once)
{
    static const uint32_t spans[] = {0x100, 0x900, 0x3000, 0x11000, 0x110000};
    for (int round = 0; round < 2000; round++) {
        uint32_t low = random_below(spans[round % 5]);
        uint32_t high = random_below(spans[round / 5 % 5]);
        if (low > high) {
            const uint32_t swapped = low;
            low = high;
            high = swapped;
        }
        uint64_t wanted = (uint64_t)high - low + 1;
        const uint32_t first = low > 0xd800 ? low : 0xd800;
        const uint32_t last = high < 0xdfff ? high : 0xdfff;
        wanted -= first <= last ? last - first + 1 : 0;
        ck_assert_uint_eq(count_sequences(low, high), wanted);
    }
}
END_TEST

START_TEST(utf8_ranges_are_nine_when_everything_is_asked_for)
{
    struct utf8_ranges rest = {.low = 0, .high = UTF8_POINT_MAX};
    struct utf8_sequence sequence;
    int count = 0;
    while (utf8_ranges_next(&rest, &sequence)) {
        count++;
    }
    ck_assert_int_eq(count, 9);
    ck_assert_uint_eq(count_sequences(0xd800, 0xdfff), 0);
    ck_assert_uint_eq(count_sequences(5, 4), 0);
}
END_TEST

int main(void)
{
    TCase *ranges = tcase_create("utf8_ranges");
    tcase_add_test(ranges, utf8_ranges_cover_every_code_point_once);
    tcase_add_test(ranges, utf8_ranges_are_nine_when_everything_is_asked_for);
    Suite *suite = suite_create("grammar/utf8_ranges");
    suite_add_tcase(suite, ranges);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
