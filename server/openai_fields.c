/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openai_fields.c - THE TABLE of request fields: name, endpoints, range, default, help.
 *
 * Fields that are not in it are ignored. Those that are more than a number in a range are read by
 * openai_prompt.c, openai_sampling.c and openai_modes.c; what only one API has, by
 * responses_input.c and messages_input.c. Thread: any. */
#include "server/openai_fields.h"

#include "server/messages_input.h"
#include "server/responses_input.h"

/* clang-format off */
#define AT(member) offsetof(struct openai_reading, member)
#define IN_PARAMS(member) AT(params.member)
#define SAMPLING(member) AT(params.sampling.member)
#define IS(number) {OPENAI_NUMBER_CONSTANT, number}
#define TEMPERATURE {OPENAI_NUMBER_TEMPERATURE, 0}
#define TOP_P {OPENAI_NUMBER_TOP_P, 0}
#define CHAT_TOKENS {OPENAI_NUMBER_CHAT_TOKENS, 0}
#define FEW_TOKENS {OPENAI_NUMBER_FEW_TOKENS, 16} /* OpenAI's default. */
#define MAX_TOKENS {OPENAI_NUMBER_MAX_TOKENS, 0}
#define MAX_N {OPENAI_NUMBER_MAX_N, 0}

/* The columns behind name, endpoints and help: where it goes, smallest and largest value, default;
 * or the reader, what it takes, and the same as JSON Schema. */
#define BOOL(offset) OPENAI_FIELD_BOOL, offset, .fallback = IS(0)
#define INTEGER(...) OPENAI_FIELD_INTEGER, __VA_ARGS__
#define OPTIONAL(...) OPENAI_FIELD_OPTIONAL, __VA_ARGS__, .fallback = IS(-1)
#define REAL(...) OPENAI_FIELD_REAL, __VA_ARGS__
#define OWN(function, text, ...) OPENAI_FIELD_OWN, .read = function, .shape = text, \
    .schema = #__VA_ARGS__
#define REFUSED OPENAI_FIELD_REFUSED, .read = openai_modes_refuse, .shape = "empty", \
    .schema = "{\"enum\":[false,\"\",[]]}"
#define OLD OPENAI_FIELD_REFUSED, .read = openai_tools_refuse_functions, .shape = "empty", \
    .schema = "{\"enum\":[false,\"\",[]]}"
#define IGNORED OPENAI_FIELD_IGNORED

enum {
    COMPLETIONS = OPENAI_COMPLETIONS,
    CHAT = OPENAI_CHAT,
    TOKENIZE = OPENAI_TOKENIZE,
    DETOKENIZE = OPENAI_DETOKENIZE,
    BOTH = COMPLETIONS | CHAT,
    TEMPLATE = OPENAI_TEMPLATE,
    TEXTS = CHAT | TOKENIZE | TEMPLATE,
    RESPONSES = OPENAI_RESPONSES,
    INPUTS = RESPONSES | OPENAI_RESPONSES_COUNT,
    MESSAGES = OPENAI_MESSAGES,
    CLAUDES = MESSAGES | OPENAI_MESSAGES_COUNT,
    GENERATIONS = OPENAI_GENERATIONS,
    ALL = GENERATIONS | TEXTS | INPUTS | CLAUDES | DETOKENIZE,
};

#define OTHERS "not supported: use response_format or structured_outputs"

/* Read from top to bottom; of two rows for one member the later one wins. The bounds without an
 * option are OpenAI's, or wide enough for any use. Limits in schemas are those of base/limits.h:
 * the unit test compares them. */
static const struct openai_field fields[] = {
    {"model", ALL, "the model's id; another one is a 404",
     OWN(openai_modes_read_model, "the served model", {"$ref":"#/components/schemas/ModelId"})},
    {"prompt", COMPLETIONS, "required; each prompt gets n answers, index = prompt * n + answer",
     OWN(openai_prompt_read, "text, token ids, or up to 128 of either",
         {"$ref":"#/components/schemas/Prompts"})},
    {"prompt", TOKENIZE, "the text, also as content or text",
     OWN(openai_prompt_read, "text", {"$ref":"#/components/schemas/Prompt"})},
    {"content", TOKENIZE, "as prompt",
     OWN(openai_prompt_read, "text", {"$ref":"#/components/schemas/Prompt"})},
    {"text", TOKENIZE, "as prompt",
     OWN(openai_prompt_read, "text", {"$ref":"#/components/schemas/Prompt"})},
    {"messages", TEXTS, "required for chat; roles system, developer, user, assistant, tool, "
     "function; content is text or parts of type text; tool_calls, tool_call_id",
     OWN(openai_prompt_read_messages, "up to 1024 messages",
         {"type":"array","minItems":1,"maxItems":1024,
          "items":{"$ref":"#/components/schemas/Message"}})},
    {"continue_final_message", TEXTS, "the last message is the assistant's and is continued",
     BOOL(IN_PARAMS(prompt.continue_final_message))},
    {"add_generation_prompt", TEXTS, "false: the prompt ends after the last message",
     OWN(openai_modes_read_generation_prompt, "boolean, default true", {"type":"boolean"})},
    {"reasoning_effort", TEXTS, "G1 models: none closes the think block, others ask to think a "
     "bit (minimal, low), medium, or a lot (high, xhigh)",
     OWN(openai_modes_read_effort, "none, minimal, low, medium, high or xhigh",
         {"type":"string","enum":["none","minimal","low","medium","high","xhigh"]})},
    {"chat_template_kwargs", TEXTS | INPUTS | CLAUDES,
     "enable_thinking, for G1 models; others are ignored",
     OWN(openai_modes_read_template_options, "object",
         {"type":"object","properties":{"enable_thinking":{"type":["boolean","null"]}}})},
    {"tokens", DETOKENIZE, "required",
     OWN(openai_prompt_read_tokens, "token ids",
         {"type":"array","items":{"$ref":"#/components/schemas/TokenId"}})},

    /* Before input and messages: what they say comes first. */
    {"instructions", INPUTS, "the system's message, before the input",
     OWN(responses_input_read_instructions, "text or text parts",
         {"$ref":"#/components/schemas/InputContent"})},
    {"input", INPUTS, "required; a message, or items: messages, function_call, "
     "function_call_output, reasoning (skipped)",
     OWN(responses_input_read, "text or items",
         {"anyOf":[{"type":"string"},
                   {"type":"array","minItems":1,
                    "items":{"$ref":"#/components/schemas/InputItem"}}]})},
    {"reasoning", INPUTS, "effort: as reasoning_effort",
     OWN(responses_input_read_reasoning, "object",
         {"type":"object","properties":{"effort":{
             "enum":["none","minimal","low","medium","high","xhigh",null]}}})},
    {"system", CLAUDES, "text before the messages",
     OWN(messages_input_read_system, "text or text blocks",
         {"anyOf":[{"type":"string"},
                   {"type":"array","items":{"$ref":"#/components/schemas/TextBlock"}}]})},
    {"messages", CLAUDES, "required; roles user and assistant; a last one of the assistant's is "
     "continued; blocks text, tool_use, tool_result and thinking (skipped)",
     OWN(messages_input_read, "messages",
         {"type":"array","minItems":1,"maxItems":1024,
          "items":{"$ref":"#/components/schemas/Turn"}})},
    {"thinking", CLAUDES, "G1 models: whether to think first; budgets are ignored",
     OWN(messages_input_read_thinking, "type: enabled, disabled or adaptive",
         {"type":"object","required":["type"],
          "properties":{"type":{"type":"string","enum":["enabled","disabled","adaptive"]}}})},

    {"max_tokens", COMPLETIONS, "longest answer; 0 with echo only scores the prompt",
     INTEGER(SAMPLING(max_tokens), IS(0), MAX_TOKENS, FEW_TOKENS)},
    {"max_tokens", CHAT, "longest answer",
     INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"max_completion_tokens", CHAT, "the newer name, which wins",
     INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"max_output_tokens", RESPONSES, "longest answer",
     INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"max_tokens", MESSAGES, "required; longest answer",
     INTEGER(SAMPLING(max_tokens), IS(1), MAX_TOKENS, CHAT_TOKENS)},
    {"min_tokens", GENERATIONS, "no end of text and no stop token before; at most max_tokens",
     INTEGER(SAMPLING(min_tokens), IS(0), MAX_TOKENS, IS(0))},
    {"ignore_eos", GENERATIONS, "the end of text does not end the answer",
     BOOL(SAMPLING(ignore_eos))},
    {"stop", BOTH | RESPONSES, "each at most 256 bytes; ends the answer and is not part of it",
     OWN(openai_sampling_read_stop, "a string or up to 4",
         {"anyOf":[{"type":"string","maxLength":256},
                   {"type":"array","maxItems":4,"items":{"type":"string","maxLength":256}}]})},
    {"stop_sequences", MESSAGES, "as stop",
     OWN(openai_sampling_read_stop, "a string or up to 4",
         {"anyOf":[{"type":"string","maxLength":256},
                   {"type":"array","maxItems":4,"items":{"type":"string","maxLength":256}}]})},
    {"stop_token_ids", GENERATIONS, "tokens that end the answer",
     OWN(openai_sampling_read_stop_tokens, "up to 64 token ids",
         {"type":"array","maxItems":64,"items":{"$ref":"#/components/schemas/TokenId"}})},
    {"include_stop_str_in_output", BOTH | RESPONSES, "a string of stop stays in the answer",
     BOOL(AT(stop_included))},
    {"n", BOTH, "answers to each prompt", INTEGER(IN_PARAMS(choice_count), IS(1), MAX_N, IS(1))},
    {"best_of", COMPLETIONS, "not supported: only the value of n is accepted",
     INTEGER(AT(best_of), IS(0), IS(LIMIT_CHOICES), IS(0))},

    {"temperature", GENERATIONS, "0 is greedy",
     REAL(SAMPLING(temperature), IS(0), IS(2), TEMPERATURE)},
    {"top_p", GENERATIONS, "nucleus sampling", REAL(SAMPLING(top_p), IS(0), IS(1), TOP_P)},
    {"top_k", GENERATIONS, "0 and -1: all", INTEGER(SAMPLING(top_k), IS(-1), IS(INT32_MAX), IS(0))},
    {"min_p", GENERATIONS, "share of the likeliest token's probability that others need",
     REAL(SAMPLING(min_p), IS(0), IS(1), IS(0))},
    {"presence_penalty", GENERATIONS, "taken once off a token that the answer has",
     REAL(SAMPLING(presence_penalty), IS(-2), IS(2), IS(0))},
    {"frequency_penalty", GENERATIONS, "taken off for each time that the answer has it",
     REAL(SAMPLING(frequency_penalty), IS(-2), IS(2), IS(0))},
    {"repeat_penalty", GENERATIONS, "llama.cpp's name of repetition_penalty, which wins",
     REAL(SAMPLING(repetition_penalty), IS(0), IS(10), IS(1))},
    {"repetition_penalty", GENERATIONS,
     "divides the logits of tokens of prompt and answer; 1: none",
     REAL(SAMPLING(repetition_penalty), IS(0), IS(10), IS(1))},
    /* Before penalty_decay, whose default it changes. */
    {"sampler_order", GENERATIONS, "rwkv: the reference sampler's order, penalty_decay 0.996",
     OWN(openai_sampling_read_order, "openai or rwkv",
         {"type":"string","enum":["openai","rwkv"]})},
    {"penalty_decay", GENERATIONS, "in rwkv order, counts shrink by it with every token",
     REAL(SAMPLING(penalty_decay), IS(0), IS(1), IS(1))},
    {"logit_bias", GENERATIONS, "token id to -100..100, up to 1024; -100 forbids",
     OWN(openai_sampling_read_logit_bias, "object",
         {"type":"object","maxProperties":1024,"propertyNames":{"pattern":"^(0|[1-9][0-9]*)$"},
          "additionalProperties":{"type":"number","minimum":-100,"maximum":100}})},
    {"seed", GENERATIONS, "same seed, same answer; drawn when absent",
     OWN(openai_sampling_read_seed, "integer of 64 bits",
         {"type":"integer","minimum":-9223372036854775808,"maximum":18446744073709551615})},

    {"logprobs", COMPLETIONS, "log-probabilities, and so many alternatives; with echo the "
     "prompt's too",
     OPTIONAL(IN_PARAMS(logprobs), IS(0), IS(5))},
    {"logprobs", CHAT, "log-probabilities of the answer's tokens", BOOL(AT(chat_logprobs))},
    {"top_logprobs", CHAT, "alternatives of each; needs logprobs",
     INTEGER(AT(top_logprobs), IS(0), IS(LIMIT_TOP_LOGPROBS), IS(0))},
    {"prompt_logprobs", BOTH, "log-probabilities of the prompt in vLLM's form; not with stream",
     OPTIONAL(IN_PARAMS(prompt_logprobs), IS(0), IS(LIMIT_TOP_LOGPROBS))},
    {"echo", COMPLETIONS, "the answer begins with the prompt", BOOL(IN_PARAMS(echo))},
    {"return_token_ids", BOTH, "token_ids in every choice; not streamed: prompt_token_ids too",
     BOOL(IN_PARAMS(token_ids))},
    {"return_tokens_as_token_ids", BOTH, "logprobs show token_id:123 instead of text",
     BOOL(IN_PARAMS(tokens_as_ids))},
    {"stream", GENERATIONS, "answer as an event stream", BOOL(IN_PARAMS(stream))},
    {"stream_options", BOTH | RESPONSES, "include_usage: a last event with the usage",
     OWN(openai_modes_read_stream_options, "object",
         {"type":"object","properties":{
             "include_usage":{"type":["boolean","null"]},
             "include_obfuscation":{"type":["boolean","null"]},
             "continuous_usage_stats":{"enum":[false,null]}}})},

    {"response_format", BOTH, "json_object: any JSON object; json_schema: json_schema.schema, the "
     "subset of strict mode; strict: additionalProperties must be said",
     OWN(openai_structured_read_format, "type: text, json_object or json_schema",
         {"$ref":"#/components/schemas/ResponseFormat"})},
    {"structured_outputs", BOTH, "the answer is one of choice, matches the whole regex, or is JSON "
     "of a schema, or any JSON object",
     OWN(openai_structured_read_outputs, "one of choice, regex, json, json_object",
         {"$ref":"#/components/schemas/StructuredOutputs"})},
    {"tools", TEXTS, "functions that the model may call: type function, with name, description, "
     "parameters (a schema, the subset of response_format) and strict",
     OWN(openai_tools_read, "up to 128 functions",
         {"type":"array","maxItems":128,"items":{"$ref":"#/components/schemas/Tool"}})},
    {"tools", INPUTS, "the same, with name, description, parameters and strict beside type",
     OWN(openai_tools_read, "up to 128 functions",
         {"type":"array","maxItems":128,"items":{"$ref":"#/components/schemas/FlatTool"}})},
    {"tools", CLAUDES, "the same, with name, description and input_schema",
     OWN(openai_tools_read, "up to 128 functions",
         {"type":"array","maxItems":128,"items":{"$ref":"#/components/schemas/ClaudeTool"}})},
    {"tool_choice", TEXTS, "required and a function: the answer is calls and nothing else",
     OWN(openai_tools_read_choice, "none, auto, required or a function",
         {"$ref":"#/components/schemas/ToolChoice"})},
    {"tool_choice", INPUTS, "the same; a function is {type: function, name}",
     OWN(openai_tools_read_choice, "none, auto, required or a function",
         {"$ref":"#/components/schemas/FlatToolChoice"})},
    {"tool_choice", CLAUDES, "any and tool: the answer is calls and nothing else; "
     "disable_parallel_tool_use: at most one",
     OWN(openai_tools_read_choice, "type: auto, any, tool with name, or none",
         {"$ref":"#/components/schemas/ClaudeToolChoice"})},
    {"parallel_tool_calls", CHAT | INPUTS, "false: at most one call in an answer, else 16",
     OWN(openai_tools_read_parallel, "boolean, default true", {"type":"boolean"})},
    {"functions", CHAT, "not supported: the form before tools", OLD},
    {"function_call", CHAT, "not supported: the form before tool_choice", OLD},
    {"guided_json", BOTH, OTHERS, REFUSED},
    {"guided_regex", BOTH, OTHERS, REFUSED},
    {"guided_choice", BOTH, OTHERS, REFUSED},
    {"guided_grammar", BOTH, OTHERS, REFUSED},
    {"grammar", BOTH, OTHERS, REFUSED},
    {"json_schema", BOTH, OTHERS, REFUSED},
    {"text", INPUTS, "format: as response_format, with name, schema and strict beside type",
     OWN(responses_input_read_format, "object",
         {"type":"object","properties":{
             "format":{"anyOf":[{"type":"null"},{"$ref":"#/components/schemas/TextFormat"}]}}})},
    {"top_logprobs", RESPONSES, "only 0 in this version",
     INTEGER(AT(top_logprobs), IS(0), IS(0), IS(0))},
    {"previous_response_id", INPUTS, "refused: nothing is kept, send the whole conversation",
     OWN(responses_input_refuse_state, "null", {"type":"null"})},
    {"conversation", INPUTS, "as previous_response_id",
     OWN(responses_input_refuse_state, "null", {"type":"null"})},
    {"background", RESPONSES, "not supported: nothing is kept", REFUSED},
    {"prompt", INPUTS, "not supported: nothing is kept", REFUSED},
    {"suffix", COMPLETIONS, "not supported: RWKV-7 models do not fill in", REFUSED},

    {"user", BOTH | RESPONSES, "ignored", IGNORED},
    {"metadata", BOTH | MESSAGES, "ignored", IGNORED},
    {"metadata", RESPONSES, "repeated in the reply",
     OWN(responses_input_read_metadata, "up to 16 strings by name",
         {"type":"object","maxProperties":16,"propertyNames":{"maxLength":64},
          "additionalProperties":{"type":"string","maxLength":512}})},
    {"store", BOTH, "ignored", IGNORED},
    {"store", RESPONSES, "ignored: nothing is kept, and replies say false", IGNORED},
    {"service_tier", BOTH | RESPONSES, "ignored", IGNORED},
    {"safety_identifier", BOTH | RESPONSES, "ignored", IGNORED},
    {"prompt_cache_key", BOTH | RESPONSES, "ignored", IGNORED},
    {"prompt_cache_options", BOTH, "ignored", IGNORED},
    {"prompt_cache_retention", BOTH | RESPONSES, "ignored", IGNORED},
    {"include", RESPONSES, "ignored", IGNORED},
    {"truncation", INPUTS, "ignored", IGNORED},
    {"max_tool_calls", RESPONSES, "ignored", IGNORED},
    {"service_tier", MESSAGES, "ignored", IGNORED},
    {"verbosity", CHAT, "ignored", IGNORED},
    {"moderation", BOTH, "ignored", IGNORED},
    {"modalities", CHAT, "ignored", IGNORED},
    {"audio", CHAT, "ignored", IGNORED},
    {"prediction", CHAT, "ignored", IGNORED},
    {"web_search_options", CHAT, "ignored", IGNORED},
    {"skip_special_tokens", BOTH, "ignored", IGNORED},
    {"spaces_between_special_tokens", BOTH, "ignored", IGNORED},
    {"add_special_tokens", ALL, "ignored", IGNORED},
};
/* clang-format on */

size_t openai_fields_count(void)
{
    return sizeof(fields) / sizeof(fields[0]);
}

const struct openai_field *openai_fields_at(size_t index)
{
    ASSERT_COMPARE(index, <, openai_fields_count());
    return &fields[index];
}

static double smaller(double left, double right)
{
    return left < right ? left : right;
}

double openai_fields_number(struct openai_number number, const struct server_options *options)
{
    const struct config *config = options->config;
    const struct server_model *model = options->model;
    const double limit = (double)config->max_tokens_limit;
    switch (number.source) {
    case OPENAI_NUMBER_CONSTANT:
        return number.value;
    case OPENAI_NUMBER_TEMPERATURE:
        return model->temperature_default;
    case OPENAI_NUMBER_TOP_P:
        return model->top_p_default;
    case OPENAI_NUMBER_CHAT_TOKENS:
        return smaller((double)config->max_tokens_default, limit);
    case OPENAI_NUMBER_FEW_TOKENS:
        return smaller(number.value, limit);
    case OPENAI_NUMBER_MAX_TOKENS:
        return limit;
    case OPENAI_NUMBER_MAX_N:
        return smaller((double)config->max_n, (double)model->slot_count);
    }
    return 0;
}

const char *openai_fields_option(struct openai_number number)
{
    switch (number.source) {
    case OPENAI_NUMBER_CONSTANT:
    case OPENAI_NUMBER_FEW_TOKENS:
        return NULL;
    case OPENAI_NUMBER_TEMPERATURE:
        return "--temperature";
    case OPENAI_NUMBER_TOP_P:
        return "--top-p";
    case OPENAI_NUMBER_CHAT_TOKENS:
        return "--max-tokens-default";
    case OPENAI_NUMBER_MAX_TOKENS:
        return "--max-tokens-limit";
    case OPENAI_NUMBER_MAX_N:
        return "--max-n";
    }
    return NULL;
}
