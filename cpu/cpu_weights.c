/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_weights.c - views of the mapped tensors, and copies where a kernel needs another form.
 *
 * Shapes were checked by model_spec.c and are not checked again here.
 * Thread: immutable after cpu_weights_open. */
#include "cpu/cpu_weights.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_memory.h"

/* Goes through the tensors twice: without memory it only counts what the copies need. */
struct loader {
    char *memory; /* NULL: counting. */
    size_t used_bytes;
};

/* The next piece of the memory; NULL while counting. A line is left free after it: pieces of 4 kB
 * that are read together would all meet in the same lines of the first cache. */
static void *take_piece(struct loader *loader, size_t bytes)
{
    void *piece = loader->memory == NULL ? NULL : loader->memory + loader->used_bytes;
    loader->used_bytes += (bytes / CPU_ALIGNMENT + 2) * CPU_ALIGNMENT;
    return piece;
}

/* A vector of any stored type and shape, as f32. NULL stays NULL. */
static const float *load_vector(struct loader *loader, const struct tensor *tensor)
{
    if (tensor == NULL) {
        return NULL;
    }
    const size_t count = tensor_element_count(tensor);
    float *vector = take_piece(loader, count * sizeof(*vector));
    for (size_t index = 0; vector != NULL && index < count; index++) {
        vector[index] = tensor_element(tensor, index);
    }
    return vector;
}

static size_t element_bytes(const struct tensor *tensor)
{
    return tensor->bytes / tensor_element_count(tensor);
}

static uint32_t padded_columns(uint64_t columns)
{
    const uint64_t step = CPU_COLUMN_STEP;
    return (uint32_t)((columns + step - 1) / step * step);
}

/* A matrix [outputs][inputs]: in place where alignment and padding allow, else copied. */
static struct cpu_matrix load_matrix(struct loader *loader, const struct tensor *tensor)
{
    const size_t bytes = element_bytes(tensor);
    struct cpu_matrix matrix = {
        .data = tensor->data,
        .type = tensor->type,
        .rows = (uint32_t)tensor->shape[0],
        .columns = padded_columns(tensor->shape[1]),
    };
    if ((uintptr_t)tensor->data % bytes == 0 && matrix.columns == tensor->shape[1]) {
        return matrix;
    }
    char *copy = take_piece(loader, (size_t)matrix.rows * matrix.columns * bytes);
    matrix.data = copy;
    for (size_t row = 0; copy != NULL && row < matrix.rows; row++) {
        memcpy(copy + row * matrix.columns * bytes,
               (const char *)tensor->data + row * tensor->shape[1] * bytes,
               tensor->shape[1] * bytes);
    }
    return matrix;
}

/* A low-rank matrix stored [inputs][outputs], transposed. NULL gives an empty matrix. */
static struct cpu_matrix load_transposed(struct loader *loader, const struct tensor *tensor)
{
    if (tensor == NULL) {
        return (struct cpu_matrix){0};
    }
    const size_t bytes = element_bytes(tensor);
    const size_t inputs = tensor->shape[0];
    struct cpu_matrix matrix = {
        .type = tensor->type,
        .rows = (uint32_t)tensor->shape[1],
        .columns = padded_columns(inputs),
    };
    void *copy = take_piece(loader, (size_t)matrix.rows * matrix.columns * bytes);
    if (copy != NULL) {
        tensor_transpose(tensor, matrix.columns, copy);
    }
    matrix.data = copy;
    return matrix;
}

static void load_layer(struct loader *loader, const struct model_layer *from,
                       struct cpu_layer *layer)
{
    layer->ln1_weight = load_vector(loader, from->ln1_weight);
    layer->ln1_bias = load_vector(loader, from->ln1_bias);
    layer->ln2_weight = load_vector(loader, from->ln2_weight);
    layer->ln2_bias = load_vector(loader, from->ln2_bias);
    layer->mix[0] = load_vector(loader, from->x_r);
    layer->mix[1] = load_vector(loader, from->x_w);
    layer->mix[2] = load_vector(loader, from->x_k);
    layer->mix[3] = load_vector(loader, from->x_v);
    layer->mix[4] = load_vector(loader, from->x_a);
    layer->mix[5] = load_vector(loader, from->x_g);
    layer->w0 = load_vector(loader, from->w0);
    layer->a0 = load_vector(loader, from->a0);
    layer->v0 = load_vector(loader, from->v0);
    layer->w1 = load_transposed(loader, from->w1);
    layer->w2 = load_transposed(loader, from->w2);
    layer->a1 = load_transposed(loader, from->a1);
    layer->a2 = load_transposed(loader, from->a2);
    layer->v1 = load_transposed(loader, from->v1);
    layer->v2 = load_transposed(loader, from->v2);
    layer->g1 = load_transposed(loader, from->g1);
    layer->g2 = load_transposed(loader, from->g2);
    layer->k_k = load_vector(loader, from->k_k);
    layer->k_a = load_vector(loader, from->k_a);
    layer->r_k = load_vector(loader, from->r_k);
    layer->receptance = load_matrix(loader, from->receptance);
    layer->key = load_matrix(loader, from->key);
    layer->value = load_matrix(loader, from->value);
    layer->output = load_matrix(loader, from->output);
    layer->ln_x_weight = load_vector(loader, from->ln_x_weight);
    layer->ln_x_bias = load_vector(loader, from->ln_x_bias);
    layer->ffn_x_k = load_vector(loader, from->ffn_x_k);
    layer->ffn_key = load_matrix(loader, from->ffn_key);
    layer->ffn_value = load_matrix(loader, from->ffn_value);
}

static void load_model(struct loader *loader, const struct model_spec *spec,
                       struct cpu_weights *weights)
{
    weights->ln0_weight = load_vector(loader, spec->ln0_weight);
    weights->ln0_bias = load_vector(loader, spec->ln0_bias);
    weights->ln_out_weight = load_vector(loader, spec->ln_out_weight);
    weights->ln_out_bias = load_vector(loader, spec->ln_out_bias);
    weights->head = load_matrix(loader, spec->head);
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        load_layer(loader, &spec->layers[layer], &weights->layers[layer]);
    }
}

enum error_code cpu_weights_open(const struct model_spec *spec, struct cpu_weights *weights_out,
                                 struct error *error)
{
    *weights_out = (struct cpu_weights){.spec = spec};
    struct loader loader = {0};
    weights_out->layers = calloc(spec->L, sizeof(*weights_out->layers));
    if (weights_out->layers != NULL) {
        load_model(&loader, spec, weights_out);
        weights_out->memory = cpu_memory_take(loader.used_bytes);
    }
    if (weights_out->memory == NULL) {
        cpu_weights_close(weights_out);
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "cpu: no memory for the model's vectors and low-rank matrices");
    }
    weights_out->copied_bytes = loader.used_bytes;
    memset(weights_out->memory, 0, loader.used_bytes); /* Surplus columns are 0. */
    loader = (struct loader){.memory = weights_out->memory};
    load_model(&loader, spec, weights_out);
    return ERROR_NONE;
}

void cpu_weights_close(struct cpu_weights *weights)
{
    free(weights->memory);
    free(weights->layers);
    *weights = (struct cpu_weights){0};
}
