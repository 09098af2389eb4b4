/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the official models' ids, one wrong id and their text is nonsense.
 * Shown by: published vectors, the table's fingerprint, 20,000 texts; SKIP without the vocabulary.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/tokenizer.h"
#include "tests/data/world_tokenizer_vectors.h"
#include "tokenizer_case.h"

enum { EXIT_SKIPPED = 77 };

static const char *vocabulary_path;
static struct tokenizer *tokenizer;

static void setup(void)
{
    struct error error = {0};
    const enum error_code code = tokenizer_open(vocabulary_path, &tokenizer, &error);
    ck_assert_msg(code == ERROR_NONE, "%s", error.message);
}

static void teardown(void)
{
    tokenizer_close(tokenizer);
}

static uint32_t fnv1a(uint32_t hash, const void *bytes, size_t byte_count)
{
    const unsigned char *cursor = bytes;
    for (size_t index = 0; index < byte_count; index++) {
        hash = (hash ^ cursor[index]) * UINT32_C(16777619);
    }
    return hash;
}

START_TEST(tokenizer_table_has_its_fingerprint_when_vocabulary_is_world)
{
    uint32_t hash = UINT32_C(2166136261);
    size_t byte_count = 0;
    ck_assert_uint_eq(tokenizer_token_count(tokenizer), 65530);
    for (uint32_t id = 1; id < 65530; id++) {
        const struct text token = tokenizer_decode(tokenizer, (int32_t)id);
        const uint32_t head[2] = {id, (uint32_t)token.len};
        ck_assert(tokenizer_has(tokenizer, id));
        hash = fnv1a(fnv1a(hash, head, sizeof(head)), token.bytes, token.len);
        byte_count += token.len;
    }
    ck_assert_uint_eq(byte_count, 373358);
    ck_assert_uint_eq(hash, 0x1444ad2e);
}
END_TEST

START_TEST(tokenizer_gives_published_ids_when_vocabulary_is_world)
{
    const size_t count = sizeof(world_tokenizer_vectors) / sizeof(world_tokenizer_vectors[0]);
    ck_assert_uint_eq(count, 54);
    for (size_t index = 0; index < count; index++) {
        const struct world_tokenizer_vector *vector = &world_tokenizer_vectors[index];
        int32_t tokens[256];
        ck_assert_msg(
            tokenizer_encode(tokenizer, vector->text, tokens, 256) == vector->token_count &&
                memcmp(tokens, vector->tokens, vector->token_count * sizeof(tokens[0])) == 0,
            "vector %zu: %.*s", index, (int)vector->text.len, vector->text.bytes);
    }
}
END_TEST

START_TEST(tokenizer_frees_22_tokens_from_penalty_when_vocabulary_is_world)
{
    static const uint32_t free_ids[] = {10, 33,  49,  50,  51,  52,  53,  54,  55,  56,  57,
                                        58, 264, 621, 632, 643, 654, 665, 676, 687, 698, 709};
    const uint32_t *bits = tokenizer_penalty_free(tokenizer);
    size_t next = 0;
    for (uint32_t id = 0; id < tokenizer_token_count(tokenizer); id++) {
        if ((bits[id / 32] >> (id % 32) & 1) != 0) {
            ck_assert_uint_lt(next, sizeof(free_ids) / sizeof(free_ids[0]));
            ck_assert_uint_eq(id, free_ids[next++]);
        }
    }
    ck_assert_uint_eq(next, sizeof(free_ids) / sizeof(free_ids[0]));
}
END_TEST

START_TEST(tokenizer_encodes_as_the_slow_search_when_vocabulary_is_world)
{
    static char buffer[256];
    tokenizer_case_prepare(tokenizer);
    for (int round = 0; round < 20000; round++) {
        tokenizer_case_check(tokenizer, tokenizer_case_random_text(tokenizer, buffer, 24));
    }
}
END_TEST

int main(void)
{
    const char *from_environment = getenv("SKEIN_TEST_VOCAB");
    vocabulary_path =
        from_environment != NULL ? from_environment : "build-test/vocab/rwkv_vocab_v20230424.txt";
    if (access(vocabulary_path, R_OK) != 0) {
        printf("SKIP: no World vocabulary at %s (set SKEIN_TEST_VOCAB)\n", vocabulary_path);
        return EXIT_SKIPPED;
    }
    TCase *world = tcase_create("world");
    tcase_set_timeout(world, 100);
    tcase_add_checked_fixture(world, setup, teardown);
    tcase_add_test(world, tokenizer_table_has_its_fingerprint_when_vocabulary_is_world);
    tcase_add_test(world, tokenizer_gives_published_ids_when_vocabulary_is_world);
    tcase_add_test(world, tokenizer_frees_22_tokens_from_penalty_when_vocabulary_is_world);
    tcase_add_test(world, tokenizer_encodes_as_the_slow_search_when_vocabulary_is_world);
    Suite *suite = suite_create("engine/tokenizer_world");
    suite_add_tcase(suite, world);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
