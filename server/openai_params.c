/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_params.c - a request's JSON to parameters, by the table of openai_fields.c.
 *
 * What no single field can tell is checked here. JSON itself: json_reader.c. Thread: any. */
#include "server/openai_params.h"

#include <float.h>

#include "server/openai_fields.h"
#include "server/openai_reading.h"

static void store(struct openai_reading *reading, const struct openai_field *field, double value)
{
    void *member = (char *)reading + field->offset;
    switch (field->type) {
    case OPENAI_FIELD_BOOL:
        *(bool *)member = value > 0;
        break;
    case OPENAI_FIELD_INTEGER:
        *(uint32_t *)member = value < 0 ? 0 : (uint32_t)value;
        break;
    case OPENAI_FIELD_OPTIONAL:
        *(int32_t *)member = (int32_t)value;
        break;
    case OPENAI_FIELD_REAL:
        *(float *)member = (float)value;
        break;
    case OPENAI_FIELD_OWN:
    case OPENAI_FIELD_REFUSED:
    case OPENAI_FIELD_IGNORED:
        break;
    }
}

static enum error_code read_value(struct openai_reading *reading, const struct openai_field *field,
                                  struct json_value value)
{
    const double min = openai_fields_number(field->min, reading->options);
    const double max = openai_fields_number(field->max, reading->options);
    double number = 0;
    int64_t integer = 0;
    bool truth = false;
    enum error_code code = ERROR_NONE;
    switch (field->type) {
    case OPENAI_FIELD_BOOL:
        code = json_reader_bool(&reading->json, value, &truth, &reading->error);
        number = truth ? 1 : 0;
        break;
    case OPENAI_FIELD_INTEGER:
    case OPENAI_FIELD_OPTIONAL:
        code = json_reader_integer(&reading->json, value, (int64_t)min, (int64_t)max, &integer,
                                   &reading->error);
        number = (double)integer;
        break;
    case OPENAI_FIELD_REAL:
        code = json_reader_real(&reading->json, value, min, max, &number, &reading->error);
        break;
    case OPENAI_FIELD_OWN:
    case OPENAI_FIELD_REFUSED:
        return field->read(reading, value);
    case OPENAI_FIELD_IGNORED:
        return ERROR_NONE;
    }
    if (code == ERROR_NONE) {
        store(reading, field, number);
    }
    return code;
}

/* ---- The whole request ---- */

static void set_defaults(struct openai_reading *reading)
{
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if ((field->endpoints & reading->params.endpoint) != 0) {
            store(reading, field, openai_fields_number(field->fallback, reading->options));
        }
    }
}

static const char *prompt_field(enum openai_endpoint endpoint)
{
    switch (endpoint) {
    case OPENAI_COMPLETIONS:
    case OPENAI_TOKENIZE:
        return "prompt";
    case OPENAI_CHAT:
    case OPENAI_MESSAGES:
    case OPENAI_MESSAGES_COUNT:
    case OPENAI_TEMPLATE:
        return "messages";
    case OPENAI_RESPONSES:
    case OPENAI_RESPONSES_COUNT:
        return "input";
    case OPENAI_DETOKENIZE:
        return "tokens";
    }
    return "";
}

/* What no single field can tell. */
static enum error_code check_together(struct openai_reading *reading)
{
    const struct json_value root = json_reader_root(&reading->json);
    const struct openai_params *params = &reading->params;
    const char *required = prompt_field(params->endpoint);
    /* Instructions alone are no prompt. A prompt for /tokenize has several names. */
    if (params->prompt.kind == OPENAI_PROMPT_ABSENT ||
        (params->prompt.kind == OPENAI_PROMPT_MESSAGES && params->endpoint != OPENAI_TOKENIZE &&
         json_reader_member(root, required).node == NULL)) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, required, "is required");
    }
    if (params->endpoint == OPENAI_MESSAGES &&
        json_reader_member(root, "max_tokens").node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, "max_tokens", "is required");
    }
    if (reading->best_of != 0 && reading->best_of != params->choice_count) {
        return OPENAI_READING_REFUSE_MEMBER(
            reading, root, "best_of", "%u with n = %u is not supported by this version",
            (unsigned)reading->best_of, (unsigned)params->choice_count);
    }
    if (reading->top_logprobs > 0 && !reading->chat_logprobs) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, "top_logprobs",
                                            "needs logprobs to be true");
    }
    if (params->prompt_logprobs >= 0 && params->stream) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, "prompt_logprobs",
                                            "not available when stream is true");
    }
    if (params->prompt.continue_final_message && reading->generation_prompt_wanted) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, "continue_final_message",
                                            "excludes add_generation_prompt");
    }
    if (params->sampling.min_tokens > params->sampling.max_tokens) {
        return OPENAI_READING_REFUSE_MEMBER(
            reading, root, "min_tokens", "%u, more than max_tokens = %u",
            (unsigned)params->sampling.min_tokens, (unsigned)params->sampling.max_tokens);
    }
    return ERROR_NONE;
}

enum chat_template openai_prompt_template(const struct openai_prompt *prompt,
                                          enum chat_template served)
{
    switch (served) {
    case CHAT_TEMPLATE_G1:
    case CHAT_TEMPLATE_G1_THINK:
        if (prompt->thinking == OPENAI_THINKING_UNSAID) {
            return served;
        }
        return prompt->thinking == OPENAI_THINKING_ON ? CHAT_TEMPLATE_G1_THINK : CHAT_TEMPLATE_G1;
    case CHAT_TEMPLATE_NONE:
    case CHAT_TEMPLATE_WORLD:
        break;
    }
    return served;
}

enum reasoning_start openai_params_answer_start(const struct openai_params *params,
                                                enum chat_template served)
{
    const struct openai_prompt *prompt = &params->prompt;
    if (params->endpoint == OPENAI_COMPLETIONS || prompt->continue_final_message ||
        prompt->omit_generation_prompt || params->tools.calls == CHAT_CALLS_REQUIRED) {
        return REASONING_START_TEXT;
    }
    switch (openai_prompt_template(prompt, served)) {
    case CHAT_TEMPLATE_G1:
        return REASONING_START_CLOSED;
    case CHAT_TEMPLATE_G1_THINK:
        return REASONING_START_OPEN;
    case CHAT_TEMPLATE_NONE:
    case CHAT_TEMPLATE_WORLD:
        break;
    }
    return REASONING_START_TURN;
}

enum tool_call_start openai_params_call_start(const struct openai_params *params)
{
    if (params->prompt.continue_final_message || params->prompt.omit_generation_prompt) {
        return TOOL_CALL_START_NONE; /* Calls come at the beginning of a turn. */
    }
    switch (params->tools.calls) {
    case CHAT_CALLS_OFFERED:
        return TOOL_CALL_START_FENCE;
    case CHAT_CALLS_REQUIRED:
        return TOOL_CALL_START_NAME;
    case CHAT_CALLS_NONE:
        break;
    }
    return TOOL_CALL_START_NONE;
}

/* The stops of the request come first: only they may stay in the text. */
static void add_template_stops(struct openai_reading *reading)
{
    struct openai_params *params = &reading->params;
    const struct text *stops;
    const uint32_t count = chat_template_stops(reading->options->model->chat_template, &stops);
    for (uint32_t index = 0; index < count; index++) {
        params->stops[params->stop_count++] = stops[index];
    }
}

/* Turns what the fields say together into what the engine expects. */
static void settle(struct openai_reading *reading)
{
    struct openai_params *params = &reading->params;
    struct sampling *sampling = &params->sampling;
    const int32_t asked = params->prompt_logprobs;
    if (params->endpoint == OPENAI_CHAT) {
        params->logprobs = reading->chat_logprobs ? (int32_t)reading->top_logprobs : -1;
    }
    sampling->logprobs_wanted = asked > params->logprobs ? asked : params->logprobs;
    if (sampling->top_p <= 0) {
        sampling->top_p = FLT_MIN; /* The most likely token only; 0 means all to the sampler. */
    }
    params->own_stop_count = params->stop_count;
    params->stops_included = reading->stop_included ? params->stop_count : 0;
    /* Who ignores the end of text wants max_tokens tokens, not one turn. */
    if ((params->endpoint & OPENAI_TURNS) != 0 && !sampling->ignore_eos) {
        add_template_stops(reading);
    }
}

static enum error_code read_fields(struct openai_reading *reading)
{
    const struct json_value root = json_reader_root(&reading->json);
    for (size_t index = 0; index < openai_fields_count(); index++) {
        const struct openai_field *field = openai_fields_at(index);
        if ((field->endpoints & reading->params.endpoint) == 0) {
            continue;
        }
        const struct json_value value = json_reader_member(root, field->name);
        if (value.node == NULL) {
            continue;
        }
        const enum error_code code = read_value(reading, field, value);
        if (code != ERROR_NONE) {
            return code;
        }
    }
    const enum error_code code = check_together(reading);
    return code != ERROR_NONE ? code : openai_tools_settle(reading);
}

bool openai_params_read(enum openai_endpoint endpoint, struct text body,
                        const struct server_options *options, struct arena *arena,
                        struct openai_params *params_out, struct openai_error *error_out)
{
    struct openai_reading reading = {
        .options = options,
        .arena = arena,
        .params = {.endpoint = endpoint, .choice_count = 1, .logprobs = -1, .prompt_logprobs = -1},
    };
    set_defaults(&reading);
    enum error_code code = json_reader_open(&reading.json, body, arena, &reading.error);
    if (code == ERROR_NONE) {
        code = read_fields(&reading);
        json_reader_close(&reading.json);
    }
    if (code != ERROR_NONE) {
        openai_error_from_code(error_out, code, reading.error.message);
        text_copy_to(text_from(reading.json.path), error_out->param, sizeof(error_out->param));
        return false;
    }
    settle(&reading);
    *params_out = reading.params;
    return true;
}
