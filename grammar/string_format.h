/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/string_format.h - what JSON Schema's "format" means here, as regular expressions.
 *
 * Inside grammar/ only. Each accepts a part of what its RFC allows: what every validator accepts.
 *
 *   date      RFC 3339 full-date, years 0001 to 9999, real days only
 *   time      RFC 3339 full-time, no leap second, capital Z, at most 9 digits of a second
 *   date-time RFC 3339: date, capital T, time
 *   duration  RFC 3339 appendix A, at most 9 digits in a row
 *   email     RFC 5321 without quoted parts and address literals, at most 254 characters
 *   hostname  RFC 1123, labels of at most 63, the last one starts with a letter, 253 in all
 *   ipv4, ipv6  dotted quad; RFC 3986 IPv6address
 *   uuid      RFC 9562, either case
 *
 * Thread: any. */
#pragma once

#include <stdint.h>

#include "base/text.h"

/* The pattern of a format, to match the whole text, and the most characters (GRAMMAR_NONE: any);
 * the empty text when the name is not known. Static. */
struct text string_format_pattern(struct text name, uint32_t *length_max_out);
