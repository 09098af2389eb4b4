/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_print.h - the table of options for people: --help and the README.
 *
 * Thread: main. */
#pragma once

#include <stdio.h>

/* Prints all options in their groups, one line each. */
void config_print_help(FILE *stream);

/* Prints the table that stands in README.md between its two markers (tests/tidy compares). */
void config_print_markdown(FILE *stream);
