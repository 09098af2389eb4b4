/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_gemm_cache.h - timed choices of matrix products in a file, for the next start.
 *
 * A text file: a line for the card, driver and library it was made with, then a line a product.
 * A file of another card or version, or one that is damaged, is written anew; where it cannot be
 * read or written, nothing is kept and everything works. Thread: the engine's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cuda_gemm_cache;

struct cuda_gemm_key {
    uint32_t m, n, k, batch;
    uint32_t kind; /* Types and operations. */
};

/* Never fails: NULL stands for a cache that keeps nothing, and is valid below. */
struct cuda_gemm_cache *cuda_gemm_cache_open(const char *path);
void cuda_gemm_cache_close(struct cuda_gemm_cache *cache);

/* The algorithm in the library's own words; false: not known. */
bool cuda_gemm_cache_find(const struct cuda_gemm_cache *cache, const struct cuda_gemm_key *key,
                          uint64_t *words_out, size_t bytes);
void cuda_gemm_cache_add(struct cuda_gemm_cache *cache, const struct cuda_gemm_key *key,
                         const uint64_t *words, size_t bytes);

/* $XDG_CACHE_HOME/skein or ~/.cache/skein, made when missing, and a file name in it; false: there
 * is no such place. */
bool cuda_gemm_cache_path(char *path, size_t capacity);
