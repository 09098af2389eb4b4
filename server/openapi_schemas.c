/* SPDX-License-Identifier: Apache-2.0
 *
 * server/openapi_schemas.c - the shapes that never change: replies, messages, prompts.
 *
 * JSON is written as it is and made a string by the preprocessor. Thread: any. */
#include "server/openapi_schemas.h"

#include "base/error.h"

#define JSON(...) #__VA_ARGS__

/* clang-format off */
static const struct openapi_schema schemas[] = {
    {"Error", JSON({"type":"object","required":["error"],"properties":{
        "error":{"type":"object","required":["message","type","param","code"],"properties":{
            "message":{"type":"string"},
            "type":{"type":"string","enum":["invalid_request_error","server_error",
                                            "unavailable_error"]},
            "param":{"type":["string","null"]},
            "code":{"type":["string","null"]}}}}})},
    {"MessagesError", JSON({"type":"object","required":["type","error","request_id"],"properties":{
        "type":{"const":"error"},
        "error":{"type":"object","required":["type","message"],"properties":{
            "type":{"type":"string"},"message":{"type":"string"}}},
        "request_id":{"type":"string"}}})},
    {"AnyError", JSON({"anyOf":[
        {"$ref":"#/components/schemas/Error"},{"$ref":"#/components/schemas/MessagesError"}]})},
    {"StatusOrError", JSON({"anyOf":[
        {"$ref":"#/components/schemas/Error"},{"$ref":"#/components/schemas/Status"}]})},

    {"Prompt", JSON({"anyOf":[
        {"type":"string"},
        {"type":"array","items":{"$ref":"#/components/schemas/TokenId"}},
        {"type":"array","minItems":1,"maxItems":1,"items":{"type":"string"}}]})},
    {"Prompts", JSON({"anyOf":[
        {"type":"string"},
        {"type":"array","items":{"$ref":"#/components/schemas/TokenId"}},
        {"type":"array","minItems":1,"maxItems":128,"items":{"type":"string"}},
        {"type":"array","minItems":1,"maxItems":128,
         "items":{"type":"array","items":{"$ref":"#/components/schemas/TokenId"}}}]})},
    {"Content", JSON({"anyOf":[
        {"type":"string"},
        {"type":"array","items":{"type":"object","required":["type","text"],"properties":{
            "type":{"type":"string","enum":["text"]},"text":{"type":"string"}}}}]})},
    {"Message", JSON({"anyOf":[
        {"type":"object","required":["role","content"],"properties":{
            "role":{"type":"string","enum":["system","developer","user","tool","function"]},
            "content":{"$ref":"#/components/schemas/Content"}}},
        {"type":"object","required":["role"],"properties":{
            "role":{"type":"string","enum":["assistant"]},
            "content":{"anyOf":[{"$ref":"#/components/schemas/Content"},{"type":"null"}]},
            "tool_calls":{"type":["array","null"],
                "items":{"$ref":"#/components/schemas/ToolCall"}}}}]})},

    {"ToolName", JSON({"type":"string","pattern":"^[a-zA-Z0-9_-]{1,64}$"})},
    {"ToolSchema", JSON({"anyOf":[
        {"type":"object","required":["type"],"properties":{
            "type":{"type":"string","enum":["object"]}}},
        {"type":"object","maxProperties":0}]})},
    {"Arguments", JSON({"type":"string","contentMediaType":"application/json"})},
    {"Tool", JSON({"type":"object","required":["type","function"],"properties":{
        "type":{"type":"string","enum":["function"]},
        "function":{"type":"object","required":["name"],"properties":{
            "name":{"$ref":"#/components/schemas/ToolName"},
            "description":{"type":["string","null"]},
            "parameters":{"anyOf":[{"type":"null"},{"$ref":"#/components/schemas/ToolSchema"}]},
            "strict":{"type":["boolean","null"]}}}}})},
    {"FlatTool", JSON({"type":"object","required":["type","name"],"properties":{
        "type":{"type":"string","enum":["function"]},
        "name":{"$ref":"#/components/schemas/ToolName"},
        "description":{"type":["string","null"]},
        "parameters":{"anyOf":[{"type":"null"},{"$ref":"#/components/schemas/ToolSchema"}]},
        "strict":{"type":["boolean","null"]}}})},
    {"ClaudeTool", JSON({"type":"object","required":["name","input_schema"],"properties":{
        "type":{"enum":["custom",null]},
        "name":{"$ref":"#/components/schemas/ToolName"},
        "description":{"type":["string","null"]},
        "input_schema":{"$ref":"#/components/schemas/ToolSchema"},
        "strict":{"type":["boolean","null"]}}})},
    {"ToolChoice", JSON({"anyOf":[
        {"type":"string","enum":["none","auto","required"]},
        {"type":"object","required":["type","function"],"properties":{
            "type":{"type":"string","enum":["function"]},
            "function":{"type":"object","required":["name"],"properties":{
                "name":{"$ref":"#/components/schemas/ToolName"}}}}}]})},
    {"FlatToolChoice", JSON({"anyOf":[
        {"type":"string","enum":["none","auto","required"]},
        {"type":"object","required":["type","name"],"properties":{
            "type":{"type":"string","enum":["function"]},
            "name":{"$ref":"#/components/schemas/ToolName"}}}]})},
    {"ClaudeToolChoice", JSON({"anyOf":[
        {"type":"object","required":["type"],"properties":{
            "type":{"type":"string","enum":["auto","any","none"]},
            "disable_parallel_tool_use":{"type":["boolean","null"]}}},
        {"type":"object","required":["type","name"],"properties":{
            "type":{"type":"string","enum":["tool"]},
            "name":{"$ref":"#/components/schemas/ToolName"},
            "disable_parallel_tool_use":{"type":["boolean","null"]}}}]})},
    {"ToolCall", JSON({"type":"object","required":["id","type","function"],"properties":{
        "id":{"type":"string"},
        "type":{"type":"string","enum":["function"]},
        "function":{"type":"object","required":["name","arguments"],"properties":{
            "name":{"type":"string"},
            "arguments":{"$ref":"#/components/schemas/Arguments"}}}}})},

    {"AnswerSchema", JSON({"type":"object",
        "description":"A JSON schema of the subset of strict mode."})},
    {"ResponseFormat", JSON({"anyOf":[
        {"type":"object","required":["type"],"properties":{
            "type":{"type":"string","enum":["text","json_object"]}}},
        {"type":"object","required":["type","json_schema"],"properties":{
            "type":{"type":"string","enum":["json_schema"]},
            "json_schema":{"type":"object","required":["schema"],"properties":{
                "name":{"type":["string","null"]},
                "description":{"type":["string","null"]},
                "schema":{"$ref":"#/components/schemas/AnswerSchema"},
                "strict":{"type":["boolean","null"]}}}}}]})},
    {"TextFormat", JSON({"anyOf":[
        {"type":"object","required":["type"],"properties":{
            "type":{"type":"string","enum":["text","json_object"]}}},
        {"type":"object","required":["type","schema"],"properties":{
            "type":{"type":"string","enum":["json_schema"]},
            "name":{"type":["string","null"]},
            "description":{"type":["string","null"]},
            "schema":{"$ref":"#/components/schemas/AnswerSchema"},
            "strict":{"type":["boolean","null"]}}}]})},
    {"StructuredOutputs", JSON({"anyOf":[
        {"type":"object","required":["choice"],"properties":{
            "choice":{"type":"array","minItems":1,"items":{"type":"string"}}}},
        {"type":"object","required":["regex"],"properties":{"regex":{"type":"string"}}},
        {"type":"object","required":["json"],"properties":{"json":{"anyOf":[
            {"type":"string"},{"$ref":"#/components/schemas/AnswerSchema"}]}}},
        {"type":"object","required":["json_object"],"properties":{
            "json_object":{"type":"boolean","enum":[true]}}}]})},

    {"InputContent", JSON({"anyOf":[
        {"type":"string"},
        {"type":"array","items":{"type":"object","required":["type","text"],"properties":{
            "type":{"type":"string","enum":["input_text","output_text","text"]},
            "text":{"type":"string"}}}}]})},
    {"InputItem", JSON({"anyOf":[
        {"type":"object","required":["role","content"],"properties":{
            "type":{"enum":["message",null]},
            "role":{"type":"string","enum":["user","assistant","system","developer"]},
            "content":{"$ref":"#/components/schemas/InputContent"}}},
        {"type":"object","required":["type","call_id","output"],"properties":{
            "type":{"type":"string","enum":["function_call_output"]},
            "call_id":{"type":"string"},
            "output":{"$ref":"#/components/schemas/InputContent"}}},
        {"type":"object","required":["type","call_id","name","arguments"],"properties":{
            "type":{"type":"string","enum":["function_call"]},
            "call_id":{"type":"string"},
            "name":{"type":"string"},
            "arguments":{"$ref":"#/components/schemas/Arguments"}}}]})},
    {"TextBlock", JSON({"type":"object","required":["type","text"],"properties":{
        "type":{"type":"string","enum":["text"]},"text":{"type":"string"}}})},
    {"ToolUseBlock", JSON({"type":"object","required":["type","id","name","input"],"properties":{
        "type":{"type":"string","enum":["tool_use"]},
        "id":{"type":"string"},"name":{"type":"string"},
        "input":{"type":"object"}}})},
    {"ToolResultBlock", JSON({"type":"object","required":["type","tool_use_id"],"properties":{
        "type":{"type":"string","enum":["tool_result"]},"tool_use_id":{"type":"string"},
        "is_error":{"type":["boolean","null"]},
        "content":{"anyOf":[{"type":["string","null"]},
            {"type":"array","items":{"$ref":"#/components/schemas/TextBlock"}}]}}})},
    {"Turn", JSON({"anyOf":[
        {"type":"object","required":["role","content"],"properties":{
            "role":{"type":"string","enum":["user"]},
            "content":{"anyOf":[{"type":"string"},
                {"type":"array","items":{"anyOf":[
                    {"$ref":"#/components/schemas/TextBlock"},
                    {"$ref":"#/components/schemas/ToolResultBlock"}]}}]}}},
        {"type":"object","required":["role","content"],"properties":{
            "role":{"type":"string","enum":["assistant"]},
            "content":{"anyOf":[{"type":"string"},
                {"type":"array","items":{"anyOf":[
                    {"$ref":"#/components/schemas/TextBlock"},
                    {"$ref":"#/components/schemas/ToolUseBlock"}]}}]}}}]})},

    {"Usage", JSON({"type":"object",
        "required":["prompt_tokens","completion_tokens","total_tokens"],"properties":{
            "prompt_tokens":{"type":"integer","minimum":1},
            "completion_tokens":{"type":"integer","minimum":0},
            "total_tokens":{"type":"integer","minimum":1},
            "prompt_tokens_details":{"type":"object","properties":{
                "cached_tokens":{"type":"integer","minimum":0}}},
            "completion_tokens_details":{"type":"object","properties":{
                "reasoning_tokens":{"type":"integer","minimum":0}}}}})},
    {"FinishReason", JSON({"type":"string","enum":["stop","length"]})},
    {"TokenIds", JSON({"type":"array","items":{"type":"integer","minimum":0}})},
    {"PromptLogprobs", JSON({"type":"array","minItems":1,"items":{"anyOf":[
        {"type":"null"},
        {"type":"object","additionalProperties":{"type":"object",
            "required":["logprob","rank","decoded_token"],"properties":{
                "logprob":{"type":"number","maximum":0},
                "rank":{"type":["integer","null"],"minimum":1},
                "decoded_token":{"type":"string"}}}}]}})},

    {"CompletionLogprobs", JSON({"type":"object",
        "required":["tokens","token_logprobs","top_logprobs","text_offset"],"properties":{
            "tokens":{"type":"array","items":{"type":"string"}},
            "token_logprobs":{"type":"array","items":{"type":["number","null"],"maximum":0}},
            "top_logprobs":{"type":"array","items":{"anyOf":[
                {"type":"null"},
                {"type":"object","additionalProperties":{"type":"number","maximum":0}}]}},
            "text_offset":{"type":"array","items":{"type":"integer","minimum":0}}}})},
    {"CompletionReply", JSON({"type":"object",
        "required":["id","object","created","model","choices","usage"],"properties":{
            "id":{"type":"string","pattern":"^cmpl-"},
            "object":{"const":"text_completion"},
            "created":{"type":"integer"},
            "model":{"$ref":"#/components/schemas/ModelId"},
            "system_fingerprint":{"type":"string"},
            "choices":{"type":"array","minItems":1,"items":{"type":"object",
                "required":["index","text","logprobs","finish_reason"],"properties":{
                    "index":{"type":"integer","minimum":0},
                    "text":{"type":"string"},
                    "logprobs":{"anyOf":[{"type":"null"},
                        {"$ref":"#/components/schemas/CompletionLogprobs"}]},
                    "finish_reason":{"$ref":"#/components/schemas/FinishReason"},
                    "token_ids":{"$ref":"#/components/schemas/TokenIds"},
                    "prompt_token_ids":{"$ref":"#/components/schemas/TokenIds"},
                    "prompt_logprobs":{"$ref":"#/components/schemas/PromptLogprobs"}}}},
            "usage":{"$ref":"#/components/schemas/Usage"}}})},

    {"TokenLogprob", JSON({"type":"object","required":["token","logprob","bytes"],"properties":{
        "token":{"type":"string"},
        "logprob":{"type":"number","maximum":0},
        "bytes":{"type":"array","items":{"type":"integer","minimum":0,"maximum":255}}}})},
    {"ChatLogprobs", JSON({"type":"object","required":["content","refusal"],"properties":{
        "refusal":{"type":"null"},
        "content":{"type":"array","items":{"allOf":[
            {"$ref":"#/components/schemas/TokenLogprob"},
            {"type":"object","required":["top_logprobs"],"properties":{
                "top_logprobs":{"type":"array","maxItems":20,
                    "items":{"$ref":"#/components/schemas/TokenLogprob"}}}}]}}}})},
    {"ChatReply", JSON({"type":"object",
        "required":["id","object","created","model","choices","usage"],"properties":{
            "id":{"type":"string","pattern":"^chatcmpl-"},
            "object":{"const":"chat.completion"},
            "created":{"type":"integer"},
            "model":{"$ref":"#/components/schemas/ModelId"},
            "service_tier":{"const":"default"},
            "system_fingerprint":{"type":"string"},
            "prompt_token_ids":{"$ref":"#/components/schemas/TokenIds"},
            "prompt_logprobs":{"$ref":"#/components/schemas/PromptLogprobs"},
            "choices":{"type":"array","minItems":1,"items":{"type":"object",
                "required":["index","message","logprobs","finish_reason"],"properties":{
                    "index":{"type":"integer","minimum":0},
                    "message":{"type":"object","required":["role","content","refusal"],
                        "properties":{
                            "role":{"const":"assistant"},
                            "content":{"type":["string","null"]},
                            "reasoning_content":{"type":"string"},
                            "tool_calls":{"type":"array","minItems":1,
                                "items":{"$ref":"#/components/schemas/ToolCall"}},
                            "refusal":{"type":"null"},
                            "annotations":{"type":"array","maxItems":0}}},
                    "logprobs":{"anyOf":[{"type":"null"},
                        {"$ref":"#/components/schemas/ChatLogprobs"}]},
                    "finish_reason":{"type":"string","enum":["stop","length","tool_calls"]},
                    "token_ids":{"$ref":"#/components/schemas/TokenIds"}}}},
            "usage":{"$ref":"#/components/schemas/Usage"}}})},

    {"Response", JSON({"type":"object",
        "required":["id","object","created_at","status","model","output","usage"],"properties":{
            "id":{"type":"string","pattern":"^resp_"},
            "object":{"const":"response"},
            "created_at":{"type":"integer"},
            "status":{"type":"string","enum":["completed","incomplete"]},
            "model":{"$ref":"#/components/schemas/ModelId"},
            "output":{"type":"array","items":{"type":"object","required":["id","type"],
                "properties":{
                    "id":{"type":"string"},
                    "type":{"type":"string","enum":["message","reasoning","function_call"]},
                    "call_id":{"type":"string"},
                    "name":{"type":"string"},
                    "arguments":{"type":"string"},
                    "content":{"type":"array","items":{"type":"object","required":["type","text"],
                        "properties":{
                            "type":{"type":"string","enum":["output_text","reasoning_text"]},
                            "text":{"type":"string"}}}}}}},
            "usage":{"type":"object","required":["input_tokens","output_tokens","total_tokens"],
                "properties":{
                    "input_tokens":{"type":"integer","minimum":1},
                    "output_tokens":{"type":"integer","minimum":0},
                    "total_tokens":{"type":"integer","minimum":1}}}}})},
    {"ResponseInputTokens", JSON({"type":"object","required":["object","input_tokens"],
        "properties":{
            "object":{"const":"response.input_tokens"},
            "input_tokens":{"type":"integer","minimum":1}}})},
    {"MessageReply", JSON({"type":"object",
        "required":["id","type","role","model","content","stop_reason","stop_sequence","usage"],
        "properties":{
            "id":{"type":"string","pattern":"^msg_"},
            "type":{"const":"message"},
            "role":{"const":"assistant"},
            "model":{"$ref":"#/components/schemas/ModelId"},
            "content":{"type":"array","items":{"type":"object","required":["type"],"properties":{
                "type":{"type":"string","enum":["text","thinking","tool_use"]},
                "text":{"type":"string"},"thinking":{"type":"string"},
                "id":{"type":"string"},"name":{"type":"string"},"input":{"type":"object"}}}},
            "stop_reason":{"type":"string",
                "enum":["end_turn","max_tokens","stop_sequence","tool_use"]},
            "stop_sequence":{"type":["string","null"]},
            "usage":{"type":"object","required":["input_tokens","output_tokens"],"properties":{
                "input_tokens":{"type":"integer","minimum":1},
                "output_tokens":{"type":"integer","minimum":0}}}}})},
    {"MessageTokens", JSON({"type":"object","required":["input_tokens"],"properties":{
        "input_tokens":{"type":"integer","minimum":1}}})},

    {"Model", JSON({"type":"object","required":["id","object","created","owned_by"],"properties":{
        "id":{"$ref":"#/components/schemas/ModelId"},
        "object":{"const":"model"},
        "created":{"type":"integer"},
        "owned_by":{"type":"string"},
        "meta":{"type":"object","properties":{
            "n_params":{"type":"integer"},"n_vocab":{"type":"integer"},
            "state_bytes":{"type":"integer"}}}}})},
    {"ModelList", JSON({"type":"object","required":["object","data"],"properties":{
        "object":{"const":"list"},
        "data":{"type":"array","items":{"$ref":"#/components/schemas/Model"}}}})},
    {"TokenizeReply", JSON({"type":"object","required":["tokens","count"],"properties":{
        "tokens":{"$ref":"#/components/schemas/TokenIds"},
        "count":{"type":"integer","minimum":0}}})},
    {"DetokenizeReply", JSON({"type":"object","required":["prompt"],"properties":{
        "prompt":{"type":"string"}}})},
    {"TokenCount", JSON({"type":"object","required":["count"],"properties":{
        "count":{"type":"integer","minimum":0}}})},
    {"TemplateReply", JSON({"type":"object","required":["prompt"],"properties":{
        "prompt":{"type":"string"}}})},
    {"Status", JSON({"type":"object","required":["status"],"properties":{
        "status":{"type":"string"}}})},
    {"Version", JSON({"type":"object","required":["name","version","model","device"],
        "properties":{
            "name":{"const":"skein"},"version":{"type":"string"},"model":{"type":"string"},
            "device":{"type":"string"}}})},
    {"Index", JSON({"type":"object","required":["name","model","endpoints"],"properties":{
        "name":{"const":"skein"},"model":{"type":"string"},
        "endpoints":{"type":"array","items":{"type":"object","required":["method","path"],
            "properties":{"method":{"type":"string"},"path":{"type":"string"}}}}}})},
    {"OpenApi", JSON({"type":"object","required":["openapi","info","paths"]})},
};
/* clang-format on */

size_t openapi_schemas_count(void)
{
    return sizeof(schemas) / sizeof(schemas[0]);
}

const struct openapi_schema *openapi_schemas_at(size_t index)
{
    ASSERT_COMPARE(index, <, openapi_schemas_count());
    return &schemas[index];
}
