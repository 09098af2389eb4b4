/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/model_file_verify.c - passes over all bytes of a weight file: checksums, and pages.
 *
 * Both are asked for, not part of opening. Thread: as engine/model_file.h. */
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/model_file_container.h"
#include "engine/model_file_zip.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Older headers lack it. */
#endif

enum {
    STRIDE_BYTES = 16 << 20, /* Between two reports of progress; begins at a page. */
    PAGE_BYTES_MIN = 4096,
};

uint32_t model_file_verify(const struct model_file *file, model_file_progress *progress,
                           void *context, size_t *checked_bytes_out)
{
    size_t total_bytes = 0;
    size_t done_bytes = 0;
    uint32_t difference_count = 0;
    for (uint32_t index = 0; index < file->checksum_count; index++) {
        total_bytes += file->checksums[index].byte_count;
    }
    for (uint32_t index = 0; index < file->checksum_count; index++) {
        const struct model_checksum *checksum = &file->checksums[index];
        uint32_t crc32 = 0;
        for (size_t begin = 0; begin < checksum->byte_count; begin += STRIDE_BYTES) {
            const size_t left = checksum->byte_count - begin;
            const size_t bytes = left < STRIDE_BYTES ? left : STRIDE_BYTES;
            crc32 = zip_crc32(crc32, checksum->bytes + begin, bytes);
            done_bytes += bytes;
            progress(context, done_bytes, total_bytes);
        }
        if (crc32 != checksum->crc32) {
            difference_count++;
            log_event(LOG_WARN, "model", "checksum differs: the file may be damaged",
                      LOG_S("file", file->name),
                      LOG_S("entry", model_name_show(checksum->name).text), LOG_I("found", crc32),
                      LOG_I("expected", checksum->crc32));
        }
    }
    *checked_bytes_out = total_bytes;
    return difference_count;
}

/* Whether all pages of a mapping are in the page cache already: then faults are cheap, and mapping
 * all at once would only delay the start. */
static bool is_resident(const unsigned char *bytes, size_t byte_count)
{
    unsigned char pages[STRIDE_BYTES / PAGE_BYTES_MIN];
    if (mincore((void *)(uintptr_t)bytes, byte_count, pages) != 0) {
        return false;
    }
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t page = 0; page < (byte_count + page_bytes - 1) / page_bytes; page++) {
        if ((pages[page] & 1) == 0) {
            return false;
        }
    }
    return true;
}

/* Reads one stretch; false on a kernel before 5.14, where pages come when they are used. */
static bool populate(const unsigned char *bytes, size_t byte_count)
{
    return is_resident(bytes, byte_count) ||
           madvise((void *)(uintptr_t)bytes, byte_count, MADV_POPULATE_READ) == 0;
}

void model_file_populate(const struct model_file *file, model_file_progress *progress,
                         void *context)
{
    size_t done_bytes = 0;
    for (uint32_t index = 0; index < file->part_count; index++) {
        const struct model_part *part = &file->parts[index];
        for (size_t begin = 0; part->is_mapped && begin < part->byte_count;
             begin += STRIDE_BYTES) {
            const size_t left = part->byte_count - begin;
            const size_t bytes = left < STRIDE_BYTES ? left : STRIDE_BYTES;
            if (!populate(part->bytes + begin, bytes)) {
                return;
            }
            done_bytes += bytes;
            progress(context, done_bytes, file->byte_count);
        }
    }
}
