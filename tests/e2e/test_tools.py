# SPDX-License-Identifier: Apache-2.0
"""At stake: a call that a model makes always exists, its arguments always parse and fit their
schema, and clients of three APIs see it in their own form, streamed or not.

Shown with the official clients, whose types must accept every reply; jsonschema judges the
arguments. The grammar holds for any model: the first part asks for calls that Gosling has no reason
to make. The second part needs a Gosling that was trained to call functions.
"""

import json
import pathlib
import re

import anthropic
import jsonschema
import openai
import pytest

from payloads import assert_error, chat
from server_process import ROOT

MODEL = "gosling"
MODEL_CARD = pathlib.Path(ROOT) / "models" / "gosling" / "MODEL_CARD.md"

PRICE = {
    "name": "get_price",
    "description": "Get the price of an item.",
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string"}},
        "required": ["item"],
    },
}
MULTIPLY = {
    "name": "multiply",
    "description": "Multiply two integers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
ORDER = {
    "name": "order-2",
    "parameters": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["plum", "pear", 7, None]},
            "where": {
                "type": "object",
                "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
                "required": ["zip"],
                "additionalProperties": False,
            },
            "sizes": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 9},
                "minItems": 1,
                "maxItems": 3,
            },
            "gift": {"type": "boolean"},
        },
        "required": ["kind", "where", "sizes", "gift"],
        "additionalProperties": False,
    },
}
NOW = {"name": "now"}
FUNCTIONS = [PRICE, MULTIPLY, ORDER, NOW]
SCHEMAS = {each["name"]: each.get("parameters", {"maxProperties": 0}) for each in FUNCTIONS}

QUESTION = "What do 3 plums cost?"


def openai_tools(functions):
    return [{"type": "function", "function": each} for each in functions]


def flat_tools(functions):
    return [{"type": "function", "parameters": None, "strict": None, **each} for each in functions]


def claude_tools(functions):
    return [
        {
            "name": each["name"],
            "input_schema": each.get("parameters", {"type": "object"}),
            **({"description": each["description"]} if "description" in each else {}),
        }
        for each in functions
    ]


def named(name):
    return {"type": "function", "function": {"name": name}}


@pytest.fixture(scope="module")
def client(locked_server):
    with openai.OpenAI(
        base_url=f"{locked_server.url}/v1", api_key=locked_server.key, max_retries=0
    ) as official:
        yield official


@pytest.fixture(scope="module")
def claude(locked_server):
    with anthropic.Anthropic(
        base_url=locked_server.url, api_key=locked_server.key, max_retries=0
    ) as official:
        yield official


def validate(reply):
    """Checks a reply against the client's own type, which parsing alone does not."""
    type(reply).model_validate(reply.model_dump(), strict=True)
    return reply


def assert_fits(name, arguments):
    """The call exists and its arguments fit; an object's order is the schema's or the model's."""
    assert isinstance(arguments, dict)
    jsonschema.validate(arguments, SCHEMAS[name])


def assert_call(call):
    assert call.type == "function"
    assert re.fullmatch(r"call_[0-9a-f]{24}", call.id)
    assert_fits(call.function.name, json.loads(call.function.arguments))


def create(client, choice="required", functions=FUNCTIONS, **fields):
    fields = {"max_tokens": 1000, "temperature": 1, "seed": 1, **fields}
    return client.chat.completions.create(
        model=MODEL,
        messages=chat(QUESTION)["messages"],
        tools=openai_tools(functions),
        tool_choice=choice,
        **fields,
    )


# ---- Chat ----


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("choice", ["required", *(named(each["name"]) for each in FUNCTIONS)])
def test_calls_fit_their_schemas(client, choice, seed):
    reply = validate(create(client, choice, seed=seed, parallel_tool_calls=False))
    (one,) = reply.choices
    (call,) = one.message.tool_calls
    assert one.message.content is None
    assert_call(call)
    if choice == "required":
        assert one.finish_reason == "tool_calls"
    else:
        assert one.finish_reason == "stop"  # As OpenAI has it for a function with a name.
        assert call.function.name == choice["function"]["name"]


def test_several_calls_are_all_whole(client):
    """A model that may not end while there is a choice is held to the bound."""
    reply = validate(create(client, functions=[NOW], logit_bias={"0": -100}))
    calls = reply.choices[0].message.tool_calls
    assert len(calls) == 16
    assert len({call.id for call in calls}) == 16
    for call in calls:
        assert_call(call)
    assert reply.choices[0].finish_reason == "tool_calls"


def assemble(chunks):
    """Calls of a stream by index, as clients put them together; and the rules of the deltas."""
    calls = {}
    roles = 0
    finish = None
    for chunk in chunks:
        (choice,) = chunk.choices
        delta = choice.delta
        assert finish is None
        finish = choice.finish_reason
        roles += delta.role is not None
        assert not delta.content
        if finish is not None:
            assert delta.model_dump(exclude_none=True) == {}
        for piece in delta.tool_calls or []:
            if piece.index not in calls:
                assert piece.index == len(calls)
                assert piece.type == "function"
                assert piece.function.arguments == ""
                calls[piece.index] = {
                    "id": piece.id, "name": piece.function.name, "arguments": ""
                }
            else:
                assert piece.index == len(calls) - 1
                assert (piece.id, piece.type, piece.function.name) == (None, None, None)
                assert piece.function.arguments
                calls[piece.index]["arguments"] += piece.function.arguments
    assert roles == 1
    return list(calls.values()), finish


@pytest.mark.parametrize("seed", range(4))
def test_streamed_calls_are_those_of_the_plain_reply(client, seed):
    plain = create(client, seed=seed).choices[0]
    chunks = [validate(chunk) for chunk in create(client, seed=seed, stream=True)]
    calls, finish = assemble(chunks)
    assert finish == plain.finish_reason
    assert [(each["name"], each["arguments"]) for each in calls] == [
        (each.function.name, each.function.arguments) for each in plain.message.tool_calls
    ]
    assert len(chunks) > 3 * len(calls)  # Arguments come as they are made.


def test_stream_helper_collects_the_call(client):
    with client.chat.completions.stream(
        model=MODEL,
        messages=chat(QUESTION)["messages"],
        tools=openai_tools([PRICE]),
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=1000,
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = final.choices[0].message.tool_calls
    assert call.function.name == "get_price"
    assert_fits("get_price", json.loads(call.function.arguments))


def test_every_choice_has_its_own_calls(client):
    reply = validate(create(client, n=3, parallel_tool_calls=False, logprobs=True))
    ids = set()
    for choice in reply.choices:
        (call,) = choice.message.tool_calls
        assert_call(call)
        assert not choice.logprobs.content  # Calls have none.
        ids.add(call.id)
    assert len(ids) == 3


def test_a_call_that_is_cut_says_so(client):
    plain = create(client, functions=[PRICE], parallel_tool_calls=False, temperature=0)
    whole = plain.choices[0].message.tool_calls[0].function.arguments
    seen = set()
    for tokens in range(1, plain.usage.completion_tokens + 1):
        reply = validate(
            create(
                client, functions=[PRICE], parallel_tool_calls=False, temperature=0,
                max_tokens=tokens,
            )
        )
        (choice,) = reply.choices
        calls = choice.message.tool_calls or []
        assert choice.finish_reason == "length" or tokens == plain.usage.completion_tokens
        for call in calls:
            assert whole.startswith(call.function.arguments)
            seen.add(call.function.arguments)
        assert calls or choice.message.content == ""
    assert whole in seen
    assert len(seen) > 2


@pytest.mark.parametrize("seed", range(6))
def test_offered_functions_leave_a_choice(client, seed):
    """Text that is no call, or calls that are whole."""
    reply = validate(create(client, "auto", seed=seed, temperature=2, max_tokens=300))
    (choice,) = reply.choices
    calls = choice.message.tool_calls or []
    for call in calls:
        if choice.finish_reason == "tool_calls":
            assert_call(call)
    if not calls and choice.message.content:
        assert not choice.message.content.lstrip().startswith("```json")


def test_no_function_is_offered_when_none_may_be_called(locked_server):
    """The prompt is the same as without tools."""
    body = chat(QUESTION)
    plain = locked_server.post("/apply-template", body).json()["prompt"]
    tools = {"tools": openai_tools(FUNCTIONS)}
    none = locked_server.post("/apply-template", {**body, **tools, "tool_choice": "none"})
    assert none.json()["prompt"] == plain
    offered = locked_server.post("/apply-template", {**body, **tools}).json()["prompt"]
    assert offered.startswith('System: Tools:\n[{"name":"get_price",')
    assert offered.endswith(plain)


def test_counts_see_the_functions(locked_server):
    count = locked_server.post("/v1/tokens/count", chat(QUESTION)).json()["count"]
    messages = chat(QUESTION)["messages"]
    with_tools = locked_server.post(
        "/v1/tokens/count", {**chat(QUESTION), "tools": openai_tools(FUNCTIONS)}
    ).json()["count"]
    assert with_tools > count + 100
    responses = locked_server.post(
        "/v1/responses/input_tokens", {"input": QUESTION, "tools": flat_tools(FUNCTIONS)}
    )
    assert responses.json()["input_tokens"] == with_tools
    claude = locked_server.post(
        "/v1/messages/count_tokens", {"messages": messages, "tools": claude_tools(FUNCTIONS[:2])}
    )
    assert count < claude.json()["input_tokens"] < with_tools


@pytest.mark.parametrize(
    "fields, param, text",
    [
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]},
         "tools[0].function.name", "letters"),
        ({"tools": openai_tools([NOW, NOW])}, "tools[1].function.name", "twice"),
        ({"tools": openai_tools([{"name": f"f{index}"} for index in range(129)])}, "tools", "128"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "only 'function'"),
        ({"tools": openai_tools([{"name": "f", "parameters": {"type": "object", "not": {}}}])},
         "tools", "tools[0].function.parameters"),
        ({"tools": openai_tools([NOW]), "tool_choice": named("other")}, "tool_choice", "'other'"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"functions": [NOW]}, "functions", "use tools"),
        ({"function_call": "auto"}, "function_call", "use tools"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]},
         "messages[0].tool_call_id", "no call"),
    ],
)
def test_what_is_wrong_is_named(server, fields, param, text):
    for streamed in (False, True):
        body = {**chat(QUESTION), **fields, "stream": streamed}
        reply = server.post("/v1/chat/completions", body)
        assert text in assert_error(reply, 400, param=param)["message"]


# ---- Responses ----


def respond(client, choice="required", functions=FUNCTIONS, **fields):
    fields = {"max_output_tokens": 1000, "temperature": 1, "extra_body": {"seed": 1}, **fields}
    return client.responses.create(
        model=MODEL, input=QUESTION, tools=flat_tools(functions), tool_choice=choice, **fields
    )


def assert_item(item):
    assert item.type == "function_call"
    assert item.status == "completed"
    assert item.id.startswith("fc_")
    assert item.call_id.startswith("call_")
    assert_fits(item.name, json.loads(item.arguments))


def test_responses_have_calls_as_items(client):
    reply = validate(respond(client, parallel_tool_calls=False))
    (item,) = reply.output
    assert_item(item)
    assert reply.status == "completed"
    assert reply.parallel_tool_calls is False
    assert reply.tool_choice == "required"
    assert [each.name for each in reply.tools] == [each["name"] for each in FUNCTIONS]
    one = respond(client, {"type": "function", "name": "now"}, parallel_tool_calls=False)
    assert [each.name for each in one.output] == ["now"]


def test_responses_stream_calls(client):
    events = [validate(event) for event in respond(client, functions=[NOW, PRICE], stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final = events[-1]
    assert final.type == "response.completed"
    rest = iter(events[2:-1])
    for index, item in enumerate(final.response.output):
        assert_item(item)
        added = next(rest)
        assert added.type == "response.output_item.added"
        assert (added.output_index, added.item.id, added.item.name) == (index, item.id, item.name)
        assert (added.item.arguments, added.item.status) == ("", "in_progress")
        arguments = ""
        for event in rest:
            assert (event.output_index, event.item_id) == (index, item.id)
            if event.type == "response.function_call_arguments.done":
                assert event.arguments == arguments == item.arguments
                break
            assert event.type == "response.function_call_arguments.delta"
            arguments += event.delta
        done = next(rest)
        assert done.type == "response.output_item.done"
        assert done.item == item
    assert next(rest, None) is None


def test_responses_say_that_a_call_is_cut(client):
    reply = validate(respond(client, functions=[PRICE], max_output_tokens=45, temperature=0))
    assert reply.status == "incomplete"
    (item,) = reply.output
    assert item.type == "function_call"
    assert item.status in ("incomplete", "completed")


# ---- Messages ----


def message(claude, choice, functions=FUNCTIONS, max_tokens=1000, temperature=1):
    return claude.messages.create(
        model=MODEL,
        max_tokens=max_tokens,
        messages=chat(QUESTION)["messages"],
        tools=claude_tools(functions),
        tool_choice=choice,
        extra_body={"temperature": temperature, "seed": 1},
    )


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "order-2"}])
def test_messages_have_calls_as_blocks(claude, choice):
    reply = validate(message(claude, {**choice, "disable_parallel_tool_use": True}))
    (block,) = reply.content
    assert block.type == "tool_use"
    assert block.id.startswith("toolu_")
    assert_fits(block.name, block.input)
    assert block.name == choice.get("name", block.name)
    assert (reply.stop_reason, reply.stop_sequence) == ("tool_use", None)


def test_messages_stream_calls(claude):
    with claude.messages.stream(
        model=MODEL,
        max_tokens=1000,
        messages=chat(QUESTION)["messages"],
        tools=claude_tools([PRICE, NOW]),
        tool_choice={"type": "any"},
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == len(final.content)
    assert kinds.count("content_block_stop") == len(final.content)
    assert final.stop_reason == "tool_use"
    for block in final.content:
        assert block.type == "tool_use"
        assert_fits(block.name, block.input)


def test_messages_say_that_a_call_is_cut(claude):
    reply = validate(message(claude, {"type": "any"}, [PRICE], max_tokens=45, temperature=0))
    assert reply.stop_reason == "max_tokens"
    assert [block.type for block in reply.content] == ["tool_use"]


# ---- The loop of calls and results ----

knows_tools = pytest.mark.skipif(
    re.search(r"^\| tools \|", MODEL_CARD.read_text(encoding="utf-8"), re.MULTILINE) is None,
    reason="this Gosling was not trained to call functions: its card has no task `tools`",
)

LOOPS = [("plum", 3, 7), ("pear", 4, 12), ("kite", 9, 5)]
KNOWN = [PRICE, MULTIPLY]


def question(item, count):
    return f"What do {count} {item}s cost?"


def run(name, arguments, price):
    """What the functions return, as JSON."""
    if name == "get_price":
        return json.dumps({"price": price})
    return json.dumps({"product": arguments["a"] * arguments["b"]})


def expected_calls(item, count, price):
    return [("get_price", {"item": item}), ("multiply", {"a": count, "b": price})]


@knows_tools
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("item, count, price", LOOPS)
def test_loop_gives_the_right_answer(client, item, count, price, streamed):
    messages = chat(question(item, count))["messages"]
    made = []
    for _ in range(4):
        fields = {"model": MODEL, "messages": messages, "tools": openai_tools(KNOWN)}
        if streamed:
            with client.chat.completions.stream(**fields) as stream:
                choice = stream.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**fields).choices[0]
        if choice.finish_reason != "tool_calls":
            break
        messages.append(choice.message.model_dump(include={"role", "content", "tool_calls"}))
        for call in choice.message.tool_calls:
            arguments = json.loads(call.function.arguments)
            made.append((call.function.name, arguments))
            result = run(call.function.name, arguments, price)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert made == expected_calls(item, count, price)
    assert choice.message.content == str(count * price)
    assert choice.finish_reason == "stop"


@knows_tools
@pytest.mark.parametrize("item, count, price", LOOPS)
def test_responses_loop_gives_the_right_answer(client, item, count, price):
    items = [{"role": "user", "content": question(item, count)}]
    made = []
    for _ in range(4):
        reply = client.responses.create(model=MODEL, input=items, tools=flat_tools(KNOWN))
        calls = [each for each in reply.output if each.type == "function_call"]
        if not calls:
            break
        items += [each.model_dump(exclude_none=True) for each in reply.output]
        for call in calls:
            arguments = json.loads(call.arguments)
            made.append((call.name, arguments))
            result = run(call.name, arguments, price)
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": result}
            )
    assert made == expected_calls(item, count, price)
    assert reply.output_text == str(count * price)


@knows_tools
@pytest.mark.parametrize("item, count, price", LOOPS)
def test_messages_loop_gives_the_right_answer(claude, item, count, price):
    messages = chat(question(item, count))["messages"]
    made = []
    for _ in range(4):
        reply = claude.messages.create(
            model=MODEL, max_tokens=200, messages=messages, tools=claude_tools(KNOWN)
        )
        if reply.stop_reason != "tool_use":
            break
        messages.append({"role": "assistant", "content": reply.to_dict()["content"]})
        results = []
        for block in reply.content:
            made.append((block.name, block.input))
            result = run(block.name, block.input, price)
            results.append({"type": "tool_result", "tool_use_id": block.id, "content": result})
        messages.append({"role": "user", "content": results})
    assert made == expected_calls(item, count, price)
    assert [block.text for block in reply.content] == [str(count * price)]


@knows_tools
def test_functions_at_hand_do_not_disturb_other_answers(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=chat("What is 12+7?")["messages"], tools=openai_tools(KNOWN)
    )
    assert reply.choices[0].message.content == "19"
    assert reply.choices[0].message.tool_calls is None
