/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file.c - maps weight files, recognises their container, finds tensors by name.
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

enum {
    ALIGNMENT = 64, /* Of copied tensors: a cache line. */
    MEMORY_BASE_BYTES =
        12 << 20, /* Besides the file's size; leaves 4 MiB for what is not charged. */
};

/* How a file is recognised: by its first bytes, never by its suffix. A row has a reader, or says
 * why there is none. */
struct container {
    const char *magic;
    size_t magic_bytes;
    size_t offset; /* Of the magic in the file. */
    enum model_file_format format;
    model_file_reader *read;
    const char *refusal;
};

#define MAGIC(literal) .magic = (literal), .magic_bytes = sizeof(literal) - 1
#define SAFETENSORS .format = MODEL_FILE_SAFETENSORS, .read = model_file_read_safetensors
#define WEB_PAGE .refusal = "a web page, not a model; download the file itself"

static const struct container containers[] = {
    /* First: the length before a safetensors header may look like any two bytes of the others. */
    {MAGIC("{\""), .offset = 8, SAFETENSORS},
    {MAGIC("{}"), .offset = 8, .refusal = "a safetensors file without a tensor"},
    {MAGIC("{ "), .offset = 8, SAFETENSORS},
    {MAGIC("{\n"), .offset = 8, SAFETENSORS},
    {MAGIC("PK\x03\x04"), .format = MODEL_FILE_PTH, .read = model_file_read_pth},
    {MAGIC("GGUF"), .refusal = "a GGUF file, which this version does not read; take the model's "
                               ".pth or .safetensors"},
    {MAGIC("version https://git-lfs"),
     .refusal = "a Git LFS pointer, not the file it stands for; fetch it with git lfs pull"},
    {MAGIC("<!"), WEB_PAGE},
    {MAGIC("<html"), WEB_PAGE},
    {MAGIC("<HTML"), WEB_PAGE},
    {MAGIC("<head"), WEB_PAGE},
    {MAGIC("\n<!"), WEB_PAGE},
    {MAGIC("\r\n<!"), WEB_PAGE},
    {MAGIC("\x1f\x8b"), .refusal = "a gzip archive; unpack it"},
    {MAGIC("\x80"),
     .refusal = "a bare Python pickle (a checkpoint of old PyTorch), which could run code; save it "
                "again with a newer PyTorch or convert it to .safetensors"},
    {MAGIC("{"), .refusal = "JSON text, not weights; name the .safetensors file or its directory"},
};

enum { CONTAINER_COUNT = sizeof(containers) / sizeof(containers[0]) };

/* Memory for one tensor in another form than the file's. */
struct model_block {
    struct model_block *next;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

bool model_name_is_plain(struct text name)
{
    for (size_t index = 0; index < name.len; index++) {
        const char byte = name.bytes[index];
        if (byte <= ' ' || byte > '~' || byte == '\\') {
            return false;
        }
    }
    return name.len > 0 && name.len <= MODEL_NAME_BYTES_MAX;
}

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

enum error_code model_file_charge(struct model_file *file, size_t bytes, struct error *error)
{
    const size_t bytes_max = file->byte_count + MEMORY_BASE_BYTES;
    size_t charged;
    if (__builtin_add_overflow(file->charged_bytes, bytes, &charged) || charged > bytes_max) {
        return error_set(error, ERROR_TOO_LARGE,
                         "%.200s: reading it would take more memory than its own %zu bytes and "
                         "%d MiB",
                         file->name, file->byte_count, MEMORY_BASE_BYTES >> 20);
    }
    file->charged_bytes = charged;
    return ERROR_NONE;
}

size_t model_file_chargeable(const struct model_file *file)
{
    return file->byte_count + MEMORY_BASE_BYTES - file->charged_bytes;
}

enum error_code model_file_allocate(struct model_file *file, size_t bytes, void **memory_out,
                                    struct error *error)
{
    const size_t wanted = bytes + sizeof(struct model_block);
    const enum error_code code = model_file_charge(file, wanted, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct model_block *block =
        aligned_alloc(ALIGNMENT, (wanted + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (block == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for a copy of %zu bytes",
                         file->name, bytes);
    }
    block->next = file->blocks;
    file->blocks = block;
    file->copied_bytes += bytes;
    *memory_out = block->bytes;
    return ERROR_NONE;
}

enum error_code model_file_grow(struct model_file *file, size_t count, struct error *error)
{
    const size_t total = file->tensor_count + count;
    if (count > LIMIT_TENSORS || total > LIMIT_TENSORS) {
        return error_set(error, ERROR_CORRUPT, "%.200s: %zu tensors, at most %d are read",
                         file->name, total, LIMIT_TENSORS);
    }
    const enum error_code code =
        model_file_charge(file, count * (sizeof(*file->tensors) + sizeof(*file->sorted)), error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct tensor *tensors = realloc(file->tensors, (total + 1) * sizeof(*tensors));
    if (tensors == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for %zu tensors",
                         file->name, total);
    }
    memset(&tensors[file->tensor_count], 0, (count + 1) * sizeof(*tensors));
    file->tensors = tensors;
    return ERROR_NONE;
}

enum error_code model_file_copy_name(struct model_file *file, struct text name,
                                     struct text *copy_out, struct error *error)
{
    const enum error_code code = model_file_charge(file, name.len + 2 * sizeof(void *), error);
    if (code != ERROR_NONE) {
        return code;
    }
    *copy_out = arena_copy(&file->arena, name);
    return copy_out->bytes != NULL
               ? ERROR_NONE
               : error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for names", file->name);
}

struct tensor *model_file_scan(struct model_file *file, struct text name)
{
    for (uint32_t index = 0; index < file->tensor_count; index++) {
        if (text_equals(file->tensors[index].name, name)) {
            return &file->tensors[index];
        }
    }
    return NULL;
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
    file->sorted = malloc((file->tensor_count + 1) * sizeof(*file->sorted));
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

/* Recognises the only part and reads it. */
static enum error_code read_container(struct model_file *file, struct error *error)
{
    const struct model_part *part = &file->parts[0];
    for (size_t index = 0; index < CONTAINER_COUNT; index++) {
        const struct container *container = &containers[index];
        if (part->byte_count < container->offset + container->magic_bytes ||
            memcmp(part->bytes + container->offset, container->magic, container->magic_bytes) !=
                0) {
            continue;
        }
        if (container->read == NULL) {
            return error_set(error, ERROR_CORRUPT, "%.200s: this is %s", file->name,
                             container->refusal);
        }
        file->format = container->format;
        return container->read(file, 0, error);
    }
    if (part->byte_count == 0) {
        return error_set(error, ERROR_CORRUPT, "%.200s: the file is empty", file->name);
    }
    return error_set(
        error, ERROR_CORRUPT,
        "%.200s: not a model: neither a .pth (zip) nor a .safetensors file (%zu bytes, "
        "no header at byte 8)",
        file->name, part->byte_count);
}

/* What follows once all parts are read. */
static enum error_code finish(struct model_file *file, struct error *error)
{
    enum error_code code = model_file_translate(file, error);
    if (code == ERROR_NONE) {
        code = model_file_tie_head(file, error);
    }
    if (code == ERROR_NONE) {
        code = index_tensors(file, error);
    }
    return code != ERROR_NONE ? code : model_file_check_config(file, error);
}

/* A file with room for one part. */
static struct model_file *create_file(const char *name)
{
    struct model_file *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return NULL;
    }
    file->name = arena_copy(&file->arena, text_from(name)).bytes;
    file->parts = arena_alloc(&file->arena, sizeof(*file->parts));
    if (file->name == NULL || file->parts == NULL) {
        model_file_close(file);
        return NULL;
    }
    return file;
}

/* Maps the open file of that descriptor. */
static enum error_code map_descriptor(struct model_part *part, int descriptor, struct error *error)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        return error_set(error, ERROR_IO, "%.200s: %s", part->name, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_CORRUPT, "%.200s: not a regular file", part->name);
    }
    part->byte_count = (size_t)status.st_size;
    if (part->byte_count == 0) {
        return ERROR_NONE;
    }
    void *bytes = mmap(NULL, part->byte_count, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) {
        return error_set(error, ERROR_IO, "%.200s: cannot map %zu bytes: %s", part->name,
                         part->byte_count, strerror(errno));
    }
    part->bytes = bytes;
    part->is_mapped = true;
    (void)madvise(bytes, part->byte_count, MADV_HUGEPAGE); /* Refused: steps are slower. */
    return ERROR_NONE;
}

enum error_code model_file_map(struct model_file *file, const char *path, uint32_t *part_out,
                               struct error *error)
{
    /* Not blocking: a fifo by that name must not stop the program. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        const bool is_missing = errno == ENOENT || errno == ENOTDIR;
        return error_set(error, is_missing ? ERROR_NOT_FOUND : ERROR_IO, "%.200s: %s", path,
                         strerror(errno));
    }
    struct model_part *part = &file->parts[file->part_count];
    part->name = arena_copy(&file->arena, text_from(path)).bytes;
    const enum error_code code =
        part->name == NULL ? error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", path)
                           : map_descriptor(part, descriptor, error);
    close(descriptor);
    if (code == ERROR_NONE) {
        *part_out = file->part_count;
        file->part_count++;
        file->byte_count += part->byte_count;
    }
    return code;
}

static enum error_code read_path(struct model_file *file, const char *path, struct error *error)
{
    struct stat status;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        file->format = MODEL_FILE_DIRECTORY;
        return model_file_read_directory(file, path, error);
    }
    uint32_t part;
    const enum error_code code = model_file_map(file, path, &part, error);
    return code != ERROR_NONE ? code : read_container(file, error);
}

enum error_code model_file_open(const char *path, struct model_file **file_out, struct error *error)
{
    *file_out = NULL;
    struct model_file *file = create_file(path);
    if (file == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory", path);
    }
    enum error_code code = read_path(file, path, error);
    if (code == ERROR_NONE) {
        code = finish(file, error);
    }
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
    file->parts[0] =
        (struct model_part){.name = file->name, .bytes = bytes, .byte_count = byte_count};
    file->part_count = 1;
    file->byte_count = byte_count;
    enum error_code code = read_container(file, error);
    if (code == ERROR_NONE) {
        code = finish(file, error);
    }
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
    while (file->blocks != NULL) {
        struct model_block *block = file->blocks;
        file->blocks = block->next;
        free(block);
    }
    for (uint32_t index = 0; index < file->part_count; index++) {
        const struct model_part *part = &file->parts[index];
        if (part->is_mapped) {
            munmap((void *)(uintptr_t)part->bytes, part->byte_count);
        }
    }
    free(file->sorted);
    free(file->tensors);
    arena_reset(&file->arena);
    free(file);
}

const char *model_file_name(const struct model_file *file)
{
    return file->name;
}

enum model_file_format model_file_format(const struct model_file *file)
{
    return file->format;
}

const char *model_file_format_text(const struct model_file *file)
{
    switch (file->format) {
    case MODEL_FILE_SAFETENSORS:
        return "safetensors";
    case MODEL_FILE_PTH:
        return "PyTorch .pth";
    case MODEL_FILE_DIRECTORY:
        return "Hugging Face directory";
    }
    return "";
}

size_t model_file_bytes(const struct model_file *file)
{
    return file->byte_count;
}

size_t model_file_copied_bytes(const struct model_file *file)
{
    return file->copied_bytes;
}

bool model_file_has_transposed_low_rank(const struct model_file *file)
{
    return file->has_transposed_low_rank;
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
