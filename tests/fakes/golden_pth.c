/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/fakes/golden_pth.c - the golden model as torch.save writes it: a pickle within a zip.
 *
 * Thread: any. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tests/fakes/golden_files.h"

enum {
    FLAG_DESCRIPTOR = 0x0808, /* Sizes follow the data; names are UTF-8. */
    ENTRIES_MAX = GOLDEN_TENSORS_MAX + 8,
    GLOBALS_MAX = 8,
};

/* Bytes that grow. */
struct buffer {
    unsigned char *bytes;
    size_t len;
    size_t capacity;
};

static void put_bytes(struct buffer *buffer, const void *bytes, size_t len)
{
    if (buffer->len + len > buffer->capacity) {
        buffer->capacity = 2 * (buffer->len + len);
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        ASSERT(buffer->bytes != NULL);
    }
    if (len > 0) {
        memcpy(buffer->bytes + buffer->len, bytes, len);
    }
    buffer->len += len;
}

static void put_byte(struct buffer *buffer, int byte)
{
    const unsigned char octet = (unsigned char)byte;
    put_bytes(buffer, &octet, 1);
}

static void put_number(struct buffer *buffer, uint64_t value, size_t byte_count)
{
    for (size_t index = 0; index < byte_count; index++) {
        put_byte(buffer, (int)(value >> (8 * index) & 0xff));
    }
}

static uint32_t crc32_of(const unsigned char *bytes, size_t len)
{
    uint32_t crc = ~0u;
    for (size_t index = 0; index < len; index++) {
        crc ^= bytes[index];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

/* ---- Pickle ------------------------------------------------------------------------------ */

struct pickler {
    struct buffer out;
    uint32_t memo_count;
    const char *globals[GLOBALS_MAX];  /* Written already, */
    uint32_t global_memo[GLOBALS_MAX]; /* and where they are remembered. */
    size_t global_count;
};

static void put_memo(struct pickler *pickler)
{
    const uint32_t index = pickler->memo_count++;
    put_byte(&pickler->out, index < 256 ? 'q' : 'r');
    put_number(&pickler->out, index, index < 256 ? 1 : 4);
}

static void put_text(struct pickler *pickler, const char *text)
{
    put_byte(&pickler->out, 'X');
    put_number(&pickler->out, strlen(text), 4);
    put_bytes(&pickler->out, text, strlen(text));
    put_memo(pickler);
}

/* "module\nname"; the second time it comes from the memo. */
static void put_global(struct pickler *pickler, const char *global)
{
    for (size_t index = 0; index < pickler->global_count; index++) {
        if (strcmp(pickler->globals[index], global) == 0) {
            const uint32_t memo = pickler->global_memo[index];
            put_byte(&pickler->out, memo < 256 ? 'h' : 'j');
            put_number(&pickler->out, memo, memo < 256 ? 1 : 4);
            return;
        }
    }
    ASSERT(pickler->global_count < GLOBALS_MAX);
    pickler->globals[pickler->global_count] = global;
    pickler->global_memo[pickler->global_count++] = pickler->memo_count;
    put_byte(&pickler->out, 'c');
    put_bytes(&pickler->out, global, strlen(global));
    put_byte(&pickler->out, '\n');
    put_memo(pickler);
}

static void put_integer(struct pickler *pickler, uint64_t value)
{
    const size_t bytes = value < 256 ? 1 : value < 65536 ? 2 : value < 0x80000000u ? 4 : 8;
    put_byte(&pickler->out, bytes == 1 ? 'K' : bytes == 2 ? 'M' : bytes == 4 ? 'J' : 0x8a);
    if (bytes == 8) {
        put_byte(&pickler->out, 8);
    }
    put_number(&pickler->out, value, bytes);
}

static void put_tuple(struct pickler *pickler, const uint64_t *values, uint32_t count)
{
    if (count > 3) {
        put_byte(&pickler->out, '(');
    }
    for (uint32_t index = 0; index < count; index++) {
        put_integer(pickler, values[index]);
    }
    put_byte(&pickler->out, count == 0 ? ')' : count > 3 ? 't' : 0x84 + (int)count);
    put_memo(pickler);
}

static void put_empty_ordered_dict(struct pickler *pickler)
{
    put_global(pickler, "collections\nOrderedDict");
    put_byte(&pickler->out, ')');
    put_byte(&pickler->out, 'R');
    put_memo(pickler);
}

static const char *storage_class(const struct golden_pth_options *options)
{
    static const char *const classes[] = {[TENSOR_BF16] = "torch\nBFloat16Storage",
                                          [TENSOR_F16] = "torch\nHalfStorage",
                                          [TENSOR_F32] = "torch\nFloatStorage"};
    return options->storage_class != NULL ? options->storage_class : classes[options->model.type];
}

/* Where a tensor's elements are. */
struct place {
    char key[24];
    uint64_t storage_count, offset;
    uint64_t strides[3];
};

static void put_tensor(struct pickler *pickler, const struct golden_pth_options *options,
                       const struct golden_tensor *tensor, const struct place *place)
{
    if (options->has_parameters) {
        put_global(pickler, "torch._utils\n_rebuild_parameter");
    }
    put_global(pickler,
               options->function != NULL ? options->function : "torch._utils\n_rebuild_tensor_v2");
    put_byte(&pickler->out, '(');
    put_byte(&pickler->out, '(');
    put_text(pickler, "storage");
    put_global(pickler, storage_class(options));
    put_text(pickler, place->key);
    put_text(pickler, "cuda:0");
    put_integer(pickler, place->storage_count);
    put_byte(&pickler->out, 't');
    put_memo(pickler);
    put_byte(&pickler->out, 'Q');
    put_integer(pickler, place->offset);
    put_tuple(pickler, tensor->shape, tensor->dimension_count);
    put_tuple(pickler, place->strides, tensor->dimension_count);
    put_byte(&pickler->out, 0x89);
    put_empty_ordered_dict(pickler);
    put_byte(&pickler->out, 't');
    put_memo(pickler);
    put_byte(&pickler->out, 'R');
    put_memo(pickler);
    if (options->has_parameters) {
        put_byte(&pickler->out, 0x88);
        put_empty_ordered_dict(pickler);
        put_byte(&pickler->out, 0x87);
        put_memo(pickler);
        put_byte(&pickler->out, 'R');
        put_memo(pickler);
    }
}

static void put_model(struct pickler *pickler, const struct golden_pth_options *options,
                      const struct golden_tensor *tensors, const struct place *places, size_t count)
{
    put_byte(&pickler->out, 0x80);
    put_byte(&pickler->out, 2);
    if (options->wrapper != NULL) {
        put_byte(&pickler->out, '}');
        put_memo(pickler);
        put_text(pickler, options->wrapper);
    }
    put_empty_ordered_dict(pickler);
    put_byte(&pickler->out, '(');
    for (size_t index = 0; index < count; index++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", options->prefix == NULL ? "" : options->prefix,
                 tensors[index].name);
        put_text(pickler, name);
        put_tensor(pickler, options, &tensors[index], &places[index]);
    }
    put_byte(&pickler->out, 'u');
    /* The attribute that torch gives a module's dictionary. */
    put_byte(&pickler->out, '}');
    put_memo(pickler);
    put_text(pickler, "_metadata");
    put_empty_ordered_dict(pickler);
    put_byte(&pickler->out, 's');
    put_byte(&pickler->out, 'b');
    if (options->wrapper != NULL) {
        put_byte(&pickler->out, 's');
    }
    put_byte(&pickler->out, '.');
}

/* ---- Zip --------------------------------------------------------------------------------- */

struct entry {
    char name[64];
    uint64_t offset, bytes;
    uint32_t crc32;
};

struct archive {
    const struct golden_pth_options *options;
    struct buffer out;
    struct entry entries[ENTRIES_MAX];
    size_t entry_count;
};

static void put_entry(struct archive *archive, const char *name, const void *bytes, size_t len)
{
    const bool is_plain = archive->options->is_plain_zip;
    struct buffer *out = &archive->out;
    ASSERT(archive->entry_count < ENTRIES_MAX);
    struct entry *entry = &archive->entries[archive->entry_count++];
    entry->offset = out->len;
    entry->bytes = len;
    entry->crc32 = crc32_of(bytes, len);
    snprintf(entry->name, sizeof(entry->name), "golden/%s", name);
    size_t padding = 0;
    const size_t alignment = archive->options->alignment;
    if (alignment > 0) { /* An extra field "FB" that fills up to the boundary. */
        padding =
            4 + (alignment - (out->len + 30 + strlen(entry->name) + 4) % alignment) % alignment;
    }
    put_bytes(out, "PK\x03\x04", 4);
    put_number(out, 0, 2);
    put_number(out, is_plain ? 0 : FLAG_DESCRIPTOR, 2);
    put_number(out, 0, 2);
    put_number(out, 0, 4);
    put_number(out, is_plain ? entry->crc32 : 0, 4);
    put_number(out, is_plain ? len : 0, 4);
    put_number(out, is_plain ? len : 0, 4);
    put_number(out, strlen(entry->name), 2);
    put_number(out, padding, 2);
    put_bytes(out, entry->name, strlen(entry->name));
    if (padding > 0) {
        put_bytes(out, "FB", 2);
        put_number(out, padding - 4, 2);
        for (size_t index = 4; index < padding; index++) {
            put_byte(out, 'Z');
        }
    }
    put_bytes(out, bytes, len);
    if (!is_plain) {
        put_bytes(out, "PK\x07\x08", 4);
        put_number(out, entry->crc32, 4);
        put_number(out, len, 4);
        put_number(out, len, 4);
    }
}

static void put_central(struct archive *archive, const struct entry *entry)
{
    const bool is_zip64 = archive->options->is_zip64;
    struct buffer *out = &archive->out;
    put_bytes(out, "PK\x01\x02", 4);
    put_number(out, 0, 4);
    put_number(out, archive->options->is_plain_zip ? 0 : FLAG_DESCRIPTOR, 2);
    put_number(out, 0, 2);
    put_number(out, 0, 4);
    put_number(out, entry->crc32, 4);
    put_number(out, is_zip64 ? UINT32_MAX : entry->bytes, 4);
    put_number(out, is_zip64 ? UINT32_MAX : entry->bytes, 4);
    put_number(out, strlen(entry->name), 2);
    put_number(out, is_zip64 ? 28 : 0, 2);
    put_number(out, 0, 2);
    put_number(out, 0, 2);
    put_number(out, 0, 2);
    put_number(out, 0, 4);
    put_number(out, is_zip64 ? UINT32_MAX : entry->offset, 4);
    put_bytes(out, entry->name, strlen(entry->name));
    if (is_zip64) {
        put_number(out, 1, 2);
        put_number(out, 24, 2);
        put_number(out, entry->bytes, 8);
        put_number(out, entry->bytes, 8);
        put_number(out, entry->offset, 8);
    }
}

static void put_directory(struct archive *archive)
{
    const bool is_zip64 = archive->options->is_zip64;
    struct buffer *out = &archive->out;
    const size_t begin = out->len;
    for (size_t index = 0; index < archive->entry_count; index++) {
        put_central(archive, &archive->entries[index]);
    }
    const size_t end = out->len;
    if (!archive->options->is_plain_zip) {
        put_bytes(out, "PK\x06\x06", 4);
        put_number(out, 44, 8);
        put_number(out, 0, 4);
        put_number(out, 0, 8);
        put_number(out, archive->entry_count, 8);
        put_number(out, archive->entry_count, 8);
        put_number(out, end - begin, 8);
        put_number(out, begin, 8);
        put_bytes(out, "PK\x06\x07", 4);
        put_number(out, 0, 4);
        put_number(out, end, 8);
        put_number(out, 1, 4);
    }
    put_bytes(out, "PK\x05\x06", 4);
    put_number(out, 0, 4);
    put_number(out, is_zip64 ? UINT16_MAX : archive->entry_count, 2);
    put_number(out, is_zip64 ? UINT16_MAX : archive->entry_count, 2);
    put_number(out, is_zip64 ? UINT32_MAX : end - begin, 4);
    put_number(out, is_zip64 ? UINT32_MAX : begin, 4);
    put_number(out, 0, 2);
}

/* ---- The file ---------------------------------------------------------------------------- */

/* Says where each tensor goes; one matrix is turned over when asked. */
static void make_places(const struct golden_pth_options *options, struct golden_tensor *tensors,
                        struct place *places, size_t count)
{
    const size_t size = options->model.type == TENSOR_F32 ? 4 : 2;
    uint64_t total = 0;
    for (size_t index = 0; index < count; index++) {
        struct place *place = &places[index];
        uint64_t stride = 1;
        *place = (struct place){.storage_count = tensors[index].bytes / size};
        snprintf(place->key, sizeof(place->key), "%zu", options->shares_storage ? 0 : index);
        for (uint32_t dimension = tensors[index].dimension_count; dimension-- > 0;) {
            place->strides[dimension] = stride;
            stride *= tensors[index].shape[dimension];
        }
        if (options->has_transposed_matrix &&
            strcmp(tensors[index].name, "blocks.1.ffn.key.weight") == 0) {
            golden_transpose(&tensors[index]); /* The bytes; shape and strides say otherwise. */
            const uint64_t rows = tensors[index].shape[1];
            tensors[index].shape[1] = tensors[index].shape[0];
            tensors[index].shape[0] = rows;
            place->strides[0] = 1;
            place->strides[1] = rows;
        }
        place->offset = options->shares_storage ? total : 0;
        total += place->storage_count;
    }
    for (size_t index = 0; index < count && options->shares_storage; index++) {
        places[index].storage_count = total;
    }
}

static void put_storages(struct archive *archive, const struct golden_tensor *tensors,
                         const struct place *places, size_t count)
{
    struct buffer shared = {0};
    for (size_t index = 0; index < count; index++) {
        char name[32];
        snprintf(name, sizeof(name), "data/%.23s", places[index].key);
        if (!archive->options->shares_storage) {
            put_entry(archive, name, tensors[index].data, tensors[index].bytes);
            continue;
        }
        put_bytes(&shared, tensors[index].data, tensors[index].bytes);
        if (index + 1 == count) {
            put_entry(archive, name, shared.bytes, shared.len);
        }
    }
    free(shared.bytes);
}

static void *write_archive(const struct golden_pth_options *options, struct golden_tensor *tensors,
                           size_t count, size_t *byte_count_out)
{
    struct place places[GOLDEN_TENSORS_MAX];
    struct pickler pickler = {0};
    struct archive *archive = calloc(1, sizeof(*archive));
    ASSERT(archive != NULL);
    archive->options = options;
    make_places(options, tensors, places, count);
    put_model(&pickler, options, tensors, places, count);
    put_entry(archive, "data.pkl", pickler.out.bytes, pickler.out.len);
    put_entry(archive, ".format_version", "1", 1);
    put_entry(archive, ".storage_alignment", "64", 2);
    const char *byte_order = options->byte_order == NULL ? "little" : options->byte_order;
    put_entry(archive, "byteorder", byte_order, strlen(byte_order));
    put_storages(archive, tensors, places, count);
    put_entry(archive, "version", "3\n", 2);
    put_entry(archive, ".data/serialization_id", "1234567890", 10);
    put_directory(archive);
    free(pickler.out.bytes);
    void *bytes = archive->out.bytes;
    *byte_count_out = archive->out.len;
    free(archive);
    return bytes;
}

void *golden_pth_bytes(const struct golden_pth_options *options, size_t *byte_count_out)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    const size_t count = golden_tensors(&options->model, tensors);
    void *bytes = write_archive(options, tensors, count, byte_count_out);
    golden_tensors_free(tensors, count);
    return bytes;
}

void *golden_state_pth_bytes(size_t *byte_count_out)
{
    struct golden_tensor tensors[GOLDEN_TENSORS_MAX];
    struct golden_tensor states[GOLDEN_L];
    size_t state_count = 0;
    const size_t count = golden_tensors(&(struct golden_options){.has_time_state = true}, tensors);
    for (size_t index = 0; index < count; index++) {
        if (strstr(tensors[index].name, "time_state") != NULL) {
            states[state_count++] = tensors[index];
        }
    }
    void *bytes =
        write_archive(&(struct golden_pth_options){0}, states, state_count, byte_count_out);
    golden_tensors_free(tensors, count);
    return bytes;
}
