/* SPDX-License-Identifier: Apache-2.0
 *
 * cli/http_load.c - connections, requests, and the times of events.
 *
 * An event is recognised by its "data: " alone, which our server never cuts; nothing of it is
 * parsed. Thread: the caller's. */
#include "cli/http_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/text.h"

enum {
    RECEIVE_BYTES = 64 * 1024,
    HEAD_BYTES = 512,
    ID_BYTES = 4,             /* "9," and room. */
    EVENTS_MAX = 256,         /* Of one epoll_wait. */
    SILENCE_MS = 60 * 1000,
    PROMPT_IDS = 9,
};

#define EVENT_MARK "data: "

struct stream {
    int socket;
    bool is_answered;     /* The status line was seen. */
    bool is_done;
    uint32_t matched;     /* Bytes of EVENT_MARK, + 1 when all were seen. */
    uint32_t token_count;
    uint64_t asked_ns, first_ns, last_ns;
};

struct load {
    const struct http_load_options *options;
    const struct clock *clock;
    struct stream *streams; /* [stream_count] */
    int epoll;
    uint32_t begun, done;   /* Streams with a token, and those that ended. */
    uint64_t window_begin_ns, window_end_ns;
    uint64_t window_tokens;
    float *gaps;            /* [gap_capacity] Seconds, in the window. */
    size_t gap_count, gap_capacity;
    struct error *error;
};

/* ---- Requests ---------------------------------------------------------------------------- */

static char *make_request(const struct http_load_options *options, uint32_t seed, size_t *len_out)
{
    const size_t capacity = 2 * HEAD_BYTES + (size_t)options->prompt_tokens * ID_BYTES;
    char *body = malloc(capacity);
    char *request = malloc(capacity + HEAD_BYTES);
    if (body != NULL && request != NULL) {
        size_t len = (size_t)snprintf(body, capacity, "{\"prompt\":[");
        for (uint32_t index = 0; index < options->prompt_tokens; index++) {
            len += (size_t)snprintf(body + len, capacity - len, "%s%u", index > 0 ? "," : "",
                                    1 + index % PROMPT_IDS);
        }
        len += (size_t)snprintf(body + len, capacity - len,
                                "],\"max_tokens\":%u,\"ignore_eos\":true,\"stream\":true,"
                                "\"return_token_ids\":true,\"temperature\":1,\"top_p\":0.5,"
                                "\"seed\":%u}",
                                options->token_count, seed);
        const char *key = options->api_key;
        *len_out = (size_t)snprintf(
            request, capacity + HEAD_BYTES,
            "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%.200s%s"
            "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            key != NULL ? "Authorization: Bearer " : "", key != NULL ? key : "",
            key != NULL ? "\r\n" : "", len, body);
    } else {
        free(request);
        request = NULL;
    }
    free(body);
    return request;
}

static enum error_code begin_stream(struct load *load, uint32_t index)
{
    struct stream *stream = &load->streams[index];
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(load->options->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t len = 0;
    char *request = make_request(load->options, index, &len);
    if (request == NULL) {
        return error_set(load->error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    }
    stream->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    const bool is_sent =
        stream->socket >= 0 &&
        connect(stream->socket, (const struct sockaddr *)&address, sizeof address) == 0 &&
        send(stream->socket, request, len, MSG_NOSIGNAL) == (ssize_t)len &&
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, stream->socket, &event) == 0;
    free(request);
    stream->asked_ns = clock_monotonic_ns(load->clock);
    return is_sent ? ERROR_NONE
                   : error_set(load->error, ERROR_IO, "bench: stream %u cannot be sent: %s", index,
                               strerror(errno));
}

/* ---- Answers ----------------------------------------------------------------------------- */

static void take_token(struct load *load, struct stream *stream, uint64_t now)
{
    const bool is_in_window = load->window_begin_ns != 0 && load->window_end_ns == 0;
    if (is_in_window) {
        load->window_tokens++;
        if (load->gap_count < load->gap_capacity) {
            load->gaps[load->gap_count++] = (float)((double)(now - stream->last_ns) * 1e-9);
        }
    }
    stream->token_count++;
    stream->last_ns = now;
    if (stream->token_count == 1) {
        stream->first_ns = now;
        load->begun++;
        if (load->begun == load->options->stream_count) {
            load->window_begin_ns = now;
        }
    }
}

static void end_stream(struct load *load, struct stream *stream, uint64_t now)
{
    stream->is_done = true;
    load->done++;
    if (load->window_end_ns == 0) {
        load->window_end_ns = now;
    }
}

/* "{": a token, or the last event, which has none; "[": the end. */
static void take_event(struct load *load, struct stream *stream, char first, uint64_t now)
{
    if (first == '[') {
        end_stream(load, stream, now);
    } else if (stream->token_count < load->options->token_count) {
        take_token(load, stream, now);
    }
}

static void take_bytes(struct load *load, struct stream *stream, const char *bytes, size_t count,
                       uint64_t now)
{
    static const char mark[] = EVENT_MARK;
    const uint32_t mark_len = sizeof mark - 1;
    for (size_t index = 0; index < count && !stream->is_done; index++) {
        const char byte = bytes[index];
        if (stream->matched == mark_len) {
            take_event(load, stream, byte, now);
            stream->matched = 0;
        } else if (byte == mark[stream->matched]) {
            stream->matched++;
        } else {
            stream->matched = byte == mark[0] ? 1 : 0;
        }
    }
}

static enum error_code receive(struct load *load, uint32_t index)
{
    static const char good[] = "HTTP/1.1 200";
    static char buffer[RECEIVE_BYTES];
    struct stream *stream = &load->streams[index];
    const ssize_t count = recv(stream->socket, buffer, sizeof buffer, 0);
    if (count <= 0) {
        return error_set(load->error, ERROR_IO, "bench: stream %u ended after %u tokens: %s",
                         index, stream->token_count, count < 0 ? strerror(errno) : "closed");
    }
    if (!stream->is_answered) {
        stream->is_answered = true;
        if ((size_t)count < sizeof good - 1 || memcmp(buffer, good, sizeof good - 1) != 0) {
            return error_set(load->error, ERROR_IO, "bench: stream %u was answered %.*s", index,
                             (int)(count < 120 ? count : 120), buffer);
        }
    }
    take_bytes(load, stream, buffer, (size_t)count, clock_monotonic_ns(load->clock));
    if (stream->is_done) {
        epoll_ctl(load->epoll, EPOLL_CTL_DEL, stream->socket, NULL);
    }
    return ERROR_NONE;
}

static enum error_code receive_all(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    enum error_code code = ERROR_NONE;
    while (code == ERROR_NONE && load->done < load->options->stream_count) {
        const int count = epoll_wait(load->epoll, events, EVENTS_MAX, SILENCE_MS);
        if (count == 0) {
            return error_set(load->error, ERROR_TIMEOUT, "bench: nothing came for %d s",
                             SILENCE_MS / 1000);
        }
        for (int index = 0; code == ERROR_NONE && index < count; index++) {
            code = receive(load, events[index].data.u32);
        }
        if (count < 0 && errno != EINTR) {
            code = error_set(load->error, ERROR_IO, "bench: epoll: %s", strerror(errno));
        }
    }
    return code;
}

/* ---- Result ------------------------------------------------------------------------------ */

static int compare_floats(const void *left, const void *right)
{
    const float a = *(const float *)left;
    const float b = *(const float *)right;
    return (a > b) - (a < b);
}

/* values[count] sorted. */
static double quantile(const float *values, size_t count, double share)
{
    const size_t index = (size_t)(share * (double)count);
    return count == 0 ? 0.0 : (double)values[index < count ? index : count - 1];
}

static void sum_up(struct load *load, struct http_load_result *result_out)
{
    const uint32_t stream_count = load->options->stream_count;
    const double seconds = (double)(load->window_end_ns - load->window_begin_ns) * 1e-9;
    qsort(load->gaps, load->gap_count, sizeof *load->gaps, compare_floats);
    *result_out = (struct http_load_result){
        .tokens_per_second = seconds > 0.0 ? (double)load->window_tokens / seconds : 0.0,
        .inter_p50 = quantile(load->gaps, load->gap_count, 0.5),
        .inter_p99 = quantile(load->gaps, load->gap_count, 0.99),
        .token_count = load->window_tokens,
    };
    for (uint32_t index = 0; index < stream_count; index++) {
        const struct stream *stream = &load->streams[index];
        load->gaps[index] = (float)((double)(stream->first_ns - stream->asked_ns) * 1e-9);
    }
    qsort(load->gaps, stream_count, sizeof *load->gaps, compare_floats);
    result_out->first_p50 = quantile(load->gaps, stream_count, 0.5);
    result_out->first_p99 = quantile(load->gaps, stream_count, 0.99);
}

enum error_code http_load_run(const struct http_load_options *options, const struct clock *clock,
                              struct http_load_result *result_out, struct error *error)
{
    struct load load = {.options = options, .clock = clock, .error = error};
    load.gap_capacity = (size_t)options->stream_count * (options->token_count + 1);
    load.streams = calloc(options->stream_count, sizeof *load.streams);
    load.gaps = calloc(load.gap_capacity, sizeof *load.gaps);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    enum error_code code = ERROR_NONE;
    if (load.streams == NULL || load.gaps == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "bench: no memory");
    } else if (load.epoll < 0) {
        code = error_set(error, ERROR_IO, "bench: epoll: %s", strerror(errno));
    }
    for (uint32_t index = 0; code == ERROR_NONE && index < options->stream_count; index++) {
        code = begin_stream(&load, index);
    }
    if (code == ERROR_NONE) {
        code = receive_all(&load);
    }
    if (code == ERROR_NONE) {
        sum_up(&load, result_out);
    }
    for (uint32_t index = 0; load.streams != NULL && index < options->stream_count; index++) {
        if (load.streams[index].socket > 0) {
            close(load.streams[index].socket);
        }
    }
    if (load.epoll >= 0) {
        close(load.epoll);
    }
    free(load.gaps);
    free(load.streams);
    return code;
}
