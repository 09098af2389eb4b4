/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/conformance/golden_reference.c - one token after the other, plain float64.
 *
 * Equations: RWKV-7 "Goose", arXiv 2503.14456, section 4. Thread: any. */
#include "tests/conformance/golden_reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { L = GOLDEN_L, C = GOLDEN_C, H = GOLDEN_H, N = GOLDEN_N, F = GOLDEN_F, V = GOLDEN_V };

/* Weights by the names of the model's file. */
struct layer {
    double ln1_w[C], ln1_b[C], ln2_w[C], ln2_b[C], ln_x_w[C], ln_x_b[C];
    double x_r[C], x_w[C], x_k[C], x_v[C], x_a[C], x_g[C], ffn_x_k[C];
    double w0[C], a0[C], v0[C], k_k[C], k_a[C], r_k[C];
    double w1[C * GOLDEN_RANK], a1[C * GOLDEN_RANK], v1[C * GOLDEN_RANK], g1[C * GOLDEN_RANK_G];
    double w2[C * GOLDEN_RANK], a2[C * GOLDEN_RANK], v2[C * GOLDEN_RANK], g2[C * GOLDEN_RANK_G];
    double receptance[C * C], key[C * C], value[C * C], output[C * C];
    double ffn_key[F * C], ffn_value[C * F];
};

struct golden_reference {
    double emb[V * C], ln0_w[C], ln0_b[C], ln_out_w[C], ln_out_b[C], head[V * C];
    struct layer layers[L];
};

/* What a sequence remembers, per layer. */
struct memory {
    double att_prev[C];
    double s[H][N][N]; /* [value][key] */
    double ffn_prev[C];
};

static const char *const names[] = {
    [MISTAKE_NONE] = "none",
    [MISTAKE_GROUP_NORM_EPSILON] = "group norm epsilon",
    [MISTAKE_LN0_SKIPPED] = "ln0 skipped",
    [MISTAKE_BONUS_DROPPED] = "bonus dropped",
    [MISTAKE_VALUE_RESIDUAL_DROPPED] = "value residual dropped",
    [MISTAKE_DECAY_DOUBLE_EXP] = "decay as exp(-exp(wx))",
    [MISTAKE_KK_OF_MODIFIED_K] = "kk of the modified k",
    [MISTAKE_SA_AFTER_DECAY] = "sa after the decay",
    [MISTAKE_Y_BEFORE_UPDATE] = "y before the update",
    [MISTAKE_BONUS_OF_UNMODIFIED_K] = "bonus of the unmodified k",
    [MISTAKE_FFN_SHIFT_LOST] = "channel-mix shift lost between chunks",
    [MISTAKE_ONLY_LAST_TOKEN] = "only the last token processed",
};

const char *mistake_name(enum mistake mistake)
{
    return names[mistake];
}

static void fill(uint32_t layer, const char *name, double *values, size_t count)
{
    char key[64];
    snprintf(key, sizeof(key), "blocks.%u.%s", layer, name);
    ASSERT_COMPARE(golden_tensor(key, values), ==, count);
}

static void fill_layer(struct layer *layer, uint32_t index)
{
#define FILL(field, name) fill(index, name, layer->field, sizeof(layer->field) / sizeof(double))
    FILL(ln1_w, "ln1.weight");
    FILL(ln1_b, "ln1.bias");
    FILL(ln2_w, "ln2.weight");
    FILL(ln2_b, "ln2.bias");
    FILL(ln_x_w, "att.ln_x.weight");
    FILL(ln_x_b, "att.ln_x.bias");
    FILL(x_r, "att.x_r");
    FILL(x_w, "att.x_w");
    FILL(x_k, "att.x_k");
    FILL(x_v, "att.x_v");
    FILL(x_a, "att.x_a");
    FILL(x_g, "att.x_g");
    FILL(ffn_x_k, "ffn.x_k");
    FILL(w0, "att.w0");
    FILL(a0, "att.a0");
    FILL(v0, "att.v0");
    FILL(k_k, "att.k_k");
    FILL(k_a, "att.k_a");
    FILL(r_k, "att.r_k");
    FILL(w1, "att.w1");
    FILL(a1, "att.a1");
    FILL(v1, "att.v1");
    FILL(g1, "att.g1");
    FILL(w2, "att.w2");
    FILL(a2, "att.a2");
    FILL(v2, "att.v2");
    FILL(g2, "att.g2");
    FILL(receptance, "att.receptance.weight");
    FILL(key, "att.key.weight");
    FILL(value, "att.value.weight");
    FILL(output, "att.output.weight");
    FILL(ffn_key, "ffn.key.weight");
    FILL(ffn_value, "ffn.value.weight");
#undef FILL
}

struct golden_reference *golden_reference_create(void)
{
    struct golden_reference *reference = calloc(1, sizeof(*reference));
    ASSERT(reference != NULL);
    golden_tensor("emb.weight", reference->emb);
    golden_tensor("blocks.0.ln0.weight", reference->ln0_w);
    golden_tensor("blocks.0.ln0.bias", reference->ln0_b);
    golden_tensor("ln_out.weight", reference->ln_out_w);
    golden_tensor("ln_out.bias", reference->ln_out_b);
    golden_tensor("head.weight", reference->head);
    for (uint32_t index = 0; index < L; index++) {
        fill_layer(&reference->layers[index], index);
    }
    return reference;
}

void golden_reference_destroy(struct golden_reference *reference)
{
    free(reference);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* y = (x - mean) / sqrt(variance + epsilon) w + b over count elements. */
static void normalise(const double *x, const double *w, const double *b, size_t count,
                      double epsilon, double *y)
{
    double mean = 0.0;
    double variance = 0.0;
    for (size_t i = 0; i < count; i++) {
        mean += x[i] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        variance += (x[i] - mean) * (x[i] - mean) / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        y[i] = (x[i] - mean) / sqrt(variance + epsilon) * w[i] + b[i];
    }
}

/* y[out] = W[out][in] x */
static void linear(const double *w, const double *x, size_t in, size_t out, double *y)
{
    for (size_t o = 0; o < out; o++) {
        y[o] = 0.0;
        for (size_t i = 0; i < in; i++) {
            y[o] += w[o * in + i] * x[i];
        }
    }
}

/* y[out] = x w[in][out], the orientation of low-rank matrices. */
static void low_rank(const double *w, const double *x, size_t in, size_t out, double *y)
{
    for (size_t o = 0; o < out; o++) {
        y[o] = 0.0;
        for (size_t i = 0; i < in; i++) {
            y[o] += x[i] * w[i * out + o];
        }
    }
}

static void mix(const double *x, const double *previous, const double *share, double *y)
{
    for (size_t c = 0; c < C; c++) {
        y[c] = x[c] + (previous[c] - x[c]) * share[c];
    }
}

/* The vectors of one token between the matrix products. */
struct vectors {
    double r[C], k[C], k_modified[C], v[C], w[C], a[C], g[C], kk[C], y[C];
};

static void make_vectors(const struct layer *layer, const double *x, const double *previous,
                         enum mistake mistake, struct vectors *u)
{
    double mixed[C], hidden[GOLDEN_RANK_G];
    mix(x, previous, layer->x_r, mixed);
    linear(layer->receptance, mixed, C, C, u->r);
    mix(x, previous, layer->x_k, mixed);
    linear(layer->key, mixed, C, C, u->k);
    mix(x, previous, layer->x_w, mixed);
    low_rank(layer->w1, mixed, C, GOLDEN_RANK, hidden);
    for (size_t i = 0; i < GOLDEN_RANK; i++) {
        hidden[i] = tanh(hidden[i]);
    }
    low_rank(layer->w2, hidden, GOLDEN_RANK, C, u->w);
    mix(x, previous, layer->x_a, mixed);
    low_rank(layer->a1, mixed, C, GOLDEN_RANK, hidden);
    low_rank(layer->a2, hidden, GOLDEN_RANK, C, u->a);
    mix(x, previous, layer->x_g, mixed);
    low_rank(layer->g1, mixed, C, GOLDEN_RANK_G, hidden);
    for (size_t i = 0; i < GOLDEN_RANK_G; i++) {
        hidden[i] = sigmoid(hidden[i]);
    }
    low_rank(layer->g2, hidden, GOLDEN_RANK_G, C, u->g);
    for (size_t c = 0; c < C; c++) {
        const double wx = layer->w0[c] + u->w[c];
        u->w[c] = mistake == MISTAKE_DECAY_DOUBLE_EXP ? exp(-exp(wx))
                                                      : exp(-exp(-0.5) * sigmoid(wx));
        u->a[c] = sigmoid(layer->a0[c] + u->a[c]);
        u->k_modified[c] = u->k[c] * (1.0 + (u->a[c] - 1.0) * layer->k_a[c]);
        u->kk[c] = (mistake == MISTAKE_KK_OF_MODIFIED_K ? u->k_modified[c] : u->k[c]) *
                   layer->k_k[c];
    }
    for (size_t h = 0; h < H; h++) {
        double squares = 0.0;
        for (size_t n = h * N; n < (h + 1) * N; n++) {
            squares += u->kk[n] * u->kk[n];
        }
        for (size_t n = h * N; n < (h + 1) * N; n++) {
            u->kk[n] /= fmax(sqrt(squares), 1e-12);
        }
    }
}

/* v, with its residual from layer 0. */
static void make_value(const struct layer *layer, uint32_t index, const double *x,
                       const double *previous, enum mistake mistake, double v_first[C], double *v)
{
    double mixed[C], hidden[GOLDEN_RANK], gate[C];
    mix(x, previous, layer->x_v, mixed);
    linear(layer->value, mixed, C, C, v);
    if (index == 0) {
        memcpy(v_first, v, C * sizeof(*v));
        return;
    }
    low_rank(layer->v1, mixed, C, GOLDEN_RANK, hidden);
    low_rank(layer->v2, hidden, GOLDEN_RANK, C, gate);
    for (size_t c = 0; c < C && mistake != MISTAKE_VALUE_RESIDUAL_DROPPED; c++) {
        v[c] += (v_first[c] - v[c]) * sigmoid(layer->v0[c] + gate[c]);
    }
}

static void recur(double s[N][N], size_t h, enum mistake mistake, struct vectors *u)
{
    const size_t at = h * N;
    for (size_t i = 0; i < N; i++) {
        double sa = 0.0;
        double y_before = 0.0;
        for (size_t j = 0; j < N; j++) {
            const double decayed = mistake == MISTAKE_SA_AFTER_DECAY ? u->w[at + j] : 1.0;
            sa -= s[i][j] * decayed * u->kk[at + j];
            y_before += s[i][j] * u->r[at + j];
        }
        u->y[at + i] = 0.0;
        for (size_t j = 0; j < N; j++) {
            s[i][j] = s[i][j] * u->w[at + j] + sa * u->kk[at + j] * u->a[at + j] +
                      u->v[at + i] * u->k_modified[at + j];
            u->y[at + i] += s[i][j] * u->r[at + j];
        }
        if (mistake == MISTAKE_Y_BEFORE_UPDATE) {
            u->y[at + i] = y_before;
        }
    }
}

static void time_mix(const struct layer *layer, uint32_t index, const double *x,
                     enum mistake mistake, struct memory *memory, double v_first[C], double *out)
{
    struct vectors u;
    make_vectors(layer, x, memory->att_prev, mistake, &u);
    make_value(layer, index, x, memory->att_prev, mistake, v_first, u.v);
    memcpy(memory->att_prev, x, sizeof(memory->att_prev));
    for (size_t h = 0; h < H; h++) {
        recur(memory->s[h], h, mistake, &u);
        const double epsilon = mistake == MISTAKE_GROUP_NORM_EPSILON ? 1e-5 : 64e-5;
        double normal[N];
        normalise(u.y + h * N, layer->ln_x_w + h * N, layer->ln_x_b + h * N, N, epsilon, normal);
        double bonus = 0.0;
        for (size_t c = h * N; c < (h + 1) * N; c++) {
            const double k =
                mistake == MISTAKE_BONUS_OF_UNMODIFIED_K ? u.k[c] : u.k_modified[c];
            bonus += mistake == MISTAKE_BONUS_DROPPED ? 0.0 : u.r[c] * k * layer->r_k[c];
        }
        for (size_t n = 0; n < N; n++) {
            const size_t c = h * N + n;
            u.y[c] = (normal[n] + bonus * u.v[c]) * u.g[c];
        }
    }
    linear(layer->output, u.y, C, C, out);
}

static void channel_mix(const struct layer *layer, const double *x, struct memory *memory,
                        double *out)
{
    double mixed[C], hidden[F];
    mix(x, memory->ffn_prev, layer->ffn_x_k, mixed);
    memcpy(memory->ffn_prev, x, sizeof(memory->ffn_prev));
    linear(layer->ffn_key, mixed, C, F, hidden);
    for (size_t i = 0; i < F; i++) {
        hidden[i] = hidden[i] > 0.0 ? hidden[i] * hidden[i] : 0.0;
    }
    linear(layer->ffn_value, hidden, F, C, out);
}

static void step(const struct golden_reference *reference, enum mistake mistake, int32_t token,
                 struct memory *memories, double *logits)
{
    double x[C], normal[C], change[C], v_first[C];
    const double *emb = reference->emb + (size_t)token * C;
    normalise(emb, reference->ln0_w, reference->ln0_b, C, 1e-5, x);
    if (mistake == MISTAKE_LN0_SKIPPED) {
        memcpy(x, emb, sizeof(x));
    }
    for (uint32_t index = 0; index < L; index++) {
        const struct layer *layer = &reference->layers[index];
        normalise(x, layer->ln1_w, layer->ln1_b, C, 1e-5, normal);
        time_mix(layer, index, normal, mistake, &memories[index], v_first, change);
        for (size_t c = 0; c < C; c++) {
            x[c] += change[c];
        }
        normalise(x, layer->ln2_w, layer->ln2_b, C, 1e-5, normal);
        channel_mix(layer, normal, &memories[index], change);
        for (size_t c = 0; c < C; c++) {
            x[c] += change[c];
        }
    }
    normalise(x, reference->ln_out_w, reference->ln_out_b, C, 1e-5, normal);
    linear(reference->head, normal, C, V, logits);
}

void golden_reference_run(const struct golden_reference *reference, enum mistake mistake,
                          const int32_t *tokens, uint32_t token_count,
                          double (*logits_out)[GOLDEN_V])
{
    struct memory *memories = calloc(L, sizeof(*memories));
    ASSERT(memories != NULL);
    for (uint32_t t = 0; t < token_count; t++) {
        if (mistake == MISTAKE_ONLY_LAST_TOKEN && t + 1 < token_count) {
            for (size_t v = 0; v < V; v++) {
                logits_out[t][v] = (double)NAN;
            }
            continue;
        }
        if (mistake == MISTAKE_FFN_SHIFT_LOST && t == 20) {
            memset(memories[0].ffn_prev, 0, sizeof(memories[0].ffn_prev));
            memset(memories[1].ffn_prev, 0, sizeof(memories[1].ffn_prev));
        }
        step(reference, mistake, tokens[t], memories, logits_out[t]);
    }
    free(memories);
}
