/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/config/config_case.h - one call of config_load on literal sources, and what it said.
 *
 * Thread: main. */
#pragma once

#include "config/config.h"

/* Result of the last case_load; freed by the next one or by case_end. */
struct config_case {
    struct config config;
    enum error_code code;
    struct error error;
    char *said; /* The lines about mistakes. */
    char *words[2]; /* What argv and environment point into. */
    char file_path[64];
};

extern struct config_case last_case;

/* Loads from a command line and an environment, both of words separated by one space, and from an
 * INI file with that text; NULL: none. "@" in the command line stands for the file's path. */
void case_load(const char *command_line, const char *environment, const char *file);

/* As above, and checks that there was no mistake. */
void case_load_ok(const char *command_line, const char *environment, const char *file);

/* As case_load, and checks that the mistakes are exactly these lines ("@" as above). */
void case_load_bad(const char *command_line, const char *environment, const char *file,
                   const char *expected);

/* Writes a file of that content and returns its path, valid until the process ends. */
const char *case_write_file(const char *content, size_t bytes);

void case_end(void);
