/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_backend.c - slots, states and opening on a CUDA device; fills struct backend_ops.
 *
 * Everything is ordered by one stream, so that a slot may be started, masked or copied while steps
 * are in flight. A failure that a function cannot report is kept for the next submit. Thread: the
 * engine's. */
#include "cuda/cuda_backend.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cuda/cuda_error.h"
#include "cuda/cuda_gemm_cache.h"
#include "cuda/cuda_step.h"

enum {
    SLOTS_DEFAULT_MAX = 1024,
    LOGIT_ROWS_MIN = 256,      /* Of one turn of the head, where steps have that many rows. */
    RESERVE_BYTES = 512 << 20, /* For graphs, products and whoever else uses the device. */
    CAPABILITY_PROGRAMMATIC = 90,
    PATH_BYTES = 4096,
};

struct cuda_backend {
    struct backend backend; /* First: the interface. */
    struct cuda_model model;
    struct cuda_forward *forward;
    struct cuda_steps *steps;
    struct cuda_profile *profile;
    struct cuda_sampler sampler;
    struct backend_counters counters;
    cudaStream_t stream;
    enum error_code failure; /* Of a function that has no way to tell; final. */
    struct error failure_error;

    void *memory;             /* Device: slots, states, samplers, a snapshot. */
    struct cuda_slot *slots;  /* Device [slot_count] */
    float *wkv, *shift;       /* Device: see struct cuda_step. */
    float *snapshot;          /* Device: a state on its way in or out. */
    struct cuda_sampler_slot *sampler_staging; /* Pinned [slot_count] */
    uint32_t *mask_staging;   /* Pinned [slot_count][mask_words + 1] */
    uint32_t mask_words;
    bool *notes_prompts;      /* [slot_count] The slot's sampling looks at its prompt. */
    cudaEvent_t copied;       /* Behind the newest state_save or state_load. */
    uint64_t ticket;          /* Of that one. */
};

static struct cuda_backend *cuda_of(struct backend *backend)
{
    return (struct cuda_backend *)backend;
}

/* ---- Slots ------------------------------------------------------------------------------- */

static void keep_failure(struct cuda_backend *cuda, enum error_code code,
                         const struct error *error)
{
    if (code != ERROR_NONE && cuda->failure == ERROR_NONE) {
        cuda->failure = code;
        cuda->failure_error = *error;
    }
}

static enum error_code load_snapshot(struct cuda_backend *cuda, uint32_t slot, const void *bytes,
                                     struct error *error)
{
    enum error_code code = CUDA_TRY(cudaMemcpyAsync(cuda->snapshot, bytes,
                                                    cuda->backend.state_bytes,
                                                    cudaMemcpyHostToDevice, cuda->stream),
                                    error);
    if (code == ERROR_NONE) {
        cuda->counters.state_copied_bytes += cuda->backend.state_bytes;
        code = CUDA_TRY(cuda_state_unpack(cuda->stream, cuda_steps_view(cuda->steps),
                                          &cuda->model.shape, slot, cuda->snapshot),
                        error);
    }
    return code;
}

static void slot_start(struct backend *backend, uint32_t slot, const struct sampling *sampling,
                       const void *initial_state)
{
    struct cuda_backend *cuda = cuda_of(backend);
    struct error error = {0};
    enum error_code code =
        CUDA_TRY(cudaMemsetAsync(&cuda->slots[slot], 0, sizeof *cuda->slots, cuda->stream),
                 &error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cuda_sampler_start(&cuda->sampler, cuda->stream, slot, sampling,
                                           &cuda->sampler_staging[slot]),
                        &error);
    }
    if (code == ERROR_NONE) {
        code = initial_state != NULL
                   ? load_snapshot(cuda, slot, initial_state, &error)
                   : CUDA_TRY(cuda_state_unpack(cuda->stream, cuda_steps_view(cuda->steps),
                                                &cuda->model.shape, slot, NULL),
                              &error);
    }
    cuda->notes_prompts[slot] =
        sampling->repetition_penalty > 0.0f && sampling->repetition_penalty != 1.0f;
    keep_failure(cuda, code, &error);
}

static void slot_mask(struct backend *backend, uint32_t slot, const uint32_t *mask)
{
    struct cuda_backend *cuda = cuda_of(backend);
    struct error error = {0};
    uint32_t *staging = cuda->mask_staging + (size_t)slot * (cuda->mask_words + 1);
    keep_failure(cuda,
                 CUDA_TRY(cuda_sampler_mask(&cuda->sampler, cuda->stream, slot, mask, staging),
                          &error),
                 &error);
}

/* A ticket for what was enqueued last. Tickets share one event: it stands behind the newest. */
static enum error_code take_ticket(struct cuda_backend *cuda, uint64_t *ticket_out,
                                   struct error *error)
{
    *ticket_out = ++cuda->ticket;
    return CUDA_TRY(cudaEventRecord(cuda->copied, cuda->stream), error);
}

static enum error_code state_save(struct backend *backend, uint32_t slot, void *bytes_out,
                                  uint64_t *ticket_out, struct error *error)
{
    struct cuda_backend *cuda = cuda_of(backend);
    enum error_code code = CUDA_TRY(cuda_state_pack(cuda->stream, cuda_steps_view(cuda->steps),
                                                    &cuda->model.shape, slot, cuda->snapshot),
                                    error);
    if (code == ERROR_NONE) {
        cuda->counters.state_copied_bytes += backend->state_bytes;
        code = CUDA_TRY(cudaMemcpyAsync(bytes_out, cuda->snapshot, backend->state_bytes,
                                        cudaMemcpyDeviceToHost, cuda->stream),
                        error);
    }
    return code == ERROR_NONE ? take_ticket(cuda, ticket_out, error) : code;
}

static enum error_code state_load(struct backend *backend, uint32_t slot, const void *bytes,
                                  uint64_t *ticket_out, struct error *error)
{
    struct cuda_backend *cuda = cuda_of(backend);
    const enum error_code code = load_snapshot(cuda, slot, bytes, error);
    return code == ERROR_NONE ? take_ticket(cuda, ticket_out, error) : code;
}

/* A device that failed has nothing left to wait for. */
static bool ticket_is_done(struct backend *backend, uint64_t ticket)
{
    const struct cuda_backend *cuda = cuda_of(backend);
    ASSERT_COMPARE(ticket, <=, cuda->ticket);
    return cudaEventQuery(cuda->copied) != cudaErrorNotReady;
}

static void counters(const struct backend *backend, struct backend_counters *counters_out)
{
    *counters_out = ((const struct cuda_backend *)backend)->counters;
}

/* ---- Steps ------------------------------------------------------------------------------- */

static enum error_code submit(struct backend *backend, const struct backend_item *items,
                              uint32_t item_count, struct error *error)
{
    struct cuda_backend *cuda = cuda_of(backend);
    bool notes_prompts = false;
    if (cuda->failure != ERROR_NONE) {
        *error = cuda->failure_error;
        return cuda->failure;
    }
    for (uint32_t index = 0; index < item_count; index++) {
        const bool has_prompt =
            items[index].tokens != NULL || items[index].source_slot != items[index].slot;
        notes_prompts = notes_prompts || (has_prompt && cuda->notes_prompts[items[index].slot]);
    }
    cuda->counters.steps++;
    return cuda_steps_submit(cuda->steps, items, item_count, notes_prompts, error);
}

static enum error_code collect(struct backend *backend, struct backend_result *results_out,
                               uint32_t *result_count_out, struct error *error)
{
    struct cuda_backend *cuda = cuda_of(backend);
    uint64_t advanced_rows = 0;
    const enum error_code code = cuda_steps_collect(cuda->steps, results_out, result_count_out,
                                                    &advanced_rows, error);
    cuda->counters.tokens += advanced_rows;
    return code;
}

/* ---- Memory ------------------------------------------------------------------------------ */

static size_t aligned(size_t bytes)
{
    const size_t alignment = 256;
    return (bytes + alignment - 1) / alignment * alignment;
}

static size_t wkv_floats(const struct model_spec *spec)
{
    return (size_t)spec->L * spec->H * spec->N * spec->N;
}

static size_t shift_floats(const struct model_spec *spec)
{
    const size_t parities = 2;
    return parities * spec->L * 2 * spec->C;
}

static uint32_t larger(uint32_t left, uint32_t right)
{
    return left > right ? left : right;
}

/* The options with every size decided. */
static struct backend_options with_sizes(const struct backend_options *options,
                                         uint32_t slot_count)
{
    struct backend_options sized = *options;
    sized.slot_count = slot_count;
    sized.item_count_max = options->item_count_max > 0 ? options->item_count_max : slot_count;
    sized.row_count_max = larger(options->row_count_max, sized.item_count_max);
    return sized;
}

/* Rows of one turn of the head. */
static uint32_t logit_rows_of(const struct backend_options *options)
{
    const uint32_t least =
        options->row_count_max < LOGIT_ROWS_MIN ? options->row_count_max : LOGIT_ROWS_MIN;
    return larger(options->item_count_max, least);
}

static struct cuda_forward_options forward_options(const struct backend_options *options,
                                                   int compute_capability,
                                                   uint32_t multiprocessors)
{
    const bool is_hopper = compute_capability >= CAPABILITY_PROGRAMMATIC;
    return (struct cuda_forward_options){
        .row_count_max = options->row_count_max,
        .logit_count_max = logit_rows_of(options),
        .programmatic = is_hopper,
        .bulk_copies = is_hopper,
        .warpgroup_products = compute_capability == CAPABILITY_PROGRAMMATIC,
        .multiprocessors = multiprocessors,
    };
}

static size_t bytes_of_slots(const struct model_spec *spec,
                             const struct sampling_vocabulary *vocabulary, uint32_t slot_count,
                             uint32_t logit_rows)
{
    return aligned(slot_count * sizeof(struct cuda_slot)) +
           aligned(slot_count * wkv_floats(spec) * sizeof(float)) +
           aligned(slot_count * shift_floats(spec) * sizeof(float)) +
           aligned(cuda_sampler_bytes(vocabulary, slot_count, logit_rows));
}

static size_t fixed_bytes(const struct model_spec *spec, const struct backend_options *options)
{
    enum { MULTIPROCESSORS_MAX = 256 };
    const struct cuda_shape shape = cuda_model_shape(spec);
    const struct cuda_forward_options forward =
        forward_options(options, CAPABILITY_PROGRAMMATIC, MULTIPROCESSORS_MAX);
    return cuda_model_bytes(spec) + cuda_model_opening_bytes(spec) +
           cuda_forward_bytes(&shape, &forward) +
           cuda_steps_bytes(options->row_count_max, options->item_count_max) +
           cuda_sampler_bytes(&options->vocabulary, 0, forward.logit_count_max) +
           model_spec_state_floats(spec) * sizeof(float) + RESERVE_BYTES;
}

struct cuda_backend_need cuda_backend_need_of(const struct model_spec *spec,
                                              const struct backend_options *options)
{
    const struct sampling_vocabulary *vocabulary = &options->vocabulary;
    const size_t slot_bytes =
        bytes_of_slots(spec, vocabulary, 2, 0) - bytes_of_slots(spec, vocabulary, 1, 0);
    const struct backend_options sized = with_sizes(
        options, options->slot_count > 0 ? options->slot_count : SLOTS_DEFAULT_MAX);
    return (struct cuda_backend_need){.slot_bytes = slot_bytes,
                                      .fixed_bytes = fixed_bytes(spec, &sized)};
}

/* As many slots as asked for, or as fit. OUT_OF_MEMORY: the sum does not fit. */
static enum error_code choose_slots(const struct model_spec *spec,
                                    const struct backend_options *options,
                                    const struct cuda_device_info *device, uint32_t *slots_out,
                                    struct error *error)
{
    const struct cuda_backend_need need = cuda_backend_need_of(spec, options);
    const uint64_t left =
        device->free_bytes > need.fixed_bytes ? device->free_bytes - need.fixed_bytes : 0;
    const uint64_t fitting = left / need.slot_bytes;
    const uint32_t wanted = larger(options->slot_count, 1);
    if (fitting < wanted) {
        const double gb = 1e-9;
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "cuda: %s has %.1f GB free; %.1f GB for weights and one step and %.4f GB "
                         "for each of %u sequences do not fit; lower --slots, choose a smaller "
                         "model or --device cpu",
                         device->name, (double)device->free_bytes * gb,
                         (double)need.fixed_bytes * gb, (double)need.slot_bytes * gb, wanted);
    }
    const uint64_t most = fitting < SLOTS_DEFAULT_MAX ? fitting : SLOTS_DEFAULT_MAX;
    *slots_out = options->slot_count > 0 ? options->slot_count : (uint32_t)most;
    return ERROR_NONE;
}

static enum error_code take_memory(struct cuda_backend *cuda, const struct model_spec *spec,
                                   const struct backend_options *options, struct error *error)
{
    const uint32_t slot_count = options->slot_count;
    const uint32_t logit_rows = logit_rows_of(options);
    const size_t slots_bytes =
        bytes_of_slots(spec, &options->vocabulary, slot_count, logit_rows);
    enum error_code code =
        CUDA_TRY(cudaMalloc(&cuda->memory, slots_bytes + aligned(cuda->backend.state_bytes)),
                 error);
    if (code != ERROR_NONE) {
        return code;
    }
    char *at = cuda->memory;
    cuda->slots = (void *)at;
    at += aligned(slot_count * sizeof(struct cuda_slot));
    cuda->wkv = (void *)at;
    at += aligned(slot_count * wkv_floats(spec) * sizeof(float));
    cuda->shift = (void *)at;
    at += aligned(slot_count * shift_floats(spec) * sizeof(float));
    void *sampler_block = at;
    cuda->snapshot = (void *)((char *)cuda->memory + slots_bytes);
    code = CUDA_TRY(cudaMemsetAsync(cuda->slots, 0, slot_count * sizeof(struct cuda_slot),
                                    cuda->stream),
                    error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cuda_sampler_init(&cuda->sampler, &options->vocabulary, slot_count,
                                          logit_rows, sampler_block, cuda->stream),
                        error);
    }
    return code;
}

static enum error_code take_host_memory(struct cuda_backend *cuda, struct error *error)
{
    const size_t slot_count = cuda->backend.slot_count;
    cuda->mask_words = (cuda->backend.row_vocabulary + 31) / 32;
    cuda->notes_prompts = calloc(slot_count, sizeof *cuda->notes_prompts);
    if (cuda->notes_prompts == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    enum error_code code = CUDA_TRY(cudaMallocHost((void **)&cuda->sampler_staging,
                                                   slot_count * sizeof *cuda->sampler_staging),
                                    error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMallocHost((void **)&cuda->mask_staging,
                                       slot_count * (cuda->mask_words + 1) * sizeof(uint32_t)),
                        error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventCreateWithFlags(&cuda->copied, cudaEventDisableTiming), error);
    }
    return code;
}

/* ---- Opening and closing ----------------------------------------------------------------- */

bool cuda_device_find(struct cuda_device_info *info_out, struct error *error)
{
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0) {
        error_set(error, ERROR_DEVICE, "no CUDA device: %s",
                  status != cudaSuccess ? cudaGetErrorString(status) : "none is installed");
        return false;
    }
    struct cudaDeviceProp properties;
    *info_out = (struct cuda_device_info){0};
    if (CUDA_TRY(cudaSetDevice(0), error) != ERROR_NONE ||
        CUDA_TRY(cudaGetDeviceProperties(&properties, 0), error) != ERROR_NONE ||
        CUDA_TRY(cudaMemGetInfo(&info_out->free_bytes, &info_out->total_bytes), error) !=
            ERROR_NONE) {
        return false;
    }
    snprintf(info_out->name, sizeof info_out->name, "%.60s", properties.name);
    info_out->compute_capability = properties.major * 10 + properties.minor;
    info_out->multiprocessors = (uint32_t)properties.multiProcessorCount;
    return true;
}

static void close_backend(struct backend *backend)
{
    struct cuda_backend *cuda = cuda_of(backend);
    if (cuda->stream != NULL) {
        cudaStreamSynchronize(cuda->stream);
    }
    if (cuda->copied != NULL) {
        cudaEventDestroy(cuda->copied);
    }
    cuda_steps_destroy(cuda->steps);
    cuda_forward_destroy(cuda->forward);
    cuda_model_close(&cuda->model);
    cuda_profile_destroy(cuda->profile);
    cudaFreeHost(cuda->mask_staging);
    cudaFreeHost(cuda->sampler_staging);
    cudaFree(cuda->memory);
    if (cuda->stream != NULL) {
        cudaStreamDestroy(cuda->stream);
    }
    free(cuda->notes_prompts);
    free(cuda);
}

static const struct backend_ops cuda_backend_ops = {
    .name = "cuda",
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

static enum error_code open_parts(struct cuda_backend *cuda, const struct model_spec *spec,
                                  const struct backend_options *options,
                                  const struct cuda_device_info *device, struct error *error)
{
    char cache_path[PATH_BYTES];
    struct cuda_forward_options forward =
        forward_options(options, device->compute_capability, device->multiprocessors);
    forward.cache_path = cuda_gemm_cache_path(cache_path, sizeof cache_path) ? cache_path : NULL;
    cuda->profile = cuda_profile_create();
    if (cuda->profile == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    forward.profile = cuda->profile;
    enum error_code code =
        CUDA_TRY(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), error);
    if (code == ERROR_NONE) {
        code = cuda_model_open(spec, cuda->stream, &cuda->model, error);
    }
    if (code == ERROR_NONE) {
        code = cuda_forward_create(&cuda->model, &forward, cuda->stream, &cuda->forward, error);
    }
    if (code == ERROR_NONE) {
        code = take_memory(cuda, spec, options, error);
    }
    if (code == ERROR_NONE) {
        code = take_host_memory(cuda, error);
    }
    if (code == ERROR_NONE) {
        const struct cuda_steps_options steps = {
            .forward = cuda->forward,
            .sampler = &cuda->sampler,
            .profile = cuda->profile,
            .stream = cuda->stream,
            .slots = cuda->slots,
            .wkv = cuda->wkv,
            .shift = cuda->shift,
            .row_count_max = options->row_count_max,
            .item_count_max = options->item_count_max,
            .logit_count_max = forward.logit_count_max,
            .V = spec->V,
        };
        code = cuda_steps_create(&steps, &cuda->steps, error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaStreamSynchronize(cuda->stream), error);
    }
    return code;
}

enum error_code cuda_backend_open(const struct model_spec *spec,
                                  const struct backend_options *options,
                                  struct backend **backend_out, struct error *error)
{
    struct cuda_device_info device;
    uint32_t slot_count = 0;
    *backend_out = NULL;
    ASSERT_COMPARE(options->vocabulary.row_count, ==, spec->V);
    if (!cuda_device_find(&device, error)) {
        return ERROR_DEVICE;
    }
    enum error_code code = choose_slots(spec, options, &device, &slot_count, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct cuda_backend *cuda = calloc(1, sizeof *cuda);
    if (cuda == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    const struct backend_options sized = with_sizes(options, slot_count);
    cuda->backend = (struct backend){
        .ops = &cuda_backend_ops,
        .slot_count = slot_count,
        .row_count_max = sized.row_count_max,
        .item_count_max = sized.item_count_max,
        .row_vocabulary = spec->V,
        .steps_in_flight_max = CUDA_STEPS_IN_FLIGHT,
        .state_bytes = model_spec_state_floats(spec) * sizeof(float),
    };
    code = open_parts(cuda, spec, &sized, &device, error);
    if (code != ERROR_NONE) {
        close_backend(&cuda->backend);
        return code;
    }
    log_event(LOG_INFO, "cuda", "backend opened", LOG_S("device", device.name),
              LOG_I("slots", slot_count), LOG_I("state_bytes", cuda->backend.state_bytes),
              LOG_I("weights_bytes", cuda->model.bytes),
              LOG_I("states_total_bytes",
                    bytes_of_slots(spec, &sized.vocabulary, slot_count, 0)));
    *backend_out = &cuda->backend;
    return ERROR_NONE;
}

void cuda_backend_profile(struct backend *backend, enum cuda_profile_mode mode)
{
    ASSERT_COMPARE(backend->steps_in_flight, ==, 0);
    cuda_profile_switch(cuda_of(backend)->profile, mode);
}

void cuda_backend_times(struct backend *backend, struct cuda_kernel_time *times_out)
{
    cuda_profile_read(cuda_of(backend)->profile, times_out);
}

double cuda_backend_gap(struct backend *backend)
{
    return cuda_profile_gap(cuda_of(backend)->profile);
}
