/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_params.c - THE TABLE of request fields: name, endpoint, range, default.
 *
 * Fields that are not in it are ignored. Fields that are more than a number in a range are read by
 * openai_prompt.c and openai_sampling.c, JSON itself by json_reader.c. Thread: any. */
#include "server/openai_params.h"

#include <float.h>
#include <stddef.h>

#include "server/openai_reading.h"

static openai_read_field read_model, read_stream_options, read_response_format, refuse_unless_empty;

/* ---- The table ---- */

enum field_type {
    FIELD_BOOL,    /* bool */
    FIELD_INTEGER, /* uint32_t; the -1 that some clients send for "no limit" is stored as 0. */
    FIELD_REAL,    /* float */
    FIELD_OWN,     /* .read does everything. */
};

/* A number of the table: a constant, or one that the server decides. */
struct number {
    enum number_source {
        NUMBER_CONSTANT,
        NUMBER_TEMPERATURE, /* --temperature, or the model's. */
        NUMBER_TOP_P,       /* --top-p, or the model's. */
        NUMBER_CHAT_TOKENS, /* --max-tokens-default */
        NUMBER_MAX_TOKENS,  /* --max-tokens-limit */
        NUMBER_MAX_N,       /* --max-n, at most the slots. */
    } source;
    double value;
};

struct field {
    const char *name;
    unsigned endpoints; /* Bits of enum openai_endpoint. */
    enum field_type type;
    size_t offset; /* In struct openai_reading. */
    struct number min, max, fallback;
    openai_read_field *read;
};

/* clang-format off */
#define AT(member) offsetof(struct openai_reading, member)
#define IN_PARAMS(member) AT(params.member)
#define SAMPLING(member) AT(params.sampling.member)
#define IS(number) {NUMBER_CONSTANT, number}
#define TEMPERATURE {NUMBER_TEMPERATURE, 0}
#define TOP_P {NUMBER_TOP_P, 0}
#define CHAT_TOKENS {NUMBER_CHAT_TOKENS, 0}
#define MAX_TOKENS {NUMBER_MAX_TOKENS, 0}
#define MAX_N {NUMBER_MAX_N, 0}

/* The columns behind name and endpoints: where it goes, smallest and largest value, default. */
#define BOOL(offset) FIELD_BOOL, offset, .fallback = IS(0)
#define INTEGER(...) FIELD_INTEGER, __VA_ARGS__
#define REAL(...) FIELD_REAL, __VA_ARGS__
#define OWN(function) FIELD_OWN, .read = function
#define REFUSED FIELD_OWN, .read = refuse_unless_empty
/* clang-format on */

enum {
    COMPLETIONS = OPENAI_COMPLETIONS,
    CHAT = OPENAI_CHAT,
    TOKENIZE = OPENAI_TOKENIZE,
    DETOKENIZE = OPENAI_DETOKENIZE,
    BOTH = COMPLETIONS | CHAT,
    ALL = BOTH | TOKENIZE | DETOKENIZE,
};

/* Read from top to bottom; of two rows for one member the later one wins. The bounds without an
 * option are OpenAI's, or wide enough for any use. */
/* clang-format off */
static const struct field fields[] = {
    {"model", ALL, OWN(read_model)},
    {"prompt", COMPLETIONS | TOKENIZE, OWN(openai_prompt_read)},
    {"content", TOKENIZE, OWN(openai_prompt_read)},
    {"text", TOKENIZE, OWN(openai_prompt_read)},
    {"messages", CHAT | TOKENIZE, OWN(openai_prompt_read_messages)},
    {"continue_final_message", CHAT | TOKENIZE, BOOL(IN_PARAMS(prompt.continue_final_message))},
    {"tokens", DETOKENIZE, OWN(openai_prompt_read_tokens)},

    {"max_tokens", COMPLETIONS, INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, IS(16))},
    {"max_tokens", CHAT, INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"max_completion_tokens", CHAT,
     INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"min_tokens", BOTH, INTEGER(SAMPLING(min_tokens), IS(0), MAX_TOKENS, IS(0))},
    {"ignore_eos", BOTH, BOOL(SAMPLING(ignore_eos))},
    {"stop", BOTH, OWN(openai_sampling_read_stop)},
    {"stop_token_ids", BOTH, OWN(openai_sampling_read_stop_tokens)},
    {"include_stop_str_in_output", BOTH, BOOL(IN_PARAMS(stop_included))},
    {"n", BOTH, INTEGER(IN_PARAMS(choice_count), IS(1), MAX_N, IS(1))},
    {"best_of", COMPLETIONS, INTEGER(AT(best_of), IS(0), IS(20), IS(0))},

    {"temperature", BOTH, REAL(SAMPLING(temperature), IS(0), IS(2), TEMPERATURE)},
    {"top_p", BOTH, REAL(SAMPLING(top_p), IS(0), IS(1), TOP_P)},
    {"top_k", BOTH, INTEGER(SAMPLING(top_k), IS(-1), IS(INT32_MAX), IS(0))},
    {"min_p", BOTH, REAL(SAMPLING(min_p), IS(0), IS(1), IS(0))},
    {"presence_penalty", BOTH, REAL(SAMPLING(presence_penalty), IS(-2), IS(2), IS(0))},
    {"frequency_penalty", BOTH, REAL(SAMPLING(frequency_penalty), IS(-2), IS(2), IS(0))},
    {"repeat_penalty", BOTH, REAL(SAMPLING(repetition_penalty), IS(0), IS(10), IS(1))},
    {"repetition_penalty", BOTH, REAL(SAMPLING(repetition_penalty), IS(0), IS(10), IS(1))},
    /* Before penalty_decay, whose default it changes. */
    {"sampler_order", BOTH, OWN(openai_sampling_read_order)},
    {"penalty_decay", BOTH, REAL(SAMPLING(penalty_decay), IS(0), IS(1), IS(1))},
    {"logit_bias", BOTH, OWN(openai_sampling_read_logit_bias)},
    {"seed", BOTH, OWN(openai_sampling_read_seed)},

    {"logprobs", COMPLETIONS, OWN(openai_sampling_read_logprobs)},
    {"logprobs", CHAT, BOOL(AT(chat_logprobs))},
    {"top_logprobs", CHAT, INTEGER(AT(top_logprobs), IS(0), IS(LIMIT_TOP_LOGPROBS), IS(0))},
    {"stream", BOTH, BOOL(IN_PARAMS(stream))},
    {"stream_options", BOTH, OWN(read_stream_options)},
    {"response_format", BOTH, OWN(read_response_format)},

    {"echo", COMPLETIONS, REFUSED},
    {"suffix", COMPLETIONS, REFUSED},
    {"tools", CHAT, REFUSED},
    {"functions", CHAT, REFUSED},
};
/* clang-format on */

enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static double smaller(double left, double right)
{
    return left < right ? left : right;
}

static double number_value(const struct openai_reading *reading, struct number number)
{
    const struct config *config = reading->options->config;
    const struct server_model *model = reading->options->model;
    switch (number.source) {
    case NUMBER_CONSTANT:
        return number.value;
    case NUMBER_TEMPERATURE:
        return model->temperature_default;
    case NUMBER_TOP_P:
        return model->top_p_default;
    case NUMBER_CHAT_TOKENS:
        return (double)config->max_tokens_default;
    case NUMBER_MAX_TOKENS:
        return (double)config->max_tokens_limit;
    case NUMBER_MAX_N:
        return smaller((double)config->max_n, (double)model->slot_count);
    }
    return 0;
}

static void store(struct openai_reading *reading, const struct field *field, double value)
{
    void *member = (char *)reading + field->offset;
    switch (field->type) {
    case FIELD_BOOL:
        *(bool *)member = value > 0;
        break;
    case FIELD_INTEGER:
        *(uint32_t *)member = value < 0 ? 0 : (uint32_t)value;
        break;
    case FIELD_REAL:
        *(float *)member = (float)value;
        break;
    case FIELD_OWN:
        break;
    }
}

static enum error_code read_value(struct openai_reading *reading, const struct field *field,
                                  struct json_value value)
{
    const double min = number_value(reading, field->min);
    const double max = number_value(reading, field->max);
    double number = 0;
    int64_t integer = 0;
    bool truth = false;
    enum error_code code = ERROR_NONE;
    switch (field->type) {
    case FIELD_BOOL:
        code = json_reader_bool(&reading->json, value, &truth, &reading->error);
        number = truth ? 1 : 0;
        break;
    case FIELD_INTEGER:
        code = json_reader_integer(&reading->json, value, (int64_t)min, (int64_t)max, &integer,
                                   &reading->error);
        number = (double)integer;
        break;
    case FIELD_REAL:
        code = json_reader_real(&reading->json, value, min, max, &number, &reading->error);
        break;
    case FIELD_OWN:
        return field->read(reading, value);
    }
    if (code == ERROR_NONE) {
        store(reading, field, number);
    }
    return code;
}

/* ---- Fields that are neither prompt nor sampling ---- */

static enum error_code read_model(struct openai_reading *reading, struct json_value value)
{
    const char *served = reading->options->model->id;
    struct text name;
    const enum error_code code = json_reader_string(&reading->json, value, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, text_from(served))) {
        return code;
    }
    return json_reader_fail(&reading->json, value, NULL, ERROR_NOT_FOUND, &reading->error,
                            "'%.128s' does not exist, this server has '%s'", name.bytes, served);
}

static enum error_code read_stream_options(struct openai_reading *reading, struct json_value value)
{
    const enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    const struct json_value usage = json_reader_member(value, "include_usage");
    if (code != ERROR_NONE || usage.node == NULL) {
        return code;
    }
    return json_reader_bool(&reading->json, usage, &reading->params.usage_in_stream,
                            &reading->error);
}

static enum error_code read_response_format(struct openai_reading *reading, struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const struct json_value type = json_reader_member(value, "type");
    if (type.node == NULL) {
        return OPENAI_READING_REFUSE_MEMBER(reading, value, "type", "is required");
    }
    struct text name;
    code = json_reader_string(&reading->json, type, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, TEXT("text"))) {
        return code;
    }
    return OPENAI_READING_REFUSE(
        reading, type, "'%.32s' is not supported by this version, only 'text' is", name.bytes);
}

/* Clients send false, "" and [] for what they do not use. */
static enum error_code refuse_unless_empty(struct openai_reading *reading, struct json_value value)
{
    enum error_code code = ERROR_NONE;
    bool is_empty = false;
    const enum json_type type = json_reader_type(value);
    if (type == JSON_TYPE_BOOL) {
        bool truth;
        code = json_reader_bool(&reading->json, value, &truth, &reading->error);
        is_empty = !truth;
    } else if (type == JSON_TYPE_STRING) {
        struct text text;
        code = json_reader_string(&reading->json, value, &text, &reading->error);
        is_empty = text.len == 0;
    } else if (type == JSON_TYPE_ARRAY) {
        is_empty = json_reader_count(value) == 0;
    }
    if (code != ERROR_NONE || is_empty) {
        return code;
    }
    return OPENAI_READING_REFUSE(reading, value, "not supported by this version");
}

/* ---- The whole request ---- */

static void set_defaults(struct openai_reading *reading)
{
    for (size_t index = 0; index < FIELD_COUNT; index++) {
        const struct field *field = &fields[index];
        if ((field->endpoints & reading->params.endpoint) != 0) {
            store(reading, field, number_value(reading, field->fallback));
        }
    }
    struct sampling *sampling = &reading->params.sampling;
    const uint32_t limit = (uint32_t)reading->options->config->max_tokens_limit;
    sampling->max_tokens = sampling->max_tokens > limit ? limit : sampling->max_tokens;
    sampling->logprobs_wanted = -1;
}

static const char *prompt_field(enum openai_endpoint endpoint)
{
    switch (endpoint) {
    case OPENAI_COMPLETIONS:
    case OPENAI_TOKENIZE:
        return "prompt";
    case OPENAI_CHAT:
        return "messages";
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
    if (params->prompt.kind == OPENAI_PROMPT_ABSENT) {
        return OPENAI_READING_REFUSE_MEMBER(reading, root, prompt_field(params->endpoint),
                                            "is required");
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
    if (params->sampling.min_tokens > params->sampling.max_tokens) {
        return OPENAI_READING_REFUSE_MEMBER(
            reading, root, "min_tokens", "%u, more than max_tokens = %u",
            (unsigned)params->sampling.min_tokens, (unsigned)params->sampling.max_tokens);
    }
    return ERROR_NONE;
}

/* Turns what the fields say together into what the engine expects. */
static void settle(struct openai_reading *reading)
{
    struct openai_params *params = &reading->params;
    struct sampling *sampling = &params->sampling;
    if (reading->chat_logprobs) {
        sampling->logprobs_wanted = (int32_t)reading->top_logprobs;
    }
    if (sampling->top_p <= 0) {
        sampling->top_p = FLT_MIN; /* The most likely token only; 0 means all to the sampler. */
    }
    /* Who ignores the end of text wants max_tokens tokens, not one turn. */
    if (params->endpoint == OPENAI_CHAT && !sampling->ignore_eos) {
        const struct text *stops;
        const uint32_t count = chat_template_stops(reading->options->model->chat_template, &stops);
        for (uint32_t index = 0; index < count; index++) {
            params->stops[params->stop_count++] = stops[index];
        }
    }
}

static enum error_code read_fields(struct openai_reading *reading)
{
    const struct json_value root = json_reader_root(&reading->json);
    for (size_t index = 0; index < FIELD_COUNT; index++) {
        const struct field *field = &fields[index];
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
    return check_together(reading);
}

bool openai_params_read(enum openai_endpoint endpoint, struct text body,
                        const struct server_options *options, struct arena *arena,
                        struct openai_params *params_out, struct openai_error *error_out)
{
    struct openai_reading reading = {
        .options = options, .arena = arena, .params = {.endpoint = endpoint}};
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
