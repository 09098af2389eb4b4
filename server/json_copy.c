/* SPDX-License-Identifier: Apache-2.0
 *
 * server/json_copy.c - a client's JSON written again: compact, in its order, with its numbers.
 *
 * Recurses at most LIMIT_JSON_DEPTH deep. Thread: any. */
#include "server/json_copy.h"

#include "base/json_writer.h"

static void copy_value(struct json_reader *reader, struct json_value value,
                       struct json_writer *writer);

static void write_members(struct json_reader *reader, struct json_value object,
                          struct json_writer *writer)
{
    json_object_begin(writer);
    for (struct json_value member = json_reader_first(object); member.node != NULL;
         member = json_reader_next(member)) {
        json_string(writer, json_reader_name(member));
        writer->needs_comma = false;
        json_raw(writer, TEXT(":"));
        writer->needs_comma = false;
        copy_value(reader, member, writer);
    }
    json_object_end(writer);
}

static void write_elements(struct json_reader *reader, struct json_value array,
                           struct json_writer *writer)
{
    json_array_begin(writer);
    for (struct json_value element = json_reader_first(array); element.node != NULL;
         element = json_reader_next(element)) {
        copy_value(reader, element, writer);
    }
    json_array_end(writer);
}

static void copy_value(struct json_reader *reader, struct json_value value,
                       struct json_writer *writer)
{
    struct error error;
    struct text text = {0};
    bool truth = false;
    enum error_code code = ERROR_NONE;
    switch (json_reader_type(value)) {
    case JSON_TYPE_NULL:
        json_null(writer);
        break;
    case JSON_TYPE_BOOL:
        code = json_reader_bool(reader, value, &truth, &error);
        json_bool(writer, truth);
        break;
    case JSON_TYPE_NUMBER:
        json_raw(writer, json_reader_source(reader, value));
        break;
    case JSON_TYPE_STRING:
        code = json_reader_string(reader, value, &text, &error);
        json_string(writer, text);
        break;
    case JSON_TYPE_ARRAY:
        write_elements(reader, value, writer);
        break;
    case JSON_TYPE_OBJECT:
        write_members(reader, value, writer);
        break;
    }
    ASSERT(code == ERROR_NONE); /* The type was looked at. */
}

struct text json_copy(struct json_reader *reader, struct json_value value, struct arena *arena)
{
    struct json_writer writer;
    if (json_reader_source(reader, json_reader_root(reader)).bytes == NULL) {
        return (struct text){0}; /* Numbers cannot be found then. */
    }
    json_writer_init(&writer, NULL, 0);
    copy_value(reader, value, &writer);
    char *bytes = arena_alloc(arena, writer.len + 1);
    if (bytes == NULL) {
        return (struct text){0};
    }
    json_writer_init(&writer, bytes, writer.len);
    copy_value(reader, value, &writer);
    return (struct text){.bytes = bytes, .len = writer.len};
}
