/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_zip.c - finds the stored entries of a zip archive by its directory.
 *
 *   [local header, name, extra, data, descriptor] ... [directory] [zip64 end] [zip64 locator] [end]
 *
 * Sizes and offsets come from the directory only (APPNOTE 6.3.10, sections 4.3.7 to 4.3.16): a
 * writer that streams leaves zeros in the local headers. But the name in the local header, and what
 * follows the data, are compared: without that, one flipped bit of an offset would give one tensor
 * the bytes of another. Thread: as engine/model_file.h. */
#include "engine/model_file_zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    ENTRIES_MAX = LIMIT_TENSORS + 64, /* One a storage, and a few about the archive. */
    END_BYTES = 22,
    END_SEARCH_BYTES = END_BYTES + UINT16_MAX, /* The end record may carry a comment. */
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    DESCRIPTOR_BYTES_MIN = 16,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1,
    FLAG_DESCRIPTOR = 8,
};

/* What the end record says of the directory. */
struct directory {
    uint64_t entry_count, bytes, offset;
};

/* A central header. */
struct central {
    uint16_t flags, method;
    uint32_t crc32;
    uint64_t stored_bytes, real_bytes, offset;
    struct text name;
};

/* Little-endian numbers; the caller has checked the bounds. */
static uint64_t number_at(const unsigned char *bytes, size_t byte_count)
{
    uint64_t value = 0;
    for (size_t index = byte_count; index-- > 0;) {
        value = value << 8 | bytes[index];
    }
    return value;
}

static bool has_magic(const unsigned char *bytes, const char *magic)
{
    return memcmp(bytes, magic, 4) == 0;
}

static enum error_code refuse_entry(const struct model_part *part, struct text name,
                                    const char *why, struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: zip entry %s: %s", part->name,
                     model_name_show(name).text, why);
}

static enum error_code refuse_directory(const struct model_part *part, const char *why,
                                        struct error *error)
{
    return error_set(error, ERROR_CORRUPT, "%.200s: zip directory: %s", part->name, why);
}

/* The end record is the last of its kind whose comment reaches exactly to the end of the file. */
static const unsigned char *find_end(const struct model_part *part)
{
    const size_t lowest =
        part->byte_count > END_SEARCH_BYTES ? part->byte_count - END_SEARCH_BYTES : 0;
    for (size_t at = part->byte_count; at >= lowest + END_BYTES; at--) {
        const unsigned char *end = part->bytes + at - END_BYTES;
        if (has_magic(end, "PK\x05\x06") && number_at(end + 20, 2) == part->byte_count - at) {
            return end;
        }
    }
    return NULL;
}

/* The zip64 record, where a locator before the end record leads to one. */
static enum error_code read_end64(const struct model_part *part, const unsigned char *locator,
                                  struct directory *directory, struct error *error)
{
    const uint64_t offset = number_at(locator + 8, 8);
    const size_t locator_offset = (size_t)(locator - part->bytes);
    if (locator_offset < END64_BYTES || offset > locator_offset - END64_BYTES ||
        !has_magic(part->bytes + offset, "PK\x06\x06")) {
        return refuse_directory(part, "its zip64 record is not where the locator says", error);
    }
    const unsigned char *end = part->bytes + offset;
    directory->entry_count = number_at(end + 32, 8);
    directory->bytes = number_at(end + 40, 8);
    directory->offset = number_at(end + 48, 8);
    return ERROR_NONE;
}

static enum error_code find_directory(const struct model_part *part, struct directory *directory,
                                      struct error *error)
{
    const unsigned char *end = find_end(part);
    if (end == NULL) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: a zip archive (.pth) without its directory at the end: a "
                         "truncated download",
                         part->name);
    }
    *directory = (struct directory){
        .entry_count = number_at(end + 10, 2),
        .bytes = number_at(end + 12, 4),
        .offset = number_at(end + 16, 4),
    };
    const size_t end_offset = (size_t)(end - part->bytes);
    if (end_offset >= LOCATOR_BYTES && has_magic(end - LOCATOR_BYTES, "PK\x06\x07")) {
        const enum error_code code = read_end64(part, end - LOCATOR_BYTES, directory, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    if (directory->offset > end_offset || directory->bytes > end_offset - directory->offset) {
        return refuse_directory(part, "it lies outside of the file: truncated", error);
    }
    if (directory->entry_count == 0 || directory->entry_count > ENTRIES_MAX ||
        directory->entry_count > directory->bytes / CENTRAL_BYTES) {
        return error_set(error, ERROR_CORRUPT,
                         "%.200s: zip directory: %" PRIu64 " entries in %" PRIu64 " bytes",
                         part->name, directory->entry_count, directory->bytes);
    }
    return ERROR_NONE;
}

/* Replaces each field that is full by the next number of the zip64 extra field. */
static bool widen(struct central *central, const unsigned char *extra, size_t extra_bytes)
{
    uint64_t *const fields[] = {&central->real_bytes, &central->stored_bytes, &central->offset};
    while (extra_bytes >= 4) {
        const uint64_t tag = number_at(extra, 2);
        size_t left = (size_t)number_at(extra + 2, 2);
        extra += 4;
        extra_bytes -= 4;
        if (left > extra_bytes) {
            return false;
        }
        extra_bytes -= left;
        if (tag != EXTRA_ZIP64) {
            extra += left;
            continue;
        }
        for (size_t index = 0; index < 3; index++) {
            if (*fields[index] != UINT32_MAX) {
                continue;
            }
            if (left < 8) {
                return false;
            }
            *fields[index] = number_at(extra, 8);
            extra += 8;
            left -= 8;
        }
        return true;
    }
    return central->real_bytes != UINT32_MAX && central->stored_bytes != UINT32_MAX &&
           central->offset != UINT32_MAX;
}

/* Reads the central header at *at, which stays before `end`, and moves *at behind it. */
static bool read_central(const unsigned char **at, const unsigned char *end,
                         struct central *central)
{
    const unsigned char *header = *at;
    if (end - header < CENTRAL_BYTES || !has_magic(header, "PK\x01\x02")) {
        return false;
    }
    const size_t name_bytes = (size_t)number_at(header + 28, 2);
    const size_t extra_bytes = (size_t)number_at(header + 30, 2);
    const size_t comment_bytes = (size_t)number_at(header + 32, 2);
    const size_t bytes = CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes;
    if ((size_t)(end - header) < bytes) {
        return false;
    }
    *central = (struct central){
        .flags = (uint16_t)number_at(header + 8, 2),
        .method = (uint16_t)number_at(header + 10, 2),
        .crc32 = (uint32_t)number_at(header + 16, 4),
        .stored_bytes = number_at(header + 20, 4),
        .real_bytes = number_at(header + 24, 4),
        .offset = number_at(header + 42, 4),
        .name = {.bytes = (const char *)header + CENTRAL_BYTES, .len = name_bytes},
    };
    *at = header + bytes;
    return widen(central, header + CENTRAL_BYTES + name_bytes, extra_bytes);
}

/* Behind the data comes a descriptor where the flags say so, else the next entry or the directory:
 * a length that is wrong does not lead there. */
static bool ends_well(const unsigned char *after, size_t left, const struct central *central)
{
    if ((central->flags & FLAG_DESCRIPTOR) != 0) {
        return left >= DESCRIPTOR_BYTES_MIN && has_magic(after, "PK\x07\x08") &&
               number_at(after + 4, 4) == central->crc32;
    }
    return left >= 4 && (has_magic(after, "PK\x03\x04") || has_magic(after, "PK\x01\x02"));
}

/* Finds the data behind the entry's local header, and checks what lies around it. */
static enum error_code locate(const struct model_part *part, const struct central *central,
                              struct zip_entry *entry, struct error *error)
{
    const struct text name = central->name;
    if ((central->flags & FLAG_ENCRYPTED) != 0) {
        return refuse_entry(part, name, "encrypted", error);
    }
    if (central->method != 0 || central->stored_bytes != central->real_bytes) {
        return refuse_entry(part, name, "compressed; a PyTorch file stores its entries as they are",
                            error);
    }
    if (part->byte_count < LOCAL_BYTES || central->offset > part->byte_count - LOCAL_BYTES ||
        !has_magic(part->bytes + central->offset, "PK\x03\x04")) {
        return refuse_entry(part, name, "no header where the directory says", error);
    }
    const unsigned char *local = part->bytes + central->offset;
    const size_t after_header = part->byte_count - (size_t)central->offset - LOCAL_BYTES;
    const size_t name_bytes = (size_t)number_at(local + 26, 2);
    const size_t skipped = name_bytes + (size_t)number_at(local + 28, 2);
    if (skipped > after_header || central->real_bytes > after_header - skipped) {
        return refuse_entry(part, name, "its data lies outside of the file: truncated", error);
    }
    if (name_bytes != name.len || memcmp(local + LOCAL_BYTES, name.bytes, name.len) != 0) {
        return refuse_entry(part, name, "its own header has another name", error);
    }
    entry->name = name;
    entry->bytes = local + LOCAL_BYTES + skipped;
    entry->byte_count = (size_t)central->real_bytes;
    entry->crc32 = central->crc32;
    if (!ends_well(entry->bytes + entry->byte_count, after_header - skipped - entry->byte_count,
                   central)) {
        return refuse_entry(part, name, "its data does not end where it should", error);
    }
    return ERROR_NONE;
}

static int compare_names(struct text left, struct text right)
{
    const int order = memcmp(left.bytes, right.bytes, left.len < right.len ? left.len : right.len);
    return order != 0 ? order : (left.len > right.len) - (left.len < right.len);
}

static int compare_entries(const void *left, const void *right)
{
    return compare_names(((const struct zip_entry *)left)->name,
                         ((const struct zip_entry *)right)->name);
}

enum error_code zip_read_entries(struct model_file *file, const struct model_part *part,
                                 struct zip_entry **entries_out, uint32_t *count_out,
                                 struct error *error)
{
    struct directory directory = {0};
    enum error_code code = find_directory(part, &directory, error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = (uint32_t)directory.entry_count;
    struct zip_entry *entries = NULL;
    code = model_file_charge(file, count * sizeof(*entries), error);
    if (code != ERROR_NONE) {
        return code;
    }
    entries = arena_alloc(&file->arena, count * sizeof(*entries));
    if (entries == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY,
                         "%.200s: no memory for %" PRIu32 " zip entries", part->name, count);
    }
    const unsigned char *at = part->bytes + directory.offset;
    const unsigned char *end = at + directory.bytes;
    for (uint32_t index = 0; index < count; index++) {
        struct central central;
        if (!read_central(&at, end, &central) || central.name.len == 0) {
            return error_set(error, ERROR_CORRUPT,
                             "%.200s: zip directory: no valid entry %" PRIu32 " of %" PRIu32,
                             part->name, index, count);
        }
        code = locate(part, &central, &entries[index], error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    if (at != end) {
        return refuse_directory(part, "bytes after its last entry", error);
    }
    qsort(entries, count, sizeof(*entries), compare_entries);
    for (uint32_t index = 1; index < count; index++) {
        if (compare_entries(&entries[index - 1], &entries[index]) == 0) {
            return refuse_entry(part, entries[index].name, "the name comes twice", error);
        }
    }
    *entries_out = entries;
    *count_out = count;
    return ERROR_NONE;
}

const struct zip_entry *zip_find(const struct zip_entry *entries, uint32_t count, struct text name)
{
    uint32_t begin = 0;
    uint32_t end = count;
    while (begin < end) {
        const uint32_t middle = begin + (end - begin) / 2;
        const int order = compare_names(name, entries[middle].name);
        if (order == 0) {
            return &entries[middle];
        }
        if (order < 0) {
            end = middle;
        } else {
            begin = middle + 1;
        }
    }
    return NULL;
}

uint32_t zip_crc32(uint32_t crc, const void *bytes, size_t byte_count)
{
    return (uint32_t)crc32_z(crc, bytes, byte_count);
}
