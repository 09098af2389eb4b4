/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/generation.c - the layout of an event behind its head. */
#include "engine/generation.h"

#include "engine/text_stream.h"

_Static_assert(sizeof(struct generation_event) % _Alignof(struct sampled_alternative) == 0,
               "the alternatives follow the head without a gap");
_Static_assert(sizeof(struct generation_event) +
                       LIMIT_TOP_LOGPROBS * sizeof(struct sampled_alternative) +
                       TEXT_STREAM_PIECE_BYTES <=
                   GENERATION_EVENT_BYTES_MAX,
               "the largest event fits the buffer of its reader");

const struct sampled_alternative *generation_event_top(const struct generation_event *event)
{
    return (const struct sampled_alternative *)(event + 1);
}

struct text generation_event_text(const struct generation_event *event)
{
    const char *bytes = (const char *)(generation_event_top(event) + event->top_count);
    return (struct text){.bytes = bytes, .len = event->text_len};
}

const char *generation_end_text(enum generation_end end)
{
    switch (end) {
    case GENERATION_ENDED_BY_STOP:
        return "stop";
    case GENERATION_ENDED_BY_LENGTH:
        return "length";
    case GENERATION_ENDED_BY_CANCEL:
        return "cancelled";
    case GENERATION_ENDED_BY_ERROR:
        return "error";
    }
    return "";
}
