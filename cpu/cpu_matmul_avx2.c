/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_matmul_avx2.c - y[R][out] = x[R][in] W[out][in]^T with 8-lane fused multiply-adds.
 *
 * Order of summation, for every output whatever the number of rows: 32 partial sums, sum l over
 * the inputs l, l + 32, l + 64, ..; then the four sums of lane l % 8 are added as (0+1)+(2+3), then
 * the 8 lanes as in avx2_sum4. Both ways below follow it, so their results have the same bits.
 *   Few rows: one row of weights at a time from memory, which the processor's prefetch likes best;
 *     all 4 accumulators of 1 to 3 outputs stay in registers. Bound by reading the weights.
 *   More rows: 4 outputs are widened into scratch once; a tile of 3 rows by 4 outputs then takes
 *     12 registers for one of the four accumulators, and passes over the inputs four times.
 * Thread: any. */
#include "cpu/cpu_matmul_store.h"

enum {
    ACCUMULATORS = CPU_COLUMN_STEP / AVX2_LANES, /* 4 */
    STREAM_ROWS_MAX = 6, /* Measured: from 7 rows on, widening once pays. */
    TILE_ROWS = 3,
    TILE_OUTPUTS = 4,
    /* Inputs of a block: 4 outputs and 3 rows of it, 14 kB, stay in the first cache for the four
     * passes. */
    BLOCK_COLUMNS = 512,
};

_Static_assert(ACCUMULATORS == 4, "the sums below are written out");
_Static_assert((int)TILE_OUTPUTS <= (int)CPU_SCRATCH_ROWS, "a panel fits the scratch");
_Static_assert(BLOCK_COLUMNS % CPU_COLUMN_STEP == 0, "a block holds whole steps");

/* Eight weights, widened; exact. */
ALWAYS_INLINE __m256 load_weights(const char *weights, enum tensor_type type)
{
    switch (type) {
    case TENSOR_BF16:
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)weights)), 16));
    case TENSOR_F16:
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)weights));
    case TENSOR_F32:
        return _mm256_loadu_ps((const float *)(const void *)weights);
    }
    return _mm256_setzero_ps();
}

ALWAYS_INLINE __m256 join_accumulators(__m256 a, __m256 b, __m256 c, __m256 d)
{
    return _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
}

/* ---- Few rows ---------------------------------------------------------------------------- */

/* One output of up to 3 rows: its four accumulators, joined. */
ALWAYS_INLINE void stream_output(const struct cpu_matmul *job, size_t first_row,
                                 uint32_t row_count, uint32_t output, enum tensor_type type,
                                 __m256 joined[TILE_ROWS])
{
    const size_t columns = job->weight->columns;
    const char *weights = (const char *)job->weight->data + output * columns * weight_bytes(type);
    const float *x = job->x + first_row * columns;
    __m256 sums[TILE_ROWS][ACCUMULATORS];
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t u = 0; u < ACCUMULATORS; u++) {
            sums[row][u] = _mm256_setzero_ps();
        }
    }
    for (size_t column = 0; column < columns; column += CPU_COLUMN_STEP) {
        for (uint32_t u = 0; u < ACCUMULATORS; u++) {
            const size_t at = column + u * AVX2_LANES;
            const __m256 weight = load_weights(weights + at * weight_bytes(type), type);
            for (uint32_t row = 0; row < row_count; row++) {
                const __m256 eight = _mm256_loadu_ps(x + row * columns + at);
                sums[row][u] = _mm256_fmadd_ps(eight, weight, sums[row][u]);
            }
        }
    }
    for (uint32_t row = 0; row < row_count; row++) {
        joined[row] = join_accumulators(sums[row][0], sums[row][1], sums[row][2], sums[row][3]);
    }
}

/* Up to 4 outputs, one after the other, of up to 3 rows. */
ALWAYS_INLINE void stream_tile(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                               uint32_t output, uint32_t output_count, enum tensor_type type)
{
    __m256 joined[TILE_OUTPUTS][TILE_ROWS];
    for (uint32_t index = 0; index < TILE_OUTPUTS; index++) {
        for (uint32_t row = 0; row < row_count; row++) {
            joined[index][row] = _mm256_setzero_ps();
        }
    }
    for (uint32_t index = 0; index < output_count; index++) {
        stream_output(job, first_row, row_count, output + index, type, joined[index]);
    }
    for (uint32_t row = 0; row < row_count; row++) {
        store_tile_row(job, first_row + row, output, output_count, joined[0][row], joined[1][row],
                       joined[2][row], joined[3][row]);
    }
}

/* Each row of weights comes from memory once: for later rows of x it is in the first cache. */
ALWAYS_INLINE void stream_outputs(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                  enum tensor_type type)
{
    for (uint32_t done = 0; done < count; done += TILE_OUTPUTS) {
        const uint32_t left = count - done;
        const uint32_t taken = left < TILE_OUTPUTS ? left : TILE_OUTPUTS;
        size_t row = 0;
        for (; row + TILE_ROWS <= job->row_count; row += TILE_ROWS) {
            stream_tile(job, row, TILE_ROWS, first + done, taken, type);
        }
        if (job->row_count - row == 2) {
            stream_tile(job, row, 2, first + done, taken, type);
        } else if (job->row_count - row == 1) {
            stream_tile(job, row, 1, first + done, taken, type);
        }
    }
}

/* ---- Many rows --------------------------------------------------------------------------- */

static size_t block_columns(size_t columns, size_t first_column)
{
    const size_t left = columns - first_column;
    return left < BLOCK_COLUMNS ? left : BLOCK_COLUMNS;
}

/* Widens 4 rows of weights into panel, in the order in which tiles read them:
 * [block][accumulator][step of 32 inputs][output][8 lanes]. Absent outputs are zero. */
ALWAYS_INLINE void widen_panel(const struct cpu_matrix *matrix, uint32_t first, uint32_t count,
                               enum tensor_type type, float *panel)
{
    const size_t columns = matrix->columns;
    for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
        const char *weights =
            (const char *)matrix->data + (first + output) * columns * weight_bytes(type);
        for (size_t block = 0; block < columns; block += BLOCK_COLUMNS) {
            const size_t in_block = block_columns(columns, block);
            float *to = panel + block * TILE_OUTPUTS + output * AVX2_LANES;
            for (size_t at = 0; at < in_block; at += AVX2_LANES) {
                const size_t step = at / CPU_COLUMN_STEP;
                const size_t u = at / AVX2_LANES % ACCUMULATORS;
                const __m256 eight =
                    output < count
                        ? load_weights(weights + (block + at) * weight_bytes(type), type)
                        : _mm256_setzero_ps();
                _mm256_store_ps(to + u * in_block + step * TILE_OUTPUTS * AVX2_LANES, eight);
            }
        }
    }
}

/* Adds one block's share to one accumulator of row_count rows by 4 outputs. */
ALWAYS_INLINE void tile_pass(const float *x, size_t x_stride, const float *panel, size_t in_block,
                             uint32_t row_count, __m256 sums[TILE_ROWS][TILE_OUTPUTS])
{
    __m256 held[TILE_ROWS][TILE_OUTPUTS];
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            held[row][output] = sums[row][output];
        }
    }
    for (size_t column = 0; column < in_block; column += CPU_COLUMN_STEP) {
        /* 12 sums, 3 inputs and 1 weight: the 16 registers there are. */
        __m256 inputs[TILE_ROWS];
        for (uint32_t row = 0; row < row_count; row++) {
            inputs[row] = _mm256_loadu_ps(x + row * x_stride + column);
        }
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            const __m256 weight = _mm256_load_ps(panel + output * AVX2_LANES);
            for (uint32_t row = 0; row < row_count; row++) {
                held[row][output] = _mm256_fmadd_ps(inputs[row], weight, held[row][output]);
            }
        }
        panel += TILE_OUTPUTS * AVX2_LANES;
    }
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            sums[row][output] = held[row][output];
        }
    }
}

ALWAYS_INLINE void compute_tile(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                                uint32_t output, uint32_t output_count, const float *panel)
{
    const size_t columns = job->weight->columns;
    __m256 sums[ACCUMULATORS][TILE_ROWS][TILE_OUTPUTS];
    for (uint32_t u = 0; u < ACCUMULATORS; u++) {
        for (uint32_t row = 0; row < row_count; row++) {
            for (uint32_t index = 0; index < TILE_OUTPUTS; index++) {
                sums[u][row][index] = _mm256_setzero_ps();
            }
        }
    }
    for (size_t block = 0; block < columns; block += BLOCK_COLUMNS) {
        const size_t in_block = block_columns(columns, block);
        for (uint32_t u = 0; u < ACCUMULATORS; u++) {
            tile_pass(job->x + first_row * columns + block + u * AVX2_LANES, columns,
                      panel + block * TILE_OUTPUTS + u * in_block, in_block, row_count, sums[u]);
        }
    }
    for (uint32_t row = 0; row < row_count; row++) {
        __m256 joined[TILE_OUTPUTS];
        for (uint32_t index = 0; index < TILE_OUTPUTS; index++) {
            joined[index] = join_accumulators(sums[0][row][index], sums[1][row][index],
                                              sums[2][row][index], sums[3][row][index]);
        }
        store_tile_row(job, first_row + row, output, output_count, joined[0], joined[1], joined[2],
                       joined[3]);
    }
}

/* All rows for one panel, in tiles of 3; 4 left over are taken as 2 and 2. */
static void compute_panel(const struct cpu_matmul *job, uint32_t output, uint32_t output_count,
                          const float *panel)
{
    size_t row = 0;
    while (row < job->row_count) {
        const size_t left = job->row_count - row;
        if (left == 1) {
            compute_tile(job, row, 1, output, output_count, panel);
            row += 1;
        } else if (left == 2 || left == 4) {
            compute_tile(job, row, 2, output, output_count, panel);
            row += 2;
        } else {
            compute_tile(job, row, 3, output, output_count, panel);
            row += 3;
        }
    }
}

ALWAYS_INLINE void tile_outputs(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                enum tensor_type type, float *panel)
{
    for (uint32_t done = 0; done < count; done += TILE_OUTPUTS) {
        const uint32_t left = count - done;
        const uint32_t taken = left < TILE_OUTPUTS ? left : TILE_OUTPUTS;
        widen_panel(job->weight, first + done, taken, type, panel);
        compute_panel(job, first + done, taken, panel);
    }
}

/* ---- Choice ------------------------------------------------------------------------------ */

ALWAYS_INLINE void matmul_of_type(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                  enum tensor_type type, float *scratch)
{
    if (job->row_count <= STREAM_ROWS_MAX) {
        stream_outputs(job, first, count, type);
    } else {
        tile_outputs(job, first, count, type, scratch);
    }
}

void cpu_avx2_matmul(const struct cpu_matmul *job, uint32_t first_output, uint32_t output_count,
                     float *scratch)
{
    switch (job->weight->type) {
    case TENSOR_BF16:
        matmul_of_type(job, first_output, output_count, TENSOR_BF16, scratch);
        break;
    case TENSOR_F16:
        matmul_of_type(job, first_output, output_count, TENSOR_F16, scratch);
        break;
    case TENSOR_F32:
        matmul_of_type(job, first_output, output_count, TENSOR_F32, scratch);
        break;
    }
}
