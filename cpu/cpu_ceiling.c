/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_ceiling.c - the loops behind the two roofs, by processor feature.
 *
 * Work is handed out in small tasks, so that a core that is lost for a while costs one task and
 * not a join. Thread: see the header. */
#include "cpu/cpu_ceiling.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_memory.h"
#include "cpu/cpu_threads.h"

#ifdef SKEIN_HAS_AVX2_KERNELS
#include <immintrin.h>
#endif

enum {
    BUFFER_BYTES = 512 << 20,
    READ_TASK_BYTES = 1 << 20,
    MULTIPLY_TASKS = 64,
    MULTIPLY_ROUNDS = 1 << 14, /* Of one task: 0.15 to 0.3 ms. */
    CHAINS = 12,               /* Independent sums: latency 4, two a cycle, and some room. */
    PORTABLE_LANES = 4,
};

/* The loops of one instruction set. */
struct roof_loops {
    float (*read)(const float *from, size_t bytes); /* Sums, so that nothing is optimised away. */
    float (*multiply)(uint32_t rounds);
    uint32_t lanes;
};

struct cpu_ceiling {
    struct cpu_threads *threads;
    const struct roof_loops *loops;
    struct clock clock;
    float *buffer;
    volatile float sink;
};

/* ---- Loops ------------------------------------------------------------------------------- */

static float read_portable(const float *from, size_t bytes)
{
    float sums[16] = {0.0f};
    for (size_t at = 0; at < bytes / sizeof(float); at += 16) {
        for (size_t lane = 0; lane < 16; lane++) {
            sums[lane] += from[at + lane];
        }
    }
    return sums[0] + sums[7] + sums[15];
}

static float multiply_portable(uint32_t rounds)
{
    float sums[CHAINS * PORTABLE_LANES];
    volatile float given = 0.9f;
    const float factor = given;
    for (uint32_t chain = 0; chain < CHAINS * PORTABLE_LANES; chain++) {
        sums[chain] = given + (float)chain; /* Equal chains would become one. */
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t chain = 0; chain < CHAINS * PORTABLE_LANES; chain++) {
            sums[chain] = sums[chain] * factor + factor;
        }
    }
    return sums[0] + sums[CHAINS * PORTABLE_LANES - 1];
}

static const struct roof_loops portable_loops = {
    .read = read_portable, .multiply = multiply_portable, .lanes = PORTABLE_LANES};

#ifdef SKEIN_HAS_AVX2_KERNELS
__attribute__((target("avx2,fma"))) static float read_avx2(const float *from, size_t bytes)
{
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    const __m256i *vectors = (const __m256i *)(const void *)from;
    for (size_t at = 0; at < bytes / sizeof(*vectors); at += 4) {
        for (size_t chain = 0; chain < 4; chain++) {
            sums[chain] = _mm256_xor_si256(sums[chain], _mm256_load_si256(vectors + at + chain));
        }
    }
    const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]),
                                         _mm256_xor_si256(sums[2], sums[3]));
    return (float)_mm256_extract_epi32(sum, 0);
}

__attribute__((target("avx2,fma"))) static float multiply_avx2(uint32_t rounds)
{
    volatile float given = 0.9f;
    const __m256 factor = _mm256_set1_ps(given);
    __m256 sums[CHAINS];
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
        sums[chain] = _mm256_set1_ps(given + (float)chain); /* Equal chains would become one. */
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t chain = 0; chain < CHAINS; chain++) {
            sums[chain] = _mm256_fmadd_ps(sums[chain], factor, factor);
        }
    }
    __m256 sum = sums[0];
    for (uint32_t chain = 1; chain < CHAINS; chain++) {
        sum = _mm256_add_ps(sum, sums[chain]);
    }
    return _mm256_cvtss_f32(sum);
}

static const struct roof_loops avx2_loops = {
    .read = read_avx2, .multiply = multiply_avx2, .lanes = 8};

__attribute__((target("avx512f"))) static float read_avx512(const float *from, size_t bytes)
{
    __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                       _mm512_setzero_si512()};
    const __m512i *vectors = (const __m512i *)(const void *)from;
    for (size_t at = 0; at < bytes / sizeof(*vectors); at += 4) {
        for (size_t chain = 0; chain < 4; chain++) {
            sums[chain] = _mm512_xor_si512(sums[chain], _mm512_load_si512(vectors + at + chain));
        }
    }
    const __m512i sum = _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]),
                                         _mm512_xor_si512(sums[2], sums[3]));
    return (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(sum));
}

__attribute__((target("avx512f"))) static float multiply_avx512(uint32_t rounds)
{
    volatile float given = 0.9f;
    const __m512 factor = _mm512_set1_ps(given);
    __m512 sums[CHAINS];
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
        sums[chain] = _mm512_set1_ps(given + (float)chain); /* Equal chains would become one. */
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t chain = 0; chain < CHAINS; chain++) {
            sums[chain] = _mm512_fmadd_ps(sums[chain], factor, factor);
        }
    }
    __m512 sum = sums[0];
    for (uint32_t chain = 1; chain < CHAINS; chain++) {
        sum = _mm512_add_ps(sum, sums[chain]);
    }
    return _mm512_cvtss_f32(sum);
}

static const struct roof_loops avx512_loops = {
    .read = read_avx512, .multiply = multiply_avx512, .lanes = 16};
#endif

static const struct roof_loops *choose_loops(void)
{
#ifdef SKEIN_HAS_AVX2_KERNELS
    if (__builtin_cpu_supports("avx512f")) {
        return &avx512_loops;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &avx2_loops;
    }
#endif
    return &portable_loops;
}

/* ---- Measuring --------------------------------------------------------------------------- */

static void read_task(void *context, uint32_t task, uint32_t thread)
{
    (void)thread;
    struct cpu_ceiling *ceiling = context;
    const size_t first = (size_t)task * READ_TASK_BYTES / sizeof(float);
    const float sum = ceiling->loops->read(ceiling->buffer + first, READ_TASK_BYTES);
    if (sum == 0.5f) { /* Never, but the compiler does not know. */
        ceiling->sink = sum;
    }
}

static void multiply_task(void *context, uint32_t task, uint32_t thread)
{
    (void)task;
    (void)thread;
    struct cpu_ceiling *ceiling = context;
    const float sum = ceiling->loops->multiply(MULTIPLY_ROUNDS);
    if (sum == 0.5f) { /* The sums approach 9 each: never. */
        ceiling->sink = sum;
    }
}

/* Repeats one loop of tasks until the time is over; returns how often it fits into a second. */
static double loops_per_second(struct cpu_ceiling *ceiling, uint32_t task_count, cpu_task *task,
                               double seconds_min)
{
    const uint64_t begin = clock_monotonic_ns(&ceiling->clock);
    uint64_t count = 0;
    double seconds = 0.0;
    do {
        cpu_threads_run(ceiling->threads, task_count, task, ceiling);
        count++;
        seconds = (double)(clock_monotonic_ns(&ceiling->clock) - begin) * 1e-9;
    } while (seconds < seconds_min);
    return (double)count / seconds;
}

double cpu_ceiling_read_rate(struct cpu_ceiling *ceiling, double seconds_min)
{
    const uint32_t task_count = BUFFER_BYTES / READ_TASK_BYTES;
    return (double)BUFFER_BYTES *
           loops_per_second(ceiling, task_count, read_task, seconds_min);
}

double cpu_ceiling_multiply_rate(struct cpu_ceiling *ceiling, double seconds_min)
{
    const double flops =
        2.0 * MULTIPLY_TASKS * MULTIPLY_ROUNDS * CHAINS * (double)ceiling->loops->lanes;
    return flops * loops_per_second(ceiling, MULTIPLY_TASKS, multiply_task, seconds_min);
}

enum error_code cpu_ceiling_create(uint32_t thread_count, const struct clock *clock,
                                   struct cpu_ceiling **ceiling_out, struct error *error)
{
    *ceiling_out = NULL;
    struct cpu_ceiling *ceiling = calloc(1, sizeof(*ceiling));
    if (ceiling == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu ceiling: no memory");
    }
    ceiling->clock = *clock;
    ceiling->loops = choose_loops();
    ceiling->buffer = cpu_memory_take(BUFFER_BYTES); /* As weights are. */
    enum error_code code = ERROR_NONE;
    if (ceiling->buffer == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "cpu ceiling: no memory for %u bytes",
                         (unsigned)BUFFER_BYTES);
    } else {
        /* Not zeros as the system hands them out: untouched pages are all one and the same. */
        memset(ceiling->buffer, 0x11, BUFFER_BYTES);
        code = cpu_threads_create(thread_count, &ceiling->threads, error);
    }
    if (code != ERROR_NONE) {
        cpu_ceiling_destroy(ceiling);
        return code;
    }
    *ceiling_out = ceiling;
    return ERROR_NONE;
}

void cpu_ceiling_destroy(struct cpu_ceiling *ceiling)
{
    if (ceiling != NULL) {
        cpu_threads_destroy(ceiling->threads);
        free(ceiling->buffer);
        free(ceiling);
    }
}
