# SPDX-License-Identifier: Apache-2.0
"""Prints held-out prompts with right answers as JSON lines: what evaluate.py asks, unselected.

tests/gosling/test_gosling.c judges the server's engine by such a file. Standard library only.
"""

import argparse
import json
import random

import corpus


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="prompts of each task")
    parser.add_argument("--seed", type=int, default=1, help="evaluate.py's default is the same")
    options = parser.parse_args()
    for task in corpus.TASKS:
        rng = random.Random(f"evaluation:{options.seed}:{task}")
        for _ in range(options.count):
            talk = corpus.evaluation_conversation(rng, task)
            answer = talk.continuation().removeprefix(" ")
            record = {"task": task, "prompt": talk.prompt(), "answer": answer}
            print(json.dumps(record, separators=(",", ":")))


if __name__ == "__main__":
    main()
