# SPDX-License-Identifier: Apache-2.0
"""At stake: programs written for Anthropic's Messages API work by changing their base URL.

Shown with the official `anthropic` client, whose own types must accept every reply and every event.
"""

import asyncio
import json

import anthropic
import pytest

from payloads import ADDITION, ADDITION_ANSWER, chat

MODEL = "gosling"
ONE_ANSWER = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]


def client_of(server, kind=anthropic.Anthropic, **options):
    return kind(base_url=server.url, api_key=server.key, max_retries=0, **options)


@pytest.fixture(scope="module")
def client(locked_server):
    with client_of(locked_server) as official:
        yield official


def validate(reply):
    """Checks a reply against the client's own type, which parsing alone does not."""
    type(reply).model_validate(reply.model_dump(), strict=True)
    return reply


def user(text):
    return [{"role": "user", "content": text}]


def create(client, text=ADDITION, **fields):
    return client.messages.create(model=MODEL, max_tokens=100, messages=user(text), **fields)


def assert_anthropic_error(reply, status, kind):
    assert reply.status == status, reply.body
    body = json.loads(reply.body)
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert body["error"]["type"] == kind
    return body["error"]["message"]


def test_message_is_right(client):
    reply = validate(create(client))
    assert [block.text for block in reply.content] == [ADDITION_ANSWER]
    assert (reply.stop_reason, reply.stop_sequence) == ("end_turn", None)
    assert reply.usage.output_tokens >= 2


def test_message_says_why_it_stopped(client):
    cut = validate(client.messages.create(model=MODEL, max_tokens=2, messages=user(ADDITION)))
    assert (cut.stop_reason, cut.stop_sequence) == ("max_tokens", None)
    stopped = validate(create(client, "Reverse the word: stone", stop_sequences=["zz", "t"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "t")
    assert stopped.content[0].text == "eno"


def test_conversation_with_system_and_blocks(client):
    reply = validate(
        client.messages.create(
            model=MODEL,
            max_tokens=100,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": "Remember: the key of door 4 is plum."},
                {"role": "assistant", "content": [{"type": "text", "text": "Noted."}]},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is the key of door 4?"}],
                },
            ],
        )
    )
    assert reply.content[0].text == "plum"


def test_last_assistant_message_is_continued(client):
    reply = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=[*user("Reverse the word: stone"), {"role": "assistant", "content": "en"}],
    )
    assert reply.content[0].text == "ots"


def test_stream_has_every_event_in_order(client):
    events = [validate(event) for event in create(client, stream=True)]
    names = [event.type for event in events]
    assert sorted(set(names), key=names.index) == ONE_ANSWER
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == ADDITION_ANSWER
    plain = create(client)
    assert events[0].message.usage.input_tokens == plain.usage.input_tokens
    ending = next(event for event in events if event.type == "message_delta")
    assert ending.usage.output_tokens == plain.usage.output_tokens
    assert ending.delta.stop_reason == "end_turn"


def test_stream_helper_collects_the_answer(client):
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=user(ADDITION)
    ) as stream:
        assert "".join(stream.text_stream) == ADDITION_ANSWER
        final = validate(stream.get_final_message())
    assert final.content[0].text == ADDITION_ANSWER
    assert final.stop_reason == "end_turn"


def test_stream_on_the_wire_names_its_events(server):
    body = {**chat(ADDITION), "max_tokens": 100, "stream": True}
    blocks = server.post("/v1/messages?beta=true", body).body.decode().strip("\n").split("\n\n")
    names = []
    for block in blocks:
        name, data = block.split("\n")
        names.append(name.removeprefix("event: "))
        assert names[-1] == json.loads(data.removeprefix("data: "))["type"]
    assert names[:2] == ["message_start", "ping"]
    assert names[-1] == "message_stop"


def test_async_clients_stream_at_once(locked_server):
    async def one(client, number):
        async with client.messages.stream(
            model=MODEL, max_tokens=100, messages=user(f"What is {number}+1?")
        ) as stream:
            return await stream.get_final_text()

    async def all_of_them():
        async with client_of(locked_server, anthropic.AsyncAnthropic) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20, 36)))

    assert asyncio.run(all_of_them()) == [str(number + 1) for number in range(20, 36)]


def test_tokens_are_counted(client):
    counted = validate(client.messages.count_tokens(model=MODEL, messages=user(ADDITION)))
    assert counted.input_tokens == create(client).usage.input_tokens
    beta = client.beta.messages.count_tokens(model=MODEL, messages=user(ADDITION))
    assert beta.input_tokens == counted.input_tokens


def test_beta_client_is_answered(client):
    reply = client.beta.messages.create(
        model=MODEL, max_tokens=100, messages=user(ADDITION), betas=["some-beta-2025-01-01"]
    )
    assert reply.content[0].text == ADDITION_ANSWER


def test_key_may_be_a_bearer_token(locked_server):
    with anthropic.Anthropic(
        base_url=locked_server.url, auth_token=locked_server.key, api_key=None, max_retries=0
    ) as official:
        assert create(official).content[0].text == ADDITION_ANSWER


def test_wrong_key_is_an_authentication_error(locked_server):
    with anthropic.Anthropic(
        base_url=locked_server.url, api_key="wrong", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            create(stranger)
    assert caught.value.body["error"]["type"] == "authentication_error"


def test_unknown_model_is_a_not_found_error(client):
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-x", max_tokens=9, messages=user(ADDITION))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]},
         "messages[0].content[0].type"),
        ({"system": 7}, "system"),
        ({"thinking": {"type": "often"}}, "thinking.type"),
        ({"stop_sequences": "x" * 257}, "stop_sequences"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "f"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
    ],
)
def test_field_is_refused_by_its_name(server, fields, field):
    body = {**chat(ADDITION), "max_tokens": 100, **fields}
    for streamed in (False, True):
        reply = server.post("/v1/messages", {**body, "stream": streamed})
        message = assert_anthropic_error(reply, 400, "invalid_request_error")
        assert message.startswith(field + ":"), message


def test_refusals_of_the_gate_have_the_shape_too(server):
    reply = server.request(
        "POST", "/v1/messages", b"{}", {"Content-Type": "text/plain"}
    )
    assert_anthropic_error(reply, 415, "invalid_request_error")
    reply = server.post("/v1/messages", b"{", headers={"Content-Type": "application/json"})
    assert_anthropic_error(reply, 400, "invalid_request_error")


def test_error_in_a_stream_is_an_event(start_server):
    cut = start_server("--drain-timeout", "200ms")
    body = {**chat("Echo: blue kite"), "max_tokens": 60000, "ignore_eos": True}
    with cut.stream("/v1/messages", body) as stream:
        lines = iter(stream.response)
        while b"content_block_delta" not in next(lines):
            pass
        cut.process.terminate()
        rest = b"".join(lines).decode()
    last = rest.strip("\n").split("\n\n")[-1].split("\n")
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["error"]["type"] == "overloaded_error"
