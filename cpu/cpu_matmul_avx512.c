/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_matmul_avx512.c - y[R][out] = x[R][in] W[out][in]^T with 16-lane fused multiply-adds.
 *
 * The order of summation is that of cpu_matmul_avx2.c, so both give the same bits: 32 partial sums
 * over the inputs l, l + 32, ..; two vectors here hold what four hold there, and their halves are
 * added in the same order.
 *   One row: one row of weights at a time from memory. Bound by reading them.
 *   More rows: tiles of 6 rows by 4 outputs take 24 of the 32 registers for one of the two
 *     accumulators, and pass over the inputs twice. A step is 24 multiply-adds for 10 loads; the
 *     widening, 8 operations, runs on ports that multiply-adds leave free.
 * Thread: any. */
#include "cpu/cpu_avx512.h"
#include "cpu/cpu_matmul_store.h"

enum {
    TILE_ROWS = 6,
    TILE_OUTPUTS = 4,
};

_Static_assert((int)TILE_OUTPUTS == (int)STORED_OUTPUTS, "a tile is stored four at a time");

/* Sixteen weights, widened; exact. */
ALWAYS_INLINE __m512 load_weights(const char *weights, enum tensor_type type)
{
    switch (type) {
    case TENSOR_BF16:
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)weights)),
            16));
    case TENSOR_F16:
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)weights));
    case TENSOR_F32:
        return _mm512_loadu_ps((const float *)(const void *)weights);
    }
    return _mm512_setzero_ps();
}

/* ---- One row ----------------------------------------------------------------------------- */

/* One output: its two accumulators, joined. No line is asked for in advance: the weights follow
 * each other in memory, and what the processor fetches by itself is best left alone. */
ALWAYS_INLINE __m256 stream_output(const struct cpu_matmul *job, uint32_t output,
                                   enum tensor_type type)
{
    const size_t columns = job->weight->columns;
    const size_t bytes = weight_bytes(type);
    const char *weights = (const char *)job->weight->data + output * columns * bytes;
    __m512 first = _mm512_setzero_ps();
    __m512 second = _mm512_setzero_ps();
    for (size_t column = 0; column < columns; column += CPU_COLUMN_STEP) {
        const char *at = weights + column * bytes;
        first = _mm512_fmadd_ps(_mm512_loadu_ps(job->x + column), load_weights(at, type), first);
        second = _mm512_fmadd_ps(_mm512_loadu_ps(job->x + column + AVX512_LANES),
                                 load_weights(at + AVX512_LANES * bytes, type), second);
    }
    return _mm256_add_ps(avx512_add_halves(first), avx512_add_halves(second));
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

/* The weights of 4 outputs: of every step of 32 inputs, 16 go into each accumulator. */
struct tile_weights {
    const char *outputs[TILE_OUTPUTS];
    size_t step_bytes;
    size_t second_bytes; /* From the first accumulator's 16 to the second's. */
};

/* Outputs that are not there read the last one, and are not stored. */
ALWAYS_INLINE struct tile_weights weights_of(const struct cpu_matrix *matrix, uint32_t first,
                                                 uint32_t count)
{
    const size_t bytes = weight_bytes(matrix->type);
    struct tile_weights weights = {.step_bytes = CPU_COLUMN_STEP * bytes,
                                   .second_bytes = AVX512_LANES * bytes};
    for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
        const size_t row = first + (output < count ? output : count - 1);
        weights.outputs[output] = (const char *)matrix->data + row * matrix->columns * bytes;
    }
    return weights;
}

/* One accumulator of row_count rows by 4 outputs over all inputs, its halves added. Asks for the
 * weights that lie prefetch_bytes ahead, unless 0. */
ALWAYS_INLINE void tile_pass(const float *x, size_t columns, const struct tile_weights *weights,
                             size_t weights_offset, size_t prefetch_bytes, enum tensor_type type,
                             uint32_t row_count, __m256 halves_out[TILE_ROWS][TILE_OUTPUTS])
{
    __m512 sums[TILE_ROWS][TILE_OUTPUTS];
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            sums[row][output] = _mm512_setzero_ps();
        }
    }
    for (size_t column = 0; column < columns; column += CPU_COLUMN_STEP) {
        /* 24 sums, 4 weights and 1 input: 29 of the 32 registers. */
        __m512 four[TILE_OUTPUTS];
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            const char *from = weights->outputs[output] + weights_offset;
            four[output] = load_weights(from, type);
            if (prefetch_bytes != 0) {
                _mm_prefetch(from + prefetch_bytes, _MM_HINT_T1);
            }
        }
        for (uint32_t row = 0; row < row_count; row++) {
            const __m512 input = _mm512_loadu_ps(x + row * columns + column);
            for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
                sums[row][output] = _mm512_fmadd_ps(input, four[output], sums[row][output]);
            }
        }
        weights_offset += weights->step_bytes;
    }
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t output = 0; output < TILE_OUTPUTS; output++) {
            halves_out[row][output] = avx512_add_halves(sums[row][output]);
        }
    }
}

ALWAYS_INLINE void compute_tile(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                                uint32_t output, uint32_t output_count,
                                const struct tile_weights *weights, enum tensor_type type)
{
    const size_t columns = job->weight->columns;
    const float *x = job->x + first_row * columns;
    __m256 first[TILE_ROWS][TILE_OUTPUTS];
    __m256 second[TILE_ROWS][TILE_OUTPUTS];
    if (first_row == 0) { /* Of a task; the others find the next 4 outputs' weights in a cache. */
        tile_pass(x, columns, weights, 0, TILE_OUTPUTS * columns * weight_bytes(type), type,
                  row_count, first);
    } else {
        tile_pass(x, columns, weights, 0, 0, type, row_count, first);
    }
    tile_pass(x + AVX512_LANES, columns, weights, weights->second_bytes, 0, type, row_count,
              second);
    for (uint32_t row = 0; row < row_count; row++) {
        store_tile_row(job, first_row + row, output, output_count,
                       _mm256_add_ps(first[row][0], second[row][0]),
                       _mm256_add_ps(first[row][1], second[row][1]),
                       _mm256_add_ps(first[row][2], second[row][2]),
                       _mm256_add_ps(first[row][3], second[row][3]));
    }
}

/* All outputs of up to 6 rows: the rows' inputs stay in the first cache, the weights in the second,
 * where the rows after them find them. */
ALWAYS_INLINE void compute_rows(const struct cpu_matmul *job, size_t first_row, uint32_t row_count,
                                uint32_t first, uint32_t count, enum tensor_type type)
{
    for (uint32_t done = 0; done < count; done += TILE_OUTPUTS) {
        const uint32_t left = count - done;
        const uint32_t taken = left < TILE_OUTPUTS ? left : TILE_OUTPUTS;
        const struct tile_weights weights = weights_of(job->weight, first + done, taken);
        compute_tile(job, first_row, row_count, first + done, taken, &weights, type);
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

void cpu_avx512_matmul(const struct cpu_matmul *job, uint32_t first_output, uint32_t output_count,
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
