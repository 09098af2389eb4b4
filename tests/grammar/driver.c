/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/grammar/driver.c - the grammar on a pipe: differential.py asks, this answers.
 *
 * Usage: driver [VOCABULARY]. Commands on standard input, each a line and then as many bytes as it
 * says; one line of answer each, and then as many bytes as that says:
 *
 *   schema MODE LEN | regex MODE LEN | object MODE 0    MODE: any, schema, compact, closed
 *       ok BYTES CPU_US MAX_RSS_KB | error LEN and the message
 *   usage              usage 0 CPU_US MAX_RSS_KB, of the last compilation
 *   check LEN          accept | prefix | refuse
 *   generate SEED MAX  text FINISH LEN END_LEN and the text, then an end that completes it;
 *                      FINISH: stop (the grammar allowed the end) or length
 *   bench SEED MAX     tokens N found F built B mean_ns M max_ns X
 *
 * A generation draws the largest of hashed pseudo-random logits among the tokens of the mask, with
 * tokens that close something favoured. Thread: main. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/tokenizer.h"
#include "grammar/grammar.h"
#include "grammar/grammar_mask.h"
#include "small_vocabulary.h"

enum { MASK_CACHE_BYTES = 64 << 20, TEXT_BYTES_MAX = 1 << 20 };

struct driver {
    struct tokenizer *tokenizer; /* NULL: the small vocabulary. */
    uint32_t token_count;
    struct grammar_vocabulary *vocabulary;
    struct grammar_masks *masks;
    struct grammar *grammar;
    struct grammar_state *state;
    float *favours;   /* [token_count] */
    uint64_t used_us; /* CPU time of the last compilation. */
};

static struct text world_text(const void *context, int32_t token)
{
    return tokenizer_decode(context, token);
}

static struct text token_text(const struct driver *driver, int32_t token)
{
    return driver->tokenizer != NULL ? tokenizer_decode(driver->tokenizer, token)
                                     : small_vocabulary_text(NULL, token);
}

static void open_vocabulary(struct driver *driver, const char *path)
{
    struct error error = {0};
    struct grammar_vocabulary_options options = {.token_text = small_vocabulary_text};
    options.token_count = small_vocabulary_count();
    if (path != NULL) {
        if (tokenizer_open(path, &driver->tokenizer, &error) != ERROR_NONE) {
            fprintf(stderr, "%s\n", error.message);
            exit(2);
        }
        options.token_text = world_text;
        options.context = driver->tokenizer;
        options.token_count = tokenizer_token_count(driver->tokenizer);
    }
    options.row_count = options.token_count;
    driver->token_count = options.token_count;
    if (grammar_vocabulary_create(&options, &driver->vocabulary, &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        exit(2);
    }
    driver->masks = grammar_masks_create(driver->vocabulary, MASK_CACHE_BYTES);
    driver->favours = calloc(driver->token_count, sizeof(float));
    ASSERT(driver->masks != NULL && driver->favours != NULL);
    driver->favours[0] = 0.6f;
    for (uint32_t token = 1; token < driver->token_count; token++) {
        const struct text text = token_text(driver, (int32_t)token);
        for (size_t at = 0; at < text.len; at++) {
            const bool closes = strchr("\"}]", text.bytes[at]) != NULL && text.bytes[at] != '\0';
            driver->favours[token] += closes                                 ? 0.25f
                                      : strchr("[{", text.bytes[at]) != NULL ? -0.3f
                                                                             : 0.0f;
        }
    }
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static long max_rss_kb(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static char *read_bytes(size_t len)
{
    char *bytes = malloc(len + 1);
    ASSERT(bytes != NULL && fread(bytes, 1, len, stdin) == len);
    bytes[len] = '\0';
    return bytes;
}

static void compile(struct driver *driver, enum grammar_part_kind kind, const char *mode,
                    size_t len)
{
    char *bytes = read_bytes(len);
    const struct grammar_part part = {.kind = kind, .text = {.bytes = bytes, .len = len}};
    const struct grammar_options options = {
        .objects = strcmp(mode, "closed") == 0 ? GRAMMAR_OBJECTS_CLOSED : GRAMMAR_OBJECTS_EXPLICIT,
        .order = strcmp(mode, "schema") == 0 ? GRAMMAR_ORDER_SCHEMA : GRAMMAR_ORDER_ANY,
        .white_space_max = strcmp(mode, "compact") == 0 ? 0 : GRAMMAR_WHITE_SPACE_MAX};
    struct error error = {0};
    grammar_state_destroy(driver->state);
    grammar_release(driver->grammar);
    driver->state = NULL;
    const uint64_t begin = cpu_ns();
    const enum error_code code = grammar_compile(&part, &options, &driver->grammar, &error);
    driver->used_us = (cpu_ns() - begin) / 1000;
    if (code == ERROR_NONE) {
        printf("ok %zu %" PRIu64 " %ld\n", grammar_bytes(driver->grammar), driver->used_us,
               max_rss_kb());
        driver->state = grammar_state_create(driver->grammar);
        ASSERT(driver->state != NULL);
    } else {
        printf("error %zu\n%s", strlen(error.message), error.message);
    }
    free(bytes);
}

static void check(struct driver *driver, size_t len)
{
    char *bytes = read_bytes(len);
    grammar_state_reset(driver->state);
    const bool fits = grammar_advance(driver->state, (struct text){.bytes = bytes, .len = len});
    printf("%s\n", !fits ? "refuse" : grammar_is_complete(driver->state) ? "accept" : "prefix");
    free(bytes);
}

static float hashed_logit(uint64_t seed, uint32_t step, uint32_t token)
{
    uint64_t hash = (seed * UINT64_C(0x9e3779b97f4a7c15) + step) ^ (uint64_t)token << 32;
    hash = (hash ^ hash >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    hash = (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
    return (float)(hash >> 40) / 16777216.0f;
}

static int32_t choose(const struct driver *driver, const uint32_t *mask, uint64_t seed,
                      uint32_t step)
{
    int32_t best = -1;
    float best_logit = 0.0f;
    for (uint32_t token = 0; token < driver->token_count; token++) {
        if ((mask[token / 32] >> (token % 32) & 1) == 0) {
            continue;
        }
        const float logit = hashed_logit(seed, step, token) + driver->favours[token];
        if (best < 0 || logit > best_logit) {
            best = (int32_t)token;
            best_logit = logit;
        }
    }
    return best;
}

static void generate(struct driver *driver, uint64_t seed, uint32_t max)
{
    static char text[TEXT_BYTES_MAX];
    static char end[TEXT_BYTES_MAX];
    size_t len = 0;
    bool stopped = false;
    grammar_state_reset(driver->state);
    for (uint32_t step = 0; step < max && !stopped; step++) {
        const uint32_t *mask = grammar_masks_find(driver->masks, driver->state);
        const int32_t token = choose(driver, mask, seed, step);
        ASSERT(token >= 0);
        const struct text bytes = token_text(driver, token);
        stopped = token == 0;
        ASSERT(stopped ? grammar_is_complete(driver->state)
                       : grammar_advance(driver->state, bytes));
        memcpy(text + len, bytes.bytes != NULL ? bytes.bytes : "", bytes.len);
        len += bytes.len;
    }
    const size_t end_len = grammar_find_end(driver->state, end, sizeof(end));
    ASSERT(end_len != SIZE_MAX);
    printf("text %s %zu %zu\n", stopped ? "stop" : "length", len, end_len);
    fwrite(text, 1, len, stdout);
    fwrite(end, 1, end_len, stdout);
}

static void bench(struct driver *driver, uint64_t seed, uint32_t max)
{
    const struct grammar_masks_counters before = grammar_masks_count(driver->masks);
    uint64_t total = 0;
    uint64_t longest = 0;
    uint32_t tokens = 0;
    grammar_state_reset(driver->state);
    for (; tokens < max; tokens++) {
        const uint64_t begin = cpu_ns();
        const uint32_t *mask = grammar_masks_find(driver->masks, driver->state);
        uint64_t used = cpu_ns() - begin;
        const int32_t token = choose(driver, mask, seed, tokens);
        if (token == 0) {
            break;
        }
        const uint64_t again = cpu_ns();
        ASSERT(grammar_advance(driver->state, token_text(driver, token)));
        used += cpu_ns() - again;
        total += used;
        longest = used > longest ? used : longest;
    }
    const struct grammar_masks_counters after = grammar_masks_count(driver->masks);
    printf("tokens %u found %" PRIu64 " built %" PRIu64 " mean_ns %" PRIu64 " max_ns %" PRIu64 "\n",
           tokens, after.found - before.found, after.built - before.built,
           tokens > 0 ? total / tokens : 0, longest);
}

static void answer(struct driver *driver, const char *line)
{
    char command[16];
    char mode[16];
    size_t len;
    uint64_t seed;
    uint32_t max;
    if (sscanf(line, "%15s %15s %zu", command, mode, &len) == 3 && strcmp(command, "generate") &&
        strcmp(command, "bench")) {
        compile(driver,
                strcmp(command, "schema") == 0  ? GRAMMAR_PART_SCHEMA
                : strcmp(command, "regex") == 0 ? GRAMMAR_PART_REGEX
                                                : GRAMMAR_PART_OBJECT,
                mode, len);
    } else if (strncmp(line, "usage", 5) == 0) {
        printf("usage 0 %" PRIu64 " %ld\n", driver->used_us, max_rss_kb());
    } else if (sscanf(line, "check %zu", &len) == 1) {
        check(driver, len);
    } else if (sscanf(line, "generate %" SCNu64 " %u", &seed, &max) == 2) {
        generate(driver, seed, max);
    } else if (sscanf(line, "bench %" SCNu64 " %u", &seed, &max) == 2) {
        bench(driver, seed, max);
    } else {
        printf("unknown\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct driver driver = {0};
    char line[128];
    open_vocabulary(&driver, argc > 1 ? argv[1] : NULL);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        answer(&driver, line);
    }
    free(driver.favours);
    grammar_state_destroy(driver.state);
    grammar_release(driver.grammar);
    grammar_masks_destroy(driver.masks);
    grammar_vocabulary_destroy(driver.vocabulary);
    tokenizer_close(driver.tokenizer);
    return 0;
}
