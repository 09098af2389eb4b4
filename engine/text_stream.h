/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/text_stream.h - tokens to text pieces: whole UTF-8 only, and no part of a stop string.
 *
 * Bytes wait while they may still become a stop string or an unfinished code point. Stop strings
 * are matched on the raw bytes. Invalid bytes become U+FFFD, one per maximal ill-formed subpart.
 * Fixed size, no allocation. Thread: the engine's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/text.h"

enum {
    TEXT_STREAM_STOPS = LIMIT_STOP_STRINGS + 2, /* The client's, and those of the chat template. */
    /* A piece: what was held back plus one token, each bad byte grown to three. */
    TEXT_STREAM_PIECE_BYTES = 3 * (LIMIT_STOP_STRING_BYTES + LIMIT_TOKEN_BYTES + 4),
};

struct text_stream {
    const struct text *stops; /* [stop_count], borrowed; none is empty. */
    uint32_t stop_count;
    uint32_t included_count; /* The first so many stops stay in the text. */
    bool stopped;            /* A stop string was seen: no more text comes. */
    uint32_t stop_index;     /* Which one, when stopped. */
    size_t held_len;
    char held[LIMIT_STOP_STRING_BYTES + LIMIT_TOKEN_BYTES + 4]; /* Bytes not released yet. */
};

/* stop_count <= TEXT_STREAM_STOPS, each of 1..LIMIT_STOP_STRING_BYTES bytes; several may be equal
 * or contain each other: the first to be complete counts, the longest of those that end together.
 * */
void text_stream_init(struct text_stream *stream, const struct text *stops, uint32_t stop_count,
                      uint32_t included_count);

/* Adds a token's bytes (at most LIMIT_TOKEN_BYTES) and writes the text that can be released now;
 * returns its length. After the earliest complete stop string, sets stopped and releases only what
 * stood before it (up to its end for an included stop). piece_out: TEXT_STREAM_PIECE_BYTES. */
size_t text_stream_push(struct text_stream *stream, struct text token_bytes, char *piece_out);

/* The generation ended without a stop string: releases what was held; an unfinished code point
 * becomes U+FFFD. Returns the length. */
size_t text_stream_finish(struct text_stream *stream, char *piece_out);
