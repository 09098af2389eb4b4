# SPDX-License-Identifier: Apache-2.0
"""At stake: programs written for OpenAI's Responses API work by changing their base URL.

Shown with the official `openai` client, whose own types must accept every reply and every event.
"""

import asyncio
import json

import openai
import pytest

from payloads import ADDITION, ADDITION_ANSWER, assert_error

MODEL = "gosling"
ONE_ANSWER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture(scope="module")
def client(locked_server):
    with openai.OpenAI(
        base_url=f"{locked_server.url}/v1", api_key=locked_server.key, max_retries=0
    ) as official:
        yield official


def validate(reply):
    """Checks a reply against the client's own type, which parsing alone does not."""
    type(reply).model_validate(reply.model_dump(), strict=True)
    return reply


def once_each(names):
    """Without repetitions of the name before."""
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def events_of(client, **fields):
    return [
        validate(event)
        for event in client.responses.create(model=MODEL, stream=True, **fields)
    ]


def test_response_is_right(client):
    reply = validate(client.responses.create(model=MODEL, input=ADDITION))
    assert reply.output_text == ADDITION_ANSWER
    assert reply.status == "completed"
    assert reply.error is None and reply.incomplete_details is None
    usage = reply.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.output_tokens >= 2


def test_response_repeats_what_was_asked(client):
    reply = validate(
        client.responses.create(
            model=MODEL,
            input=ADDITION,
            instructions="Be brief.",
            metadata={'a "name"': "a\nvalue"},
            temperature=0.25,
            max_output_tokens=50,
            reasoning={"effort": "low"},
            store=True,
        )
    )
    assert reply.instructions == "Be brief."
    assert reply.metadata == {'a "name"': "a\nvalue"}
    assert (reply.temperature, reply.max_output_tokens) == (0.25, 50)
    assert reply.reasoning.effort == "low"
    assert reply.store is False
    assert reply.previous_response_id is None


def test_response_is_incomplete_when_cut(client):
    reply = validate(client.responses.create(model=MODEL, input=ADDITION, max_output_tokens=2))
    assert reply.status == "incomplete"
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert reply.output[0].status == "incomplete"
    events = events_of(client, input=ADDITION, max_output_tokens=2)
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == reply.output_text


def test_conversation_is_sent_as_items(client):
    first = "Remember: the key of door 4 is plum."
    reply = client.responses.create(model=MODEL, input=first)
    assert reply.output_text == "Noted."
    items = [{"role": "user", "content": first}]
    items += [item.model_dump(exclude_none=True) for item in reply.output]
    items.append(
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "What is the key of door 4?"}],
        }
    )
    assert validate(client.responses.create(model=MODEL, input=items)).output_text == "plum"


def test_stream_has_every_event_in_order(client):
    events = events_of(client, input=ADDITION)
    assert once_each([event.type for event in events]) == ONE_ANSWER
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == ADDITION_ANSWER
    created, last = events[0].response, events[-1].response
    assert (created.id, created.created_at) == (last.id, last.created_at)
    assert (created.status, last.status) == ("in_progress", "completed")
    assert last.output_text == ADDITION_ANSWER
    items = {event.item_id for event in events if hasattr(event, "item_id")}
    assert items == {last.output[0].id}


def test_stream_equals_the_plain_reply(client):
    fields = {"input": "Echo: blue kite", "temperature": 1, "extra_body": {"seed": 7}}
    plain = client.responses.create(model=MODEL, **fields)
    last = events_of(client, **fields)[-1].response
    assert last.output_text == plain.output_text
    assert last.usage == plain.usage


def test_stream_helper_collects_the_answer(client):
    with client.responses.stream(model=MODEL, input=ADDITION) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == ADDITION_ANSWER


def test_stream_on_the_wire_names_its_events(server):
    reply = server.post("/v1/responses", {"input": ADDITION, "stream": True})
    blocks = reply.body.decode().strip("\n").split("\n\n")
    for block in blocks:
        name, data = block.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
    assert "[DONE]" not in blocks[-1]


def test_async_clients_stream_at_once(locked_server):
    async def one(client, number):
        text = ""
        stream = await client.responses.create(
            model=MODEL, input=f"What is {number}+1?", stream=True
        )
        async for event in stream:
            text += event.delta if event.type == "response.output_text.delta" else ""
        return text

    async def all_of_them():
        async with openai.AsyncOpenAI(
            base_url=f"{locked_server.url}/v1", api_key=locked_server.key, max_retries=0
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20, 36)))

    assert asyncio.run(all_of_them()) == [str(number + 1) for number in range(20, 36)]


def test_long_answer_is_repeated_whole(server):
    """The last events together are larger than what makes a stream pause."""
    body = {
        "input": "Echo: blue kite",
        "stream": True,
        "max_output_tokens": 9000,
        "ignore_eos": True,
        "temperature": 2,
        "top_p": 1,
        "seed": 3,
    }
    reply = server.post("/v1/responses", body, timeout=300)
    events = [
        json.loads(line.removeprefix("data: "))
        for line in reply.body.decode().split("\n")
        if line.startswith("data: ")
    ]
    text = "".join(event["delta"] for event in events if "delta" in event)
    assert len(text.encode()) > 8 * 1024  # Two such events fill half of the ring.
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_input_tokens_are_counted(client):
    counted = validate(client.responses.input_tokens.count(model=MODEL, input=ADDITION))
    reply = client.responses.create(model=MODEL, input=ADDITION)
    assert counted.input_tokens == reply.usage.input_tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
         "input[0].content[0].type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
)
def test_field_is_refused_by_its_name(server, fields, param):
    reply = server.post("/v1/responses", {"input": ADDITION, **fields})
    assert_error(reply, 400, param=param)
    streamed = server.post("/v1/responses", {"input": ADDITION, **fields, "stream": True})
    assert_error(streamed, 400, param=param)


def test_input_is_required_also_with_instructions(server):
    assert_error(server.post("/v1/responses", {"instructions": "x"}), 400, param="input")


def test_null_is_absent(server):
    names = ("instructions", "previous_response_id", "max_output_tokens", "temperature", "tools")
    reply = server.post("/v1/responses", {"input": ADDITION, **dict.fromkeys(names)})
    assert reply.status == 200


def test_prefix_may_be_left_out(server):
    assert server.post("/responses", {"input": ADDITION}).status == 200
