/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: all memory of a request: what it may use, and that a reset gives back everything.
 * Shown by: the limit at and past its last byte; alignment and zeroes; leaks by the sanitizer.
 * Thread: main. */
#include "base/arena.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

START_TEST(arena_returns_zeroed_aligned_memory_when_asked_for_any_size)
{
    struct arena arena = {0};
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 16 * 1024, 16 * 1024 + 1, 1 << 20};
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        unsigned char *memory = arena_alloc(&arena, sizes[index]);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % 16, 0);
        for (size_t byte = 0; byte < sizes[index]; byte++) {
            if (memory[byte] != 0) {
                ck_abort_msg("byte %zu of %zu is not zero", byte, sizes[index]);
            }
            memory[byte] = 0xff;
        }
    }
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_gives_different_addresses_when_allocations_are_empty)
{
    struct arena arena = {0};
    ck_assert_ptr_ne(arena_alloc(&arena, 0), arena_alloc(&arena, 0));
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_allows_allocation_when_it_just_reaches_the_limit)
{
    struct arena arena = {.bytes_max = 64};
    ck_assert_ptr_nonnull(arena_alloc(&arena, 48));
    ck_assert_ptr_nonnull(arena_alloc(&arena, 16));
    ck_assert_uint_eq(arena.bytes_used, 64);
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_refuses_allocation_when_it_is_one_byte_past_the_limit)
{
    struct arena arena = {.bytes_max = 64};
    ck_assert_ptr_nonnull(arena_alloc(&arena, 48));
    ck_assert_ptr_null(arena_alloc(&arena, 17));
    ck_assert_uint_eq(arena.bytes_used, 48);
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_refuses_allocation_when_size_would_overflow)
{
    struct arena arena = {0};
    ck_assert_ptr_nonnull(arena_alloc(&arena, 1));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 16));
    ck_assert_ptr_null(arena_copy(&arena, (struct text){.bytes = "", .len = SIZE_MAX}).bytes);
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_can_be_used_again_when_it_was_reset)
{
    struct arena arena = {.bytes_max = 32};
    ck_assert_ptr_nonnull(arena_alloc(&arena, 32));
    ck_assert_ptr_null(arena_alloc(&arena, 1));
    arena_reset(&arena);
    ck_assert_uint_eq(arena.bytes_used, 0);
    ck_assert_ptr_null(arena.blocks);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 32));
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_copy_appends_a_nul_when_text_is_cut_from_a_longer_one)
{
    struct arena arena = {0};
    const struct text copy = arena_copy(&arena, (struct text){.bytes = "abcdef", .len = 3});
    ck_assert_uint_eq(copy.len, 3);
    ck_assert_str_eq(copy.bytes, "abc");
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_copy_returns_an_address_when_text_is_empty)
{
    struct arena arena = {0};
    const struct text copy = arena_copy(&arena, (struct text){0});
    ck_assert_uint_eq(copy.len, 0);
    ck_assert_str_eq(copy.bytes, "");
    arena_reset(&arena);
}
END_TEST

START_TEST(arena_copy_returns_null_when_the_limit_has_no_room_for_the_nul)
{
    struct arena arena = {.bytes_max = 16};
    const struct text sixteen = TEXT("0123456789abcdef");
    ck_assert_ptr_null(arena_copy(&arena, sixteen).bytes);
    ck_assert_ptr_nonnull(arena_copy(&arena, (struct text){sixteen.bytes, 15}).bytes);
    arena_reset(&arena);
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("arena");
    tcase_add_test(all, arena_returns_zeroed_aligned_memory_when_asked_for_any_size);
    tcase_add_test(all, arena_gives_different_addresses_when_allocations_are_empty);
    tcase_add_test(all, arena_allows_allocation_when_it_just_reaches_the_limit);
    tcase_add_test(all, arena_refuses_allocation_when_it_is_one_byte_past_the_limit);
    tcase_add_test(all, arena_refuses_allocation_when_size_would_overflow);
    tcase_add_test(all, arena_can_be_used_again_when_it_was_reset);
    tcase_add_test(all, arena_copy_appends_a_nul_when_text_is_cut_from_a_longer_one);
    tcase_add_test(all, arena_copy_returns_an_address_when_text_is_empty);
    tcase_add_test(all, arena_copy_returns_null_when_the_limit_has_no_room_for_the_nul);
    Suite *suite = suite_create("base/arena");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
