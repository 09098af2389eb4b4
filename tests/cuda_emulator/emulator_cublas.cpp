/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_cublas.cpp - cublasLtMatmul: halves times halves, summed in float in
 * the order of k, column-major.
 *
 * Stricter than the library where a true device would give silence: pointers must have the
 * alignment that the algorithm was chosen for, and the workspace is overwritten. Thread: one at a
 * time. */
#include <cublasLt.h>
#include <string.h>

#include <vector>

#include "cuda_fp16.h"
#include "emulator.h"

enum { ALGORITHMS = 2, ALGORITHM_MARK = 0x736b6569, WORKSPACE_BYTES = 4096 };

struct cublasLtContext {
    int unused;
};

struct cublasLtMatmulDesc {
    int32_t transpose_a, transpose_b;
    uint32_t epilogue;
};

struct cublasLtMatrixLayout {
    uint32_t type;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batch_count;
    int64_t batch_stride;
};

struct cublasLtMatmulPreference {
    uint64_t workspace_bytes;
    uint32_t alignment[4]; /* A, B, C, D. */
};

/* ---- Descriptors ------------------------------------------------------------------------- */

template <typename T> static void take(T *field, const void *value, size_t bytes, const char *call)
{
    if (bytes != sizeof(T)) {
        emulator_die("%s: %zu bytes, the attribute has %zu", call, bytes, sizeof(T));
    }
    memcpy(field, value, sizeof(T));
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

size_t cublasLtGetCudartVersion(void)
{
    return CUDART_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_FAILURE";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "failure";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) {
        emulator_die("cublasLtMatmulDescCreate: compute type %d, scale type %d", compute, scale);
    }
    *product = new cublasLtMatmulDesc{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product)
{
    delete product;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    static const char call[] = "cublasLtMatmulDescSetAttribute";
    int32_t number = 0;
    take(&number, value, bytes, call);
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA && (number == CUBLAS_OP_N || number == CUBLAS_OP_T)) {
        product->transpose_a = number;
    } else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB &&
               (number == CUBLAS_OP_N || number == CUBLAS_OP_T)) {
        product->transpose_b = number;
    } else if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE &&
               (number == CUBLASLT_EPILOGUE_DEFAULT || number == CUBLASLT_EPILOGUE_RELU)) {
        product->epilogue = static_cast<uint32_t>(number);
    } else if (attribute != CUBLASLT_MATMUL_DESC_POINTER_MODE ||
               number != CUBLASLT_POINTER_MODE_HOST) {
        emulator_die("%s: attribute %d = %d", call, attribute, number);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t leading)
{
    if ((type != CUDA_R_16F && type != CUDA_R_32F) || rows == 0 || columns == 0 ||
        leading < static_cast<int64_t>(rows)) {
        emulator_die("cublasLtMatrixLayoutCreate: type %d, %llu x %llu, leading %lld", type,
                     static_cast<unsigned long long>(rows),
                     static_cast<unsigned long long>(columns), static_cast<long long>(leading));
    }
    *layout = new cublasLtMatrixLayout{static_cast<uint32_t>(type), rows, columns, leading, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    static const char call[] = "cublasLtMatrixLayoutSetAttribute";
    int32_t order = CUBLASLT_ORDER_COL;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        take(&layout->batch_count, value, bytes, call);
        break;
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        take(&layout->batch_stride, value, bytes, call);
        break;
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        take(&layout->rows, value, bytes, call);
        break;
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        take(&layout->columns, value, bytes, call);
        break;
    case CUBLASLT_MATRIX_LAYOUT_LD:
        take(&layout->leading, value, bytes, call);
        break;
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        take(&order, value, bytes, call);
        if (order != CUBLASLT_ORDER_COL) {
            emulator_die("%s: order %d", call, order);
        }
        break;
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
    default:
        emulator_die("%s: attribute %d", call, attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new cublasLtMatmulPreference{0, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    static const char call[] = "cublasLtMatmulPreferenceSetAttribute";
    uint32_t mask = 0;
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        take(&preference->workspace_bytes, value, bytes, call);
        break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        take(&preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
             bytes, call);
        break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        take(&mask, value, bytes, call); /* Sums have one order here. */
        break;
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
    default:
        emulator_die("%s: attribute %d", call, attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Algorithms -------------------------------------------------------------------------- */

/* data: mark, number, workspace bytes, the four alignments, unused. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t preference,
    int count_max, cublasLtMatmulHeuristicResult_t results_out[], int *count_out)
{
    *count_out = count_max < ALGORITHMS ? count_max : ALGORITHMS;
    for (int index = 0; index < *count_out; index++) {
        cublasLtMatmulHeuristicResult_t *result = &results_out[index];
        *result = cublasLtMatmulHeuristicResult_t();
        const bool wants_workspace = index == 0 && preference->workspace_bytes >= WORKSPACE_BYTES;
        result->workspaceSize = wants_workspace ? WORKSPACE_BYTES : 0;
        result->wavesCount = 1.0f;
        result->algo.data[0] = ALGORITHM_MARK;
        result->algo.data[1] = static_cast<uint64_t>(index);
        result->algo.data[2] = result->workspaceSize;
        for (int at = 0; at < 4; at++) {
            result->algo.data[3 + at] = preference->alignment[at];
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result_out)
{
    *result_out = cublasLtMatmulHeuristicResult_t();
    if (algorithm->data[0] != ALGORITHM_MARK || algorithm->data[1] >= ALGORITHMS) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    result_out->algo = *algorithm;
    result_out->workspaceSize = algorithm->data[2];
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes,
                                                    size_t *bytes_written)
{
    int32_t number = 0;
    switch (attribute) {
    case CUBLASLT_ALGO_CONFIG_ID:
        number = static_cast<int32_t>(algorithm->data[1]);
        break;
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
        number = 1;
        break;
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
        break;
    }
    if (bytes < sizeof number) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(value, &number, sizeof number);
    if (bytes_written != NULL) {
        *bytes_written = sizeof number;
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Products ---------------------------------------------------------------------------- */

/* A matrix with its place in memory. */
struct operand {
    struct cublasLtMatrixLayout layout;
    char *memory;
};

static size_t element_bytes(const struct operand &operand)
{
    return operand.layout.type == CUDA_R_16F ? 2 : 4;
}

static size_t offset_of(const struct operand &operand, int32_t batch, uint64_t row,
                        uint64_t column)
{
    return (static_cast<size_t>(batch * operand.layout.batch_stride) +
            static_cast<size_t>(column) * static_cast<size_t>(operand.layout.leading) + row) *
           element_bytes(operand);
}

static float load(const struct operand &operand, int32_t batch, uint64_t row, uint64_t column)
{
    const char *at = operand.memory + offset_of(operand, batch, row, column);
    float value;
    if (operand.layout.type == CUDA_R_16F) {
        __half stored;
        memcpy(&stored, at, sizeof stored);
        return __half2float(stored);
    }
    memcpy(&value, at, sizeof value);
    return value;
}

static void store(const struct operand &operand, int32_t batch, uint64_t row, uint64_t column,
                  float value)
{
    char *at = operand.memory + offset_of(operand, batch, row, column);
    if (operand.layout.type == CUDA_R_16F) {
        const __half rounded = __float2half_rn(value);
        memcpy(at, &rounded, sizeof rounded);
    } else {
        memcpy(at, &value, sizeof value);
    }
}

struct product {
    struct cublasLtMatmulDesc desc;
    struct operand a, b, c, d;
    float alpha, beta;
    void *workspace;
    size_t workspace_bytes;
};

/* op(A) as [k][m] floats. */
static std::vector<float> columns_of_a(const struct product &product, int32_t batch, uint64_t m,
                                       uint64_t k)
{
    std::vector<float> values(m * k);
    for (uint64_t column = 0; column < k; column++) {
        for (uint64_t row = 0; row < m; row++) {
            values[column * m + row] = product.desc.transpose_a == CUBLAS_OP_N
                                           ? load(product.a, batch, row, column)
                                           : load(product.a, batch, column, row);
        }
    }
    return values;
}

static void write_column(const struct product &product, int32_t batch, uint64_t column,
                         const std::vector<float> &sums)
{
    for (uint64_t row = 0; row < sums.size(); row++) {
        float value = product.alpha * sums[row];
        if (product.beta != 0.0f) { /* Else C may be anything, also not a number. */
            value += product.beta * load(product.c, batch, row, column);
        }
        if (product.desc.epilogue == CUBLASLT_EPILOGUE_RELU) {
            value = value > 0.0f ? value : 0.0f;
        }
        store(product.d, batch, row, column, value);
    }
}

static void run_batch(const struct product &product, int32_t batch)
{
    const uint64_t m = product.d.layout.rows;
    const bool is_a_straight = product.desc.transpose_a == CUBLAS_OP_N;
    const bool is_b_straight = product.desc.transpose_b == CUBLAS_OP_N;
    const uint64_t k = is_a_straight ? product.a.layout.columns : product.a.layout.rows;
    const std::vector<float> a = columns_of_a(product, batch, m, k);
    std::vector<float> sums(m);
    for (uint64_t column = 0; column < product.d.layout.columns; column++) {
        sums.assign(m, 0.0f);
        for (uint64_t at = 0; at < k; at++) {
            const float factor = is_b_straight ? load(product.b, batch, at, column)
                                               : load(product.b, batch, column, at);
            const float *values = &a[at * m];
            float *to = sums.data();
            for (uint64_t row = 0; row < m; row++) {
                to[row] += values[row] * factor;
            }
        }
        write_column(product, batch, column, sums);
    }
}

static void run_product(const struct product &product)
{
    if (!emulator_may_launch()) {
        return;
    }
    if (product.workspace_bytes > 0) {
        memset(product.workspace, 0xff, product.workspace_bytes);
    }
    for (int32_t batch = 0; batch < product.d.layout.batch_count; batch++) {
        run_batch(product, batch);
    }
}

/* ---- Checks ------------------------------------------------------------------------------ */

static const char matmul[] = "cublasLtMatmul";

static void check_operand(const struct operand &operand, const char *name, uint64_t alignment)
{
    const struct cublasLtMatrixLayout &layout = operand.layout;
    if (reinterpret_cast<uintptr_t>(operand.memory) % alignment != 0) {
        emulator_die("%s: %s at %p, chosen for multiples of %llu", matmul, name,
                     static_cast<void *>(operand.memory),
                     static_cast<unsigned long long>(alignment));
    }
    const size_t bytes =
        offset_of(operand, layout.batch_count - 1, layout.rows - 1, layout.columns - 1) +
        element_bytes(operand);
    if (emulator_memory_of(operand.memory, bytes, matmul) != EMULATOR_DEVICE) {
        emulator_die("%s: %s is not in device memory", matmul, name);
    }
}

static void check_shapes(const struct product &product)
{
    const bool is_a_straight = product.desc.transpose_a == CUBLAS_OP_N;
    const bool is_b_straight = product.desc.transpose_b == CUBLAS_OP_N;
    const struct cublasLtMatrixLayout &a = product.a.layout, &b = product.b.layout;
    const struct cublasLtMatrixLayout &c = product.c.layout, &d = product.d.layout;
    const uint64_t k = is_a_straight ? a.columns : a.rows;
    const bool fits = (is_a_straight ? a.rows : a.columns) == d.rows &&
                      (is_b_straight ? b.columns : b.rows) == d.columns &&
                      (is_b_straight ? b.rows : b.columns) == k && c.rows == d.rows &&
                      c.columns == d.columns;
    const bool same_batch = a.batch_count == d.batch_count && b.batch_count == d.batch_count &&
                            c.batch_count == d.batch_count && d.batch_count >= 1;
    if (!fits || !same_batch || a.type != CUDA_R_16F || b.type != CUDA_R_16F ||
        c.type != d.type) {
        emulator_die("%s: A %llu x %llu, B %llu x %llu, D %llu x %llu, batches %d %d %d %d, types "
                     "%u %u %u %u",
                     matmul, static_cast<unsigned long long>(a.rows),
                     static_cast<unsigned long long>(a.columns),
                     static_cast<unsigned long long>(b.rows),
                     static_cast<unsigned long long>(b.columns),
                     static_cast<unsigned long long>(d.rows),
                     static_cast<unsigned long long>(d.columns), a.batch_count, b.batch_count,
                     c.batch_count, d.batch_count, a.type, b.type, c.type, d.type);
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    if (handle == NULL || algorithm == NULL || algorithm->data[0] != ALGORITHM_MARK) {
        emulator_die("%s: no handle, or no algorithm of cublasLtMatmulAlgoGetHeuristic", matmul);
    }
    const size_t wanted = static_cast<size_t>(algorithm->data[2]);
    if (wanted > workspace_bytes) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    struct product product = {*desc,
                              {*a_layout, static_cast<char *>(const_cast<void *>(a))},
                              {*b_layout, static_cast<char *>(const_cast<void *>(b))},
                              {*c_layout, static_cast<char *>(const_cast<void *>(c))},
                              {*d_layout, static_cast<char *>(d)},
                              *static_cast<const float *>(alpha),
                              *static_cast<const float *>(beta),
                              workspace,
                              wanted};
    check_shapes(product);
    check_operand(product.a, "A", algorithm->data[3]);
    check_operand(product.b, "B", algorithm->data[4]);
    if (product.beta != 0.0f) {
        check_operand(product.c, "C", algorithm->data[5]);
    }
    check_operand(product.d, "D", algorithm->data[6]);
    if (wanted > 0 && emulator_memory_of(workspace, workspace_bytes, matmul) != EMULATOR_DEVICE) {
        emulator_die("%s: the workspace is not in device memory", matmul);
    }
    return emulator_submit(stream, [product]() { run_product(product); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
