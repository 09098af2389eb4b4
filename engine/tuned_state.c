/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/tuned_state.c - reads time_state tensors into one snapshot.
 *
 * Thread: immutable after tuned_state_open. */
#include "engine/tuned_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 64 };

/* Where the file, not the model's, has other tensors than the L time_states. */
static enum error_code refuse_others(const struct model_file *file, const struct model_spec *spec,
                                     struct error *error)
{
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        const struct text name = model_file_tensor_at(file, index)->name;
        char layer_count[16];
        snprintf(layer_count, sizeof(layer_count), "%u", spec->L);
        struct text rest = name;
        const struct text block = text_cut(&rest, '.');
        const struct text layer = text_cut(&rest, '.');
        uint64_t number;
        const bool is_state = text_equals(block, TEXT("blocks")) &&
                              text_to_uint64(layer, &number) &&
                              text_equals(rest, TEXT("att.time_state"));
        if (!is_state) {
            return error_set(error, ERROR_CORRUPT,
                             "%.200s: tensor %.*s: not part of a tuned state, which holds "
                             "blocks.*.att.time_state only",
                             model_file_name(file), (int)(name.len < 128 ? name.len : 128),
                             name.bytes);
        }
        if (number >= spec->L) {
            return error_set(error, ERROR_CORRUPT,
                             "%.200s: tensor %.*s: the model has %s layers: this state belongs to "
                             "another model",
                             model_file_name(file), (int)(name.len < 128 ? name.len : 128),
                             name.bytes, layer_count);
        }
    }
    return ERROR_NONE;
}

/* Copies one layer's tensor behind its att_prev. */
static enum error_code read_layer(const struct model_file *file, const struct model_spec *spec,
                                  uint32_t layer, float *matrices, struct error *error)
{
    char key[KEY_BYTES];
    snprintf(key, sizeof(key), "blocks.%u.att.time_state", layer);
    const struct tensor *tensor = model_file_find(file, key);
    if (tensor == NULL) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: missing; the model has %u layers",
                         model_file_name(file), key, spec->L);
    }
    if (tensor->dimension_count != 3 || tensor->shape[0] != spec->H ||
        tensor->shape[1] != spec->N || tensor->shape[2] != spec->N) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: shape [%" PRIu64 ",%" PRIu64 ",%" PRIu64 "] of %u "
                         "dimensions, the model needs [%u,%u,%u]",
                         model_file_name(file), key, tensor->shape[0], tensor->shape[1],
                         tensor->shape[2], tensor->dimension_count, spec->H, spec->N, spec->N);
    }
    for (size_t index = 0; index < tensor_element_count(tensor); index++) {
        matrices[index] = tensor_element(tensor, index);
        if (!isfinite(matrices[index])) {
            return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: element %zu is not finite",
                             model_file_name(file), key, index);
        }
    }
    return ERROR_NONE;
}

/* Swaps the last two dimensions of matrices[count][N][N]. */
static void transpose_all(float *matrices, size_t count, size_t N)
{
    for (float *matrix = matrices; matrix < matrices + count * N * N; matrix += N * N) {
        for (size_t row = 0; row < N; row++) {
            for (size_t column = 0; column < row; column++) {
                const float kept = matrix[row * N + column];
                matrix[row * N + column] = matrix[column * N + row];
                matrix[column * N + row] = kept;
            }
        }
    }
}

static enum tuned_state_layout layout_of(const struct model_file *file, bool is_model)
{
    switch (model_file_format(file)) {
    case MODEL_FILE_PTH:
        break;
    case MODEL_FILE_SAFETENSORS:
    case MODEL_FILE_DIRECTORY:
        if (!is_model || model_file_has_transposed_low_rank(file)) {
            return TUNED_STATE_KEY_VALUE;
        }
        break;
    }
    return TUNED_STATE_VALUE_KEY;
}

static enum error_code read_states(const struct model_file *file, const struct model_spec *spec,
                                   struct tuned_state *tuned, struct error *error)
{
    const size_t floats = model_spec_state_floats(spec);
    tuned->state = calloc(floats, sizeof(*tuned->state));
    if (tuned->state == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for a state of %zu bytes",
                         model_file_name(file), floats * sizeof(*tuned->state));
    }
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        float *matrices = tuned->state + layer * (floats / spec->L) + spec->C;
        const enum error_code code = read_layer(file, spec, layer, matrices, error);
        if (code != ERROR_NONE) {
            return code;
        }
        if (tuned->layout == TUNED_STATE_KEY_VALUE) {
            transpose_all(matrices, spec->H, spec->N);
        }
    }
    return ERROR_NONE;
}

enum error_code tuned_state_open(const char *path, const struct model_file *model,
                                 const struct model_spec *spec, enum tuned_state_layout layout,
                                 struct tuned_state *tuned_out, struct error *error)
{
    struct model_file *own = NULL;
    const struct model_file *file = model;
    enum error_code code = ERROR_NONE;
    *tuned_out = (struct tuned_state){0};
    if (path == NULL && spec->layers[0].time_state == NULL) {
        return ERROR_NONE;
    }
    if (path != NULL) {
        code = model_file_open(path, &own, error);
        file = own;
    }
    if (code == ERROR_NONE && path != NULL) {
        code = refuse_others(file, spec, error);
    }
    if (code == ERROR_NONE) {
        tuned_out->layout = layout != TUNED_STATE_AUTO ? layout : layout_of(file, path == NULL);
        code = read_states(file, spec, tuned_out, error);
    }
    if (code != ERROR_NONE) {
        tuned_state_close(tuned_out);
    }
    model_file_close(own);
    return code;
}

void tuned_state_close(struct tuned_state *tuned)
{
    free(tuned->state);
    *tuned = (struct tuned_state){0};
}
