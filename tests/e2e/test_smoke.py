# SPDX-License-Identifier: Apache-2.0
"""At stake: every endpoint answers, with the right text, in OpenAI's shape.

Shown by asking the built-in model for answers that are known, plain and streamed.
"""

import json
import re
import time

import pytest

from payloads import ADDITION, ADDITION_ANSWER, ADDITION_PROMPT, assert_error, chat

pytestmark = pytest.mark.short

# Sampling so free that two draws are never the same.
WILD = {"temperature": 2, "top_p": 1, "ignore_eos": True, "max_tokens": 40}
USAGE_KEYS = {"prompt_tokens", "completion_tokens", "total_tokens"}


def complete(server, prompt=ADDITION_PROMPT, **fields):
    reply = server.post("/v1/completions", {"prompt": prompt, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def converse(server, text=ADDITION, **fields):
    reply = server.post("/v1/chat/completions", chat(text, **fields))
    assert reply.status == 200, reply.body
    return reply.json()


def stream_events(server, path, body):
    with server.stream(path, body) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-accel-buffering"] == "no"
        events = list(stream.events())
        assert stream.done
    return events


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/metrics", "/version"])
def test_operator_endpoint_answers(server, path):
    assert server.get(path).status == 200


def test_health_is_json(server):
    assert server.get("/health").headers["content-type"].startswith("application/json")
    server.get("/health").json()


def test_version_names_the_program(server):
    assert re.search(r"\d+\.\d+\.\d+", json.dumps(server.get("/version").json()))


def test_models_lists_gosling(server):
    listing = server.get("/v1/models").json()
    assert listing["object"] == "list"
    (model,) = listing["data"]
    assert model["id"] == "gosling"
    assert model["object"] == "model"
    assert isinstance(model["created"], int)
    assert isinstance(model["owned_by"], str)
    assert server.get("/v1/models/gosling").json() == model


def test_unknown_model_id_is_not_found(server):
    assert_error(server.get("/v1/models/nobody"), 404, "model", "model_not_found")


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_unknown_model_in_a_request_is_not_found(server, path):
    body = {**chat(ADDITION), "prompt": ADDITION_PROMPT, "model": "nobody"}
    assert_error(server.post(path, body), 404, "model", "model_not_found")


def test_models_keep_their_creation_time(server):
    first = server.get("/v1/models").json()
    time.sleep(1.1)
    assert server.get("/v1/models").json() == first


def test_completion_is_right(server):
    body = complete(server, model="gosling")
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert abs(body["created"] - time.time()) < 60
    assert body["model"] == "gosling"
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "text": " " + ADDITION_ANSWER,
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_chat_is_right(server):
    body = converse(server, model="gosling")
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "gosling"
    (choice,) = body["choices"]
    assert choice["index"] == 0
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == ADDITION_ANSWER
    assert choice["message"]["refusal"] is None
    assert "tool_calls" not in choice["message"]


def test_completion_streams_the_same_text(server):
    events = stream_events(server, "/v1/completions", {"prompt": ADDITION_PROMPT})
    assert {event["object"] for event in events} == {"text_completion"}
    assert len({(event["id"], event["created"]) for event in events}) == 1
    assert "".join(event["choices"][0]["text"] for event in events) == " " + ADDITION_ANSWER
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}
    assert all("usage" not in event for event in events)


def test_chat_streams_the_same_text(server):
    events = stream_events(server, "/v1/chat/completions", chat(ADDITION))
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({(event["id"], event["created"]) for event in events}) == 1
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert all(set(delta) == {"content"} and delta["content"] for delta in deltas[1:-1])
    assert deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == ADDITION_ANSWER
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_stream_ends_with_usage_when_asked(server, path):
    body = {**chat(ADDITION), "prompt": ADDITION_PROMPT}
    events = stream_events(server, path, {**body, "stream_options": {"include_usage": True}})
    assert all(event["usage"] is None for event in events[:-1])
    assert events[-1]["choices"] == []
    usage = events[-1]["usage"]
    assert USAGE_KEYS <= set(usage)
    plain = server.post(path, body).json()["usage"]
    assert {key: usage[key] for key in USAGE_KEYS} == {key: plain[key] for key in USAGE_KEYS}


def test_usage_counts_tokens_as_tokenize_does(server):
    usage = complete(server)["usage"]
    tokens = server.post("/tokenize", {"prompt": ADDITION_PROMPT}).json()["tokens"]
    assert usage["prompt_tokens"] == len(tokens)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] >= 2


@pytest.mark.parametrize("text", [ADDITION_PROMPT, "", "Grüße, 鵞鳥 🪿", "a\tb\r\n\u0001"])
def test_detokenize_undoes_tokenize(server, text):
    tokenized = server.post("/tokenize", {"prompt": text}).json()
    assert tokenized["count"] == len(tokenized["tokens"])
    back = server.post("/detokenize", {"tokens": tokenized["tokens"]}).json()
    assert back["prompt"] == text


def test_detokenize_refuses_an_unknown_token(server):
    for token in (-1, 1 << 20, 1 << 40):
        assert_error(server.post("/detokenize", {"tokens": [1, token]}), 400)


def test_token_ids_are_a_prompt(server):
    tokens = server.post("/tokenize", {"prompt": ADDITION_PROMPT}).json()["tokens"]
    assert complete(server, tokens)["choices"][0]["text"] == " " + ADDITION_ANSWER


def test_content_may_be_parts(server):
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": ADDITION}]}]}
    reply = server.post("/v1/chat/completions", body)
    assert reply.json()["choices"][0]["message"]["content"] == ADDITION_ANSWER


def test_content_parts_are_joined_by_line_feeds(server):
    def tokens(content):
        return server.post("/tokenize", {"messages": [{"role": "user", "content": content}]}).json()

    parts = [{"type": "text", "text": text} for text in ("one", "two")]
    assert tokens(parts) == tokens("one\ntwo")


def test_conversation_is_remembered(server):
    messages = [
        {"role": "user", "content": "Remember: the key of door 4 is plum."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "What is the key of door 4?"},
    ]
    reply = server.post("/v1/chat/completions", {"messages": messages})
    assert reply.json()["choices"][0]["message"]["content"] == "plum"


def test_choices_are_n_and_in_order(server):
    body = converse(server, n=2)
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    contents = [choice["message"]["content"] for choice in body["choices"]]
    assert contents == [ADDITION_ANSWER] * 2


def test_streamed_choices_each_have_a_start_and_an_end(server):
    events = stream_events(server, "/v1/chat/completions", chat(ADDITION, n=2))
    for index in (0, 1):
        choices = [event["choices"][0] for event in events]
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert own[-1]["delta"] == {} and own[-1]["finish_reason"] == "stop"
        text = "".join(choice["delta"].get("content", "") for choice in own)
        assert text == ADDITION_ANSWER


def test_choices_differ_when_sampled(server):
    body = complete(server, "User:", n=4, seed=7, **WILD)
    assert len({choice["text"] for choice in body["choices"]}) > 1


@pytest.mark.parametrize("stop", ["k", ["zz", "k"]])
def test_stop_string_ends_and_is_not_shown(server, stop):
    body = converse(server, "Echo: blue kite", stop=stop)
    choice = body["choices"][0]
    assert choice["message"]["content"].strip() == "blue"
    assert choice["finish_reason"] == "stop"


def test_stop_string_never_shows_in_a_stream(server):
    events = stream_events(
        server, "/v1/chat/completions", chat("Echo: blue kite", stop=["kite and more", "ite"])
    )
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == "blue k"


def test_length_ends_a_completion(server):
    body = complete(server, max_tokens=1)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 1


def test_same_seed_gives_the_same_text(server):
    def texts(seeds):
        bodies = [complete(server, "User:", seed=seed, **WILD) for seed in seeds]
        return {body["choices"][0]["text"] for body in bodies}

    assert len(texts([2**63 - 1] * 3)) == 1
    assert len(texts(range(5))) > 1


def test_unknown_fields_and_null_are_ignored(server):
    nothing = dict.fromkeys(["n", "stop", "temperature", "max_tokens", "seed", "logit_bias"])
    body = converse(server, user="me", store=False, metadata={}, whatever=[1], tools=[], **nothing)
    assert body["choices"][0]["message"]["content"] == ADDITION_ANSWER


def test_float_that_is_whole_is_an_integer(server):
    assert complete(server, max_tokens=100.0)["choices"][0]["text"] == " " + ADDITION_ANSWER


def test_logprobs_of_a_chat_sum_to_its_text(server):
    body = converse(server, logprobs=True, top_logprobs=2)
    content = body["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content).strip() == ADDITION_ANSWER
    for entry in content:
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2
        assert bytes(entry["bytes"]).decode() == entry["token"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_bad_field_is_refused_by_name(server, fields, param):
    error = assert_error(server.post("/v1/chat/completions", {**chat(ADDITION), **fields}), 400)
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param)


def test_missing_field_is_refused_by_name(server):
    assert_error(server.post("/v1/chat/completions", {}), 400, "messages")
    assert_error(server.post("/v1/completions", {}), 400, "prompt")


def test_more_choices_than_slots_are_refused(start_server):
    small = start_server("--slots", "2")
    assert len(converse(small, n=2)["choices"]) == 2
    assert_error(small.post("/v1/chat/completions", chat(ADDITION, n=3)), 400, "n")


def test_bad_request_is_refused_before_a_stream_begins(server):
    with server.stream("/v1/chat/completions", chat(ADDITION, temperature=9)) as stream:
        assert stream.status == 400


def test_request_id_is_echoed_or_made(server):
    reply = server.get("/livez", headers={"X-Request-Id": "abc-123"})
    assert reply.headers["x-request-id"] == "abc-123"
    made = [server.get("/livez").headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]


def test_slashes_may_repeat_and_trail(server):
    assert server.get("//v1//models/").status == 200


def test_metrics_count_requests_and_tokens(server):
    before = server.metrics()
    usage = complete(server)["usage"]
    after = server.metrics()
    assert after["skein_slots"] >= 1
    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert any("prompt_tokens" in name for name in grown)
    assert any("generat" in name for name in grown)
    assert any("time_to_first_token" in name for name in grown)
    assert usage["completion_tokens"] > 0


def test_log_never_shows_prompt_or_answer(start_server):
    quiet = start_server("--log-level", "info")
    secret = "qzwvxk"
    assert converse(quiet, f"Echo: {secret}")["choices"][0]["message"]["content"] == secret
    assert secret not in quiet.log() + quiet.output()


def test_log_line_cannot_be_forged(start_server):
    quiet = start_server()
    quiet.get("/livez", headers={"X-Request-Id": 'x level=error event="forged'})
    quiet.get("/nowhere%0alevel=error", headers={"User-Agent": "a\tb"})
    assert not re.search(r"(^|\s)level=error", quiet.log(), re.MULTILINE)
