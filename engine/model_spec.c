/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_spec.c - reads an RWKV-7 model's numbers from shapes and checks every tensor.
 *
 * File formats do not live here (model_file.c), nor does arithmetic (cpu/).
 * Thread: immutable after model_spec_read. */
#include "engine/model_spec.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Bounds far above any model, so that no product of two of them overflows 64 bits. */
    LAYERS_MAX = 4096,
    CHANNELS_MAX = 1 << 17,
    FFN_CHANNELS_MAX = 1 << 20,
    KEY_BYTES_MAX = 64,         /* Longest key looked up; the longest real one has 37. */
    FINGERPRINT_SAMPLES = 4,    /* Places of each tensor that the fingerprint reads, */
    FINGERPRINT_BYTES = 64,     /* and how much at each: four pages of a file, not all of it. */
};

/* A row or column count in the tables of model_spec.h: a letter, a rank, or 1. */
enum dimension {
    DIMENSION_1,
    DIMENSION_V,
    DIMENSION_C,
    DIMENSION_H,
    DIMENSION_N,
    DIMENSION_F,
    DIMENSION_rank_w,
    DIMENSION_rank_a,
    DIMENSION_rank_v,
    DIMENSION_rank_g,
};

/* One line of the tables in model_spec.h. */
struct tensor_rule {
    const char *name;
    size_t field_offset; /* Of the pointer in struct model_layer or struct model_spec. */
    enum dimension rows;
    enum dimension columns;
};

static const struct tensor_rule layer_rules[] = {
#define X(field, name, rows, columns)                                                       \
    {name, offsetof(struct model_layer, field), DIMENSION_##rows, DIMENSION_##columns},
    MODEL_LAYER_TENSORS(X)
#undef X
};

static const struct tensor_rule model_rules[] = {
#define X(field, name, rows, columns)                                                       \
    {name, offsetof(struct model_spec, field), DIMENSION_##rows, DIMENSION_##columns},
    MODEL_TENSORS(X)
#undef X
};

enum {
    LAYER_RULE_COUNT = sizeof(layer_rules) / sizeof(layer_rules[0]),
    MODEL_RULE_COUNT = sizeof(model_rules) / sizeof(model_rules[0]),
};

#define SUPPORTED "supported: RWKV-7 x070"

/* Keys that give another architecture away. The first row that is found in any key wins. */
static const struct {
    const char *part;
    const char *architecture;
} strangers[] = {
    {".qkv.ennk", "RWKV-8 (research)"},
    {".qkv.emm", "RWKV-8 (research)"},
    {".qkv.kkup", "RWKV-8 (research)"},
    {".qkv.vvup", "RWKV-8 (research)"},
    {"ffn.enn.weight", "RWKV-8 (research)"},
    {".qkv.", "RWKV-7b (DeepEmbed attention), whose memory grows with the context"},
    {"ffn.s_emb", "RWKV-7a (DeepEmbed)"},
    {"ffn.s0", "RWKV-7a (DeepEmbed)"},
    {".time_maa_", "RWKV-6"},
    {".time_faaaa", "RWKV-5 or RWKV-6"},
    {"att.gate.weight", "RWKV-5"},
    {".time_first", "RWKV-4"},
    {".time_decay", "RWKV-4, 5 or 6"},
    {".time_mix_", "RWKV-4 or RWKV-5"},
    {".attn.q_proj", "an fla hybrid with attention layers"},
    {".self_attn.", "a transformer, or a hybrid of one with RWKV"},
    {"mlp.gate_proj", "a hybrid of RWKV with a transformer's gated MLP"},
    {"vision_tower", "a vision model"},
    {"_embedder.", "a speech model"},
    {".lora_A", "an RWKV-PEFT adapter; merge it into its model"},
    {".disha", "an RWKV-PEFT adapter (DiSHA); merge it into its model"},
    {".bone", "an RWKV-PEFT adapter (bone); merge it into its model"},
    {"ffn.receptance.weight", "RWKV-4, 5 or 6"},
};

static uint64_t dimension_value(const struct model_spec *spec, enum dimension dimension)
{
    switch (dimension) {
    case DIMENSION_1:
        return 1;
    case DIMENSION_V:
        return spec->V;
    case DIMENSION_C:
        return spec->C;
    case DIMENSION_H:
        return spec->H;
    case DIMENSION_N:
        return spec->N;
    case DIMENSION_F:
        return spec->F;
    case DIMENSION_rank_w:
        return spec->rank_w;
    case DIMENSION_rank_a:
        return spec->rank_a;
    case DIMENSION_rank_v:
        return spec->rank_v;
    case DIMENSION_rank_g:
        return spec->rank_g;
    }
    return 0;
}

/* A tensor's shape for a message. */
struct shape_text {
    char text[96];
};

static struct shape_text shape_show(const struct tensor *tensor)
{
    struct shape_text shown = {"["};
    size_t len = 1;
    for (uint32_t index = 0; index < tensor->dimension_count && len < sizeof(shown.text); index++) {
        len += (size_t)snprintf(shown.text + len, sizeof(shown.text) - len, "%s%" PRIu64,
                                index == 0 ? "" : ",", tensor->shape[index]);
    }
    if (len < sizeof(shown.text)) {
        snprintf(shown.text + len, sizeof(shown.text) - len, "]");
    }
    return shown;
}

/* True for [rows][columns]; a vector may carry leading ones ([C] and [1,1,C] are the same). */
static bool shape_is(const struct tensor *tensor, uint64_t rows, uint64_t columns)
{
    const uint32_t count = tensor->dimension_count;
    if (columns != 1) {
        return count == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns;
    }
    for (uint32_t index = 0; index + 1 < count; index++) {
        if (tensor->shape[index] != 1) {
            return false;
        }
    }
    return count > 0 && tensor->shape[count - 1] == rows;
}

/* Splits "blocks.<layer>.<rest>"; false when the key does not begin so. */
static bool split_layer_key(struct text key, uint32_t *layer_out, struct text *rest_out)
{
    if (!text_starts_with(key, TEXT("blocks."))) {
        return false;
    }
    struct text rest = {.bytes = key.bytes + 7, .len = key.len - 7};
    const struct text digits = text_cut(&rest, '.');
    uint64_t layer;
    const bool is_plain = digits.len > 0 && digits.bytes[0] >= '0' && digits.bytes[0] <= '9' &&
                          (digits.len == 1 || digits.bytes[0] != '0');
    if (!is_plain || !text_to_uint64(digits, &layer) || layer >= LAYERS_MAX) {
        return false;
    }
    *layer_out = (uint32_t)layer;
    *rest_out = rest;
    return true;
}

static const struct tensor_rule *find_rule(const struct tensor_rule *rules, size_t rule_count,
                                           struct text name)
{
    for (size_t index = 0; index < rule_count; index++) {
        if (text_equals(name, text_from(rules[index].name))) {
            return &rules[index];
        }
    }
    return NULL;
}

static enum error_code refuse_architecture(const struct model_file *file, struct error *error)
{
    for (size_t row = 0; row < sizeof(strangers) / sizeof(strangers[0]); row++) {
        const char *part = strangers[row].part;
        for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
            const struct text name = model_file_tensor_at(file, index)->name;
            if (memmem(name.bytes, name.len, part, strlen(part)) != NULL) {
                return error_set(error, ERROR_CORRUPT,
                                 "%.200s: tensor %.*s: this is %s; " SUPPORTED,
                                 model_file_name(file), (int)(name.len < 80 ? name.len : 80),
                                 name.bytes, strangers[row].architecture);
            }
        }
    }
    return ERROR_NONE;
}

static enum error_code refuse_missing(const struct model_file *file, const char *key,
                                      struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: missing; " SUPPORTED,
                     model_file_name(file), key);
}

/* Finds a matrix that shapes are read from. */
static enum error_code find_matrix(const struct model_file *file, const char *key,
                                   uint64_t rows_max, uint64_t columns_max,
                                   const struct tensor **tensor_out, struct error *error)
{
    const struct tensor *tensor = model_file_find(file, key);
    if (tensor == NULL) {
        return refuse_missing(file, key, error);
    }
    if (tensor->dimension_count != 2 || tensor->shape[0] < 1 || tensor->shape[0] > rows_max ||
        tensor->shape[1] < 1 || tensor->shape[1] > columns_max) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: shape %s, expected two dimensions of at most "
                         "[%" PRIu64 ",%" PRIu64 "]; " SUPPORTED,
                         model_file_name(file), key, shape_show(tensor).text, rows_max,
                         columns_max);
    }
    *tensor_out = tensor;
    return ERROR_NONE;
}

/* Reads a rank from the columns of a low-rank matrix [C][rank]. */
static enum error_code read_rank(const struct model_file *file, uint32_t layer, const char *name,
                                 uint32_t *rank_out, struct error *error)
{
    char key[KEY_BYTES_MAX];
    snprintf(key, sizeof(key), "blocks.%u.att.%s", layer, name);
    const struct tensor *tensor = NULL;
    const enum error_code code =
        find_matrix(file, key, CHANNELS_MAX, CHANNELS_MAX, &tensor, error);
    if (code == ERROR_NONE) {
        *rank_out = (uint32_t)tensor->shape[1];
    }
    return code;
}

/* Reads V, C, H, N, F. */
static enum error_code read_letters(const struct model_file *file, struct model_spec *spec,
                                    struct error *error)
{
    const struct tensor *tensor;
    enum error_code code =
        find_matrix(file, "emb.weight", LIMIT_VOCABULARY, CHANNELS_MAX, &tensor, error);
    if (code != ERROR_NONE) {
        return code;
    }
    spec->V = (uint32_t)tensor->shape[0];
    spec->C = (uint32_t)tensor->shape[1];
    code = find_matrix(file, "blocks.0.att.r_k", CHANNELS_MAX, CHANNELS_MAX, &tensor, error);
    if (code != ERROR_NONE) {
        return code;
    }
    spec->H = (uint32_t)tensor->shape[0];
    spec->N = (uint32_t)tensor->shape[1];
    if (spec->N != MODEL_HEAD_SIZE) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor blocks.0.att.r_k: head size %u, expected %d; " SUPPORTED,
                         model_file_name(file), spec->N, MODEL_HEAD_SIZE);
    }
    if ((uint64_t)spec->H * spec->N != spec->C) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor blocks.0.att.r_k: %u heads of %u, expected %u channels in "
                         "all; " SUPPORTED,
                         model_file_name(file), spec->H, spec->N, spec->C);
    }
    code = find_matrix(file, "blocks.0.ffn.key.weight", FFN_CHANNELS_MAX, CHANNELS_MAX, &tensor,
                       error);
    if (code == ERROR_NONE) {
        spec->F = (uint32_t)tensor->shape[0];
    }
    return code;
}

/* L is the highest block of any key + 1; whether all are there is checked later. */
static uint32_t count_layers(const struct model_file *file)
{
    uint32_t layer_count = 0;
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        uint32_t layer;
        struct text rest;
        if (split_layer_key(model_file_tensor_at(file, index)->name, &layer, &rest) &&
            layer >= layer_count) {
            layer_count = layer + 1;
        }
    }
    return layer_count;
}

static enum error_code read_ranks(const struct model_file *file, struct model_spec *spec,
                                  struct error *error)
{
    /* Block 1 where there is one: block 0 need not have the value residual. */
    const uint32_t layer = spec->L > 1 ? 1 : 0;
    enum error_code code = read_rank(file, layer, "w1", &spec->rank_w, error);
    if (code == ERROR_NONE) {
        code = read_rank(file, layer, "a1", &spec->rank_a, error);
    }
    if (code == ERROR_NONE && layer > 0) {
        code = read_rank(file, layer, "v1", &spec->rank_v, error);
    }
    if (code == ERROR_NONE) {
        code = read_rank(file, layer, "g1", &spec->rank_g, error);
    }
    return code;
}

/* Finds the tensor of a rule, checks its shape, and puts it into *field. */
static enum error_code bind_tensor(const struct model_file *file, struct model_spec *spec,
                                   const char *key, const struct tensor_rule *rule,
                                   const struct tensor **field, struct error *error)
{
    const struct tensor *tensor = model_file_find(file, key);
    if (tensor == NULL) {
        return refuse_missing(file, key, error);
    }
    const uint64_t rows = dimension_value(spec, rule->rows);
    const uint64_t columns = dimension_value(spec, rule->columns);
    if (!shape_is(tensor, rows, columns)) {
        char expected[48];
        snprintf(expected, sizeof(expected),
                 columns == 1 ? "[%" PRIu64 "]" : "[%" PRIu64 ",%" PRIu64 "]", rows, columns);
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: shape %s, expected %s; " SUPPORTED,
                         model_file_name(file), key, shape_show(tensor).text, expected);
    }
    *field = tensor;
    spec->parameter_count += rows * columns;
    return ERROR_NONE;
}

static bool is_value_residual(const struct tensor_rule *rule)
{
    return rule->field_offset == offsetof(struct model_layer, v0) ||
           rule->field_offset == offsetof(struct model_layer, v1) ||
           rule->field_offset == offsetof(struct model_layer, v2);
}

/* Where a rule's tensor pointer is in the struct that starts at `base`. */
static const struct tensor **rule_field(void *base, const struct tensor_rule *rule)
{
    return (const struct tensor **)(void *)((char *)base + rule->field_offset);
}

static enum error_code bind_all(const struct model_file *file, struct model_spec *spec,
                                struct error *error)
{
    for (size_t row = 0; row < MODEL_RULE_COUNT; row++) {
        const struct tensor_rule *rule = &model_rules[row];
        const enum error_code code =
            bind_tensor(file, spec, rule->name, rule, rule_field(spec, rule), error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        for (size_t row = 0; row < LAYER_RULE_COUNT; row++) {
            const struct tensor_rule *rule = &layer_rules[row];
            if (layer == 0 && is_value_residual(rule)) {
                continue;
            }
            char key[KEY_BYTES_MAX];
            snprintf(key, sizeof(key), "blocks.%u.%s", layer, rule->name);
            const enum error_code code = bind_tensor(
                file, spec, key, rule, rule_field(&spec->layers[layer], rule), error);
            if (code != ERROR_NONE) {
                return code;
            }
        }
    }
    return ERROR_NONE;
}

/* Binds att.time_state: [H][N][N] in every layer, or in none. */
static enum error_code bind_time_states(const struct model_file *file, struct model_spec *spec,
                                        struct error *error)
{
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        char key[KEY_BYTES_MAX];
        snprintf(key, sizeof(key), "blocks.%u.att.time_state", layer);
        const struct tensor *tensor = model_file_find(file, key);
        const bool is_expected = layer == 0 ? tensor != NULL : spec->layers[0].time_state != NULL;
        if ((tensor != NULL) != is_expected) {
            return error_set(error, ERROR_CORRUPT,
                             "%.200s: tensor %s: %s; a tuned state is in all layers or in none",
                             model_file_name(file), key, is_expected ? "missing" : "unexpected");
        }
        if (tensor != NULL && !(tensor->dimension_count == 3 && tensor->shape[0] == spec->H &&
                                tensor->shape[1] == spec->N && tensor->shape[2] == spec->N)) {
            return error_set(error, ERROR_CORRUPT,
                             "%.200s: tensor %s: shape %s, expected [%u,%u,%u]; " SUPPORTED,
                             model_file_name(file), key, shape_show(tensor).text, spec->H, spec->N,
                             spec->N);
        }
        spec->layers[layer].time_state = tensor;
    }
    return ERROR_NONE;
}

/* Every key must be one that the model has; a surplus one would be a part left out. */
static enum error_code refuse_unknown(const struct model_file *file, struct error *error)
{
    for (uint32_t index = 0; index < model_file_tensor_count(file); index++) {
        const struct text name = model_file_tensor_at(file, index)->name;
        uint32_t layer;
        struct text rest;
        bool is_known = find_rule(model_rules, MODEL_RULE_COUNT, name) != NULL;
        if (!is_known && split_layer_key(name, &layer, &rest)) {
            is_known = find_rule(layer_rules, LAYER_RULE_COUNT, rest) != NULL ||
                       text_equals(rest, TEXT("att.time_state"));
        }
        if (!is_known) {
            return error_set(error, ERROR_CORRUPT, "%.200s: tensor %.*s: unknown; " SUPPORTED,
                             model_file_name(file), (int)(name.len < 128 ? name.len : 128),
                             name.bytes);
        }
    }
    return ERROR_NONE;
}

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t byte_count)
{
    const unsigned char *octets = bytes;
    for (size_t index = 0; index < byte_count; index++) {
        hash = (hash ^ octets[index]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_tensor(uint64_t hash, const struct tensor *tensor)
{
    const uint32_t type = (uint32_t)tensor->type;
    const uint64_t byte_count = tensor->bytes;
    hash = hash_bytes(hash, tensor->name.bytes, tensor->name.len);
    hash = hash_bytes(hash, &type, sizeof(type));
    hash = hash_bytes(hash, &byte_count, sizeof(byte_count));
    const size_t sample = tensor->bytes < FINGERPRINT_BYTES ? tensor->bytes : FINGERPRINT_BYTES;
    const size_t stride = (tensor->bytes - sample) / (FINGERPRINT_SAMPLES - 1);
    for (size_t index = 0; index < FINGERPRINT_SAMPLES; index++) {
        hash = hash_bytes(hash, (const char *)tensor->data + index * stride, sample);
    }
    return hash;
}

/* In the order of the tables, and without [1,1,C] against [C], so that the same weights in another
 * kind of file are the same model. */
static uint64_t fingerprint(struct model_spec *spec)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t row = 0; row < MODEL_RULE_COUNT; row++) {
        hash = hash_tensor(hash, *rule_field(spec, &model_rules[row]));
    }
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        for (size_t row = 0; row < LAYER_RULE_COUNT; row++) {
            const struct tensor *tensor = *rule_field(&spec->layers[layer], &layer_rules[row]);
            hash = tensor == NULL ? hash : hash_tensor(hash, tensor);
        }
        const struct tensor *time_state = spec->layers[layer].time_state;
        hash = time_state == NULL ? hash : hash_tensor(hash, time_state);
    }
    return hash;
}

/* A file of tuned states alone is no model, but a likely mistake. */
static enum error_code refuse_state_file(const struct model_file *file, struct error *error)
{
    const struct tensor *first = model_file_tensor_at(file, 0);
    if (!text_equals(first->name, TEXT("blocks.0.att.time_state")) ||
        model_file_tensor_count(file) > count_layers(file)) {
        return ERROR_NONE;
    }
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: this is a tuned initial state, not a model: give it as --state "
                     "beside --model; " SUPPORTED,
                     model_file_name(file));
}

static enum error_code read_spec(const struct model_file *file, struct model_spec *spec,
                                 struct error *error)
{
    enum error_code code = refuse_architecture(file, error);
    if (code == ERROR_NONE) {
        code = refuse_state_file(file, error);
    }
    if (code == ERROR_NONE) {
        code = read_letters(file, spec, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    spec->L = count_layers(file);
    spec->layers = calloc(spec->L, sizeof(*spec->layers));
    if (spec->layers == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for %u layers",
                         model_file_name(file), spec->L);
    }
    code = read_ranks(file, spec, error);
    if (code == ERROR_NONE) {
        code = bind_all(file, spec, error);
    }
    if (code == ERROR_NONE) {
        code = bind_time_states(file, spec, error);
    }
    if (code == ERROR_NONE) {
        code = refuse_unknown(file, error);
    }
    return code;
}

enum error_code model_spec_read(const struct model_file *file, struct model_spec *spec_out,
                                struct error *error)
{
    *spec_out = (struct model_spec){0};
    const enum error_code code = read_spec(file, spec_out, error);
    if (code != ERROR_NONE) {
        model_spec_deinit(spec_out);
        return code;
    }
    spec_out->fingerprint = fingerprint(spec_out);
    return ERROR_NONE;
}

void model_spec_deinit(struct model_spec *spec)
{
    if (spec == NULL) {
        return;
    }
    free(spec->layers);
    *spec = (struct model_spec){0};
}

size_t model_spec_state_floats(const struct model_spec *spec)
{
    return (size_t)spec->L * ((size_t)spec->C * spec->N + 2 * (size_t)spec->C);
}

bool model_spec_initial_state(const struct model_spec *spec, float *state_out)
{
    memset(state_out, 0, model_spec_state_floats(spec) * sizeof(*state_out));
    if (spec->layers[0].time_state == NULL) {
        return false;
    }
    const size_t layer_floats = model_spec_state_floats(spec) / spec->L;
    for (uint32_t layer = 0; layer < spec->L; layer++) {
        const struct tensor *tensor = spec->layers[layer].time_state;
        float *matrices = state_out + layer * layer_floats + spec->C; /* Behind att_prev. */
        for (size_t index = 0; index < tensor_element_count(tensor); index++) {
            matrices[index] = tensor_element(tensor, index);
        }
    }
    return true;
}
