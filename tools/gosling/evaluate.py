# SPDX-License-Identifier: Apache-2.0
"""Evaluates gosling.safetensors by greedy decoding, and records what the tests compare with.

The bf16 weights are widened to float32 and everything is computed in float32, token by token. Every
prompt comes from the held-out part of the corpus. The first prompts of each task that were answered
right go, with the model's own ids and top-2 margins, to the data file that the tests of the server
read: there every answer is exact. The table counts all prompts.
"""

import argparse
import json
import random

import torch

import corpus
import model as rwkv7
import vocabulary

MAX_NEW = 200  # the longest right answer has about 120 ids


@torch.no_grad()
def generate(model, prompts, device):
    """Greedy ids (with the final 0) and top-2 logit margins for each prompt's ids.

    All rows advance together: a row whose prompt is used up is fed what it generated last.
    """
    lengths = torch.tensor([len(ids) for ids in prompts], device=device)
    fed = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for row, ids in enumerate(prompts):
        fed[row, :len(ids)] = torch.tensor(ids)
    fed = fed.to(device)
    state = model.zero_state(len(prompts))
    open_rows = torch.ones(len(prompts), dtype=torch.bool, device=device)
    latest = fed[:, 0]
    ids_steps, margin_steps, live_steps = [], [], []
    for t in range(int(lengths.max()) + MAX_NEW):
        logits = model.step(latest, state)
        top = logits[:, :vocabulary.ID_COUNT].topk(2)
        live = open_rows & (t + 1 >= lengths)
        ids_steps.append(top.indices[:, 0])
        margin_steps.append(top.values[:, 0] - top.values[:, 1])
        live_steps.append(live)
        open_rows &= ~(live & (top.indices[:, 0] == vocabulary.END_OF_TEXT))
        given = fed[:, min(t + 1, fed.shape[1] - 1)]
        latest = torch.where(t + 1 < lengths, given, top.indices[:, 0])
        if t % 16 == 0 and not open_rows.any():
            break
    ids, margins, live = (
        torch.stack(steps, 1).tolist() for steps in (ids_steps, margin_steps, live_steps)
    )
    pick = lambda values, row: [value for value, on in zip(values[row], live[row]) if on]
    return [(pick(ids, row), pick(margins, row)) for row in range(len(prompts))]


def evaluate(model, task, count, seed, device):
    """Returns one record for each prompt, and whether its answer was exact."""
    rng = random.Random(f"evaluation:{seed}:{task}")
    talks = [corpus.evaluation_conversation(rng, task) for _ in range(count)]
    prompts = [vocabulary.encode(talk.prompt()) for talk in talks]
    order = sorted(range(count), key=lambda i: len(prompts[i]))
    results = [None] * count
    for begin in range(0, count, 250):
        rows = order[begin:begin + 250]
        for row, result in zip(rows, generate(model, [prompts[i] for i in rows], device)):
            results[row] = result
    records = []
    for talk, (ids, margins) in zip(talks, results):
        answer = talk.turns[-1].answer
        record = {
            "task": task,
            "messages": talk.messages(),
            "prompt": talk.prompt(),
            "answer": answer,
            "ids": ids,
            "margins": [float(f"{margin:.4g}") for margin in margins],
        }
        exact = ids[-1] == 0 and vocabulary.decode(ids) == (" " + answer).encode()
        records.append((record, exact))
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="models/gosling/gosling.safetensors")
    parser.add_argument("--count", type=int, default=1000, help="prompts of each task")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", help="file for the recorded prompts (JSON lines)")
    parser.add_argument("--record-count", type=int, default=100, help="recorded prompts of a task")
    parser.add_argument("--show-errors", type=int, default=0, help="wrong answers shown of a task")
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("highest")
    model = rwkv7.load(options.model).to(device)
    kept = []
    print("| task | exact | smallest margin of a right answer |\n|---|---|---|")
    for task in corpus.TASKS + corpus.EXTRA_TASKS:
        records = evaluate(model, task, options.count, options.seed, device)
        right = [record for record, exact in records if exact]
        margin = min((min(record["margins"]) for record in right), default=0)
        print(f"| {task} | {100 * len(right) / len(records):.1f} % | {margin:.3g} |", flush=True)
        wrong = [record for record, exact in records if not exact]
        for record in wrong[:options.show_errors]:
            said = vocabulary.decode(record["ids"]).decode("utf-8", "replace")
            question = record["messages"][-1]["content"]
            print(f"    {question!r}: {said!r}, right is {record['answer']!r}")
        if task in corpus.TASKS:
            kept += right[:options.record_count]
    if options.records:
        with open(options.records, "w", encoding="utf-8", newline="\n") as file:
            for record in kept:
                file.write(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
