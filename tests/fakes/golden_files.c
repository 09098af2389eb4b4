/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/golden_files.c - safetensors with other names: web-rwkv, fla directories, states.
 *
 * The .pth is in golden_pth.c. Thread: any. */
#include "tests/fakes/golden_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

enum { PATH_BYTES = 512, SHARDS_MAX = 8 };

static size_t element_bytes(const struct golden_tensor *tensor)
{
    return tensor->type == TENSOR_F32 ? 4 : 2;
}

void golden_transpose(struct golden_tensor *tensor)
{
    const size_t size = element_bytes(tensor);
    const uint32_t last = tensor->dimension_count - 1;
    const size_t rows = (size_t)tensor->shape[last - 1];
    const size_t columns = (size_t)tensor->shape[last];
    const size_t matrix_bytes = rows * columns * size;
    unsigned char *turned = malloc(tensor->bytes);
    ASSERT(turned != NULL);
    for (size_t matrix = 0; matrix < tensor->bytes; matrix += matrix_bytes) {
        for (size_t row = 0; row < rows; row++) {
            for (size_t column = 0; column < columns; column++) {
                memcpy(turned + matrix + (column * rows + row) * size,
                       tensor->data + matrix + (row * columns + column) * size, size);
            }
        }
    }
    free(tensor->data);
    tensor->data = turned;
    tensor->shape[last - 1] = columns;
    tensor->shape[last] = rows;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t len = strlen(text);
    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static bool is_low_rank(const char *name)
{
    static const char *const ends[] = {"att.w1", "att.w2", "att.a1", "att.a2",
                                       "att.v1", "att.v2", "att.g1", "att.g2"};
    for (size_t index = 0; index < sizeof(ends) / sizeof(ends[0]); index++) {
        if (ends_with(name, ends[index])) {
            return true;
        }
    }
    return false;
}

/* [1,1,C] becomes [C]. */
static void flatten(struct golden_tensor *tensor)
{
    if (tensor->dimension_count == 3 && tensor->shape[0] == 1) {
        tensor->shape[0] = tensor->shape[2];
        tensor->dimension_count = 1;
    }
}

void *golden_web_rwkv_bytes(bool has_time_state, size_t *byte_count_out)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    const struct golden_options options = {.type = TENSOR_F16, .has_time_state = has_time_state};
    const size_t count = golden_tensors(&options, tensors);
    for (size_t index = 0; index < count; index++) {
        flatten(&tensors[index]);
        if (is_low_rank(tensors[index].name) || ends_with(tensors[index].name, "time_state")) {
            golden_transpose(&tensors[index]);
        }
    }
    void *bytes = golden_safetensors_bytes(tensors, count, 0, byte_count_out);
    golden_tensors_free(tensors, count);
    return bytes;
}

void *golden_state_safetensors_bytes(size_t *byte_count_out)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    struct golden_tensor states[GOLDEN_L];
    size_t state_count = 0;
    const size_t count = golden_tensors(&(struct golden_options){.has_time_state = true}, tensors);
    for (size_t index = 0; index < count; index++) {
        if (ends_with(tensors[index].name, "time_state")) {
            golden_transpose(&tensors[index]);
            states[state_count++] = tensors[index];
        }
    }
    void *bytes = golden_safetensors_bytes(states, state_count, 0, byte_count_out);
    golden_tensors_free(tensors, count);
    return bytes;
}

/* ---- fla --------------------------------------------------------------------------------- */

/* What fla calls the part of a name behind "blocks.<layer>.". */
static const struct {
    const char *official, *fla;
} layer_names[] = {
    {"ln0.weight", "pre_norm.weight"},
    {"ln0.bias", "pre_norm.bias"},
    {"ln1.weight", "attn_norm.weight"},
    {"ln1.bias", "attn_norm.bias"},
    {"ln2.weight", "ffn_norm.weight"},
    {"ln2.bias", "ffn_norm.bias"},
    {"att.receptance.weight", "attn.r_proj.weight"},
    {"att.key.weight", "attn.k_proj.weight"},
    {"att.value.weight", "attn.v_proj.weight"},
    {"att.output.weight", "attn.o_proj.weight"},
    {"att.w0", "attn.w_lora.lora.2.bias"},
    {"att.w1", "attn.w_lora.lora.0.weight"},
    {"att.w2", "attn.w_lora.lora.2.weight"},
    {"att.a0", "attn.a_lora.lora.2.bias"},
    {"att.a1", "attn.a_lora.lora.0.weight"},
    {"att.a2", "attn.a_lora.lora.2.weight"},
    {"att.v0", "attn.v_lora.lora.2.bias"},
    {"att.v1", "attn.v_lora.lora.0.weight"},
    {"att.v2", "attn.v_lora.lora.2.weight"},
    {"att.g1", "attn.g_lora.lora.0.weight"},
    {"att.g2", "attn.g_lora.lora.2.weight"},
    {"att.ln_x.weight", "attn.g_norm.weight"},
    {"att.ln_x.bias", "attn.g_norm.bias"},
};

static void rename_to_fla(struct golden_tensor *tensor)
{
    static const char *const model_names[][2] = {
        {"emb.weight", "model.embeddings.weight"},
        {"ln_out.weight", "model.norm.weight"},
        {"ln_out.bias", "model.norm.bias"},
        {"head.weight", "lm_head.weight"},
    };
    char name[sizeof(tensor->name)];
    for (size_t index = 0; index < 4; index++) {
        if (strcmp(tensor->name, model_names[index][0]) == 0) {
            snprintf(tensor->name, sizeof(tensor->name), "%s", model_names[index][1]);
            return;
        }
    }
    const char layer = tensor->name[7];
    const char *part = tensor->name + 9;
    snprintf(name, sizeof(name), "model.layers.%c.%s%s", layer,
             strncmp(part, "att.", 4) == 0 ? "attn." : "",
             strncmp(part, "att.", 4) == 0 ? part + 4 : part);
    for (size_t index = 0; index < sizeof(layer_names) / sizeof(layer_names[0]); index++) {
        if (strcmp(part, layer_names[index].official) == 0) {
            snprintf(name, sizeof(name), "model.layers.%c.%s", layer, layer_names[index].fla);
        }
    }
    memcpy(tensor->name, name, sizeof(name));
}

/* Puts the six mixing vectors of a layer into one tensor; the others disappear. */
static size_t join_mixes(struct golden_tensor *tensors, size_t count)
{
    static const char order[] = "rwkvag";
    for (char layer = '0'; layer < '0' + GOLDEN_L; layer++) {
        struct golden_tensor joint = {.dimension_count = 2, .shape = {6, GOLDEN_C}};
        joint.data = malloc(6 * GOLDEN_C * sizeof(float));
        ASSERT(joint.data != NULL);
        snprintf(joint.name, sizeof(joint.name), "model.layers.%c.attn.x_x", layer);
        for (size_t row = 0; row < 6; row++) {
            char name[64];
            snprintf(name, sizeof(name), "model.layers.%c.attn.x_%c", layer, order[row]);
            size_t index = 0;
            while (strcmp(tensors[index].name, name) != 0) {
                index++;
            }
            joint.type = tensors[index].type;
            memcpy(joint.data + joint.bytes, tensors[index].data, tensors[index].bytes);
            joint.bytes += tensors[index].bytes;
            free(tensors[index].data);
            tensors[index] = tensors[--count];
        }
        tensors[count++] = joint;
    }
    return count;
}

static size_t make_fla(const struct golden_directory_options *options,
                       struct golden_tensor *tensors)
{
    size_t count = golden_tensors(&(struct golden_options){0}, tensors);
    for (size_t index = 0; index < count; index++) {
        flatten(&tensors[index]);
        if (strstr(tensors[index].name, ".att.x_") != NULL) { /* fla keeps [1,1,C] here. */
            tensors[index].dimension_count = 3;
            tensors[index].shape[0] = tensors[index].shape[1] = 1;
            tensors[index].shape[2] = GOLDEN_C;
        }
        if (is_low_rank(tensors[index].name)) {
            golden_transpose(&tensors[index]);
        }
        rename_to_fla(&tensors[index]);
    }
    for (size_t index = 0; index < count && options->is_tied; index++) {
        if (strcmp(tensors[index].name, "lm_head.weight") == 0) {
            free(tensors[index].data);
            tensors[index] = tensors[--count];
        }
    }
    return options->has_joint_mix ? join_mixes(tensors, count) : count;
}

static void write_file(const char *folder, const char *name, const void *bytes, size_t byte_count)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    ASSERT(stream != NULL);
    ASSERT_COMPARE(fwrite(bytes, 1, byte_count, stream), ==, byte_count);
    ASSERT(fclose(stream) == 0);
}

static void shard_name(uint32_t shard, uint32_t shard_count, char name[64])
{
    snprintf(name, 64, "model-%05u-of-%05u.safetensors", shard + 1, shard_count);
}

static void write_index(const char *path, const struct golden_directory_options *options,
                        const struct golden_tensor *tensors, size_t count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    ASSERT(stream != NULL);
    fprintf(stream, "{\n  \"metadata\": {\"total_size\": 579840},\n  \"weight_map\": {");
    for (size_t index = 0; index < count; index++) {
        char name[64];
        shard_name((uint32_t)(index * options->shard_count / count), options->shard_count, name);
        fprintf(stream, "%s\n    \"%s\": \"%s\"", index == 0 ? "" : ",", tensors[index].name,
                index == 0 && options->shard_name != NULL ? options->shard_name : name);
    }
    fprintf(stream, "\n  }\n}\n");
    fclose(stream);
    write_file(path, "model.safetensors.index.json", text, len);
    free(text);
}

void golden_directory_write(const char *path, const struct golden_directory_options *options)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    const size_t count = make_fla(options, tensors);
    const uint32_t shard_count = options->shard_count == 0 ? 1 : options->shard_count;
    ASSERT_COMPARE(shard_count, <=, SHARDS_MAX);
    for (uint32_t shard = 0; shard < shard_count; shard++) {
        size_t begin = 0;
        while (begin * shard_count / count < shard) {
            begin++;
        }
        size_t end = begin;
        while (end < count && end * shard_count / count == shard) {
            end++;
        }
        char name[64] = "model.safetensors";
        if (options->shard_count > 0) {
            shard_name(shard, shard_count, name);
        }
        size_t byte_count;
        void *bytes = golden_safetensors_bytes(&tensors[begin], end - begin, 0, &byte_count);
        write_file(path, name, bytes, byte_count);
        free(bytes);
    }
    if (options->shard_count > 0) {
        write_index(path, options, tensors, count);
    }
    char config[2048];
    snprintf(config, sizeof(config),
             "{\n%s  \"architectures\": [\"RWKV7ForCausalLM\"],\n  \"model_type\": \"rwkv7\",\n"
             "  \"hidden_size\": 128,\n  \"num_hidden_layers\": 2,\n  \"head_dim\": 64,\n"
             "  \"num_heads\": 32,\n  \"hidden_ratio\": 2.0,\n  \"intermediate_size\": null,\n"
             "  \"value_dim\": [128, 128],\n  \"hidden_act\": \"sqrelu\",\n"
             "  \"norm_first\": true,\n  \"norm_bias\": true,\n  \"norm_eps\": 1e-05,\n"
             "  \"attn\": null,\n  \"tie_word_embeddings\": %s,\n  \"bos_token_id\": 1\n}\n",
             options->config_extra == NULL ? "" : options->config_extra,
             options->is_tied ? "true" : "false");
    const char *text = options->config == NULL ? config : options->config;
    write_file(path, "config.json", text, strlen(text));
    golden_tensors_free(tensors, count);
}

void golden_directory_remove(const char *path)
{
    static const char *const names[] = {"config.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    char file[PATH_BYTES];
    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        snprintf(file, sizeof(file), "%s/%s", path, names[index]);
        unlink(file);
    }
    for (uint32_t shard_count = 1; shard_count <= SHARDS_MAX; shard_count++) {
        for (uint32_t shard = 0; shard < shard_count; shard++) {
            char name[64];
            shard_name(shard, shard_count, name);
            snprintf(file, sizeof(file), "%s/%s", path, name);
            unlink(file);
        }
    }
    rmdir(path);
}
