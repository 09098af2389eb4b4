/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/state_snapshot.c - header, checksums and checks of a saved state.
 *
 * Where snapshots are kept does not live here. Thread: any. */
#include "engine/state_snapshot.h"

#include <inttypes.h>
#include <string.h>

static const char magic[8] = {'S', 'K', 'E', 'I', 'N', 'S', 'T', '1'};

enum { LAYOUT_F32 = 1 };

_Static_assert(sizeof(struct state_snapshot_header) == 64, "no padding; the payload is aligned");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are stored as they are");

/* CRC-32 of IEEE 802.3 (polynomial 0x04c11db7, reflected), half a byte at a time. */
static uint32_t crc32(const void *bytes, size_t byte_count)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const unsigned char *octets = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t index = 0; index < byte_count; index++) {
        crc ^= octets[index];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return ~crc;
}

static size_t payload_bytes(const struct model_spec *spec)
{
    return model_spec_state_floats(spec) * sizeof(float);
}

size_t state_snapshot_bytes(const struct model_spec *spec)
{
    return sizeof(struct state_snapshot_header) + payload_bytes(spec);
}

void *state_snapshot_payload(void *snapshot)
{
    return (char *)snapshot + sizeof(struct state_snapshot_header);
}

void state_snapshot_seal(void *snapshot, const struct model_spec *spec, uint64_t token_count)
{
    struct state_snapshot_header header = {
        .header_bytes = sizeof(header),
        .layout = LAYOUT_F32,
        .fingerprint = spec->fingerprint,
        .L = spec->L,
        .C = spec->C,
        .H = spec->H,
        .N = spec->N,
        .payload_bytes = payload_bytes(spec),
        .token_count = token_count,
        .payload_crc32 = crc32(state_snapshot_payload(snapshot), payload_bytes(spec)),
    };
    memcpy(header.magic, magic, sizeof(magic));
    header.header_crc32 = crc32(&header, offsetof(struct state_snapshot_header, header_crc32));
    memcpy(snapshot, &header, sizeof(header));
}

static enum error_code refuse(struct error *error, const char *field, uint64_t found,
                              uint64_t expected)
{
    return error_set(error, ERROR_CORRUPT,
                     "state snapshot: %s is %" PRIu64 ", expected %" PRIu64, field, found,
                     expected);
}

/* Every field that names the model and its layout. */
static enum error_code check_identity(const struct state_snapshot_header *header,
                                      const struct model_spec *spec, struct error *error)
{
    const struct {
        const char *field;
        uint64_t found;
        uint64_t expected;
    } checks[] = {
        {"header_bytes", header->header_bytes, sizeof(*header)},
        {"layout", header->layout, LAYOUT_F32},
        {"L", header->L, spec->L},
        {"C", header->C, spec->C},
        {"H", header->H, spec->H},
        {"N", header->N, spec->N},
        {"payload_bytes", header->payload_bytes, payload_bytes(spec)},
        {"model fingerprint", header->fingerprint, spec->fingerprint},
    };
    for (size_t index = 0; index < sizeof(checks) / sizeof(checks[0]); index++) {
        if (checks[index].found != checks[index].expected) {
            return refuse(error, checks[index].field, checks[index].found,
                          checks[index].expected);
        }
    }
    return ERROR_NONE;
}

enum error_code state_snapshot_check(const void *snapshot, size_t byte_count,
                                     const struct model_spec *spec, const void **payload_out,
                                     uint64_t *token_count_out, struct error *error)
{
    struct state_snapshot_header header;
    if (byte_count < sizeof(header)) {
        return refuse(error, "length", byte_count, state_snapshot_bytes(spec));
    }
    memcpy(&header, snapshot, sizeof(header));
    if (memcmp(header.magic, magic, sizeof(magic)) != 0) {
        return error_set(error, ERROR_CORRUPT, "state snapshot: does not begin with SKEINST1");
    }
    const uint32_t header_crc =
        crc32(&header, offsetof(struct state_snapshot_header, header_crc32));
    if (header_crc != header.header_crc32) {
        return refuse(error, "header_crc32", header.header_crc32, header_crc);
    }
    const enum error_code code = check_identity(&header, spec, error);
    if (code != ERROR_NONE) {
        return code;
    }
    if (byte_count != state_snapshot_bytes(spec)) {
        return refuse(error, "length", byte_count, state_snapshot_bytes(spec));
    }
    const void *payload = (const char *)snapshot + sizeof(header);
    const uint32_t payload_crc = crc32(payload, payload_bytes(spec));
    if (payload_crc != header.payload_crc32) {
        return refuse(error, "payload_crc32", header.payload_crc32, payload_crc);
    }
    *payload_out = payload;
    *token_count_out = header.token_count;
    return ERROR_NONE;
}
