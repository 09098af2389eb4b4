/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_gemm.c - plans of cuBLASLt products: made, timed, looked up, run.
 *
 * The library is column-major: a row-major Y[m][n] is its n by m matrix, so W is the first operand
 * and X the second. Thread: the engine's. */
#include "cuda/cuda_gemm.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cuda/cuda_error.h"
#include "cuda/cuda_gemm_cache.h"

enum {
    PLANS_MAX = 1024,           /* Products times row counts. */
    CANDIDATES_MAX = 8,         /* More are hardly ever returned for these shapes. */
    TIMED_RUNS = 6,             /* Of each candidate; the median counts. */
    WORKSPACE_BYTES = 64 << 20, /* For split sums. */
};

/* One product for one number of rows, ready to run. */
struct plan {
    struct cuda_gemm gemm;
    uint32_t m;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w_layout, x_layout, y_layout;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_gemms {
    cublasLtHandle_t handle;
    void *workspace; /* Device. */
    struct plan plans[PLANS_MAX];
    uint32_t plan_count;
    struct cuda_gemm_cache *cache; /* NULL: none. */
};

static enum error_code lt_error(cublasStatus_t status, const char *call, struct error *error)
{
    return status == CUBLAS_STATUS_SUCCESS
               ? ERROR_NONE
               : error_set(error, ERROR_DEVICE, "cuda: cublasLt status %d in %s", (int)status,
                           call);
}

#define LT_TRY(call, error) lt_error((call), #call, (error))

static bool is_same(const struct cuda_gemm *left, const struct cuda_gemm *right)
{
    return left->n == right->n && left->k == right->k && left->batch == right->batch &&
           left->weights_by_input == right->weights_by_input && left->adds == right->adds &&
           left->f32_out == right->f32_out && left->x_stride == right->x_stride &&
           left->y_stride == right->y_stride;
}

static struct plan *find_plan(struct cuda_gemms *gemms, const struct cuda_gemm *gemm, uint32_t m)
{
    for (uint32_t index = 0; index < gemms->plan_count; index++) {
        struct plan *plan = &gemms->plans[index];
        if (plan->m == m && is_same(&plan->gemm, gemm)) {
            return plan;
        }
    }
    return NULL;
}

/* ---- Descriptors ------------------------------------------------------------------------- */

static enum error_code make_layout(cublasLtMatrixLayout_t *layout, cudaDataType_t type,
                                   uint64_t rows, uint64_t columns, uint32_t batch, int64_t stride,
                                   struct error *error)
{
    const int32_t count = (int32_t)batch;
    enum error_code code = LT_TRY(
        cublasLtMatrixLayoutCreate(layout, type, rows, columns, (int64_t)rows), error);
    if (code == ERROR_NONE) {
        code = LT_TRY(cublasLtMatrixLayoutSetAttribute(
                          *layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                      error);
    }
    if (code == ERROR_NONE) {
        code = LT_TRY(cublasLtMatrixLayoutSetAttribute(
                          *layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                          sizeof stride),
                      error);
    }
    return code;
}

static enum error_code describe(struct plan *plan, struct error *error)
{
    const struct cuda_gemm *gemm = &plan->gemm;
    const cublasOperation_t transpose = gemm->weights_by_input ? CUBLAS_OP_N : CUBLAS_OP_T;
    const uint32_t w_rows = gemm->weights_by_input ? gemm->n : gemm->k;
    const uint32_t w_columns = gemm->weights_by_input ? gemm->k : gemm->n;
    const cudaDataType_t y_type = gemm->f32_out ? CUDA_R_32F : CUDA_R_16F;
    enum error_code code = LT_TRY(
        cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), error);
    if (code == ERROR_NONE) {
        code = LT_TRY(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                     &transpose, sizeof transpose),
                      error);
    }
    if (code == ERROR_NONE) {
        code = make_layout(&plan->w_layout, CUDA_R_16F, w_rows, w_columns, gemm->batch,
                           (int64_t)gemm->n * gemm->k, error);
    }
    if (code == ERROR_NONE) {
        code = make_layout(&plan->x_layout, CUDA_R_16F, gemm->k, plan->m, gemm->batch,
                           gemm->x_stride, error);
    }
    if (code == ERROR_NONE) {
        code = make_layout(&plan->y_layout, y_type, gemm->n, plan->m, gemm->batch, gemm->y_stride,
                           error);
    }
    return code;
}

static void forget(struct plan *plan)
{
    if (plan->y_layout != NULL) {
        cublasLtMatrixLayoutDestroy(plan->y_layout);
    }
    if (plan->x_layout != NULL) {
        cublasLtMatrixLayoutDestroy(plan->x_layout);
    }
    if (plan->w_layout != NULL) {
        cublasLtMatrixLayoutDestroy(plan->w_layout);
    }
    if (plan->product != NULL) {
        cublasLtMatmulDescDestroy(plan->product);
    }
}

/* ---- Choice ------------------------------------------------------------------------------ */

/* What candidates are timed on. */
struct trial {
    const cuda_half *const *weights;
    uint32_t weight_count;
    const cuda_half *x;
    void *y;
    cudaStream_t stream;
    cudaEvent_t begin, end;
};

static enum error_code run_plan(struct cuda_gemms *gemms, const struct plan *plan,
                                const cublasLtMatmulAlgo_t *algorithm, const cuda_half *weights,
                                const cuda_half *x, void *y, cudaStream_t stream,
                                struct error *error)
{
    const float one = 1.0f;
    const float beta = plan->gemm.adds ? 1.0f : 0.0f;
    return LT_TRY(cublasLtMatmul(gemms->handle, plan->product, &one, weights, plan->w_layout, x,
                                 plan->x_layout, &beta, y, plan->y_layout, y, plan->y_layout,
                                 algorithm, gemms->workspace, WORKSPACE_BYTES, stream),
                  error);
}

static int compare_floats(const void *left, const void *right)
{
    const float a = *(const float *)left;
    const float b = *(const float *)right;
    return (a > b) - (a < b);
}

/* Median milliseconds of a candidate, each run on other weights. */
static enum error_code time_candidate(struct cuda_gemms *gemms, const struct plan *plan,
                                      const cublasLtMatmulAlgo_t *algorithm,
                                      const struct trial *trial, float *milliseconds_out,
                                      struct error *error)
{
    float times[TIMED_RUNS];
    enum error_code code = ERROR_NONE;
    for (uint32_t run = 0; code == ERROR_NONE && run <= TIMED_RUNS; run++) { /* One to warm up. */
        const cuda_half *weights = trial->weights[run % trial->weight_count];
        code = CUDA_TRY(cudaEventRecord(trial->begin, trial->stream), error);
        if (code == ERROR_NONE) {
            code = run_plan(gemms, plan, algorithm, weights, trial->x, trial->y, trial->stream,
                            error);
        }
        if (code == ERROR_NONE) {
            code = CUDA_TRY(cudaEventRecord(trial->end, trial->stream), error);
        }
        if (code == ERROR_NONE) {
            code = CUDA_TRY(cudaEventSynchronize(trial->end), error);
        }
        if (code == ERROR_NONE && run > 0) {
            code = CUDA_TRY(cudaEventElapsedTime(&times[run - 1], trial->begin, trial->end),
                            error);
        }
    }
    if (code == ERROR_NONE) {
        qsort(times, TIMED_RUNS, sizeof times[0], compare_floats);
        *milliseconds_out = times[TIMED_RUNS / 2];
    }
    return code;
}

static enum error_code suggest(struct cuda_gemms *gemms, const struct plan *plan,
                               cublasLtMatmulHeuristicResult_t *candidates, int *count_out,
                               struct error *error)
{
    const size_t workspace_bytes = WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference;
    enum error_code code = LT_TRY(cublasLtMatmulPreferenceCreate(&preference), error);
    if (code != ERROR_NONE) {
        return code;
    }
    code = LT_TRY(cublasLtMatmulPreferenceSetAttribute(
                      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                      sizeof workspace_bytes),
                  error);
    if (code == ERROR_NONE) {
        code = LT_TRY(cublasLtMatmulAlgoGetHeuristic(gemms->handle, plan->product, plan->w_layout,
                                                     plan->x_layout, plan->y_layout,
                                                     plan->y_layout, preference, CANDIDATES_MAX,
                                                     candidates, count_out),
                      error);
    }
    cublasLtMatmulPreferenceDestroy(preference);
    if (code == ERROR_NONE && *count_out == 0) {
        code = error_set(error, ERROR_DEVICE, "cuda: cublasLt has no algorithm for m=%u n=%u k=%u",
                         plan->m, plan->gemm.n, plan->gemm.k);
    }
    return code;
}

static enum error_code choose(struct cuda_gemms *gemms, struct plan *plan,
                              const struct trial *trial, struct error *error)
{
    cublasLtMatmulHeuristicResult_t candidates[CANDIDATES_MAX];
    int count = 0;
    float best = 0.0f;
    enum error_code code = suggest(gemms, plan, candidates, &count, error);
    for (int index = 0; code == ERROR_NONE && index < count; index++) {
        float milliseconds = 0.0f;
        code = time_candidate(gemms, plan, &candidates[index].algo, trial, &milliseconds, error);
        if (code == ERROR_NONE && (index == 0 || milliseconds < best)) {
            best = milliseconds;
            plan->algorithm = candidates[index].algo;
        }
    }
    if (code == ERROR_NONE) {
        log_event(LOG_DEBUG, "cuda", "matrix product timed", LOG_I("m", plan->m),
                  LOG_I("n", plan->gemm.n), LOG_I("k", plan->gemm.k),
                  LOG_I("batch", plan->gemm.batch), LOG_I("candidates", (uint64_t)count),
                  LOG_I("ns", (uint64_t)(best * 1e6f)));
    }
    return code;
}

static struct cuda_gemm_key key_of(const struct plan *plan)
{
    const struct cuda_gemm *gemm = &plan->gemm;
    return (struct cuda_gemm_key){
        .m = plan->m,
        .n = gemm->n,
        .k = gemm->k,
        .batch = gemm->batch,
        .kind = (gemm->weights_by_input ? 1u : 0u) | (gemm->adds ? 2u : 0u) |
                (gemm->f32_out ? 4u : 0u),
    };
}

static enum error_code choose_on(struct cuda_gemms *gemms, struct plan *plan, struct trial *trial,
                                 struct error *error)
{
    enum error_code code = CUDA_TRY(cudaEventCreate(&trial->begin), error);
    if (code != ERROR_NONE) {
        return code;
    }
    code = CUDA_TRY(cudaEventCreate(&trial->end), error);
    if (code == ERROR_NONE) {
        code = choose(gemms, plan, trial, error);
        cudaEventDestroy(trial->end);
    }
    cudaEventDestroy(trial->begin);
    return code;
}

/* The choice of an earlier start, if the library still takes it. */
static bool recall(struct cuda_gemms *gemms, struct plan *plan, const struct cuda_gemm_key *key)
{
    cublasLtMatmulHeuristicResult_t checked;
    return cuda_gemm_cache_find(gemms->cache, key, plan->algorithm.data,
                                sizeof plan->algorithm.data) &&
           cublasLtMatmulAlgoCheck(gemms->handle, plan->product, plan->w_layout, plan->x_layout,
                                   plan->y_layout, plan->y_layout, &plan->algorithm,
                                   &checked) == CUBLAS_STATUS_SUCCESS &&
           checked.workspaceSize <= WORKSPACE_BYTES;
}

enum error_code cuda_gemm_prepare(struct cuda_gemms *gemms, const struct cuda_gemm *gemm,
                                  uint32_t m, const cuda_half *const *weights,
                                  uint32_t weight_count, const cuda_half *x, void *y,
                                  cudaStream_t stream, struct error *error)
{
    if (find_plan(gemms, gemm, m) != NULL) {
        return ERROR_NONE;
    }
    ASSERT_COMPARE(gemms->plan_count, <, PLANS_MAX);
    struct plan *plan = &gemms->plans[gemms->plan_count];
    *plan = (struct plan){.gemm = *gemm, .m = m};
    const struct cuda_gemm_key key = key_of(plan);
    enum error_code code = describe(plan, error);
    if (code == ERROR_NONE && !recall(gemms, plan, &key)) {
        struct trial trial = {.weights = weights, .weight_count = weight_count, .x = x, .y = y,
                              .stream = stream};
        code = choose_on(gemms, plan, &trial, error);
        if (code == ERROR_NONE) {
            cuda_gemm_cache_add(gemms->cache, &key, plan->algorithm.data,
                                sizeof plan->algorithm.data);
        }
    }
    if (code != ERROR_NONE) {
        forget(plan);
        return code;
    }
    gemms->plan_count++;
    return ERROR_NONE;
}

enum error_code cuda_gemm_run(struct cuda_gemms *gemms, const struct cuda_gemm *gemm, uint32_t m,
                              const cuda_half *weights, const cuda_half *x, void *y,
                              cudaStream_t stream, struct error *error)
{
    const struct plan *plan = find_plan(gemms, gemm, m);
    ASSERT(plan != NULL);
    return run_plan(gemms, plan, &plan->algorithm, weights, x, y, stream, error);
}

/* ---- Opening and closing ----------------------------------------------------------------- */

enum error_code cuda_gemms_create(const char *cache_path, struct cuda_gemms **gemms_out,
                                  struct error *error)
{
    *gemms_out = NULL;
    struct cuda_gemms *gemms = calloc(1, sizeof *gemms);
    if (gemms == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    enum error_code code = LT_TRY(cublasLtCreate(&gemms->handle), error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMalloc(&gemms->workspace, WORKSPACE_BYTES), error);
    }
    if (code == ERROR_NONE && cache_path != NULL) {
        gemms->cache = cuda_gemm_cache_open(cache_path);
    }
    if (code != ERROR_NONE) {
        cuda_gemms_destroy(gemms);
        return code;
    }
    *gemms_out = gemms;
    return ERROR_NONE;
}

void cuda_gemms_destroy(struct cuda_gemms *gemms)
{
    if (gemms == NULL) {
        return;
    }
    for (uint32_t index = 0; index < gemms->plan_count; index++) {
        forget(&gemms->plans[index]);
    }
    cuda_gemm_cache_close(gemms->cache);
    cudaFree(gemms->workspace);
    if (gemms->handle != NULL) {
        cublasLtDestroy(gemms->handle);
    }
    free(gemms);
}
