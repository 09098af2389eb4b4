/* SPDX-License-Identifier: Apache-2.0
 *
 * engine/vocabulary_file.c - parser of vocabulary files: strict, every line is checked.
 *
 * A wrong vocabulary gives fluent nonsense instead of an error, so nothing is guessed: what does
 * not follow the form exactly is refused with its line. Thread: any. */
#include "engine/vocabulary_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"

enum {
    FILE_BYTES_MAX = 64 << 20, /* World has 1.1 MB: whoever names a model file here is told so. */
};

/* One literal being decoded. A decoded text is never longer than its literal. */
struct literal {
    struct text rest; /* Between the quotes, not decoded yet. */
    bool is_bytes;    /* b'..': escapes are bytes. Else they are code points. */
    char quote;
    char *out;         /* Where the next decoded byte goes. */
    const char *fault; /* What is wrong, or NULL. */
};

static void put_byte(struct literal *literal, uint32_t byte)
{
    *literal->out++ = (char)(unsigned char)byte;
}

static void put_code_point(struct literal *literal, uint32_t code)
{
    if (code >= 0xd800 && code <= 0xdfff) {
        literal->fault = "a surrogate is not a character";
    } else if (code < 0x80) {
        put_byte(literal, code);
    } else if (code < 0x800) {
        put_byte(literal, 0xc0 | code >> 6);
        put_byte(literal, 0x80 | (code & 0x3f));
    } else {
        put_byte(literal, 0xe0 | code >> 12);
        put_byte(literal, 0x80 | (code >> 6 & 0x3f));
        put_byte(literal, 0x80 | (code & 0x3f));
    }
}

static char take(struct literal *literal)
{
    if (literal->rest.len == 0) {
        literal->fault = "the literal ends inside an escape";
        return '\0';
    }
    const char byte = literal->rest.bytes[0];
    literal->rest.bytes++;
    literal->rest.len--;
    return byte;
}

static uint32_t take_hex(struct literal *literal, int digit_count)
{
    uint32_t value = 0;
    for (int index = 0; index < digit_count && literal->fault == NULL; index++) {
        const char digit = take(literal);
        if (digit >= '0' && digit <= '9') {
            value = value << 4 | (uint32_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            value = value << 4 | (uint32_t)(digit - 'a' + 10);
        } else if (digit >= 'A' && digit <= 'F') {
            value = value << 4 | (uint32_t)(digit - 'A' + 10);
        } else if (literal->fault == NULL) {
            literal->fault = "not a hexadecimal digit in an escape";
        }
    }
    return value;
}

/* What follows a backslash. */
static void decode_escape(struct literal *literal)
{
    const char escape = take(literal);
    if (literal->fault != NULL) {
        return;
    }
    switch (escape) {
    case '\\':
    case '\'':
    case '"':
        put_byte(literal, (unsigned char)escape);
        return;
    case 'n':
        put_byte(literal, '\n');
        return;
    case 't':
        put_byte(literal, '\t');
        return;
    case 'r':
        put_byte(literal, '\r');
        return;
    case 'x': {
        const uint32_t value = take_hex(literal, 2);
        if (literal->is_bytes) {
            put_byte(literal, value);
        } else {
            put_code_point(literal, value);
        }
        return;
    }
    case 'u':
        if (!literal->is_bytes) {
            put_code_point(literal, take_hex(literal, 4));
            return;
        }
        break;
    }
    literal->fault = "unknown escape";
}

static void decode_literal(struct literal *literal)
{
    while (literal->rest.len > 0 && literal->fault == NULL) {
        const char byte = take(literal);
        if (byte == '\\') {
            decode_escape(literal);
        } else if (byte == literal->quote) {
            literal->fault = "a quote inside the literal is not escaped";
        } else if ((unsigned char)byte < 0x20 || byte == 0x7f) {
            literal->fault = "a control character is not escaped";
        } else if (literal->is_bytes && (unsigned char)byte >= 0x80) {
            literal->fault = "a byte literal holds a character that is not ASCII";
        } else {
            put_byte(literal, (unsigned char)byte);
        }
    }
}

/* Takes b and the quotes off and decodes to `out`; the literal returned holds the fault. */
static struct literal read_literal(struct text source, char *out)
{
    struct literal literal = {.rest = source, .out = out};
    if (source.len > 0 && source.bytes[0] == 'b') {
        literal.is_bytes = true;
        literal.rest.bytes++;
        literal.rest.len--;
    }
    const struct text quoted = literal.rest;
    const bool is_quoted = quoted.len >= 2 && (quoted.bytes[0] == '\'' || quoted.bytes[0] == '"') &&
                           quoted.bytes[quoted.len - 1] == quoted.bytes[0];
    if (!is_quoted) {
        literal.fault = "the literal is not between two equal quotes";
        return literal;
    }
    literal.quote = quoted.bytes[0];
    literal.rest = (struct text){.bytes = quoted.bytes + 1, .len = quoted.len - 2};
    if (!literal.is_bytes && !utf8_is_valid(literal.rest)) {
        literal.fault = "the literal is not UTF-8";
        return literal;
    }
    decode_literal(&literal);
    return literal;
}

/* Digits only: a sign would be one more way to write the same file. */
static bool read_number(struct text digits, uint64_t max, uint64_t *value_out)
{
    return digits.len > 0 && digits.bytes[0] >= '0' && digits.bytes[0] <= '9' &&
           text_to_uint64(digits, value_out) && *value_out <= max;
}

/* Cuts a line at its first and its last space; the literal between may hold spaces itself. */
static bool split_line(struct text line, struct text *id_out, struct text *literal_out,
                       struct text *len_out)
{
    const char *first = line.len == 0 ? NULL : memchr(line.bytes, ' ', line.len);
    const char *last = line.len == 0 ? NULL : memrchr(line.bytes, ' ', line.len);
    if (first == NULL || first == last) {
        return false;
    }
    const char *end = line.bytes + line.len;
    *id_out = (struct text){.bytes = line.bytes, .len = (size_t)(first - line.bytes)};
    *literal_out = (struct text){.bytes = first + 1, .len = (size_t)(last - first - 1)};
    *len_out = (struct text){.bytes = last + 1, .len = (size_t)(end - last - 1)};
    return true;
}

/* A file being parsed. */
struct parse {
    const char *name;
    uint32_t line_number;
    char *bytes_end; /* Where the next text goes. */
    struct vocabulary_file *file;
    uint32_t entry_max; /* Room in file->entries. */
};

static enum error_code refuse(const struct parse *parse, struct error *error, const char *fault)
{
    return error_set(error, ERROR_CORRUPT, "%s line %u: %s", parse->name, parse->line_number,
                     fault);
}

/* Makes room for an id; what is new is zeroed. */
static enum error_code make_room(struct parse *parse, uint32_t id, struct error *error)
{
    struct vocabulary_file *file = parse->file;
    if (id < parse->entry_max) {
        return ERROR_NONE;
    }
    uint32_t entry_max = id + 1 > 2 * parse->entry_max ? id + 1 : 2 * parse->entry_max;
    entry_max = entry_max < LIMIT_VOCABULARY ? entry_max : LIMIT_VOCABULARY;
    struct vocabulary_entry *entries = realloc(file->entries, entry_max * sizeof(*entries));
    if (entries == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the vocabulary",
                         parse->name);
    }
    memset(&entries[parse->entry_max], 0, (entry_max - parse->entry_max) * sizeof(*entries));
    file->entries = entries;
    parse->entry_max = entry_max;
    return ERROR_NONE;
}

static enum error_code parse_line(struct parse *parse, struct text line, struct error *error)
{
    struct vocabulary_file *file = parse->file;
    struct text id_text;
    struct text literal_text;
    struct text len_text;
    uint64_t id;
    uint64_t stated_len;
    if (!split_line(line, &id_text, &literal_text, &len_text)) {
        return refuse(parse, error, "not of the form <id> <literal> <byte length>");
    }
    if (!read_number(id_text, LIMIT_VOCABULARY - 1, &id) || id == 0) {
        return error_set(error, ERROR_CORRUPT, "%s line %u: id %.*s, allowed 1..%d", parse->name,
                         parse->line_number, (int)(id_text.len < 20 ? id_text.len : 20),
                         id_text.bytes, LIMIT_VOCABULARY - 1);
    }
    if (!read_number(len_text, LIMIT_TOKEN_BYTES, &stated_len) || stated_len == 0) {
        return error_set(error, ERROR_CORRUPT, "%s line %u: byte length %.*s, allowed 1..%d",
                         parse->name, parse->line_number,
                         (int)(len_text.len < 20 ? len_text.len : 20), len_text.bytes,
                         LIMIT_TOKEN_BYTES);
    }
    const struct literal literal = read_literal(literal_text, parse->bytes_end);
    if (literal.fault != NULL) {
        return refuse(parse, error, literal.fault);
    }
    const size_t len = (size_t)(literal.out - parse->bytes_end);
    if (len != stated_len) {
        return error_set(error, ERROR_CORRUPT, "%s line %u: %zu bytes, stated are %u", parse->name,
                         parse->line_number, len, (unsigned)stated_len);
    }
    const enum error_code code = make_room(parse, (uint32_t)id, error);
    if (code != ERROR_NONE) {
        return code;
    }
    struct vocabulary_entry *entry = &file->entries[id];
    if (entry->len > 0) {
        return error_set(error, ERROR_CORRUPT, "%s line %u: id %u again, first on line %u",
                         parse->name, parse->line_number, (unsigned)id, entry->line);
    }
    *entry = (struct vocabulary_entry){.offset = (uint32_t)(parse->bytes_end - file->bytes),
                                       .len = (uint32_t)len,
                                       .line = parse->line_number};
    parse->bytes_end = literal.out;
    file->token_count = file->token_count > id ? file->token_count : (uint32_t)id + 1;
    return ERROR_NONE;
}

static enum error_code check_single_bytes(const struct parse *parse, struct error *error)
{
    bool present[256] = {false};
    for (uint32_t id = 0; id < parse->file->token_count; id++) {
        const struct text token = vocabulary_file_text(parse->file, id);
        if (token.len == 1) {
            present[(unsigned char)token.bytes[0]] = true;
        }
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!present[byte]) {
            return error_set(error, ERROR_CORRUPT,
                             "%s: no token for the single byte 0x%02x: some text could not be "
                             "encoded",
                             parse->name, byte);
        }
    }
    return ERROR_NONE;
}

static enum error_code parse_lines(struct parse *parse, struct text content, struct error *error)
{
    while (content.len > 0) {
        struct text line = text_cut(&content, '\n');
        if (line.len > 0 && line.bytes[line.len - 1] == '\r') {
            line.len--;
        }
        parse->line_number++;
        const enum error_code code = parse_line(parse, line, error);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    return check_single_bytes(parse, error);
}

enum error_code vocabulary_file_parse(struct text content, const char *name,
                                      struct vocabulary_file *file_out, struct error *error)
{
    *file_out = (struct vocabulary_file){0};
    if (content.len > FILE_BYTES_MAX) {
        return error_set(error, ERROR_CORRUPT, "%s: %zu bytes, a vocabulary has at most %d", name,
                         content.len, FILE_BYTES_MAX);
    }
    struct vocabulary_file file = {.bytes = malloc(content.len + 1)};
    enum error_code code;
    if (file.bytes == NULL) {
        code = error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory for the vocabulary", name);
        goto out;
    }
    struct parse parse = {.name = name, .bytes_end = file.bytes, .file = &file};
    code = parse_lines(&parse, content, error);
    if (code != ERROR_NONE) {
        goto out;
    }
    /* Give back what the bounds reserved; to shrink cannot fail in a way that matters. */
    void *entries = realloc(file.entries, file.token_count * sizeof(file.entries[0]));
    file.entries = entries != NULL ? entries : file.entries;
    void *bytes = realloc(file.bytes, (size_t)(parse.bytes_end - file.bytes) + 1);
    file.bytes = bytes != NULL ? bytes : file.bytes;
    *file_out = file;
    file = (struct vocabulary_file){0};
out:
    vocabulary_file_deinit(&file);
    return code;
}

static enum error_code read_stream(FILE *stream, const char *path, char **content_out,
                                   size_t *byte_count_out, struct error *error)
{
    struct stat status;
    if (fstat(fileno(stream), &status) != 0 || !S_ISREG(status.st_mode)) {
        return error_set(error, ERROR_IO, "%s: not a regular file", path);
    }
    if (status.st_size > FILE_BYTES_MAX) {
        return error_set(error, ERROR_CORRUPT, "%s: %lld bytes, a vocabulary has at most %d", path,
                         (long long)status.st_size, FILE_BYTES_MAX);
    }
    const size_t byte_count = (size_t)status.st_size;
    char *content = malloc(byte_count + 1);
    if (content == NULL) {
        return error_set(error, ERROR_OUT_OF_MEMORY, "%s: no memory to read it", path);
    }
    if (fread(content, 1, byte_count, stream) != byte_count) {
        free(content);
        return error_set(error, ERROR_IO, "%s: cannot be read", path);
    }
    *content_out = content;
    *byte_count_out = byte_count;
    return ERROR_NONE;
}

enum error_code vocabulary_file_read(const char *path, struct vocabulary_file *file_out,
                                     struct error *error)
{
    *file_out = (struct vocabulary_file){0};
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        return error_set(error, missing ? ERROR_NOT_FOUND : ERROR_IO, "%s: %s", path,
                         strerror(errno));
    }
    char *content = NULL;
    size_t byte_count = 0;
    enum error_code code = read_stream(stream, path, &content, &byte_count, error);
    fclose(stream);
    if (code == ERROR_NONE) {
        code = vocabulary_file_parse((struct text){.bytes = content, .len = byte_count}, path,
                                     file_out, error);
    }
    free(content);
    return code;
}

void vocabulary_file_deinit(struct vocabulary_file *file)
{
    if (file == NULL) {
        return;
    }
    free(file->bytes);
    free(file->entries);
    *file = (struct vocabulary_file){0};
}
