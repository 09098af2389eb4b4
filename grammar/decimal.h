/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/decimal.h - a JSON number as sign, digits before and digits after the point.
 *
 * Inside grammar/ only. Bounds are compared digit by digit, so that 0.1 is 0.1.
 * Thread: any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum {
    DECIMAL_DIGITS_MAX = 40, /* On each side of the point. */
};

/* Zero is {whole_count = 1, whole = {0}}, never negative. */
struct decimal {
    bool negative;
    uint8_t whole_count;                  /* >= 1; no leading zero but that of "0". */
    uint8_t fraction_count;               /* No trailing zero. */
    uint8_t whole[DECIMAL_DIGITS_MAX];    /* 0..9, the first is the most significant. */
    uint8_t fraction[DECIMAL_DIGITS_MAX]; /* 0..9 */
};

/* Reads a JSON number, exponent and all; false: too many digits on one side. */
bool decimal_parse(struct text number, struct decimal *decimal_out);

bool decimal_is_zero(const struct decimal *decimal);

/* The number of digits that are not leading or trailing zeros. */
uint32_t decimal_significant(const struct decimal *decimal);

/* -1, 0 or 1. */
int decimal_compare(const struct decimal *left, const struct decimal *right);

/* The magnitude times 10^fraction_count; false: above 2^62. */
bool decimal_scaled(const struct decimal *decimal, uint64_t *value_out);

/* Writes the shortest plain form, "-12.5"; buffer[2 * DECIMAL_DIGITS_MAX + 3]. Returns its length.
 */
size_t decimal_print(const struct decimal *decimal, char *buffer);
