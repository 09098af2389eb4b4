/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_sampling.c - the sampling and stop fields that are more than a number in a range.
 *
 * The plain ones need no code: they are rows of the table in openai_fields.c. Thread: any. */
#include "base/limits.h"
#include "engine/tokenizer.h"
#include "server/openai_reading.h"

#define RWKV_PENALTY_DECAY 0.996f /* A token; of the reference sampler. */

enum error_code openai_sampling_read_seed(struct openai_reading *reading, struct json_value value)
{
    const enum error_code code = json_reader_bits(
        &reading->json, value, &reading->params.sampling.seed, &reading->error);
    reading->params.seed_given = code == ERROR_NONE;
    return code;
}

enum error_code openai_sampling_read_order(struct openai_reading *reading, struct json_value value)
{
    struct text name;
    const enum error_code code = json_reader_string(&reading->json, value, &name, &reading->error);
    if (code != ERROR_NONE || text_equals(name, TEXT("openai"))) {
        return code;
    }
    if (!text_equals(name, TEXT("rwkv"))) {
        return OPENAI_READING_REFUSE(reading, value, "'%.32s', must be 'openai' or 'rwkv'",
                                     name.bytes);
    }
    reading->params.sampling.order = SAMPLING_ORDER_RWKV;
    reading->params.sampling.penalty_decay = RWKV_PENALTY_DECAY;
    return ERROR_NONE;
}

/* One member of logit_bias: the token id is its name. */
static enum error_code read_bias(struct openai_reading *reading, struct json_value value,
                                 struct sampling_bias *bias_out)
{
    const struct text name = json_reader_name(value);
    int64_t token;
    if (!text_to_int64(name, &token) || token >= (int64_t)reading->options->model->token_count ||
        !tokenizer_has(reading->options->tokenizer, token)) {
        return OPENAI_READING_REFUSE(reading, value, "the vocabulary has no token '%.32s'",
                                     name.bytes);
    }
    double bias;
    const enum error_code code =
        json_reader_real(&reading->json, value, -100, 100, &bias, &reading->error);
    if (code == ERROR_NONE) {
        *bias_out = (struct sampling_bias){.token = (int32_t)token, .bias = (float)bias};
    }
    return code;
}

enum error_code openai_sampling_read_logit_bias(struct openai_reading *reading,
                                                struct json_value value)
{
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_OBJECT, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    if (count > LIMIT_LOGIT_BIAS) {
        return OPENAI_READING_REFUSE(reading, value, "%u tokens, at most %d", (unsigned)count,
                                     LIMIT_LOGIT_BIAS);
    }
    struct sampling_bias *biases = arena_alloc(reading->arena, count * sizeof(*biases));
    if (biases == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    uint32_t index = 0;
    for (struct json_value bias = json_reader_first(value); bias.node != NULL && code == ERROR_NONE;
         bias = json_reader_next(bias)) {
        code = read_bias(reading, bias, &biases[index++]);
    }
    reading->params.sampling.bias = biases;
    reading->params.sampling.bias_count = count;
    return code;
}

/* An empty stop string would stop at once; clients send it for none. */
static enum error_code add_stop(struct openai_reading *reading, struct json_value value)
{
    struct text stop;
    const enum error_code code = json_reader_string(&reading->json, value, &stop, &reading->error);
    if (code != ERROR_NONE || stop.len == 0) {
        return code;
    }
    if (stop.len > LIMIT_STOP_STRING_BYTES) {
        return OPENAI_READING_REFUSE(reading, value, "%zu bytes, at most %d", stop.len,
                                     LIMIT_STOP_STRING_BYTES);
    }
    const struct text copy = arena_copy(reading->arena, stop);
    if (copy.bytes == NULL) {
        return OPENAI_READING_NO_MEMORY(reading, value);
    }
    reading->params.stops[reading->params.stop_count++] = copy;
    return ERROR_NONE;
}

enum error_code openai_sampling_read_stop(struct openai_reading *reading, struct json_value value)
{
    if (json_reader_type(value) == JSON_TYPE_STRING) {
        return add_stop(reading, value);
    }
    if (json_reader_type(value) != JSON_TYPE_ARRAY) {
        return OPENAI_READING_REFUSE(reading, value, "must be a string or an array of strings");
    }
    const uint32_t count = json_reader_count(value);
    if (count > LIMIT_STOP_STRINGS) {
        return OPENAI_READING_REFUSE(reading, value, "%u strings, at most %d", (unsigned)count,
                                     LIMIT_STOP_STRINGS);
    }
    enum error_code code = ERROR_NONE;
    for (struct json_value stop = json_reader_first(value); stop.node != NULL && code == ERROR_NONE;
         stop = json_reader_next(stop)) {
        code = add_stop(reading, stop);
    }
    return code;
}

enum error_code openai_sampling_read_stop_tokens(struct openai_reading *reading,
                                                 struct json_value value)
{
    struct sampling *sampling = &reading->params.sampling;
    enum error_code code =
        json_reader_expect(&reading->json, value, JSON_TYPE_ARRAY, &reading->error);
    if (code != ERROR_NONE) {
        return code;
    }
    const uint32_t count = json_reader_count(value);
    if (count > LIMIT_STOP_TOKENS) {
        return OPENAI_READING_REFUSE(reading, value, "%u tokens, at most %d", (unsigned)count,
                                     LIMIT_STOP_TOKENS);
    }
    for (struct json_value token = json_reader_first(value);
         token.node != NULL && code == ERROR_NONE; token = json_reader_next(token)) {
        code = openai_prompt_read_token(reading, token,
                                        &sampling->stop_tokens[sampling->stop_token_count++]);
    }
    return code;
}
