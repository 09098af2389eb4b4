/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_ceiling.c - a large copy and a large matrix product, timed by events. Thread: one. */
#include "cuda/cuda_ceiling.h"

#include <stdbool.h>
#include <stdlib.h>

#include "cuda/cuda_error.h"
#include "cuda/cuda_gemm.h"

enum {
    SIDE = 8192, /* Of the matrices: far past where the product is bound by memory. */
    RUNS_MAX = 10000,
};

static const size_t half_bytes = (size_t)1 << 30; /* A copy's; far larger than any cache. */

struct cuda_ceiling {
    char *memory; /* Two halves of half_bytes. */
    struct cuda_gemms *gemms;
    struct cuda_gemm gemm;
    cudaStream_t stream;
    cudaEvent_t begin, end;
};

/* Three matrices of SIDE * SIDE in the first half; a copy may have overwritten them with the same
 * kind of numbers. */
static const cuda_half *matrix(const struct cuda_ceiling *ceiling, size_t index)
{
    return (const cuda_half *)(const void *)ceiling->memory + index * SIDE * SIDE;
}

static enum error_code copy(struct cuda_ceiling *ceiling, struct error *error)
{
    return CUDA_TRY(cudaMemcpyAsync(ceiling->memory + half_bytes, ceiling->memory, half_bytes,
                                    cudaMemcpyDeviceToDevice, ceiling->stream),
                    error);
}

static enum error_code multiply(struct cuda_ceiling *ceiling, struct error *error)
{
    return cuda_gemm_run(ceiling->gemms, &ceiling->gemm, SIDE, matrix(ceiling, 0),
                         matrix(ceiling, 1), (void *)(uintptr_t)matrix(ceiling, 2),
                         ceiling->stream, error);
}

/* Milliseconds of `count` runs. */
static bool time_runs(struct cuda_ceiling *ceiling,
                      enum error_code (*run)(struct cuda_ceiling *, struct error *),
                      uint32_t count, float *milliseconds_out)
{
    struct error error;
    bool is_good = cudaEventRecord(ceiling->begin, ceiling->stream) == cudaSuccess;
    for (uint32_t index = 0; is_good && index < count; index++) {
        is_good = run(ceiling, &error) == ERROR_NONE;
    }
    return is_good && cudaEventRecord(ceiling->end, ceiling->stream) == cudaSuccess &&
           cudaEventSynchronize(ceiling->end) == cudaSuccess &&
           cudaEventElapsedTime(milliseconds_out, ceiling->begin, ceiling->end) == cudaSuccess;
}

/* Runs a second; one run tells how many fill the time. */
static double rate_of(struct cuda_ceiling *ceiling,
                      enum error_code (*run)(struct cuda_ceiling *, struct error *),
                      double seconds)
{
    float milliseconds = 0.0f;
    if (!time_runs(ceiling, run, 1, &milliseconds) ||
        !time_runs(ceiling, run, 2, &milliseconds) || milliseconds <= 0.0f) {
        return 0.0;
    }
    const double wanted = seconds * 2000.0 / (double)milliseconds;
    const uint32_t count = wanted < 1.0 ? 1 : wanted > RUNS_MAX ? RUNS_MAX : (uint32_t)wanted;
    if (!time_runs(ceiling, run, count, &milliseconds) || milliseconds <= 0.0f) {
        return 0.0;
    }
    return count / ((double)milliseconds * 1e-3);
}

double cuda_ceiling_copy_rate(struct cuda_ceiling *ceiling, double seconds)
{
    return rate_of(ceiling, copy, seconds) * 2.0 * (double)half_bytes;
}

double cuda_ceiling_multiply_rate(struct cuda_ceiling *ceiling, double seconds)
{
    return rate_of(ceiling, multiply, seconds) * 2.0 * SIDE * SIDE * SIDE;
}

enum error_code cuda_ceiling_create(struct cuda_ceiling **ceiling_out, struct error *error)
{
    *ceiling_out = NULL;
    struct cuda_ceiling *ceiling = calloc(1, sizeof *ceiling);
    if (ceiling == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    }
    ceiling->gemm = (struct cuda_gemm){.n = SIDE, .k = SIDE, .batch = 1};
    enum error_code code =
        CUDA_TRY(cudaStreamCreateWithFlags(&ceiling->stream, cudaStreamNonBlocking), error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMalloc((void **)&ceiling->memory, 2 * half_bytes), error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cuda_fill_f16(ceiling->stream, (cuda_half *)(void *)ceiling->memory,
                                      half_bytes / sizeof(cuda_half), 1.0f, 0.0f, 1),
                        error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventCreate(&ceiling->begin), error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventCreate(&ceiling->end), error);
    }
    if (code == ERROR_NONE) {
        code = cuda_gemms_create(NULL, &ceiling->gemms, error);
    }
    if (code == ERROR_NONE) {
        const cuda_half *weights = matrix(ceiling, 0);
        code = cuda_gemm_prepare(ceiling->gemms, &ceiling->gemm, SIDE, &weights, 1,
                                 matrix(ceiling, 1), (void *)(uintptr_t)matrix(ceiling, 2),
                                 ceiling->stream, error);
    }
    if (code != ERROR_NONE) {
        cuda_ceiling_destroy(ceiling);
        return code;
    }
    *ceiling_out = ceiling;
    return ERROR_NONE;
}

void cuda_ceiling_destroy(struct cuda_ceiling *ceiling)
{
    if (ceiling == NULL) {
        return;
    }
    cuda_gemms_destroy(ceiling->gemms);
    if (ceiling->end != NULL) {
        cudaEventDestroy(ceiling->end);
    }
    if (ceiling->begin != NULL) {
        cudaEventDestroy(ceiling->begin);
    }
    cudaFree(ceiling->memory);
    if (ceiling->stream != NULL) {
        cudaStreamDestroy(ceiling->stream);
    }
    free(ceiling);
}
