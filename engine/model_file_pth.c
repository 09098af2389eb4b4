/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_pth.c - the tensors of a PyTorch .pth file.
 *
 *   a zip archive of stored entries: <prefix>/data.pkl   the table: names, shapes, strides
 *                                    <prefix>/data/<key> one storage each, little-endian
 *                                    <prefix>/byteorder  "little", or absent
 *
 * The table is a pickle, which is read and never run (pickle_reader.h). Its CRC-32 is compared
 * always: a flipped bit there could give the right shapes the wrong bytes. Tensors whose elements
 * lie one behind the other are used where they are; others are copied.
 * Thread: as engine/model_file.h. */
#include "engine/model_file_container.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/model_file_zip.h"
#include "engine/pickle_reader.h"

enum { PREFIX_BYTES_MAX = 256, ENTRY_NAME_BYTES = 512 };

struct archive {
    const char *name; /* Of the file. */
    struct zip_entry *entries;
    uint32_t entry_count;
    struct text prefix; /* With its slash. */
};

static enum error_code refuse(const struct archive *archive, const struct pickle_tensor *tensor,
                              const char *why, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: %s", archive->name,
                     model_name_show(tensor->name).text, why);
}

/* Finds the one entry whose name ends in /data.pkl; what is before it is the prefix. */
static enum error_code find_pickle(struct archive *archive, const struct zip_entry **pickle_out,
                                   struct error *error)
{
    static const char suffix[] = "/data.pkl";
    const size_t suffix_len = sizeof(suffix) - 1;
    *pickle_out = NULL;
    for (uint32_t index = 0; index < archive->entry_count; index++) {
        const struct zip_entry *entry = &archive->entries[index];
        const struct text name = entry->name;
        if (name.len <= suffix_len || name.len > PREFIX_BYTES_MAX ||
            memcmp(name.bytes + name.len - suffix_len, suffix, suffix_len) != 0) {
            continue;
        }
        if (*pickle_out != NULL) {
            return error_set(error, ERROR_CORRUPT, "%.200s: two data.pkl in one archive",
                             archive->name);
        }
        *pickle_out = entry;
        archive->prefix = (struct text){.bytes = name.bytes, .len = name.len - strlen("data.pkl")};
    }
    if (*pickle_out == NULL) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: a zip archive without data.pkl: not a PyTorch file",
                         archive->name);
    }
    const uint32_t crc32 = zip_crc32(0, (*pickle_out)->bytes, (*pickle_out)->byte_count);
    if (crc32 != (*pickle_out)->crc32) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: data.pkl: CRC-32 %08" PRIx32 ", the directory says %08" PRIx32
                         ": the file is damaged",
                         archive->name, crc32, (*pickle_out)->crc32);
    }
    return ERROR_NONE;
}

/* The entry <prefix><folder><key>, or NULL. */
static const struct zip_entry *find_entry(const struct archive *archive, const char *folder,
                                          struct text key)
{
    char name[ENTRY_NAME_BYTES];
    const int len =
        snprintf(name, sizeof(name), "%.*s%s%.*s", (int)archive->prefix.len, archive->prefix.bytes,
                 folder, (int)(key.len < sizeof(name) ? key.len : sizeof(name)), key.bytes);
    if (len < 0 || (size_t)len >= sizeof(name)) {
        return NULL;
    }
    return zip_find(archive->entries, archive->entry_count, text_from(name));
}

static enum error_code check_byte_order(const struct archive *archive, struct error *error)
{
    const struct zip_entry *entry = find_entry(archive, "", TEXT("byteorder"));
    if (entry == NULL || text_equals(text_trim((struct text){.bytes = (const char *)entry->bytes,
                                                             .len = entry->byte_count}),
                                     TEXT("little"))) {
        return ERROR_NONE;
    }
    return error_set(error, ERROR_CORRUPT, "%.200s: written on a machine of the other byte order",
                     archive->name);
}

/* Whether every element follows the one before it. */
static bool is_contiguous(const struct pickle_tensor *from)
{
    uint64_t expected = 1;
    for (uint32_t index = from->dimension_count; index-- > 0;) {
        if (from->shape[index] != 1 && from->strides[index] != expected) {
            return false;
        }
        expected *= from->shape[index]; /* Cannot overflow: the product was checked. */
    }
    return true;
}

/* Copies a view element by element in the order of its shape. */
static void gather(const struct pickle_tensor *from, const unsigned char *storage,
                   size_t element_bytes, size_t element_count, unsigned char *to)
{
    uint64_t place[LIMIT_TENSOR_DIMENSIONS] = {0};
    uint64_t offset = from->offset;
    for (size_t element = 0; element < element_count; element++) {
        memcpy(to + element * element_bytes, storage + (size_t)offset * element_bytes,
               element_bytes);
        for (uint32_t index = from->dimension_count; index-- > 0;) {
            place[index]++;
            offset += from->strides[index];
            if (place[index] < from->shape[index]) {
                break;
            }
            offset -= from->strides[index] * from->shape[index];
            place[index] = 0;
        }
    }
}

/* Checks that a view stays within its storage; counts its elements. */
static enum error_code check_view(const struct archive *archive, const struct pickle_tensor *from,
                                  uint64_t *count_out, struct error *error)
{
    uint64_t count = 1;
    uint64_t last = from->offset; /* Index of the last element. */
    for (uint32_t index = 0; index < from->dimension_count; index++) {
        uint64_t step;
        if (from->shape[index] == 0) {
            return refuse(archive, from, "a dimension of 0", error);
        }
        if (__builtin_mul_overflow(count, from->shape[index], &count) ||
            __builtin_mul_overflow(from->shape[index] - 1, from->strides[index], &step) ||
            __builtin_add_overflow(last, step, &last)) {
            return refuse(archive, from, "shape and strides are past 64 bits", error);
        }
    }
    if (last >= from->storage_count) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: ends at element %" PRIu64 " of its storage, which has "
                         "%" PRIu64,
                         archive->name, model_name_show(from->name).text, last,
                         from->storage_count);
    }
    *count_out = count;
    return ERROR_NONE;
}

static enum error_code find_storage(const struct archive *archive, const struct pickle_tensor *from,
                                    const struct zip_entry **entry_out, struct error *error)
{
    uint64_t bytes;
    *entry_out = find_entry(archive, "data/", from->storage_key);
    if (*entry_out == NULL) {
        return error_set(error, ERROR_CORRUPT, "%.200s: tensor %s: there is no entry data/%s",
                         archive->name, model_name_show(from->name).text,
                         model_name_show(from->storage_key).text);
    }
    if (__builtin_mul_overflow(from->storage_count, tensor_type_bytes(from->type), &bytes) ||
        bytes != (*entry_out)->byte_count) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: tensor %s: entry data/%s has %zu bytes, expected %" PRIu64
                         " elements of %zu",
                         archive->name, model_name_show(from->name).text,
                         model_name_show(from->storage_key).text, (*entry_out)->byte_count,
                         from->storage_count, tensor_type_bytes(from->type));
    }
    return ERROR_NONE;
}

static enum error_code read_tensor(struct model_file *file, const struct archive *archive,
                                   const struct pickle_tensor *from, struct tensor *tensor,
                                   struct error *error)
{
    const struct zip_entry *storage = NULL;
    uint64_t count = 0;
    if (!model_name_is_plain(from->name)) {
        return refuse(archive, from, "the name is not 1 to 256 bytes of printing ASCII", error);
    }
    enum error_code code = find_storage(archive, from, &storage, error);
    if (code == ERROR_NONE) {
        code = check_view(archive, from, &count, error);
    }
    if (code == ERROR_NONE) {
        code = model_file_copy_name(file, from->name, &tensor->name, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    const size_t element_bytes = tensor_type_bytes(from->type);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, element_bytes, &bytes)) {
        return refuse(archive, from, "shape and strides are past 64 bits", error);
    }
    tensor->type = from->type;
    tensor->dimension_count = from->dimension_count;
    memcpy(tensor->shape, from->shape, sizeof(tensor->shape));
    tensor->bytes = bytes;
    tensor->data = storage->bytes + (size_t)from->offset * element_bytes;
    if (is_contiguous(from)) {
        return ERROR_NONE;
    }
    void *copy;
    code = model_file_allocate(file, bytes, &copy, error);
    if (code == ERROR_NONE) {
        gather(from, storage->bytes, element_bytes, (size_t)count, copy);
        tensor->data = copy;
    }
    return code;
}

/* Keeps what --verify compares. */
static enum error_code keep_checksums(struct model_file *file, const struct archive *archive,
                                      struct error *error)
{
    const enum error_code code =
        model_file_charge(file, archive->entry_count * sizeof(*file->checksums), error);
    if (code != ERROR_NONE) {
        return code;
    }
    file->checksums = arena_alloc(&file->arena, archive->entry_count * sizeof(*file->checksums));
    if (file->checksums == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%.200s: no memory for checksums", file->name);
    }
    for (uint32_t index = 0; index < archive->entry_count; index++) {
        const struct zip_entry *entry = &archive->entries[index];
        file->checksums[index] = (struct model_checksum){
            .name = entry->name,
            .bytes = entry->bytes,
            .byte_count = entry->byte_count,
            .crc32 = entry->crc32,
        };
    }
    file->checksum_count = archive->entry_count;
    return ERROR_NONE;
}

static enum error_code read_table(struct model_file *file, const struct archive *archive,
                                  const struct pickle_table *table, struct error *error)
{
    if (table->tensor_count == 0) {
        return error_set(error, ERROR_CORRUPT, "%.200s: data.pkl holds no tensor", archive->name);
    }
    enum error_code code = model_file_grow(file, table->tensor_count, error);
    for (uint32_t index = 0; index < table->tensor_count && code == ERROR_NONE; index++) {
        code = read_tensor(file, archive, &table->tensors[index],
                           &file->tensors[file->tensor_count], error);
        file->tensor_count += code == ERROR_NONE;
    }
    return code;
}

enum error_code model_file_read_pth(struct model_file *file, uint32_t part, struct error *error)
{
    struct archive archive = {.name = file->parts[part].name};
    const struct zip_entry *pickle = NULL;
    struct pickle_table table;
    struct arena arena = {0};
    enum error_code code =
        zip_read_entries(file, &file->parts[part], &archive.entries, &archive.entry_count, error);
    if (code == ERROR_NONE) {
        code = find_pickle(&archive, &pickle, error);
    }
    if (code == ERROR_NONE) {
        code = check_byte_order(&archive, error);
    }
    if (code == ERROR_NONE) {
        code = keep_checksums(file, &archive, error);
    }
    if (code != ERROR_NONE) {
        return code;
    }
    arena.bytes_max = model_file_chargeable(file) + 1; /* 0 would be no limit. */
    code =
        pickle_read((struct text){.bytes = (const char *)pickle->bytes, .len = pickle->byte_count},
                    archive.name, &arena, &table, error);
    if (code == ERROR_NONE) {
        code = model_file_charge(file, arena.bytes_used, error);
    }
    if (code == ERROR_NONE) {
        code = read_table(file, &archive, &table, error);
    }
    arena_reset(&arena);
    return code;
}
