/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: who may use the server. Shown by: keys from the option and from a file, and headers
 * that are almost right. Thread: main. */
#include "server/api_keys.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"

enum { PATH_BYTES = 64, LINE_BYTES = 8 };

/* Writes content to a file of its own; the caller unlinks it. */
static void write_file(char path[PATH_BYTES], const char *content, size_t bytes)
{
    snprintf(path, PATH_BYTES, "/tmp/skein-test-keys-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, bytes), (ssize_t)bytes);
    close(fd);
}

static enum error_code open_text(const char *content, struct api_keys **keys_out,
                                 struct error *error)
{
    char path[PATH_BYTES];
    write_file(path, content, strlen(content));
    const enum error_code code = api_keys_open(NULL, path, keys_out, error);
    unlink(path);
    return code;
}

START_TEST(api_keys_accept_everyone_when_there_is_no_key)
{
    struct error error = {0};
    struct api_keys *keys = NULL;
    ck_assert_int_eq(api_keys_open(NULL, NULL, &keys, &error), ERROR_NONE);
    ck_assert_uint_eq(api_keys_count(keys), 0);
    ck_assert(api_keys_accept(keys, TEXT("")));
    ck_assert(api_keys_accept(keys, TEXT("Bearer anything")));
    api_keys_close(keys);
    api_keys_close(NULL);
}
END_TEST

START_TEST(api_keys_accept_the_key_when_the_header_names_it)
{
    struct error error = {0};
    struct api_keys *keys = NULL;
    ck_assert_int_eq(api_keys_open("sesame", NULL, &keys, &error), ERROR_NONE);
    ck_assert(api_keys_accept(keys, TEXT("Bearer sesame")));
    ck_assert(api_keys_accept(keys, TEXT(" bearer   sesame ")));
    ck_assert(!api_keys_accept(keys, TEXT("")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer ")));
    ck_assert(!api_keys_accept(keys, TEXT("sesame")));
    ck_assert(!api_keys_accept(keys, TEXT("Basic sesame")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer Sesame")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer sesam")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer sesame2")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer sesame sesame")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer sesame\0")));
    ck_assert(api_keys_accept_bare(keys, TEXT(" sesame ")));
    ck_assert(!api_keys_accept_bare(keys, TEXT("Bearer sesame")));
    ck_assert(!api_keys_accept_bare(keys, TEXT("")));
    api_keys_close(keys);
}
END_TEST

START_TEST(api_keys_take_every_line_when_given_a_file)
{
    struct error error = {0};
    struct api_keys *keys = NULL;
    ck_assert_int_eq(
        open_text("# team A\nalpha\r\n\n  beta  \n#gamma\nwith # inside", &keys, &error),
        ERROR_NONE);
    ck_assert_uint_eq(api_keys_count(keys), 3);
    ck_assert(api_keys_accept(keys, TEXT("Bearer alpha")));
    ck_assert(api_keys_accept(keys, TEXT("Bearer beta")));
    ck_assert(api_keys_accept(keys, TEXT("Bearer with # inside")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer #gamma")));
    ck_assert(!api_keys_accept(keys, TEXT("Bearer gamma")));
    api_keys_close(keys);
}
END_TEST

START_TEST(api_keys_refuse_a_file_when_it_holds_no_key)
{
    struct error error = {0};
    struct api_keys *keys = NULL;
    ck_assert_int_eq(open_text("# nothing\n\n", &keys, &error), ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "holds no key"));
    ck_assert_ptr_null(keys);
    ck_assert_int_eq(api_keys_open(NULL, "/nonexistent/keys", &keys, &error),
                     ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "/nonexistent/keys"));
}
END_TEST

START_TEST(api_keys_refuse_a_file_when_a_limit_is_passed)
{
    struct error error = {0};
    struct api_keys *keys = NULL;
    char *lines = calloc(LIMIT_KEYS + 2, LINE_BYTES);
    for (int index = 0; index < LIMIT_KEYS; index++) {
        snprintf(lines + strlen(lines), LINE_BYTES, "k%d\n", index);
    }
    ck_assert_int_eq(open_text(lines, &keys, &error), ERROR_NONE);
    ck_assert_uint_eq(api_keys_count(keys), LIMIT_KEYS);
    api_keys_close(keys);
    snprintf(lines + strlen(lines), LINE_BYTES, "more\n");
    ck_assert_int_eq(open_text(lines, &keys, &error), ERROR_INVALID_ARGUMENT);
    free(lines);

    const size_t bytes = (1 << 20) + 1;
    char *large = malloc(bytes);
    memset(large, 'a', bytes);
    char path[PATH_BYTES];
    write_file(path, large, bytes);
    ck_assert_int_eq(api_keys_open(NULL, path, &keys, &error), ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "longer than"));
    unlink(path);
    free(large);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/api_keys");
    TCase *headers = tcase_create("headers");
    tcase_add_test(headers, api_keys_accept_everyone_when_there_is_no_key);
    tcase_add_test(headers, api_keys_accept_the_key_when_the_header_names_it);
    suite_add_tcase(suite, headers);
    TCase *files = tcase_create("files");
    tcase_add_test(files, api_keys_take_every_line_when_given_a_file);
    tcase_add_test(files, api_keys_refuse_a_file_when_it_holds_no_key);
    tcase_add_test(files, api_keys_refuse_a_file_when_a_limit_is_passed);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
