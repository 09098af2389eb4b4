/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_kernels_reference.c - the definition of correct: plain loops, f32, the paper's order.
 *
 * No SIMD, no threads here; in every build. Equations: RWKV-7 "Goose", arXiv 2503.14456,
 * section 4. Thread: any. */
#include "cpu/cpu_kernels.h"

#include <math.h>
#include <string.h>

enum { N = MODEL_HEAD_SIZE };

static const float layer_norm_epsilon = 1e-5f;
static const float group_norm_epsilon = 64e-5f;  /* 1e-5 times the head size. */
static const float length_min = 1e-12f;          /* Keeps the removal key of k = 0 at 0. */
static const float decay_scale = -0.60653066f;   /* -e^(-1/2) */

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Weight `column` of a row of the matrix, widened; exact. */
static float weight_at(const struct cpu_matrix *matrix, uint32_t row, uint32_t column)
{
    const struct tensor view = {.type = matrix->type, .data = matrix->data};
    return tensor_element(&view, (size_t)row * matrix->columns + column);
}

static void layer_norm(const float *x, const float *weight, const float *bias,
                       uint32_t channel_count, float *y)
{
    float sum = 0.0f;
    for (uint32_t c = 0; c < channel_count; c++) {
        sum += x[c];
    }
    const float mean = sum / (float)channel_count;
    float squares = 0.0f;
    for (uint32_t c = 0; c < channel_count; c++) {
        squares += (x[c] - mean) * (x[c] - mean);
    }
    const float variance = squares / (float)channel_count;
    const float scale = 1.0f / sqrtf(variance + layer_norm_epsilon);
    for (uint32_t c = 0; c < channel_count; c++) {
        y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
    }
}

static void token_shift(const float *x, const float *previous, const float *const *mix,
                        uint32_t mix_count, uint32_t channel_count, float *y, size_t y_stride)
{
    for (uint32_t m = 0; m < mix_count; m++) {
        for (uint32_t c = 0; c < channel_count; c++) {
            y[m * y_stride + c] = x[c] + (previous[c] - x[c]) * mix[m][c];
        }
    }
}

static void finish_output(float sum, enum cpu_after after, float *y)
{
    switch (after) {
    case CPU_AFTER_STORE:
        *y = sum;
        break;
    case CPU_AFTER_TANH:
        *y = tanhf(sum);
        break;
    case CPU_AFTER_SIGMOID:
        *y = sigmoid(sum);
        break;
    case CPU_AFTER_RELU_SQUARED:
        *y = sum < 0.0f ? 0.0f : sum * sum; /* Not a number stays visible. */
        break;
    case CPU_AFTER_ADD:
        *y += sum;
        break;
    }
}

static void matmul(const struct cpu_matmul *job, uint32_t first_output, uint32_t output_count,
                   float *scratch)
{
    const uint32_t column_count = job->weight->columns;
    for (uint32_t output = first_output; output < first_output + output_count; output++) {
        for (uint32_t c = 0; c < column_count; c++) {
            scratch[c] = weight_at(job->weight, output, c);
        }
        for (uint32_t row = 0; row < job->row_count; row++) {
            const float *x = job->x + (size_t)row * column_count;
            float sum = 0.0f;
            for (uint32_t c = 0; c < column_count; c++) {
                sum += x[c] * scratch[c];
            }
            finish_output(sum, job->after, &job->y[row * job->y_stride + output]);
        }
    }
}

static void time_mix_inputs(const struct cpu_time_mix_inputs *head)
{
    float kk[N];
    float squares = 0.0f;
    for (uint32_t n = 0; n < N; n++) {
        kk[n] = head->k[n] * head->k_k[n];
        squares += kk[n] * kk[n];
    }
    const float length = fmaxf(sqrtf(squares), length_min);
    for (uint32_t n = 0; n < N; n++) {
        const float a = sigmoid(head->a0[n] + head->a[n]);
        head->decay[n] = decay_scale * sigmoid(head->w0[n] + head->decay[n]);
        head->minus_kk[n] = -(kk[n] / length);
        head->kk_a[n] = kk[n] / length * a;
        head->k[n] = head->k[n] * (1.0f + (a - 1.0f) * head->k_a[n]);
        if (head->v0 == NULL) {
            head->v_first[n] = head->v[n];
        } else {
            head->v[n] += (head->v_first[n] - head->v[n]) * sigmoid(head->v0[n] + head->v_gate[n]);
        }
    }
}

static void wkv(const struct cpu_wkv *head)
{
    if (head->state_in != head->state_out) {
        memcpy(head->state_out, head->state_in, sizeof(float) * N * N);
    }
    for (uint32_t t = 0; t < head->row_count; t++) {
        const size_t at = t * head->row_stride;
        float w[N];
        for (uint32_t j = 0; j < N; j++) {
            w[j] = expf(head->log_w[at + j]);
        }
        for (uint32_t i = 0; i < N; i++) {
            float *state = head->state_out + (size_t)i * N; /* Value i, all keys. */
            float sa = 0.0f;
            for (uint32_t j = 0; j < N; j++) {
                sa += state[j] * head->minus_kk[at + j];
            }
            const float v = head->v[at + i];
            float y = 0.0f;
            for (uint32_t j = 0; j < N; j++) {
                state[j] = state[j] * w[j] + sa * head->kk_a[at + j] + v * head->k[at + j];
                y += state[j] * head->r[at + j];
            }
            head->y[at + i] = y;
        }
    }
}

static void time_mix_output(const struct cpu_time_mix_output *head)
{
    float sum = 0.0f;
    float bonus = 0.0f;
    for (uint32_t n = 0; n < N; n++) {
        sum += head->y[n];
        bonus += head->r[n] * head->k[n] * head->r_k[n];
    }
    const float mean = sum / (float)N;
    float squares = 0.0f;
    for (uint32_t n = 0; n < N; n++) {
        squares += (head->y[n] - mean) * (head->y[n] - mean);
    }
    const float scale = 1.0f / sqrtf(squares / (float)N + group_norm_epsilon);
    for (uint32_t n = 0; n < N; n++) {
        const float norm = (head->y[n] - mean) * scale * head->ln_weight[n] + head->ln_bias[n];
        head->y[n] = (norm + bonus * head->v[n]) * head->g[n];
    }
}

const struct cpu_kernels cpu_kernels_reference = {
    .name = "reference",
    .layer_norm = layer_norm,
    .token_shift = token_shift,
    .matmul = matmul,
    .time_mix_inputs = time_mix_inputs,
    .wkv = wkv,
    .time_mix_output = time_mix_output,
};
