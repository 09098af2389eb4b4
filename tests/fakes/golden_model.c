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

/* Writes one value in a file's type; all are exact, so cutting bits off loses nothing. */
static size_t write_value(enum tensor_type type, double value, unsigned char *to)
{
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof(bits));
    uint16_t half = (uint16_t)(bits >> 16);
    if (type == TENSOR_F16) {
        const uint32_t sign = bits >> 16 & 0x8000u;
        const int32_t exponent = (int32_t)(bits >> 23 & 0xffu) - 127 + 15;
        ASSERT(single == 0.0f || (exponent > 0 && exponent < 31));
        half = (uint16_t)(single == 0.0f ? sign
                                         : sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ffu));
    }
    const size_t bytes = type == TENSOR_F32 ? sizeof(single) : sizeof(half);
    memcpy(to, type == TENSOR_F32 ? (const void *)&single : (const void *)&half, bytes);
    return bytes;
}

static void make_tensor(const struct recipe *recipe, const char *name, enum tensor_type type,
                        struct golden_tensor *tensor)
{
    const size_t count = recipe_count(recipe);
    double *values = malloc(count * sizeof(*values));
    *tensor = (struct golden_tensor){.type = type, .data = malloc(count * sizeof(float))};
    ASSERT(values != NULL && tensor->data != NULL);
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    for (size_t index = 0; index < 3 && recipe->shape[index] != 0; index++) {
        tensor->shape[index] = recipe->shape[index];
        tensor->dimension_count++;
    }
    make_values(recipe, name, values);
    for (size_t index = 0; index < count; index++) {
        tensor->bytes += write_value(type, values[index], tensor->data + tensor->bytes);
    }
    free(values);
}

static bool is_left_out(const struct golden_options *options, const struct recipe *recipe,
                        uint32_t layer)
{
    const bool is_value_residual = strncmp(recipe->name, ".att.v", 6) == 0 &&
                                   recipe->name[6] >= '0' && recipe->name[6] <= '2';
    if (is_value_residual && layer == 0) {
        return !options->has_block_0_value;
    }
    return strcmp(recipe->name, ".att.time_state") == 0 && !options->has_time_state;
}

size_t golden_tensors(const struct golden_options *options, struct golden_tensor *tensors_out)
{
    size_t count = 0;
    for (size_t index = 0; index < RECIPE_COUNT; index++) {
        const struct recipe *recipe = &recipes[index];
        if (recipe->name[0] != '.') {
            make_tensor(recipe, recipe->name, options->type, &tensors_out[count++]);
            continue;
        }
        for (uint32_t layer = 0; layer < GOLDEN_L; layer++) {
            char name[NAME_BYTES];
            snprintf(name, sizeof(name), "blocks.%u%s", layer, recipe->name);
            if (!is_left_out(options, recipe, layer)) {
                make_tensor(recipe, name, options->type, &tensors_out[count++]);
            }
        }
    }
    ASSERT_COMPARE(count, <=, GOLDEN_TENSORS_MAX);
    return count;
}

void golden_tensors_free(struct golden_tensor *tensors, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        free(tensors[index].data);
    }
}

/* A header that grows. */
struct header {
    char text[HEADER_BYTES_MAX];
    size_t len;
};

static void append(struct header *header, const char *format, ...) PRINTF_LIKE(2, 3);

static void append(struct header *header, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int len = vsnprintf(header->text + header->len, sizeof(header->text) - header->len,
                              format, arguments);
    va_end(arguments);
    header->len += (size_t)len;
    ASSERT(header->len < sizeof(header->text));
}

static void append_entry(struct header *header, const struct golden_tensor *tensor, size_t begin)
{
    append(header, "\"%s\":{\"dtype\":\"%s\",\"shape\":[", tensor->name,
           tensor_type_name(tensor->type));
    for (uint32_t index = 0; index < tensor->dimension_count; index++) {
        append(header, "%s%llu", index == 0 ? "" : ",", (unsigned long long)tensor->shape[index]);
    }
    append(header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + tensor->bytes);
}

void *golden_safetensors_bytes(const struct golden_tensor *tensors, size_t count,
                               uint32_t misalignment_bytes, size_t *byte_count_out)
{
    struct header *header = calloc(1, sizeof(*header));
    ASSERT(header != NULL);
    size_t data_bytes = 0;
    for (size_t index = 0; index < count; index++) {
        append(header, index == 0 ? "{" : ",");
        append_entry(header, &tensors[index], data_bytes);
        data_bytes += tensors[index].bytes;
    }
    append(header, "}");
    while (header->len % 8 != misalignment_bytes % 8) {
        append(header, " ");
    }
    const uint64_t header_bytes = header->len;
    *byte_count_out = sizeof(header_bytes) + header->len + data_bytes;
    unsigned char *bytes = malloc(*byte_count_out);
    ASSERT(bytes != NULL);
    memcpy(bytes, &header_bytes, sizeof(header_bytes));
    memcpy(bytes + sizeof(header_bytes), header->text, header->len);
    unsigned char *data = bytes + sizeof(header_bytes) + header->len;
    for (size_t index = 0; index < count; index++) {
        memcpy(data, tensors[index].data, tensors[index].bytes);
        data += tensors[index].bytes;
    }
    free(header);
    return bytes;
}

void *golden_model_bytes(const struct golden_options *options, size_t *byte_count_out)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    const size_t count = golden_tensors(options, tensors);
    void *bytes =
        golden_safetensors_bytes(tensors, count, options->misalignment_bytes, byte_count_out);
    golden_tensors_free(tensors, count);
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
