/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/grammar/grammar_case.c - shorthands of the grammar's unit tests.
 *
 * Thread: main. */
#include "grammar_case.h"

#include <check.h>
#include <string.h>

const struct grammar_options grammar_case_options = {.white_space_max = GRAMMAR_WHITE_SPACE_MAX};

struct grammar *grammar_case_compile(const struct grammar_part *part,
                                     const struct grammar_options *options)
{
    struct grammar *grammar = NULL;
    struct error error = {0};
    const enum error_code code = grammar_compile(part, options, &grammar, &error);
    ck_assert_msg(code == ERROR_NONE, "%s", error.message);
    return grammar;
}

struct grammar *grammar_case_schema(const char *schema)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA, .text = text_from(schema)};
    return grammar_case_compile(&part, &grammar_case_options);
}

enum grammar_verdict grammar_case_verdict(struct grammar *grammar, struct text text)
{
    struct grammar_state *whole = grammar_state_create(grammar);
    struct grammar_state *bytes = grammar_state_create(grammar);
    size_t taken = 0;
    while (taken < text.len &&
           grammar_advance(bytes, (struct text){.bytes = text.bytes + taken, .len = 1})) {
        taken++;
    }
    const bool fits = grammar_advance(whole, text);
    ck_assert_int_eq(fits, taken == text.len);
    enum grammar_verdict verdict = GRAMMAR_REFUSED;
    if (fits) {
        ck_assert_int_eq(grammar_is_complete(whole), grammar_is_complete(bytes));
        verdict = grammar_is_complete(whole) ? GRAMMAR_ACCEPTED : GRAMMAR_PREFIX;
    }
    grammar_state_destroy(bytes);
    grammar_state_destroy(whole);
    return verdict;
}

void grammar_case_check(struct grammar *grammar, enum grammar_verdict verdict,
                        const char *const *texts)
{
    static const char *const names[] = {"refused", "a prefix", "accepted"};
    for (; *texts != NULL; texts++) {
        const enum grammar_verdict found = grammar_case_verdict(grammar, text_from(*texts));
        ck_assert_msg(found == verdict, "'%s' is %s, not %s", *texts, names[found], names[verdict]);
    }
}

static void check_part(enum grammar_part_kind kind, const char *source,
                       enum grammar_verdict verdict, const char *const *texts)
{
    const struct grammar_part part = {.kind = kind, .text = text_from(source)};
    struct grammar *grammar = grammar_case_compile(&part, &grammar_case_options);
    grammar_case_check(grammar, verdict, texts);
    grammar_release(grammar);
}

void grammar_case_check_schema(const char *schema, enum grammar_verdict verdict,
                               const char *const *texts)
{
    check_part(GRAMMAR_PART_SCHEMA, schema, verdict, texts);
}

void grammar_case_check_regex(const char *pattern, enum grammar_verdict verdict,
                              const char *const *texts)
{
    check_part(GRAMMAR_PART_REGEX, pattern, verdict, texts);
}

void grammar_case_check_refused(const struct grammar_part *part,
                                const struct grammar_options *options, const char *message)
{
    struct grammar *grammar = NULL;
    struct error error = {0};
    const enum error_code code = grammar_compile(part, options, &grammar, &error);
    ck_assert_int_eq(code, ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(error.code, ERROR_INVALID_ARGUMENT);
    ck_assert_ptr_null(grammar);
    ck_assert_msg(strstr(error.message, message) != NULL, "'%s' is not in '%s'", message,
                  error.message);
}

void grammar_case_check_schema_refused(const char *schema, const char *message)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_SCHEMA, .text = text_from(schema)};
    grammar_case_check_refused(&part, &grammar_case_options, message);
}

void grammar_case_check_regex_refused(const char *pattern, const char *message)
{
    const struct grammar_part part = {.kind = GRAMMAR_PART_REGEX, .text = text_from(pattern)};
    grammar_case_check_refused(&part, &grammar_case_options, message);
}
