/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_options.c - the table, and how an option is found by its name.
 *
 * Thread: main. */
#include "config/config_options.h"

#include <stdio.h>

#include "base/limits.h"

/* `ENUM(log_level)` in a row becomes CONFIG_KIND_ENUM(log_level). */
#define CONFIG_KIND_ENUM(name) CONFIG_KIND_CHOICE

const struct config_option config_options_table[CONFIG_OPTION_COUNT] = {
#define OPTION(group_name, type, field, flag_name, unit_name, default_value, least, most, text)    \
    [CONFIG_OPTION_##field] = {.group = (group_name),                                              \
                               .kind = CONFIG_KIND_##type,                                         \
                               .offset = offsetof(struct config, field),                           \
                               .flag = (flag_name),                                                \
                               .unit = (unit_name),                                                \
                               .default_text = (default_value),                                    \
                               .min = (least),                                                     \
                               .max = (most),                                                      \
                               .help = (text)},
#include "config/config_options.def"
#undef OPTION
};

const struct config_option *config_options_find(struct text flag)
{
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        if (text_equals(text_from(config_options_table[index].flag), flag)) {
            return &config_options_table[index];
        }
    }
    return NULL;
}

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

/* Levenshtein's distance; both shorter than CONFIG_NAME_BYTES. */
static size_t edit_distance(struct text left, struct text right)
{
    size_t row[CONFIG_NAME_BYTES]; /* row[j]: distance of left[0..i) and right[0..j). */
    for (size_t j = 0; j <= right.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= left.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= right.len; j++) {
            const size_t replaced = diagonal + (left.bytes[i - 1] == right.bytes[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j - 1], row[j]) + 1);
        }
    }
    return row[right.len];
}

const char *config_options_nearest(struct text flag)
{
    const char *nearest = NULL;
    size_t distance_min = 3; /* Two slips are a slip of the pen, three are another word. */
    if (flag.len >= CONFIG_NAME_BYTES) {
        return NULL;
    }
    for (size_t index = 0; index < CONFIG_OPTION_COUNT; index++) {
        const struct text candidate = text_from(config_options_table[index].flag);
        const size_t distance = edit_distance(flag, candidate);
        if (distance < distance_min && distance < candidate.len) {
            distance_min = distance;
            nearest = candidate.bytes;
        }
    }
    return nearest;
}

void config_options_environment_name(const char *flag, char name[CONFIG_NAME_BYTES])
{
    snprintf(name, CONFIG_NAME_BYTES, "SKEIN_%s", flag);
    for (char *byte = name; *byte != '\0'; byte++) {
        if (*byte == '-') {
            *byte = '_';
        } else if (*byte >= 'a' && *byte <= 'z') {
            *byte = (char)(*byte - 'a' + 'A');
        }
    }
}
