# SPDX-License-Identifier: Apache-2.0
"""At stake: the whole path gives exactly the text of the reference model.

Shown on recorded prompts of every task, as chat and as plain completion, many at once.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gosling import PROMPTS, load_prompts
from server_process import SLOWNESS

pytestmark = [
    pytest.mark.short,
    pytest.mark.skipif(not PROMPTS.exists(), reason=f"{PROMPTS.name} is not there"),
]

PROMPTS_PER_TASK = 24 if SLOWNESS == 1 else 3


def sample():
    by_task = {}
    for prompt in load_prompts():
        by_task.setdefault(prompt.task, []).append(prompt)
    return {task: prompts[:PROMPTS_PER_TASK] for task, prompts in by_task.items()}


SAMPLE = sample() if PROMPTS.exists() else {}


def complete(server, prompt):
    body = {"prompt": prompt.prompt, "temperature": 0, "max_tokens": 256}
    return server.post("/v1/completions", body, timeout=60).json()["choices"][0]["text"]


def converse(server, prompt):
    body = {"messages": prompt.messages, "temperature": 0, "max_tokens": 256}
    reply = server.post("/v1/chat/completions", body, timeout=60)
    return reply.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("task", SAMPLE)
def test_completions_equal_the_reference(server, task):
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda prompt: complete(server, prompt), SAMPLE[task]))
    assert texts == [prompt.greedy for prompt in SAMPLE[task]]


@pytest.mark.parametrize("task", SAMPLE)
def test_chats_equal_the_reference(server, task):
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda prompt: converse(server, prompt), SAMPLE[task]))
    assert texts == [prompt.greedy.removeprefix(" ") for prompt in SAMPLE[task]]


def test_every_task_has_prompts():
    assert len(SAMPLE) >= 9
    assert all(len(prompts) == PROMPTS_PER_TASK for prompts in SAMPLE.values())
