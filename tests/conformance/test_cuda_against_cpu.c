/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: that the CUDA backend, with f16 weights and products, is the same model as the CPU's in
 * f32. Shown by: 2,000 tokens of a synthetic 0.1B in pieces of 1 to 32, both devices in one run;
 * after each piece the logits must agree, and the most likely token too wherever its lead is larger
 * than the difference. Two slots that are fed the same side by side, and a second run, must have
 * the same bits. 77: there is no device. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/bench_model.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"

enum { TOKENS = 2000, PIECE_MAX = 32, EXIT_SKIPPED = 77, ROWS = 64, THREADS = 8 };

static const double error_max = 2e-3; /* Of the logits' length. */

static void check(enum error_code code, const struct error *error)
{
    if (code != ERROR_NONE) {
        fprintf(stderr, "%s\n", error->message);
        exit(EXIT_FAILURE);
    }
}

static uint32_t random_below(uint32_t *seed, uint32_t bound)
{
    *seed = 1664525u * *seed + 1013904223u;
    return (uint32_t)((uint64_t)*seed * bound >> 32);
}

static void start(struct backend *backend)
{
    const struct sampling sampling = {.max_tokens = 1, .logprobs_wanted = -1};
    for (uint32_t slot = 0; slot < backend->slot_count; slot++) {
        backend_slot_start(backend, slot, &sampling, NULL);
    }
}

/* Feeds a piece to every slot; logits[slot][V] after its last token. */
static void feed(struct backend *backend, const int32_t *tokens, uint32_t count, float *logits)
{
    struct backend_item items[2];
    struct backend_result results[2];
    struct error error = {0};
    uint32_t result_count;
    for (uint32_t slot = 0; slot < backend->slot_count; slot++) {
        items[slot] = (struct backend_item){
            .slot = slot,
            .source_slot = slot,
            .tokens = tokens,
            .token_count = count,
            .logits_out = logits + (size_t)slot * backend->row_vocabulary,
        };
    }
    check(backend_submit(backend, items, backend->slot_count, &error), &error);
    check(backend_collect(backend, results, &result_count, &error), &error);
}

struct comparison {
    double worst;      /* ||difference|| / ||logits||. */
    uint32_t compared; /* Pieces. */
    uint32_t decided;  /* Whose most likely token leads by more than the difference, */
    uint32_t wrong;    /* and where the devices choose differently nevertheless. */
    uint32_t equal;    /* Choose the same, lead or not. */
};

static size_t best_of(const float *logits, size_t count, float *lead_out)
{
    size_t best = 0;
    float second = -INFINITY;
    for (size_t index = 1; index < count; index++) {
        if (logits[index] > logits[best]) {
            second = logits[best];
            best = index;
        } else if (logits[index] > second) {
            second = logits[index];
        }
    }
    *lead_out = logits[best] - second;
    return best;
}

static void compare(struct comparison *to, const float *cpu, const float *cuda, size_t count)
{
    double difference = 0.0;
    double length = 0.0;
    double largest = 0.0;
    float lead;
    float unused;
    for (size_t index = 0; index < count; index++) {
        const double off = (double)cuda[index] - (double)cpu[index];
        difference += off * off;
        length += (double)cpu[index] * (double)cpu[index];
        largest = fabs(off) > largest ? fabs(off) : largest;
    }
    const double relative = sqrt(difference / length);
    const bool is_same = best_of(cpu, count, &lead) == best_of(cuda, count, &unused);
    to->worst = relative > to->worst || isnan(relative) ? relative : to->worst;
    to->compared++;
    to->equal += is_same ? 1 : 0;
    if ((double)lead > 2.0 * largest) {
        to->decided++;
        to->wrong += is_same ? 0 : 1;
    }
}

static struct backend *open_cpu(const struct model_spec *spec)
{
    const struct backend_options options = {
        .slot_count = 1,
        .row_count_max = ROWS,
        .item_count_max = 1,
        .thread_count = THREADS,
        .vocabulary = {.row_count = spec->V, .token_count = spec->V},
    };
    struct backend *backend = NULL;
    struct error error = {0};
    check(cpu_backend_open(spec, &options, &backend, &error), &error);
    return backend;
}

static struct backend *open_cuda(const struct model_spec *spec)
{
    const struct backend_options options = {
        .slot_count = 2,
        .row_count_max = ROWS,
        .vocabulary = {.row_count = spec->V, .token_count = spec->V},
    };
    struct backend *backend = NULL;
    struct error error = {0};
    check(cuda_backend_open(spec, &options, &backend, &error), &error);
    return backend;
}

static float *floats(size_t count)
{
    float *array = malloc(count * sizeof *array);
    if (array == NULL) {
        exit(EXIT_FAILURE);
    }
    return array;
}

int main(void)
{
    struct bench_model model;
    struct cuda_device_info device;
    struct error error = {0};
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    if (!cuda_device_find(&device, &error)) {
        printf("skipped: %s\n", error.message);
        return EXIT_SKIPPED;
    }
    check(bench_model_make("0.1b", 0.5, false, &model, &error), &error);
    const size_t V = model.spec.V;
    struct backend *cpu = open_cpu(&model.spec);
    struct backend *cuda = open_cuda(&model.spec);
    float *by_cpu = floats(V);
    float *by_cuda = floats(2 * V);
    float *again = floats(2 * V);
    struct comparison comparison = {0};
    uint32_t unlike_twins = 0;
    int32_t tokens[TOKENS];
    uint32_t seed = 7;
    for (uint32_t index = 0; index < TOKENS; index++) {
        tokens[index] = (int32_t)random_below(&seed, (uint32_t)V);
    }
    start(cpu);
    start(cuda);
    uint32_t piece_seed = 3;
    for (uint32_t done = 0; done < TOKENS;) {
        const uint32_t wanted = 1 + random_below(&piece_seed, PIECE_MAX);
        const uint32_t count = wanted < TOKENS - done ? wanted : TOKENS - done;
        feed(cpu, tokens + done, count, by_cpu);
        feed(cuda, tokens + done, count, by_cuda);
        compare(&comparison, by_cpu, by_cuda, V);
        unlike_twins += memcmp(by_cuda, by_cuda + V, V * sizeof *by_cuda) != 0 ? 1 : 0;
        done += count;
    }
    start(cuda);
    piece_seed = 3;
    for (uint32_t done = 0; done < TOKENS;) {
        const uint32_t wanted = 1 + random_below(&piece_seed, PIECE_MAX);
        const uint32_t count = wanted < TOKENS - done ? wanted : TOKENS - done;
        feed(cuda, tokens + done, count, again);
        done += count;
    }
    const bool repeats = memcmp(by_cuda, again, 2 * V * sizeof *again) == 0;
    printf("%u tokens, %u pieces: largest relative difference %.2e (bound %.0e); most likely token "
           "equal %u, decided by its lead %u, of these wrong %u; unlike twins %u; second run %s\n",
           TOKENS, comparison.compared, comparison.worst, error_max, comparison.equal,
           comparison.decided, comparison.wrong, unlike_twins, repeats ? "same bits" : "DIFFERS");
    free(again);
    free(by_cuda);
    free(by_cpu);
    backend_close(cuda);
    backend_close(cpu);
    bench_model_deinit(&model);
    return comparison.worst <= error_max && comparison.wrong == 0 && unlike_twins == 0 && repeats
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
