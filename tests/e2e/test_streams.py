# SPDX-License-Identifier: Apache-2.0
"""At stake: a stream says exactly what the same request says without one.

Shown by seeded requests of both APIs with every form of detail, each sent twice; the chunks obey
the rules that clients rely on, and joined they are the whole reply.
"""

import json

import pytest

from payloads import ADDITION, ADDITION_PROMPT

# Hot enough that the text is anything, also broken characters.
WILD = {"temperature": 2, "top_p": 1, "max_tokens": 60, "ignore_eos": True}
PROMPTS = [ADDITION_PROMPT, "User: Sort: 9 3 5\n\nAssistant:", "Zwölf"]

VARIANTS = [
    {},
    {"n": 3},
    {"logprobs": 2, "return_token_ids": True},
    {"logprobs": 0, "n": 2, "stop": ["a", " 1"]},
    {"stop": ["e", "\n"], "include_stop_str_in_output": True, "logprobs": 1},
    {"logprobs": 1, "return_tokens_as_token_ids": True, "min_tokens": 20},
    {"sampler_order": "rwkv", "presence_penalty": 0.5, "frequency_penalty": 0.5},
]


def as_chat(fields):
    """The same variant for chat, where logprobs is a flag."""
    chat = {key: value for key, value in fields.items() if key != "logprobs"}
    if "logprobs" in fields:
        chat |= {"logprobs": True, "top_logprobs": fields["logprobs"]}
    return chat | {"messages": [{"role": "user", "content": ADDITION}]}


def join(lists, new):
    """Appends each list of `new` to the one of that name."""
    for name, values in (new or {}).items():
        if isinstance(values, list):
            lists.setdefault(name, []).extend(values)


def collect(events, is_chat):
    """The choices of a stream by index, and its usage; checks every chunk on the way."""
    choices = {}
    usage = None
    heads = set()
    for event in events:
        heads.add((event["id"], event["created"], event["model"], event["object"]))
        if not event["choices"]:
            usage = event["usage"]
            continue
        assert event["usage"] is None and usage is None
        part = event["choices"][0]
        choice = choices.setdefault(
            part["index"], {"text": "", "logprobs": {}, "token_ids": [], "finish_reason": None}
        )
        assert choice["finish_reason"] is None, "a chunk after the last"
        if is_chat:
            is_first = not choice.get("has_role")
            assert ("role" in part["delta"]) == is_first
            choice["has_role"] = True
            text = part["delta"].get("content", "")
            assert text or is_first or part["finish_reason"], part
        else:
            text = part["text"]
            assert text or part["finish_reason"], part
        assert not (part["finish_reason"] and text)
        text.encode()  # No lone surrogates.
        choice["text"] += text
        choice["finish_reason"] = part["finish_reason"]
        choice["token_ids"] += part.get("token_ids", [])
        join(choice["logprobs"], part["logprobs"])
    assert len(heads) == 1
    return choices, usage


def assert_same(streamed, whole, is_chat):
    assert streamed["text"] == (whole["message"]["content"] if is_chat else whole["text"])
    assert streamed["finish_reason"] == whole["finish_reason"]
    assert streamed["token_ids"] == whole.get("token_ids", [])
    lists = {}
    join(lists, whole["logprobs"])
    assert {name: values for name, values in streamed["logprobs"].items() if values} == {
        name: values for name, values in lists.items() if values
    }


def check(server, path, body, is_chat):
    whole = server.post(path, body).json()
    options = {"stream_options": {"include_usage": True}}
    with server.stream(path, {**body, **options}) as stream:
        choices, usage = collect(stream.events(), is_chat)
        assert stream.done
    assert usage == whole["usage"]
    assert sorted(choices) == [choice["index"] for choice in whole["choices"]]
    for choice in whole["choices"]:
        assert_same(choices[choice["index"]], choice, is_chat)
    return whole


@pytest.mark.parametrize("fields", VARIANTS, ids=json.dumps)
@pytest.mark.parametrize("seed", [1, 2**63 + 1, -5])
def test_completions_stream_what_they_say(server, fields, seed):
    body = {"prompt": PROMPTS[0], **WILD, **fields, "seed": seed}
    check(server, "/v1/completions", body, False)
    check(server, "/v1/completions", {**body, "prompt": PROMPTS}, False)


@pytest.mark.parametrize("fields", VARIANTS, ids=json.dumps)
@pytest.mark.parametrize("seed", [3, 2**64 - 1])
def test_chats_stream_what_they_say(server, fields, seed):
    check(server, "/v1/chat/completions", {**WILD, **as_chat(fields), "seed": seed}, True)


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"logprobs": 1}])
def test_echo_streams_what_it_says(server, fields):
    body = {"prompt": PROMPTS, **WILD, **fields, "echo": True, "seed": 4}
    whole = check(server, "/v1/completions", body, False)
    n = fields.get("n", 1)
    for choice in whole["choices"]:
        assert choice["text"].startswith(PROMPTS[choice["index"] // n])


def test_tokens_join_to_the_text(server):
    """Without a stop string, log-probabilities cover all of the text and nothing else."""
    for seed in range(5):
        body = {**WILD, "seed": seed, **as_chat({"logprobs": 0})}
        choice = server.post("/v1/chat/completions", body).json()["choices"][0]
        tokens = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
        assert tokens.decode(errors="replace") == choice["message"]["content"]


def test_big_seeds_differ(server):
    """A 64-bit seed counts to its last digit."""
    texts = set()
    for seed in (2**53, 2**53 + 1, 2**63 - 1, 2**63 - 2, 2**64 - 1, 2**64 - 2):
        body = {"prompt": PROMPTS[0], **WILD, "seed": seed}
        texts.add(server.post("/v1/completions", body).json()["choices"][0]["text"])
        again = server.post("/v1/completions", body).json()["choices"][0]["text"]
        assert again in texts
    assert len(texts) == 6
