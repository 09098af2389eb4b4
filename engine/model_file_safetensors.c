/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_safetensors.c - the table of contents of a .safetensors file.
 *
 *   [header bytes: u64 little-endian][header: one JSON object, padded with spaces][data]
 *   header: {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the start of the data; together the tensors cover it without hole or overlap.
 * A header that says anything else is refused. Thread: as engine/model_file.h. */
#include "engine/model_file_container.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are read in place");

enum {
    LENGTH_BYTES = sizeof(uint64_t),
    NAME_BYTES_MAX = 256,
    HEADER_DEPTH = 3, /* The object, one tensor, its shape. */
    /* A tensor with three dimensions has 7 commas; far more than that is an attack on memory,
     * since cJSON spends 64 bytes and an allocation on each value. */
    HEADER_COMMAS_MAX = LIMIT_TENSORS * 12,
};

static const double offset_max = 9007199254740992.0; /* 2^53: integers that a double holds. */

static const struct {
    const char *name;
    enum tensor_type type;
} dtypes[] = {{"BF16", TENSOR_BF16}, {"F16", TENSOR_F16}, {"F32", TENSOR_F32}};

/* Bounds what parsing the header can cost before cJSON sees it. */
static bool header_is_bounded(const char *header, size_t header_bytes)
{
    uint32_t depth = 0;
    size_t comma_count = 0;
    bool in_string = false;
    for (size_t index = 0; index < header_bytes; index++) {
        const char byte = header[index];
        if (in_string) {
            index += byte == '\\';
            in_string = byte != '"';
            continue;
        }
        in_string = byte == '"';
        comma_count += byte == ',';
        if (byte == '{' || byte == '[') {
            depth++;
        } else if (depth > 0 && (byte == '}' || byte == ']')) {
            depth--;
        }
        if (depth > HEADER_DEPTH || comma_count > HEADER_COMMAS_MAX) {
            return false;
        }
    }
    return true;
}

/* A JSON number that is a whole number of 0..2^53. */
static bool read_whole(const cJSON *item, uint64_t *value_out)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0 && item->valuedouble <= offset_max)) {
        return false;
    }
    *value_out = (uint64_t)item->valuedouble;
    return (double)*value_out == item->valuedouble;
}

static enum error_code refuse(const struct model_file *file, const cJSON *entry, const char *why,
                              struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: %s", file->name,
                     model_name_show(text_from(entry->string)).text, why);
}

static enum error_code read_dtype(const struct model_file *file, const cJSON *entry,
                                  const cJSON *dtype, struct tensor *tensor, struct error *error)
{
    if (!cJSON_IsString(dtype)) {
        return refuse(file, entry, "no dtype", error);
    }
    for (size_t index = 0; index < sizeof(dtypes) / sizeof(dtypes[0]); index++) {
        if (strcmp(dtype->valuestring, dtypes[index].name) == 0) {
            tensor->type = dtypes[index].type;
            return ERROR_NONE;
        }
    }
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: tensor %s: dtype %.16s, supported: BF16, F16, F32", file->name,
                     model_name_show(text_from(entry->string)).text,
                     model_name_show(text_from(dtype->valuestring)).text);
}

/* Reads the shape; *bytes_out is what a tensor of that shape and type occupies. */
static enum error_code read_shape(const struct model_file *file, const cJSON *entry,
                                  const cJSON *shape, struct tensor *tensor, uint64_t *bytes_out,
                                  struct error *error)
{
    if (!cJSON_IsArray(shape)) {
        return refuse(file, entry, "no shape", error);
    }
    uint64_t bytes = tensor_type_bytes(tensor->type);
    const cJSON *dimension;
    cJSON_ArrayForEach(dimension, shape)
    {
        if (tensor->dimension_count == LIMIT_TENSOR_DIMENSIONS) {
            return refuse(file, entry, "more than 8 dimensions", error);
        }
        uint64_t value;
        if (!read_whole(dimension, &value)) {
            return refuse(file, entry, "a dimension is not a whole number", error);
        }
        if (__builtin_mul_overflow(bytes, value, &bytes)) {
            return refuse(file, entry, "the shape's product is past 64 bits", error);
        }
        tensor->shape[tensor->dimension_count] = value;
        tensor->dimension_count++;
    }
    *bytes_out = bytes;
    return ERROR_NONE;
}

/* Reads [begin, end) and checks it against the shape and the file. */
static enum error_code read_offsets(const struct model_file *file, const cJSON *entry,
                                    const cJSON *offsets, size_t data_start, uint64_t shape_bytes,
                                    struct tensor *tensor, struct error *error)
{
    uint64_t begin;
    uint64_t end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !read_whole(offsets->child, &begin) || !read_whole(offsets->child->next, &end)) {
        return refuse(file, entry, "data_offsets is not [begin, end]", error);
    }
    const uint64_t data_bytes = file->byte_count - data_start;
    if (begin > end) {
        return refuse(file, entry, "data_offsets ends before it begins", error);
    }
    if (end - begin != shape_bytes) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: data_offsets hold %llu bytes, shape and dtype need "
                         "%llu",
                         file->name, model_name_show(text_from(entry->string)).text,
                         (unsigned long long)(end - begin), (unsigned long long)shape_bytes);
    }
    if (end > data_bytes) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: ends at data byte %llu, the file has %llu: truncated",
                         file->name, model_name_show(text_from(entry->string)).text,
                         (unsigned long long)end, (unsigned long long)data_bytes);
    }
    tensor->data = file->bytes + data_start + begin;
    tensor->bytes = (size_t)shape_bytes;
    return ERROR_NONE;
}

/* Names go into messages and logs, so only printing ASCII is taken; every real name is such. */
static bool name_is_plain(const char *name)
{
    size_t len = 0;
    while (name[len] > ' ' && name[len] <= '~') {
        len++;
    }
    return len > 0 && name[len] == '\0' && len <= NAME_BYTES_MAX;
}

static enum error_code read_tensor(struct model_file *file, const cJSON *entry, size_t data_start,
                                   struct tensor *tensor, struct error *error)
{
    if (!cJSON_IsObject(entry)) {
        return refuse(file, entry, "not an object", error);
    }
    if (!name_is_plain(entry->string)) {
        return refuse(file, entry, "the name is not 1 to 256 bytes of printing ASCII", error);
    }
    const cJSON *found[3] = {NULL, NULL, NULL};
    static const char *const keys[3] = {"dtype", "shape", "data_offsets"};
    const cJSON *member;
    cJSON_ArrayForEach(member, entry)
    {
        for (size_t key = 0; key < 3; key++) {
            if (strcmp(member->string, keys[key]) != 0) {
                continue;
            }
            if (found[key] != NULL) {
                return refuse(file, entry, "a key comes twice", error);
            }
            found[key] = member;
        }
    }
    tensor->name = arena_copy(&file->arena, text_from(entry->string));
    if (tensor->name.bytes == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for names", file->name);
    }
    uint64_t shape_bytes = 0;
    enum error_code code = read_dtype(file, entry, found[0], tensor, error);
    if (code == ERROR_NONE) {
        code = read_shape(file, entry, found[1], tensor, &shape_bytes, error);
    }
    if (code == ERROR_NONE) {
        code = read_offsets(file, entry, found[2], data_start, shape_bytes, tensor, error);
    }
    return code;
}

static int compare_places(const void *left, const void *right)
{
    const struct tensor *const *left_tensor = left;
    const struct tensor *const *right_tensor = right;
    const unsigned char *left_data = (*left_tensor)->data;
    const unsigned char *right_data = (*right_tensor)->data;
    if (left_data != right_data) {
        return (left_data > right_data) - (left_data < right_data);
    }
    return ((*left_tensor)->bytes > (*right_tensor)->bytes) -
           ((*left_tensor)->bytes < (*right_tensor)->bytes);
}

/* The tensors, in order of place, must cover the data exactly. */
static enum error_code check_coverage(struct model_file *file, size_t data_start,
                                      struct error *error)
{
    const struct tensor **placed = malloc(file->tensor_count * sizeof(*placed));
    if (placed == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", file->name);
    }
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        placed[index] = &file->tensors[index];
    }
    qsort(placed, file->tensor_count, sizeof(*placed), compare_places);
    enum error_code code = ERROR_NONE;
    const unsigned char *expected = file->bytes + data_start;
    for (uint32_t index = 0; index < file->tensor_count && code == ERROR_NONE; index++) {
        const unsigned char *data = placed[index]->data;
        if (data != expected) {
            code = error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: %s the tensor before it",
                             file->name, model_name_show(placed[index]->name).text,
                             data < expected ? "overlaps" : "leaves a hole after");
        }
        expected = data + placed[index]->bytes;
    }
    if (code == ERROR_NONE && expected != file->bytes + file->byte_count) {
        code = error_set(error, ERROR_CORRUPT, "%.200s: %zu bytes after the last tensor",
                         file->name, (size_t)(file->bytes + file->byte_count - expected));
    }
    free(placed);
    return code;
}

static enum error_code read_tensors(struct model_file *file, const cJSON *header,
                                    size_t data_start, struct error *error)
{
    const int entry_count = cJSON_GetArraySize(header);
    if (entry_count > LIMIT_TENSORS) {
        return error_set(error, ERROR_CORRUPT, "%.200s: %d tensors, at most %d are read",
                         file->name, entry_count, LIMIT_TENSORS);
    }
    file->tensors = arena_alloc(&file->arena, (size_t)entry_count * sizeof(*file->tensors) + 1);
    if (file->tensors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for %d tensors",
                         file->name, entry_count);
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, header)
    {
        if (strcmp(entry->string, "__metadata__") == 0) {
            continue;
        }
        struct tensor *tensor = &file->tensors[file->tensor_count];
        const enum error_code code = read_tensor(file, entry, data_start, tensor, error);
        if (code != ERROR_NONE) {
            return code;
        }
        file->tensor_count++;
    }
    if (file->tensor_count == 0) {
        return error_set(error, ERROR_CORRUPT, "%.200s: no tensor in the header", file->name);
    }
    return check_coverage(file, data_start, error);
}

enum error_code model_file_read_safetensors(struct model_file *file, struct error *error)
{
    uint64_t header_bytes;
    ASSERT_COMPARE(file->byte_count, >=, LENGTH_BYTES);
    memcpy(&header_bytes, file->bytes, sizeof(header_bytes));
    if (header_bytes > LIMIT_SAFETENSORS_HEADER_BYTES) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: not a safetensors file: a header of %llu bytes, at most %d are "
                         "read",
                         file->name, (unsigned long long)header_bytes,
                         LIMIT_SAFETENSORS_HEADER_BYTES);
    }
    if (header_bytes > file->byte_count - LENGTH_BYTES) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: the header has %llu bytes, the file %zu: truncated", file->name,
                         (unsigned long long)header_bytes, file->byte_count);
    }
    const char *text = (const char *)file->bytes + LENGTH_BYTES;
    if (!header_is_bounded(text, (size_t)header_bytes)) {
        return error_set(error, ERROR_CORRUPT, "%.200s: the header is nested or long past reason",
                         file->name);
    }
    const char *end = NULL;
    cJSON *header = cJSON_ParseWithLengthOpts(text, (size_t)header_bytes, &end, 0);
    while (header != NULL && end < text + header_bytes && (*end == ' ' || *end == '\n')) {
        end++;
    }
    enum error_code code;
    if (!cJSON_IsObject(header) || end != text + header_bytes) {
        code = error_set(error, ERROR_CORRUPT, "%.200s: the header is not one JSON object",
                         file->name);
    } else {
        code = read_tensors(file, header, LENGTH_BYTES + (size_t)header_bytes, error);
    }
    cJSON_Delete(header);
    return code;
}
