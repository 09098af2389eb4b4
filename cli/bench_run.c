/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_run.c - plans the steps of a row, runs them, and counts their bytes and operations.
 *
 * The plan is made once for both: what is counted is what is run. Thread: main. */
#include "cli/bench_run.h"

#include <stdlib.h>

struct bench_runner {
    struct backend *backend;
    const struct model_spec *spec;
    struct sampling sampling;
    int32_t *tokens;                /* [token_count_max] of every prompt. */
    int32_t *first_tokens;          /* [slot_count] What decode begins with. */
    struct backend_item *items;     /* [item_count_max] */
    struct backend_result *results; /* [item_count_max] */
};

/* How far the prompts of a run are. */
struct position {
    uint32_t sequence, token;
};

/* ---- Plan -------------------------------------------------------------------------------- */

/* Fills items[item_count_max] with the next step: decode of all sequences at once, or prompts in
 * order, as many rows as a step holds. Returns the item count; 0: the run is over. */
static uint32_t plan_step(const struct bench_runner *runner, const struct bench_row *row,
                          struct position *position, struct backend_item *items)
{
    const uint32_t row_count_max = runner->backend->row_count_max;
    uint32_t left = row_count_max;
    uint32_t count = 0;
    while (position->sequence < row->sequence_count && left > 0 &&
           count < runner->backend->item_count_max) {
        const uint32_t wanted = row->token_count - position->token;
        const uint32_t taken = wanted < left ? wanted : left;
        const bool is_last = position->token + taken == row->token_count;
        items[count] = (struct backend_item){
            .slot = position->sequence,
            .source_slot = position->sequence,
            .tokens = row->kind == BENCH_DECODE ? NULL : runner->tokens + position->token,
            .token_count = taken,
            .want = is_last ? BACKEND_WANT_SAMPLE : 0,
        };
        count++;
        left -= taken;
        position->token += taken;
        if (is_last) {
            position->sequence++;
            position->token = 0;
        }
    }
    return count;
}

/* ---- Cost -------------------------------------------------------------------------------- */

/* What one model's step and row cost. */
struct unit_cost {
    double weight_bytes;    /* Of all layers, read once a step. */
    double head_bytes;      /* Read once a step that samples. */
    double embedding_bytes; /* A row. */
    double row_flops;       /* Of all layers. */
    double head_flops;      /* A sampled row. */
};

/* Vectors, and r_k with one weight a channel, are read but take part in no matrix product. */
static void add_layer_tensor(struct unit_cost *cost, const struct model_spec *spec,
                             const struct tensor *tensor)
{
    if (tensor == NULL) {
        return; /* The value residual that layer 0 has not. */
    }
    cost->weight_bytes += (double)tensor->bytes;
    if (tensor_element_count(tensor) > spec->C) {
        cost->row_flops += 2.0 * (double)tensor_element_count(tensor);
    }
}

static struct unit_cost unit_cost_of(const struct model_spec *spec)
{
    struct unit_cost cost = {
        .head_bytes = (double)spec->head->bytes,
        .embedding_bytes = (double)spec->emb->bytes / spec->V,
        .head_flops = 2.0 * (double)tensor_element_count(spec->head),
        /* The recurrence: S minus_kk, S diag(w) + sa kk_a + v k, S r. */
        .row_flops = 10.0 * spec->L * spec->H * spec->N * spec->N,
    };
    for (uint32_t index = 0; index < spec->L; index++) {
        const struct model_layer *layer = &spec->layers[index];
#define X(field, name, rows, columns) add_layer_tensor(&cost, spec, layer->field);
        MODEL_LAYER_TENSORS(X)
#undef X
    }
    return cost;
}

struct bench_cost bench_runner_cost(const struct bench_runner *runner,
                                    const struct bench_row *row)
{
    const struct unit_cost unit = unit_cost_of(runner->spec);
    const double state_bytes = 2.0 * (double)runner->backend->state_bytes;
    struct bench_cost cost = {0};
    struct position position = {0};
    uint32_t item_count;
    while ((item_count = plan_step(runner, row, &position, runner->items)) > 0) {
        bool has_sample = false;
        cost.step_count++;
        cost.bytes += unit.weight_bytes;
        for (uint32_t index = 0; index < item_count; index++) {
            const struct backend_item *item = &runner->items[index];
            cost.token_count += item->token_count;
            cost.bytes += state_bytes + item->token_count * unit.embedding_bytes;
            cost.flops += item->token_count * unit.row_flops;
            if (item->want != 0) {
                cost.flops += unit.head_flops;
                has_sample = true;
            }
        }
        cost.bytes += has_sample ? unit.head_bytes : 0.0;
    }
    return cost;
}

/* ---- Runs -------------------------------------------------------------------------------- */

static enum error_code collect_one(struct bench_runner *runner, struct error *error)
{
    uint32_t count;
    return backend_collect(runner->backend, runner->results, &count, error);
}

/* Submits a step and, when as many are under way as the backend takes, collects the oldest. */
static enum error_code push_step(struct bench_runner *runner, uint32_t item_count,
                                 struct error *error)
{
    struct backend *backend = runner->backend;
    enum error_code code = backend_submit(backend, runner->items, item_count, error);
    if (code == ERROR_NONE && backend->steps_in_flight == backend->steps_in_flight_max) {
        code = collect_one(runner, error);
    }
    return code;
}

static enum error_code collect_all(struct bench_runner *runner, struct error *error)
{
    enum error_code code = ERROR_NONE;
    while (code == ERROR_NONE && runner->backend->steps_in_flight > 0) {
        code = collect_one(runner, error);
    }
    return code;
}

static void start_sequences(struct bench_runner *runner, uint32_t sequence_count)
{
    for (uint32_t slot = 0; slot < sequence_count; slot++) {
        runner->sampling.seed = slot;
        backend_slot_start(runner->backend, slot, &runner->sampling, NULL);
    }
}

static enum error_code run_steps(struct bench_runner *runner, const struct bench_row *row,
                                 struct error *error)
{
    struct position position = {0};
    uint32_t item_count;
    enum error_code code = ERROR_NONE;
    while (code == ERROR_NONE &&
           (item_count = plan_step(runner, row, &position, runner->items)) > 0) {
        code = push_step(runner, item_count, error);
    }
    return code;
}

/* Decode goes on from a token that was drawn: gives every sequence one, of a prompt of its own. */
static enum error_code begin_decode(struct bench_runner *runner, const struct bench_row *row,
                                    struct error *error)
{
    uint32_t count = 0;
    start_sequences(runner, row->sequence_count);
    for (uint32_t slot = 0; slot < row->sequence_count; slot++) {
        runner->first_tokens[slot] = (int32_t)(slot % runner->spec->V);
        runner->items[count++] = (struct backend_item){.slot = slot,
                                                       .source_slot = slot,
                                                       .tokens = &runner->first_tokens[slot],
                                                       .token_count = 1,
                                                       .want = BACKEND_WANT_SAMPLE};
        const bool is_full = count == runner->backend->item_count_max ||
                             count == runner->backend->row_count_max;
        if (is_full || slot + 1 == row->sequence_count) {
            const enum error_code code = push_step(runner, count, error);
            if (code != ERROR_NONE) {
                return code;
            }
            count = 0;
        }
    }
    return collect_all(runner, error);
}

enum error_code bench_runner_time(struct bench_runner *runner, const struct bench_row *row,
                                  double seconds_min, const struct clock *clock,
                                  double *seconds_out, struct error *error)
{
    enum error_code code = ERROR_NONE;
    if (row->kind == BENCH_DECODE) {
        code = begin_decode(runner, row, error);
    }
    const uint64_t begin = clock_monotonic_ns(clock);
    uint64_t run_count = 0;
    double seconds = 0.0;
    while (code == ERROR_NONE && (run_count == 0 || seconds < seconds_min)) {
        if (row->kind == BENCH_PREFILL) {
            start_sequences(runner, row->sequence_count);
        }
        code = run_steps(runner, row, error);
        if (code == ERROR_NONE && row->kind == BENCH_PREFILL) {
            code = collect_all(runner, error);
        }
        run_count++;
        seconds = (double)(clock_monotonic_ns(clock) - begin) * 1e-9;
    }
    if (code == ERROR_NONE) {
        code = collect_all(runner, error);
    }
    seconds = (double)(clock_monotonic_ns(clock) - begin) * 1e-9;
    *seconds_out = seconds / (double)run_count;
    return code;
}

/* ---- Memory ------------------------------------------------------------------------------ */

enum error_code bench_runner_create(struct backend *backend, const struct model_spec *spec,
                                    const struct sampling *sampling, uint32_t token_count_max,
                                    struct bench_runner **runner_out, struct error *error)
{
    *runner_out = NULL;
    struct bench_runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    }
    runner->backend = backend;
    runner->spec = spec;
    runner->sampling = *sampling;
    runner->tokens = calloc(token_count_max, sizeof *runner->tokens);
    runner->first_tokens = calloc(backend->slot_count, sizeof *runner->first_tokens);
    runner->items = calloc(backend->item_count_max, sizeof *runner->items);
    runner->results = calloc(backend->item_count_max, sizeof *runner->results);
    if (runner->tokens == NULL || runner->first_tokens == NULL || runner->items == NULL ||
        runner->results == NULL) {
        bench_runner_destroy(runner);
        return error_set(error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    }
    for (uint32_t index = 0; index < token_count_max; index++) {
        /* Any tokens, but not the same one over and over. */
        runner->tokens[index] = (int32_t)((index * UINT64_C(2654435761) >> 7) % spec->V);
    }
    *runner_out = runner;
    return ERROR_NONE;
}

void bench_runner_destroy(struct bench_runner *runner)
{
    if (runner != NULL) {
        free(runner->first_tokens);
        free(runner->tokens);
        free(runner->items);
        free(runner->results);
        free(runner);
    }
}
