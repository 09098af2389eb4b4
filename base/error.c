/* SPDX-License-Identifier: Apache-2.0
 *
 * base/error.c - filling of struct error, and the end of the program when an assertion fails.
 *
 * Does not log: who handles an error decides whether it is worth a line. Thread: any. */
#include "base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* A message is one line, whatever the values in it came from. */
static void replace_control_bytes(char *message)
{
    for (char *byte = message; *byte != '\0'; byte++) {
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f) {
            *byte = ' ';
        }
    }
}

enum error_code error_set(struct error *error, enum error_code code, const char *format, ...)
{
    if (error == NULL) {
        return code;
    }
    /* Formatted aside, because an argument may be the old error->message. */
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    const int len = vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (len < 0) {
        message[0] = '\0';
    }
    replace_control_bytes(message);
    text_copy_to(text_from(message), error->message, sizeof(error->message));
    error->code = code;
    return code;
}

const char *error_code_text(enum error_code code)
{
    switch (code) {
#define X(name, text)                                                                              \
    case ERROR_##name:                                                                             \
        return text;
        ERROR_CODES(X)
#undef X
    }
    return "unknown error";
}

void error_assert_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}

void error_assert_compare_failed(const char *file, int line, const char *condition, uint64_t left,
                                 uint64_t right)
{
    fprintf(stderr, "%s:%d: assertion failed: %s (%" PRIu64 " and %" PRIu64 ")\n", file, line,
            condition, left, right);
    abort();
}
