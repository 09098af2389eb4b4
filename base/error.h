/* SPDX-License-Identifier: Apache-2.0
 *
 * base/error.h - one way to fail: a code the caller can act on, and one line for a person.
 *
 * HTTP statuses do not live here (server/openai_error.c maps codes to them). Thread: any. */
#pragma once

#include <stdint.h>

#define ERROR_CODES(X)                                                                      \
    X(NONE, "none")                         /* Success; the only code that is 0. */         \
    X(INVALID_ARGUMENT, "invalid argument") /* The caller can mend the input. */            \
    X(NOT_FOUND, "not found")               /* The named thing does not exist. */           \
    X(TOO_LARGE, "too large")               /* A limit of base/limits.h or an option. */    \
    X(OVERLOADED, "overloaded")             /* Try again later: a queue is full. */         \
    X(CANCELLED, "cancelled")               /* The caller asked for the end. */             \
    X(TIMEOUT, "timeout")                   /* A deadline passed. */                        \
    X(IO, "input/output error")             /* The operating system refused. */             \
    X(CORRUPT, "corrupt")                   /* A file is not what it claims to be. */       \
    X(OUT_OF_MEMORY, "out of memory")       /* Start-up only: nothing allocates later. */   \
    X(DEVICE, "device failure")             /* Final: drain and exit 4. */                  \
    X(SHUTTING_DOWN, "shutting down")       /* The program is ending. */

enum error_code {
#define X(name, text) ERROR_##name,
    ERROR_CODES(X)
#undef X
};

enum { ERROR_MESSAGE_BYTES = 512 };

/* Filled by the function that fails; passed on unchanged by the others. Zero means no error. */
struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_BYTES]; /* One line, lower case, no full stop, with the values. */
};

#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first) __attribute__((format(printf, format_index, first)))

/* Writes code and message (cut at the buffer's end) and returns code, so that a function can
 * end with `return error_set(error, ...)`. `error` may be NULL. Thread: any. */
enum error_code error_set(struct error *error, enum error_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Returns the code's constant text, e.g. "not found". Thread: any. */
const char *error_code_text(enum error_code code);

/* Internal facts only, never anything derived from a client or a file. Active in every build:
 * prints file, line and the condition to stderr, then aborts. */
#define ASSERT(condition)                                                                   \
    do {                                                                                    \
        if (__builtin_expect(!(condition), 0)) {                                            \
            error_assert_failed(__FILE__, __LINE__, #condition);                            \
        }                                                                                   \
    } while (0)

/* As ASSERT, for two unsigned integers; prints both values. */
#define ASSERT_COMPARE(left, operator, right)                                               \
    do {                                                                                    \
        const uint64_t left_value = (uint64_t)(left);                                       \
        const uint64_t right_value = (uint64_t)(right);                                     \
        if (__builtin_expect(!(left_value operator right_value), 0)) {                      \
            error_assert_compare_failed(__FILE__, __LINE__, #left " " #operator " " #right, \
                                        left_value, right_value);                           \
        }                                                                                   \
    } while (0)

_Noreturn void error_assert_failed(const char *file, int line, const char *condition);
_Noreturn void error_assert_compare_failed(const char *file, int line, const char *condition,
                                           uint64_t left, uint64_t right);
