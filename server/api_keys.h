/* SPDX-License-Identifier: Apache-2.0
 *
 * server/api_keys.h - the keys that clients may use; only their hashes are kept.
 *
 * A request is compared with every key, in constant time. Thread: loop; immutable after open. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

struct api_keys;

/* Takes `key` and the keys of the file at `path`, one a line; blank lines and lines that start with
 * '#' are skipped. Either may be NULL; with both, no key is needed. INVALID_ARGUMENT: the file
 * cannot be read, is longer than 1 MiB, names no key or more than LIMIT_KEYS. OUT_OF_MEMORY. */
WARN_UNUSED enum error_code api_keys_open(const char *key, const char *path,
                                          struct api_keys **keys_out, struct error *error);
void api_keys_close(struct api_keys *keys);

size_t api_keys_count(const struct api_keys *keys);

/* Tells whether an Authorization header ("Bearer <key>") names one of the keys. Always true when
 * there are no keys. */
bool api_keys_accept(const struct api_keys *keys, struct text authorization);

/* The same for a header that is nothing but the key ("x-api-key: <key>"). */
bool api_keys_accept_bare(const struct api_keys *keys, struct text key);
