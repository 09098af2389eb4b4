/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a wrong vocabulary or a wrong match gives fluent nonsense and no error.
 * Shown by: every malformed line refused by its number; 20,000 texts against a slow search. */
#include "engine/tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "tokenizer_case.h"

enum {
    VOCABULARY_MAX = 1 << 20,
    SINGLE_BYTES = 256, /* Lines 1..256, ids 1..256: byte b is id b + 1. */
};

static char vocabulary[VOCABULARY_MAX];
static size_t vocabulary_len;
static struct tokenizer *tokenizer;
static struct error error;

static void append(const char *line)
{
    const size_t len = strlen(line);
    ck_assert_uint_lt(vocabulary_len + len, VOCABULARY_MAX);
    memcpy(vocabulary + vocabulary_len, line, len);
    vocabulary_len += len;
}

/* Appends the lines of the single bytes but `missing`; -1: none is missing. */
static void append_single_bytes(int missing, const char *line_end)
{
    for (int byte = 0; byte < SINGLE_BYTES; byte++) {
        char line[64];
        const char *form = byte < 0x80 ? "%d '\\x%02x' 1%s" : "%d b'\\x%02x' 1%s";
        snprintf(line, sizeof(line), form, byte + 1, (unsigned)byte, line_end);
        append(byte == missing ? "" : line);
    }
}

static enum error_code open_vocabulary(void)
{
    const struct text text = {.bytes = vocabulary, .len = vocabulary_len};
    return tokenizer_open_memory(text, "vocab.txt", &tokenizer, &error);
}

static void setup(void)
{
    vocabulary_len = 0;
    append_single_bytes(-1, "\n");
}

static void teardown(void)
{
    tokenizer_close(tokenizer);
    tokenizer = NULL;
}

static void check_tokens(struct text text, const int32_t *expected, size_t expected_count)
{
    int32_t tokens[64];
    const size_t count = tokenizer_encode(tokenizer, text, tokens, 64);
    ck_assert_uint_eq(count, expected_count);
    for (size_t index = 0; index < count; index++) {
        ck_assert_int_eq(tokens[index], expected[index]);
    }
}

#define CHECK_TOKENS(literal, ...)                                                                 \
    check_tokens(TEXT(literal), (const int32_t[]){__VA_ARGS__},                                    \
                 sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

START_TEST(tokenizer_reads_every_literal_form_when_lines_are_well_formed)
{
    static const struct {
        const char *line;
        struct text text;
    } forms[] = {
        {"257 'a b' 3\n", {.bytes = "a b", .len = 3}},
        {"258 '  ' 2\n", {.bytes = "  ", .len = 2}},
        {"259 \"it's\" 4\n", {.bytes = "it's", .len = 4}},
        {"260 '\\'\\\"\\\\' 3\n", {.bytes = "'\"\\", .len = 3}},
        {"261 '\\n\\t\\r' 3\n", {.bytes = "\n\t\r", .len = 3}},
        {"262 '\\x80' 2\n", {.bytes = "\xc2\x80", .len = 2}},
        {"263 '\\u4F60\\u597d' 6\n", {.bytes = "\xe4\xbd\xa0\xe5\xa5\xbd", .len = 6}},
        {"264 'h\xc3\xa9' 3\n", {.bytes = "h\xc3\xa9", .len = 3}},
        {"265 b'\\xf0\\x9f' 2\n", {.bytes = "\xf0\x9f", .len = 2}},
        {"266 b\"A'\\xff\" 3\n", {.bytes = "A'\xff", .len = 3}},
        {"267 '\\x00\\x00' 2\n", {.bytes = "\0\0", .len = 2}},
        {"268 ' 7 ' 3", {.bytes = " 7 ", .len = 3}}, /* The last line feed may be missing. */
    };
    const int32_t form_count = sizeof(forms) / sizeof(forms[0]);
    for (int32_t index = 0; index < form_count; index++) {
        append(forms[index].line);
    }
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    ck_assert_uint_eq(tokenizer_token_count(tokenizer), 257 + (uint32_t)form_count);
    for (int32_t index = 0; index < form_count; index++) {
        ck_assert(text_equals(tokenizer_decode(tokenizer, 257 + index), forms[index].text));
        check_tokens(forms[index].text, &(const int32_t){257 + index}, 1);
    }
}
END_TEST

START_TEST(tokenizer_reads_the_same_when_lines_end_with_crlf)
{
    vocabulary_len = 0;
    append_single_bytes(-1, "\r\n");
    append("257 'ab' 2\r\n");
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    CHECK_TOKENS("ab\r", 257, 14);
}
END_TEST

START_TEST(tokenizer_names_the_line_when_it_is_malformed)
{
    static const struct {
        const char *line;
        const char *fault;
    } malformed[] = {
        {"\n", "not of the form"},
        {"257\n", "not of the form"},
        {"257 'ab'\n", "not of the form"},
        {" 'ab' 2\n", "id , allowed 1..1048575"},
        {"x 'ab' 2\n", "id x"},
        {"+257 'ab' 2\n", "id +257"},
        {"0 'ab' 2\n", "id 0"},
        {"-1 'ab' 2\n", "id -1"},
        {"1048576 'ab' 2\n", "id 1048576"},
        {"99999999999999999999999 'ab' 2\n", "allowed 1..1048575"},
        {"5 'ab' 2\n", "id 5 again, first on line 5"},
        {"257 'ab' 3\n", "2 bytes, stated are 3"},
        {"257 'ab' 1\n", "2 bytes, stated are 1"},
        {"257 'ab' 2 \n", "byte length "},
        {"257 'ab' two\n", "byte length two"},
        {"257 '' 0\n", "byte length 0"},
        {"257 'ab' 1025\n", "byte length 1025, allowed 1..1024"},
        {"257 ab 2\n", "two equal quotes"},
        {"257 'ab\" 2\n", "two equal quotes"},
        {"257 ' 1\n", "two equal quotes"},
        {"257 b'ab 2\n", "two equal quotes"},
        {"257 u'ab' 2\n", "two equal quotes"},
        {"257 'a'b' 3\n", "quote inside the literal"},
        {"257 'ab\\' 2\n", "ends inside an escape"},
        {"257 'a\\x4' 2\n", "ends inside an escape"},
        {"257 'a\\x4g' 2\n", "hexadecimal digit"},
        {"257 'a\\u12' 2\n", "ends inside an escape"},
        {"257 'a\\q' 2\n", "unknown escape"},
        {"257 '\\U00000041b' 2\n", "unknown escape"},
        {"257 b'\\u0041b' 2\n", "unknown escape"},
        {"257 '\\ud800' 3\n", "surrogate"},
        {"257 '\\udfff' 3\n", "surrogate"},
        {"257 'a\tb' 3\n", "control character"},
        {"257 'a\x7f' 2\n", "control character"},
        {"257 'a\xff' 2\n", "not UTF-8"},
        {"257 b'h\xc3\xa9' 3\n", "not ASCII"},
        {"257 'A' 1\n", "the same text as line 66"},
    };
    const size_t base_len = vocabulary_len;
    for (size_t index = 0; index < sizeof(malformed) / sizeof(malformed[0]); index++) {
        vocabulary_len = base_len;
        append(malformed[index].line);
        append("258 'ok' 2\n");
        ck_assert_int_eq(open_vocabulary(), ERROR_CORRUPT);
        ck_assert_ptr_null(tokenizer);
        ck_assert_msg(strstr(error.message, "vocab.txt line 257: ") == error.message &&
                          strstr(error.message, malformed[index].fault) != NULL,
                      "%s gave: %s", malformed[index].line, error.message);
    }
}
END_TEST

START_TEST(tokenizer_accepts_id_and_length_when_at_their_limits)
{
    char line[LIMIT_TOKEN_BYTES + 64];
    char a_thousand[LIMIT_TOKEN_BYTES + 1] = {0};
    memset(a_thousand, 'a', LIMIT_TOKEN_BYTES);
    snprintf(line, sizeof(line), "%d '%s' %d\n", LIMIT_VOCABULARY - 1, a_thousand,
             LIMIT_TOKEN_BYTES);
    append(line);
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    ck_assert_uint_eq(tokenizer_token_count(tokenizer), LIMIT_VOCABULARY);
    const struct text token = tokenizer_decode(tokenizer, LIMIT_VOCABULARY - 1);
    ck_assert_uint_eq(token.len, LIMIT_TOKEN_BYTES);
    check_tokens(token, &(const int32_t){LIMIT_VOCABULARY - 1}, 1);
}
END_TEST

START_TEST(tokenizer_refuses_vocabulary_when_a_single_byte_is_missing)
{
    for (int byte = 0; byte < SINGLE_BYTES; byte += 51) {
        char expected[32];
        vocabulary_len = 0;
        append_single_bytes(byte, "\n");
        ck_assert_int_eq(open_vocabulary(), ERROR_CORRUPT);
        snprintf(expected, sizeof(expected), "single byte 0x%02x", (unsigned)byte);
        ck_assert_ptr_nonnull(strstr(error.message, expected));
    }
    vocabulary_len = 0;
    ck_assert_int_eq(open_vocabulary(), ERROR_CORRUPT);
}
END_TEST

START_TEST(tokenizer_open_gives_its_code_when_path_cannot_be_read)
{
    ck_assert_int_eq(tokenizer_open("/nonexistent/vocab.txt", &tokenizer, &error), ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.message, "/nonexistent/vocab.txt"));
    ck_assert_int_eq(tokenizer_open("/", &tokenizer, &error), ERROR_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "not a regular file"));
}
END_TEST

START_TEST(tokenizer_open_reads_file_when_it_is_there)
{
    char path[] = "/tmp/skein_test_vocabulary_XXXXXX";
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    FILE *stream = fdopen(descriptor, "wb");
    fwrite(vocabulary, 1, vocabulary_len, stream);
    fclose(stream);
    const enum error_code code = tokenizer_open(path, &tokenizer, &error);
    remove(path);
    ck_assert_int_eq(code, ERROR_NONE);
    CHECK_TOKENS("hi", 'h' + 1, 'i' + 1);
}
END_TEST

START_TEST(tokenizer_matches_longest_when_tokens_contain_each_other)
{
    append("257 'ab' 2\n258 'abcd' 4\n259 'bcde' 4\n");
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    CHECK_TOKENS("abcde", 258, 'e' + 1);
    CHECK_TOKENS("abce", 257, 'c' + 1, 'e' + 1); /* Goes back from the dead end after "abc". */
    CHECK_TOKENS("abc", 257, 'c' + 1);
    CHECK_TOKENS("bcde", 259);
    CHECK_TOKENS("\0", 1);
}
END_TEST

START_TEST(tokenizer_encode_counts_on_when_capacity_is_short)
{
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    int32_t tokens[3] = {-7, -7, -7};
    ck_assert_uint_eq(tokenizer_encode(tokenizer, TEXT("abcd"), tokens, 2), 4);
    ck_assert_int_eq(tokens[0], 'a' + 1);
    ck_assert_int_eq(tokens[1], 'b' + 1);
    ck_assert_int_eq(tokens[2], -7);
    ck_assert_uint_eq(tokenizer_encode(tokenizer, TEXT("abcd"), NULL, 0), 4);
    ck_assert_uint_eq(tokenizer_encode(tokenizer, (struct text){0}, NULL, 0), 0);
}
END_TEST

START_TEST(tokenizer_has_no_text_when_id_is_0_or_not_listed)
{
    append("300 'ab' 2\n");
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    ck_assert_uint_eq(tokenizer_token_count(tokenizer), 301);
    ck_assert(tokenizer_has(tokenizer, 0));
    ck_assert(tokenizer_has(tokenizer, 1));
    ck_assert(tokenizer_has(tokenizer, 256));
    ck_assert(!tokenizer_has(tokenizer, 257));
    ck_assert(tokenizer_has(tokenizer, 300));
    ck_assert(!tokenizer_has(tokenizer, 301));
    ck_assert(!tokenizer_has(tokenizer, -1));
    ck_assert(!tokenizer_has(tokenizer, INT64_C(1) << 32 | 1));
    ck_assert_uint_eq(tokenizer_decode(tokenizer, 0).len, 0);
    ck_assert_uint_eq(tokenizer_decode(tokenizer, 257).len, 0);
    ck_assert_uint_eq(tokenizer_decode(tokenizer, 301).len, 0);
    ck_assert_uint_eq(tokenizer_decode(tokenizer, INT32_MIN).len, 0);
    ck_assert_uint_eq(tokenizer_decode(tokenizer, INT32_MAX).len, 0);
}
END_TEST

START_TEST(tokenizer_frees_from_penalty_when_text_is_white_space_or_digits)
{
    append("257 ' \\t' 2\n258 '12' 2\n259 '21' 2\n260 '\\t01' 3\n261 '  ' 2\n262 '1a' 2\n");
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    const uint32_t *bits = tokenizer_penalty_free(tokenizer);
    for (uint32_t id = 0; id < tokenizer_token_count(tokenizer); id++) {
        const bool expected = id == ' ' + 1 || id == '\t' + 1 || (id >= '0' + 1 && id <= '9' + 1) ||
                              id == 257 || id == 258 || id == 260;
        ck_assert_msg((bits[id / 32] >> (id % 32) & 1) == (expected ? 1u : 0u), "id %u", id);
    }
}
END_TEST

/* Tokens over few letters: they share beginnings and ends as often as possible. */
static void append_random_tokens(int count)
{
    for (int index = 0; index < count; index++) {
        char token[12] = {0};
        char line[64];
        const size_t len = 2 + tokenizer_case_random() % 9;
        for (size_t place = 0; place < len; place++) {
            token[place] = "abcde"[tokenizer_case_random() % 5];
        }
        snprintf(line, sizeof(line), " '%s' %zu\n", token, len);
        vocabulary[vocabulary_len] = '\0';
        if (strstr(vocabulary, line) == NULL) { /* Texts must differ. */
            char id[16];
            snprintf(id, sizeof(id), "%d", 300 + index);
            append(id);
            append(line);
        }
    }
}

START_TEST(tokenizer_encodes_as_the_slow_search_when_text_is_random)
{
    static char buffer[256];
    append_random_tokens(600);
    ck_assert_int_eq(open_vocabulary(), ERROR_NONE);
    tokenizer_case_prepare(tokenizer);
    for (int round = 0; round < 20000; round++) {
        tokenizer_case_check(tokenizer, tokenizer_case_random_text(tokenizer, buffer, 40));
    }
}
END_TEST

START_TEST(tokenizer_close_accepts_null_when_nothing_was_opened)
{
    tokenizer_close(NULL);
}
END_TEST

int main(void)
{
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_test(files, tokenizer_reads_every_literal_form_when_lines_are_well_formed);
    tcase_add_test(files, tokenizer_reads_the_same_when_lines_end_with_crlf);
    tcase_add_test(files, tokenizer_names_the_line_when_it_is_malformed);
    tcase_add_test(files, tokenizer_accepts_id_and_length_when_at_their_limits);
    tcase_add_test(files, tokenizer_refuses_vocabulary_when_a_single_byte_is_missing);
    tcase_add_test(files, tokenizer_open_gives_its_code_when_path_cannot_be_read);
    tcase_add_test(files, tokenizer_open_reads_file_when_it_is_there);
    TCase *tokens = tcase_create("tokens");
    tcase_set_timeout(tokens, 60);
    tcase_add_checked_fixture(tokens, setup, teardown);
    tcase_add_test(tokens, tokenizer_matches_longest_when_tokens_contain_each_other);
    tcase_add_test(tokens, tokenizer_encode_counts_on_when_capacity_is_short);
    tcase_add_test(tokens, tokenizer_has_no_text_when_id_is_0_or_not_listed);
    tcase_add_test(tokens, tokenizer_frees_from_penalty_when_text_is_white_space_or_digits);
    tcase_add_test(tokens, tokenizer_encodes_as_the_slow_search_when_text_is_random);
    tcase_add_test(tokens, tokenizer_close_accepts_null_when_nothing_was_opened);
    Suite *suite = suite_create("engine/tokenizer");
    suite_add_tcase(suite, files);
    suite_add_tcase(suite, tokens);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
