/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file.c - maps a weight file, recognises its container, finds tensors by name.
 *
 * Reading a container's table of contents does not live here: each format has its own file.
 * Thread: open and close on one thread, reads from any. */
#include "engine/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model_file_container.h"

/* How a file is recognised: by its first bytes, never by its suffix. A row has a reader, or says
 * why there is none. */
struct container {
    const char *magic;
    size_t magic_bytes;
    size_t offset; /* Of the magic in the file. */
    model_file_reader *read;
    const char *refusal;
};

#define MAGIC(literal) .magic = (literal), .magic_bytes = sizeof(literal) - 1

static const struct container containers[] = {
    /* First: the length before a safetensors header may look like any two bytes of the others. */
    {MAGIC("{\""), .offset = 8, .read = model_file_read_safetensors},
    {MAGIC("{}"), .offset = 8, .refusal = "a safetensors file without a tensor"},
    {MAGIC("{ "), .offset = 8, .read = model_file_read_safetensors},
    {MAGIC("{\n"), .offset = 8, .read = model_file_read_safetensors},
    {MAGIC("PK\x03\x04"),
     .refusal = "a zip archive: not supported yet by this version: .pth; convert to .safetensors"},
    {MAGIC("GGUF"),
     .refusal = "a GGUF file: not supported by this version; convert to .safetensors"},
    {MAGIC("version https://git-lfs"),
     .refusal = "a Git LFS pointer, not the file it stands for; fetch it with git lfs pull"},
    {MAGIC("<!"), .refusal = "a web page, not a model; download the file itself"},
    {MAGIC("<html"), .refusal = "a web page, not a model; download the file itself"},
    {MAGIC("\x80\x02"),
     .refusal = "a bare Python pickle, which could run code; convert to .safetensors"},
    {MAGIC("{"), .refusal = "JSON text, not weights; name the .safetensors file"},
};

enum { CONTAINER_COUNT = sizeof(containers) / sizeof(containers[0]) };

struct model_name_shown model_name_show(struct text name)
{
    struct model_name_shown shown = {0};
    size_t len = name.len < MODEL_NAME_SHOWN_BYTES ? name.len : MODEL_NAME_SHOWN_BYTES;
    for (size_t index = 0; index < len; index++) {
        const char byte = name.bytes[index];
        shown.text[index] = byte >= ' ' && byte <= '~' ? byte : '?';
    }
    if (len < name.len) {
        memcpy(shown.text + len, "...", 3);
    }
    return shown;
}

size_t tensor_type_bytes(enum tensor_type type)
{
    switch (type) {
    case TENSOR_BF16:
    case TENSOR_F16:
        return 2;
    case TENSOR_F32:
        return 4;
    }
    return 0;
}

static int compare_names(struct text left, struct text right)
{
    const size_t shorter = left.len < right.len ? left.len : right.len;
    const int order = shorter == 0 ? 0 : memcmp(left.bytes, right.bytes, shorter);
    if (order != 0) {
        return order;
    }
    return (left.len > right.len) - (left.len < right.len);
}

static int compare_tensor_names(const void *left, const void *right)
{
    const struct tensor *const *left_tensor = left;
    const struct tensor *const *right_tensor = right;
    return compare_names((*left_tensor)->name, (*right_tensor)->name);
}

/* Builds the sorted index and refuses a name that comes twice. */
static enum error_code index_tensors(struct model_file *file, struct error *error)
{
    file->sorted = arena_alloc(&file->arena, file->tensor_count * sizeof(*file->sorted));
    if (file->sorted == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "%.200s: no memory for the index of %u tensors", file->name,
                         file->tensor_count);
    }
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        file->sorted[index] = &file->tensors[index];
    }
    qsort(file->sorted, file->tensor_count, sizeof(*file->sorted), compare_tensor_names);
    for (uint32_t index = 1; index < file->tensor_count; index++) {
        if (compare_names(file->sorted[index - 1]->name, file->sorted[index]->name) == 0) {
            return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: the name comes twice",
                             file->name, model_name_show(file->sorted[index]->name).text);
        }
    }
    return ERROR_NONE;
}

static enum error_code read_container(struct model_file *file, struct error *error)
{
    for (size_t index = 0; index < CONTAINER_COUNT; index++) {
        const struct container *container = &containers[index];
        if (file->byte_count < container->offset + container->magic_bytes ||
            memcmp(file->bytes + container->offset, container->magic, container->magic_bytes) !=
                0) {
            continue;
        }
        if (container->read == NULL) {
            return error_set(error, ERROR_CORRUPT, "%.200s: this is %s", file->name,
                             container->refusal);
        }
        const enum error_code code = container->read(file, error);
        return code != ERROR_NONE ? code : index_tensors(file, error);
    }
    if (file->byte_count == 0) {
        return error_set(error, ERROR_CORRUPT, "%.200s: the file is empty", file->name);
    }
    return error_set(error, ERROR_CORRUPT,
                     "%.200s: not a safetensors file (%zu bytes, no header at byte 8)", file->name,
                     file->byte_count);
}

static struct model_file *create_file(const char *name)
{
    struct model_file *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return NULL;
    }
    file->name = arena_copy(&file->arena, text_from(name)).bytes;
    if (file->name == NULL) {
        model_file_close(file);
        return NULL;
    }
    return file;
}

/* Maps the open file of that descriptor into file->bytes. */
static enum error_code map_bytes(struct model_file *file, int descriptor, struct error *error)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        return error_set(error, ERROR_IO, "%.200s: %s", file->name, strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: a directory; this version opens one .safetensors file",
                         file->name);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_CORRUPT, "%.200s: not a regular file", file->name);
    }
    file->byte_count = (size_t)status.st_size;
    if (file->byte_count == 0) {
        return ERROR_NONE;
    }
    void *bytes = mmap(NULL, file->byte_count, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) {
        return error_set(error, ERROR_IO, "%.200s: cannot map %zu bytes: %s", file->name,
                         file->byte_count, strerror(errno));
    }
    file->bytes = bytes;
    file->is_mapped = true;
    return ERROR_NONE;
}

enum error_code model_file_open(const char *path, struct model_file **file_out,
                                struct error *error)
{
    *file_out = NULL;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        const bool is_missing = errno == ENOENT || errno == ENOTDIR;
        return error_set(error, is_missing ? ERROR_NOT_FOUND : ERROR_IO, "%.200s: %s", path,
                         strerror(errno));
    }
    enum error_code code = ERROR_NONE;
    struct model_file *file = create_file(path);
    if (file == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", path);
        goto out;
    }
    code = map_bytes(file, descriptor, error);
    if (code == ERROR_NONE) {
        code = read_container(file, error);
    }
out:
    close(descriptor);
    if (code != ERROR_NONE) {
        model_file_close(file);
        return code;
    }
    *file_out = file;
    return ERROR_NONE;
}

enum error_code model_file_open_memory(const void *bytes, size_t byte_count, const char *name,
                                       struct model_file **file_out, struct error *error)
{
    *file_out = NULL;
    struct model_file *file = create_file(name);
    if (file == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", name);
    }
    file->bytes = bytes;
    file->byte_count = byte_count;
    const enum error_code code = read_container(file, error);
    if (code != ERROR_NONE) {
        model_file_close(file);
        return code;
    }
    *file_out = file;
    return ERROR_NONE;
}

void model_file_close(struct model_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->is_mapped) {
        munmap((void *)(uintptr_t)file->bytes, file->byte_count);
    }
    arena_reset(&file->arena);
    free(file);
}

const char *model_file_name(const struct model_file *file)
{
    return file->name;
}

size_t model_file_bytes(const struct model_file *file)
{
    return file->byte_count;
}

uint32_t model_file_tensor_count(const struct model_file *file)
{
    return file->tensor_count;
}

const struct tensor *model_file_tensor_at(const struct model_file *file, uint32_t index)
{
    ASSERT_COMPARE(index, <, file->tensor_count);
    return &file->tensors[index];
}

const struct tensor *model_file_find(const struct model_file *file, const char *name)
{
    const struct text wanted = text_from(name);
    uint32_t begin = 0;
    uint32_t end = file->tensor_count;
    while (begin < end) {
        const uint32_t middle = begin + (end - begin) / 2;
        const int order = compare_names(wanted, file->sorted[middle]->name);
        if (order == 0) {
            return file->sorted[middle];
        }
        if (order < 0) {
            end = middle;
        } else {
            begin = middle + 1;
        }
    }
    return NULL;
}

/* IEEE 754 binary16 to binary32; exact. Subnormals are 2^-24 times their fraction. */
static float f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t fraction = half & 0x3ffu;
    if (exponent == 0) {
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 127 - 15;
    const uint32_t bits = sign | (wide_exponent << 23) | (fraction << 13);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

float tensor_element(const struct tensor *tensor, size_t index)
{
    const unsigned char *bytes = tensor->data;
    uint16_t half;
    float value;
    switch (tensor->type) {
    case TENSOR_BF16: {
        memcpy(&half, bytes + index * sizeof(half), sizeof(half));
        const uint32_t bits = (uint32_t)half << 16;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    case TENSOR_F16:
        memcpy(&half, bytes + index * sizeof(half), sizeof(half));
        return f16_to_f32(half);
    case TENSOR_F32:
        memcpy(&value, bytes + index * sizeof(value), sizeof(value));
        return value;
    }
    return 0.0f;
}

size_t tensor_element_count(const struct tensor *tensor)
{
    return tensor->bytes / tensor_type_bytes(tensor->type);
}
