/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/tidy/print_fields.c - prints the table of request fields that belongs into README.md.
 *
 * Thread: main. */
#include <stdio.h>
#include <string.h>

#include "server/openai_fields.h"

static const struct {
    enum openai_endpoint endpoint;
    const char *name;
} endpoints[] = {
    {OPENAI_COMPLETIONS, "completions"},
    {OPENAI_CHAT, "chat"},
    {OPENAI_RESPONSES, "responses"},
    {OPENAI_MESSAGES, "messages"},
    {OPENAI_TOKENIZE, "tokenize"},
    {OPENAI_DETOKENIZE, "detokenize"},
    {OPENAI_TEMPLATE, "template"},
};

static void print_endpoints(const struct openai_field *field)
{
    const char *separator = "";
    unsigned left = field->endpoints;
    if ((left & OPENAI_GENERATIONS) == OPENAI_GENERATIONS) {
        printf("generations");
        separator = ", ";
        left &= ~(unsigned)OPENAI_GENERATIONS;
    }
    for (size_t index = 0; index < sizeof(endpoints) / sizeof(endpoints[0]); index++) {
        if ((left & endpoints[index].endpoint) != 0) {
            printf("%s%s", separator, endpoints[index].name);
            separator = ", ";
        }
    }
}

static void print_number(struct openai_number number)
{
    const char *option = openai_fields_option(number);
    if (option != NULL) {
        printf("`%s`", option);
    } else {
        printf("%.10g", number.value);
    }
}

/* What is allowed, and the default. */
static void print_values(const struct openai_field *field)
{
    switch (field->type) {
    case OPENAI_FIELD_BOOL:
        printf("boolean | false");
        return;
    case OPENAI_FIELD_INTEGER:
    case OPENAI_FIELD_OPTIONAL:
    case OPENAI_FIELD_REAL:
        print_number(field->min);
        printf("..");
        print_number(field->max);
        printf(field->type == OPENAI_FIELD_REAL ? " | " : ", whole | ");
        if (field->type != OPENAI_FIELD_OPTIONAL) {
            print_number(field->fallback);
        }
        return;
    case OPENAI_FIELD_OWN:
    case OPENAI_FIELD_REFUSED:
        printf("%s | ", field->shape);
        return;
    case OPENAI_FIELD_IGNORED:
        return;
    }
}

static bool is_first_of_name(size_t index)
{
    const char *name = openai_fields_at(index)->name;
    for (size_t before = 0; before < index; before++) {
        if (strcmp(openai_fields_at(before)->name, name) == 0) {
            return false;
        }
    }
    return true;
}

static void print_ignored(void)
{
    const char *separator = "\nAccepted and ignored: ";
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if (field->type == OPENAI_FIELD_IGNORED && is_first_of_name(index)) {
            printf("%s`%s`", separator, field->name);
            separator = ", ";
        }
    }
    printf(".\n");
}

int main(void)
{
    printf("| Field | Endpoints | Allowed | Default | Meaning |\n|---|---|---|---|---|\n");
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if (field->type == OPENAI_FIELD_IGNORED) {
            continue;
        }
        printf("| `%s` | ", field->name);
        print_endpoints(field);
        printf(" | ");
        print_values(field);
        printf(" | %s |\n", field->help);
    }
    print_ignored();
    return 0;
}
