/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_forward.c - the order of the kernels, and the memory between them.
 *
 * Thread: the engine's. */
#include "cuda/cuda_forward.h"

#include <stdlib.h>

#include "cuda/cuda_error.h"
#include "cuda/cuda_skinny.h"

enum {
    ALIGNMENT = 256, /* Of each array in device memory. */
    ROWS_MIN = 8,    /* Of matrix products: fewer cost the same. */
};

struct cuda_forward {
    const struct cuda_model *model;
    struct cuda_forward_options options;
    cudaStream_t stream;
    struct cuda_gemms *gemms;
    struct cuda_activations act;
    float *logits;
    void *scratch; /* Of the few-row path, */
    void *skinny_scratch; /* and of the skinny products, with their maps: */
    struct cuda_skinny_maps skinny_maps[CUDA_SKINNY_WIDTHS]; /* by the width's place among them, */
    struct cuda_skinny_layer *skinny_layers; /* [L]; NULL: the GPU has no such products. */
    void *memory;
    size_t bytes;
};

/* ---- Memory ------------------------------------------------------------------------------ */

static void *take(struct cuda_forward *forward, size_t bytes)
{
    char *place = forward->memory == NULL ? NULL : (char *)forward->memory + forward->bytes;
    forward->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

/* With memory NULL it only counts. */
static void lay_out(struct cuda_forward *forward, const struct cuda_shape *shape)
{
    struct cuda_activations *act = &forward->act;
    const size_t N = cuda_forward_rows(forward->options.row_count_max, false);
    const size_t plane = N * shape->C;
    const size_t logit_rows = cuda_forward_rows(forward->options.logit_count_max, false);
    forward->bytes = 0;
    act->N = (uint32_t)N;
    act->x = take(forward, plane * sizeof(float));
    act->planes = take(forward, CUDA_MIXES * plane * sizeof(cuda_half));
    act->rkv = take(forward, 3 * plane * sizeof(cuda_half));
    for (size_t index = 0; index < CUDA_LOW_RANKS; index++) {
        act->hidden[index] = take(forward, N * shape->rank[index] * sizeof(cuda_half));
    }
    act->log_w = take(forward, plane * sizeof(float));
    act->a = take(forward, plane * sizeof(float));
    act->gate = take(forward, plane * sizeof(float));
    act->v_first = take(forward, plane * sizeof(cuda_half));
    act->y = take(forward, plane * sizeof(float));
    act->y_gated = take(forward, plane * sizeof(cuda_half));
    act->ffn_in = take(forward, plane * sizeof(cuda_half));
    act->ffn_hidden = take(forward, N * shape->F * sizeof(cuda_half));
    act->head_in = take(forward, logit_rows * shape->C * sizeof(cuda_half));
    forward->logits = take(forward, logit_rows * shape->V * sizeof(float));
    act->low_rank_scratch =
        take(forward, cuda_low_rank_scratch_bytes(forward->options.multiprocessors));
    forward->scratch =
        take(forward, cuda_few_rows_scratch_bytes(shape, forward->options.multiprocessors));
    forward->skinny_scratch =
        take(forward, cuda_skinny_scratch_bytes(shape, forward->options.multiprocessors));
}

size_t cuda_forward_bytes(const struct cuda_shape *shape,
                          const struct cuda_forward_options *options)
{
    struct cuda_forward counter = {.options = *options};
    lay_out(&counter, shape);
    return counter.bytes;
}

/* Index of the width that serves so many rows: each is twice the one before. */
static size_t width_of(uint32_t rows)
{
    size_t index = 0;
    while (cuda_skinny_rows(1) << index < rows) {
        index++;
    }
    return index;
}

static enum error_code make_skinny_maps(struct cuda_forward *forward, struct error *error)
{
    const struct cuda_model *model = forward->model;
    const struct cuda_shape *shape = &model->shape;
    if (!forward->options.warpgroup_products || shape->F % CUDA_BOX_COLUMNS != 0) {
        return ERROR_NONE;
    }
    forward->skinny_layers = calloc(shape->L, sizeof *forward->skinny_layers);
    if (forward->skinny_layers == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    enum error_code code = ERROR_NONE;
    for (size_t index = 0; code == ERROR_NONE && index < CUDA_SKINNY_WIDTHS; index++) {
        code = CUDA_TRY(cuda_skinny_maps_make(&forward->skinny_maps[index], shape, &forward->act,
                                              cuda_skinny_rows(1) << index),
                        error);
    }
    for (uint32_t layer = 0; code == ERROR_NONE && layer < shape->L; layer++) {
        code = CUDA_TRY(cuda_skinny_layer_make(&forward->skinny_layers[layer], shape,
                                               &model->layers[layer]),
                        error);
    }
    return code;
}

enum error_code cuda_forward_create(const struct cuda_model *model,
                                    const struct cuda_forward_options *options,
                                    cudaStream_t stream, struct cuda_forward **forward_out,
                                    struct error *error)
{
    *forward_out = NULL;
    struct cuda_forward *forward = calloc(1, sizeof *forward);
    if (forward == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    forward->model = model;
    forward->options = *options;
    forward->stream = stream;
    lay_out(forward, &model->shape);
    const size_t bytes = forward->bytes;
    enum error_code code = CUDA_TRY(cudaMalloc(&forward->memory, bytes), error);
    if (code == ERROR_NONE) {
        /* Rows beyond a step's are multiplied too: they shall be numbers. Counters begin at 0. */
        code = CUDA_TRY(cudaMemsetAsync(forward->memory, 0, bytes, stream), error);
    }
    if (code == ERROR_NONE) {
        code = cuda_gemms_create(options->cache_path, &forward->gemms, error);
    }
    if (code == ERROR_NONE) {
        lay_out(forward, &model->shape);
        code = make_skinny_maps(forward, error);
    }
    if (code != ERROR_NONE) {
        cuda_forward_destroy(forward);
        return code;
    }
    *forward_out = forward;
    return ERROR_NONE;
}

void cuda_forward_destroy(struct cuda_forward *forward)
{
    if (forward != NULL) {
        cuda_gemms_destroy(forward->gemms);
        free(forward->skinny_layers);
        cudaFree(forward->memory);
        free(forward);
    }
}

float *cuda_forward_logits(const struct cuda_forward *forward)
{
    return forward->logits;
}

/* ---- Sizes ------------------------------------------------------------------------------- */

uint32_t cuda_forward_rows(uint32_t rows, bool is_decode)
{
    static const struct {
        uint32_t up_to, step;
    } scales[] = {{32, 8}, {96, 16}, {256, 32}, {512, 64}, {1024, 128}, {UINT32_MAX, 256}};
    if (is_decode && rows <= CUDA_FEW_ROWS_MAX) {
        return rows;
    }
    size_t index = 0;
    while (rows > scales[index].up_to) {
        index++;
    }
    const uint32_t step = scales[index].step;
    return (rows + step - 1) / step * step;
}

static bool is_few(const struct cuda_step_size *size)
{
    return size->rows <= CUDA_FEW_ROWS_MAX;
}

static bool is_skinny(const struct cuda_forward *forward, const struct cuda_step_size *size)
{
    return !is_few(size) && size->rows <= CUDA_SKINNY_ROWS_MAX && forward->skinny_layers != NULL;
}

/* Whether the head runs as a matrix-vector kernel. */
static bool has_few_logits(const struct cuda_step_size *size)
{
    return is_few(size) && size->logit_rows <= CUDA_FEW_ROWS_MAX;
}

struct cuda_launch cuda_forward_launch(const struct cuda_forward *forward,
                                       const struct cuda_step_size *size)
{
    return (struct cuda_launch){
        .stream = forward->stream,
        .row_capacity = size->rows,
        .item_capacity = size->items,
        .scan_capacity = size->scan_items,
        .programmatic = forward->options.programmatic,
        .bulk_copies = forward->options.bulk_copies,
        .multiprocessors = forward->options.multiprocessors,
    };
}

/* ---- Products ---------------------------------------------------------------------------- */

enum product { PRODUCT_RKV, PRODUCT_OUTPUT, PRODUCT_KEY, PRODUCT_VALUE, PRODUCT_HEAD, PRODUCTS };

static struct cuda_gemm gemm_of(const struct cuda_forward *forward, enum product product)
{
    const struct cuda_shape *shape = &forward->model->shape;
    const uint32_t C = shape->C;
    const int64_t plane = (int64_t)forward->act.N * C;
    switch (product) {
    case PRODUCT_RKV:
        return (struct cuda_gemm){
            .n = C, .k = C, .batch = 3, .x_stride = plane, .y_stride = plane};
    case PRODUCT_OUTPUT:
        return (struct cuda_gemm){.n = C, .k = C, .batch = 1, .adds = true, .f32_out = true};
    case PRODUCT_KEY:
        return (struct cuda_gemm){.n = shape->F, .k = C, .batch = 1};
    case PRODUCT_VALUE:
        return (struct cuda_gemm){.n = C, .k = shape->F, .batch = 1, .weights_by_input = true,
                                  .adds = true, .f32_out = true};
    case PRODUCT_HEAD:
    case PRODUCTS:
        break;
    }
    return (struct cuda_gemm){.n = shape->V, .k = C, .batch = 1, .f32_out = true};
}

/* Where a product of a layer reads and writes. */
struct operands {
    const cuda_half *weights, *x;
    void *y;
};

static struct operands operands_of(const struct cuda_forward *forward, enum product product,
                                   uint32_t layer)
{
    const struct cuda_layer *weights = &forward->model->layers[layer];
    const struct cuda_activations *act = &forward->act;
    switch (product) {
    case PRODUCT_RKV:
        return (struct operands){weights->rkv, act->planes, act->rkv};
    case PRODUCT_OUTPUT:
        return (struct operands){weights->output, act->y_gated, act->x};
    case PRODUCT_KEY:
        return (struct operands){weights->ffn_key, act->ffn_in, act->ffn_hidden};
    case PRODUCT_VALUE:
        return (struct operands){weights->ffn_value, act->ffn_hidden, act->x};
    case PRODUCT_HEAD:
    case PRODUCTS:
        break;
    }
    return (struct operands){forward->model->head, act->head_in, forward->logits};
}

static enum error_code prepare_product(struct cuda_forward *forward, enum product product,
                                       uint32_t m, struct error *error)
{
    enum { WEIGHTS_MAX = 64 };
    const cuda_half *weights[WEIGHTS_MAX];
    const uint32_t L = forward->model->shape.L;
    const uint32_t count = product == PRODUCT_HEAD ? 1 : L < WEIGHTS_MAX ? L : WEIGHTS_MAX;
    const struct cuda_gemm gemm = gemm_of(forward, product);
    for (uint32_t layer = 0; layer < count; layer++) {
        weights[layer] = operands_of(forward, product, layer).weights;
    }
    const struct operands first = operands_of(forward, product, 0);
    return cuda_gemm_prepare(forward->gemms, &gemm, m, weights, count, first.x, first.y,
                             forward->stream, error);
}

enum error_code cuda_forward_prepare(struct cuda_forward *forward,
                                     const struct cuda_step_size *size, struct error *error)
{
    enum error_code code = ERROR_NONE;
    for (enum product product = PRODUCT_RKV;
         code == ERROR_NONE && product < PRODUCT_HEAD && !is_few(size) && !is_skinny(forward, size);
         product++) {
        code = prepare_product(forward, product, size->rows, error);
    }
    if (code == ERROR_NONE && size->logit_rows > 0 && !has_few_logits(size)) {
        code = prepare_product(forward, PRODUCT_HEAD, size->logit_rows, error);
    }
    return code;
}

static enum error_code multiply(struct cuda_forward *forward, enum product product, uint32_t layer,
                                uint32_t m, struct error *error)
{
    const struct cuda_gemm gemm = gemm_of(forward, product);
    const struct operands operands = operands_of(forward, product, layer);
    return cuda_gemm_run(forward->gemms, &gemm, m, operands.weights, operands.x, operands.y,
                         forward->stream, error);
}

/* ---- Costs ------------------------------------------------------------------------------- */

/* Bytes and operations that one launch must move and compute at least. */
struct cost {
    double bytes, flops;
};

static struct cost cost_of(const struct cuda_forward *forward, enum cuda_kernel kernel,
                           const struct cuda_step_size *size)
{
    const struct cuda_shape *shape = &forward->model->shape;
    const double m = size->rows, n = size->logit_rows;
    const double C = shape->C, F = shape->F, V = shape->V;
    const double state = 4.0 * C * CUDA_HEAD;
    double ranks = 0.0;
    for (size_t index = 0; index < CUDA_LOW_RANKS; index++) {
        ranks += shape->rank[index];
    }
    switch (kernel) {
    case CUDA_KERNEL_EMBED:
        return (struct cost){m * 6.0 * C, 0.0};
    case CUDA_KERNEL_MIX_ATT: /* x, six planes, the shift in and out. */
        return (struct cost){m * 24.0 * C, 0.0};
    case CUDA_KERNEL_RKV:
        return (struct cost){6.0 * C * C + m * 12.0 * C, m * 6.0 * C * C};
    case CUDA_KERNEL_DOWN:
        return (struct cost){2.0 * ranks * C + m * (8.0 * C + 2.0 * ranks), m * 2.0 * ranks * C};
    case CUDA_KERNEL_ATT_IN:
        return (struct cost){(6.0 * C + 2.0 * ranks) * C + m * (18.0 * C + 2.0 * ranks),
                             m * (6.0 * C + 2.0 * ranks) * C};
    case CUDA_KERNEL_FEW_ATT_IN:
        return (struct cost){(6.0 * C + 2.0 * ranks) * C + m * 18.0 * C,
                             m * (6.0 * C + 2.0 * ranks) * C};
    case CUDA_KERNEL_UP: /* In: hidden, v, v_first; out: three f32 planes and v. */
        return (struct cost){2.0 * ranks * C + m * (2.0 * ranks + 18.0 * C), m * 2.0 * ranks * C};
    case CUDA_KERNEL_WKV_DECODE:
        return (struct cost){m * (2.0 * state + 20.0 * C), m * 9.0 * C * CUDA_HEAD};
    case CUDA_KERNEL_FEW_RECURRENCE: /* Both, but rates and gate stay in the block. */
        return (struct cost){2.0 * ranks * C + m * (2.0 * ranks + 10.0 * C + 2.0 * state),
                             m * (2.0 * ranks + 9.0 * CUDA_HEAD) * C};
    case CUDA_KERNEL_WKV_SCAN:
        return (struct cost){m * 30.0 * C + size->scan_items * 2.0 * state,
                             m * 9.0 * C * CUDA_HEAD};
    case CUDA_KERNEL_OUTPUT:
        return (struct cost){2.0 * C * C + m * 10.0 * C, m * 2.0 * C * C};
    case CUDA_KERNEL_MIX_FFN:
        return (struct cost){m * 14.0 * C, 0.0};
    case CUDA_KERNEL_KEY:
        return (struct cost){2.0 * C * F + m * 2.0 * (C + F), m * 2.0 * C * F};
    case CUDA_KERNEL_RELU:
        return (struct cost){m * 4.0 * F, 0.0};
    case CUDA_KERNEL_VALUE:
        return (struct cost){2.0 * C * F + m * (2.0 * F + 8.0 * C), m * 2.0 * C * F};
    case CUDA_KERNEL_FINAL_NORM:
        return (struct cost){n * 6.0 * C, 0.0};
    case CUDA_KERNEL_HEAD:
        return (struct cost){2.0 * C * V + n * (2.0 * C + 4.0 * V), n * 2.0 * C * V};
    case CUDA_KERNEL_SAMPLE:
        return (struct cost){n * 4.0 * V, 0.0};
    case CUDA_KERNEL_COUNT:
        break;
    }
    return (struct cost){0.0, 0.0};
}

void cuda_forward_begin(const struct cuda_forward *forward, enum cuda_kernel kernel,
                        const struct cuda_step_size *size)
{
    if (cuda_profile_mode(forward->options.profile) == CUDA_PROFILE_KERNELS) {
        const struct cost cost = cost_of(forward, kernel, size);
        cuda_profile_begin(forward->options.profile, forward->stream, kernel, cost.bytes,
                           cost.flops);
    }
}

void cuda_forward_end(const struct cuda_forward *forward)
{
    cuda_profile_end(forward->options.profile, forward->stream);
}

/* ---- Layers ------------------------------------------------------------------------------ */

/* A layer's arguments, the same for every kernel. */
struct pass {
    struct cuda_forward *forward;
    const struct cuda_step *step;
    const struct cuda_step_size *size;
    struct cuda_launch launch;
    uint32_t layer;
    struct error *error;
};

/* Launches `call`, of type cudaError_t, unless something failed before. */
#define LAUNCH(code, pass, kernel, call)                                               \
    do {                                                                               \
        if ((code) == ERROR_NONE) {                                                    \
            cuda_forward_begin((pass)->forward, CUDA_KERNEL_##kernel, (pass)->size);   \
            (code) = CUDA_TRY(call, (pass)->error);                                    \
            cuda_forward_end((pass)->forward);                                         \
        }                                                                              \
    } while (0)

/* The same for a product. */
#define MULTIPLY(code, pass, kernel, m)                                                   \
    do {                                                                                  \
        if ((code) == ERROR_NONE) {                                                       \
            cuda_forward_begin((pass)->forward, CUDA_KERNEL_##kernel, (pass)->size);      \
            (code) = multiply((pass)->forward, PRODUCT_##kernel, (pass)->layer, m,        \
                              (pass)->error);                                             \
            cuda_forward_end((pass)->forward);                                            \
        }                                                                                 \
    } while (0)

static enum error_code recurrence(const struct pass *p)
{
    const struct cuda_shape *shape = &p->forward->model->shape;
    const struct cuda_layer *layer = &p->forward->model->layers[p->layer];
    const struct cuda_activations *act = &p->forward->act;
    enum error_code code = ERROR_NONE;
    LAUNCH(code, p, UP, cuda_low_rank_up(&p->launch, *p->step, shape, layer, act));
    if (p->size->has_decode) {
        LAUNCH(code, p, WKV_DECODE,
               cuda_wkv_decode(&p->launch, *p->step, shape, layer, p->layer, act));
    }
    if (p->size->scan_items > 0) {
        LAUNCH(code, p, WKV_SCAN, cuda_wkv_scan(&p->launch, *p->step, shape, layer, p->layer, act));
    }
    return code;
}

static enum error_code layer_of_few(const struct pass *p)
{
    const struct cuda_shape *shape = &p->forward->model->shape;
    const struct cuda_layer *layer = &p->forward->model->layers[p->layer];
    const struct cuda_activations *act = &p->forward->act;
    enum error_code code = ERROR_NONE;
    LAUNCH(code, p, FEW_ATT_IN,
           cuda_few_rows_att_in(&p->launch, *p->step, shape, layer, p->layer, act));
    LAUNCH(code, p, FEW_RECURRENCE,
           cuda_few_rows_recurrence(&p->launch, *p->step, shape, layer, p->layer, act));
    LAUNCH(code, p, OUTPUT, cuda_few_rows_att_out(&p->launch, *p->step, shape, layer, act));
    LAUNCH(code, p, KEY, cuda_few_rows_ffn_key(&p->launch, *p->step, shape, layer, p->layer, act));
    LAUNCH(code, p, VALUE,
           cuda_few_rows_ffn_value(&p->launch, *p->step, shape, layer, act, p->forward->scratch));
    return code;
}

static enum error_code layer_of_many(const struct pass *p)
{
    struct cuda_forward *forward = p->forward;
    const struct cuda_shape *shape = &forward->model->shape;
    const struct cuda_layer *layer = &forward->model->layers[p->layer];
    const struct cuda_activations *act = &forward->act;
    const uint32_t m = p->size->rows;
    enum error_code code = ERROR_NONE;
    LAUNCH(code, p, MIX_ATT, cuda_mix_att(&p->launch, *p->step, shape, layer, p->layer, act));
    MULTIPLY(code, p, RKV, m);
    LAUNCH(code, p, DOWN, cuda_low_rank_down(&p->launch, *p->step, shape, layer, act));
    if (code == ERROR_NONE) {
        code = recurrence(p);
    }
    MULTIPLY(code, p, OUTPUT, m);
    LAUNCH(code, p, MIX_FFN, cuda_mix_ffn(&p->launch, *p->step, shape, layer, p->layer, act));
    MULTIPLY(code, p, KEY, m);
    LAUNCH(code, p, RELU, cuda_relu_squared(&p->launch, *p->step, shape, act));
    MULTIPLY(code, p, VALUE, m);
    return code;
}

static enum error_code layer_of_skinny(const struct pass *p)
{
    struct cuda_forward *forward = p->forward;
    const struct cuda_shape *shape = &forward->model->shape;
    const struct cuda_layer *layer = &forward->model->layers[p->layer];
    const struct cuda_skinny_layer *weights = &forward->skinny_layers[p->layer];
    const struct cuda_skinny_maps *maps = &forward->skinny_maps[width_of(p->size->rows)];
    const struct cuda_activations *act = &forward->act;
    void *scratch = forward->skinny_scratch;
    enum error_code code = ERROR_NONE;
    LAUNCH(code, p, MIX_ATT, cuda_mix_att(&p->launch, *p->step, shape, layer, p->layer, act));
    LAUNCH(code, p, ATT_IN,
           cuda_skinny_att_in(&p->launch, *p->step, shape, maps, weights, act, scratch));
    if (code == ERROR_NONE) {
        code = recurrence(p);
    }
    LAUNCH(code, p, OUTPUT,
           cuda_skinny_att_out(&p->launch, *p->step, shape, maps, weights, act, scratch));
    LAUNCH(code, p, MIX_FFN, cuda_mix_ffn(&p->launch, *p->step, shape, layer, p->layer, act));
    LAUNCH(code, p, KEY,
           cuda_skinny_ffn_key(&p->launch, *p->step, shape, maps, weights, act, scratch));
    LAUNCH(code, p, VALUE,
           cuda_skinny_ffn_value(&p->launch, *p->step, shape, maps, weights, act, scratch));
    return code;
}

static enum error_code run_layer(const struct pass *p)
{
    if (is_few(p->size)) {
        return layer_of_few(p);
    }
    return is_skinny(p->forward, p->size) ? layer_of_skinny(p) : layer_of_many(p);
}

enum error_code cuda_forward_layers(struct cuda_forward *forward, const struct cuda_step *step,
                                    const struct cuda_step_size *size, struct error *error)
{
    const struct cuda_model *model = forward->model;
    struct pass pass = {
        .forward = forward,
        .step = step,
        .size = size,
        .launch = cuda_forward_launch(forward, size),
        .error = error,
    };
    ASSERT_COMPARE(size->rows, <=, forward->act.N);
    enum error_code code = ERROR_NONE;
    LAUNCH(code, &pass, EMBED,
           cuda_embed(&pass.launch, *step, &model->shape, model->emb, model->ln0_weight,
                      model->ln0_bias, &forward->act));
    for (; code == ERROR_NONE && pass.layer < model->shape.L; pass.layer++) {
        code = run_layer(&pass);
    }
    return code;
}

enum error_code cuda_forward_head(struct cuda_forward *forward, const struct cuda_step *step,
                                  const struct cuda_step_size *size, bool advance,
                                  struct error *error)
{
    const struct cuda_model *model = forward->model;
    const struct pass pass = {
        .forward = forward,
        .step = step,
        .size = size,
        .launch = cuda_forward_launch(forward, size),
        .error = error,
    };
    enum error_code code = ERROR_NONE;
    if (has_few_logits(size) && advance && size->logit_rows > 0) {
        LAUNCH(code, &pass, HEAD,
               cuda_few_rows_head(&pass.launch, *step, &model->shape, model->ln_out_weight,
                                  model->ln_out_bias, model->head, &forward->act,
                                  forward->logits));
        return code;
    }
    LAUNCH(code, &pass, FINAL_NORM,
           cuda_final_norm(&pass.launch, *step, &model->shape, size->logit_rows, advance,
                           model->ln_out_weight, model->ln_out_bias, &forward->act));
    if (size->logit_rows > 0) {
        MULTIPLY(code, &pass, HEAD, size->logit_rows);
    }
    return code;
}
