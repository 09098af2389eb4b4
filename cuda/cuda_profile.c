/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_profile.c - pairs of events, read when their step is over. Thread: the engine's. */
#include "cuda/cuda_profile.h"

#include <stdlib.h>

#include "cuda/cuda_error.h"

enum {
    SPANS_MAX = 1024, /* Launches of a step: 61 layers of 12. */
    STEPS_MAX = 4,    /* More than are in flight. */
    GAPS_MAX = 4096,
};

/* One launch. */
struct span {
    cudaEvent_t begin, end; /* Made when first used. */
    enum cuda_kernel kernel;
    double bytes, flops;
};

/* A step as a whole. */
struct step {
    cudaEvent_t begin, end; /* Made when first used. */
};

struct cuda_profile {
    enum cuda_profile_mode mode;
    enum error_code failure; /* Of an event; told by the next collect. */
    struct error failure_error;
    uint32_t span_count;
    struct span spans[SPANS_MAX];
    struct cuda_kernel_time times[CUDA_KERNEL_COUNT];
    struct step steps[STEPS_MAX]; /* By their number. */
    uint32_t begun, added;        /* Steps; modulo 2^32. */
    float gaps[GAPS_MAX];         /* Milliseconds. */
    uint32_t gap_count;
};

struct cuda_profile *cuda_profile_create(void)
{
    static const char *const names[CUDA_KERNEL_COUNT] = {
#define X(name, text) text,
        CUDA_KERNELS(X)
#undef X
    };
    struct cuda_profile *profile = calloc(1, sizeof *profile);
    for (size_t index = 0; profile != NULL && index < CUDA_KERNEL_COUNT; index++) {
        profile->times[index].name = names[index];
    }
    return profile;
}

void cuda_profile_destroy(struct cuda_profile *profile)
{
    for (size_t index = 0; profile != NULL && index < SPANS_MAX; index++) {
        if (profile->spans[index].begin != NULL) {
            cudaEventDestroy(profile->spans[index].begin);
        }
        if (profile->spans[index].end != NULL) {
            cudaEventDestroy(profile->spans[index].end);
        }
    }
    for (size_t index = 0; profile != NULL && index < STEPS_MAX; index++) {
        if (profile->steps[index].begin != NULL) {
            cudaEventDestroy(profile->steps[index].begin);
        }
        if (profile->steps[index].end != NULL) {
            cudaEventDestroy(profile->steps[index].end);
        }
    }
    free(profile);
}

enum cuda_profile_mode cuda_profile_mode(const struct cuda_profile *profile)
{
    return profile->mode;
}

void cuda_profile_switch(struct cuda_profile *profile, enum cuda_profile_mode mode)
{
    for (size_t index = 0; index < CUDA_KERNEL_COUNT; index++) {
        profile->times[index] = (struct cuda_kernel_time){.name = profile->times[index].name};
    }
    profile->mode = mode;
    profile->span_count = 0;
    profile->begun = profile->added = profile->gap_count = 0;
}

static void record(struct cuda_profile *profile, cudaEvent_t *event, cudaStream_t stream)
{
    struct error error;
    enum error_code code = ERROR_NONE;
    if (*event == NULL) {
        code = CUDA_TRY(cudaEventCreate(event), &error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventRecord(*event, stream), &error);
    }
    if (code != ERROR_NONE && profile->failure == ERROR_NONE) {
        profile->failure = code;
        profile->failure_error = error;
    }
}

void cuda_profile_begin(struct cuda_profile *profile, cudaStream_t stream,
                        enum cuda_kernel kernel, double bytes, double flops)
{
    if (profile->mode == CUDA_PROFILE_KERNELS && profile->span_count < SPANS_MAX) {
        struct span *span = &profile->spans[profile->span_count];
        span->kernel = kernel;
        span->bytes = bytes;
        span->flops = flops;
        record(profile, &span->begin, stream);
    }
}

void cuda_profile_end(struct cuda_profile *profile, cudaStream_t stream)
{
    if (profile->mode == CUDA_PROFILE_KERNELS && profile->span_count < SPANS_MAX) {
        record(profile, &profile->spans[profile->span_count].end, stream);
        profile->span_count++;
    }
}

void cuda_profile_step_begin(struct cuda_profile *profile, cudaStream_t stream)
{
    if (profile->mode == CUDA_PROFILE_GAPS) {
        record(profile, &profile->steps[profile->begun % STEPS_MAX].begin, stream);
    }
}

void cuda_profile_step_end(struct cuda_profile *profile, cudaStream_t stream)
{
    if (profile->mode == CUDA_PROFILE_GAPS) {
        record(profile, &profile->steps[profile->begun % STEPS_MAX].end, stream);
        profile->begun++;
    }
}

static enum error_code add_spans(struct cuda_profile *profile, struct error *error)
{
    enum error_code code = ERROR_NONE;
    for (uint32_t index = 0; code == ERROR_NONE && index < profile->span_count; index++) {
        const struct span *span = &profile->spans[index];
        struct cuda_kernel_time *time = &profile->times[span->kernel];
        float milliseconds = 0.0f;
        code = CUDA_TRY(cudaEventElapsedTime(&milliseconds, span->begin, span->end), error);
        time->launches++;
        time->seconds += (double)milliseconds * 1e-3;
        time->bytes += span->bytes;
        time->flops += span->flops;
    }
    profile->span_count = 0;
    return code;
}

static enum error_code add_gap(struct cuda_profile *profile, struct error *error)
{
    const uint32_t number = profile->added++;
    if (number == 0 || profile->gap_count == GAPS_MAX) {
        return ERROR_NONE;
    }
    const enum error_code code =
        CUDA_TRY(cudaEventElapsedTime(&profile->gaps[profile->gap_count],
                                      profile->steps[(number - 1) % STEPS_MAX].end,
                                      profile->steps[number % STEPS_MAX].begin),
                 error);
    profile->gap_count++;
    return code;
}

enum error_code cuda_profile_collect(struct cuda_profile *profile, struct error *error)
{
    if (profile->failure != ERROR_NONE) {
        *error = profile->failure_error;
        return profile->failure;
    }
    switch (profile->mode) {
    case CUDA_PROFILE_OFF:
        break;
    case CUDA_PROFILE_KERNELS:
        return add_spans(profile, error);
    case CUDA_PROFILE_GAPS:
        return add_gap(profile, error);
    }
    return ERROR_NONE;
}

void cuda_profile_read(const struct cuda_profile *profile, struct cuda_kernel_time *times_out)
{
    for (size_t index = 0; index < CUDA_KERNEL_COUNT; index++) {
        times_out[index] = profile->times[index];
    }
}

static int compare_floats(const void *left, const void *right)
{
    const float a = *(const float *)left;
    const float b = *(const float *)right;
    return (a > b) - (a < b);
}

double cuda_profile_gap(const struct cuda_profile *profile)
{
    float gaps[GAPS_MAX];
    for (uint32_t index = 0; index < profile->gap_count; index++) {
        gaps[index] = profile->gaps[index];
    }
    qsort(gaps, profile->gap_count, sizeof gaps[0], compare_floats);
    return profile->gap_count > 0 ? (double)gaps[profile->gap_count / 2] * 1e-3 : 0.0;
}
