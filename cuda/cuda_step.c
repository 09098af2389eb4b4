/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_step.c - launches steps, as graphs or kernel by kernel, and reads their results.
 *
 * What the device is told of a step is cuda_description.c's. Thread: the engine's. */
#include "cuda/cuda_step.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_description.h"
#include "cuda/cuda_error.h"

enum { GRAPHS_MAX = 64 }; /* Numbers of rows that have a graph. */

/* A step between submit and collect. */
struct buffer {
    struct cuda_description description;
    char *device;                 /* Copy of its block. */
    struct cuda_sampled *results; /* Pinned, [wanted_max]: written by the device. */
    struct sampled *scores;       /* [wanted_max] The scores among them, side by side. */
    cudaEvent_t done;
    cudaGraphExec_t graphs[GRAPHS_MAX]; /* By index of struct cuda_steps.graph_rows. */
};

struct cuda_steps {
    struct cuda_steps_options options;
    struct buffer buffers[CUDA_STEPS_IN_FLIGHT];
    uint32_t submitted, collected; /* Counts, modulo 2^32. */
    uint32_t wanted_max;
    uint32_t graph_rows[GRAPHS_MAX];
    uint32_t graph_count;
    struct cuda_place *places; /* Device, [item capacity] */
    void *memory;              /* Device. */
};

/* ---- Launches ---------------------------------------------------------------------------- */

struct cuda_step cuda_steps_view(const struct cuda_steps *steps)
{
    return (struct cuda_step){
        .slots = steps->options.slots, .wkv = steps->options.wkv, .shift = steps->options.shift};
}

/* The step as kernels see it in one turn of the head. */
static struct cuda_step view_of(const struct cuda_steps *steps, const struct buffer *buffer,
                                const struct cuda_layout *layout, uint32_t turn)
{
    struct cuda_step step = cuda_steps_view(steps);
    const uint32_t first = turn * steps->options.logit_count_max;
    step.header = (const struct cuda_step_header *)(void *)(buffer->device + layout->headers) +
                  turn;
    step.items = (void *)(buffer->device + layout->items);
    step.row_item = (void *)(buffer->device + layout->row_item);
    step.row_token = (void *)(buffer->device + layout->row_token);
    step.logit_row = (const uint32_t *)(void *)(buffer->device + layout->logit_row) + first;
    step.places = steps->places;
    return step;
}

/* Copies the raw logits that the caller asked for, of one turn. */
static enum error_code copy_logits(const struct cuda_steps *steps, const struct buffer *buffer,
                                   uint32_t turn, struct error *error)
{
    const size_t row_bytes = steps->options.V * sizeof(float);
    const uint32_t first = turn * steps->options.logit_count_max;
    const uint32_t left = buffer->description.wanted_count - first;
    const uint32_t end = first + (left < steps->options.logit_count_max
                                      ? left
                                      : steps->options.logit_count_max);
    enum error_code code = ERROR_NONE;
    for (uint32_t index = first; code == ERROR_NONE && index < end; index++) {
        float *to = buffer->description.logits_out[index];
        if (to == NULL) {
            continue;
        }
        const float *from = cuda_forward_logits(steps->options.forward) +
                            (size_t)(index - first) * steps->options.V;
        code = CUDA_TRY(cudaMemcpyAsync(to, from, row_bytes, cudaMemcpyDeviceToHost,
                                        steps->options.stream),
                        error);
    }
    return code;
}

/* One turn of the head, and what is asked of its logits. */
static enum error_code run_turn(const struct cuda_steps *steps, const struct buffer *buffer,
                                const struct cuda_layout *layout, const struct cuda_tally *tally,
                                uint32_t turn, struct error *error)
{
    const struct cuda_steps_options *options = &steps->options;
    const struct cuda_step step = view_of(steps, buffer, layout, turn);
    const struct cuda_launch launch = cuda_forward_launch(options->forward, &tally->size);
    const uint32_t first = turn * options->logit_count_max;
    const struct cuda_wanted *wanted =
        (const struct cuda_wanted *)(void *)(buffer->device + layout->wanted) + first;
    const float *logits = cuda_forward_logits(options->forward);
    enum error_code code = cuda_forward_head(options->forward, &step, &tally->size,
                                             turn + 1 == tally->turn_count, error);
    if (tally->size.logit_rows == 0 || code != ERROR_NONE) {
        return code;
    }
    if (tally->wants_logits) {
        code = copy_logits(steps, buffer, turn, error);
    }
    if (code == ERROR_NONE) {
        cuda_forward_begin(options->forward, CUDA_KERNEL_SAMPLE, &tally->size);
        code = CUDA_TRY(cuda_sampler_draw(options->sampler, &launch, step, tally->size.logit_rows,
                                          logits, wanted, buffer->results + first),
                        error);
        cuda_forward_end(options->forward);
    }
    if (code == ERROR_NONE && tally->wants_scores) {
        code = CUDA_TRY(cuda_sampler_score(options->sampler, &launch, step,
                                           tally->size.logit_rows, logits, wanted,
                                           buffer->results + first),
                        error);
    }
    return code;
}

/* Everything of a step, from its description to its results. */
static enum error_code launch(const struct cuda_steps *steps, const struct buffer *buffer,
                              const struct cuda_tally *tally, const struct cuda_layout *layout,
                              bool notes_prompts, struct error *error)
{
    const struct cuda_steps_options *options = &steps->options;
    const struct cuda_step step = view_of(steps, buffer, layout, 0);
    enum error_code code =
        CUDA_TRY(cudaMemcpyAsync(buffer->device, buffer->description.host, layout->bytes,
                                 cudaMemcpyHostToDevice, options->stream),
                 error);
    if (code == ERROR_NONE) {
        code = cuda_forward_layers(options->forward, &step, &tally->size, error);
    }
    if (code == ERROR_NONE && notes_prompts) {
        const struct cuda_launch note = cuda_forward_launch(options->forward, &tally->size);
        code = CUDA_TRY(cuda_sampler_note(options->sampler, &note, step), error);
    }
    for (uint32_t turn = 0; code == ERROR_NONE && turn < tally->turn_count; turn++) {
        code = run_turn(steps, buffer, layout, tally, turn, error);
    }
    return code;
}

/* ---- Graphs ------------------------------------------------------------------------------ */

/* Whether the step is one that comes again and again: decode rows that are all drawn from. */
static bool may_be_graph(const struct cuda_steps *steps, const struct cuda_tally *tally,
                         bool notes_prompts)
{
    return cuda_profile_mode(steps->options.profile) != CUDA_PROFILE_KERNELS &&
           tally->size.scan_items == 0 && tally->turn_count == 1 && !tally->wants_scores &&
           !tally->wants_logits && !notes_prompts &&
           tally->size.logit_rows == tally->size.rows;
}

/* The graph for that many rows; NULL: not captured yet, or *index_out == GRAPHS_MAX, no room. */
static cudaGraphExec_t find_graph(struct cuda_steps *steps, const struct buffer *buffer,
                                  uint32_t rows, uint32_t *index_out)
{
    uint32_t index = 0;
    while (index < steps->graph_count && steps->graph_rows[index] != rows) {
        index++;
    }
    if (index == steps->graph_count && index < GRAPHS_MAX) {
        steps->graph_rows[index] = rows;
        steps->graph_count++;
    }
    *index_out = index;
    return index < GRAPHS_MAX ? buffer->graphs[index] : NULL;
}

static enum error_code capture(const struct cuda_steps *steps, const struct buffer *buffer,
                               const struct cuda_tally *tally, const struct cuda_layout *layout,
                               cudaGraphExec_t *graph_out, struct error *error)
{
    const cudaStream_t stream = steps->options.stream;
    cudaGraph_t graph = NULL;
    enum error_code code =
        CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), error);
    if (code != ERROR_NONE) {
        return code;
    }
    code = launch(steps, buffer, tally, layout, false, error);
    struct error end_error = {0};
    const enum error_code end_code = CUDA_TRY(cudaStreamEndCapture(stream, &graph), &end_error);
    if (code == ERROR_NONE && end_code != ERROR_NONE) {
        *error = end_error;
        code = end_code;
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaGraphInstantiate(graph_out, graph, 0), error);
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
    return code;
}

static enum error_code launch_graph(struct cuda_steps *steps, struct buffer *buffer,
                                    const struct cuda_tally *tally,
                                    const struct cuda_layout *layout, struct error *error)
{
    uint32_t index = 0;
    cudaGraphExec_t graph = find_graph(steps, buffer, tally->size.rows, &index);
    if (graph == NULL && index < GRAPHS_MAX) {
        const enum error_code code =
            capture(steps, buffer, tally, layout, &buffer->graphs[index], error);
        if (code != ERROR_NONE) {
            return code;
        }
        graph = buffer->graphs[index];
    }
    return graph != NULL ? CUDA_TRY(cudaGraphLaunch(graph, steps->options.stream), error)
                         : launch(steps, buffer, tally, layout, false, error);
}

/* ---- Submit and collect ------------------------------------------------------------------ */

/* Waits for the step: its events must have passed, and the next step uses them again. */
static enum error_code collect_kernels(const struct cuda_steps *steps, struct error *error)
{
    const enum error_code code = CUDA_TRY(cudaStreamSynchronize(steps->options.stream), error);
    return code == ERROR_NONE ? cuda_profile_collect(steps->options.profile, error) : code;
}

enum error_code cuda_steps_submit(struct cuda_steps *steps, const struct backend_item *items,
                                  uint32_t item_count, bool notes_prompts, struct error *error)
{
    struct buffer *buffer = &steps->buffers[steps->submitted % CUDA_STEPS_IN_FLIGHT];
    const uint32_t logit_max = steps->options.logit_count_max;
    const struct cuda_tally tally = cuda_tally_of(items, item_count, logit_max);
    const struct cuda_layout layout = cuda_layout_of(&tally);
    ASSERT_COMPARE(tally.wanted_count, <=, steps->wanted_max);
    cuda_description_write(&buffer->description, &tally, &layout, logit_max, items, item_count);
    enum error_code code = cuda_forward_prepare(steps->options.forward, &tally.size, error);
    cuda_profile_step_begin(steps->options.profile, steps->options.stream);
    if (code == ERROR_NONE) {
        code = may_be_graph(steps, &tally, notes_prompts)
                   ? launch_graph(steps, buffer, &tally, &layout, error)
                   : launch(steps, buffer, &tally, &layout, notes_prompts, error);
    }
    cuda_profile_step_end(steps->options.profile, steps->options.stream);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventRecord(buffer->done, steps->options.stream), error);
    }
    if (code == ERROR_NONE &&
        cuda_profile_mode(steps->options.profile) == CUDA_PROFILE_KERNELS) {
        code = collect_kernels(steps, error);
    }
    steps->submitted++;
    return code;
}

/* Results lie in the order in which the wishes were written. */
enum error_code cuda_steps_collect(struct cuda_steps *steps, struct backend_result *results_out,
                                   uint32_t *result_count_out, uint64_t *advanced_rows_out,
                                   struct error *error)
{
    struct buffer *buffer = &steps->buffers[steps->collected % CUDA_STEPS_IN_FLIGHT];
    steps->collected++;
    enum error_code code = CUDA_TRY(cudaEventSynchronize(buffer->done), error);
    if (code == ERROR_NONE && cuda_profile_mode(steps->options.profile) == CUDA_PROFILE_GAPS) {
        code = cuda_profile_collect(steps->options.profile, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    uint32_t at = 0;
    *advanced_rows_out = 0;
    for (uint32_t index = 0; index < buffer->description.item_count; index++) {
        const struct backend_item *item = &buffer->description.items[index].item;
        struct backend_result *result = &results_out[index];
        *result = (struct backend_result){.slot = item->slot, .scores = buffer->scores + at};
        const uint32_t end = at + cuda_wishes_of(item);
        const uint32_t scored = (item->want & BACKEND_WANT_SCORE) != 0 ? item->target_count : 0;
        for (uint32_t score = 0; score < scored; score++, at++) {
            buffer->scores[at] = buffer->results[at].sampled;
            result->score_count += buffer->results[at].valid != 0 ? 1 : 0;
        }
        const bool is_drawn = (item->want & BACKEND_WANT_SAMPLE) != 0;
        if (is_drawn && buffer->results[at].valid != 0) {
            result->sampled_valid = true;
            result->sampled = buffer->results[at].sampled;
        }
        at = end;
        /* A row that goes on by itself and is not drawn from any more had ended. */
        const bool had_ended = item->tokens == NULL && is_drawn && !result->sampled_valid;
        *advanced_rows_out += had_ended ? 0 : item->token_count;
    }
    *result_count_out = buffer->description.item_count;
    return ERROR_NONE;
}

/* ---- Memory ------------------------------------------------------------------------------ */

size_t cuda_steps_bytes(uint32_t row_count_max, uint32_t item_count_max)
{
    const size_t place_bytes =
        cuda_forward_rows(row_count_max, false) * sizeof(struct cuda_place);
    const size_t description_bytes = cuda_description_bytes(row_count_max, item_count_max);
    return CUDA_STEPS_IN_FLIGHT * description_bytes + place_bytes;
}

static enum error_code create_buffer(struct cuda_steps *steps, struct buffer *buffer,
                                     char *device, size_t bytes, struct error *error)
{
    struct cuda_description *description = &buffer->description;
    buffer->device = device;
    buffer->scores = calloc(steps->wanted_max, sizeof *buffer->scores);
    description->logits_out = calloc(steps->wanted_max, sizeof *description->logits_out);
    description->items = calloc(steps->options.item_count_max, sizeof *description->items);
    if (buffer->scores == NULL || description->logits_out == NULL || description->items == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    enum error_code code = CUDA_TRY(cudaMallocHost((void **)&description->host, bytes), error);
    if (code == ERROR_NONE) {
        memset(description->host, 0, bytes);
        code = CUDA_TRY(cudaMallocHost((void **)&buffer->results,
                                       steps->wanted_max * sizeof *buffer->results),
                        error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventCreateWithFlags(&buffer->done, cudaEventDisableTiming), error);
    }
    return code;
}

enum error_code cuda_steps_create(const struct cuda_steps_options *options,
                                  struct cuda_steps **steps_out, struct error *error)
{
    *steps_out = NULL;
    struct cuda_steps *steps = calloc(1, sizeof *steps);
    if (steps == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    const uint32_t rows = options->row_count_max;
    const uint32_t items = options->item_count_max;
    const size_t bytes = cuda_description_bytes(rows, items);
    steps->options = *options;
    steps->wanted_max = cuda_wanted_max(rows, items);
    enum error_code code =
        CUDA_TRY(cudaMalloc(&steps->memory, cuda_steps_bytes(rows, items)), error);
    for (size_t index = 0; code == ERROR_NONE && index < CUDA_STEPS_IN_FLIGHT; index++) {
        code = create_buffer(steps, &steps->buffers[index], (char *)steps->memory + index * bytes,
                             bytes, error);
    }
    if (code != ERROR_NONE) {
        cuda_steps_destroy(steps);
        return code;
    }
    steps->places = (void *)((char *)steps->memory + CUDA_STEPS_IN_FLIGHT * bytes);
    *steps_out = steps;
    return ERROR_NONE;
}

static void destroy_buffer(struct buffer *buffer)
{
    for (size_t index = 0; index < GRAPHS_MAX; index++) {
        if (buffer->graphs[index] != NULL) {
            cudaGraphExecDestroy(buffer->graphs[index]);
        }
    }
    if (buffer->done != NULL) {
        cudaEventDestroy(buffer->done);
    }
    cudaFreeHost(buffer->results);
    cudaFreeHost(buffer->description.host);
    free(buffer->description.items);
    free(buffer->description.logits_out);
    free(buffer->scores);
}

void cuda_steps_destroy(struct cuda_steps *steps)
{
    if (steps == NULL) {
        return;
    }
    for (size_t index = 0; index < CUDA_STEPS_IN_FLIGHT; index++) {
        destroy_buffer(&steps->buffers[index]);
    }
    cudaFree(steps->memory);
    free(steps);
}
