/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda/cuda_model.c - lays the weights out, then sends tensor after tensor.
 *
 * The layout runs twice: once with no memory, to count, then to hand out places and upload. Shapes
 * were checked by engine/model_spec.c. Thread: the engine's. */
#include "cuda/cuda_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cuda/cuda_error.h"

enum {
    ALIGNMENT = 256,           /* Of each array in device memory. */
    RANK_STEP = 16,            /* Low ranks are padded to it. */
    STAGING_BYTES = 64 << 20,  /* Of each of two pinned buffers: one is filled, one is sent. */
    STAGING_BUFFERS = 2,
};

/* Sends tensors. With memory NULL it only counts; the first failure ends all work. */
struct uploader {
    cudaStream_t stream;
    char *memory;
    size_t used_bytes;
    void *raw;                         /* Device: a tensor as it is stored. */
    void *staging[STAGING_BUFFERS];    /* Pinned. */
    cudaEvent_t sent[STAGING_BUFFERS]; /* The buffer may be filled again. */
    uint32_t next_buffer;
    uint32_t *overflowed;              /* Device. */
    enum error_code code;
    struct error *error;
};

static void *take(struct uploader *uploader, size_t bytes)
{
    char *place = uploader->memory == NULL ? NULL : uploader->memory + uploader->used_bytes;
    uploader->used_bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

static bool is_uploading(const struct uploader *uploader)
{
    return uploader->memory != NULL && uploader->code == ERROR_NONE;
}

static uint32_t padded_rank(uint32_t rank)
{
    return (rank + RANK_STEP - 1) / RANK_STEP * RANK_STEP;
}

static enum cuda_source source_of(const struct tensor *tensor)
{
    switch (tensor->type) {
    case TENSOR_BF16:
        return CUDA_FROM_BF16;
    case TENSOR_F16:
        return CUDA_FROM_F16;
    case TENSOR_F32:
        return CUDA_FROM_F32;
    }
    return CUDA_FROM_F32;
}

/* ---- Transfer ---------------------------------------------------------------------------- */

/* Sends one piece through the next staging buffer. */
static enum error_code send_piece(struct uploader *uploader, void *to, const void *from,
                                  size_t bytes, struct error *error)
{
    const uint32_t buffer = uploader->next_buffer;
    uploader->next_buffer = (buffer + 1) % STAGING_BUFFERS;
    enum error_code code = CUDA_TRY(cudaEventSynchronize(uploader->sent[buffer]), error);
    if (code != ERROR_NONE) {
        return code;
    }
    memcpy(uploader->staging[buffer], from, bytes);
    code = CUDA_TRY(cudaMemcpyAsync(to, uploader->staging[buffer], bytes, cudaMemcpyHostToDevice,
                                    uploader->stream),
                    error);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaEventRecord(uploader->sent[buffer], uploader->stream), error);
    }
    return code;
}

/* Brings a tensor's bytes to uploader->raw. */
static enum error_code send_raw(struct uploader *uploader, const struct tensor *tensor)
{
    enum error_code code = ERROR_NONE;
    for (size_t done = 0; code == ERROR_NONE && done < tensor->bytes; done += STAGING_BYTES) {
        const size_t left = tensor->bytes - done;
        code = send_piece(uploader, (char *)uploader->raw + done,
                          (const char *)tensor->data + done,
                          left < STAGING_BYTES ? left : STAGING_BYTES, uploader->error);
    }
    return code;
}

/* A matrix whose numbers must fit f16; finish() looks whether all did. */
static void send_matrix(struct uploader *uploader, const struct tensor *tensor, bool transpose,
                        uint32_t padded, cuda_half *to)
{
    if (!is_uploading(uploader)) {
        return;
    }
    struct error *error = uploader->error;
    enum error_code code = send_raw(uploader, tensor);
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cuda_convert_matrix(uploader->stream, source_of(tensor), uploader->raw,
                                            (uint32_t)tensor->shape[0],
                                            (uint32_t)tensor->shape[1], transpose, padded, to,
                                            uploader->overflowed),
                        error);
    }
    uploader->code = code;
}

static const float *add_vector_at(struct uploader *uploader, const struct tensor *tensor,
                                  float *to)
{
    if (is_uploading(uploader)) {
        enum error_code code = send_raw(uploader, tensor);
        if (code == ERROR_NONE) {
            code = CUDA_TRY(cuda_convert_vector(uploader->stream, source_of(tensor),
                                                uploader->raw, tensor_element_count(tensor), to),
                            uploader->error);
        }
        uploader->code = code;
    }
    return to;
}

/* A vector of any stored shape. NULL stays NULL. */
static const float *add_vector(struct uploader *uploader, const struct tensor *tensor)
{
    return tensor == NULL
               ? NULL
               : add_vector_at(uploader, tensor,
                               take(uploader, tensor_element_count(tensor) * sizeof(float)));
}

/* [rows][columns], as stored. */
static const cuda_half *add_matrix(struct uploader *uploader, const struct tensor *tensor)
{
    cuda_half *to = take(uploader, tensor_element_count(tensor) * sizeof(*to));
    send_matrix(uploader, tensor, false, (uint32_t)tensor->shape[1], to);
    return to;
}

/* Stored [rows][columns], wanted [columns][rows padded]. */
static const cuda_half *add_transposed(struct uploader *uploader, const struct tensor *tensor,
                                       uint32_t padded)
{
    if (tensor == NULL) {
        return NULL;
    }
    cuda_half *to = take(uploader, (size_t)tensor->shape[1] * padded * sizeof(*to));
    send_matrix(uploader, tensor, true, padded, to);
    return to;
}

/* A down matrix, stored [C][rank], wanted [Q][C] with zero rows behind the rank's. */
static const cuda_half *add_down(struct uploader *uploader, const struct tensor *tensor)
{
    if (tensor == NULL) {
        return NULL;
    }
    const uint32_t C = (uint32_t)tensor->shape[0];
    const uint32_t rank = (uint32_t)tensor->shape[1];
    cuda_half *to = take(uploader, (size_t)padded_rank(rank) * C * sizeof(*to));
    if (is_uploading(uploader)) {
        uploader->code =
            CUDA_TRY(cudaMemsetAsync(to, 0, (size_t)padded_rank(rank) * C * sizeof(*to),
                                     uploader->stream),
                     uploader->error);
    }
    send_matrix(uploader, tensor, true, C, to);
    return to;
}

/* ---- Layout ------------------------------------------------------------------------------ */

static void add_mixes(struct uploader *uploader, const struct model_layer *from,
                      struct cuda_layer *layer)
{
    const struct tensor *mixes[CUDA_MIXES] = {
        [CUDA_MIX_R] = from->x_r, [CUDA_MIX_K] = from->x_k, [CUDA_MIX_V] = from->x_v,
        [CUDA_MIX_W] = from->x_w, [CUDA_MIX_A] = from->x_a, [CUDA_MIX_G] = from->x_g,
    };
    const size_t C = tensor_element_count(from->x_r);
    float *to = take(uploader, CUDA_MIXES * C * sizeof(float));
    for (size_t index = 0; index < CUDA_MIXES; index++) {
        add_vector_at(uploader, mixes[index], to == NULL ? NULL : to + index * C);
    }
    layer->mix = to;
}

static void add_rkv(struct uploader *uploader, const struct model_layer *from,
                    struct cuda_layer *layer)
{
    const struct tensor *matrices[] = {from->receptance, from->key, from->value};
    const size_t count = tensor_element_count(from->receptance);
    cuda_half *to = take(uploader, 3 * count * sizeof(*to));
    for (size_t index = 0; index < 3; index++) {
        send_matrix(uploader, matrices[index], false, (uint32_t)matrices[index]->shape[1],
                    to == NULL ? NULL : to + index * count);
    }
    layer->rkv = to;
}

static void add_low_rank(struct uploader *uploader, const struct cuda_shape *shape,
                         const struct model_layer *from, struct cuda_layer *layer)
{
    const struct tensor *down[CUDA_LOW_RANKS] = {from->w1, from->a1, from->g1, from->v1};
    const struct tensor *up[CUDA_LOW_RANKS] = {from->w2, from->a2, from->g2, from->v2};
    for (size_t index = 0; index < CUDA_LOW_RANKS; index++) {
        layer->down[index] = add_down(uploader, down[index]);
        layer->up[index] = add_transposed(uploader, up[index], shape->rank[index]);
    }
}

static void add_layer(struct uploader *uploader, const struct cuda_shape *shape,
                      const struct model_layer *from, struct cuda_layer *layer)
{
    layer->ln1_weight = add_vector(uploader, from->ln1_weight);
    layer->ln1_bias = add_vector(uploader, from->ln1_bias);
    layer->ln2_weight = add_vector(uploader, from->ln2_weight);
    layer->ln2_bias = add_vector(uploader, from->ln2_bias);
    add_mixes(uploader, from, layer);
    layer->ffn_mix = add_vector(uploader, from->ffn_x_k);
    layer->w0 = add_vector(uploader, from->w0);
    layer->a0 = add_vector(uploader, from->a0);
    layer->v0 = add_vector(uploader, from->v0);
    layer->k_k = add_vector(uploader, from->k_k);
    layer->k_a = add_vector(uploader, from->k_a);
    layer->r_k = add_vector(uploader, from->r_k);
    layer->ln_x_weight = add_vector(uploader, from->ln_x_weight);
    layer->ln_x_bias = add_vector(uploader, from->ln_x_bias);
    add_rkv(uploader, from, layer);
    add_low_rank(uploader, shape, from, layer);
    layer->output = add_matrix(uploader, from->output);
    layer->ffn_key = add_matrix(uploader, from->ffn_key);
    layer->ffn_value = add_transposed(uploader, from->ffn_value, shape->C);
}

static void add_model(struct uploader *uploader, const struct model_spec *spec,
                      struct cuda_model *model)
{
    model->emb = add_matrix(uploader, spec->emb);
    model->head = add_matrix(uploader, spec->head);
    model->ln0_weight = add_vector(uploader, spec->ln0_weight);
    model->ln0_bias = add_vector(uploader, spec->ln0_bias);
    model->ln_out_weight = add_vector(uploader, spec->ln_out_weight);
    model->ln_out_bias = add_vector(uploader, spec->ln_out_bias);
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        add_layer(uploader, &model->shape, &spec->layers[layer], &model->layers[layer]);
    }
}

struct cuda_shape cuda_model_shape(const struct model_spec *spec)
{
    return (struct cuda_shape){
        .V = spec->V,
        .L = spec->L,
        .C = spec->C,
        .H = spec->H,
        .F = spec->F,
        .rank = {[CUDA_LOW_W] = padded_rank(spec->rank_w),
                 [CUDA_LOW_A] = padded_rank(spec->rank_a),
                 [CUDA_LOW_G] = padded_rank(spec->rank_g),
                 [CUDA_LOW_V] = padded_rank(spec->rank_v)},
    };
}

size_t cuda_model_bytes(const struct model_spec *spec)
{
    struct uploader counter = {0};
    struct cuda_layer layer;
    const struct cuda_shape shape = cuda_model_shape(spec);
    struct cuda_model model = {.shape = shape};
    model.layers = &layer;
    struct model_spec without_layers = *spec;
    without_layers.L = 0;
    add_model(&counter, &without_layers, &model);
    for (uint32_t index = 0; index < spec->L; index++) {
        add_layer(&counter, &shape, &spec->layers[index], &layer);
    }
    return counter.used_bytes;
}

static void raise_to(size_t *largest, const struct tensor *tensor)
{
    if (tensor != NULL && tensor->bytes > *largest) {
        *largest = tensor->bytes;
    }
}

size_t cuda_model_opening_bytes(const struct model_spec *spec)
{
    size_t largest = 0;
    raise_to(&largest, spec->emb);
    raise_to(&largest, spec->head);
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        raise_to(&largest, spec->layers[layer].ffn_key);
        raise_to(&largest, spec->layers[layer].ffn_value);
        raise_to(&largest, spec->layers[layer].receptance);
    }
    return largest;
}

/* ---- Opening and closing ----------------------------------------------------------------- */

static enum error_code open_uploader(struct uploader *uploader, size_t raw_bytes)
{
    struct error *error = uploader->error;
    enum error_code code = CUDA_TRY(cudaMalloc(&uploader->raw, raw_bytes), error);
    for (size_t index = 0; code == ERROR_NONE && index < STAGING_BUFFERS; index++) {
        code = CUDA_TRY(cudaMallocHost(&uploader->staging[index], STAGING_BYTES), error);
        if (code == ERROR_NONE) {
            code = CUDA_TRY(
                cudaEventCreateWithFlags(&uploader->sent[index], cudaEventDisableTiming), error);
        }
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMalloc((void **)&uploader->overflowed, sizeof(uint32_t)), error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMemsetAsync(uploader->overflowed, 0, sizeof(uint32_t),
                                        uploader->stream),
                        error);
    }
    return code;
}

static void close_uploader(struct uploader *uploader)
{
    for (size_t index = 0; index < STAGING_BUFFERS; index++) {
        if (uploader->sent[index] != NULL) {
            cudaEventDestroy(uploader->sent[index]);
        }
        cudaFreeHost(uploader->staging[index]);
    }
    cudaFree(uploader->overflowed);
    cudaFree(uploader->raw);
}

/* Waits for the last tensor, and for the verdict on all. */
static enum error_code finish(struct uploader *uploader)
{
    struct error *error = uploader->error;
    uint32_t overflowed = 0;
    enum error_code code = uploader->code;
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaMemcpyAsync(&overflowed, uploader->overflowed, sizeof overflowed,
                                        cudaMemcpyDeviceToHost, uploader->stream),
                        error);
    }
    if (code == ERROR_NONE) {
        code = CUDA_TRY(cudaStreamSynchronize(uploader->stream), error);
    }
    if (code == ERROR_NONE && overflowed != 0) {
        code = error_set(error, ERROR_CORRUPT,
                         "cuda: the model has weights above 65504, which f16 cannot hold; use "
                         "--device cpu");
    }
    return code;
}

enum error_code cuda_model_open(const struct model_spec *spec, cudaStream_t stream,
                                struct cuda_model *model_out, struct error *error)
{
    *model_out = (struct cuda_model){
        .shape = cuda_model_shape(spec), .bytes = cuda_model_bytes(spec)};
    model_out->layers = calloc(spec->L, sizeof(*model_out->layers));
    if (model_out->layers == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cuda: no memory");
    }
    struct uploader uploader = {.stream = stream, .error = error};
    enum error_code code = CUDA_TRY(cudaMalloc(&model_out->memory, model_out->bytes), error);
    if (code == ERROR_NONE) {
        code = open_uploader(&uploader, cuda_model_opening_bytes(spec));
    }
    if (code == ERROR_NONE) {
        uploader.memory = model_out->memory;
        add_model(&uploader, spec, model_out);
        code = finish(&uploader);
    }
    close_uploader(&uploader);
    if (code != ERROR_NONE) {
        cuda_model_close(model_out);
    }
    return code;
}

void cuda_model_close(struct cuda_model *model)
{
    cudaFree(model->memory);
    free(model->layers);
    *model = (struct cuda_model){0};
}
