/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/config/config_case.c - one call of config_load on literal sources, and what it said.
 *
 * Thread: main. */
#include "tests/config/config_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS_MAX = 32 };

struct config_case last_case;

/* Cuts a copy of the text, kept in *storage_out, at its spaces. */
static size_t split_words(const char *text, char *words[WORDS_MAX + 1], char **storage_out)
{
    size_t count = 0;
    char *rest = text == NULL ? NULL : strdup(text);
    *storage_out = rest;
    while (rest != NULL) {
        ck_assert_uint_lt(count, WORDS_MAX);
        char *word = strsep(&rest, " ");
        words[count++] = strcmp(word, "@") == 0 ? last_case.file_path : word;
    }
    words[count] = NULL;
    return count;
}

const char *case_write_file(const char *content, size_t bytes)
{
    static char paths[8][64];
    static size_t count;
    ck_assert_uint_lt(count, 8);
    char *path = paths[count++];
    snprintf(path, sizeof(paths[0]), "test_config_XXXXXX");
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    ck_assert_int_eq(write(descriptor, content, bytes), (ssize_t)bytes);
    close(descriptor);
    return path;
}

void case_load(const char *command_line, const char *environment, const char *file)
{
    case_end();
    if (file != NULL) {
        snprintf(last_case.file_path, sizeof(last_case.file_path), "%s",
                 case_write_file(file, strlen(file)));
    }
    char *arguments[WORDS_MAX + 1];
    char *variables[WORDS_MAX + 1];
    (void)split_words(environment, variables, &last_case.words[0]);
    const struct config_input input = {
        .argc = (int)split_words(command_line, arguments, &last_case.words[1]),
        .argv = arguments,
        .environment = variables,
    };
    size_t said_bytes;
    FILE *stream = open_memstream(&last_case.said, &said_bytes);
    last_case.code = config_load(&last_case.config, &input, stream, &last_case.error);
    fclose(stream);
    if (file != NULL) {
        unlink(last_case.file_path);
    }
}

void case_load_ok(const char *command_line, const char *environment, const char *file)
{
    case_load(command_line, environment, file);
    ck_assert_str_eq(last_case.said, "");
    ck_assert_int_eq(last_case.code, ERROR_NONE);
}

void case_load_bad(const char *command_line, const char *environment, const char *file,
                   const char *expected)
{
    case_load(command_line, environment, file);
    char lines[4096] = "";
    for (; *expected != '\0'; expected++) {
        const char byte[2] = {*expected, '\0'};
        const char *piece = *expected == '@' ? last_case.file_path : byte;
        const size_t len = strlen(lines);
        snprintf(lines + len, sizeof(lines) - len, "%s", piece);
    }
    ck_assert_str_eq(last_case.said, lines);
    ck_assert_int_eq(last_case.code, ERROR_INVALID_ARGUMENT);
}

void case_end(void)
{
    config_deinit(&last_case.config);
    free(last_case.said);
    free(last_case.words[0]);
    free(last_case.words[1]);
    last_case = (struct config_case){0};
}
