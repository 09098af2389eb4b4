/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a log that a client cannot forge, and that two threads cannot tear.
 * Shown by: hostile values in both formats, with stderr caught in a file (each test is a process).
 * Thread: main. */
#include "base/log.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *caught; /* stderr of this test. */
static char lines[1 << 20];

static void catch_stderr(void)
{
    caught = tmpfile();
    ck_assert_ptr_nonnull(caught);
    ck_assert_int_ge(dup2(fileno(caught), STDERR_FILENO), 0);
}

/* All that was logged. */
static const char *read_caught(void)
{
    rewind(caught);
    const size_t bytes = fread(lines, 1, sizeof(lines) - 1, caught);
    lines[bytes] = '\0';
    return lines;
}

static void check_ends_with(const char *expected)
{
    const char *all = read_caught();
    ck_assert_uint_ge(strlen(all), strlen(expected));
    ck_assert_str_eq(all + strlen(all) - strlen(expected), expected);
}

static size_t count_newlines(const char *all)
{
    size_t count = 0;
    for (; *all != '\0'; all++) {
        count += *all == '\n' ? 1 : 0;
    }
    return count;
}

START_TEST(log_writes_key_value_line_when_format_is_text)
{
    log_event(LOG_INFO, "engine", "generation ended", LOG_S("reason", "stop"), LOG_I("tokens", -3),
              LOG_R("seconds", 0.25), LOG_S("empty", NULL));
    ck_assert_int_eq(strncmp(read_caught(), "ts=20", 5), 0);
    check_ends_with("Z level=info area=engine event=\"generation ended\" reason=stop tokens=-3 "
                    "seconds=0.25 empty=\"\"\n");
}
END_TEST

START_TEST(log_writes_one_object_when_format_is_json)
{
    log_configure(LOG_INFO, LOG_FORMAT_JSON);
    log_event(LOG_WARN, "server", "queue full", LOG_S("id", "a\"b\n\xff"), LOG_I("waiting", 3),
              LOG_R("share", 0.5));
    ck_assert_int_eq(strncmp(read_caught(), "{\"ts\":\"20", 9), 0);
    check_ends_with("Z\",\"level\":\"warn\",\"area\":\"server\",\"event\":\"queue full\","
                    "\"id\":\"a\\\"b\\n\xef\xbf\xbd\",\"waiting\":3,\"share\":0.5}\n");
}
END_TEST

START_TEST(log_escapes_value_when_it_would_forge_a_line)
{
    log_event(LOG_ERROR, "a", "b", LOG_S("v", "x\nts=1 \"\\\x1b\x7f\xff\xc2\x9b\xc3\xa9"));
    check_ends_with(" v=\"x\\x0ats=1 \\\"\\\\\\x1b\\x7f\\xff\\xc2\\x9b\xc3\xa9\"\n");
    ck_assert_uint_eq(count_newlines(lines), 1);
}
END_TEST

START_TEST(log_keeps_value_when_it_has_256_bytes)
{
    char value[257];
    memset(value, 'v', 256);
    value[256] = '\0';
    log_event(LOG_INFO, "a", "b", LOG_S("v", value));
    ck_assert_ptr_nonnull(strstr(read_caught(), value));
    ck_assert_ptr_null(strstr(lines, "..."));
}
END_TEST

START_TEST(log_cuts_value_when_it_has_257_bytes)
{
    char value[258];
    memset(value, 'v', 257);
    value[257] = '\0';
    log_event(LOG_INFO, "a", "b", LOG_S("v", value));
    value[256] = '\0';
    ck_assert_ptr_nonnull(strstr(read_caught(), value));
    check_ends_with("vvv...\n");
}
END_TEST

START_TEST(log_cuts_value_before_a_character_when_the_cut_would_split_it)
{
    char value[260];
    memset(value, 'v', 255);
    memcpy(value + 255, "\xe2\x82\xac", sizeof("\xe2\x82\xac"));
    log_event(LOG_INFO, "a", "b", LOG_S("v", value));
    check_ends_with("vvv...\n");
}
END_TEST

/* More hostile values than a line can hold. */
static void log_a_flood(void)
{
    char value[257];
    memset(value, 1, 256);
    value[256] = '\0';
    struct log_field fields[33] = {0};
    for (size_t index = 0; index < 32; index++) {
        fields[index] = LOG_S("v", value);
    }
    log_event_fields(LOG_INFO, "a", "b", fields);
}

START_TEST(log_drops_fields_and_says_so_when_line_is_full)
{
    log_a_flood();
    check_ends_with("\\x01\" cut=true\n");
    log_configure(LOG_INFO, LOG_FORMAT_JSON);
    log_a_flood();
    check_ends_with("\\u0001\",\"cut\":true}\n");
    ck_assert_uint_eq(count_newlines(lines), 2);
}
END_TEST

START_TEST(log_is_silent_when_level_is_below_the_configured_one)
{
    ck_assert(log_wants(LOG_INFO));
    ck_assert(!log_wants(LOG_DEBUG));
    log_event(LOG_DEBUG, "a", "b", LOG_I("c", 1));
    log_configure(LOG_ERROR, LOG_FORMAT_TEXT);
    log_event(LOG_WARN, "a", "b", LOG_I("c", 1));
    ck_assert_str_eq(read_caught(), "");
    log_event(LOG_ERROR, "a", "b", LOG_I("c", 1));
    check_ends_with("level=error area=a event=b c=1\n");
}
END_TEST

enum { LINES_PER_THREAD = 500 };

static void *log_many(void *context)
{
    for (int index = 0; index < LINES_PER_THREAD; index++) {
        log_event(LOG_INFO, "thread", "counted", LOG_S("name", context), LOG_S("end", "!"));
    }
    return NULL;
}

START_TEST(log_keeps_lines_whole_when_threads_write_at_once)
{
    pthread_t other;
    ck_assert_int_eq(pthread_create(&other, NULL, log_many, (void *)"other"), 0);
    (void)log_many((void *)"this");
    pthread_join(other, NULL);
    const char *line = read_caught();
    ck_assert_uint_eq(count_newlines(line), 2 * LINES_PER_THREAD);
    while (*line != '\0') {
        const char *end = strchr(line, '\n');
        ck_assert_int_eq(strncmp(line, "ts=", 3), 0);
        ck_assert_int_eq(strncmp(end - 6, " end=!", 6), 0);
        line = end + 1;
    }
}
END_TEST

int main(void)
{
    TCase *all = tcase_create("log");
    tcase_add_checked_fixture(all, catch_stderr, NULL);
    tcase_add_test(all, log_writes_key_value_line_when_format_is_text);
    tcase_add_test(all, log_writes_one_object_when_format_is_json);
    tcase_add_test(all, log_escapes_value_when_it_would_forge_a_line);
    tcase_add_test(all, log_keeps_value_when_it_has_256_bytes);
    tcase_add_test(all, log_cuts_value_when_it_has_257_bytes);
    tcase_add_test(all, log_cuts_value_before_a_character_when_the_cut_would_split_it);
    tcase_add_test(all, log_drops_fields_and_says_so_when_line_is_full);
    tcase_add_test(all, log_is_silent_when_level_is_below_the_configured_one);
    tcase_add_test(all, log_keeps_lines_whole_when_threads_write_at_once);
    Suite *suite = suite_create("base/log");
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
