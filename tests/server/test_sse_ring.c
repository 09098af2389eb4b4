/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: an event must reach the client whole and in order, or not at all. Shown by: both sides
 * of the ring's end, growth with data inside, and a long random walk. Thread: main. */
#include "server/sse_ring.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct text unnamed;
static const size_t done_bytes = sizeof("data: [DONE]\n\n") - 1;

static void assert_taken(struct sse_ring *ring, const char *expected)
{
    char buffer[256];
    const size_t bytes = sse_ring_take(ring, buffer, sizeof(buffer));
    ck_assert_uint_eq(bytes, strlen(expected));
    ck_assert_mem_eq(buffer, expected, bytes);
}

START_TEST(sse_ring_frames_events_when_they_are_put)
{
    char memory[128];
    struct sse_ring ring = {0};
    ck_assert_uint_eq(sse_ring_space(&ring), 0);
    ck_assert(!sse_ring_put_event(&ring, unnamed, TEXT("")));
    sse_ring_move(&ring, memory, sizeof(memory));
    ck_assert(sse_ring_put_event(&ring, unnamed, TEXT("{\"a\":1}")));
    ck_assert(sse_ring_put(&ring, TEXT(": ping\n\n")));
    sse_ring_put_done(&ring);
    assert_taken(&ring, "data: {\"a\":1}\n\n: ping\n\ndata: [DONE]\n\n");
    assert_taken(&ring, "");
}
END_TEST

START_TEST(sse_ring_names_an_event_when_it_has_a_name)
{
    char memory[64];
    const struct text name = TEXT("ping");
    const struct text json = TEXT("{}");
    const size_t needed = sse_ring_event_bytes(name, json) + done_bytes;
    struct sse_ring ring = {0};
    sse_ring_move(&ring, memory, needed - 1);
    ck_assert(!sse_ring_put_event(&ring, name, json));
    ck_assert_uint_eq(ring.len, 0);
    sse_ring_move(&ring, memory, needed);
    ck_assert(sse_ring_put_event(&ring, name, json));
    ck_assert_uint_eq(sse_ring_space(&ring), 0);
    assert_taken(&ring, "event: ping\ndata: {}\n\n");
}
END_TEST

START_TEST(sse_ring_refuses_an_event_whole_when_one_byte_is_missing)
{
    char memory[64];
    const struct text json = TEXT("0123456789");
    const size_t needed = sse_ring_event_bytes(unnamed, json) + done_bytes;
    struct sse_ring ring = {0};
    sse_ring_move(&ring, memory, needed - 1);
    ck_assert(!sse_ring_put_event(&ring, unnamed, json));
    ck_assert_uint_eq(ring.len, 0);
    sse_ring_move(&ring, memory, needed);
    ck_assert(sse_ring_put_event(&ring, unnamed, json));
    ck_assert_uint_eq(sse_ring_space(&ring), 0);
    ck_assert(!sse_ring_put(&ring, TEXT("x")));
    sse_ring_put_done(&ring); /* Has its own room. */
    assert_taken(&ring, "data: 0123456789\n\ndata: [DONE]\n\n");
}
END_TEST

START_TEST(sse_ring_keeps_its_bytes_when_moved)
{
    char small[40];
    char large[80];
    char taken[4];
    struct sse_ring ring = {0};
    sse_ring_move(&ring, small, sizeof(small));
    ck_assert(sse_ring_put_event(&ring, unnamed, TEXT("abcdef")));
    ck_assert_uint_eq(sse_ring_take(&ring, taken, sizeof(taken)), sizeof(taken));
    ck_assert(!sse_ring_put_event(&ring, unnamed, TEXT("ghijklmno")));
    sse_ring_move(&ring, large, sizeof(large));
    ck_assert(sse_ring_put_event(&ring, unnamed, TEXT("ghijklmno")));
    assert_taken(&ring, ": abcdef\n\ndata: ghijklmno\n\n");
}
END_TEST

START_TEST(sse_ring_gives_back_every_byte_when_walked_at_random)
{
    char memory[100];
    struct sse_ring ring = {0};
    sse_ring_move(&ring, memory, sizeof(memory));
    unsigned state = 1;
    unsigned char next_in = 0;
    unsigned char next_out = 0;
    for (int turn = 0; turn < 10000; turn++) {
        state = state * 1664525 + 1013904223;
        char piece[64];
        const size_t bytes = (state >> 16) % sizeof(piece);
        if ((state >> 30) % 2 == 0) {
            for (size_t index = 0; index < bytes; index++) {
                piece[index] = (char)(unsigned char)(next_in + index);
            }
            const bool fits = bytes + done_bytes + ring.len <= sizeof(memory);
            ck_assert_int_eq(sse_ring_put(&ring, (struct text){piece, bytes}), fits);
            next_in = (unsigned char)(next_in + (fits ? bytes : 0));
        } else {
            const size_t count = sse_ring_take(&ring, piece, bytes);
            bool in_order = true;
            for (size_t index = 0; index < count; index++) {
                in_order = in_order && (unsigned char)piece[index] == next_out++;
            }
            ck_assert(in_order);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/sse_ring");
    TCase *ring = tcase_create("ring");
    tcase_add_test(ring, sse_ring_frames_events_when_they_are_put);
    tcase_add_test(ring, sse_ring_names_an_event_when_it_has_a_name);
    tcase_add_test(ring, sse_ring_refuses_an_event_whole_when_one_byte_is_missing);
    tcase_add_test(ring, sse_ring_keeps_its_bytes_when_moved);
    tcase_add_test(ring, sse_ring_gives_back_every_byte_when_walked_at_random);
    suite_add_tcase(suite, ring);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
