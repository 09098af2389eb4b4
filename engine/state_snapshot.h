/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/state_snapshot.h - a sequence's state as bytes that can leave the process.
 *
 * A header tells model, layout and length apart and carries a checksum; the payload is what
 * backend_state_save writes. A snapshot of another model, of another layout, cut short or altered
 * is refused, never loaded. Thread: any. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/model_spec.h"

/* Fixed-width little-endian fields at the front of a snapshot. */
struct state_snapshot_header {
    char magic[8];         /* "SKEINST1" */
    uint32_t header_bytes; /* sizeof this struct: the payload starts there. */
    uint32_t layout;       /* 1: f32, per layer att_prev[C], S[H][value][key], ffn_prev[C]. */
    uint64_t fingerprint;  /* model_spec.fingerprint. */
    uint32_t L, C, H, N;
    uint64_t payload_bytes;
    uint64_t token_count;  /* Tokens consumed so far. */
    uint32_t payload_crc32;
    uint32_t header_crc32; /* Over all fields before it. */
};

/* Bytes of a whole snapshot of that model. */
size_t state_snapshot_bytes(const struct model_spec *spec);

/* Where the payload of a snapshot lies: hand it to backend_state_save. */
void *state_snapshot_payload(void *snapshot);

/* Writes the header for a payload that is in place. */
void state_snapshot_seal(void *snapshot, const struct model_spec *spec, uint64_t token_count);

/* Checks everything; then *payload_out and *token_count_out may be used. CORRUPT: the message
 * says which field is wrong, with the values found and expected. */
WARN_UNUSED enum error_code state_snapshot_check(const void *snapshot, size_t byte_count,
                                                 const struct model_spec *spec,
                                                 const void **payload_out,
                                                 uint64_t *token_count_out, struct error *error);
