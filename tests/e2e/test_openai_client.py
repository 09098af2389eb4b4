# SPDX-License-Identifier: Apache-2.0
"""At stake: programs written for OpenAI work by changing their base URL.

Shown with the official `openai` client, whose own types must accept every reply and chunk.
"""

import asyncio

import openai
import pytest

from payloads import ADDITION, ADDITION_ANSWER, ADDITION_PROMPT, chat

MODEL = "gosling"


@pytest.fixture(scope="module")
def client(locked_server):
    with openai.OpenAI(
        base_url=f"{locked_server.url}/v1", api_key=locked_server.key, max_retries=0
    ) as official:
        yield official


def messages(text=ADDITION):
    return chat(text)["messages"]


def validate(reply):
    """Checks a reply against the client's own type, which parsing alone does not."""
    type(reply).model_validate(reply.model_dump(), strict=True)
    return reply


def test_chat_is_right(client):
    reply = validate(client.chat.completions.create(model=MODEL, messages=messages()))
    assert reply.choices[0].message.content == ADDITION_ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_chat_streams(client):
    stream = client.chat.completions.create(model=MODEL, messages=messages(), stream=True)
    chunks = [validate(chunk) for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == ADDITION_ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_chat_stream_reports_usage(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=messages(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens >= 2


def test_chat_stream_helper_collects_the_answer(client):
    with client.chat.completions.stream(model=MODEL, messages=messages()) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ADDITION_ANSWER


def test_completion_is_right(client):
    reply = validate(client.completions.create(model=MODEL, prompt=ADDITION_PROMPT))
    assert reply.choices[0].text == " " + ADDITION_ANSWER


def test_completion_streams(client):
    stream = client.completions.create(model=MODEL, prompt=ADDITION_PROMPT, stream=True)
    chunks = list(stream)
    # The client's type for a chunk wrongly wants a finish_reason in every one.
    validate(chunks[-1])
    assert "".join(chunk.choices[0].text for chunk in chunks) == " " + ADDITION_ANSWER


def test_async_clients_stream_at_once(locked_server):
    async def one(client, number):
        stream = await client.chat.completions.create(
            model=MODEL, messages=messages(f"What is {number}+1?"), stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(
            base_url=f"{locked_server.url}/v1", api_key=locked_server.key, max_retries=0
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20, 36)))

    assert asyncio.run(all_of_them()) == [str(number + 1) for number in range(20, 36)]


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert validate(client.models.retrieve(MODEL)).id == MODEL


def test_reply_carries_its_request_id(client):
    assert client.chat.completions.create(model=MODEL, messages=messages())._request_id


def test_logprobs_are_typed(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=messages(), logprobs=True, top_logprobs=3
    )
    content = validate(reply).choices[0].logprobs.content
    assert all(len(entry.top_logprobs) == 3 for entry in content)


def test_wrong_key_is_an_authentication_error(locked_server):
    with openai.OpenAI(
        base_url=f"{locked_server.url}/v1", api_key="wrong", max_retries=0
    ) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.models.list()
    assert caught.value.code == "invalid_api_key"


def test_unknown_model_is_a_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=messages())
    assert caught.value.code == "model_not_found"


def test_bad_field_is_a_bad_request_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=messages(), temperature=3)
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"


def test_full_server_is_an_internal_server_error(start_server):
    """503 is what the client calls InternalServerError; it would retry it by itself."""
    full = start_server("--slots", "1", "--queue", "1", "--queue-timeout", "200ms")
    running = {"max_tokens": 60000, "extra_body": {"ignore_eos": True}, "stream": True}
    with openai.OpenAI(base_url=f"{full.url}/v1", api_key="any", max_retries=0) as client:
        stream = client.completions.create(model=MODEL, prompt=ADDITION_PROMPT, **running)
        next(iter(stream))
        with pytest.raises(openai.InternalServerError) as caught:
            client.completions.create(model=MODEL, prompt=ADDITION_PROMPT)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) >= 1
        stream.close()
