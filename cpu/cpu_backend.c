/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_backend.c - slots, steps and results on the CPU; fills struct backend_ops.
 *
 * The model's arithmetic lives in cpu_forward.c and below. A step is cut into passes of at most
 * PASS_ROWS rows, which bounds activations; a result does not depend on where it is cut.
 * Thread: the engine's. */
#include "cpu/cpu_backend.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cpu/cpu_forward.h"
#include "cpu/cpu_memory.h"

enum { PASS_ROWS = 256 }; /* Weights read once serve that many rows: far past the memory bound. */

/* What a sequence is, beside its state. */
struct slot {
    struct sampler *sampler;
    int32_t last_token;  /* Drawn last; what an item without tokens feeds. */
    bool has_ended;      /* A draw ended the row: only explicit tokens advance it. */
    uint32_t top_count;  /* Alternatives wanted with each score. */
};

/* A row of the current pass whose logits are wanted. */
struct wanted_row {
    uint32_t row;          /* In the pass. */
    uint32_t item;
    uint32_t target_index; /* Of the row within its item. */
    uint32_t score_index;  /* In cpu_backend.scores. */
    bool is_scored;
    bool is_last;          /* Of its item: sampling and logits_out. */
};

struct cpu_backend {
    struct backend backend; /* First: the interface. */
    const struct model_spec *spec;
    struct cpu_weights weights;
    struct cpu_threads *threads;
    struct cpu_forward *forward;
    struct sampling_vocabulary vocabulary;
    struct backend_counters counters;

    float *states;                      /* [slot_count][state_floats] */
    size_t state_floats;                /* Rounded up to whole cache lines. */
    struct slot *slots;                 /* [slot_count] */
    struct sampler_scratch **scratches; /* [thread_count] */

    /* The pass being built. */
    uint32_t pass_rows_max;
    struct cpu_pass pass;
    int32_t *pass_tokens;           /* [pass_rows_max] */
    struct cpu_segment *segments;   /* [pass_rows_max] */
    struct wanted_row *wanted;      /* [pass_rows_max] */
    uint32_t wanted_count;

    /* The step being computed, and its results until they are collected. */
    const struct backend_item *items;
    struct backend_result *results; /* [item_count_max] */
    uint32_t result_count;
    struct sampled *scores;         /* [row_count_max] */
};

static struct cpu_backend *cpu_of(struct backend *backend)
{
    return (struct cpu_backend *)backend;
}

static float *state_of(const struct cpu_backend *cpu, uint32_t slot)
{
    return cpu->states + (size_t)slot * cpu->state_floats;
}

/* ---- Slots ------------------------------------------------------------------------------- */

static void slot_start(struct backend *backend, uint32_t slot_index,
                       const struct sampling *sampling, const void *initial_state)
{
    struct cpu_backend *cpu = cpu_of(backend);
    struct slot *slot = &cpu->slots[slot_index];
    if (initial_state == NULL) {
        memset(state_of(cpu, slot_index), 0, backend->state_bytes);
    } else {
        memcpy(state_of(cpu, slot_index), initial_state, backend->state_bytes);
        cpu->counters.state_copied_bytes += backend->state_bytes;
    }
    sampler_start(slot->sampler, sampling);
    slot->last_token = 0;
    slot->has_ended = false;
    slot->top_count = sampling->logprobs_wanted > 0 ? (uint32_t)sampling->logprobs_wanted : 0;
}

static void slot_mask(struct backend *backend, uint32_t slot, const uint32_t *mask)
{
    sampler_set_mask(cpu_of(backend)->slots[slot].sampler, mask);
}

static enum error_code state_save(struct backend *backend, uint32_t slot, void *bytes_out,
                                  uint64_t *ticket_out, struct error *error)
{
    (void)error;
    struct cpu_backend *cpu = cpu_of(backend);
    memcpy(bytes_out, state_of(cpu, slot), backend->state_bytes);
    cpu->counters.state_copied_bytes += backend->state_bytes;
    *ticket_out = 0;
    return ERROR_NONE;
}

static enum error_code state_load(struct backend *backend, uint32_t slot, const void *bytes,
                                  uint64_t *ticket_out, struct error *error)
{
    (void)error;
    struct cpu_backend *cpu = cpu_of(backend);
    memcpy(state_of(cpu, slot), bytes, backend->state_bytes);
    cpu->counters.state_copied_bytes += backend->state_bytes;
    *ticket_out = 0;
    return ERROR_NONE;
}

/* Copies are done when the call returns. */
static bool ticket_is_done(struct backend *backend, uint64_t ticket)
{
    (void)backend;
    (void)ticket;
    return true;
}

static void counters(const struct backend *backend, struct backend_counters *counters_out)
{
    *counters_out = ((const struct cpu_backend *)backend)->counters;
}

/* ---- Results of a pass ------------------------------------------------------------------- */

/* Logits of consecutive entries of cpu->wanted. */
struct logit_chunk {
    struct cpu_backend *cpu;
    const struct wanted_row *wanted;
    const float *logits; /* [..][V] */
};

/* Everything that is asked of one row's logits. Rows of one step belong to different slots or only
 * write scores of their own, so they may run side by side. */
static void use_logits(void *context, uint32_t task, uint32_t thread)
{
    const struct logit_chunk *chunk = context;
    struct cpu_backend *cpu = chunk->cpu;
    const struct wanted_row *wanted = &chunk->wanted[task];
    const struct backend_item *item = &cpu->items[wanted->item];
    struct backend_result *result = &cpu->results[wanted->item];
    struct slot *slot = &cpu->slots[item->slot];
    const size_t V = cpu->backend.row_vocabulary;
    const float *logits = chunk->logits + task * V;
    if (wanted->is_scored) {
        sampler_score(&cpu->vocabulary, logits, item->targets[wanted->target_index],
                      slot->top_count, &cpu->scores[wanted->score_index]);
    }
    if (!wanted->is_last) {
        return;
    }
    if (item->logits_out != NULL) {
        memcpy(item->logits_out, logits, V * sizeof(*logits));
    }
    if ((item->want & BACKEND_WANT_SAMPLE) != 0 && !slot->has_ended) {
        sampler_draw(slot->sampler, cpu->scratches[thread], logits, &result->sampled);
        result->sampled_valid = true;
        slot->last_token = result->sampled.token;
        slot->has_ended = result->sampled.end != SAMPLED_GOES_ON;
    }
}

/* Runs the rows gathered so far through the model and uses their logits. */
static void run_pass(struct cpu_backend *cpu)
{
    if (cpu->pass.row_count == 0) {
        return;
    }
    cpu_forward_layers(cpu->forward, &cpu->pass);
    for (uint32_t first = 0; first < cpu->wanted_count; first += CPU_LOGIT_ROWS) {
        const uint32_t left = cpu->wanted_count - first;
        const uint32_t row_count = left < CPU_LOGIT_ROWS ? left : CPU_LOGIT_ROWS;
        uint32_t rows[CPU_LOGIT_ROWS];
        for (uint32_t index = 0; index < row_count; index++) {
            rows[index] = cpu->wanted[first + index].row;
        }
        struct logit_chunk chunk = {
            .cpu = cpu,
            .wanted = &cpu->wanted[first],
            .logits = cpu_forward_logits(cpu->forward, rows, row_count),
        };
        cpu_threads_run(cpu->threads, row_count, use_logits, &chunk);
    }
    cpu->counters.tokens += cpu->pass.row_count;
    cpu->pass.row_count = 0;
    cpu->pass.segment_count = 0;
    cpu->wanted_count = 0;
}

/* ---- Steps ------------------------------------------------------------------------------- */

/* Notes that the logits of the row added last are wanted, when they are. */
static void want_row(struct cpu_backend *cpu, uint32_t item_index, uint32_t row_of_item)
{
    const struct backend_item *item = &cpu->items[item_index];
    const struct wanted_row wanted = {
        .row = cpu->pass.row_count - 1,
        .item = item_index,
        .target_index = row_of_item,
        .score_index = (uint32_t)(cpu->results[item_index].scores - cpu->scores) + row_of_item,
        .is_scored = (item->want & BACKEND_WANT_SCORE) != 0 && row_of_item < item->target_count,
        .is_last = row_of_item + 1 == item->token_count &&
                   ((item->want & BACKEND_WANT_SAMPLE) != 0 || item->logits_out != NULL),
    };
    if (wanted.is_scored || wanted.is_last) {
        cpu->wanted[cpu->wanted_count] = wanted;
        cpu->wanted_count++;
    }
}

/* Adds an item's rows to the pass; where the pass is full it runs, and the rest follows from the
 * item's own state. */
static void add_item(struct cpu_backend *cpu, uint32_t item_index)
{
    const struct backend_item *item = &cpu->items[item_index];
    struct slot *slot = &cpu->slots[item->slot];
    const int32_t *tokens = item->tokens == NULL ? &slot->last_token : item->tokens;
    const float *source = state_of(cpu, item->source_slot);
    for (uint32_t index = 0; index < item->token_count; index++) {
        if (cpu->pass.row_count == cpu->pass_rows_max) {
            run_pass(cpu);
        }
        struct cpu_segment *segment = &cpu->segments[cpu->pass.segment_count];
        if (index == 0 || cpu->pass.row_count == 0) {
            *segment = (struct cpu_segment){
                .first_row = cpu->pass.row_count,
                .state_in = index == 0 ? source : state_of(cpu, item->slot),
                .state_out = state_of(cpu, item->slot),
            };
            cpu->pass.segment_count++;
        } else {
            segment--;
        }
        segment->row_count++;
        cpu->pass_tokens[cpu->pass.row_count] = tokens[index];
        cpu->pass.row_count++;
        want_row(cpu, item_index, index);
    }
}

/* What the samplers must know of an item before it runs. */
static void note_item(struct cpu_backend *cpu, const struct backend_item *item)
{
    struct sampler *sampler = cpu->slots[item->slot].sampler;
    if (item->source_slot != item->slot) {
        sampler_fork(sampler, cpu->slots[item->source_slot].sampler);
    }
    if (item->tokens != NULL) {
        sampler_note_prompt(sampler, item->tokens, item->token_count);
    }
}

static enum error_code submit(struct backend *backend, const struct backend_item *items,
                              uint32_t item_count, struct error *error)
{
    (void)error;
    struct cpu_backend *cpu = cpu_of(backend);
    cpu->items = items;
    cpu->result_count = item_count;
    struct sampled *scores = cpu->scores;
    for (uint32_t index = 0; index < item_count; index++) {
        const struct backend_item *item = &items[index];
        struct backend_result *result = &cpu->results[index];
        *result = (struct backend_result){.slot = item->slot, .scores = scores};
        if (item->tokens == NULL && cpu->slots[item->slot].has_ended) {
            continue; /* Writes nothing more. */
        }
        if ((item->want & BACKEND_WANT_SCORE) != 0) {
            result->score_count = item->target_count;
            scores += item->target_count;
        }
        note_item(cpu, item);
        add_item(cpu, index);
    }
    run_pass(cpu);
    cpu->items = NULL;
    cpu->counters.steps++;
    return ERROR_NONE;
}

static enum error_code collect(struct backend *backend, struct backend_result *results_out,
                               uint32_t *result_count_out, struct error *error)
{
    (void)error;
    const struct cpu_backend *cpu = cpu_of(backend);
    memcpy(results_out, cpu->results, cpu->result_count * sizeof(*results_out));
    *result_count_out = cpu->result_count;
    return ERROR_NONE;
}

/* ---- Opening and closing ----------------------------------------------------------------- */

static void close_backend(struct backend *backend)
{
    struct cpu_backend *cpu = cpu_of(backend);
    const uint32_t thread_count = cpu->threads == NULL ? 0 : cpu_threads_count(cpu->threads);
    for (uint32_t index = 0; cpu->scratches != NULL && index < thread_count; index++) {
        sampler_scratch_destroy(cpu->scratches[index]);
    }
    for (uint32_t index = 0; cpu->slots != NULL && index < backend->slot_count; index++) {
        sampler_destroy(cpu->slots[index].sampler);
    }
    free(cpu->scores);
    free(cpu->results);
    free(cpu->wanted);
    free(cpu->segments);
    free(cpu->pass_tokens);
    free(cpu->scratches);
    free(cpu->slots);
    free(cpu->states);
    cpu_forward_destroy(cpu->forward);
    cpu_threads_destroy(cpu->threads);
    cpu_weights_close(&cpu->weights);
    free(cpu);
}

static const struct backend_ops cpu_backend_ops = {
    .name = "cpu",
    .slot_start = slot_start,
    .slot_mask = slot_mask,
    .submit = submit,
    .collect = collect,
    .state_save = state_save,
    .state_load = state_load,
    .ticket_is_done = ticket_is_done,
    .counters = counters,
    .close = close_backend,
};

/* The states of all slots, zeroed by the first slot_start of each, not here: the system hands out
 * pages as they are touched. */
static enum error_code take_states(struct cpu_backend *cpu, struct error *error)
{
    const size_t line_floats = CPU_ALIGNMENT / sizeof(float);
    cpu->state_floats =
        (model_spec_state_floats(cpu->spec) + line_floats - 1) / line_floats * line_floats;
    size_t bytes;
    if (!__builtin_mul_overflow(cpu->state_floats * sizeof(float),
                                (size_t)cpu->backend.slot_count, &bytes)) {
        cpu->states = cpu_memory_take(bytes);
    }
    if (cpu->states == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "cpu: no memory for %u states of %zu bytes; lower --slots",
                         cpu->backend.slot_count, cpu->state_floats * sizeof(float));
    }
    return ERROR_NONE;
}

static enum error_code take_samplers(struct cpu_backend *cpu, struct error *error)
{
    const uint32_t thread_count = cpu_threads_count(cpu->threads);
    cpu->slots = calloc(cpu->backend.slot_count, sizeof(*cpu->slots));
    cpu->scratches = calloc(thread_count, sizeof(*cpu->scratches));
    bool is_complete = cpu->slots != NULL && cpu->scratches != NULL;
    for (uint32_t index = 0; is_complete && index < cpu->backend.slot_count; index++) {
        cpu->slots[index].sampler = sampler_create(&cpu->vocabulary);
        is_complete = cpu->slots[index].sampler != NULL;
    }
    for (uint32_t index = 0; is_complete && index < thread_count; index++) {
        cpu->scratches[index] = sampler_scratch_create(&cpu->vocabulary);
        is_complete = cpu->scratches[index] != NULL;
    }
    if (!is_complete) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "cpu: no memory for %u samplers; lower --slots", cpu->backend.slot_count);
    }
    return ERROR_NONE;
}

static enum error_code take_steps(struct cpu_backend *cpu, struct error *error)
{
    cpu->pass_tokens = calloc(cpu->pass_rows_max, sizeof(*cpu->pass_tokens));
    cpu->segments = calloc(cpu->pass_rows_max, sizeof(*cpu->segments));
    cpu->wanted = calloc(cpu->pass_rows_max, sizeof(*cpu->wanted));
    cpu->results = calloc(cpu->backend.item_count_max, sizeof(*cpu->results));
    cpu->scores = calloc(cpu->backend.row_count_max, sizeof(*cpu->scores));
    if (cpu->pass_tokens == NULL || cpu->segments == NULL || cpu->wanted == NULL ||
        cpu->results == NULL || cpu->scores == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu: no memory for steps of %u rows",
                         cpu->backend.row_count_max);
    }
    cpu->pass.tokens = cpu->pass_tokens;
    cpu->pass.segments = cpu->segments;
    return ERROR_NONE;
}

static enum error_code open_parts(struct cpu_backend *cpu, uint32_t thread_count,
                                  const struct cpu_kernels *kernels, struct error *error)
{
    enum error_code code = cpu_weights_open(cpu->spec, &cpu->weights, error);
    if (code == ERROR_NONE) {
        code = cpu_threads_create(thread_count, &cpu->threads, error);
    }
    if (code == ERROR_NONE) {
        code = cpu_forward_create(&cpu->weights, kernels, cpu->threads, cpu->pass_rows_max,
                                  &cpu->forward, error);
    }
    if (code == ERROR_NONE) {
        code = take_states(cpu, error);
    }
    if (code == ERROR_NONE) {
        code = take_samplers(cpu, error);
    }
    if (code == ERROR_NONE) {
        code = take_steps(cpu, error);
    }
    return code;
}

enum error_code cpu_backend_open_with(const struct model_spec *spec,
                                      const struct backend_options *options,
                                      const struct cpu_kernels *kernels,
                                      struct backend **backend_out, struct error *error)
{
    ASSERT_COMPARE(options->vocabulary.row_count, ==, spec->V);
    ASSERT_COMPARE(options->row_count_max, >=, 1);
    *backend_out = NULL;
    struct cpu_backend *cpu = calloc(1, sizeof(*cpu));
    if (cpu == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu: no memory");
    }
    cpu->backend = (struct backend){
        .ops = &cpu_backend_ops,
        .slot_count = options->slot_count,
        .row_count_max = options->row_count_max,
        .item_count_max = options->item_count_max,
        .row_vocabulary = spec->V,
        .steps_in_flight_max = 1,
        .state_bytes = model_spec_state_floats(spec) * sizeof(float),
    };
    cpu->spec = spec;
    cpu->vocabulary = options->vocabulary;
    cpu->pass_rows_max = options->row_count_max < PASS_ROWS ? options->row_count_max : PASS_ROWS;
    const enum error_code code = open_parts(cpu, options->thread_count, kernels, error);
    if (code != ERROR_NONE) {
        close_backend(&cpu->backend);
        return code;
    }
    log_event(LOG_INFO, "cpu", "backend opened", LOG_S("kernels", kernels->name),
              LOG_I("threads", options->thread_count), LOG_I("slots", options->slot_count),
              LOG_I("state_bytes", cpu->backend.state_bytes),
              LOG_I("states_total_bytes",
                    cpu->state_floats * sizeof(float) * cpu->backend.slot_count),
              LOG_I("weights_copied_bytes", cpu->weights.copied_bytes),
              LOG_I("activations_bytes", cpu_forward_bytes(cpu->forward)));
    *backend_out = &cpu->backend;
    return ERROR_NONE;
}

enum error_code cpu_backend_open(const struct model_spec *spec,
                                 const struct backend_options *options,
                                 struct backend **backend_out, struct error *error)
{
    return cpu_backend_open_with(spec, options, cpu_kernels_choose(), backend_out, error);
}
