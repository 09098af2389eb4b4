# SPDX-License-Identifier: Apache-2.0
"""At stake: evaluation by log-likelihood, the way lm-evaluation-harness asks for it.

Shown by 100 texts whose log-probabilities the engine computes without a server (score_texts), and
the server's own: one text a request, all in few, as token ids, beside other prompts.
"""

import json
import pathlib
import subprocess

import pytest

import gosling
from server_process import default_binary

COUNT = 100
BOUND = 1e-5
SCORER = pathlib.Path(default_binary()).parent / "tests" / "gosling" / "score_texts"
SCORING = {"echo": True, "max_tokens": 0, "logprobs": 1, "temperature": 0}


def make_texts():
    """Questions with their answers, and some text that the model never saw."""
    prompts = gosling.load_prompts()
    step = max(1, len(prompts) // (COUNT - 4))
    texts = [prompt.prompt + prompt.greedy for prompt in prompts[::step]][: COUNT - 4]
    return [*texts, "x", "Zwölf Gänse – 12 \U0001f986", "\n\n\n", "word " * 300]


@pytest.fixture(scope="module")
def scored():
    """Each text with its tokens and log-probabilities from the engine alone."""
    if not SCORER.exists():
        pytest.skip(f"{SCORER} is not built")
    texts = make_texts()
    assert len(texts) == COUNT
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    output = subprocess.run([SCORER], input=lines, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in output.stdout.splitlines()]
    return list(zip(texts, results, strict=True))


def assert_scores(choice, text, expected):
    logprobs = choice["logprobs"]
    assert choice["text"] == text
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert len(logprobs["tokens"]) == len(expected["tokens"])
    for said, right in zip(logprobs["token_logprobs"][1:], expected["logprobs"][1:], strict=True):
        assert abs(said - right) <= BOUND
    for index, top in enumerate(logprobs["top_logprobs"][1:], 1):
        assert logprobs["token_logprobs"][index] <= max(top.values()) + BOUND


def assert_offsets(choice):
    """Where a token is whole text, it stands at its offset."""
    logprobs = choice["logprobs"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        if not token.startswith("bytes:"):
            assert choice["text"][offset:].startswith(token)


def test_single_texts_score_as_the_engine_says(server, scored):
    for text, expected in scored:
        reply = server.post("/v1/completions", {"prompt": text, **SCORING})
        assert reply.status == 200, reply.body
        choice = reply.json()["choices"][0]
        assert_scores(choice, text, expected)
        assert_offsets(choice)
        assert reply.json()["usage"]["completion_tokens"] == 0
        assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("as_tokens", [False, True])
def test_batches_score_as_the_engine_says(server, scored, as_tokens):
    for begin in range(0, COUNT, 40):
        batch = scored[begin : begin + 40]
        prompts = [result["tokens"] if as_tokens else text for text, result in batch]
        reply = server.post("/v1/completions", {"prompt": prompts, **SCORING})
        assert reply.status == 200, reply.body
        choices = reply.json()["choices"]
        assert [choice["index"] for choice in choices] == list(range(len(batch)))
        for choice, (text, expected) in zip(choices, batch, strict=True):
            assert_scores(choice, text, expected)
        total = sum(len(expected["tokens"]) for _, expected in batch)
        assert reply.json()["usage"]["prompt_tokens"] == total


def test_more_prompts_than_slots_are_answered(start_server, scored):
    small = start_server("--slots", "2", "--queue", "1")
    texts = [text for text, _ in scored[:30]]
    reply = small.post("/v1/completions", {"prompt": texts, **SCORING}, timeout=60)
    assert reply.status == 200, reply.body
    for choice, (text, expected) in zip(reply.json()["choices"], scored[:30], strict=True):
        assert_scores(choice, text, expected)


def test_scores_agree_in_every_form(server, scored):
    """echo with logprobs, prompt_logprobs of both APIs' form, and in a stream."""
    text, expected = scored[0]
    reply = server.post("/v1/completions", {"prompt": text, **SCORING, "prompt_logprobs": 2})
    choice = reply.json()["choices"][0]
    assert choice["prompt_logprobs"][0] is None
    for index, entry in enumerate(choice["prompt_logprobs"][1:], 1):
        own = entry[str(expected["tokens"][index])]
        assert abs(own["logprob"] - expected["logprobs"][index]) <= BOUND
    joined = {"text": "", "logprobs": {name: [] for name in choice["logprobs"]}}
    with server.stream("/v1/completions", {"prompt": text, **SCORING}) as stream:
        for event in stream.events():
            part = event["choices"][0]
            joined["text"] += part["text"]
            for name, values in (part["logprobs"] or {}).items():
                joined["logprobs"][name] += values
    assert joined["text"] == choice["text"]
    assert joined["logprobs"] == choice["logprobs"]


def test_greedy_answers_score_what_was_generated(server, scored):
    """The log-probabilities of an answer are those of the same text as a prompt."""
    prompt = "User: Uppercase: hello\n\nAssistant:"
    said = server.post("/v1/completions", {"prompt": prompt, "logprobs": 0}).json()["choices"][0]
    reply = server.post("/v1/completions", {"prompt": prompt + said["text"], **SCORING})
    scores = reply.json()["choices"][0]["logprobs"]
    count = len(said["logprobs"]["tokens"])
    assert scores["tokens"][-count:] == said["logprobs"]["tokens"]
    pairs = zip(scores["token_logprobs"][-count:], said["logprobs"]["token_logprobs"], strict=True)
    assert all(abs(left - right) <= BOUND for left, right in pairs)
