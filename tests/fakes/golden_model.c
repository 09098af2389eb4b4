/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/golden_model.c - the formula of every tensor, and a writer of safetensors.
 *
 * Thread: any. */
#include "tests/fakes/golden_model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { HEADER_BYTES_MAX = 32 * 1024, NAME_BYTES = 64 };

/* MATRIX: ((x >> 24) - 128) 2^-exponent. VECTOR: centre + ((x >> 28) - 8) 2^-exponent. */
enum kind { MATRIX, VECTOR };

struct recipe {
    const char *name; /* Within a block it begins with a dot. */
    enum kind kind;
    double centre;
    int exponent;
    uint32_t shape[3]; /* Ends at the first 0. */
};

#define NORM(prefix)                                                                        \
    {prefix ".weight", VECTOR, 1.0, 5, {GOLDEN_C}}, {prefix ".bias", VECTOR, 0.0, 5, {GOLDEN_C}}
#define MIX(name) {name, VECTOR, 0.5, 4, {1, 1, GOLDEN_C}}

static const struct recipe recipes[] = {
    {"emb.weight", MATRIX, 0.0, 7, {GOLDEN_V, GOLDEN_C}},
    NORM("blocks.0.ln0"),
    NORM(".ln1"),
    NORM(".ln2"),
    MIX(".att.x_r"),
    MIX(".att.x_w"),
    MIX(".att.x_k"),
    MIX(".att.x_v"),
    MIX(".att.x_a"),
    MIX(".att.x_g"),
    {".att.w0", VECTOR, -2.0, 1, {1, 1, GOLDEN_C}},
    {".att.w1", MATRIX, 0.0, 9, {GOLDEN_C, GOLDEN_RANK}},
    {".att.w2", MATRIX, 0.0, 7, {GOLDEN_RANK, GOLDEN_C}},
    {".att.a0", VECTOR, 0.0, 2, {1, 1, GOLDEN_C}},
    {".att.a1", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_RANK}},
    {".att.a2", MATRIX, 0.0, 8, {GOLDEN_RANK, GOLDEN_C}},
    {".att.v0", VECTOR, 0.5, 3, {1, 1, GOLDEN_C}},
    {".att.v1", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_RANK}},
    {".att.v2", MATRIX, 0.0, 8, {GOLDEN_RANK, GOLDEN_C}},
    {".att.g1", MATRIX, 0.0, 9, {GOLDEN_C, GOLDEN_RANK_G}},
    {".att.g2", MATRIX, 0.0, 8, {GOLDEN_RANK_G, GOLDEN_C}},
    {".att.k_k", VECTOR, 0.75, 4, {1, 1, GOLDEN_C}},
    {".att.k_a", VECTOR, 1.0, 5, {1, 1, GOLDEN_C}},
    {".att.r_k", VECTOR, 0.0, 4, {GOLDEN_H, GOLDEN_N}},
    {".att.receptance.weight", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_C}},
    {".att.key.weight", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_C}},
    {".att.value.weight", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_C}},
    {".att.output.weight", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_C}},
    NORM(".att.ln_x"),
    {".att.time_state", MATRIX, 0.0, 8, {GOLDEN_H, GOLDEN_N, GOLDEN_N}},
    MIX(".ffn.x_k"),
    {".ffn.key.weight", MATRIX, 0.0, 10, {GOLDEN_F, GOLDEN_C}},
    {".ffn.value.weight", MATRIX, 0.0, 10, {GOLDEN_C, GOLDEN_F}},
    NORM("ln_out"),
    {"head.weight", MATRIX, 0.0, 9, {GOLDEN_V, GOLDEN_C}},
};

enum { RECIPE_COUNT = sizeof(recipes) / sizeof(recipes[0]) };

static size_t recipe_count(const struct recipe *recipe)
{
    size_t count = 1;
    for (size_t index = 0; index < 3 && recipe->shape[index] != 0; index++) {
        count *= recipe->shape[index];
    }
    return count;
}

static void make_values(const struct recipe *recipe, const char *name, double *values_out)
{
    uint32_t x = 2166136261u; /* FNV-1a of the name. */
    for (const char *byte = name; *byte != '\0'; byte++) {
        x = (x ^ (uint32_t)(unsigned char)*byte) * 16777619u;
    }
    for (size_t index = 0; index < recipe_count(recipe); index++) {
        x = 1664525u * x + 1013904223u;
        const double integer =
            recipe->kind == MATRIX ? (double)(x >> 24) - 128.0 : (double)(x >> 28) - 8.0;
        values_out[index] = recipe->centre + ldexp(integer, -recipe->exponent);
    }
}

size_t golden_tensor(const char *name, double *values_out)
{
    const char *suffix = name;
    if (strncmp(name, "blocks.", 7) == 0 && strstr(name, ".ln0.") == NULL) {
        suffix = strchr(name + 7, '.');
    }
    for (size_t index = 0; suffix != NULL && index < RECIPE_COUNT; index++) {
        if (strcmp(recipes[index].name, suffix) == 0) {
            if (values_out != NULL) {
                make_values(&recipes[index], name, values_out);
            }
            return recipe_count(&recipes[index]);
        }
    }
    return 0;
}

/* A safetensors file that grows. */
struct writer {
    const struct golden_options *options;
    char header[HEADER_BYTES_MAX];
    size_t header_len;
    unsigned char *data;
    size_t data_bytes;
};

static void append_header(struct writer *writer, const char *format, ...) PRINTF_LIKE(2, 3);

static void append_header(struct writer *writer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int len = vsnprintf(writer->header + writer->header_len,
                              sizeof(writer->header) - writer->header_len, format, arguments);
    va_end(arguments);
    writer->header_len += (size_t)len;
    ASSERT(writer->header_len < sizeof(writer->header));
}

/* Appends one value in the file's type; all are exact, so cutting bits off loses nothing. */
static void append_value(struct writer *writer, double value)
{
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof(bits));
    uint16_t half = (uint16_t)(bits >> 16);
    if (writer->options->type == TENSOR_F16) {
        const uint32_t sign = bits >> 16 & 0x8000u;
        const int32_t exponent = (int32_t)(bits >> 23 & 0xffu) - 127 + 15;
        ASSERT(single == 0.0f || (exponent > 0 && exponent < 31));
        half = (uint16_t)(single == 0.0f ? sign
                                         : sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ffu));
    }
    const bool is_f32 = writer->options->type == TENSOR_F32;
    const size_t bytes = is_f32 ? sizeof(single) : sizeof(half);
    memcpy(writer->data + writer->data_bytes, is_f32 ? (const void *)&single : &half, bytes);
    writer->data_bytes += bytes;
}

static void append_tensor(struct writer *writer, const struct recipe *recipe, const char *name)
{
    static const char *const dtypes[] = {
        [TENSOR_BF16] = "BF16", [TENSOR_F16] = "F16", [TENSOR_F32] = "F32"};
    const size_t count = recipe_count(recipe);
    const size_t begin = writer->data_bytes;
    double *values = malloc(count * sizeof(*values));
    writer->data = realloc(writer->data, begin + count * sizeof(float));
    ASSERT(values != NULL && writer->data != NULL);
    make_values(recipe, name, values);
    for (size_t index = 0; index < count; index++) {
        append_value(writer, values[index]);
    }
    free(values);
    append_header(writer, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", begin == 0 ? "{" : ",", name,
                  dtypes[writer->options->type]);
    for (size_t index = 0; index < 3 && recipe->shape[index] != 0; index++) {
        append_header(writer, "%s%u", index == 0 ? "" : ",", recipe->shape[index]);
    }
    append_header(writer, "],\"data_offsets\":[%zu,%zu]}", begin, writer->data_bytes);
}

static bool is_left_out(const struct writer *writer, const struct recipe *recipe, uint32_t layer)
{
    const bool is_value_residual = strncmp(recipe->name, ".att.v", 6) == 0 &&
                                   recipe->name[6] >= '0' && recipe->name[6] <= '2';
    if (is_value_residual && layer == 0) {
        return !writer->options->has_block_0_value;
    }
    return strcmp(recipe->name, ".att.time_state") == 0 && !writer->options->has_time_state;
}

void *golden_model_bytes(const struct golden_options *options, size_t *byte_count_out)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    ASSERT(writer != NULL);
    writer->options = options;
    for (size_t index = 0; index < RECIPE_COUNT; index++) {
        const struct recipe *recipe = &recipes[index];
        if (recipe->name[0] != '.') {
            append_tensor(writer, recipe, recipe->name);
            continue;
        }
        for (uint32_t layer = 0; layer < GOLDEN_L; layer++) {
            char name[NAME_BYTES];
            snprintf(name, sizeof(name), "blocks.%u%s", layer, recipe->name);
            if (!is_left_out(writer, recipe, layer)) {
                append_tensor(writer, recipe, name);
            }
        }
    }
    append_header(writer, "}");
    while (writer->header_len % 8 != options->misalignment_bytes % 8) {
        append_header(writer, " ");
    }
    const uint64_t header_bytes = writer->header_len;
    *byte_count_out = sizeof(header_bytes) + writer->header_len + writer->data_bytes;
    unsigned char *bytes = malloc(*byte_count_out);
    ASSERT(bytes != NULL);
    memcpy(bytes, &header_bytes, sizeof(header_bytes));
    memcpy(bytes + sizeof(header_bytes), writer->header, writer->header_len);
    memcpy(bytes + sizeof(header_bytes) + writer->header_len, writer->data, writer->data_bytes);
    free(writer->data);
    free(writer);
    return bytes;
}

static void die_on(enum error_code code, const struct error *error)
{
    if (code != ERROR_NONE) {
        fprintf(stderr, "golden model: %s\n", error->message);
        abort();
    }
}

void golden_model_open(struct golden_model *model, const struct golden_options *options)
{
    struct error error = {0};
    model->bytes = golden_model_bytes(options, &model->byte_count);
    die_on(model_file_open_memory(model->bytes, model->byte_count, "golden", &model->file, &error),
           &error);
    die_on(model_spec_read(model->file, &model->spec, &error), &error);
}

void golden_model_close(struct golden_model *model)
{
    model_spec_deinit(&model->spec);
    model_file_close(model->file);
    free(model->bytes);
    *model = (struct golden_model){0};
}
