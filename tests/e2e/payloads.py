# SPDX-License-Identifier: Apache-2.0
"""Requests that several tests send, and the shape of every refusal."""

import json

ADDITION = "What is 12+7?"
ADDITION_PROMPT = "User: What is 12+7?\n\nAssistant:"
ADDITION_ANSWER = "19"


def chat(text, **fields):
    """A chat request with one user message."""
    return {"messages": [{"role": "user", "content": text}], **fields}


def endless(**fields):
    """A completion that runs until it is stopped from outside."""
    return {
        "prompt": "User: Echo: blue kite\n\nAssistant:",
        "ignore_eos": True,
        "max_tokens": 65536,
        **fields,
    }


def assert_error(reply, status, param=None, code=None):
    """Checks a refusal: its status and OpenAI's shape; `param` and `code` where given."""
    assert reply.status == status, reply.body
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and error["type"]
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    return error
