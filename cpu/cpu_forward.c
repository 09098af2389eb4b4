/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu/cpu_forward.c - the model's steps in order, one call per operation: read it as the paper.
 *
 * Arithmetic lives in cpu_kernels_*.c; which rows and states, in cpu_backend.c. The first token of
 * a sequence and later ones, one row and many, all take this one path.
 * Source: RWKV-7 "Goose", arXiv 2503.14456, section 4. Thread: see the header. */
#include "cpu/cpu_forward.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_memory.h"

enum {
    N = MODEL_HEAD_SIZE,
    MIXED_R = 0, /* The mixed inputs, in the order of cpu_layer.mix. */
    MIXED_W,
    MIXED_K,
    MIXED_V,
    MIXED_A,
    MIXED_G,
    MIXED_COUNT,
    JOBS_MAX = 7,          /* Matrix products that run together. */
    OUTPUTS_PER_TASK = 32, /* A multiple of the tile of a fast matmul; small enough to balance. */
    ROWS_PER_TASK = 8,
    LINE_FLOATS = CPU_ALIGNMENT / sizeof(float),
    TASKS_PER_THREAD = 8,  /* Heads: that the last ones end together. */
};

/* Activations, all f32 [row_count_max][..]; padded columns are zeroed once and never written. */
struct cpu_forward {
    const struct cpu_weights *weights;
    const struct cpu_kernels *kernels;
    struct cpu_threads *threads;
    uint32_t row_count_max;
    uint32_t C, H, V;
    size_t layer_state_floats; /* att_prev[C], S[H][N][N], ffn_prev[C] */
    uint32_t hidden_stride[4]; /* Padded ranks w, a, v, g. */
    uint32_t ffn_stride;       /* Padded F. */

    const float **previous;    /* [R] where the row's shift reads. */
    float *x;                  /* [C] residual stream. */
    float *norm;               /* [C] layer norm of x. */
    float *mixed[MIXED_COUNT]; /* [C], mixed_stride floats apart: a line more than their rows take,
                                * else they would all meet in the same lines of the first cache. */
    size_t mixed_stride;
    float *hidden[4];          /* [hidden_stride]: low-rank inner vectors w, a, v, g. */
    float *r, *k, *v, *decay, *a, *v_gate, *g, *v_first, *minus_kk, *kk_a, *y; /* [C] */
    float *ffn_hidden;         /* [ffn_stride] */
    float *head_in;            /* [CPU_LOGIT_ROWS][C] */
    float *logits;             /* [CPU_LOGIT_ROWS][V] */
    float *scratch;            /* [thread_count][scratch_floats] */
    size_t scratch_floats;
    void *memory;              /* All of the above in one block. */
    size_t bytes;
};

/* What the tasks of one loop share. */
struct loop {
    struct cpu_forward *forward;
    const struct cpu_pass *pass;
    const struct cpu_layer *layer;
    uint32_t layer_index;
    const float *norm_weight, *norm_bias;  /* normalise_rows */
    const float *norm_in;
    float *norm_out;
    uint32_t row_count;
    const struct cpu_matmul *jobs;         /* matmuls, head_task */
    uint32_t job_count;
    uint32_t group_count;                  /* head_task */
};

/* ---- Matrix products --------------------------------------------------------------------- */

static uint32_t job_task_count(const struct cpu_matmul *job)
{
    return (job->weight->rows + OUTPUTS_PER_TASK - 1) / OUTPUTS_PER_TASK;
}

static void matmul_task(void *context, uint32_t task, uint32_t thread)
{
    const struct loop *loop = context;
    const struct cpu_matmul *job = loop->jobs;
    while (task >= job_task_count(job)) {
        task -= job_task_count(job);
        job++;
    }
    const uint32_t first = task * OUTPUTS_PER_TASK;
    const uint32_t left = job->weight->rows - first;
    const struct cpu_forward *forward = loop->forward;
    forward->kernels->matmul(job, first, left < OUTPUTS_PER_TASK ? left : OUTPUTS_PER_TASK,
                             forward->scratch + thread * forward->scratch_floats);
}

/* Runs products that do not depend on each other as one loop: fewer joins. */
static void matmuls(struct cpu_forward *forward, const struct cpu_matmul *jobs, uint32_t job_count)
{
    uint32_t task_count = 0;
    for (uint32_t index = 0; index < job_count; index++) {
        task_count += job_task_count(&jobs[index]);
    }
    struct loop loop = {.forward = forward, .jobs = jobs, .job_count = job_count};
    cpu_threads_run(forward->threads, task_count, matmul_task, &loop);
}

/* y[R][weight rows] = x W^T; y_stride is the number of outputs unless they are padded. */
static struct cpu_matmul product(const struct cpu_matrix *weight, const float *x, float *y,
                                 size_t y_stride, uint32_t row_count, enum cpu_after after)
{
    return (struct cpu_matmul){
        .weight = weight,
        .x = x,
        .row_count = row_count,
        .y = y,
        .y_stride = y_stride,
        .after = after,
    };
}

/* ---- Rows -------------------------------------------------------------------------------- */

static uint32_t row_task_count(uint32_t row_count)
{
    return (row_count + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
}

static uint32_t row_task_end(uint32_t task, uint32_t row_count)
{
    const uint32_t end = (task + 1) * ROWS_PER_TASK;
    return end < row_count ? end : row_count;
}

static void normalise_task(void *context, uint32_t task, uint32_t thread)
{
    (void)thread;
    const struct loop *loop = context;
    const size_t C = loop->forward->C;
    const uint32_t end = row_task_end(task, loop->row_count);
    for (size_t row = (size_t)task * ROWS_PER_TASK; row < end; row++) {
        loop->forward->kernels->layer_norm(loop->norm_in + row * C, loop->norm_weight,
                                           loop->norm_bias, (uint32_t)C, loop->norm_out + row * C);
    }
}

/* out[R][C] = LayerNorm(in[R][C]); out may be in. */
static void normalise_rows(struct cpu_forward *forward, uint32_t row_count, const float *in,
                           const float *weight, const float *bias, float *out)
{
    struct loop loop = {
        .forward = forward,
        .row_count = row_count,
        .norm_in = in,
        .norm_weight = weight,
        .norm_bias = bias,
        .norm_out = out,
    };
    cpu_threads_run(forward->threads, row_task_count(row_count), normalise_task, &loop);
}

/* ---- Token shift ------------------------------------------------------------------------- */

/* Where the shift of each row reads: the row before it in its sequence, and for the first the
 * vector that the sequence's own state holds, at `offset` in the state. */
static void find_previous_rows(struct cpu_forward *forward, const struct cpu_pass *pass,
                               size_t offset)
{
    const size_t C = forward->C;
    for (uint32_t index = 0; index < pass->segment_count; index++) {
        const struct cpu_segment *segment = &pass->segments[index];
        forward->previous[segment->first_row] = segment->state_in + offset;
        for (size_t row = 1; row < segment->row_count; row++) {
            const size_t at = segment->first_row + row;
            forward->previous[at] = forward->norm + (at - 1) * C;
        }
    }
}

/* Keeps each sequence's last normalised row for its next token. Only after every row has read what
 * was there before. */
static void store_shifts(struct cpu_forward *forward, const struct cpu_pass *pass, size_t offset)
{
    const size_t C = forward->C;
    for (uint32_t index = 0; index < pass->segment_count; index++) {
        const struct cpu_segment *segment = &pass->segments[index];
        const size_t last_row = segment->first_row + segment->row_count - 1;
        memcpy(segment->state_out + offset, forward->norm + last_row * C, C * sizeof(float));
    }
}

static void time_shift_task(void *context, uint32_t task, uint32_t thread)
{
    (void)thread;
    const struct loop *loop = context;
    const struct cpu_forward *forward = loop->forward;
    const size_t C = forward->C;
    const uint32_t end = row_task_end(task, loop->row_count);
    for (size_t row = (size_t)task * ROWS_PER_TASK; row < end; row++) {
        forward->kernels->token_shift(forward->norm + row * C, forward->previous[row],
                                      loop->layer->mix, MIXED_COUNT, (uint32_t)C,
                                      forward->mixed[0] + row * C, forward->mixed_stride);
    }
}

static void channel_shift_task(void *context, uint32_t task, uint32_t thread)
{
    (void)thread;
    const struct loop *loop = context;
    const struct cpu_forward *forward = loop->forward;
    const size_t C = forward->C;
    const uint32_t end = row_task_end(task, loop->row_count);
    for (size_t row = (size_t)task * ROWS_PER_TASK; row < end; row++) {
        forward->kernels->token_shift(forward->norm + row * C, forward->previous[row],
                                      &loop->layer->ffn_x_k, 1, (uint32_t)C,
                                      forward->mixed[MIXED_K] + row * C, 0);
    }
}

/* ---- Time mix ---------------------------------------------------------------------------- */

static void prepare_head(const struct cpu_forward *forward, const struct cpu_layer *layer,
                         size_t row, size_t channel)
{
    const size_t at = row * forward->C + channel;
    const struct cpu_time_mix_inputs inputs = {
        .w0 = layer->w0 + channel,
        .a0 = layer->a0 + channel,
        .v0 = layer->v0 == NULL ? NULL : layer->v0 + channel,
        .k_k = layer->k_k + channel,
        .k_a = layer->k_a + channel,
        .decay = forward->decay + at,
        .a = forward->a + at,
        .v_gate = forward->v_gate + at,
        .k = forward->k + at,
        .v = forward->v + at,
        .v_first = forward->v_first + at,
        .minus_kk = forward->minus_kk + at,
        .kk_a = forward->kk_a + at,
    };
    forward->kernels->time_mix_inputs(&inputs);
}

static void finish_head(const struct cpu_forward *forward, const struct cpu_layer *layer,
                        size_t row, size_t channel)
{
    const size_t at = row * forward->C + channel;
    const struct cpu_time_mix_output output = {
        .ln_weight = layer->ln_x_weight + channel,
        .ln_bias = layer->ln_x_bias + channel,
        .r_k = layer->r_k + channel,
        .r = forward->r + at,
        .k = forward->k + at,
        .v = forward->v + at,
        .g = forward->g + at,
        .y = forward->y + at,
    };
    forward->kernels->time_mix_output(&output);
}

/* Asks for a head's S ahead of its use: 16 kB that nothing has touched since the last step. */
static void fetch_state(const float *state)
{
    for (size_t at = 0; at < (size_t)N * N; at += CPU_ALIGNMENT / sizeof(*state)) {
        __builtin_prefetch(state + at, 1);
    }
}

/* The outputs of the low-rank products that belong to a head, for those rows. */
static void expand_head(const struct loop *loop, size_t first_row, uint32_t row_count,
                        uint32_t channel, uint32_t thread)
{
    const struct cpu_forward *forward = loop->forward;
    for (uint32_t index = 0; index < loop->job_count; index++) {
        struct cpu_matmul part = loop->jobs[index];
        part.x += first_row * part.weight->columns;
        part.y += first_row * part.y_stride;
        part.row_count = row_count;
        forward->kernels->matmul(&part, channel, N,
                                 forward->scratch + thread * forward->scratch_floats);
    }
}

/* The recurrence of one head of one sequence, all its rows. Reads S of state_in, writes S of
 * state_out: a fork needs no copy. */
static void advance_head(const struct loop *loop, const struct cpu_segment *segment,
                         size_t channel, size_t state_at)
{
    const struct cpu_forward *forward = loop->forward;
    const size_t end_row = (size_t)segment->first_row + segment->row_count;
    for (size_t row = segment->first_row; row < end_row; row++) {
        prepare_head(forward, loop->layer, row, channel);
    }
    const size_t at = segment->first_row * (size_t)forward->C + channel;
    const struct cpu_wkv wkv = {
        .row_count = segment->row_count,
        .row_stride = forward->C,
        .r = forward->r + at,
        .log_w = forward->decay + at,
        .k = forward->k + at,
        .v = forward->v + at,
        .minus_kk = forward->minus_kk + at,
        .kk_a = forward->kk_a + at,
        .state_in = segment->state_in + state_at,
        .state_out = segment->state_out + state_at,
        .y = forward->y + at,
    };
    forward->kernels->wkv(&wkv);
    for (size_t row = segment->first_row; row < end_row; row++) {
        finish_head(forward, loop->layer, row, channel);
    }
}

/* One head of a group of sequences: between the wide products everything is local to a head. */
static void head_task(void *context, uint32_t task, uint32_t thread)
{
    const struct loop *loop = context;
    const struct cpu_forward *forward = loop->forward;
    const size_t head = task / loop->group_count;
    const size_t group = task % loop->group_count;
    const size_t segment_count = loop->pass->segment_count;
    const struct cpu_segment *segment =
        loop->pass->segments + segment_count * group / loop->group_count;
    const struct cpu_segment *end =
        loop->pass->segments + segment_count * (group + 1) / loop->group_count;
    const size_t channel = head * N;
    const size_t state_at =
        loop->layer_index * forward->layer_state_floats + forward->C + head * N * N;
    const uint32_t end_row = end[-1].first_row + end[-1].row_count;
    fetch_state(segment->state_in + state_at);
    expand_head(loop, segment->first_row, end_row - segment->first_row, (uint32_t)channel, thread);
    for (; segment < end; segment++) {
        if (segment + 1 < end) {
            fetch_state(segment[1].state_in + state_at);
        }
        advance_head(loop, segment, channel, state_at);
    }
}

/* Groups of sequences that make, with the heads, enough tasks to keep all threads busy. */
static uint32_t group_count(const struct cpu_forward *forward, const struct cpu_pass *pass)
{
    const uint32_t wanted =
        (TASKS_PER_THREAD * cpu_threads_count(forward->threads) + forward->H - 1) / forward->H;
    return wanted < pass->segment_count ? wanted : pass->segment_count;
}

/* x += TimeMix(LN(x)) */
static void time_mix(struct cpu_forward *f, const struct cpu_pass *pass, uint32_t layer_index)
{
    const struct cpu_layer *layer = &f->weights->layers[layer_index];
    const uint32_t R = pass->row_count;
    const size_t C = f->C;
    const size_t att_prev = layer_index * f->layer_state_floats;
    struct loop loop = {
        .forward = f,
        .pass = pass,
        .layer = layer,
        .layer_index = layer_index,
        .row_count = R,
    };

    normalise_rows(f, R, f->x, layer->ln1_weight, layer->ln1_bias, f->norm);
    find_previous_rows(f, pass, att_prev);
    cpu_threads_run(f->threads, row_task_count(R), time_shift_task, &loop);
    store_shifts(f, pass, att_prev);

    /* Layer 0 has no value residual, so its v1 and v2 are left out. */
    struct cpu_matmul down[JOBS_MAX] = {
        product(&layer->receptance, f->mixed[MIXED_R], f->r, C, R, CPU_AFTER_STORE),
        product(&layer->key, f->mixed[MIXED_K], f->k, C, R, CPU_AFTER_STORE),
        product(&layer->value, f->mixed[MIXED_V], f->v, C, R, CPU_AFTER_STORE),
        product(&layer->w1, f->mixed[MIXED_W], f->hidden[0], f->hidden_stride[0], R,
                CPU_AFTER_TANH),
        product(&layer->a1, f->mixed[MIXED_A], f->hidden[1], f->hidden_stride[1], R,
                CPU_AFTER_STORE),
        product(&layer->g1, f->mixed[MIXED_G], f->hidden[3], f->hidden_stride[3], R,
                CPU_AFTER_SIGMOID),
        product(&layer->v1, f->mixed[MIXED_V], f->hidden[2], f->hidden_stride[2], R,
                CPU_AFTER_STORE),
    };
    matmuls(f, down, layer_index == 0 ? 6 : 7);
    struct cpu_matmul up[4] = {
        product(&layer->w2, f->hidden[0], f->decay, C, R, CPU_AFTER_STORE),
        product(&layer->a2, f->hidden[1], f->a, C, R, CPU_AFTER_STORE),
        product(&layer->g2, f->hidden[3], f->g, C, R, CPU_AFTER_STORE),
        product(&layer->v2, f->hidden[2], f->v_gate, C, R, CPU_AFTER_STORE),
    };
    loop.jobs = up;
    loop.job_count = layer_index == 0 ? 3 : 4;
    loop.group_count = group_count(f, pass);
    cpu_threads_run(f->threads, loop.group_count * f->H, head_task, &loop);

    struct cpu_matmul output = product(&layer->output, f->y, f->x, C, R, CPU_AFTER_ADD);
    matmuls(f, &output, 1);
}

/* ---- Channel mix ------------------------------------------------------------------------- */

/* x += ChannelMix(LN(x)) */
static void channel_mix(struct cpu_forward *f, const struct cpu_pass *pass, uint32_t layer_index)
{
    const struct cpu_layer *layer = &f->weights->layers[layer_index];
    const uint32_t R = pass->row_count;
    const size_t C = f->C;
    const size_t ffn_prev = (layer_index + 1) * f->layer_state_floats - C;
    struct loop loop = {.forward = f, .pass = pass, .layer = layer, .row_count = R};

    normalise_rows(f, R, f->x, layer->ln2_weight, layer->ln2_bias, f->norm);
    find_previous_rows(f, pass, ffn_prev);
    cpu_threads_run(f->threads, row_task_count(R), channel_shift_task, &loop);
    store_shifts(f, pass, ffn_prev);

    struct cpu_matmul key = product(&layer->ffn_key, f->mixed[MIXED_K], f->ffn_hidden,
                                    f->ffn_stride, R, CPU_AFTER_RELU_SQUARED);
    matmuls(f, &key, 1);
    struct cpu_matmul value =
        product(&layer->ffn_value, f->ffn_hidden, f->x, C, R, CPU_AFTER_ADD);
    matmuls(f, &value, 1);
}

/* ---- The model --------------------------------------------------------------------------- */

/* x = LN0(embedding of the token); LN0 is folded into the lookup. */
static void embed(struct cpu_forward *forward, const struct cpu_pass *pass)
{
    const struct cpu_weights *weights = forward->weights;
    const struct tensor *emb = weights->spec->emb;
    const size_t C = forward->C;
    for (size_t row = 0; row < pass->row_count; row++) {
        const size_t at = (size_t)pass->tokens[row] * C;
        for (size_t c = 0; c < C; c++) {
            forward->x[row * C + c] = tensor_element(emb, at + c);
        }
    }
    normalise_rows(forward, pass->row_count, forward->x, weights->ln0_weight, weights->ln0_bias,
                   forward->x);
}

void cpu_forward_layers(struct cpu_forward *forward, const struct cpu_pass *pass)
{
    ASSERT_COMPARE(pass->row_count, <=, forward->row_count_max);
    embed(forward, pass);
    for (uint32_t layer = 0; layer < forward->weights->spec->L; layer++) {
        time_mix(forward, pass, layer);
        channel_mix(forward, pass, layer);
    }
}

const float *cpu_forward_logits(struct cpu_forward *forward, const uint32_t *rows,
                                uint32_t row_count)
{
    ASSERT_COMPARE(row_count, <=, CPU_LOGIT_ROWS);
    const struct cpu_weights *weights = forward->weights;
    const size_t C = forward->C;
    for (uint32_t index = 0; index < row_count; index++) {
        memcpy(forward->head_in + index * C, forward->x + rows[index] * C, C * sizeof(float));
    }
    normalise_rows(forward, row_count, forward->head_in, weights->ln_out_weight,
                   weights->ln_out_bias, forward->head_in);
    struct cpu_matmul head = product(&weights->head, forward->head_in, forward->logits,
                                     forward->V, row_count, CPU_AFTER_STORE);
    matmuls(forward, &head, 1);
    return forward->logits;
}

/* ---- Memory ------------------------------------------------------------------------------ */

/* Hands out consecutive aligned pieces of forward->memory; with memory NULL it only counts. */
static float *take_floats(struct cpu_forward *forward, size_t count)
{
    const size_t bytes = (count + LINE_FLOATS - 1) / LINE_FLOATS * CPU_ALIGNMENT;
    char *piece = forward->memory == NULL ? NULL : (char *)forward->memory + forward->bytes;
    forward->bytes += bytes;
    return (float *)(void *)piece;
}

static void lay_out(struct cpu_forward *forward)
{
    const size_t R = forward->row_count_max;
    const size_t C = forward->C;
    forward->mixed_stride = R * C + LINE_FLOATS;
    float **const vectors[] = {
        &forward->x,      &forward->norm,    &forward->r,        &forward->k,    &forward->v,
        &forward->decay,  &forward->a,       &forward->v_gate,   &forward->g,    &forward->y,
        &forward->v_first, &forward->kk_a,   &forward->minus_kk,
    };
    forward->bytes = 0;
    for (size_t index = 0; index < sizeof(vectors) / sizeof(vectors[0]); index++) {
        *vectors[index] = take_floats(forward, R * C);
    }
    for (size_t index = 0; index < MIXED_COUNT; index++) {
        forward->mixed[index] = take_floats(forward, forward->mixed_stride);
    }
    for (size_t index = 0; index < 4; index++) {
        forward->hidden[index] = take_floats(forward, R * forward->hidden_stride[index]);
    }
    forward->ffn_hidden = take_floats(forward, R * forward->ffn_stride);
    forward->head_in = take_floats(forward, CPU_LOGIT_ROWS * C);
    forward->logits = take_floats(forward, (size_t)CPU_LOGIT_ROWS * forward->V);
    forward->scratch =
        take_floats(forward, cpu_threads_count(forward->threads) * forward->scratch_floats);
}

static uint32_t padded(uint32_t columns)
{
    return (columns + CPU_COLUMN_STEP - 1) / CPU_COLUMN_STEP * CPU_COLUMN_STEP;
}

enum error_code cpu_forward_create(const struct cpu_weights *weights,
                                   const struct cpu_kernels *kernels, struct cpu_threads *threads,
                                   uint32_t row_count_max, struct cpu_forward **forward_out,
                                   struct error *error)
{
    *forward_out = NULL;
    const struct model_spec *spec = weights->spec;
    struct cpu_forward *forward = calloc(1, sizeof(*forward));
    if (forward == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu: no memory");
    }
    forward->weights = weights;
    forward->kernels = kernels;
    forward->threads = threads;
    forward->row_count_max = row_count_max;
    forward->C = spec->C;
    forward->H = spec->H;
    forward->V = spec->V;
    forward->layer_state_floats = model_spec_state_floats(spec) / spec->L;
    forward->hidden_stride[0] = padded(spec->rank_w);
    forward->hidden_stride[1] = padded(spec->rank_a);
    forward->hidden_stride[2] = padded(spec->rank_v);
    forward->hidden_stride[3] = padded(spec->rank_g);
    forward->ffn_stride = padded(spec->F);
    uint32_t widest = forward->ffn_stride > spec->C ? forward->ffn_stride : spec->C;
    for (size_t index = 0; index < 4; index++) {
        widest = forward->hidden_stride[index] > widest ? forward->hidden_stride[index] : widest;
    }
    forward->scratch_floats = (size_t)CPU_SCRATCH_ROWS * widest;

    lay_out(forward);
    forward->memory = cpu_memory_take(forward->bytes);
    forward->previous = calloc(row_count_max, sizeof(*forward->previous));
    if (forward->memory == NULL || forward->previous == NULL) {
        const size_t bytes = forward->bytes;
        cpu_forward_destroy(forward);
        return error_set(error, ERROR_OUT_OF_MEMORY, "cpu: no memory for %zu bytes of activations",
                         bytes);
    }
    memset(forward->memory, 0, forward->bytes);
    lay_out(forward);
    *forward_out = forward;
    return ERROR_NONE;
}

void cpu_forward_destroy(struct cpu_forward *forward)
{
    if (forward != NULL) {
        free(forward->previous);
        free(forward->memory);
        free(forward);
    }
}

size_t cpu_forward_bytes(const struct cpu_forward *forward)
{
    return forward->bytes;
}
