/* SPDX-License-Identifier: Apache-2.0
 *
 * base/log.c - builds a line in a buffer on the stack and writes it to stderr with one write().
 *
 * Thread: any. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/text.h"

enum {
    LINE_BYTES = 16 * 1024, /* Ten values of the worst kind: 256 bytes, each escaped by six. */
    LINE_END_BYTES = 32,    /* Kept free for the mark of a cut line, a brace and the newline. */
    VALUE_BYTES = 256,      /* A value is cut here: clients choose some of them. */
};

static enum log_level level_max = LOG_INFO; /* Set before there are threads. */
static enum log_format line_format = LOG_FORMAT_TEXT;

/* Keeps two lines apart when a write is split (a full pipe). Nothing is logged while it is held. */
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

void log_configure(enum log_level level, enum log_format format)
{
    level_max = level;
    line_format = format;
}

int log_wants(enum log_level level)
{
    return level <= level_max;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "unknown";
}

/* A value as it is shown: whole, or cut at a character's border and marked. */
static struct text shown_value(const char *value, char cut[VALUE_BYTES + sizeof("...")])
{
    const struct text whole = text_from(value);
    if (whole.len <= VALUE_BYTES) {
        return whole;
    }
    size_t len = VALUE_BYTES;
    while (len > VALUE_BYTES - 4 && ((unsigned char)whole.bytes[len] & 0xc0) == 0x80) {
        len--;
    }
    memcpy(cut, whole.bytes, len);
    memcpy(cut + len, "...", sizeof("..."));
    return text_from(cut);
}

/* A line of text that is being built; len counts on past capacity. */
struct line {
    char *buffer;
    size_t capacity;
    size_t len;
};

static void put(struct line *line, struct text text)
{
    if (line->len < line->capacity && text.len > 0) {
        const size_t space = line->capacity - line->len;
        memcpy(line->buffer + line->len, text.bytes, text.len < space ? text.len : space);
    }
    line->len += text.len;
}

/* Tells whether a value can stand without quotes. */
static bool is_bare(struct text value)
{
    for (size_t index = 0; index < value.len; index++) {
        const char byte = value.bytes[index];
        if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\') {
            return false; /* Where char is signed, bytes above 0x7f are below ' '. */
        }
    }
    return value.len > 0;
}

/* C0, DEL, and the C1 controls U+0080 to U+009F, which a terminal obeys too. */
static bool is_control(struct text sequence)
{
    const unsigned char first = (unsigned char)sequence.bytes[0];
    return first < 0x20 || first == 0x7f ||
           (first == 0xc2 && sequence.len == 2 && (unsigned char)sequence.bytes[1] < 0xa0);
}

static void put_quoted(struct line *line, struct text value)
{
    put(line, TEXT("\""));
    while (value.len > 0) {
        size_t len;
        const enum utf8_status status = utf8_next(value, &len);
        const struct text sequence = {.bytes = value.bytes, .len = len};
        if (status != UTF8_COMPLETE || is_control(sequence)) {
            for (size_t index = 0; index < len; index++) {
                char escape[sizeof("\\x00")];
                snprintf(escape, sizeof(escape), "\\x%02x", (unsigned char)sequence.bytes[index]);
                put(line, text_from(escape));
            }
        } else {
            if (sequence.bytes[0] == '"' || sequence.bytes[0] == '\\') {
                put(line, TEXT("\\"));
            }
            put(line, sequence);
        }
        value.bytes += len;
        value.len -= len;
    }
    put(line, TEXT("\""));
}

static void put_pair(struct line *line, const char *key, const char *value)
{
    char cut[VALUE_BYTES + sizeof("...")];
    const struct text shown = shown_value(value, cut);
    put(line, line->len > 0 ? TEXT(" ") : TEXT(""));
    put(line, text_from(key));
    put(line, TEXT("="));
    if (is_bare(shown)) {
        put(line, shown);
    } else {
        put_quoted(line, shown);
    }
}

static void put_field(struct line *line, const struct log_field *field)
{
    char number[32];
    switch (field->type) {
    case LOG_FIELD_STRING:
        put_pair(line, field->key, field->string);
        return;
    case LOG_FIELD_INTEGER:
        snprintf(number, sizeof(number), "%" PRId64, field->integer);
        break;
    case LOG_FIELD_REAL:
        snprintf(number, sizeof(number), "%.6g", field->real);
        break;
    }
    put_pair(line, field->key, number);
}

/* The head of every line. */
struct headline {
    char ts[32];
    const char *level;
    const char *area;
    const char *event;
};

static size_t render_text(const struct headline *head, const struct log_field *fields, char *buffer,
                          size_t capacity)
{
    struct line line = {.buffer = buffer, .capacity = capacity - LINE_END_BYTES};
    put_pair(&line, "ts", head->ts);
    put_pair(&line, "level", head->level);
    put_pair(&line, "area", head->area);
    put_pair(&line, "event", head->event);
    for (; fields->key != NULL; fields++) {
        const struct line before = line;
        put_field(&line, fields);
        if (line.len > line.capacity) {
            line = before;
            line.capacity = capacity;
            put_pair(&line, "cut", "true");
            break;
        }
    }
    line.capacity = capacity;
    put(&line, TEXT("\n"));
    return line.len;
}

static void write_json_pair(struct json_writer *writer, const char *key, const char *value)
{
    char cut[VALUE_BYTES + sizeof("...")];
    json_key_string(writer, key, shown_value(value, cut));
}

static void write_json_field(struct json_writer *writer, const struct log_field *field)
{
    switch (field->type) {
    case LOG_FIELD_STRING:
        write_json_pair(writer, field->key, field->string);
        return;
    case LOG_FIELD_INTEGER:
        json_key_integer(writer, field->key, field->integer);
        return;
    case LOG_FIELD_REAL:
        json_key_real(writer, field->key, field->real);
        return;
    }
}

static size_t render_json(const struct headline *head, const struct log_field *fields, char *buffer,
                          size_t capacity)
{
    struct json_writer writer;
    json_writer_init(&writer, buffer, capacity - LINE_END_BYTES);
    json_object_begin(&writer);
    write_json_pair(&writer, "ts", head->ts);
    write_json_pair(&writer, "level", head->level);
    write_json_pair(&writer, "area", head->area);
    write_json_pair(&writer, "event", head->event);
    for (; fields->key != NULL; fields++) {
        const struct json_writer before = writer;
        write_json_field(&writer, fields);
        if (!json_writer_fits(&writer)) {
            writer = before;
            writer.capacity = capacity;
            json_key_bool(&writer, "cut", true);
            break;
        }
    }
    writer.capacity = capacity;
    json_object_end(&writer);
    writer.buffer[writer.len] = '\n';
    return writer.len + 1;
}

static void write_line(const char *line, size_t bytes)
{
    pthread_mutex_lock(&write_lock);
    while (bytes > 0) {
        const ssize_t written = write(STDERR_FILENO, line, bytes);
        if (written < 0 && errno != EINTR) {
            break; /* Nowhere to complain to. */
        }
        if (written > 0) {
            line += written;
            bytes -= (size_t)written;
        }
    }
    pthread_mutex_unlock(&write_lock);
}

void log_event_fields(enum log_level level, const char *area, const char *event,
                      const struct log_field *fields)
{
    if (!log_wants(level)) {
        return;
    }
    struct headline head = {.level = level_name(level), .area = area, .event = event};
    clock_wall_text(head.ts, sizeof(head.ts));
    char buffer[LINE_BYTES];
    size_t bytes = 0;
    switch (line_format) {
    case LOG_FORMAT_TEXT:
        bytes = render_text(&head, fields, buffer, sizeof(buffer));
        break;
    case LOG_FORMAT_JSON:
        bytes = render_json(&head, fields, buffer, sizeof(buffer));
        break;
    }
    const int saved_errno = errno;
    write_line(buffer, bytes);
    errno = saved_errno;
}
