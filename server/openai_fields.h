/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_fields.h - every field of a request: name, endpoints, type, range, default, help.
 *
 * One table for three readers: openai_params.c checks requests by it, openapi.c describes them, and
 * the README's table of fields is made from it. Thread: any. */
#pragma once

#include <stddef.h>

#include "server/openai_reading.h"

enum openai_field_type {
    OPENAI_FIELD_BOOL,     /* bool */
    OPENAI_FIELD_INTEGER,  /* uint32_t; the -1 that some clients send for "no limit" becomes 0. */
    OPENAI_FIELD_OPTIONAL, /* int32_t, an integer; -1 when absent. */
    OPENAI_FIELD_REAL,     /* float */
    OPENAI_FIELD_OWN,      /* .read does everything, .schema describes it. */
    OPENAI_FIELD_REFUSED,  /* As OWN; nothing but empty values is accepted. */
    OPENAI_FIELD_IGNORED,  /* Any value; known, so that it is documented. */
};

/* A number of the table: a constant, or one that the operator decides. */
struct openai_number {
    enum openai_number_source {
        OPENAI_NUMBER_CONSTANT,
        OPENAI_NUMBER_TEMPERATURE, /* --temperature, or the model's. */
        OPENAI_NUMBER_TOP_P,       /* --top-p, or the model's. */
        OPENAI_NUMBER_CHAT_TOKENS, /* --max-tokens-default, at most the limit. */
        OPENAI_NUMBER_FEW_TOKENS,  /* 16, at most the limit. */
        OPENAI_NUMBER_MAX_TOKENS,  /* --max-tokens-limit */
        OPENAI_NUMBER_MAX_N,       /* --max-n, at most the slots. */
    } source;
    double value;
};

struct openai_field {
    const char *name;
    unsigned endpoints; /* Bits of enum openai_endpoint. */
    const char *help;   /* A phrase. */
    enum openai_field_type type;
    size_t offset; /* In struct openai_reading. */
    struct openai_number min, max, fallback;
    openai_read_field *read;
    const char *shape;  /* OWN: what values are, for people. */
    const char *schema; /* OWN: the same as JSON Schema, an object; null is allowed besides. */
};

size_t openai_fields_count(void);
const struct openai_field *openai_fields_at(size_t index);

/* The number as this server has it. */
double openai_fields_number(struct openai_number number, const struct server_options *options);

/* The option that decides the number, "--max-n"; NULL: it is a constant. */
const char *openai_fields_option(struct openai_number number);
