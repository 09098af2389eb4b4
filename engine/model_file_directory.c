/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_directory.c - a Hugging Face directory: config.json and its .safetensors files.
 *
 * Tensors decide what the model is; config.json is read for what tensors cannot say (activation,
 * norms, attention layers of a hybrid) and compared where both speak. Names are translated later
 * (model_file_names.c). Thread: as engine/model_file.h. */
#include "engine/model_file_container.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/json_scan.h"

enum {
    SHARDS_MAX = 1024,
    CONFIG_BYTES_MAX = 1 << 20,
    INDEX_BYTES_MAX = 64 << 20,
};

#define SUPPORTED "supported: RWKV-7 x070"

/* What config.json says of one thing: the text of its value, empty when it is absent or null. */
struct settings {
    struct text model_type, architectures, attn, hidden_act, norm_first, norm_bias, norm_eps;
    struct text head_dim, hidden_size, num_hidden_layers, intermediate_size, hidden_ratio;
    struct text num_heads, value_dim, tie_word_embeddings;
};

static const struct {
    const char *key;
    size_t field_offset;
} setting_keys[] = {
#define KEY(name)                                                                                  \
    {                                                                                              \
#name, offsetof(struct settings, name)                                                     \
    }
    KEY(model_type),   KEY(architectures),     KEY(attn),
    KEY(hidden_act),   KEY(norm_first),        KEY(norm_bias),
    KEY(norm_eps),     KEY(head_dim),          KEY(hidden_size),
    KEY(hidden_ratio), KEY(value_dim),         KEY(num_hidden_layers),
    KEY(num_heads),    KEY(intermediate_size), KEY(tie_word_embeddings),
#undef KEY
};

/* A small file beside the weights, mapped for the time of reading. */
static enum error_code map_text(struct model_file *file, const char *path, size_t bytes_max,
                                struct text *text_out, struct error *error)
{
    uint32_t part;
    const enum error_code code = model_file_map(file, path, &part, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct model_part *mapped = &file->parts[part];
    if (mapped->byte_count > bytes_max) {
        return error_set(error, ERROR_CORRUPT, "%.200s: %zu bytes, at most %zu are read", path,
                         mapped->byte_count, bytes_max);
    }
    *text_out = (struct text){.bytes = (const char *)mapped->bytes, .len = mapped->byte_count};
    return ERROR_NONE;
}

static enum error_code join(const struct model_file *file, const char *directory, struct text name,
                            char path_out[PATH_MAX], struct error *error)
{
    const int len = snprintf(path_out, PATH_MAX, "%s/%.*s", directory,
                             (int)(name.len < PATH_MAX ? name.len : PATH_MAX), name.bytes);
    if (len < 0 || len >= PATH_MAX) {
        return error_set(error, ERROR_CORRUPT, "%.200s: a path of more than %d bytes", file->name,
                         PATH_MAX);
    }
    return ERROR_NONE;
}

/* ---- config.json ------------------------------------------------------------------------- */

static enum error_code refuse_setting(const struct model_file *file, const char *key,
                                      struct text found, const char *expected, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: config.json: %s is %s, expected %s; " SUPPORTED,
                     file->name, key, model_name_show(found).text, expected);
}

static enum error_code refuse_config(const struct model_file *file, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: config.json is not one JSON object",
                     file->name);
}

static void keep_setting(struct settings *settings, struct text key, struct text value)
{
    for (size_t row = 0; row < sizeof(setting_keys) / sizeof(setting_keys[0]); row++) {
        if (text_equals(key, text_from(setting_keys[row].key))) {
            struct text *field =
                (struct text *)(void *)((char *)settings + setting_keys[row].field_offset);
            *field = text_equals(value, TEXT("null")) ? (struct text){0} : value;
        }
    }
}

/* Sorts the values of the top object by key. */
static enum error_code scan_settings(const struct model_file *file, struct text text,
                                     struct settings *settings, struct error *error)
{
    struct json_scan scan = json_scan_from(text);
    struct text key;
    struct text value;
    if (!json_scan_take(&scan, '{')) {
        return refuse_config(file, error);
    }
    if (json_scan_take(&scan, '}')) {
        return json_scan_is_done(&scan) ? ERROR_NONE : refuse_config(file, error);
    }
    do {
        if (!json_scan_string(&scan, &key) || !json_scan_take(&scan, ':') ||
            !json_scan_value(&scan, &value)) {
            return refuse_config(file, error);
        }
        keep_setting(settings, key, value);
    } while (json_scan_take(&scan, ','));
    return json_scan_take(&scan, '}') && json_scan_is_done(&scan) ? ERROR_NONE
                                                                  : refuse_config(file, error);
}

/* A whole number; 0 when it is absent. */
static enum error_code read_number(const struct model_file *file, const char *key,
                                   struct text value, uint64_t *number_out, struct error *error)
{
    *number_out = 0;
    if (value.len == 0 || (text_to_uint64(value, number_out) && *number_out < UINT32_MAX)) {
        return ERROR_NONE;
    }
    return refuse_setting(file, key, value, "a whole number", error);
}

static bool is_absent_or(struct text value, struct text wanted)
{
    return value.len == 0 || text_equals(value, wanted);
}

/* Whether each number of a list, or the only one, is C. */
static bool is_all(struct text list, uint64_t C)
{
    struct json_scan scan = json_scan_from(list);
    const bool is_list = json_scan_take(&scan, '[');
    uint64_t value;
    do {
        if (!json_scan_whole(&scan, &value) || value != C) {
            return false;
        }
    } while (json_scan_take(&scan, ','));
    return (!is_list || json_scan_take(&scan, ']')) && json_scan_is_done(&scan);
}

static bool contains(struct text text, struct text part)
{
    return text.bytes != NULL && memmem(text.bytes, text.len, part.bytes, part.len) != NULL;
}

/* What kind of model it is. */
static enum error_code check_kind(const struct model_file *file, const struct settings *settings,
                                  struct error *error)
{
    if (!text_equals(settings->model_type, TEXT("\"rwkv7\""))) {
        return refuse_setting(file, "model_type",
                              settings->model_type.len == 0 ? TEXT("absent") : settings->model_type,
                              "\"rwkv7\"", error);
    }
    const struct text names = settings->architectures;
    if (names.len > 0 && !contains(names, TEXT("\"RWKV7")) && !contains(names, TEXT("\"Rwkv7"))) {
        return refuse_setting(file, "architectures", names, "RWKV7ForCausalLM", error);
    }
    if (settings->attn.len > 0) {
        return refuse_setting(file, "attn", settings->attn,
                              "null (otherwise it is a hybrid with attention layers)", error);
    }
    if (!is_absent_or(settings->hidden_act, TEXT("\"sqrelu\""))) {
        return refuse_setting(file, "hidden_act", settings->hidden_act, "\"sqrelu\"", error);
    }
    if (!is_absent_or(settings->norm_first, TEXT("true"))) {
        return refuse_setting(file, "norm_first", settings->norm_first,
                              "true (the embedding is normalised once, by ln0)", error);
    }
    if (!is_absent_or(settings->norm_bias, TEXT("true"))) {
        return refuse_setting(file, "norm_bias", settings->norm_bias, "true", error);
    }
    double epsilon = 0;
    if (settings->norm_eps.len > 0 && !(text_to_double(settings->norm_eps, &epsilon) &&
                                        epsilon > 0.999e-5 && epsilon < 1.001e-5)) {
        return refuse_setting(file, "norm_eps", settings->norm_eps, "1e-05", error);
    }
    return ERROR_NONE;
}

/* The numbers, kept to be compared with the tensors. num_heads is often wrong and is not used. */
static enum error_code read_numbers(struct model_file *file, const struct settings *settings,
                                    struct error *error)
{
    struct model_config *config = &file->config;
    uint64_t head_dim = 0;
    double ratio = 0;
    enum error_code code =
        read_number(file, "hidden_size", settings->hidden_size, &config->hidden_size, error);
    if (code == ERROR_NONE) {
        code = read_number(file, "num_hidden_layers", settings->num_hidden_layers,
                           &config->layer_count, error);
    }
    if (code == ERROR_NONE) {
        code = read_number(file, "intermediate_size", settings->intermediate_size,
                           &config->ffn_size, error);
    }
    if (code == ERROR_NONE) {
        code = read_number(file, "head_dim", settings->head_dim, &head_dim, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    if (config->ffn_size == 0 && text_to_double(settings->hidden_ratio, &ratio) && ratio > 0 &&
        ratio < 1000) {
        const double exact = (double)config->hidden_size * ratio / 32.0;
        config->ffn_size = 32 * ((uint64_t)exact + ((double)(uint64_t)exact < exact));
    }
    if (head_dim != 0 && head_dim != 64) {
        return refuse_setting(file, "head_dim", settings->head_dim, "64", error);
    }
    if (settings->value_dim.len > 0 && !is_all(settings->value_dim, config->hidden_size)) {
        return refuse_setting(file, "value_dim", settings->value_dim, "hidden_size in every layer",
                              error);
    }
    config->ties_embeddings = text_equals(settings->tie_word_embeddings, TEXT("true"));
    return ERROR_NONE;
}

static enum error_code read_config(struct model_file *file, const char *directory,
                                   struct error *error)
{
    char path[PATH_MAX];
    struct text text = {0};
    struct settings settings = {0};
    enum error_code code = join(file, directory, TEXT("config.json"), path, error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (access(path, F_OK) != 0) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: a directory without config.json; name a .pth or .safetensors "
                         "file, or a Hugging Face directory",
                         file->name);
    }
    code = map_text(file, path, CONFIG_BYTES_MAX, &text, error);
    if (code == ERROR_NONE) {
        code = scan_settings(file, text, &settings, error);
    }
    if (code == ERROR_NONE) {
        code = check_kind(file, &settings, error);
    }
    return code != ERROR_NONE ? code : read_numbers(file, &settings, error);
}

/* ---- Shards ------------------------------------------------------------------------------ */

static enum error_code read_shard(struct model_file *file, const char *path, struct error *error)
{
    uint32_t part;
    const enum error_code code = model_file_map(file, path, &part, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct model_part *mapped = &file->parts[part];
    if (mapped->byte_count < 10 || mapped->bytes[8] != '{') {
        const bool is_pointer = mapped->byte_count > 8 && memcmp(mapped->bytes, "version ", 8) == 0;
        return error_set(error, ERROR_CORRUPT, "%.200s: not a .safetensors file%s", path,
                         is_pointer ? " but a Git LFS pointer; fetch it with git lfs pull" : "");
    }
    return model_file_read_safetensors(file, part, error);
}

/* A file of the same directory: no separators, so that an index cannot name any other file. */
static bool is_plain_file_name(struct text name)
{
    return name.len > 0 && name.len < NAME_MAX && name.bytes[0] != '.' &&
           memchr(name.bytes, '/', name.len) == NULL &&
           memchr(name.bytes, '\\', name.len) == NULL && memchr(name.bytes, '\0', name.len) == NULL;
}

/* The files that an index names. */
struct shard_list {
    struct text names[SHARDS_MAX];
    uint32_t count;
    uint32_t tensor_count; /* What the index promises. */
};

/* Adds a shard's name to the list unless it is there. */
static enum error_code note_shard(const struct model_file *file, struct text name,
                                  struct shard_list *shards, struct error *error)
{
    if (!is_plain_file_name(name)) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: model.safetensors.index.json: \"%s\" is not a file of this "
                         "directory",
                         file->name, model_name_show(name).text);
    }
    /* Neighbours in the map are mostly in the same shard: look from the end. */
    for (uint32_t index = shards->count; index-- > 0;) {
        if (text_equals(shards->names[index], name)) {
            return ERROR_NONE;
        }
    }
    if (shards->count == SHARDS_MAX) {
        return error_set(error, ERROR_CORRUPT, "%.200s: more than %d shards", file->name,
                         SHARDS_MAX);
    }
    shards->names[shards->count] = name;
    shards->count++;
    return ERROR_NONE;
}

static enum error_code refuse_index(const struct model_file *file, struct error *error)
{
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: model.safetensors.index.json: no weight_map of tensors to files",
                     file->name);
}

/* {tensor: file, ...} */
static enum error_code scan_weight_map(const struct model_file *file, struct json_scan *scan,
                                       struct shard_list *shards, struct error *error)
{
    struct text tensor;
    struct text name;
    if (!json_scan_take(scan, '{')) {
        return refuse_index(file, error);
    }
    do {
        if (!json_scan_string(scan, &tensor) || !json_scan_take(scan, ':') ||
            !json_scan_string(scan, &name)) {
            return refuse_index(file, error);
        }
        const enum error_code code = note_shard(file, name, shards, error);
        if (code != ERROR_NONE) {
            return code;
        }
        shards->tensor_count++;
    } while (json_scan_take(scan, ','));
    return json_scan_take(scan, '}') ? ERROR_NONE : refuse_index(file, error);
}

/* {"metadata": ..., "weight_map": ...} in any order. */
static enum error_code scan_index(const struct model_file *file, struct text text,
                                  struct shard_list *shards, struct error *error)
{
    struct json_scan scan = json_scan_from(text);
    struct text key;
    struct text value;
    if (!json_scan_take(&scan, '{')) {
        return refuse_index(file, error);
    }
    do {
        if (!json_scan_string(&scan, &key) || !json_scan_take(&scan, ':')) {
            return refuse_index(file, error);
        }
        if (text_equals(key, TEXT("weight_map"))) {
            const enum error_code code = scan_weight_map(file, &scan, shards, error);
            if (code != ERROR_NONE) {
                return code;
            }
        } else if (!json_scan_value(&scan, &value)) {
            return refuse_index(file, error);
        }
    } while (json_scan_take(&scan, ','));
    return shards->count > 0 && json_scan_take(&scan, '}') && json_scan_is_done(&scan)
               ? ERROR_NONE
               : refuse_index(file, error);
}

static enum error_code read_shards(struct model_file *file, const char *directory,
                                   const char *index_path, struct error *error)
{
    struct text text = {0};
    struct shard_list *shards = arena_alloc(&file->arena, sizeof(*shards));
    if (shards == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", file->name);
    }
    enum error_code code = map_text(file, index_path, INDEX_BYTES_MAX, &text, error);
    if (code == ERROR_NONE) {
        code = scan_index(file, text, shards, error);
    }
    for (uint32_t index = 0; index < shards->count && code == ERROR_NONE; index++) {
        char path[PATH_MAX];
        code = join(file, directory, shards->names[index], path, error);
        if (code == ERROR_NONE) {
            code = read_shard(file, path, error);
        }
        if (code == ERROR_NOT_FOUND) {
            return error_set(error, ERROR_CORRUPT, "%.200s: shard %s is missing", file->name,
                             model_name_show(shards->names[index]).text);
        }
    }
    if (code == ERROR_NONE && shards->tensor_count != file->tensor_count) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: the index promises %" PRIu32 " tensors, its files hold %" PRIu32,
                         file->name, shards->tensor_count, file->tensor_count);
    }
    return code;
}

enum error_code model_file_read_directory(struct model_file *file, const char *path,
                                          struct error *error)
{
    char weights[PATH_MAX];
    file->parts = arena_alloc(&file->arena, (SHARDS_MAX + 2) * sizeof(*file->parts));
    if (file->parts == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", file->name);
    }
    enum error_code code = read_config(file, path, error);
    if (code == ERROR_NONE) {
        code = join(file, path, TEXT("model.safetensors.index.json"), weights, error);
    }
    if (code == ERROR_NONE && access(weights, F_OK) == 0) {
        return read_shards(file, path, weights, error);
    }
    if (code == ERROR_NONE) {
        code = join(file, path, TEXT("model.safetensors"), weights, error);
    }
    if (code == ERROR_NONE && access(weights, F_OK) != 0) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: neither model.safetensors nor model.safetensors.index.json in it",
                         file->name);
    }
    return code != ERROR_NONE ? code : read_shard(file, weights, error);
}

/* ---- Afterwards -------------------------------------------------------------------------- */

static enum error_code compare(const struct model_file *file, const char *key, uint64_t promised,
                               const char *tensor, uint64_t found, struct error *error)
{
    if (promised == 0 || promised == found) {
        return ERROR_NONE;
    }
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: config.json: %s says %" PRIu64 ", tensor %s %" PRIu64, file->name,
                     key, promised, tensor, found);
}

enum error_code model_file_tie_head(struct model_file *file, struct error *error)
{
    const struct tensor *embedding = model_file_scan(file, TEXT("emb.weight"));
    if (!file->config.ties_embeddings || embedding == NULL ||
        model_file_scan(file, TEXT("head.weight")) != NULL) {
        return ERROR_NONE;
    }
    const struct tensor copy = *embedding; /* Growing moves the tensors. */
    const enum error_code code = model_file_grow(file, 1, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct tensor *head = &file->tensors[file->tensor_count];
    *head = copy;
    file->tensor_count++;
    return model_file_copy_name(file, TEXT("head.weight"), &head->name, error);
}

/* Blocks 0, 1, ... that have their first norm. */
static uint64_t count_layers(const struct model_file *file)
{
    uint64_t layer_count = 0;
    char name[64];
    do {
        snprintf(name, sizeof(name), "blocks.%" PRIu64 ".ln1.weight", layer_count);
        layer_count++;
    } while (model_file_find(file, name) != NULL);
    return layer_count - 1;
}

enum error_code model_file_check_config(const struct model_file *file, struct error *error)
{
    const struct model_config *config = &file->config;
    const struct tensor *embedding = model_file_find(file, "emb.weight");
    const struct tensor *ffn_key = model_file_find(file, "blocks.0.ffn.key.weight");
    enum error_code code = ERROR_NONE;
    if (embedding != NULL && embedding->dimension_count == 2) {
        code = compare(file, "hidden_size", config->hidden_size, "emb.weight", embedding->shape[1],
                       error);
    }
    if (code == ERROR_NONE && ffn_key != NULL && ffn_key->dimension_count == 2) {
        code = compare(file, "intermediate_size or hidden_ratio", config->ffn_size,
                       "blocks.0.ffn.key.weight", ffn_key->shape[0], error);
    }
    return code != ERROR_NONE ? code
                              : compare(file, "num_hidden_layers", config->layer_count,
                                        "blocks.*.ln1.weight", count_layers(file), error);
}
