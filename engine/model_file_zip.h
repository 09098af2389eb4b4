/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_zip.h - the entries of a zip archive in memory, stored ones only.
 *
 * Reads the directory at the archive's end, zip64 included; what is compressed is refused. Our own,
 * because the minizip of Debian 12 does not read zip64's extra fields, which every .pth above 4 GiB
 * has. Included by engine/model_file*.c only. Thread: as engine/model_file.h. */
#pragma once

#include "engine/model_file_container.h"

struct zip_entry {
    struct text name;           /* Within the directory: not NUL-terminated. */
    const unsigned char *bytes; /* [byte_count], within the part. */
    size_t byte_count;
    uint32_t crc32; /* As the directory has it; compared by the caller. */
};

/* Lists the entries, sorted by name, in the file's arena. CORRUPT: truncated, compressed,
 * encrypted, or a directory that does not agree with the entries' own headers. */
WARN_UNUSED enum error_code zip_read_entries(struct model_file *file, const struct model_part *part,
                                             struct zip_entry **entries_out, uint32_t *count_out,
                                             struct error *error);

/* The entry of that name, or NULL. Logarithmic. */
const struct zip_entry *zip_find(const struct zip_entry *entries, uint32_t count, struct text name);

/* CRC-32 as zip has it, going on from an earlier one; begin with 0. */
uint32_t zip_crc32(uint32_t crc32, const void *bytes, size_t byte_count);
