/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/cuda_emulator/emulator_warp.cpp - products and loads of small matrices by a warp, element
 * for lane as PTX lays them out.
 *
 * Thread: fibers of a block. */
#include "cuda_fp16.h"
#include "emulator.h"

/* ---- mma --------------------------------------------------------------------------------- */

struct product {
    const uint32_t *a, *b;
    const float *c;
    float d[4];
};

static float half_of(uint32_t pair, int which)
{
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16 * which)));
}

/* Element (row, column) of A 16 x K: registers hold 8 rows by 8 columns, rows first. */
static float element_a(void *const *operands, int row, int column)
{
    const int lane = row % 8 * 4 + column % 8 / 2;
    const product *operand = static_cast<const product *>(operands[lane]);
    return half_of(operand->a[row / 8 + column / 8 * 2], column % 2);
}

/* Element (row, column) of B K x 8: registers hold 8 rows. */
static float element_b(void *const *operands, int row, int column)
{
    const int lane = column * 4 + row % 8 / 2;
    const product *operand = static_cast<const product *>(operands[lane]);
    return half_of(operand->b[row / 8], row % 2);
}

template <int K> static void complete_product(void *const operands[32], uint32_t arrived)
{
    float a[16][K], b[K][8]; /* Unpacked once: each number takes part in many sums. */
    if (arrived != 0xffffffffu) {
        emulated_fail("mma by a part of a warp: %08x", arrived);
    }
    for (int k = 0; k < K; k++) {
        for (int row = 0; row < 16; row++) {
            a[row][k] = element_a(operands, row, k);
        }
        for (int column = 0; column < 8; column++) {
            b[k][column] = element_b(operands, k, column);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        product *mine = static_cast<product *>(operands[lane]);
        for (int index = 0; index < 4; index++) {
            const int row = lane / 4 + index / 2 * 8;
            const int column = lane % 4 * 2 + index % 2;
            float sum = mine->c[index];
            for (int k = 0; k < K; k++) {
                sum += a[row][k] * b[k][column];
            }
            mine->d[index] = sum;
        }
    }
}

template <int K>
static void multiply(const char *name, float d[4], const uint32_t *a, const uint32_t *b,
                     const float c[4])
{
    product operand = {a, b, c, {0.0f, 0.0f, 0.0f, 0.0f}};
    emulated_warp_collective(name, 0xffffffffu, &operand, complete_product<K>);
    for (int index = 0; index < 4; index++) {
        d[index] = operand.d[index];
    }
}

void cuda_emulator_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                const float c[4])
{
    multiply<16>("mma.m16n8k16", d, a, b, c);
}

void cuda_emulator_mma_m16n8k8(float d[4], const uint32_t a[2], const uint32_t b[1],
                               const float c[4])
{
    multiply<8>("mma.m16n8k8", d, a, b, c);
}

/* ---- ldmatrix ---------------------------------------------------------------------------- */

struct matrix_load {
    const uint16_t *row;
    int matrix_count;
    bool transpose;
    uint32_t registers[4];
};

static void complete_load(void *const operands[32], uint32_t arrived)
{
    if (arrived != 0xffffffffu) {
        emulated_fail("ldmatrix by a part of a warp: %08x", arrived);
    }
    for (int lane = 0; lane < 32; lane++) {
        matrix_load *mine = static_cast<matrix_load *>(operands[lane]);
        for (int matrix = 0; matrix < mine->matrix_count; matrix++) {
            uint32_t halves[2];
            for (int which = 0; which < 2; which++) {
                const int pair = lane % 4 * 2 + which;
                const int row = mine->transpose ? pair : lane / 4;
                const int column = mine->transpose ? lane / 4 : pair;
                halves[which] = static_cast<matrix_load *>(operands[matrix * 8 + row])->row[column];
            }
            mine->registers[matrix] = halves[0] | halves[1] << 16;
        }
    }
}

void cuda_emulator_ldmatrix(uint32_t *registers_out, int matrix_count, bool transpose,
                            const void *row)
{
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
        emulated_fail("ldmatrix: a row at %p, not a multiple of 16", row);
    }
    matrix_load operand = {static_cast<const uint16_t *>(row), matrix_count, transpose,
                           {0, 0, 0, 0}};
    emulated_warp_collective("ldmatrix", 0xffffffffu, &operand, complete_load);
    for (int matrix = 0; matrix < matrix_count; matrix++) {
        registers_out[matrix] = operand.registers[matrix];
    }
}
