/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_value.c - text to value and back, for every type of option.
 *
 * Thread: main. */
#include "config/config_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a number's suffix multiplies by. Ascending, ended by a NULL name. */
struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0},
};

static const struct unit byte_units[] = {
    {"bytes", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0},
};

static const struct unit *find_unit(const struct unit *units, struct text name)
{
    for (; units->name != NULL; units++) {
        if (text_equals(text_from(units->name), name)) {
            return units;
        }
    }
    return NULL;
}

/* Reads "30s"; without a suffix the unit is plain_unit. */
static bool parse_amount(struct text text, const struct unit *units, const char *plain_unit,
                         uint64_t *amount_out)
{
    size_t digits = 0;
    while (digits < text.len && text.bytes[digits] >= '0' && text.bytes[digits] <= '9') {
        digits++;
    }
    const struct text number = {.bytes = text.bytes, .len = digits};
    struct text suffix = {.bytes = text.bytes + digits, .len = text.len - digits};
    suffix = text_trim(suffix);
    const struct unit *unit = find_unit(units, suffix.len > 0 ? suffix : text_from(plain_unit));
    uint64_t count;
    if (unit == NULL || !text_to_uint64(number, &count) || count > UINT64_MAX / unit->factor) {
        return false;
    }
    *amount_out = count * unit->factor;
    return true;
}

/* Writes an amount in the largest unit that divides it: 90000 ms is "90s". */
static void format_amount(uint64_t amount, const struct unit *units, char text[CONFIG_VALUE_BYTES])
{
    if (amount == 0) {
        text_copy_to(TEXT("0"), text, CONFIG_VALUE_BYTES);
        return;
    }
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (amount % unit->factor == 0) {
            best = unit;
        }
    }
    snprintf(text, CONFIG_VALUE_BYTES, "%" PRIu64 "%s", amount / best->factor,
             units == byte_units && best == units ? "" : best->name); /* 100, not "100bytes". */
}

/* Tells whether the option has a word for "not set", such as auto, and gives it. */
static bool has_word(const struct config_option *option)
{
    double number;
    return (option->kind == CONFIG_KIND_INTEGER || option->kind == CONFIG_KIND_REAL) &&
           !text_to_double(text_from(option->default_text), &number);
}

static enum error_code parse_choice(const struct config_option *option, struct text text,
                                    int *choice_out, struct error *error)
{
    struct text words = text_from(option->unit);
    for (int choice = 0; words.len > 0; choice++) {
        if (text_equals(text_cut(&words, '|'), text)) {
            *choice_out = choice;
            return ERROR_NONE;
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "allowed %s", option->unit);
}

static void format_choice(const struct config_option *option, int choice,
                          char text[CONFIG_VALUE_BYTES])
{
    struct text words = text_from(option->unit);
    struct text word = text_cut(&words, '|');
    for (int index = 0; index < choice; index++) {
        word = text_cut(&words, '|');
    }
    text_copy_to(word, text, CONFIG_VALUE_BYTES);
}

static enum error_code parse_bool(struct text text, bool *value_out, struct error *error)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t index = 0; index < sizeof(words) / sizeof(words[0]); index++) {
        for (int value = 0; value < 2; value++) {
            if (text_equals_ignoring_case(text, text_from(words[index][value]))) {
                *value_out = value == 1;
                return ERROR_NONE;
            }
        }
    }
    return error_set(error, ERROR_INVALID_ARGUMENT, "allowed true or false");
}

static bool has_control_byte(struct text text)
{
    for (size_t index = 0; index < text.len; index++) {
        const unsigned char byte = (unsigned char)text.bytes[index];
        if (byte < 0x20 || byte == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool is_printable_ascii(struct text text)
{
    for (size_t index = 0; index < text.len; index++) {
        const unsigned char byte = (unsigned char)text.bytes[index];
        if (byte <= 0x20 || byte >= 0x7f) {
            return false;
        }
    }
    return true;
}

static enum error_code parse_string(const struct config_option *option, struct text text,
                                    struct error *error)
{
    if ((double)text.len < option->min || (double)text.len > option->max) {
        return error_set(error, ERROR_INVALID_ARGUMENT, "%zu bytes, allowed %.0f to %.0f", text.len,
                         option->min, option->max);
    }
    if (option->kind == CONFIG_KIND_STRING && (has_control_byte(text) || !utf8_is_valid(text))) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "only UTF-8 without control characters is allowed");
    }
    if (option->kind == CONFIG_KIND_SECRET && !is_printable_ascii(text)) {
        return error_set(error, ERROR_INVALID_ARGUMENT,
                         "only printable ASCII without spaces is allowed");
    }
    return ERROR_NONE;
}

void config_value_format_range(const struct config_option *option, char text[CONFIG_VALUE_BYTES])
{
    char min[CONFIG_VALUE_BYTES];
    char max[CONFIG_VALUE_BYTES];
    text[0] = '\0';
    switch (option->kind) {
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_SECRET:
    case CONFIG_KIND_PATH:
    case CONFIG_KIND_BOOL:
        return;
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_REAL:
        snprintf(min, sizeof(min), "%.15g", option->min);
        snprintf(max, sizeof(max), "%.15g", option->max);
        break;
    case CONFIG_KIND_DURATION_MS:
        format_amount((uint64_t)option->min, duration_units, min);
        format_amount((uint64_t)option->max, duration_units, max);
        break;
    case CONFIG_KIND_BYTES:
        format_amount((uint64_t)option->min, byte_units, min);
        format_amount((uint64_t)option->max, byte_units, max);
        break;
    case CONFIG_KIND_CHOICE:
        text_copy_to(text_from(option->unit), text, CONFIG_VALUE_BYTES);
        return;
    }
    snprintf(text, CONFIG_VALUE_BYTES, "%.40s..%.40s%s%.40s", min, max,
             has_word(option) ? " or " : "", has_word(option) ? option->default_text : "");
}

static enum error_code check_range(const struct config_option *option, double value,
                                   struct error *error)
{
    if (value >= option->min && value <= option->max) {
        return ERROR_NONE;
    }
    char range[CONFIG_VALUE_BYTES];
    config_value_format_range(option, range);
    return error_set(error, ERROR_INVALID_ARGUMENT, "allowed %s", range);
}

static enum error_code parse_number(const struct config_option *option, struct text text,
                                    union config_value *value_out, struct error *error)
{
    const bool is_word = has_word(option) && text_equals(text, text_from(option->default_text));
    double number = NAN; /* Outside of every range. */
    if (option->kind == CONFIG_KIND_REAL) {
        value_out->real = CONFIG_UNSET;
        if (!is_word && text_to_double(text, &value_out->real)) {
            number = value_out->real;
        }
    } else {
        value_out->integer = CONFIG_UNSET;
        if (!is_word && text_to_int64(text, &value_out->integer)) {
            number = (double)value_out->integer;
        }
    }
    return is_word ? ERROR_NONE : check_range(option, number, error);
}

enum error_code config_value_parse(const struct config_option *option, struct text text,
                                   union config_value *value_out, struct error *error)
{
    switch (option->kind) {
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_SECRET:
    case CONFIG_KIND_PATH:
        value_out->string = text;
        return parse_string(option, text, error);
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_REAL:
        return parse_number(option, text, value_out, error);
    case CONFIG_KIND_BOOL:
        return parse_bool(text, &value_out->boolean, error);
    case CONFIG_KIND_DURATION_MS:
        if (!parse_amount(text, duration_units, option->unit, &value_out->amount)) {
            return check_range(option, NAN, error);
        }
        return check_range(option, (double)value_out->amount, error);
    case CONFIG_KIND_BYTES:
        if (!parse_amount(text, byte_units, option->unit, &value_out->amount)) {
            return check_range(option, NAN, error);
        }
        return check_range(option, (double)value_out->amount, error);
    case CONFIG_KIND_CHOICE:
        return parse_choice(option, text, &value_out->choice, error);
    }
    ASSERT(false);
}

/* The field is read and written as bytes: its type is known only from the kind. */
static void *field_of(const struct config_option *option, struct config *config)
{
    return (unsigned char *)config + option->offset;
}

static const void *const_field_of(const struct config_option *option, const struct config *config)
{
    return (const unsigned char *)config + option->offset;
}

static bool is_string(const struct config_option *option)
{
    return option->kind == CONFIG_KIND_STRING || option->kind == CONFIG_KIND_SECRET ||
           option->kind == CONFIG_KIND_PATH;
}

enum error_code config_value_store(const struct config_option *option,
                                   const union config_value *value, struct config *config,
                                   struct error *error)
{
    void *field = field_of(option, config);
    switch (option->kind) {
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_SECRET:
    case CONFIG_KIND_PATH: {
        char *copy = strndup(value->string.bytes, value->string.len);
        if (copy == NULL) {
            return error_set(error, ERROR_OUT_OF_MEMORY, "value of %s", option->flag);
        }
        config_value_clear(option, config);
        memcpy(field, &copy, sizeof(copy));
        break;
    }
    case CONFIG_KIND_INTEGER:
        memcpy(field, &value->integer, sizeof(value->integer));
        break;
    case CONFIG_KIND_REAL:
        memcpy(field, &value->real, sizeof(value->real));
        break;
    case CONFIG_KIND_BOOL:
        memcpy(field, &value->boolean, sizeof(value->boolean));
        break;
    case CONFIG_KIND_DURATION_MS:
    case CONFIG_KIND_BYTES:
        memcpy(field, &value->amount, sizeof(value->amount));
        break;
    case CONFIG_KIND_CHOICE:
        memcpy(field, &value->choice, sizeof(value->choice));
        break;
    }
    return ERROR_NONE;
}

void config_value_clear(const struct config_option *option, struct config *config)
{
    if (is_string(option)) {
        char *string;
        memcpy(&string, field_of(option, config), sizeof(string));
        free(string);
        memset(field_of(option, config), 0, sizeof(string));
    }
}

const char *config_value_string(const struct config_option *option, const struct config *config)
{
    ASSERT(is_string(option));
    const char *string;
    memcpy(&string, const_field_of(option, config), sizeof(string));
    return string;
}

void config_value_format(const struct config_option *option, const struct config *config,
                         char text[CONFIG_VALUE_BYTES])
{
    union config_value value = {0};
    const void *field = const_field_of(option, config);
    switch (option->kind) {
    case CONFIG_KIND_SECRET:
        text_copy_to(config_value_string(option, config) == NULL ? TEXT("not set") : TEXT("set"),
                     text, CONFIG_VALUE_BYTES);
        break;
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_PATH:
        value.string = text_from(config_value_string(option, config));
        text_copy_to(value.string.bytes == NULL ? TEXT("not set") : value.string, text,
                     CONFIG_VALUE_BYTES);
        break;
    case CONFIG_KIND_INTEGER:
        memcpy(&value.integer, field, sizeof(value.integer));
        if (has_word(option) && value.integer == CONFIG_UNSET) {
            text_copy_to(text_from(option->default_text), text, CONFIG_VALUE_BYTES);
        } else {
            snprintf(text, CONFIG_VALUE_BYTES, "%" PRId64, value.integer);
        }
        break;
    case CONFIG_KIND_REAL:
        memcpy(&value.real, field, sizeof(value.real));
        if (has_word(option) && value.real < 0) {
            text_copy_to(text_from(option->default_text), text, CONFIG_VALUE_BYTES);
        } else {
            snprintf(text, CONFIG_VALUE_BYTES, "%.15g", value.real);
        }
        break;
    case CONFIG_KIND_BOOL:
        memcpy(&value.boolean, field, sizeof(value.boolean));
        text_copy_to(value.boolean ? TEXT("true") : TEXT("false"), text, CONFIG_VALUE_BYTES);
        break;
    case CONFIG_KIND_DURATION_MS:
        memcpy(&value.amount, field, sizeof(value.amount));
        format_amount(value.amount, duration_units, text);
        break;
    case CONFIG_KIND_BYTES:
        memcpy(&value.amount, field, sizeof(value.amount));
        format_amount(value.amount, byte_units, text);
        break;
    case CONFIG_KIND_CHOICE:
        memcpy(&value.choice, field, sizeof(value.choice));
        format_choice(option, value.choice, text);
        break;
    }
}
