/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_gemm_cache.c - reads, keeps and appends timed choices. Thread: the engine's. */
#include "cuda/cuda_gemm_cache.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

enum {
    WORDS = 8,         /* Of cublasLtMatmulAlgo_t. */
    ENTRIES_MAX = 2048,
    FORMAT = 1,        /* Of the file. */
    HEAD_BYTES = 256,
};

struct entry {
    struct cuda_gemm_key key;
    uint64_t words[WORDS];
};

struct cuda_gemm_cache {
    FILE *file; /* Open for appending; NULL: not kept. */
    struct entry entries[ENTRIES_MAX];
    uint32_t entry_count;
};

_Static_assert(sizeof(cublasLtMatmulAlgo_t) == WORDS * sizeof(uint64_t), "an algorithm's words");

/* The first line: what the choices depend on. */
static bool write_head(char *head, size_t capacity)
{
    struct cudaDeviceProp properties;
    int device = 0;
    int driver = 0;
    if (cudaGetDevice(&device) != cudaSuccess || cudaDriverGetVersion(&driver) != cudaSuccess ||
        cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
        return false;
    }
    snprintf(head, capacity,
             "skein matrix products %d, %.100s, %d multiprocessors, driver %d, cublasLt %zu\n",
             FORMAT, properties.name, properties.multiProcessorCount, driver,
             cublasLtGetVersion());
    return true;
}

static bool read_entry(const char *line, struct entry *entry)
{
    struct cuda_gemm_key *key = &entry->key;
    int used = 0;
    if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 "%n", &key->m,
               &key->n, &key->k, &key->batch, &key->kind, &used) != 5) {
        return false;
    }
    for (size_t index = 0; index < WORDS; index++) {
        int more = 0;
        if (sscanf(line + used, " %" SCNx64 "%n", &entry->words[index], &more) != 1) {
            return false;
        }
        used += more;
    }
    return line[used] == '\n'; /* The last line may have been cut. */
}

/* Fills the entries; false when the file is not ours and must be written anew. */
static bool read_file(struct cuda_gemm_cache *cache, FILE *file, const char *head)
{
    char line[HEAD_BYTES];
    if (fgets(line, sizeof line, file) == NULL || strcmp(line, head) != 0) {
        return false;
    }
    while (cache->entry_count < ENTRIES_MAX && fgets(line, sizeof line, file) != NULL) {
        if (!read_entry(line, &cache->entries[cache->entry_count])) {
            return false;
        }
        cache->entry_count++;
    }
    return true;
}

struct cuda_gemm_cache *cuda_gemm_cache_open(const char *path)
{
    char head[HEAD_BYTES];
    struct cuda_gemm_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL || !write_head(head, sizeof head)) {
        free(cache);
        return NULL;
    }
    FILE *file = fopen(path, "r");
    const bool is_ours = file != NULL && read_file(cache, file, head);
    if (file != NULL) {
        fclose(file);
    }
    if (!is_ours) {
        cache->entry_count = 0;
    }
    cache->file = fopen(path, is_ours ? "a" : "w");
    if (cache->file != NULL && !is_ours) {
        fputs(head, cache->file);
        fflush(cache->file);
    }
    return cache;
}

void cuda_gemm_cache_close(struct cuda_gemm_cache *cache)
{
    if (cache != NULL) {
        if (cache->file != NULL) {
            fclose(cache->file);
        }
        free(cache);
    }
}

bool cuda_gemm_cache_find(const struct cuda_gemm_cache *cache, const struct cuda_gemm_key *key,
                          uint64_t *words_out, size_t bytes)
{
    ASSERT_COMPARE(bytes, ==, WORDS * sizeof(uint64_t));
    for (uint32_t index = 0; cache != NULL && index < cache->entry_count; index++) {
        if (memcmp(&cache->entries[index].key, key, sizeof *key) == 0) {
            memcpy(words_out, cache->entries[index].words, bytes);
            return true;
        }
    }
    return false;
}

void cuda_gemm_cache_add(struct cuda_gemm_cache *cache, const struct cuda_gemm_key *key,
                         const uint64_t *words, size_t bytes)
{
    ASSERT_COMPARE(bytes, ==, WORDS * sizeof(uint64_t));
    if (cache == NULL || cache->file == NULL) {
        return;
    }
    fprintf(cache->file, "%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32, key->m,
            key->n, key->k, key->batch, key->kind);
    for (size_t index = 0; index < WORDS; index++) {
        fprintf(cache->file, " %" PRIx64, words[index]);
    }
    fputc('\n', cache->file);
    fflush(cache->file);
}

static bool make_folder(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

bool cuda_gemm_cache_path(char *path, size_t capacity)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char folder[4096];
    if (cache != NULL && cache[0] == '/') {
        snprintf(folder, sizeof folder, "%s", cache);
    } else if (home != NULL && home[0] == '/') {
        snprintf(folder, sizeof folder, "%s/.cache", home);
    } else {
        return false;
    }
    if (!make_folder(folder) || snprintf(path, capacity, "%s/skein", folder) >= (int)capacity ||
        !make_folder(path)) {
        return false;
    }
    return snprintf(path, capacity, "%s/skein/matrix_products.txt", folder) < (int)capacity;
}
