/* SPDX-License-Identifier: Apache-2.0
 *
 * grammar/grammar_cache.c - a table of grammars and refusals, by a text that says all they depend
 * on.
 *
 * Thread: any. */
#include "grammar/grammar_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOT_COUNT = 1024,
    ENTRY_BYTES_MIN = 4096, /* What the smallest is counted as: bounds the number of entries. */
    PART_DEPTH_MAX = 16,    /* Deeper ones are refused anyway, by grammar_compile. */
};

struct entry {
    uint64_t hash;
    char *key; /* [key_bytes], owned. */
    size_t key_bytes;
    size_t bytes;            /* Counted for this entry. */
    struct grammar *grammar; /* Retained; NULL: refused, */
    struct error error;      /* with this. */
    struct entry *chain;
    struct entry *older;
    struct entry *newer;
};

struct grammar_cache {
    pthread_mutex_t
        lock; /* Protects all below. Nothing that blocks or compiles while holding it. */
    struct entry *slots[SLOT_COUNT];
    struct entry *newest;
    struct entry *oldest;
    size_t bytes_max;
    struct grammar_cache_counters counters;
};

/* ---- Keys ---- */

/* Bytes being collected; NULL and a length: only counted. */
struct key_writer {
    char *bytes;
    size_t len;
};

static void write_bytes(struct key_writer *writer, const void *bytes, size_t len)
{
    if (writer->bytes != NULL && len > 0) {
        memcpy(writer->bytes + writer->len, bytes, len);
    }
    writer->len += len;
}

static void write_number(struct key_writer *writer, uint64_t number)
{
    write_bytes(writer, &number, sizeof(number));
}

static void write_text(struct key_writer *writer, struct text text)
{
    write_number(writer, text.len);
    write_bytes(writer, text.bytes, text.len);
}

/* As deep as parts are nested, cut at PART_DEPTH_MAX. */
static void write_part(struct key_writer *writer, const struct grammar_part *part, uint32_t depth)
{
    write_number(writer, part->kind);
    write_number(writer, (uint64_t)part->min << 32 | part->max);
    write_number(writer, part->part_count);
    write_text(writer, part->text);
    write_text(writer, part->name);
    for (uint32_t index = 0; depth < PART_DEPTH_MAX && index < part->part_count; index++) {
        write_part(writer, &part->parts[index], depth + 1);
    }
}

static void write_key(struct key_writer *writer, const struct grammar_part *root,
                      const struct grammar_options *options)
{
    write_number(writer, options->objects);
    write_number(writer, options->order);
    write_number(writer, options->white_space_max);
    write_part(writer, root, 0);
}

/* FNV-1a. Keys are compared in full; the hash only spreads them. */
static uint64_t hash_bytes(const char *bytes, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t index = 0; index < len; index++) {
        hash = (hash ^ (unsigned char)bytes[index]) * UINT64_C(1099511628211);
    }
    return hash;
}

/* ---- Entries, under the lock ---- */

static void unlink_age(struct grammar_cache *cache, struct entry *entry)
{
    *(entry->newer == NULL ? &cache->newest : &entry->newer->older) = entry->older;
    *(entry->older == NULL ? &cache->oldest : &entry->older->newer) = entry->newer;
}

static void link_newest(struct grammar_cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = entry;
    cache->newest = entry;
}

static void entry_destroy(struct entry *entry)
{
    if (entry != NULL) {
        grammar_release(entry->grammar);
        free(entry->key);
        free(entry);
    }
}

static void drop_oldest(struct grammar_cache *cache)
{
    struct entry *entry = cache->oldest;
    struct entry **link = &cache->slots[entry->hash % SLOT_COUNT];
    while (*link != entry) {
        link = &(*link)->chain;
    }
    *link = entry->chain;
    unlink_age(cache, entry);
    cache->counters.bytes -= entry->bytes;
    entry_destroy(entry);
}

static struct entry *find_entry(const struct grammar_cache *cache, const char *key,
                                size_t key_bytes, uint64_t hash)
{
    struct entry *entry = cache->slots[hash % SLOT_COUNT];
    while (entry != NULL && (entry->hash != hash || entry->key_bytes != key_bytes ||
                             memcmp(entry->key, key, key_bytes) != 0)) {
        entry = entry->chain;
    }
    return entry;
}

/* ---- Looking up ---- */

/* Gives out what an entry holds. */
static enum error_code give_out(const struct entry *entry, struct grammar **grammar_out,
                                struct error *error)
{
    if (entry->grammar == NULL) {
        return error_set(error, entry->error.code, "%s", entry->error.message);
    }
    *grammar_out = grammar_retain(entry->grammar);
    return ERROR_NONE;
}

/* Keeps a result, if it is worth keeping and was not kept by another meanwhile. Takes the key. */
static void keep(struct grammar_cache *cache, char *key, size_t key_bytes, uint64_t hash,
                 struct grammar *grammar, const struct error *error)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        free(key);
        return;
    }
    entry->hash = hash;
    entry->key = key;
    entry->key_bytes = key_bytes;
    entry->error = *error;
    entry->bytes = sizeof(*entry) + key_bytes;
    if (grammar != NULL) {
        entry->grammar = grammar_retain(grammar);
        entry->bytes += grammar_bytes(grammar);
    }
    entry->bytes = entry->bytes < ENTRY_BYTES_MIN ? ENTRY_BYTES_MIN : entry->bytes;
    (void)pthread_mutex_lock(&cache->lock);
    cache->counters.compiled++;
    const bool kept =
        entry->bytes <= cache->bytes_max && find_entry(cache, key, key_bytes, hash) == NULL;
    if (kept) {
        while (cache->counters.bytes + entry->bytes > cache->bytes_max) {
            drop_oldest(cache);
        }
        entry->chain = cache->slots[hash % SLOT_COUNT];
        cache->slots[hash % SLOT_COUNT] = entry;
        link_newest(cache, entry);
        cache->counters.bytes += entry->bytes;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    if (!kept) {
        entry_destroy(entry);
    }
}

enum error_code grammar_cache_find(struct grammar_cache *cache, const struct grammar_part *root,
                                   const struct grammar_options *options,
                                   struct grammar **grammar_out, struct error *error)
{
    struct key_writer writer = {.bytes = NULL};
    write_key(&writer, root, options);
    const size_t key_bytes = writer.len;
    *grammar_out = NULL;
    writer = (struct key_writer){.bytes = malloc(key_bytes)};
    if (writer.bytes == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "no memory for the grammar");
    }
    write_key(&writer, root, options);
    const uint64_t hash = hash_bytes(writer.bytes, key_bytes);
    (void)pthread_mutex_lock(&cache->lock);
    struct entry *entry = find_entry(cache, writer.bytes, key_bytes, hash);
    enum error_code code = ERROR_NONE;
    if (entry != NULL) {
        cache->counters.found++;
        unlink_age(cache, entry);
        link_newest(cache, entry);
        code = give_out(entry, grammar_out, error);
    }
    (void)pthread_mutex_unlock(&cache->lock);
    if (entry != NULL) {
        free(writer.bytes);
        return code;
    }
    struct error own = {0};
    code = grammar_compile(root, options, grammar_out, &own);
    if (code != ERROR_NONE) {
        (void)error_set(error, code, "%s", own.message);
    }
    if (code == ERROR_NONE || code == ERROR_INVALID_ARGUMENT) {
        keep(cache, writer.bytes, key_bytes, hash, *grammar_out, &own);
    } else {
        free(writer.bytes);
    }
    return code;
}

struct grammar_cache_counters grammar_cache_count(struct grammar_cache *cache)
{
    (void)pthread_mutex_lock(&cache->lock);
    const struct grammar_cache_counters counters = cache->counters;
    (void)pthread_mutex_unlock(&cache->lock);
    return counters;
}

struct grammar_cache *grammar_cache_create(size_t bytes_max)
{
    struct grammar_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&cache->lock, NULL) != 0) {
        free(cache);
        return NULL;
    }
    cache->bytes_max = bytes_max;
    return cache;
}

void grammar_cache_destroy(struct grammar_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    while (cache->oldest != NULL) {
        drop_oldest(cache);
    }
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}
