/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: the device draws the very tokens of engine/sampler.c, with the same log-probabilities.
 * Shown by: random steps over random rows and parameters, every field of every result compared.
 *
 * Usage: test_cuda_sampler [DRAWS [V]]; exit status 77 without a device. */
#include <cuda_runtime_api.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cuda/cuda_sampler.h"
#include "engine/sampler.h"
#include "sampler_case.h"

enum {
    SKIPPED = 77,
    SLOTS = 48,
    STEPS_A_ROUND = 6,
    ITEM_TOKENS_MAX = 5,
    ROWS_MAX = SLOTS * ITEM_TOKENS_MAX,
    LOGIT_ROWS = SLOTS + 8, /* Capacity; the header's count is less. */
    THREADS_MAX = 16,
    FEWER_DRAWS_FROM = 10000,
};

#define CHECK_CUDA(call) check_cuda((call), #call, __LINE__)

static void check_cuda(cudaError_t status, const char *call, int line)
{
    if (status != cudaSuccess) {
        fprintf(stderr, "line %d: %s: %s\n", line, call, cudaGetErrorString(status));
        exit(1);
    }
}

/* One slot on the side of the reference. */
struct reference {
    struct sampler *sampler;
    struct sampling sampling;
    struct sampling_bias bias[LIMIT_LOGIT_BIAS];
    struct cuda_slot slot; /* last_token and ended. */
};

/* A step as the host writes it. */
struct plan {
    struct cuda_step_header header;
    struct cuda_item items[SLOTS];
    uint32_t row_item[ROWS_MAX];
    int32_t row_token[ROWS_MAX];
    struct cuda_place places[SLOTS];
    struct cuda_wanted wanted[LOGIT_ROWS];
};

struct bench {
    struct sampling_vocabulary vocabulary;
    struct sampler_case_random random;
    struct reference references[SLOTS];
    struct plan plan;
    struct sampled draws[LOGIT_ROWS], scores[LOGIT_ROWS]; /* Expected. */
    bool drawn[LOGIT_ROWS], scored[LOGIT_ROWS];
    float *logits;                     /* [LOGIT_ROWS][V], pinned. */
    uint32_t *mask;                    /* [W] */
    uint32_t *mask_staging;            /* [SLOTS][W + 1], pinned. */
    struct cuda_sampler_slot *staging; /* [SLOTS], pinned. */
    struct cuda_sampled *results;      /* [2][LOGIT_ROWS], pinned: draws, scores. */
    struct plan *device_plan;
    float *device_logits;
    struct cuda_slot *device_slots;
    void *block;
    struct cuda_sampler sampler;
    struct cuda_launch launch;
    struct cuda_step step;
    uint64_t round, draw_count, score_count, wrong_count;
};

static struct bench bench;

/* ---- Opening and closing ------------------------------------------------------------------ */

static size_t words_of(uint32_t V)
{
    return ((size_t)V + 31) / 32;
}

static void open_vocabulary(uint32_t V)
{
    uint32_t *penalty_free = calloc(words_of(V), sizeof(*penalty_free));
    for (uint32_t token = 0; token < V; token += 3) {
        penalty_free[token / 32] |= UINT32_C(1) << (token % 32);
    }
    bench.vocabulary = (struct sampling_vocabulary){
        .row_count = V,
        .token_count = V > 60 ? V - V / 60 : V, /* Rows without a token. */
        .penalty_free = penalty_free,
    };
}

static void open_device(uint32_t V)
{
    const size_t words = words_of(V);
    CHECK_CUDA(cudaMalloc(&bench.block, cuda_sampler_bytes(&bench.vocabulary, SLOTS, LOGIT_ROWS)));
    CHECK_CUDA(cudaMalloc((void **)&bench.device_plan, sizeof(struct plan)));
    CHECK_CUDA(cudaMalloc((void **)&bench.device_slots, SLOTS * sizeof(struct cuda_slot)));
    CHECK_CUDA(cudaMalloc((void **)&bench.device_logits, LOGIT_ROWS * V * sizeof(float)));
    CHECK_CUDA(cudaMallocHost((void **)&bench.logits, LOGIT_ROWS * V * sizeof(float)));
    CHECK_CUDA(cudaMallocHost((void **)&bench.mask_staging, SLOTS * (words + 1) * 4));
    CHECK_CUDA(cudaMallocHost((void **)&bench.staging, SLOTS * sizeof(*bench.staging)));
    CHECK_CUDA(cudaMallocHost((void **)&bench.results, 2 * LOGIT_ROWS * sizeof(*bench.results)));
    CHECK_CUDA(cudaStreamCreate(&bench.launch.stream));
    CHECK_CUDA(cuda_sampler_init(&bench.sampler, &bench.vocabulary, SLOTS, LOGIT_ROWS, bench.block,
                                 bench.launch.stream));
    int major = 0;
    CHECK_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    bench.launch.row_capacity = ROWS_MAX;
    bench.launch.item_capacity = SLOTS;
    bench.launch.programmatic = major >= 9;
    bench.step = (struct cuda_step){
        .header = &bench.device_plan->header,
        .items = bench.device_plan->items,
        .row_item = bench.device_plan->row_item,
        .row_token = bench.device_plan->row_token,
        .places = bench.device_plan->places,
        .slots = bench.device_slots,
    };
}

static void open_bench(uint32_t V, uint64_t seed)
{
    memset(&bench, 0, sizeof(bench));
    bench.random.state = seed;
    open_vocabulary(V);
    open_device(V);
    bench.mask = calloc(words_of(V), sizeof(*bench.mask));
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        bench.references[slot].sampler = sampler_create(&bench.vocabulary);
    }
}

static void close_bench(void)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        sampler_destroy(bench.references[slot].sampler);
    }
    free((void *)bench.vocabulary.penalty_free);
    free(bench.mask);
    CHECK_CUDA(cudaStreamDestroy(bench.launch.stream));
    CHECK_CUDA(cudaFreeHost(bench.results));
    CHECK_CUDA(cudaFreeHost(bench.staging));
    CHECK_CUDA(cudaFreeHost(bench.mask_staging));
    CHECK_CUDA(cudaFreeHost(bench.logits));
    CHECK_CUDA(cudaFree(bench.device_logits));
    CHECK_CUDA(cudaFree(bench.device_slots));
    CHECK_CUDA(cudaFree(bench.device_plan));
    CHECK_CUDA(cudaFree(bench.block));
}

/* ---- A step ------------------------------------------------------------------------------- */

static uint32_t below(uint32_t bound)
{
    return sampler_case_below(&bench.random, bound);
}

static void start_slots(void)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        struct reference *reference = &bench.references[slot];
        sampler_case_sampling(&bench.random, bench.vocabulary.row_count, &reference->sampling,
                              reference->bias);
        sampler_start(reference->sampler, &reference->sampling);
        CHECK_CUDA(cuda_sampler_start(&bench.sampler, bench.launch.stream, slot,
                                      &reference->sampling, &bench.staging[slot]));
        reference->slot = (struct cuda_slot){0};
    }
    CHECK_CUDA(cudaMemsetAsync(bench.device_slots, 0, SLOTS * sizeof(struct cuda_slot),
                               bench.launch.stream));
}

static void change_masks(void)
{
    const size_t words = words_of(bench.vocabulary.row_count);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const uint32_t kind = below(8);
        if (kind > 1) {
            continue;
        }
        const uint32_t *mask = kind == 0 ? NULL : bench.mask;
        sampler_case_mask(&bench.random, words, bench.mask);
        sampler_set_mask(bench.references[slot].sampler, mask);
        CHECK_CUDA(cuda_sampler_mask(&bench.sampler, bench.launch.stream, slot, mask,
                                     bench.mask_staging + slot * (words + 1)));
    }
}

static void want(uint32_t item, uint32_t flags)
{
    bench.plan.wanted[bench.plan.header.logit_count] = (struct cuda_wanted){
        .item = item,
        .flags = flags,
        .target = (int32_t)below(bench.vocabulary.row_count),
    };
    bench.plan.header.logit_count++;
}

/* Adds an item for the slot; what cuda_embed does for places is done here. */
static void plan_item(uint32_t slot, uint32_t source, uint32_t token_count)
{
    struct plan *plan = &bench.plan;
    const uint32_t index = plan->header.item_count++;
    const uint32_t rows = token_count > 0 ? token_count : 1;
    const uint32_t first = plan->header.row_count;
    const bool has_ended = bench.references[slot].slot.ended != 0;
    plan->items[index] = (struct cuda_item){slot, source, first, rows, token_count};
    plan->places[index] = (struct cuda_place){
        .first_row = first,
        .row_count = rows,
        .slot = slot,
        .active = token_count > 0 || !has_ended ? 1 : 0,
    };
    for (uint32_t row = first; row < first + rows; row++) {
        plan->row_item[row] = index;
        plan->row_token[row] = (int32_t)below(bench.vocabulary.row_count);
    }
    plan->header.row_count += rows;
    static const uint32_t flags[8] = {CUDA_WANT_DRAW,
                                      CUDA_WANT_DRAW,
                                      CUDA_WANT_DRAW,
                                      CUDA_WANT_DRAW,
                                      CUDA_WANT_DRAW,
                                      CUDA_WANT_SCORE,
                                      CUDA_WANT_DRAW | CUDA_WANT_SCORE,
                                      0};
    want(index, flags[below(8)]);
}

static void plan_step(void)
{
    memset(&bench.plan, 0, sizeof(bench.plan));
    bool is_source[SLOTS];
    uint32_t order[SLOTS];
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        is_source[slot] = slot == 0 || below(8) == 0;
        const uint32_t place = below(slot + 1);
        order[slot] = order[place];
        order[place] = slot;
    }
    for (uint32_t index = 0; index < SLOTS; index++) {
        const uint32_t slot = order[index];
        if (is_source[slot]) {
            continue; /* Not advanced. */
        }
        const uint32_t other = below(SLOTS);
        const bool forks = below(6) == 0 && is_source[other];
        plan_item(slot, forks ? other : slot,
                  below(3) == 0 || forks ? 1 + below(ITEM_TOKENS_MAX) : 0);
    }
}

/* Rows of one thread. */
struct share {
    uint32_t first, stride;
    struct sampler_scratch *scratch;
};

static void run_shares(void *(*run)(void *), struct share *shares, uint32_t share_count)
{
    pthread_t threads[THREADS_MAX];
    for (uint32_t index = 1; index < share_count; index++) {
        if (pthread_create(&threads[index], NULL, run, &shares[index]) != 0) {
            perror("pthread_create");
            exit(1);
        }
    }
    run(&shares[0]);
    for (uint32_t index = 1; index < share_count; index++) {
        pthread_join(threads[index], NULL);
    }
}

/* New logits, once a round, for making them takes longest. */
static void *fill_share(void *context)
{
    const struct share *share = context;
    const uint32_t V = bench.vocabulary.row_count;
    for (uint32_t row = share->first; row < LOGIT_ROWS; row += share->stride) {
        struct sampler_case_random random = {(bench.round * LOGIT_ROWS + row) << 32 | V};
        sampler_case_logits(&random, V, bench.logits + (size_t)row * V);
    }
    return NULL;
}

static void change_logits(struct share *shares, uint32_t share_count)
{
    bench.round++;
    run_shares(fill_share, shares, share_count);
    CHECK_CUDA(cudaMemcpyAsync(bench.device_logits, bench.logits,
                               (size_t)LOGIT_ROWS * bench.vocabulary.row_count * sizeof(float),
                               cudaMemcpyHostToDevice, bench.launch.stream));
}

/* The reference's half of a step. */

static void *draw_share(void *context)
{
    const struct share *share = context;
    const struct plan *plan = &bench.plan;
    const uint32_t V = bench.vocabulary.row_count;
    for (uint32_t row = share->first; row < plan->header.logit_count; row += share->stride) {
        const struct cuda_wanted *wanted = &plan->wanted[row];
        const struct cuda_place *place = &plan->places[wanted->item];
        struct reference *reference = &bench.references[place->slot];
        const float *logits = bench.logits + (size_t)row * V;
        const int32_t top = reference->sampling.logprobs_wanted;
        bench.scored[row] = (wanted->flags & CUDA_WANT_SCORE) != 0 && place->active != 0;
        bench.drawn[row] = (wanted->flags & CUDA_WANT_DRAW) != 0 && place->active != 0 &&
                           reference->slot.ended == 0;
        if (bench.scored[row]) {
            sampler_score(&bench.vocabulary, logits, wanted->target, top > 0 ? (uint32_t)top : 0,
                          &bench.scores[row]);
        }
        if (bench.drawn[row]) {
            sampler_draw(reference->sampler, share->scratch, logits, &bench.draws[row]);
            reference->slot.last_token = bench.draws[row].token;
            reference->slot.ended = bench.draws[row].end != SAMPLED_GOES_ON ? 1 : 0;
        }
    }
    return NULL;
}

static void run_reference(struct share *shares, uint32_t share_count)
{
    const struct plan *plan = &bench.plan;
    for (uint32_t index = 0; index < plan->header.item_count; index++) {
        const struct cuda_item *item = &plan->items[index];
        struct sampler *sampler = bench.references[item->slot].sampler;
        if (plan->places[index].active == 0) {
            continue;
        }
        if (item->source_slot != item->slot) {
            sampler_fork(sampler, bench.references[item->source_slot].sampler);
        }
        sampler_note_prompt(sampler, plan->row_token + item->first_row, item->tokens_given);
    }
    run_shares(draw_share, shares, share_count);
}

static void launch_device(void)
{
    const cudaStream_t stream = bench.launch.stream;
    memset(bench.results, 0, 2 * LOGIT_ROWS * sizeof(*bench.results));
    CHECK_CUDA(cudaMemcpyAsync(bench.device_plan, &bench.plan, sizeof(bench.plan),
                               cudaMemcpyHostToDevice, stream));
    CHECK_CUDA(cuda_sampler_note(&bench.sampler, &bench.launch, bench.step));
    CHECK_CUDA(cuda_sampler_draw(&bench.sampler, &bench.launch, bench.step, LOGIT_ROWS,
                                 bench.device_logits, bench.device_plan->wanted, bench.results));
    CHECK_CUDA(cuda_sampler_score(&bench.sampler, &bench.launch, bench.step, LOGIT_ROWS,
                                  bench.device_logits, bench.device_plan->wanted,
                                  bench.results + LOGIT_ROWS));
}

/* ---- Comparing ---------------------------------------------------------------------------- */

static bool same_bits(float left, float right)
{
    return memcmp(&left, &right, sizeof(left)) == 0;
}

static bool same_sampled(const struct sampled *left, const struct sampled *right)
{
    bool same = left->token == right->token && left->end == right->end &&
                same_bits(left->logprob, right->logprob) && left->top_count == right->top_count;
    for (uint32_t index = 0; same && index < left->top_count; index++) {
        same = left->top[index].token == right->top[index].token &&
               same_bits(left->top[index].logprob, right->top[index].logprob);
    }
    return same;
}

static void print_wrong(const char *kind, uint32_t row, const struct cuda_sampled *got,
                        const struct sampled *expected, const struct sampling *sampling)
{
    printf("V %u, %s of row %u: valid %u token %d end %d logprob %a top %u; "
           "expected token %d end %d logprob %a top %u\n"
           "  temperature %g top_k %u top_p %g min_p %g order %d logprobs %d bias %u\n",
           bench.vocabulary.row_count, kind, row, got->valid, got->sampled.token,
           (int)got->sampled.end, (double)got->sampled.logprob, got->sampled.top_count,
           expected->token, (int)expected->end, (double)expected->logprob, expected->top_count,
           (double)sampling->temperature, sampling->top_k, (double)sampling->top_p,
           (double)sampling->min_p, (int)sampling->order, sampling->logprobs_wanted,
           sampling->bias_count);
}

static void compare_result(const char *kind, uint32_t row, bool is_valid,
                           const struct cuda_sampled *got, const struct sampled *expected)
{
    if (got->valid == (is_valid ? 1 : 0) && (!is_valid || same_sampled(&got->sampled, expected))) {
        return;
    }
    bench.wrong_count++;
    if (bench.wrong_count <= 10) {
        const uint32_t slot = bench.plan.places[bench.plan.wanted[row].item].slot;
        print_wrong(kind, row, got, expected, &bench.references[slot].sampling);
    }
}

/* What blocks of a row tell each other is 0 between launches, or the next ones would go wrong. */
static void check_found(void)
{
    static const struct cuda_sampler_found nothing;
    static struct cuda_sampler_found found[LOGIT_ROWS];
    CHECK_CUDA(cudaMemcpy(found, bench.sampler.found, sizeof(found), cudaMemcpyDeviceToHost));
    for (uint32_t row = 0; row < LOGIT_ROWS; row++) {
        if (memcmp(&found[row], &nothing, sizeof(nothing)) != 0) {
            bench.wrong_count++;
            printf("V %u, row %u: %u blocks have arrived between launches, %u and %u are listed\n",
                   bench.vocabulary.row_count, row, found[row].arrived, found[row].listed[0],
                   found[row].listed[1]);
        }
    }
}

static void compare_step(void)
{
    check_found();
    struct cuda_slot slots[SLOTS];
    CHECK_CUDA(cudaMemcpy(slots, bench.device_slots, sizeof(slots), cudaMemcpyDeviceToHost));
    for (uint32_t row = 0; row < LOGIT_ROWS; row++) {
        const bool is_row = row < bench.plan.header.logit_count;
        compare_result("draw", row, is_row && bench.drawn[row], &bench.results[row],
                       &bench.draws[row]);
        compare_result("score", row, is_row && bench.scored[row], &bench.results[LOGIT_ROWS + row],
                       &bench.scores[row]);
        bench.draw_count += is_row && bench.drawn[row] ? 1 : 0;
        bench.score_count += is_row && bench.scored[row] ? 1 : 0;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct cuda_slot *expected = &bench.references[slot].slot;
        if (slots[slot].last_token != expected->last_token ||
            slots[slot].ended != expected->ended) {
            bench.wrong_count++;
            printf("V %u, slot %u: last token %d ended %u, expected %d and %u\n",
                   bench.vocabulary.row_count, slot, slots[slot].last_token, slots[slot].ended,
                   expected->last_token, expected->ended);
        }
    }
}

static void run_step(struct share *shares, uint32_t share_count)
{
    change_masks();
    plan_step();
    launch_device();
    run_reference(shares, share_count);
    CHECK_CUDA(cudaStreamSynchronize(bench.launch.stream));
    compare_step();
}

/* Returns whether all agreed. */
static bool run_vocabulary(uint32_t V, uint64_t draws_wanted, uint32_t share_count)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    open_bench(V, 0x5eed + V);
    struct share shares[THREADS_MAX];
    for (uint32_t index = 0; index < share_count; index++) {
        shares[index] = (struct share){.first = index, .stride = share_count};
        shares[index].scratch = sampler_scratch_create(&bench.vocabulary);
    }
    while (bench.draw_count < draws_wanted && bench.wrong_count <= 10) {
        start_slots();
        change_logits(shares, share_count);
        for (int step = 0; step < STEPS_A_ROUND; step++) {
            run_step(shares, share_count);
        }
    }
    for (uint32_t index = 0; index < share_count; index++) {
        sampler_scratch_destroy(shares[index].scratch);
    }
    close_bench();
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("V %u: %llu draws and %llu scores, %llu wrong, %.1f s\n", V,
           (unsigned long long)bench.draw_count, (unsigned long long)bench.score_count,
           (unsigned long long)bench.wrong_count,
           (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    return bench.wrong_count == 0 && bench.draw_count >= draws_wanted;
}

int main(int argument_count, char **arguments)
{
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        puts("skipped: no CUDA device");
        return SKIPPED;
    }
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const uint32_t share_count = cores > THREADS_MAX ? THREADS_MAX : (uint32_t)cores;
    const uint64_t draws = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : 400;
    if (argument_count > 2) {
        const uint32_t V = (uint32_t)strtoul(arguments[2], NULL, 10);
        return run_vocabulary(V, draws, share_count) ? 0 : 1;
    }
    /* A block looks at 4096 tokens: less, just one, and several of them. */
    static const uint32_t vocabularies[] = {5, 64, 288, 1000, 4096, 4099, 12295, 20480};
    bool all_agree = true;
    for (size_t index = 0; index < sizeof(vocabularies) / sizeof(vocabularies[0]); index++) {
        const uint32_t V = vocabularies[index];
        all_agree =
            run_vocabulary(V, V > FEWER_DRAWS_FROM ? draws / 4 : draws, share_count) && all_agree;
    }
    return all_agree ? 0 : 1;
}
