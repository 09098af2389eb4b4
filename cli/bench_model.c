/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/bench_model.c - random weights for skein bench --synthetic.
 *
 * Tensors are laid out from the tables of engine/model_spec.h, so a new one is found here as well.
 * Thread: main. */
#include "cli/bench_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/progress.h"

enum {
    VOCABULARY = 65536,
    ALIGNMENT = 64,           /* Of each tensor: as the official files have it. */
    NORMAL_VALUES = 1 << 14,  /* Distinct values of one tensor. */
    BF16_BYTES = 2,
    PROGRESS_BYTES = 1 << 26, /* Between two reports. */
    MADE_MAX = 64,            /* Tensors to share with: there are fewer kinds. */
};

/* The official models. */
static const struct shape {
    const char *name;
    uint32_t L, C, rank_w, rank_a, rank_v, rank_g;
} shapes[] = {
    {"0.1b", 12, 768, 64, 64, 32, 128},    {"0.4b", 24, 1024, 64, 64, 32, 128},
    {"1.5b", 24, 2048, 96, 96, 64, 256},   {"2.9b", 32, 2560, 96, 96, 64, 320},
    {"7.2b", 32, 4096, 128, 128, 96, 480}, {"13.3b", 61, 4096, 192, 192, 128, 384},
};

enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0] };

/* How a tensor is filled: mean + deviation times a normal number. */
struct filling {
    float mean, deviation;
};

/* A tensor that was filled. */
struct made {
    struct filling filling;
    size_t count;
    void *data;
};

/* Where the next tensor goes. */
struct maker {
    struct bench_model *model;
    struct progress progress;
    double ffn_zeros;
    bool shares;      /* Tensors filled alike have the same bytes. */
    struct made made[MADE_MAX];
    size_t made_count;
    uint64_t random;  /* State of xorshift64 (Marsaglia, Xorshift RNGs, 2003). */
    size_t used_bytes;
    size_t reported_bytes;
};

static uint64_t next_random(struct maker *maker)
{
    maker->random ^= maker->random << 13;
    maker->random ^= maker->random >> 7;
    maker->random ^= maker->random << 17;
    return maker->random;
}

/* Uniform in (0, 1). */
static double next_uniform(struct maker *maker)
{
    return ((double)(next_random(maker) >> 12) + 0.5) / 4503599627370496.0;
}

/* Box and Muller, A note on the generation of random normal deviates, 1958. */
static double next_normal(struct maker *maker)
{
    const double radius = sqrt(-2.0 * log(next_uniform(maker)));
    return radius * cos(6.283185307179586 * next_uniform(maker));
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits += 0x7fffu + (bits >> 16 & 1u); /* Round to nearest even. */
    return (uint16_t)(bits >> 16);
}

/* The z with that share of a normal distribution below it, by bisection. */
static double normal_quantile(double share)
{
    double low = -8.0;
    double high = 8.0;
    for (int step = 0; step < 60; step++) {
        const double middle = 0.5 * (low + high);
        if (0.5 * erfc(-middle / sqrt(2.0)) < share) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t name_len = strlen(name);
    const size_t end_len = strlen(end);
    return name_len >= end_len && strcmp(name + name_len - end_len, end) == 0;
}

/* By the tensor's name; C and F are its model's.
 * The channel mix: its input is 1 in the mean (ln2.bias) and, two rows mixed by half, varies by
 * 1/2 around it. So W x has the deviation d sqrt(3/2 C), and a mean of -z times that makes the
 * wanted share of it negative. */
static struct filling filling_of(const struct maker *maker, const char *name)
{
    const float C = (float)maker->model->spec.C;
    const float F = (float)maker->model->spec.F;
    const float per_channel = 1.0f / sqrtf(C);
    const double z = normal_quantile(maker->ffn_zeros);
    const struct {
        const char *name;
        struct filling filling;
    } rules[] = {
        {"emb.weight", {0.0f, 1.0f}},
        {"head.weight", {0.0f, 3.0f * per_channel}}, /* Logits deviate by 3. */
        {"ln2.bias", {1.0f, 0.0f}},
        {"ffn.x_k", {0.5f, 0.0f}},
        {"ffn.key.weight", {(float)(-z * sqrt(1.5)) * per_channel, per_channel}},
        {"ffn.value.weight", {0.0f, 0.3f / sqrtf(F)}},
        {"att.output.weight", {0.0f, 0.3f * per_channel}},
        {"att.w0", {-1.0f, 1.0f}},
        {"att.k_k", {0.85f, 0.05f}},
        {"att.k_a", {1.0f, 0.05f}},
        {"att.r_k", {0.0f, 0.05f}},
        {"ln0.weight", {1.0f, 0.0f}},
        {"ln1.weight", {1.0f, 0.0f}},
        {"ln2.weight", {1.0f, 0.0f}},
        {"ln_x.weight", {1.0f, 0.0f}},
        {"ln_out.weight", {1.0f, 0.0f}},
    };
    for (size_t index = 0; index < sizeof rules / sizeof rules[0]; index++) {
        if (ends_with(name, rules[index].name)) {
            return rules[index].filling;
        }
    }
    if (ends_with(name, ".bias") || ends_with(name, "0")) {
        return (struct filling){0.0f, 0.0f}; /* Biases, a0, v0. */
    }
    if (strstr(name, ".x_") != NULL) {
        return (struct filling){0.5f, 0.2f};
    }
    return (struct filling){0.0f, per_channel};
}

static void fill(struct maker *maker, uint16_t *values, size_t count, struct filling filling)
{
    static uint16_t normals[NORMAL_VALUES];
    for (size_t index = 0; index < NORMAL_VALUES; index++) {
        normals[index] =
            to_bf16(filling.mean + filling.deviation * (float)next_normal(maker));
    }
    for (size_t index = 0; index < count; index += 4) {
        uint64_t random = next_random(maker);
        const size_t end = index + 4 < count ? index + 4 : count;
        for (size_t at = index; at < end; at++) {
            values[at] = normals[random % NORMAL_VALUES];
            random >>= 16;
        }
    }
}

/* The bytes of an earlier tensor that is filled alike; NULL when there is none, or each tensor has
 * its own. */
static void *find_alike(const struct maker *maker, struct filling filling, size_t count)
{
    for (size_t index = 0; maker->shares && index < maker->made_count; index++) {
        const struct made *made = &maker->made[index];
        if (made->count == count && made->filling.mean == filling.mean &&
            made->filling.deviation == filling.deviation) {
            return made->data;
        }
    }
    return NULL;
}

static void make(struct maker *maker, void *data, size_t count, struct filling filling)
{
    fill(maker, data, count, filling);
    if (maker->made_count < MADE_MAX) {
        maker->made[maker->made_count++] =
            (struct made){.filling = filling, .count = count, .data = data};
    }
}

/* Lays out one tensor; with the model's bytes still missing it only counts. */
static const struct tensor *add_tensor(struct maker *maker, const char *name, uint64_t rows,
                                       uint64_t columns)
{
    struct bench_model *model = maker->model;
    const size_t count = (size_t)(rows * columns);
    const size_t offset = maker->used_bytes;
    maker->used_bytes += (count * BF16_BYTES + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    model->tensor_count++;
    if (model->bytes == NULL) {
        return NULL;
    }
    const struct filling filling = filling_of(maker, name);
    void *data = find_alike(maker, filling, count);
    if (data == NULL) {
        data = (char *)model->bytes + offset; /* Pages that are never touched take no memory. */
        make(maker, data, count, filling);
    }
    if (maker->used_bytes - maker->reported_bytes > PROGRESS_BYTES) {
        maker->reported_bytes = maker->used_bytes;
        progress_report(&maker->progress, maker->used_bytes, model->byte_count);
    }
    struct tensor *tensor = &model->tensors[model->tensor_count - 1];
    *tensor = (struct tensor){
        .name = text_from(name),
        .type = TENSOR_BF16,
        .dimension_count = columns == 1 ? 1 : 2,
        .shape = {rows, columns},
        .data = data,
        .bytes = count * BF16_BYTES,
    };
    return tensor;
}

static void add_tensors(struct maker *maker)
{
    struct model_spec *spec = &maker->model->spec;
    const uint32_t V = spec->V, C = spec->C, H = spec->H, N = spec->N, F = spec->F;
    const uint32_t rank_w = spec->rank_w, rank_a = spec->rank_a;
    const uint32_t rank_v = spec->rank_v, rank_g = spec->rank_g;
    maker->used_bytes = 0;
    maker->model->tensor_count = 0;
#define X(field, name, rows, columns) spec->field = add_tensor(maker, name, rows, columns);
    MODEL_TENSORS(X)
#undef X
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        struct model_layer *tensors = &spec->layers[layer];
#define X(field, name, rows, columns) tensors->field = add_tensor(maker, name, rows, columns);
        MODEL_LAYER_TENSORS(X)
#undef X
    }
    spec->layers[0].v0 = NULL; /* As in the official files: layer 0 has no value residual. */
    spec->layers[0].v1 = NULL;
    spec->layers[0].v2 = NULL;
}

static enum error_code take_memory(struct bench_model *model, const char *size, bool shares,
                                   struct error *error)
{
    const uint64_t memory_bytes =
        (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (shares || model->byte_count < memory_bytes) {
        model->tensors = calloc(model->tensor_count, sizeof *model->tensors);
        void *bytes = mmap(NULL, model->byte_count, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        model->bytes = bytes == MAP_FAILED ? NULL : bytes;
        if (model->bytes != NULL) {
            (void)madvise(bytes, model->byte_count, MADV_HUGEPAGE); /* As a file's pages are. */
        }
    }
    if (model->tensors == NULL || model->bytes == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "--synthetic %s needs %.1f GB of weights, this machine has %.1f GB of "
                         "memory; choose a smaller one of %s",
                         size, (double)model->byte_count * 1e-9, (double)memory_bytes * 1e-9,
                         bench_model_sizes());
    }
    return ERROR_NONE;
}

const char *bench_model_sizes(void)
{
    return "0.1b, 0.4b, 1.5b, 2.9b, 7.2b, 13.3b";
}

enum error_code bench_model_make(const char *size, double ffn_zeros, bool shares,
                                 struct bench_model *model, struct error *error)
{
    *model = (struct bench_model){0};
    const struct shape *shape = shapes;
    while (shape < shapes + SHAPE_COUNT && strcmp(shape->name, size) != 0) {
        shape++;
    }
    if (shape == shapes + SHAPE_COUNT) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "--synthetic %.40s: expected one of %s",
                         size, bench_model_sizes());
    }
    struct model_spec *spec = &model->spec;
    *spec = (struct model_spec){
        .V = VOCABULARY,
        .L = shape->L,
        .C = shape->C,
        .H = shape->C / MODEL_HEAD_SIZE,
        .N = MODEL_HEAD_SIZE,
        .F = 4 * shape->C,
        .rank_w = shape->rank_w,
        .rank_a = shape->rank_a,
        .rank_v = shape->rank_v,
        .rank_g = shape->rank_g,
        .layers = calloc(shape->L, sizeof *spec->layers),
    };
    if (spec->layers == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    }
    struct maker maker = {.model = model,
                          .ffn_zeros = ffn_zeros,
                          .shares = shares,
                          .random = 88172645463325252u};
    add_tensors(&maker);
    model->byte_count = maker.used_bytes;
    const enum error_code code = take_memory(model, size, shares, error);
    if (code != ERROR_NONE) {
        bench_model_deinit(model);
        return code;
    }
    progress_begin(&maker.progress, "making random weights");
    add_tensors(&maker);
    progress_end(&maker.progress);
    for (size_t index = 0; index < model->tensor_count; index++) {
        spec->parameter_count += model->tensors[index].bytes / BF16_BYTES;
    }
    return ERROR_NONE;
}

void bench_model_deinit(struct bench_model *model)
{
    if (model->bytes != NULL) {
        munmap(model->bytes, model->byte_count);
    }
    free(model->tensors);
    free(model->spec.layers);
    *model = (struct bench_model){0};
}
