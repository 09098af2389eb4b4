/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_matmul_avx2.c - y[R][out] = x[R][in] W[out][in]^T with 8-lane fused multiply-adds.
 *
 * Order of summation, for every output whatever the number of rows: 32 partial sums, sum l over
 * the inputs l, l + 32, l + 64, ..; then the four sums of lane l % 8 are added as (0+1)+(2+3), then
 * the 8 lanes as in avx2_sum4. Both ways below follow it, so their results have the same bits.
 *   One row: one row of weights at a time from memory, which the processor's prefetch likes best;
 *     all 4 accumulators of an output stay in registers. Bound by reading the weights.
 *   More rows: tiles of 6 rows by 4 outputs. One accumulator of 6 rows by 2 outputs takes 12 of the
 *     16 registers, so a tile passes over a block of inputs 8 times; a step is 12 multiply-adds, 8
 *     loads and 4 operations that widen. Up to 3 rows leave room for 4 outputs at once.
 * Thread: any. */
#include "cpu/cpu_matmul_store.h"

enum {
    ACCUMULATORS = CPU_COLUMN_STEP / AVX2_LANES, /* 4 */
    TILE_ROWS = 6,
    TILE_OUTPUTS = 4,
    /* Inputs of a block: 6 rows and 4 outputs of it, 16 kB, stay in the first cache, also where the
     * rows lie a power of two apart and share its lines. */
    BLOCK_COLUMNS = 512,
};

_Static_assert(ACCUMULATORS == 4, "the sums below are written out");
_Static_assert((int)TILE_OUTPUTS == (int)STORED_OUTPUTS, "a tile is stored four at a time");
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

/* ---- One row ----------------------------------------------------------------------------- */

/* One output: its four accumulators, joined. */
ALWAYS_INLINE __m256 stream_output(const struct cpu_matmul *job, uint32_t output,
                                   enum tensor_type type)
{
    const size_t columns = job->weight->columns;
    const char *weights = (const char *)job->weight->data + output * columns * weight_bytes(type);
    __m256 sums[ACCUMULATORS];
    for (uint32_t u = 0; u < ACCUMULATORS; u++) {
        sums[u] = _mm256_setzero_ps();
    }
    for (size_t column = 0; column < columns; column += CPU_COLUMN_STEP) {
        for (uint32_t u = 0; u < ACCUMULATORS; u++) {
            const size_t at = column + u * AVX2_LANES;
            const __m256 weight = load_weights(weights + at * weight_bytes(type), type);
            sums[u] = _mm256_fmadd_ps(_mm256_loadu_ps(job->x + at), weight, sums[u]);
        }
    }
    return join_accumulators(sums[0], sums[1], sums[2], sums[3]);
}

/* Outputs one after the other, stored four at a time. */
ALWAYS_INLINE void stream_outputs(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                  enum tensor_type type)
{
    for (uint32_t done = 0; done < count; done += TILE_OUTPUTS) {
        const uint32_t left = count - done;
        const uint32_t taken = left < TILE_OUTPUTS ? left : TILE_OUTPUTS;
        __m256 joined[TILE_OUTPUTS];
        for (uint32_t index = 0; index < TILE_OUTPUTS; index++) {
            joined[index] = index < taken ? stream_output(job, first + done + index, type)
                                          : _mm256_setzero_ps();
        }
        store_tile_row(job, 0, first + done, taken, joined[0], joined[1], joined[2], joined[3]);
    }
}

/* ---- More rows --------------------------------------------------------------------------- */

/* Where the weights of 4 outputs begin. Outputs that are not there read the last one, and are not
 * stored. */
struct tile_weights {
    const char *outputs[TILE_OUTPUTS];
};

ALWAYS_INLINE struct tile_weights weights_of(const struct cpu_matrix *matrix, uint32_t first,
                                             uint32_t count, enum tensor_type type)
{
    struct tile_weights weights;
    for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
        const size_t row = first + (output < count ? output : count - 1);
        weights.outputs[output] =
            (const char *)matrix->data + row * matrix->columns * weight_bytes(type);
    }
    return weights;
}

/* Outputs that a pass takes along: as many as its accumulators leave registers for. */
ALWAYS_INLINE uint32_t outputs_of_pass(uint32_t row_count)
{
    return row_count <= 3 ? 4 : 2;
}

/* Adds the share of columns column .. end - 1, every 32nd eight of them, to one accumulator of
 * row_count rows by outputs_of_pass outputs. Asks for the weights that lie prefetch_bytes ahead,
 * unless 0. */
ALWAYS_INLINE void tile_pass(const float *x, size_t x_stride, const struct tile_weights *weights,
                             uint32_t first_output, size_t column, size_t end,
                             size_t prefetch_bytes, enum tensor_type type, uint32_t row_count,
                             __m256 sums[TILE_ROWS][TILE_OUTPUTS])
{
    const uint32_t output_count = outputs_of_pass(row_count);
    __m256 held[TILE_ROWS][TILE_OUTPUTS];
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < output_count; output++) {
            held[row][output] = sums[row][first_output + output];
        }
    }
    for (; column < end; column += CPU_COLUMN_STEP) {
        __m256 eights[TILE_OUTPUTS];
        for (uint32_t output = 0; output < output_count; output++) {
            const char *from =
                weights->outputs[first_output + output] + column * weight_bytes(type);
            eights[output] = load_weights(from, type);
            if (prefetch_bytes != 0) {
                _mm_prefetch(from + prefetch_bytes, _MM_HINT_T1);
            }
        }
        for (uint32_t row = 0; row < row_count; row++) {
            const __m256 input = _mm256_loadu_ps(x + row * x_stride + column);
            for (uint32_t output = 0; output < output_count; output++) {
                held[row][output] = _mm256_fmadd_ps(input, eights[output], held[row][output]);
            }
        }
    }
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < output_count; output++) {
            sums[row][first_output + output] = held[row][output];
        }
    }
}

ALWAYS_INLINE void compute_tile(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                                uint32_t output, uint32_t output_count, enum tensor_type type)
{
    const size_t columns = job->weight->columns;
    const float *x = job->x + first_row * columns;
    const struct tile_weights weights = weights_of(job->weight, output, output_count, type);
    __m256 sums[ACCUMULATORS][TILE_ROWS][TILE_OUTPUTS];
    for (uint32_t u = 0; u < ACCUMULATORS; u++) {
        for (uint32_t row = 0; row < row_count; row++) {
            for (uint32_t index = 0; index < TILE_OUTPUTS; index++) {
                sums[u][row][index] = _mm256_setzero_ps();
            }
        }
    }
    /* The first rows ask for the next 4 outputs' weights; the others find them in a cache. */
    const size_t ahead = first_row == 0 ? TILE_OUTPUTS * columns * weight_bytes(type) : 0;
    for (size_t block = 0; block < columns; block += BLOCK_COLUMNS) {
        const size_t end = columns - block < BLOCK_COLUMNS ? columns : block + BLOCK_COLUMNS;
        for (uint32_t index = 0; index < TILE_OUTPUTS; index += outputs_of_pass(row_count)) {
            if (ahead != 0) {
                tile_pass(x, columns, &weights, index, block, end, ahead, type, row_count, sums[0]);
            } else {
                tile_pass(x, columns, &weights, index, block, end, 0, type, row_count, sums[0]);
            }
            for (uint32_t u = 1; u < ACCUMULATORS; u++) {
                tile_pass(x, columns, &weights, index, block + u * AVX2_LANES, end, 0, type,
                          row_count, sums[u]);
            }
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

/* All outputs of up to 6 rows: the rows' inputs stay in the first cache, the weights in the second,
 * where the rows after them find them. */
ALWAYS_INLINE void compute_rows(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                                uint32_t first, uint32_t count, enum tensor_type type)
{
    for (uint32_t done = 0; done < count; done += TILE_OUTPUTS) {
        const uint32_t left = count - done;
        compute_tile(job, first_row, row_count, first + done,
                     left < TILE_OUTPUTS ? left : TILE_OUTPUTS, type);
    }
}

/* Rows in tiles of 6; the last 7 to 11 are halved. */
ALWAYS_INLINE void tile_outputs(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                enum tensor_type type)
{
    size_t row = 0;
    while (row < job->row_count) {
        const size_t left = job->row_count - row;
        const size_t taken = left <= TILE_ROWS       ? left
                             : left < 2 * TILE_ROWS ? (left + 1) / 2
                                                    : TILE_ROWS;
        switch (taken) {
        case 6:
            compute_rows(job, row, 6, first, count, type);
            break;
        case 5:
            compute_rows(job, row, 5, first, count, type);
            break;
        case 4:
            compute_rows(job, row, 4, first, count, type);
            break;
        case 3:
            compute_rows(job, row, 3, first, count, type);
            break;
        case 2:
            compute_rows(job, row, 2, first, count, type);
            break;
        default:
            compute_rows(job, row, 1, first, count, type);
            break;
        }
        row += taken;
    }
}

/* ---- Choice ------------------------------------------------------------------------------ */

ALWAYS_INLINE void matmul_of_type(const struct cpu_matmul *job, uint32_t first, uint32_t count,
                                  enum tensor_type type)
{
    if (job->row_count == 1) {
        stream_outputs(job, first, count, type);
    } else {
        tile_outputs(job, first, count, type);
    }
}

void cpu_avx2_matmul(const struct cpu_matmul *job, uint32_t first_output, uint32_t output_count,
                     float *scratch)
{
    (void)scratch; /* Nothing is widened in advance. */
    switch (job->weight->type) {
    case TENSOR_BF16:
        matmul_of_type(job, first_output, output_count, TENSOR_BF16);
        break;
    case TENSOR_F16:
        matmul_of_type(job, first_output, output_count, TENSOR_F16);
        break;
    case TENSOR_F32:
        matmul_of_type(job, first_output, output_count, TENSOR_F32);
        break;
    }
}
