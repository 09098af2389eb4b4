/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/tensor.c - elements of a tensor, whatever their type. Declared in engine/model_file.h.
 *
 * Thread: any. */
#include <string.h>

#include "engine/model_file_container.h"

enum { TRANSPOSE_TILE = 32 }; /* Rows and columns moved together: both sides stay in the cache. */

size_t tensor_type_bytes(enum tensor_type type)
{
    switch (type) {
    case TENSOR_BF16:
    case TENSOR_F16:
        return 2;
    case TENSOR_F32:
        return 4;
    }
    return 0;
}

const char *tensor_type_name(enum tensor_type type)
{
    static const char *const names[] = {
        [TENSOR_BF16] = "BF16", [TENSOR_F16] = "F16", [TENSOR_F32] = "F32"};
    return names[type];
}

/* IEEE 754 binary16 to binary32; exact. Subnormals are 2^-24 times their fraction. */
static float f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t fraction = half & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 127 - 15;
    const uint32_t bits = sign | (wide_exponent << 23) | (fraction << 13);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

float tensor_element(const struct tensor *tensor, size_t index)
{
    const unsigned char *bytes = tensor->data;
    uint16_t half;
    float value;
    switch (tensor->type) {
    case TENSOR_BF16: {
        memcpy(&half, bytes + index * sizeof(half), sizeof(half));
        const uint32_t bits = (uint32_t)half << 16;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    case TENSOR_F16:
        memcpy(&half, bytes + index * sizeof(half), sizeof(half));
        return f16_to_f32(half);
    case TENSOR_F32:
        memcpy(&value, bytes + index * sizeof(value), sizeof(value));
        return value;
    }
    return 0.0f;
}

size_t tensor_element_count(const struct tensor *tensor)
{
    return tensor->bytes / tensor_type_bytes(tensor->type);
}

/* Copies rows .. row_end - 1 of columns .. column_end - 1. */
static inline __attribute__((always_inline)) void
transpose_tile(const struct tensor *from, size_t row, size_t row_end, size_t column,
               size_t column_end, size_t element_bytes, size_t to_stride, unsigned char *to)
{
    const unsigned char *elements = from->data;
    for (size_t to_row = column; to_row < column_end; to_row++) {
        for (size_t at = row; at < row_end; at++) {
            memcpy(to + (to_row * to_stride + at) * element_bytes,
                   elements + (at * from->shape[1] + to_row) * element_bytes, element_bytes);
        }
    }
}

void tensor_transpose(const struct tensor *tensor, size_t to_stride, void *to)
{
    const size_t rows = tensor->shape[0];
    const size_t columns = tensor->shape[1];
    for (size_t row = 0; row < rows; row += TRANSPOSE_TILE) {
        const size_t row_end = row + TRANSPOSE_TILE < rows ? row + TRANSPOSE_TILE : rows;
        for (size_t column = 0; column < columns; column += TRANSPOSE_TILE) {
            const size_t end =
                column + TRANSPOSE_TILE < columns ? column + TRANSPOSE_TILE : columns;
            if (tensor_type_bytes(tensor->type) == 2) { /* A size the compiler knows: no calls. */
                transpose_tile(tensor, row, row_end, column, end, 2, to_stride, to);
            } else {
                transpose_tile(tensor, row, row_end, column, end, 4, to_stride, to);
            }
        }
    }
}
