# SPDX-License-Identifier: Apache-2.0
"""At stake: every documented field means what the document says, at both ends of its range.

Shown by a table of requests made from /openapi.json itself: for each field values that its schema
allows, and values just past it, of a wrong type, and null; each with the status it must get.
"""

import json
import re

import pytest

from payloads import ADDITION, ADDITION_PROMPT, assert_error

# So that the largest max_tokens and n are quick.
LIMITS = ("--slots", "8", "--max-tokens-limit", "40", "--max-tokens-default", "20")

CHAT = {"messages": [{"role": "user", "content": ADDITION}]}
ENDPOINTS = {
    "/v1/completions": ("CompletionRequest", {"prompt": ADDITION_PROMPT}),
    "/v1/chat/completions": ("ChatRequest", CHAT),
    "/tokenize": ("TokenizeRequest", {"prompt": ADDITION_PROMPT}),
    "/v1/tokens/count": ("TokenizeRequest", {"prompt": ADDITION_PROMPT}),
    "/detokenize": ("DetokenizeRequest", {"tokens": [1, 2]}),
    "/apply-template": ("TemplateRequest", CHAT),
    "/v1/responses": ("ResponsesRequest", {"input": ADDITION}),
    "/v1/responses/input_tokens": ("ResponsesCountRequest", {"input": ADDITION}),
    "/v1/messages": ("MessagesRequest", {**CHAT, "max_tokens": 20}),
    "/v1/messages/count_tokens": ("MessagesCountRequest", CHAT),
}

# What a value needs beside it, because two fields are checked together.
DIALOGUE = [
    {"role": "user", "content": ADDITION},
    {"role": "assistant", "content": "1"},
]
COMPANIONS = {
    ("/v1/chat/completions", "continue_final_message"): {"messages": DIALOGUE},
    ("/apply-template", "continue_final_message"): {"messages": DIALOGUE},
    ("/v1/chat/completions", "top_logprobs"): {"logprobs": True},
    ("/v1/chat/completions", "min_tokens"): {"max_tokens": 40},
    ("/v1/completions", "min_tokens"): {"max_tokens": 40},
    ("/v1/responses", "min_tokens"): {"max_output_tokens": 40},
    ("/v1/messages", "min_tokens"): {"max_tokens": 40},
}
FUNCTIONS = [{"name": "hi"}, {"name": "text"}]  # As example() and WRONG_TYPES name them.
NESTED = [{"type": "function", "function": each} for each in FUNCTIONS]
FLAT = [{"type": "function", **each} for each in FUNCTIONS]
CLAUDES = [{**each, "input_schema": {}} for each in FUNCTIONS]
for path in ENDPOINTS:
    tools = FLAT if "responses" in path else CLAUDES if "messages" in path else NESTED
    COMPANIONS[path, "tool_choice"] = {"tools": tools}
WRONG_TYPES = ["text", 1.5, 3, True, [], ["text"], {}, {"a": 1}]


@pytest.fixture(scope="module")
def small_server():
    from server_process import ServerProcess

    small = ServerProcess(*LIMITS)
    yield small
    small.close()


@pytest.fixture(scope="module")
def document(small_server):
    return small_server.get("/openapi.json").json()


def resolve(schema, document):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def types_of(schema):
    types = schema.get("type", [])
    return {types} if isinstance(types, str) else set(types)


def has_type(value, name):
    if name == "boolean":
        return isinstance(value, bool)
    if name == "integer":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(
        value, {"string": str, "array": list, "object": dict, "null": type(None)}[name]
    )


def allows(schema, value, document):
    """Whether the value fits the schema; knows the words of JSON Schema that the document uses."""
    schema = resolve(schema, document)
    if "anyOf" in schema:
        return any(allows(each, value, document) for each in schema["anyOf"])
    if "enum" in schema and not any(
        type(each) is type(value) and each == value for each in schema["enum"]
    ):
        return False
    if types_of(schema) and not any(has_type(value, name) for name in types_of(schema)):
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, str):
        is_json = schema.get("contentMediaType") == "application/json"
        return len(value) <= schema.get("maxLength", len(value)) and (not is_json or value == "{}")
    if isinstance(value, list):
        count = len(value)
        return schema.get("minItems", 0) <= count <= schema.get("maxItems", count) and all(
            allows(schema.get("items", {}), each, document) for each in value
        )
    if isinstance(value, dict):
        names = schema.get("propertyNames", {}).get("pattern", "")
        return (
            len(value) <= schema.get("maxProperties", len(value))
            and all(re.search(names, name) for name in value)
            and all(name in value for name in schema.get("required", []))
            and all(
                allows(
                    schema.get("properties", {}).get(
                        name, schema.get("additionalProperties", {})
                    ),
                    each,
                    document,
                )
                for name, each in value.items()
            )
        )
    return True


def example(schema, document):
    """One value that the schema allows."""
    schema = resolve(schema, document)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], document)
    if "enum" in schema:
        return schema["enum"][0]
    kinds = types_of(schema)
    if "integer" in kinds or "number" in kinds:
        return schema.get("minimum", 0)
    if "boolean" in kinds:
        return True
    if "string" in kinds:
        return "{}" if "contentMediaType" in schema else "hi"
    if "array" in kinds:
        return [example(schema["items"], document)] * schema.get("minItems", 0)
    properties = schema.get("properties", {})
    return {name: example(properties[name], document) for name in schema.get("required", [])}


def edges(schema, document):
    """Values at both ends and one past each, for numbers, lengths and lists."""
    schema = resolve(schema, document)
    for each in schema.get("anyOf", []):
        yield from edges(each, document)
    yield from schema.get("enum", [])
    kinds = types_of(schema)
    if kinds & {"integer", "number"} and "minimum" in schema:
        step = 1 if "integer" in kinds else 0.001
        low, high = schema["minimum"], schema["maximum"]
        yield from (low, high, low - step, high + step, (low + high) // 2)
    if "maxLength" in schema:
        yield from ("x" * schema["maxLength"], "x" * (schema["maxLength"] + 1))
    if "maxItems" in schema:
        item = example(schema.get("items", {"enum": [1]}), document)
        yield from ([item] * schema["maxItems"], [item] * (schema["maxItems"] + 1))
    if "array" in kinds and "items" in schema:
        for value in edges(schema["items"], document):
            yield [value]
    if "object" in kinds:
        required = example(schema, document)
        for name, member in schema.get("properties", {}).items():
            for value in edges(member, document):
                yield {**required, name: value}
            for value in [None, *WRONG_TYPES]:
                yield {**required, name: value}
        if isinstance(schema.get("additionalProperties"), dict):
            for value in edges(schema["additionalProperties"], document):
                yield {"5": value}


def values_of(schema, document):
    """Every value to try, each once."""
    seen = set()
    for value in [example(schema, document), *edges(schema, document), *WRONG_TYPES, None]:
        key = json.dumps(value)
        if key not in seen:
            seen.add(key)
            yield value


def answers_no_call(value):
    """A result of a function stands alone in these values: no call comes before it."""
    return any(f'"{kind}"' in json.dumps(value) for kind in ("function_call_output", "tool_result"))


def has_other_schema(name, value):
    """Values that the document allows and that are no schema of the subset: only a compilation
    can tell."""
    if name not in ("response_format", "structured_outputs", "text"):
        return False
    written = json.dumps(value)
    return any(f'"{key}": {other}' in written for key in ("schema", "json")
               for other in ('{"a": 1}', '"text"'))


def expected_status(path, name, schema, value, document):
    base = ENDPOINTS[path][1]
    required = name in document["components"]["schemas"][ENDPOINTS[path][0]].get("required", [])
    if value is None:
        replaces_text = name == "prompt" and name in base
        return 400 if required or replaces_text else 200
    if name == "model" and isinstance(value, str) and not allows(schema, value, document):
        return 404
    if name == "tools" and isinstance(value, list) and len(value) > 1:
        return 400  # Names are unique, and these are not.
    if name == "tools" and '"type": "object"}, "strict": true' in json.dumps(value):
        return 400 if "max_tokens" in ENDPOINTS[path][1] else 200  # Compiled for an answer only.
    if has_other_schema(name, value) and allows(schema, value, document):
        return 200 if path.endswith("_tokens") else 400  # Compiled for an answer only.
    if name in ("input", "messages") and answers_no_call(value):
        return 400
    if name == "best_of":
        return 200 if value in (0, 1) and not isinstance(value, bool) else 400
    return 200 if allows(schema, value, document) else 400


def cases(path, document):
    name, base = ENDPOINTS[path]
    for field, schema in document["components"]["schemas"][name]["properties"].items():
        for value in values_of(schema, document):
            body = {**base, **COMPANIONS.get((path, field), {}), field: value}
            yield field, value, body, expected_status(path, field, schema, value, document)


def check_refusal(path, field, reply):
    """The error names the field: by `param`, or in Anthropic's form at the message's start."""
    if path.startswith("/v1/messages"):
        error = reply.json()["error"]
        name = error["message"].split(":")[0]
    else:
        error = assert_error(reply, reply.status)
        name = error["param"]
    assert name.split(".")[0].split("[")[0] == field, (field, error)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_field_at_its_ends(path, small_server, document):
    wrong = []
    count = 0
    for field, value, body, status in cases(path, document):
        count += 1
        reply = small_server.post(path, body)
        if reply.status != status:
            shown = json.dumps(value)[:80]
            wrong.append(f"{field} = {shown}: {reply.status}, not {status}: {reply.body[:160]}")
        elif status != 200:
            check_refusal(path, field, reply)
    assert not wrong, "\n".join(wrong)
    assert count > 20


def test_document_names_every_route(small_server, document):
    """What GET / lists is in the document, and every reference in it leads somewhere."""
    for route in small_server.get("/").json()["endpoints"]:
        assert route["method"].lower() in document["paths"][route["path"]], route
    operations = [each for path in document["paths"].values() for each in path.values()]
    ids = [each["operationId"] for each in operations]
    assert len(ids) == len(set(ids))
    text = json.dumps(document)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.split('"')[0] in document["components"]["schemas"]


def test_document_needs_the_key(locked_server):
    reply = locked_server.get("/openapi.json", headers={"Authorization": "Bearer wrong"})
    assert_error(reply, 401)
    document = locked_server.get("/openapi.json").json()
    assert document["paths"]["/v1/completions"]["post"]["security"] == [{"key": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []


def test_good_replies_fit_the_document(small_server, document):
    rich = {"logprobs": 2, "prompt_logprobs": 1, "return_token_ids": True, "n": 2, "echo": True}
    for path, fields in (
        ("/v1/completions", {}),
        ("/v1/completions", rich),
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {**rich, "logprobs": True, "top_logprobs": 3}),
        *((path, {}) for path in ENDPOINTS),
    ):
        reply = small_server.post(path, {**ENDPOINTS[path][1], **fields})
        answers = document["paths"][path]["post"]["responses"]
        schema = answers[str(reply.status)]["content"]["application/json"]["schema"]
        assert reply.status == 200, reply.body
        assert allows(schema, reply.json(), document), reply.body
    for path in ("/v1/models", "/v1/models/gosling", "/", "/readyz", "/livez", "/version"):
        answers = document["paths"][path.replace("gosling", "{id}")]["get"]["responses"]
        schema = answers["200"]["content"]["application/json"]["schema"]
        assert allows(schema, small_server.get(path).json(), document), path
