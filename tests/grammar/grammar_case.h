/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/grammar/grammar_case.h - shorthands of the grammar's unit tests.
 *
 * Each compiles, asks, and releases. Thread: main. */
#pragma once

#include "grammar/grammar.h"

enum grammar_verdict { GRAMMAR_REFUSED, GRAMMAR_PREFIX, GRAMMAR_ACCEPTED };

/* The options that most tests use: any order, white space, explicit objects. */
extern const struct grammar_options grammar_case_options;

/* A compiled grammar; fails the test when it does not compile. */
struct grammar *grammar_case_compile(const struct grammar_part *part,
                                     const struct grammar_options *options);
struct grammar *grammar_case_schema(const char *schema);

/* What the grammar says to a text, taken whole and byte by byte, which must agree. */
enum grammar_verdict grammar_case_verdict(struct grammar *grammar, struct text text);

/* Checks that every text (NULL ends the list) gets the verdict. */
void grammar_case_check(struct grammar *grammar, enum grammar_verdict verdict,
                        const char *const *texts);

/* As grammar_case_check, for a schema or a pattern. */
void grammar_case_check_schema(const char *schema, enum grammar_verdict verdict,
                               const char *const *texts);
void grammar_case_check_regex(const char *pattern, enum grammar_verdict verdict,
                              const char *const *texts);

/* Checks that the part is refused as INVALID_ARGUMENT with this within the message. */
void grammar_case_check_refused(const struct grammar_part *part,
                                const struct grammar_options *options, const char *message);
void grammar_case_check_schema_refused(const char *schema, const char *message);
void grammar_case_check_regex_refused(const char *pattern, const char *message);

#define GRAMMAR_TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})
