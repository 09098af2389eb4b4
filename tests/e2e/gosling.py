# SPDX-License-Identifier: Apache-2.0
"""Prompts whose exact greedy answer is known: tests/data/gosling_prompts.jsonl.

Each line has a conversation, the right answer, and the ids that the reference implementation in
tools/gosling decodes greedily. Standard library only: load.py uses it too.
"""

import ast
import json

from server_process import ROOT

PROMPTS = ROOT / "tests" / "data" / "gosling_prompts.jsonl"
VOCABULARY = ROOT / "models" / "gosling" / "gosling_vocab.txt"
END_OF_TEXT = 0
# Below this lead of the best logit over the next, two correct implementations may differ.
SAFE_MARGIN = 1e-2


class Prompt:
    def __init__(self, task, messages, prompt, greedy, answer):
        self.task = task
        self.messages = messages
        self.prompt = prompt  # The same as text for /v1/completions.
        self.greedy = greedy  # What the model says, with the leading space of a completion.
        self.answer = answer  # What would be right.

    @property
    def is_right(self):
        return self.greedy.strip() == self.answer


def load_vocabulary():
    tokens = {END_OF_TEXT: b""}
    with open(VOCABULARY, encoding="utf-8") as lines:
        for line in lines:
            number, rest = line.rstrip("\n").split(" ", 1)
            literal = ast.literal_eval(rest.rsplit(" ", 1)[0])
            token = literal if isinstance(literal, bytes) else literal.encode()
            tokens[int(number)] = token
    return tokens


def load_prompts():
    """Those with a right, finished and unambiguous greedy answer, in the order of the file."""
    vocabulary = load_vocabulary()
    prompts = []
    with open(PROMPTS, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            ids = entry["ids"]
            if ids[-1:] != [END_OF_TEXT] or min(entry["margins"], default=0) < SAFE_MARGIN:
                continue
            greedy = b"".join(vocabulary[number] for number in ids).decode()
            prompt = Prompt(
                entry["task"], entry["messages"], entry["prompt"], greedy, entry["answer"]
            )
            if prompt.is_right:
                prompts.append(prompt)
    return prompts
