/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_report.c - medians, ceilings and shares; prints them on standard output. */
#include "cli/bench_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"

enum { NAME_BYTES = 32, JSON_BYTES = 64 * 1024 };

/* ---- Samples ----------------------------------------------------------------------------- */

void bench_samples_add(struct bench_samples *samples, double value)
{
    if (samples->count < BENCH_ROUNDS_MAX) {
        samples->values[samples->count] = value;
        samples->count++;
    }
}

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_samples_median(const struct bench_samples *samples)
{
    if (samples->count == 0) {
        return 0.0;
    }
    double sorted[BENCH_ROUNDS_MAX];
    memcpy(sorted, samples->values, samples->count * sizeof *sorted);
    qsort(sorted, samples->count, sizeof *sorted, compare_doubles);
    const uint32_t middle = samples->count / 2;
    return samples->count % 2 == 1 ? sorted[middle] : 0.5 * (sorted[middle - 1] + sorted[middle]);
}

double bench_samples_best(const struct bench_samples *samples)
{
    double best = 0.0;
    for (uint32_t index = 0; index < samples->count; index++) {
        best = samples->values[index] > best ? samples->values[index] : best;
    }
    return best;
}

/* ---- Roofline ---------------------------------------------------------------------------- */

double bench_roofline_seconds(const struct bench_cost *cost, double read_rate,
                              double multiply_rate)
{
    const double read_seconds = cost->bytes / read_rate;
    const double multiply_seconds = cost->flops / multiply_rate;
    return read_seconds > multiply_seconds ? read_seconds : multiply_seconds;
}

static double larger(double left, double right)
{
    return left > right ? left : right;
}

void bench_report_finish(struct bench_report *report)
{
    report->read_ceiling = bench_samples_best(&report->read_rates);
    report->multiply_ceiling = bench_samples_best(&report->multiply_rates);
    for (uint32_t index = 0; index < report->row_count; index++) {
        const struct bench_row_result *result = &report->rows[index];
        for (uint32_t round = 0; round < result->seconds.count; round++) {
            const double seconds = result->seconds.values[round];
            report->read_ceiling = larger(report->read_ceiling, result->cost.bytes / seconds);
            report->multiply_ceiling =
                larger(report->multiply_ceiling, result->cost.flops / seconds);
        }
    }
}

/* What is printed of a row; seconds, bytes and flops are a step's. */
struct row_figures {
    double tokens_per_second, seconds, bytes, flops;
    double share;        /* Of the roofline by the highest rates of the run. */
    double round_share;  /* Median of the shares by each round's own rates. */
    bool is_bound_by_bytes;
};

static struct row_figures figures_of(const struct bench_report *report,
                                     const struct bench_row_result *result)
{
    const double seconds = bench_samples_median(&result->seconds);
    const double step_count = result->cost.step_count;
    return (struct row_figures){
        .tokens_per_second = (double)result->cost.token_count / seconds,
        .seconds = seconds / step_count,
        .bytes = result->cost.bytes / step_count,
        .flops = result->cost.flops / step_count,
        .share = bench_roofline_seconds(&result->cost, report->read_ceiling,
                                        report->multiply_ceiling) /
                 seconds,
        .round_share = bench_samples_median(&result->shares),
        .is_bound_by_bytes = result->cost.bytes / report->read_ceiling >
                             result->cost.flops / report->multiply_ceiling,
    };
}

/* ---- Table ------------------------------------------------------------------------------- */

void bench_row_name(const struct bench_row *row, char *buffer, size_t capacity)
{
    if (row->kind == BENCH_DECODE) {
        snprintf(buffer, capacity, "decode B=%u", row->sequence_count);
    } else {
        snprintf(buffer, capacity, "prefill %ux%u", row->sequence_count, row->token_count);
    }
}

void bench_report_print_table(const struct bench_report *report)
{
    printf("model    %s, %.1f million parameters", report->model,
           (double)report->parameter_count * 1e-6);
    if (report->ffn_zeros > 0.0) {
        printf(", random weights, FFN zeros %.2f", report->ffn_zeros);
    }
    printf("\ndevice   %s, %s%s, ", report->device, report->kernels,
           report->thread_count > 0 ? " kernels" : "");
    if (report->thread_count > 0) {
        printf("%u threads, ", report->thread_count);
    }
    printf("at most %u rows a step\n", report->row_count_max);
    printf("read     %.1f GB/s highest, %.1f GB/s median of %u rounds\n",
           report->read_ceiling * 1e-9, bench_samples_median(&report->read_rates) * 1e-9,
           report->read_rates.count);
    printf("multiply %.1f Gflop/s highest, %.1f Gflop/s median\n", report->multiply_ceiling * 1e-9,
           bench_samples_median(&report->multiply_rates) * 1e-9);
    printf("load     %.1f before, %.1f after\n\n", report->load[0], report->load[1]);
    printf("%-16s %11s %11s %10s %12s %6s %6s %6s\n", "row", "tok/s", "ms/step", "MB/step",
           "Mflop/step", "bound", "share", "round");
    for (uint32_t index = 0; index < report->row_count; index++) {
        const struct bench_row_result *result = &report->rows[index];
        const struct row_figures figures = figures_of(report, result);
        char name[NAME_BYTES];
        bench_row_name(&result->row, name, sizeof name);
        printf("%-16s %11.1f %11.3f %10.1f %12.1f %6s %5.1f%% %5.1f%%\n", name,
               figures.tokens_per_second, figures.seconds * 1e3, figures.bytes * 1e-6,
               figures.flops * 1e-6, figures.is_bound_by_bytes ? "bytes" : "flops",
               figures.share * 100.0, figures.round_share * 100.0);
    }
    printf("\nMedians. share: of max(bytes / read, flops / multiply) by the highest rates of the "
           "run;\nround: the same by the rates of each round, its median.\n");
}

/* ---- JSON -------------------------------------------------------------------------------- */

static void write_ceiling(struct json_writer *writer, const char *key, double ceiling,
                          const struct bench_samples *samples)
{
    json_key(writer, key);
    json_object_begin(writer);
    json_key_real(writer, "highest", ceiling);
    json_key_real(writer, "median", bench_samples_median(samples));
    json_object_end(writer);
}

static void write_row(struct json_writer *writer, const struct bench_report *report,
                      const struct bench_row_result *result)
{
    const struct row_figures figures = figures_of(report, result);
    char name[NAME_BYTES];
    bench_row_name(&result->row, name, sizeof name);
    json_object_begin(writer);
    json_key_string(writer, "name", text_from(name));
    json_key_string(writer, "kind",
                    result->row.kind == BENCH_DECODE ? TEXT("decode") : TEXT("prefill"));
    json_key_integer(writer, "sequences", result->row.sequence_count);
    json_key_integer(writer, "tokens", result->row.token_count);
    json_key_integer(writer, "steps", result->cost.step_count);
    json_key_real(writer, "tokens_per_second", figures.tokens_per_second);
    json_key_real(writer, "milliseconds_per_step", figures.seconds * 1e3);
    json_key_real(writer, "bytes_per_step", figures.bytes);
    json_key_real(writer, "flops_per_step", figures.flops);
    json_key_string(writer, "bound", figures.is_bound_by_bytes ? TEXT("bytes") : TEXT("flops"));
    json_key_real(writer, "share", figures.share);
    json_key_real(writer, "round_share", figures.round_share);
    json_object_end(writer);
}

void bench_report_print_json(const struct bench_report *report)
{
    static char buffer[JSON_BYTES];
    struct json_writer writer;
    json_writer_init(&writer, buffer, sizeof buffer);
    json_object_begin(&writer);
    json_key_string(&writer, "version", text_from(SKEIN_VERSION));
    json_key_string(&writer, "model", text_from(report->model));
    json_key_integer(&writer, "parameters", (int64_t)report->parameter_count);
    json_key_real(&writer, "ffn_zeros", report->ffn_zeros);
    json_key_string(&writer, "device", text_from(report->device));
    json_key_string(&writer, "kernels", text_from(report->kernels));
    json_key_integer(&writer, "threads", report->thread_count);
    json_key_integer(&writer, "rows_per_step_max", report->row_count_max);
    json_key_integer(&writer, "rounds", report->read_rates.count);
    json_key_real(&writer, "load_before", report->load[0]);
    json_key_real(&writer, "load_after", report->load[1]);
    write_ceiling(&writer, "read_bytes_per_second", report->read_ceiling, &report->read_rates);
    write_ceiling(&writer, "multiply_flops_per_second", report->multiply_ceiling,
                  &report->multiply_rates);
    json_key(&writer, "rows");
    json_array_begin(&writer);
    for (uint32_t index = 0; index < report->row_count; index++) {
        write_row(&writer, report, &report->rows[index]);
    }
    json_array_end(&writer);
    json_object_end(&writer);
    printf("%.*s\n", (int)writer.len, buffer);
}
