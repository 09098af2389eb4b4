/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/tidy/print_options.c - prints the table of options that belongs into README.md.
 *
 * Thread: main. */
#include <stdio.h>

#include "config/config_print.h"

int main(void)
{
    config_print_markdown(stdout);
    return 0;
}
