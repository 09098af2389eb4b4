/* SPDX-License-Identifier: Apache-2.0
 *
 * server/api_keys.c - reads keys, hashes them, compares hashes.
 *
 * Hashing both sides makes them equally long, and leaves no key in memory or in a core dump.
 * Thread: loop. */
#include "server/api_keys.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

enum {
    HASH_BYTES = crypto_generichash_BYTES,
    FILE_BYTES_MAX = 1 << 20, /* A thousand keys of a kilobyte. */
};

struct api_keys {
    size_t count;
    unsigned char hashes[LIMIT_KEYS][HASH_BYTES];
};

static void hash_key(struct text key, unsigned char *hash_out)
{
    const unsigned char *bytes = (const unsigned char *)(key.len == 0 ? "" : key.bytes);
    crypto_generichash(hash_out, HASH_BYTES, bytes, key.len, NULL, 0);
}

static enum error_code add_key(struct api_keys *keys, struct text key, struct error *error)
{
    if (keys->count == LIMIT_KEYS) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "more than %d API keys", LIMIT_KEYS);
    }
    hash_key(key, keys->hashes[keys->count++]);
    return ERROR_NONE;
}

static enum error_code add_lines(struct api_keys *keys, struct text lines, struct error *error)
{
    while (lines.len > 0) {
        const struct text line = text_trim(text_cut(&lines, '\n'));
        if (line.len == 0 || line.bytes[0] == '#') {
            continue;
        }
        const enum error_code code = add_key(keys, line, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    return ERROR_NONE;
}

static enum error_code add_file(struct api_keys *keys, const char *path, struct error *error)
{
    enum error_code code = ERROR_NONE;
    char *buffer = NULL;
    const size_t count_before = keys->count;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "key file %s: %s", path, strerror(errno));
    }
    buffer = malloc(FILE_BYTES_MAX + 1);
    if (buffer == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "key file %s", path);
        goto out;
    }
    const size_t bytes = fread(buffer, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        code = error_set(error, ERROR_INVALID_ARGUMENT, "key file %s: %s", path, strerror(errno));
        goto out;
    }
    if (bytes > FILE_BYTES_MAX) {
        code = error_set(error, ERROR_INVALID_ARGUMENT, "key file %s: longer than %d bytes", path,
                         FILE_BYTES_MAX);
        goto out;
    }
    code = add_lines(keys, (struct text){.bytes = buffer, .len = bytes}, error);
    if (code == ERROR_NONE && keys->count == count_before) {
        code = error_set(error, ERROR_INVALID_ARGUMENT,
                         "key file %s: holds no key, write one a line", path);
    }
    sodium_memzero(buffer, bytes);
out:
    free(buffer);
    fclose(file);
    return code;
}

enum error_code api_keys_open(const char *key, const char *path, struct api_keys **keys_out,
                              struct error *error)
{
    *keys_out = NULL;
    if (sodium_init() < 0) {
        return error_set(error, ERROR_IO, "libsodium does not start");
    }
    struct api_keys *keys = calloc(1, sizeof(*keys));
    if (keys == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "API keys");
    }
    enum error_code code = key == NULL ? ERROR_NONE : add_key(keys, text_from(key), error);
    if (code == ERROR_NONE && path != NULL) {
        code = add_file(keys, path, error);
    }
    if (code != ERROR_NONE) {
        api_keys_close(keys);
        return code;
    }
    *keys_out = keys;
    return ERROR_NONE;
}

void api_keys_close(struct api_keys *keys)
{
    free(keys);
}

size_t api_keys_count(const struct api_keys *keys)
{
    return keys->count;
}

bool api_keys_accept(const struct api_keys *keys, struct text authorization)
{
    struct text candidate = text_trim(authorization);
    if (!text_equals_ignoring_case(text_cut(&candidate, ' '), TEXT("Bearer"))) {
        return keys->count == 0;
    }
    return api_keys_accept_bare(keys, candidate);
}

bool api_keys_accept_bare(const struct api_keys *keys, struct text key)
{
    if (keys->count == 0) {
        return true;
    }
    unsigned char hash[HASH_BYTES];
    hash_key(text_trim(key), hash);
    /* No early end: the time tells neither which key matched nor whether one did. */
    int matches = 0;
    for (size_t index = 0; index < keys->count; index++) {
        matches |= sodium_memcmp(hash, keys->hashes[index], HASH_BYTES) == 0;
    }
    return matches != 0;
}
