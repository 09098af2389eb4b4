/* SPDX-License-Identifier: Apache-2.0
 *
 * At stake: a request means what OpenAI says it means, and a wrong one names the field at fault.
 * Shown by: bodies with every field at its limits and past them, read into parameters. */
#include <check.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "params_case.h"

static void assert_real(double value, double expected)
{
    ck_assert_double_eq_tol(value, expected, 1e-6);
}

START_TEST(openai_params_uses_defaults_when_nothing_is_said)
{
    accept(OPENAI_COMPLETIONS, "");
    ck_assert_uint_eq(params.sampling.max_tokens, 16);
    assert_real(params.sampling.temperature, 0.7);
    assert_real(params.sampling.top_p, 0.5);
    assert_real(params.sampling.repetition_penalty, 1);
    assert_real(params.sampling.penalty_decay, 1);
    ck_assert_int_eq(params.sampling.order, SAMPLING_ORDER_OPENAI);
    ck_assert_int_eq(params.sampling.logprobs_wanted, -1);
    ck_assert_uint_eq(params.choice_count, 1);
    ck_assert_uint_eq(params.stop_count, 0);
    ck_assert(!params.seed_given && !params.stream && !params.usage_in_stream);
    accept(OPENAI_CHAT, "");
    ck_assert_uint_eq(params.sampling.max_tokens, 100);
}
END_TEST

START_TEST(openai_params_lowers_a_default_when_the_limit_is_lower)
{
    server.config.max_tokens_limit = 10;
    accept(OPENAI_COMPLETIONS, "");
    ck_assert_uint_eq(params.sampling.max_tokens, 10);
}
END_TEST

START_TEST(openai_params_ignores_fields_when_unknown_or_null)
{
    accept(OPENAI_CHAT,
           "\"user\":\"me\",\"metadata\":{\"a\":\"b\"},\"store\":true,\"service_tier\":\"auto\","
           "\"made_up\":[1,{}],\"temperature\":null,\"n\":null,\"max_tokens\":null,\"stop\":null,"
           "\"seed\":null,\"tools\":[],\"tool_choice\":\"none\",\"stream_options\":null,"
           "\"response_format\":{\"type\":\"text\"},\"prediction\":null,\"model\":null");
    assert_real(params.sampling.temperature, 0.7);
    accept(OPENAI_COMPLETIONS, "\"echo\":false,\"suffix\":\"\",\"best_of\":1,\"logprobs\":null");
}
END_TEST

static const struct {
    const char *name, *lowest, *highest, *below, *above, *message;
} ranges[] = {
    {"temperature", "0", "2", "-0.1", "2.1", "allowed 0 to 2"},
    {"top_p", "0", "1", "-0.1", "1.1", "allowed 0 to 1"},
    {"min_p", "0", "1", "-0.1", "1.1", "allowed 0 to 1"},
    {"top_k", "-1", "2147483647", "-2", "2147483648", "allowed -1 to 2147483647"},
    {"presence_penalty", "-2", "2", "-2.1", "2.1", "allowed -2 to 2"},
    {"frequency_penalty", "-2", "2", "-2.1", "2.1", "allowed -2 to 2"},
    {"repetition_penalty", "0", "10", "-0.1", "10.1", "allowed 0 to 10"},
    {"penalty_decay", "0", "1", "-0.1", "1.1", "allowed 0 to 1"},
    {"min_tokens", "0", "16", "-1", "1001", "allowed 0 to 1000"},
    {"n", "1", "4", "0", "5", "allowed 1 to 4"},
    {"seed", "-9223372036854775808", "18446744073709551615", "-1e19", "1e20", "allowed"},
};

START_TEST(openai_params_refuses_a_number_when_out_of_range)
{
    static const enum openai_endpoint endpoints[] = {OPENAI_COMPLETIONS, OPENAI_CHAT};
    for (size_t index = 0; index < 2; index++) {
        char member[128];
        snprintf(member, sizeof(member), "\"%s\":%s", ranges[_i].name, ranges[_i].lowest);
        accept(endpoints[index], member);
        snprintf(member, sizeof(member), "\"%s\":%s", ranges[_i].name, ranges[_i].highest);
        accept(endpoints[index], member);
        snprintf(member, sizeof(member), "\"%s\":%s", ranges[_i].name, ranges[_i].below);
        refuse(endpoints[index], member, ranges[_i].name, ranges[_i].message);
        snprintf(member, sizeof(member), "\"%s\":%s", ranges[_i].name, ranges[_i].above);
        refuse(endpoints[index], member, ranges[_i].name, ranges[_i].message);
        snprintf(member, sizeof(member), "\"%s\":\"1\"", ranges[_i].name);
        refuse(endpoints[index], member, ranges[_i].name, "must be a number");
        snprintf(member, sizeof(member), "\"%s\":1e999", ranges[_i].name);
        refuse(endpoints[index], member, ranges[_i].name, "inf");
    }
}
END_TEST

START_TEST(openai_params_takes_an_integer_when_written_as_a_float)
{
    accept(OPENAI_COMPLETIONS, "\"max_tokens\":100.0");
    ck_assert_uint_eq(params.sampling.max_tokens, 100);
    refuse(OPENAI_COMPLETIONS, "\"max_tokens\":1.5", "max_tokens", "whole");
}
END_TEST

START_TEST(openai_params_prefers_the_newer_name_when_both_are_given)
{
    accept(OPENAI_CHAT, "\"max_completion_tokens\":7,\"max_tokens\":9");
    ck_assert_uint_eq(params.sampling.max_tokens, 7);
    accept(OPENAI_CHAT, "\"max_tokens\":9");
    ck_assert_uint_eq(params.sampling.max_tokens, 9);
    refuse(OPENAI_CHAT, "\"max_completion_tokens\":1001", "max_completion_tokens", "1000");
}
END_TEST

START_TEST(openai_params_keeps_only_the_top_token_when_top_p_is_zero)
{
    accept(OPENAI_CHAT, "\"top_p\":0,\"top_k\":-1");
    ck_assert(params.sampling.top_p > 0 && params.sampling.top_p <= FLT_MIN);
    ck_assert_uint_eq(params.sampling.top_k, 0);
}
END_TEST

START_TEST(openai_params_takes_a_seed_when_it_has_64_bits)
{
    static const struct {
        const char *member;
        uint64_t seed;
    } cases[] = {
        {"\"seed\":0", 0},
        {"\"seed\":-1", UINT64_MAX},
        {"\"seed\":9007199254740992", UINT64_C(1) << 53},
        {"\"seed\":9007199254740993", (UINT64_C(1) << 53) + 1},
        {"\"seed\":9223372036854775807", (UINT64_C(1) << 63) - 1},
        {"\"seed\":1e3", 1000},
        {"\"seed\":1.8e19", UINT64_C(18000000000000000000)},
        {"\"seed\":18446744073709551615", UINT64_MAX},
        {"\"seed\":-9223372036854775808", UINT64_C(1) << 63},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        accept(OPENAI_CHAT, cases[index].member);
        ck_assert(params.seed_given);
        ck_assert_uint_eq(params.sampling.seed, cases[index].seed);
    }
    refuse(OPENAI_CHAT, "\"seed\":0.5", "seed", "whole");
    refuse(OPENAI_CHAT, "\"seed\":\"1\"", "seed", "number");
}
END_TEST

START_TEST(openai_params_has_decay_when_the_order_is_rwkv)
{
    accept(OPENAI_CHAT, "\"sampler_order\":\"rwkv\"");
    ck_assert_int_eq(params.sampling.order, SAMPLING_ORDER_RWKV);
    assert_real(params.sampling.penalty_decay, 0.996);
    accept(OPENAI_CHAT, "\"penalty_decay\":0.5,\"sampler_order\":\"rwkv\"");
    assert_real(params.sampling.penalty_decay, 0.5);
    accept(OPENAI_CHAT, "\"sampler_order\":\"openai\"");
    assert_real(params.sampling.penalty_decay, 1);
    refuse(OPENAI_CHAT, "\"sampler_order\":\"llama\"", "sampler_order", "'openai' or 'rwkv'");
}
END_TEST

START_TEST(openai_params_takes_stop_strings_when_up_to_four)
{
    accept(OPENAI_COMPLETIONS, "\"stop\":\"\"");
    ck_assert_uint_eq(params.stop_count, 0);
    accept(OPENAI_COMPLETIONS, "\"stop\":[]");
    ck_assert_uint_eq(params.stop_count, 0);
    accept(OPENAI_COMPLETIONS, "\"stop\":\"\\n\"");
    ck_assert_uint_eq(params.stop_count, 1);
    ck_assert(text_equals(params.stops[0], TEXT("\n")));
    accept(OPENAI_COMPLETIONS, "\"stop\":[\"a\",\"\",\"b\",\"c\"]");
    ck_assert_uint_eq(params.stop_count, 3);
    refuse(OPENAI_COMPLETIONS, "\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "stop", "at most 4");
    refuse(OPENAI_COMPLETIONS, "\"stop\":5", "stop", "must be a string");
    refuse(OPENAI_COMPLETIONS, "\"stop\":[\"a\",5]", "stop[1]", "must be a string");
}
END_TEST

START_TEST(openai_params_refuses_a_stop_string_when_too_long)
{
    char stop[LIMIT_STOP_STRING_BYTES + 2];
    char member[512];
    memset(stop, 'x', sizeof(stop));
    stop[LIMIT_STOP_STRING_BYTES] = '\0';
    snprintf(member, sizeof(member), "\"stop\":[\"%s\"]", stop);
    accept(OPENAI_COMPLETIONS, member);
    ck_assert_uint_eq(params.stops[0].len, LIMIT_STOP_STRING_BYTES);
    stop[LIMIT_STOP_STRING_BYTES] = 'x';
    stop[LIMIT_STOP_STRING_BYTES + 1] = '\0';
    snprintf(member, sizeof(member), "\"stop\":[\"%s\"]", stop);
    refuse(OPENAI_COMPLETIONS, member, "stop[0]", "at most 256");
}
END_TEST

START_TEST(openai_params_adds_the_template_stops_when_chat)
{
    accept(OPENAI_CHAT, "\"stop\":[\"a\",\"b\",\"c\",\"d\"]");
    const uint32_t with_template = params.stop_count;
    ck_assert_uint_gt(with_template, 4);
    ck_assert(text_equals(params.stops[0], TEXT("a")));
    accept(OPENAI_CHAT, "\"stop\":\"a\",\"ignore_eos\":true");
    ck_assert_uint_eq(params.stop_count, 1);
    ck_assert(params.sampling.ignore_eos);
}
END_TEST

/* Writes "name":[1,1,..] or {"1":0,"2":0,..}. */
static const char *many(const char *name, size_t count, bool is_object)
{
    static char json[65536];
    size_t len = (size_t)snprintf(json, sizeof(json), "\"%s\":%c", name, is_object ? '{' : '[');
    for (size_t index = 0; index < count; index++) {
        const char *comma = index == 0 ? "" : ",";
        len += is_object
                   ? (size_t)snprintf(json + len, sizeof(json) - len, "%s\"%zu\":0", comma, index)
                   : (size_t)snprintf(json + len, sizeof(json) - len, "%s1", comma);
    }
    snprintf(json + len, sizeof(json) - len, "%c", is_object ? '}' : ']');
    return json;
}

START_TEST(openai_params_takes_stop_tokens_when_they_are_tokens)
{
    accept(OPENAI_CHAT, "\"stop_token_ids\":[0,260.0]");
    ck_assert_uint_eq(params.sampling.stop_token_count, 2);
    ck_assert_int_eq(params.sampling.stop_tokens[1], TOKEN_USER);
    accept(OPENAI_CHAT, many("stop_token_ids", LIMIT_STOP_TOKENS, false));
    refuse(OPENAI_CHAT, many("stop_token_ids", LIMIT_STOP_TOKENS + 1, false), "stop_token_ids",
           "at most 64");
    refuse(OPENAI_CHAT, "\"stop_token_ids\":[1,261]", "stop_token_ids[1]", "allowed 0 to 260");
    refuse(OPENAI_CHAT, "\"stop_token_ids\":5", "stop_token_ids", "must be an array");
}
END_TEST

START_TEST(openai_params_takes_logit_bias_when_its_names_are_tokens)
{
    accept(OPENAI_CHAT, "\"logit_bias\":{\"0\":-100,\"260\":100.0}");
    ck_assert_uint_eq(params.sampling.bias_count, 2);
    ck_assert_int_eq(params.sampling.bias[1].token, 260);
    assert_real(params.sampling.bias[0].bias, -100);
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"5\":100.5}", "logit_bias.5", "allowed -100 to 100");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"5\":-101}", "logit_bias.5", "allowed -100 to 100");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"5\":null}", "logit_bias.5", "number");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"261\":1}", "logit_bias.261", "no token");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"259\":1}", "logit_bias.259", "no token");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"-1\":1}", "logit_bias.-1", "no token");
    refuse(OPENAI_CHAT, "\"logit_bias\":{\"x\":1}", "logit_bias.x", "no token");
    refuse(OPENAI_CHAT, "\"logit_bias\":[1]", "logit_bias", "must be an object");
}
END_TEST

START_TEST(openai_params_bounds_logit_bias_when_it_has_many_tokens)
{
    refuse(OPENAI_CHAT, "\"logit_bias\":{}, \"n\":0", "n", "allowed"); /* Empty is fine. */
    char json[32768];
    snprintf(json, sizeof(json), "{\"prompt\":\"\",%s}",
             many("logit_bias", LIMIT_LOGIT_BIAS + 1, true));
    ck_assert(!read_json(OPENAI_COMPLETIONS, json));
    ck_assert_str_eq(error.param, "logit_bias");
    ck_assert_ptr_nonnull(strstr(error.message, "1025 tokens, at most 1024"));
    snprintf(json, sizeof(json), "{\"prompt\":\"\",%s}",
             many("logit_bias", LIMIT_LOGIT_BIAS, true));
    ck_assert(!read_json(OPENAI_COMPLETIONS, json));
    ck_assert_str_eq(error.param, "logit_bias.259"); /* Not the count any more. */
}
END_TEST

START_TEST(openai_params_takes_logprobs_when_completions)
{
    accept(OPENAI_COMPLETIONS, "\"logprobs\":0");
    ck_assert_int_eq(params.logprobs, 0);
    ck_assert_int_eq(params.sampling.logprobs_wanted, 0);
    accept(OPENAI_COMPLETIONS, "\"logprobs\":5");
    ck_assert_int_eq(params.sampling.logprobs_wanted, 5);
    refuse(OPENAI_COMPLETIONS, "\"logprobs\":6", "logprobs", "allowed 0 to 5");
    refuse(OPENAI_COMPLETIONS, "\"logprobs\":-1", "logprobs", "allowed 0 to 5");
    refuse(OPENAI_COMPLETIONS, "\"logprobs\":true", "logprobs", "number");
}
END_TEST

START_TEST(openai_params_takes_logprobs_when_chat)
{
    accept(OPENAI_CHAT, "\"logprobs\":true");
    ck_assert_int_eq(params.sampling.logprobs_wanted, 0);
    accept(OPENAI_CHAT, "\"top_logprobs\":20,\"logprobs\":true");
    ck_assert_int_eq(params.sampling.logprobs_wanted, 20);
    accept(OPENAI_CHAT, "\"top_logprobs\":0,\"logprobs\":false");
    ck_assert_int_eq(params.sampling.logprobs_wanted, -1);
    refuse(OPENAI_CHAT, "\"top_logprobs\":21,\"logprobs\":true", "top_logprobs", "0 to 20");
    refuse(OPENAI_CHAT, "\"top_logprobs\":2", "top_logprobs", "needs logprobs");
    refuse(OPENAI_CHAT, "\"logprobs\":3", "logprobs", "true or false");
}
END_TEST

START_TEST(openai_params_takes_no_tokens_when_completions)
{
    accept(OPENAI_COMPLETIONS, "\"max_tokens\":0,\"echo\":true,\"logprobs\":1");
    ck_assert_uint_eq(params.sampling.max_tokens, 0);
    ck_assert(params.echo);
    refuse(OPENAI_CHAT, "\"max_tokens\":0", "max_tokens", "allowed 1 to 1000");
    refuse(OPENAI_COMPLETIONS, "\"max_tokens\":1001", "max_tokens", "allowed 0 to 1000");
}
END_TEST

START_TEST(openai_params_asks_the_engine_for_the_larger_when_prompt_logprobs_differ)
{
    accept(OPENAI_COMPLETIONS, "\"logprobs\":2,\"prompt_logprobs\":7");
    ck_assert_int_eq(params.sampling.logprobs_wanted, 7);
    ck_assert_int_eq(params.logprobs, 2);
    ck_assert_int_eq(params.prompt_logprobs, 7);
    accept(OPENAI_CHAT, "\"prompt_logprobs\":0");
    ck_assert_int_eq(params.sampling.logprobs_wanted, 0);
    ck_assert_int_eq(params.logprobs, -1);
    refuse(OPENAI_CHAT, "\"prompt_logprobs\":-1", "prompt_logprobs", "allowed 0 to 20");
    refuse(OPENAI_CHAT, "\"prompt_logprobs\":1,\"stream\":true", "prompt_logprobs", "stream");
}
END_TEST

START_TEST(openai_params_keeps_only_the_stops_of_the_request_in_the_text)
{
    accept(OPENAI_CHAT, "\"stop\":[\"a\",\"b\"],\"include_stop_str_in_output\":true");
    ck_assert_uint_eq(params.stops_included, 2);
    ck_assert_uint_eq(params.stop_count, 3);
    accept(OPENAI_CHAT, "\"stop\":[\"a\",\"b\"]");
    ck_assert_uint_eq(params.stops_included, 0);
}
END_TEST

START_TEST(openai_params_refuses_min_tokens_when_above_max_tokens)
{
    accept(OPENAI_CHAT, "\"min_tokens\":5,\"max_tokens\":5");
    ck_assert_uint_eq(params.sampling.min_tokens, 5);
    refuse(OPENAI_CHAT, "\"min_tokens\":6,\"max_tokens\":5", "min_tokens", "max_tokens = 5");
}
END_TEST

static void read_prompt(const char *prompt)
{
    char json[2048];
    snprintf(json, sizeof(json), "{\"prompt\":%s}", prompt);
    ck_assert_msg(read_json(OPENAI_COMPLETIONS, json), "%s: %s", json, error.message);
}

static void refuse_prompt(const char *prompt, const char *param, const char *message)
{
    char json[2048];
    snprintf(json, sizeof(json), "{\"prompt\":%s}", prompt);
    ck_assert_msg(!read_json(OPENAI_COMPLETIONS, json), "%s was accepted", json);
    ck_assert_uint_eq(error.status, 400);
    ck_assert_str_eq(error.param, param);
    ck_assert_msg(strstr(error.message, message) != NULL, "%s", error.message);
}

START_TEST(openai_params_takes_a_prompt_when_text_or_one_text)
{
    read_prompt("\"h\\u00e9\"");
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_TEXT);
    ck_assert(text_equals(params.prompt.inputs[0].text, TEXT("h\xc3\xa9")));
    read_prompt("[\"hi\"]");
    ck_assert(text_equals(params.prompt.inputs[0].text, TEXT("hi")));
    read_prompt("\"\"");
    ck_assert_uint_eq(params.prompt.inputs[0].text.len, 0);
}
END_TEST

START_TEST(openai_params_takes_token_ids_when_all_are_tokens)
{
    read_prompt("[0,260,1.0]");
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_TOKENS);
    ck_assert_uint_eq(params.prompt.inputs[0].token_count, 3);
    ck_assert_int_eq(params.prompt.inputs[0].tokens[0], 0);
    ck_assert_int_eq(params.prompt.inputs[0].tokens[1], CASE_TOKEN_COUNT - 1);
    read_prompt("[[5]]");
    ck_assert_uint_eq(params.prompt.inputs[0].token_count, 1);
    read_prompt("[]");
    ck_assert_uint_eq(params.prompt.inputs[0].token_count, 0);
    refuse_prompt("[0,261]", "prompt[1]", "261, allowed 0 to 260");
    refuse_prompt("[65536]", "prompt[0]", "allowed 0 to 260");
    refuse_prompt("[-1]", "prompt[0]", "-1, allowed 0 to 260");
    refuse_prompt("[259]", "prompt[0]", "no token 259");
    refuse_prompt("[1.5]", "prompt[0]", "whole");
    refuse_prompt("[1,\"a\"]", "prompt[1]", "number");
}
END_TEST

START_TEST(openai_params_takes_several_prompts_when_of_one_kind)
{
    read_prompt("[\"a\",\"\",\"bc\"]");
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_TEXT);
    ck_assert_uint_eq(params.prompt.input_count, 3);
    ck_assert(text_equals(params.prompt.inputs[2].text, TEXT("bc")));
    read_prompt("[[1],[2,3],[]]");
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_TOKENS);
    ck_assert_uint_eq(params.prompt.input_count, 3);
    ck_assert_uint_eq(params.prompt.inputs[1].token_count, 2);
    ck_assert_int_eq(params.prompt.inputs[1].tokens[1], 3);
    ck_assert_uint_eq(params.prompt.inputs[2].token_count, 0);
    refuse_prompt("[\"a\",[1]]", "prompt[1]", "must be a string");
    refuse_prompt("[[1],\"a\"]", "prompt[1]", "must be an array");
    refuse_prompt("[[1],[2,259]]", "prompt[1][1]", "no token 259");
    refuse_prompt("[[1],2]", "prompt[1]", "must be an array");
}
END_TEST

START_TEST(openai_params_bounds_prompts_when_there_are_many)
{
    char prompts[1024] = "[\"\"";
    for (int count = 1; count < LIMIT_PROMPTS; count++) {
        strncat(prompts, ",\"\"", sizeof(prompts) - strlen(prompts) - 1);
    }
    char json[1024];
    snprintf(json, sizeof(json), "%s]", prompts);
    read_prompt(json);
    ck_assert_uint_eq(params.prompt.input_count, LIMIT_PROMPTS);
    snprintf(json, sizeof(json), "%s,\"\"]", prompts);
    refuse_prompt(json, "prompt", "129 prompts, at most 128");
    ck_assert(!read_json(OPENAI_TOKENIZE, "{\"prompt\":[\"a\",\"b\"]}"));
    ck_assert_ptr_nonnull(strstr(error.message, "2 prompts, at most 1"));
}
END_TEST

START_TEST(openai_params_refuses_a_prompt_when_there_is_none)
{
    refuse_prompt("null", "prompt", "is required");
    refuse_prompt("5", "prompt", "must be a string");
    refuse_prompt("{}", "prompt", "must be a string");
    refuse_prompt("[{}]", "prompt[0]", "number");
    ck_assert(!read_json(OPENAI_COMPLETIONS, "{}"));
    ck_assert_str_eq(error.param, "prompt");
    ck_assert(!read_json(OPENAI_CHAT, "{\"prompt\":\"hi\"}"));
    ck_assert_str_eq(error.param, "messages");
}
END_TEST

START_TEST(openai_params_takes_messages_when_roles_are_known)
{
    ck_assert(read_json(OPENAI_CHAT,
                        "{\"messages\":["
                        "{\"role\":\"developer\",\"content\":\"a\",\"name\":\"x\"},"
                        "{\"role\":\"system\",\"content\":\"\"},"
                        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},"
                        "{\"type\":\"text\",\"text\":\"c\"}]},"
                        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\","
                        "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
                        "\"{\\\"a\\\": 1.50}\"}}]},"
                        "{\"role\":\"tool\",\"content\":\"d\",\"tool_call_id\":\"1\"}],"
                        "\"continue_final_message\":true}"));
    static const enum chat_role roles[] = {CHAT_ROLE_SYSTEM, CHAT_ROLE_SYSTEM, CHAT_ROLE_USER,
                                           CHAT_ROLE_ASSISTANT, CHAT_ROLE_TOOL};
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_MESSAGES);
    ck_assert_uint_eq(params.prompt.message_count, 5);
    for (size_t index = 0; index < 5; index++) {
        ck_assert_int_eq(params.prompt.messages[index].role, roles[index]);
    }
    ck_assert(text_equals(params.prompt.messages[2].content, TEXT("b\nc")));
    ck_assert(text_equals(params.prompt.messages[3].content,
                          TEXT("```json\n{\"name\":\"f\",\"arguments\":{\"a\":1.50}}\n```")));
    ck_assert(params.prompt.continue_final_message);
}
END_TEST

static const struct {
    const char *messages, *param, *message;
} bad_messages[] = {
    {"[]", "messages", "0 messages, allowed 1 to 1024"},
    {"\"hi\"", "messages", "must be an array"},
    {"[5]", "messages[0]", "must be an object"},
    {"[{\"content\":\"x\"}]", "messages[0].role", "is required"},
    {"[{\"role\":\"boss\",\"content\":\"x\"}]", "messages[0].role", "'boss', must be"},
    {"[{\"role\":\"user\"}]", "messages[0].content", "is required"},
    {"[{\"role\":\"user\",\"content\":5}]", "messages[0].content", "must be a string"},
    {"[{\"role\":\"user\",\"content\":[\"x\"]}]", "messages[0].content[0]", "an object"},
    {"[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]", "messages[0].content[0].type",
     "is required"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "messages[0].content[0].text",
     "is required"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "messages[0].content[0].type",
     "'image_url' is not supported by this version"},
};

START_TEST(openai_params_names_the_place_when_a_message_is_wrong)
{
    char json[1024];
    snprintf(json, sizeof(json), "{\"messages\":%s}", bad_messages[_i].messages);
    ck_assert_msg(!read_json(OPENAI_CHAT, json), "%s was accepted", json);
    ck_assert_uint_eq(error.status, 400);
    ck_assert_str_eq(error.param, bad_messages[_i].param);
    ck_assert_msg(strstr(error.message, bad_messages[_i].message) != NULL, "%s", error.message);
}
END_TEST

static bool read_messages(size_t count)
{
    static char json[65536];
    size_t len = (size_t)snprintf(json, sizeof(json), "{\"messages\":[");
    for (size_t index = 0; index < count; index++) {
        len += (size_t)snprintf(json + len, sizeof(json) - len,
                                "%s{\"role\":\"user\",\"content\":\"x\"}", index == 0 ? "" : ",");
    }
    snprintf(json + len, sizeof(json) - len, "]}");
    return read_json(OPENAI_CHAT, json);
}

START_TEST(openai_params_refuses_messages_when_there_are_too_many)
{
    ck_assert(read_messages(LIMIT_MESSAGES));
    ck_assert(!read_messages(LIMIT_MESSAGES + 1));
    ck_assert_str_eq(error.param, "messages");
}
END_TEST

START_TEST(openai_params_reads_tokenize_when_any_of_its_names_is_used)
{
    ck_assert(read_json(OPENAI_TOKENIZE, "{\"content\":\"a\",\"add_special\":true}"));
    ck_assert(text_equals(params.prompt.inputs[0].text, TEXT("a")));
    ck_assert(read_json(OPENAI_TOKENIZE, "{\"text\":\"b\"}"));
    ck_assert(read_json(OPENAI_TOKENIZE, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"));
    ck_assert_int_eq(params.prompt.kind, OPENAI_PROMPT_MESSAGES);
    ck_assert(!read_json(OPENAI_TOKENIZE, "{}"));
    ck_assert_str_eq(error.param, "prompt");
    ck_assert(read_json(OPENAI_DETOKENIZE, "{\"tokens\":[1,2]}"));
    ck_assert_uint_eq(params.prompt.inputs[0].token_count, 2);
    ck_assert(!read_json(OPENAI_DETOKENIZE, "{\"tokens\":\"x\"}"));
    ck_assert_str_eq(error.param, "tokens");
}
END_TEST

START_TEST(openai_params_refuses_a_request_when_memory_is_exhausted)
{
    server.arena.bytes_max = server.arena.bytes_used + 4096;
    char json[3000];
    memset(json, 'x', sizeof(json));
    memcpy(json, "{\"prompt\":\"", 11);
    memcpy(json + sizeof(json) - 3, "\"}", 3);
    ck_assert(!read_json(OPENAI_COMPLETIONS, json));
    ck_assert_uint_eq(error.status, 400);
    ck_assert_ptr_nonnull(strstr(error.message, "more memory"));
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, openai_params_uses_defaults_when_nothing_is_said);
    tcase_add_test(tests, openai_params_lowers_a_default_when_the_limit_is_lower);
    tcase_add_test(tests, openai_params_ignores_fields_when_unknown_or_null);
    tcase_add_loop_test(tests, openai_params_refuses_a_number_when_out_of_range, 0,
                        sizeof(ranges) / sizeof(ranges[0]));
    tcase_add_test(tests, openai_params_takes_an_integer_when_written_as_a_float);
    tcase_add_test(tests, openai_params_prefers_the_newer_name_when_both_are_given);
    tcase_add_test(tests, openai_params_keeps_only_the_top_token_when_top_p_is_zero);
    tcase_add_test(tests, openai_params_takes_a_seed_when_it_has_64_bits);
    tcase_add_test(tests, openai_params_has_decay_when_the_order_is_rwkv);
    tcase_add_test(tests, openai_params_takes_stop_strings_when_up_to_four);
    tcase_add_test(tests, openai_params_refuses_a_stop_string_when_too_long);
    tcase_add_test(tests, openai_params_adds_the_template_stops_when_chat);
    tcase_add_test(tests, openai_params_takes_stop_tokens_when_they_are_tokens);
    tcase_add_test(tests, openai_params_takes_logit_bias_when_its_names_are_tokens);
    tcase_add_test(tests, openai_params_bounds_logit_bias_when_it_has_many_tokens);
    tcase_add_test(tests, openai_params_takes_logprobs_when_completions);
    tcase_add_test(tests, openai_params_takes_logprobs_when_chat);
    tcase_add_test(tests, openai_params_takes_no_tokens_when_completions);
    tcase_add_test(tests, openai_params_asks_the_engine_for_the_larger_when_prompt_logprobs_differ);
    tcase_add_test(tests, openai_params_keeps_only_the_stops_of_the_request_in_the_text);
    tcase_add_test(tests, openai_params_refuses_min_tokens_when_above_max_tokens);
    tcase_add_test(tests, openai_params_takes_a_prompt_when_text_or_one_text);
    tcase_add_test(tests, openai_params_takes_token_ids_when_all_are_tokens);
    tcase_add_test(tests, openai_params_takes_several_prompts_when_of_one_kind);
    tcase_add_test(tests, openai_params_bounds_prompts_when_there_are_many);
    tcase_add_test(tests, openai_params_refuses_a_prompt_when_there_is_none);
    tcase_add_test(tests, openai_params_takes_messages_when_roles_are_known);
    tcase_add_loop_test(tests, openai_params_names_the_place_when_a_message_is_wrong, 0,
                        sizeof(bad_messages) / sizeof(bad_messages[0]));
    tcase_add_test(tests, openai_params_refuses_messages_when_there_are_too_many);
    tcase_add_test(tests, openai_params_reads_tokenize_when_any_of_its_names_is_used);
    tcase_add_test(tests, openai_params_refuses_a_request_when_memory_is_exhausted);
}

int main(void)
{
    Suite *suite = suite_create("openai_params");
    TCase *tests = tcase_create("openai_params");
    tcase_add_checked_fixture(tests, params_case_setup, params_case_teardown);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
