/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_names.c - the names and orientations under which RWKV-7 tensors are found.
 *
 * Files of other programs (fla, transformers, web-rwkv, trainers) call the official tensors by
 * other names or store the low-rank matrices transposed. Here they become official ones; a name
 * that is not in the tables stays as it is and is judged by engine/model_spec.c. Thread: as
 * engine/model_file.h. */
#include "engine/model_file_container.h"

#include <stdio.h>
#include <string.h>

#include "engine/model_spec.h"

enum {
    KEY_BYTES = 128,     /* Of an official name being built; the longest has 37. */
    WRAPPERS_MAX = 4,    /* Prefixes cut off one name. */
};

/* What wrappers and trainers put before every name. */
static const char *const wrappers[] = {"_forward_module.", "module.", "model.", "rwkv."};

struct alias {
    const char *from;
    const char *to;
};

/* Tensors outside the layers. */
static const struct alias model_aliases[] = {
    {"embeddings.weight", "emb.weight"},
    {"norm.weight", "ln_out.weight"},
    {"norm.bias", "ln_out.bias"},
    {"lm_head.weight", "head.weight"},
};

/* Parts of a layer; cut off first, so that the table below needs only one form. */
static const struct alias layer_groups[] = {
    {"attn.", "att."},
    {"attention.", "att."},
    {"feed_forward.", "ffn."},
};

/* Tensors of a layer. fla's low_rank.0 is the first matrix, .2 the second and its bias. */
static const struct alias layer_aliases[] = {
    {"pre_norm.weight", "ln0.weight"},
    {"pre_norm.bias", "ln0.bias"},
    {"pre_ln.weight", "ln0.weight"},
    {"pre_ln.bias", "ln0.bias"},
    {"attn_norm.weight", "ln1.weight"},
    {"attn_norm.bias", "ln1.bias"},
    {"ffn_norm.weight", "ln2.weight"},
    {"ffn_norm.bias", "ln2.bias"},
    {"att.r_proj.weight", "att.receptance.weight"},
    {"att.k_proj.weight", "att.key.weight"},
    {"att.v_proj.weight", "att.value.weight"},
    {"att.o_proj.weight", "att.output.weight"},
    {"att.w_lora.lora.0.weight", "att.w1"},
    {"att.w_lora.lora.2.weight", "att.w2"},
    {"att.w_lora.lora.2.bias", "att.w0"},
    {"att.a_lora.lora.0.weight", "att.a1"},
    {"att.a_lora.lora.2.weight", "att.a2"},
    {"att.a_lora.lora.2.bias", "att.a0"},
    {"att.v_lora.lora.0.weight", "att.v1"},
    {"att.v_lora.lora.2.weight", "att.v2"},
    {"att.v_lora.lora.2.bias", "att.v0"},
    {"att.g_lora.lora.0.weight", "att.g1"},
    {"att.g_lora.lora.2.weight", "att.g2"},
    {"att.g_norm.weight", "att.ln_x.weight"},
    {"att.g_norm.bias", "att.ln_x.bias"},
};

/* Low-rank matrices, officially [C][rank], then [rank][C]. */
static const struct {
    const char *name;
    uint32_t channel_dimension; /* Which of the two is C. */
} low_rank_matrices[] = {
    {"att.w1", 0}, {"att.w2", 1}, {"att.a1", 0}, {"att.a2", 1},
    {"att.v1", 0}, {"att.v2", 1}, {"att.g1", 0}, {"att.g2", 1},
};

static const char *const official_layer_names[] = {
#define X(field, name, rows, columns) name,
    MODEL_LAYER_TENSORS(X)
#undef X
        "ln0.weight",
    "ln0.bias",
    "att.time_state",
    "att.x_x",
};

static const char *const official_model_names[] = {
#define X(field, name, rows, columns) name,
    MODEL_TENSORS(X)
#undef X
};

/* The rows of fla's older att.x_x [6][C]. */
static const char *const mix_names[] = {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g"};

enum { MIX_COUNT = sizeof(mix_names) / sizeof(mix_names[0]) };

static bool is_listed(const char *const *names, size_t count, struct text name)
{
    for (size_t index = 0; index < count; index++) {
        if (text_equals(name, text_from(names[index]))) {
            return true;
        }
    }
    return false;
}

static struct text without_prefix(struct text name, struct text prefix)
{
    return (struct text){.bytes = name.bytes + prefix.len, .len = name.len - prefix.len};
}

static struct text replace_whole(const struct alias *aliases, size_t count, struct text name)
{
    for (size_t index = 0; index < count; index++) {
        if (text_equals(name, text_from(aliases[index].from))) {
            return text_from(aliases[index].to);
        }
    }
    return name;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Cuts "blocks.<layer>." or "layers.<layer>." off; the layer stays text, leading zeros refused. */
static bool cut_layer(struct text *name, struct text *layer_out)
{
    struct text rest = *name;
    const struct text first = text_cut(&rest, '.');
    if (!text_equals(first, TEXT("blocks")) && !text_equals(first, TEXT("layers"))) {
        return false;
    }
    const struct text layer = text_cut(&rest, '.');
    bool is_number = layer.len > 0 && layer.len <= 4 && (layer.len == 1 || layer.bytes[0] != '0');
    for (size_t index = 0; index < layer.len; index++) {
        is_number = is_number && layer.bytes[index] >= '0' && layer.bytes[index] <= '9';
    }
    *name = rest;
    *layer_out = layer;
    return is_number;
}

/* Writes the official form of the part of a name behind its layer. False: it has none. */
static bool name_in_layer(struct text rest, struct text layer, char key_out[KEY_BYTES])
{
    char grouped[KEY_BYTES];
    for (size_t index = 0; index < COUNT(layer_groups); index++) {
        const struct text from = text_from(layer_groups[index].from);
        if (text_starts_with(rest, from) && rest.len < KEY_BYTES / 2) {
            const struct text tail = without_prefix(rest, from);
            snprintf(grouped, sizeof(grouped), "%s%.*s", layer_groups[index].to, (int)tail.len,
                     tail.bytes);
            rest = text_from(grouped);
            break;
        }
    }
    rest = replace_whole(layer_aliases, COUNT(layer_aliases), rest);
    if (!is_listed(official_layer_names, COUNT(official_layer_names), rest)) {
        return false;
    }
    snprintf(key_out, KEY_BYTES, "blocks.%.*s.%.*s", (int)layer.len, layer.bytes, (int)rest.len,
             rest.bytes);
    return true;
}

static bool cut_wrapper(struct text *name)
{
    for (size_t index = 0; index < COUNT(wrappers); index++) {
        if (text_starts_with(*name, text_from(wrappers[index]))) {
            *name = without_prefix(*name, text_from(wrappers[index]));
            return true;
        }
    }
    return false;
}

/* Writes the official form of any name. False: it has none. */
static bool official_name(struct text name, char key_out[KEY_BYTES])
{
    for (size_t cut = 0; cut < WRAPPERS_MAX && cut_wrapper(&name); cut++) {
    }
    struct text layer;
    struct text rest = name;
    if (cut_layer(&rest, &layer)) {
        return name_in_layer(rest, layer, key_out);
    }
    name = replace_whole(model_aliases, COUNT(model_aliases), name);
    if (!is_listed(official_model_names, COUNT(official_model_names), name)) {
        return false;
    }
    text_copy_to(name, key_out, KEY_BYTES);
    return true;
}

static enum error_code rename_tensor(struct model_file *file, struct tensor *tensor,
                                     const char *key, struct error *error)
{
    if (text_equals(tensor->name, text_from(key))) {
        return ERROR_NONE;
    }
    return model_file_copy_name(file, text_from(key), &tensor->name, error);
}

/* The part of an official name behind "blocks.<layer>."; empty when there is none. */
static struct text layer_part(struct text name)
{
    struct text layer;
    return cut_layer(&name, &layer) ? name : (struct text){0};
}

/* Replaces one att.x_x [6][C] by six vectors, views of its rows. */
static enum error_code split_mix(struct model_file *file, uint32_t index, uint64_t C,
                                 struct error *error)
{
    const struct tensor whole = file->tensors[index];
    const size_t row_bytes = (size_t)C * tensor_type_bytes(whole.type);
    size_t whole_bytes;
    if (C == 0 || __builtin_mul_overflow(row_bytes, (size_t)MIX_COUNT, &whole_bytes) ||
        whole.bytes != whole_bytes || whole.shape[0] != MIX_COUNT) {
        return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: expected shape [%d,%llu]",
                         file->name, model_name_show(whole.name).text, MIX_COUNT,
                         (unsigned long long)C);
    }
    enum error_code code = model_file_grow(file, MIX_COUNT - 1, error);
    for (size_t row = 0; row < MIX_COUNT && code == ERROR_NONE; row++) {
        struct tensor *vector = &file->tensors[row == 0 ? index : file->tensor_count];
        char key[KEY_BYTES];
        snprintf(key, sizeof(key), "%.*s%s", (int)(whole.name.len - strlen("x_x")),
                 whole.name.bytes, mix_names[row]);
        *vector = (struct tensor){
            .type = whole.type,
            .dimension_count = 1,
            .shape = {C},
            .data = (const unsigned char *)whole.data + row * row_bytes,
            .bytes = row_bytes,
        };
        code = model_file_copy_name(file, text_from(key), &vector->name, error);
        file->tensor_count += row > 0;
    }
    return code;
}

/* Turns a low-rank matrix into the official orientation: one of its dimensions is C. */
static enum error_code orient(struct model_file *file, struct tensor *tensor, uint64_t C,
                              uint32_t channel_dimension, struct error *error)
{
    const uint64_t rows = tensor->shape[0];
    const uint64_t columns = tensor->shape[1];
    if (C == 0 || tensor->dimension_count != 2 || (rows == C) == (columns == C)) {
        const bool is_square = C != 0 && tensor->dimension_count == 2 && rows == C && columns == C;
        return !is_square ? ERROR_NONE /* Its shape is refused later. */
                          : error_set(error, ERROR_CORRUPT,
                                      "%.200s: tensor %s: shape [%llu,%llu]: which way round it is "
                                      "cannot be told, since its rank is the number of channels",
                                      file->name, model_name_show(tensor->name).text,
                                      (unsigned long long)rows, (unsigned long long)columns);
    }
    if (tensor->shape[channel_dimension] == C) {
        return ERROR_NONE;
    }
    void *memory;
    const enum error_code code = model_file_allocate(file, tensor->bytes, &memory, error);
    if (code != ERROR_NONE) {
        return code;
    }
    tensor_transpose(tensor, (size_t)rows, memory);
    tensor->data = memory;
    tensor->shape[0] = columns;
    tensor->shape[1] = rows;
    file->has_transposed_low_rank = true;
    return ERROR_NONE;
}

static enum error_code arrange(struct model_file *file, uint32_t index, uint64_t C,
                               struct error *error)
{
    const struct text part = layer_part(file->tensors[index].name);
    if (text_equals(part, TEXT("att.x_x"))) {
        return split_mix(file, index, C, error);
    }
    for (size_t row = 0; row < COUNT(low_rank_matrices); row++) {
        if (text_equals(part, text_from(low_rank_matrices[row].name))) {
            return orient(file, &file->tensors[index], C, low_rank_matrices[row].channel_dimension,
                          error);
        }
    }
    return ERROR_NONE;
}

enum error_code model_file_translate(struct model_file *file, struct error *error)
{
    const uint32_t tensor_count = file->tensor_count;
    for (uint32_t index = 0; index < tensor_count; index++) {
        struct tensor *tensor = &file->tensors[index];
        char key[KEY_BYTES];
        if (official_name(tensor->name, key)) {
            const enum error_code code = rename_tensor(file, tensor, key, error);
            if (code != ERROR_NONE) {
                return code;
            }
        }
    }
    const struct tensor *embedding = model_file_scan(file, TEXT("emb.weight"));
    const uint64_t C =
        embedding != NULL && embedding->dimension_count == 2 ? embedding->shape[1] : 0;
    for (uint32_t index = 0; index < tensor_count; index++) {
        const enum error_code code = arrange(file, index, C, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    return ERROR_NONE;
}
