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

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/json_scan.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are read in place");

enum { LENGTH_BYTES = sizeof(uint64_t) };

static const uint64_t offset_max = UINT64_C(1) << 53; /* What every JSON reader can hold. */

static const struct {
    const char *name;
    enum tensor_type type;
} dtypes[] = {{"BF16", TENSOR_BF16}, {"F16", TENSOR_F16}, {"F32", TENSOR_F32}};

/* The file being read, and the header's entry under the cursor. */
struct header {
    struct model_file *file;
    const struct model_part *part;
    size_t data_start;
    struct json_scan scan;
    struct text name;  /* Of the entry. */
    struct text dtype; /* Empty: not given. */
    bool has_shape, has_offsets;
    uint32_t dimension_count;
    uint64_t shape[LIMIT_TENSOR_DIMENSIONS];
    uint64_t begin, end;
};

static enum error_code refuse(const struct header *header, const char *why, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: %s", header->part->name,
                     model_name_show(header->name).text, why);
}

static enum error_code refuse_json(const struct header *header, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: the header is not one JSON object",
                     header->part->name);
}

static enum error_code scan_shape(struct header *header, struct error *error)
{
    header->has_shape = true;
    if (!json_scan_take(&header->scan, '[')) {
        return refuse(header, "no shape", error);
    }
    if (json_scan_take(&header->scan, ']')) {
        return ERROR_NONE;
    }
    do {
        if (header->dimension_count == LIMIT_TENSOR_DIMENSIONS) {
            return refuse(header, "more than 8 dimensions", error);
        }
        uint64_t value;
        if (!json_scan_whole(&header->scan, &value) || value > offset_max) {
            return refuse(header, "a dimension is not a whole number", error);
        }
        header->shape[header->dimension_count] = value;
        header->dimension_count++;
    } while (json_scan_take(&header->scan, ','));
    return json_scan_take(&header->scan, ']')
               ? ERROR_NONE
               : refuse(header, "a dimension is not a whole number", error);
}

static enum error_code scan_offsets(struct header *header, struct error *error)
{
    header->has_offsets = true;
    if (!json_scan_take(&header->scan, '[') || !json_scan_whole(&header->scan, &header->begin) ||
        !json_scan_take(&header->scan, ',') || !json_scan_whole(&header->scan, &header->end) ||
        !json_scan_take(&header->scan, ']') || header->begin > offset_max ||
        header->end > offset_max) {
        return refuse(header, "data_offsets is not [begin, end]", error);
    }
    return ERROR_NONE;
}

/* Reads one key and its value of an entry. */
static enum error_code scan_member(struct header *header, struct error *error)
{
    struct text key;
    if (!json_scan_string(&header->scan, &key) || !json_scan_take(&header->scan, ':')) {
        return refuse_json(header, error);
    }
    const bool is_dtype = text_equals(key, TEXT("dtype"));
    const bool is_shape = text_equals(key, TEXT("shape"));
    const bool is_offsets = text_equals(key, TEXT("data_offsets"));
    if (!is_dtype && !is_shape && !is_offsets) {
        return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: unknown key %s",
                         header->part->name, model_name_show(header->name).text,
                         model_name_show(key).text);
    }
    if ((is_dtype && header->dtype.len > 0) || (is_shape && header->has_shape) ||
        (is_offsets && header->has_offsets)) {
        return refuse(header, "a key comes twice", error);
    }
    if (is_dtype) {
        const bool is_string = json_scan_string(&header->scan, &header->dtype);
        return is_string && header->dtype.len > 0 ? ERROR_NONE : refuse(header, "no dtype", error);
    }
    return is_shape ? scan_shape(header, error) : scan_offsets(header, error);
}

/* Reads {"dtype": .., "shape": .., "data_offsets": ..} in any order. */
static enum error_code scan_entry(struct header *header, struct error *error)
{
    header->dtype = (struct text){0};
    header->has_shape = header->has_offsets = false;
    header->dimension_count = 0;
    if (!model_name_is_plain(header->name)) {
        return refuse(header, "the name is not 1 to 256 bytes of printing ASCII", error);
    }
    if (!json_scan_take(&header->scan, '{')) {
        return refuse(header, "not an object", error);
    }
    do {
        const enum error_code code = scan_member(header, error);
        if (code != ERROR_NONE) {
            return code;
        }
    } while (json_scan_take(&header->scan, ','));
    if (!json_scan_take(&header->scan, '}')) {
        return refuse_json(header, error);
    }
    return header->dtype.len == 0 ? refuse(header, "no dtype", error)
           : !header->has_shape   ? refuse(header, "no shape", error)
           : !header->has_offsets ? refuse(header, "no data_offsets", error)
                                  : ERROR_NONE;
}

static enum error_code read_dtype(const struct header *header, struct tensor *tensor,
                                  struct error *error)
{
    for (size_t index = 0; index < sizeof(dtypes) / sizeof(dtypes[0]); index++) {
        if (text_equals(header->dtype, text_from(dtypes[index].name))) {
            tensor->type = dtypes[index].type;
            return ERROR_NONE;
        }
    }
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: tensor %s: dtype %.16s, supported: BF16, F16, F32",
                     header->part->name, model_name_show(header->name).text,
                     model_name_show(header->dtype).text);
}

/* Checks [begin, end) against shape, dtype and the file. */
static enum error_code read_place(const struct header *header, struct tensor *tensor,
                                  struct error *error)
{
    uint64_t bytes = tensor_type_bytes(tensor->type);
    tensor->dimension_count = header->dimension_count;
    for (uint32_t index = 0; index < header->dimension_count; index++) {
        tensor->shape[index] = header->shape[index];
        if (__builtin_mul_overflow(bytes, header->shape[index], &bytes)) {
            return refuse(header, "the shape's product is past 64 bits", error);
        }
    }
    const uint64_t data_bytes = header->part->byte_count - header->data_start;
    if (header->begin > header->end) {
        return refuse(header, "data_offsets ends before it begins", error);
    }
    if (header->end - header->begin != bytes) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: data_offsets hold %" PRIu64 " bytes, shape and dtype "
                         "need %" PRIu64,
                         header->part->name, model_name_show(header->name).text,
                         header->end - header->begin, bytes);
    }
    if (header->end > data_bytes) {
        return error_set(
            error, ERROR_CORRUPT,
            "%.200s: tensor %s: ends at data byte %" PRIu64 ", the file has %" PRIu64 ": truncated",
            header->part->name, model_name_show(header->name).text, header->end, data_bytes);
    }
    tensor->data = header->part->bytes + header->data_start + header->begin;
    tensor->bytes = (size_t)bytes;
    return ERROR_NONE;
}

static enum error_code read_entry(struct header *header, struct error *error)
{
    enum error_code code = scan_entry(header, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct tensor *tensor = &header->file->tensors[header->file->tensor_count];
    code = model_file_copy_name(header->file, header->name, &tensor->name, error);
    if (code == ERROR_NONE) {
        code = read_dtype(header, tensor, error);
    }
    if (code == ERROR_NONE) {
        code = read_place(header, tensor, error);
    }
    if (code == ERROR_NONE) {
        header->file->tensor_count++;
    }
    return code;
}

/* Reads the header's one object; there is room for as many tensors as it has opening braces. */
static enum error_code read_header(struct header *header, struct error *error)
{
    struct text ignored;
    if (!json_scan_take(&header->scan, '{')) {
        return refuse_json(header, error);
    }
    do {
        if (!json_scan_string(&header->scan, &header->name) ||
            !json_scan_take(&header->scan, ':')) {
            return refuse_json(header, error);
        }
        if (text_equals(header->name, TEXT("__metadata__"))) {
            if (!json_scan_value(&header->scan, &ignored)) {
                return refuse_json(header, error);
            }
            continue;
        }
        const enum error_code code = read_entry(header, error);
        if (code != ERROR_NONE) {
            return code;
        }
    } while (json_scan_take(&header->scan, ','));
    if (!json_scan_take(&header->scan, '}') || !json_scan_is_done(&header->scan)) {
        return refuse_json(header, error);
    }
    return ERROR_NONE;
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

/* The tensors from `first` on, in order of place, must cover the data exactly. */
static enum error_code check_coverage(const struct header *header, uint32_t first,
                                      struct error *error)
{
    const struct model_file *file = header->file;
    const struct model_part *part = header->part;
    const uint32_t count = file->tensor_count - first;
    const struct tensor **placed = malloc(count * sizeof(*placed));
    if (placed == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", part->name);
    }
    for (uint32_t index = 0; index < count; index++) {
        placed[index] = &file->tensors[first + index];
    }
    qsort(placed, count, sizeof(*placed), compare_places);
    enum error_code code = ERROR_NONE;
    const unsigned char *expected = part->bytes + header->data_start;
    for (uint32_t index = 0; index < count && code == ERROR_NONE; index++) {
        const unsigned char *data = placed[index]->data;
        if (data != expected) {
            code = error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: %s the tensor before it",
                             part->name, model_name_show(placed[index]->name).text,
                             data < expected ? "overlaps" : "leaves a hole after");
        }
        expected = data + placed[index]->bytes;
    }
    if (code == ERROR_NONE && expected != part->bytes + part->byte_count) {
        code = error_set(error, ERROR_CORRUPT, "%.200s: %zu bytes after the last tensor",
                         part->name, (size_t)(part->bytes + part->byte_count - expected));
    }
    free(placed);
    return code;
}

/* More opening braces than tensors are possible, fewer are not. */
static enum error_code make_room(struct model_file *file, const struct model_part *part,
                                 struct text text, struct error *error)
{
    size_t brace_count = 0;
    for (size_t index = 0; index < text.len; index++) {
        brace_count += text.bytes[index] == '{';
    }
    if (brace_count > LIMIT_TENSORS) {
        return error_set(error, ERROR_CORRUPT, "%.200s: %zu tensors, at most %d are read",
                         part->name, brace_count - 1, LIMIT_TENSORS);
    }
    return model_file_grow(file, brace_count, error);
}

enum error_code model_file_read_safetensors(struct model_file *file, uint32_t part_index,
                                            struct error *error)
{
    const struct model_part *part = &file->parts[part_index];
    uint64_t header_bytes;
    ASSERT_COMPARE(part->byte_count, >=, LENGTH_BYTES);
    memcpy(&header_bytes, part->bytes, sizeof(header_bytes));
    if (header_bytes > LIMIT_SAFETENSORS_HEADER_BYTES) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: not a safetensors file: a header of %" PRIu64 " bytes, at most "
                         "%d are read",
                         part->name, header_bytes, LIMIT_SAFETENSORS_HEADER_BYTES);
    }
    if (header_bytes > part->byte_count - LENGTH_BYTES) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: the header has %" PRIu64 " bytes, the file %zu: truncated",
                         part->name, header_bytes, part->byte_count);
    }
    const struct text text = {.bytes = (const char *)part->bytes + LENGTH_BYTES,
                              .len = (size_t)header_bytes};
    const uint32_t first = file->tensor_count;
    struct header header = {
        .file = file,
        .part = part,
        .data_start = LENGTH_BYTES + (size_t)header_bytes,
        .scan = json_scan_from(text),
    };
    enum error_code code = make_room(file, part, text, error);
    if (code == ERROR_NONE) {
        code = read_header(&header, error);
    }
    if (code == ERROR_NONE && file->tensor_count == first) {
        code = error_set(error, ERROR_CORRUPT, "%.200s: no tensor in the header", part->name);
    }
    return code != ERROR_NONE ? code : check_coverage(&header, first, error);
}
