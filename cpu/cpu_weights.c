/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_weights.c - views of the mapped tensors, and copies where a kernel needs another form.
 *
 * Shapes were checked by model_spec.c and are not checked again here.
 * Thread: immutable after cpu_weights_open. */
#include "cpu/cpu_weights.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,         /* A cache line. */
    BLOCKS_OF_A_LAYER = 40, /* At most one block for each of its 33 tensors. */
    BLOCKS_OF_MODEL = 8,
};

/* Remembers the first failure, so that the long lists below read without checks. */
struct loader {
    struct cpu_weights *weights;
    bool is_out_of_memory;
};

static void *take_block(struct loader *loader, size_t bytes)
{
    const size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, rounded);
    if (block == NULL) {
        loader->is_out_of_memory = true;
        return NULL;
    }
    memset(block, 0, rounded);
    struct cpu_weights *weights = loader->weights;
    weights->blocks[weights->block_count] = block;
    weights->block_count++;
    weights->copied_bytes += rounded;
    return block;
}

/* A vector of any stored type and shape, as f32. NULL stays NULL. */
static const float *load_vector(struct loader *loader, const struct tensor *tensor)
{
    if (tensor == NULL) {
        return NULL;
    }
    const size_t count = tensor_element_count(tensor);
    float *vector = take_block(loader, count * sizeof(*vector));
    if (vector == NULL) {
        return NULL;
    }
    for (size_t index = 0; index < count; index++) {
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
    char *copy = take_block(loader, (size_t)matrix.rows * matrix.columns * bytes);
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
    const size_t outputs = tensor->shape[1];
    struct cpu_matrix matrix = {
        .type = tensor->type,
        .rows = (uint32_t)outputs,
        .columns = padded_columns(inputs),
    };
    char *copy = take_block(loader, outputs * matrix.columns * bytes);
    matrix.data = copy;
    for (size_t output = 0; copy != NULL && output < outputs; output++) {
        for (size_t input = 0; input < inputs; input++) {
            memcpy(copy + (output * matrix.columns + input) * bytes,
                   (const char *)tensor->data + (input * outputs + output) * bytes, bytes);
        }
    }
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

enum error_code cpu_weights_open(const struct model_spec *spec, struct cpu_weights *weights_out,
                                 struct error *error)
{
    *weights_out = (struct cpu_weights){.spec = spec};
    struct loader loader = {.weights = weights_out};
    const size_t block_count_max = BLOCKS_OF_MODEL + (size_t)spec->L * BLOCKS_OF_A_LAYER;
    weights_out->blocks = calloc(block_count_max, sizeof(*weights_out->blocks));
    weights_out->layers = calloc(spec->L, sizeof(*weights_out->layers));
    if (weights_out->blocks == NULL || weights_out->layers == NULL) {
        loader.is_out_of_memory = true;
    } else {
        weights_out->ln0_weight = load_vector(&loader, spec->ln0_weight);
        weights_out->ln0_bias = load_vector(&loader, spec->ln0_bias);
        weights_out->ln_out_weight = load_vector(&loader, spec->ln_out_weight);
        weights_out->ln_out_bias = load_vector(&loader, spec->ln_out_bias);
        weights_out->head = load_matrix(&loader, spec->head);
        for (uint32_t layer = 0; layer < spec->L; layer++) {
            load_layer(&loader, &spec->layers[layer], &weights_out->layers[layer]);
        }
    }
    if (loader.is_out_of_memory) {
        cpu_weights_close(weights_out);
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "cpu: no memory for the model's vectors and low-rank matrices");
    }
    return ERROR_NONE;
}

void cpu_weights_close(struct cpu_weights *weights)
{
    for (size_t index = 0; index < weights->block_count; index++) {
        free(weights->blocks[index]);
    }
    free(weights->blocks);
    free(weights->layers);
    *weights = (struct cpu_weights){0};
}
