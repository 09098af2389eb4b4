/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/text_stream.c - what of the bytes generated so far may be shown, and when it is over.
 *
 * Whether a byte is held depends only on the bytes that came so far, never on how they were split
 * into tokens: the pieces of any split join to the same text. Thread: the engine's. */
#include "engine/text_stream.h"

#include <string.h>

#include "base/error.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

enum { REPLACEMENT_BYTES = sizeof(replacement) - 1 };

void text_stream_init(struct text_stream *stream, const struct text *stops, uint32_t stop_count,
                      uint32_t included_count)
{
    ASSERT_COMPARE(stop_count, <=, TEXT_STREAM_STOPS);
    for (uint32_t index = 0; index < stop_count; index++) {
        ASSERT_COMPARE(stops[index].len, >=, 1);
        ASSERT_COMPARE(stops[index].len, <=, LIMIT_STOP_STRING_BYTES);
    }
    /* Not held[], which is large and has no bytes in it yet. */
    stream->stops = stops;
    stream->stop_count = stop_count;
    stream->included_count = included_count;
    stream->stopped = false;
    stream->stop_index = 0;
    stream->held_len = 0;
}

/* Appends the bytes [0, limit) of `held` to the piece, whole code points and replacements only.
 * A sequence that reaches past limit stays; so does one cut off by the end, unless `final`.
 * Returns how many bytes of held were used up. */
static size_t release(struct text held, size_t limit, bool final, char *piece_out,
                      size_t *piece_len)
{
    size_t position = 0;
    while (position < limit) {
        const struct text rest = {.bytes = held.bytes + position, .len = held.len - position};
        size_t len;
        const enum utf8_status status = utf8_next(rest, &len);
        if (status == UTF8_INCOMPLETE) {
            if (!final) {
                break;
            }
            len = rest.len;
        }
        if (position + len > limit) {
            break;
        }
        const bool whole = status == UTF8_COMPLETE;
        const size_t out_len = whole ? len : REPLACEMENT_BYTES;
        memcpy(piece_out + *piece_len, whole ? rest.bytes : replacement, out_len);
        *piece_len += out_len;
        position += len;
    }
    return position;
}

/* Whether the bytes before `end` end with the stop string. */
static bool ends_with(const struct text_stream *stream, size_t end, struct text stop)
{
    return end >= stop.len && memcmp(stream->held + end - stop.len, stop.bytes, stop.len) == 0;
}

/* Finds the stop string that is complete first, reading byte by byte from `first_end` on; the
 * longest when several end at the same byte. Sets stop_index and returns where it ends, or 0. */
static size_t find_stop(struct text_stream *stream, size_t first_end)
{
    for (size_t end = first_end; end <= stream->held_len; end++) {
        size_t longest = 0;
        for (uint32_t index = 0; index < stream->stop_count; index++) {
            const struct text stop = stream->stops[index];
            if (stop.len > longest && ends_with(stream, end, stop)) {
                longest = stop.len;
                stream->stop_index = index;
            }
        }
        if (longest > 0) {
            return end;
        }
    }
    return 0;
}

/* Where the longest suffix of the held bytes begins that may still become a stop string. */
static size_t stop_prefix_start(const struct text_stream *stream)
{
    size_t longest_stop = 1;
    for (uint32_t index = 0; index < stream->stop_count; index++) {
        const size_t len = stream->stops[index].len;
        longest_stop = len > longest_stop ? len : longest_stop;
    }
    const size_t held_len = stream->held_len;
    size_t start = held_len >= longest_stop ? held_len - longest_stop + 1 : 0;
    for (; start < held_len; start++) {
        const struct text suffix = {.bytes = stream->held + start, .len = held_len - start};
        for (uint32_t index = 0; index < stream->stop_count; index++) {
            if (text_starts_with(stream->stops[index], suffix)) {
                return start;
            }
        }
    }
    return held_len;
}

size_t text_stream_push(struct text_stream *stream, struct text token_bytes, char *piece_out)
{
    ASSERT_COMPARE(token_bytes.len, <=, LIMIT_TOKEN_BYTES);
    if (stream->stopped || token_bytes.len == 0) {
        return 0;
    }
    ASSERT_COMPARE(stream->held_len + token_bytes.len, <=, sizeof(stream->held));
    const size_t first_new = stream->held_len;
    memcpy(stream->held + first_new, token_bytes.bytes, token_bytes.len);
    stream->held_len += token_bytes.len;

    size_t piece_len = 0;
    const size_t stop_end = find_stop(stream, first_new + 1);
    if (stop_end > 0) {
        stream->stopped = true;
        const size_t stop_len = stream->stops[stream->stop_index].len;
        const bool included = stream->stop_index < stream->included_count;
        const size_t text_end = included ? stop_end : stop_end - stop_len;
        const struct text last = {.bytes = stream->held, .len = text_end};
        release(last, text_end, true, piece_out, &piece_len);
        stream->held_len = 0;
        return piece_len;
    }
    const struct text held = {.bytes = stream->held, .len = stream->held_len};
    const size_t used = release(held, stop_prefix_start(stream), false, piece_out, &piece_len);
    stream->held_len -= used;
    memmove(stream->held, stream->held + used, stream->held_len);
    return piece_len;
}

size_t text_stream_finish(struct text_stream *stream, char *piece_out)
{
    size_t piece_len = 0;
    const struct text held = {.bytes = stream->held, .len = stream->held_len};
    if (!stream->stopped) {
        release(held, held.len, true, piece_out, &piece_len);
    }
    stream->held_len = 0;
    return piece_len;
}
