/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: accuracy at the size of a real model, where sums are long and errors may grow with the
 * sequence. Shown by: 512 tokens of random weights in the 0.1B shape, through the backend in
 * chunks, against the same model computed here token by token in float64. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/bench_model.h"
#include "cpu/cpu_backend.h"

enum { TOKENS = 512, CHUNK = 128, N = MODEL_HEAD_SIZE, LANES = 16 };

static const double error_max = 1e-4; /* Of the difference's length, to that of the logits. */

/* One sequence in float64. */
struct sequence {
    const struct model_spec *spec;
    double *att_prev, *ffn_prev; /* [L][C] */
    double *s;                   /* [L][H][N value][N key] */
    double *x, *v_first;         /* [C] */
};

static double *doubles(size_t count)
{
    double *values = calloc(count, sizeof *values);
    if (values == NULL) {
        abort();
    }
    return values;
}

static double bf16_at(const uint16_t *from, size_t index)
{
    const uint32_t bits = (uint32_t)from[index] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static double element(const struct tensor *tensor, size_t index)
{
    return bf16_at(tensor->data, index);
}

/* y[rows] = W[rows][columns] x */
static void product(const struct tensor *weight, const double *x, double *y)
{
    const size_t columns = weight->shape[1];
    for (size_t row = 0; row < weight->shape[0]; row++) {
        const uint16_t *from = (const uint16_t *)weight->data + row * columns;
        double sums[LANES] = {0.0};
        for (size_t column = 0; column < columns; column += LANES) {
            for (size_t lane = 0; lane < LANES; lane++) {
                sums[lane] += bf16_at(from, column + lane) * x[column + lane];
            }
        }
        y[row] = 0.0;
        for (size_t lane = 0; lane < LANES; lane++) {
            y[row] += sums[lane];
        }
    }
}

/* y[columns] = x[rows] W[rows][columns]: the low-rank matrices, stored [in][out]. */
static void product_from_left(const struct tensor *weight, const double *x, double *y)
{
    const size_t columns = weight->shape[1];
    memset(y, 0, columns * sizeof *y);
    for (size_t row = 0; row < weight->shape[0]; row++) {
        const uint16_t *from = (const uint16_t *)weight->data + row * columns;
        for (size_t column = 0; column < columns; column++) {
            y[column] += x[row] * bf16_at(from, column);
        }
    }
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void normalise(const double *x, size_t count, double epsilon, const struct tensor *weight,
                      const struct tensor *bias, size_t first, double *y)
{
    double mean = 0.0;
    double variance = 0.0;
    for (size_t c = 0; c < count; c++) {
        mean += x[c] / (double)count;
    }
    for (size_t c = 0; c < count; c++) {
        variance += (x[c] - mean) * (x[c] - mean) / (double)count;
    }
    for (size_t c = 0; c < count; c++) {
        y[c] = (x[c] - mean) / sqrt(variance + epsilon) * element(weight, first + c) +
               element(bias, first + c);
    }
}

static void shift(const double *x, const double *previous, const struct tensor *mix, size_t C,
                  double *y)
{
    for (size_t c = 0; c < C; c++) {
        y[c] = x[c] + (previous[c] - x[c]) * element(mix, c);
    }
}

/* y = (f(x A)) B, f as the letter says: 't'anh, 's'igmoid, ' ' none. */
static void low_rank(const struct tensor *a, const struct tensor *b, const double *x, char f,
                     double *y)
{
    double inner[512];
    product_from_left(a, x, inner);
    for (size_t at = 0; at < a->shape[1]; at++) {
        inner[at] = f == 't' ? tanh(inner[at]) : f == 's' ? sigmoid(inner[at]) : inner[at];
    }
    product_from_left(b, inner, y);
}

/* One head of one token: arXiv 2503.14456, equations of the time mix. y: [N]. */
static void head_step(const struct model_layer *layer, size_t c, const double *r, double *k,
                      const double *v, const double *wx, const double *a, const double *g,
                      double *s, double *y)
{
    double kk[N], w[N];
    double length = 0.0;
    double bonus = 0.0;
    for (size_t n = 0; n < N; n++) {
        kk[n] = k[c + n] * element(layer->k_k, c + n);
        length += kk[n] * kk[n];
    }
    for (size_t n = 0; n < N; n++) {
        kk[n] /= fmax(sqrt(length), 1e-12);
        w[n] = exp(-exp(-0.5) * sigmoid(element(layer->w0, c + n) + wx[c + n]));
        k[c + n] *= 1.0 + (a[c + n] - 1.0) * element(layer->k_a, c + n);
        bonus += r[c + n] * k[c + n] * element(layer->r_k, c + n);
    }
    double raw[N] = {0.0};
    for (size_t i = 0; i < N; i++) {
        double sa = 0.0;
        for (size_t j = 0; j < N; j++) {
            sa -= s[i * N + j] * kk[j];
        }
        for (size_t j = 0; j < N; j++) {
            s[i * N + j] =
                s[i * N + j] * w[j] + sa * kk[j] * a[c + j] + v[c + i] * k[c + j];
            raw[i] += s[i * N + j] * r[c + j];
        }
    }
    normalise(raw, N, 64e-5, layer->ln_x_weight, layer->ln_x_bias, c, y);
    for (size_t n = 0; n < N; n++) {
        y[n] = (y[n] + bonus * v[c + n]) * g[c + n];
    }
}

static void time_mix(struct sequence *u, uint32_t index)
{
    const struct model_layer *layer = &u->spec->layers[index];
    const size_t C = u->spec->C;
    double *all = doubles(10 * C);
    double *norm = all, *mixed = all + C, *r = all + 2 * C, *k = all + 3 * C, *v = all + 4 * C;
    double *wx = all + 5 * C, *a = all + 6 * C, *g = all + 7 * C, *y = all + 8 * C;
    double *out = all + 9 * C;
    double *previous = u->att_prev + index * C;
    normalise(u->x, C, 1e-5, layer->ln1_weight, layer->ln1_bias, 0, norm);
    shift(norm, previous, layer->x_r, C, mixed);
    product(layer->receptance, mixed, r);
    shift(norm, previous, layer->x_k, C, mixed);
    product(layer->key, mixed, k);
    shift(norm, previous, layer->x_w, C, mixed);
    low_rank(layer->w1, layer->w2, mixed, 't', wx);
    shift(norm, previous, layer->x_a, C, mixed);
    low_rank(layer->a1, layer->a2, mixed, ' ', a);
    shift(norm, previous, layer->x_g, C, mixed);
    low_rank(layer->g1, layer->g2, mixed, 's', g);
    shift(norm, previous, layer->x_v, C, mixed);
    product(layer->value, mixed, v);
    if (index > 0) {
        low_rank(layer->v1, layer->v2, mixed, ' ', out);
    }
    for (size_t c = 0; c < C; c++) {
        a[c] = sigmoid(element(layer->a0, c) + a[c]);
        if (index == 0) {
            u->v_first[c] = v[c];
        } else {
            v[c] += (u->v_first[c] - v[c]) * sigmoid(element(layer->v0, c) + out[c]);
        }
    }
    for (size_t c = 0; c < C; c += N) {
        head_step(layer, c, r, k, v, wx, a, g, u->s + index * C * N + c * N, y + c);
    }
    product(layer->output, y, out);
    for (size_t c = 0; c < C; c++) {
        u->x[c] += out[c];
        previous[c] = norm[c];
    }
    free(all);
}

static void channel_mix(struct sequence *u, uint32_t index)
{
    const struct model_layer *layer = &u->spec->layers[index];
    const size_t C = u->spec->C;
    double *all = doubles(3 * C + u->spec->F);
    double *norm = all, *mixed = all + C, *out = all + 2 * C, *hidden = all + 3 * C;
    double *previous = u->ffn_prev + index * C;
    normalise(u->x, C, 1e-5, layer->ln2_weight, layer->ln2_bias, 0, norm);
    shift(norm, previous, layer->ffn_x_k, C, mixed);
    product(layer->ffn_key, mixed, hidden);
    for (size_t f = 0; f < u->spec->F; f++) {
        hidden[f] = hidden[f] > 0.0 ? hidden[f] * hidden[f] : 0.0;
    }
    product(layer->ffn_value, hidden, out);
    for (size_t c = 0; c < C; c++) {
        u->x[c] += out[c];
        previous[c] = norm[c];
    }
    free(all);
}

static void feed(struct sequence *u, int32_t token)
{
    const size_t C = u->spec->C;
    for (size_t c = 0; c < C; c++) {
        u->x[c] = element(u->spec->emb, (size_t)token * C + c);
    }
    normalise(u->x, C, 1e-5, u->spec->ln0_weight, u->spec->ln0_bias, 0, u->x);
    for (uint32_t layer = 0; layer < u->spec->L; layer++) {
        time_mix(u, layer);
        channel_mix(u, layer);
    }
}

/* Length of the difference to that of the float64 logits of the sequence as it is. */
static double logit_error(const struct sequence *u, const float *found)
{
    const struct model_spec *spec = u->spec;
    double *norm = doubles(spec->C);
    double *logits = doubles(spec->V);
    double difference = 0.0;
    double length = 0.0;
    normalise(u->x, spec->C, 1e-5, spec->ln_out_weight, spec->ln_out_bias, 0, norm);
    product(spec->head, norm, logits);
    for (size_t v = 0; v < spec->V; v++) {
        difference += ((double)found[v] - logits[v]) * ((double)found[v] - logits[v]);
        length += logits[v] * logits[v];
    }
    free(logits);
    free(norm);
    return sqrt(difference / length);
}

static struct backend *open_backend(const struct model_spec *spec)
{
    const struct backend_options options = {
        .slot_count = 1,
        .row_count_max = CHUNK,
        .item_count_max = 1,
        .thread_count = 2,
        .vocabulary = {.row_count = spec->V, .token_count = spec->V},
    };
    struct backend *backend = NULL;
    struct error error = {0};
    if (cpu_backend_open(spec, &options, &backend, &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        exit(EXIT_FAILURE);
    }
    const struct sampling sampling = {.max_tokens = 1, .logprobs_wanted = -1};
    backend_slot_start(backend, 0, &sampling, NULL);
    return backend;
}

/* Feeds one chunk to the backend; logits after its last token. */
static void feed_backend(struct backend *backend, const int32_t *tokens, float *logits)
{
    const struct backend_item item = {.tokens = tokens, .token_count = CHUNK,
                                      .logits_out = logits};
    struct backend_result result;
    uint32_t count;
    struct error error = {0};
    if (backend_submit(backend, &item, 1, &error) != ERROR_NONE ||
        backend_collect(backend, &result, &count, &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        exit(EXIT_FAILURE);
    }
}

int main(void)
{
    struct bench_model model;
    struct error error = {0};
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    if (bench_model_make("0.1b", 0.5, false, &model, &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.message);
        return EXIT_FAILURE;
    }
    const struct model_spec *spec = &model.spec;
    const size_t C = spec->C;
    struct sequence u = {
        .spec = spec, .att_prev = doubles(spec->L * C), .ffn_prev = doubles(spec->L * C),
        .s = doubles(spec->L * C * N), .x = doubles(C), .v_first = doubles(C)};
    struct backend *backend = open_backend(spec);
    float *logits = calloc(spec->V, sizeof *logits);
    int32_t tokens[TOKENS];
    double worst = 0.0;
    for (uint32_t t = 0; logits != NULL && t < TOKENS; t++) {
        tokens[t] = (int32_t)(t * 40503u % spec->V);
        feed(&u, tokens[t]);
        if ((t + 1) % CHUNK == 0) {
            feed_backend(backend, tokens + t + 1 - CHUNK, logits);
            const double found = logit_error(&u, logits);
            printf("after %u tokens: relative error %.3g\n", t + 1, found);
            worst = found > worst || isnan(found) ? found : worst;
        }
    }
    void *const all[] = {u.att_prev, u.ffn_prev, u.s, u.x, u.v_first, logits};
    for (size_t index = 0; index < sizeof all / sizeof all[0]; index++) {
        free(all[index]);
    }
    backend_close(backend);
    bench_model_deinit(&model);
    return worst <= error_max && logits != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}
