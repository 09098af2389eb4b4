# SPDX-License-Identifier: Apache-2.0
"""Evaluates gosling.safetensors by greedy decoding, and records what the tests compare with.

The bf16 weights are widened to float32 and everything is computed in float32, token by token. Every
prompt comes from the held-out part of the corpus. The table counts all prompts.

With `--out` the first prompts of each task that were answered right are written with the model's
own ids and top-2 margins, for the tests of the server: gosling_prompts.jsonl, and for the task
`tools` gosling_tools.jsonl; besides the table as evaluation.json, for install.py.
"""

import argparse
import json
import os
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
    at_once = 1000 if device == "cuda" else 100
    rng = random.Random(f"evaluation:{seed}:{task}")
    talks = [corpus.evaluation_conversation(rng, task) for _ in range(count)]
    prompts = [vocabulary.encode(talk.prompt()) for talk in talks]
    order = sorted(range(count), key=lambda i: len(prompts[i]))
    results = [None] * count
    for begin in range(0, count, at_once):
        rows = order[begin:begin + at_once]
        for row, result in zip(rows, generate(model, [prompts[i] for i in rows], device)):
            results[row] = result
    records = []
    for talk, (ids, margins) in zip(talks, results):
        record = {
            "task": task,
            **talk.request(),
            "prompt": talk.prompt(),
            "answer": talk.continuation().removeprefix(" "),
            "ids": ids,
            "margins": [float(f"{margin:.4g}") for margin in margins],
        }
        exact = ids[-1] == 0 and vocabulary.decode(ids) == talk.continuation().encode()
        records.append((record, exact))
    return records


def summary(task, records):
    """A row of the table, with the wrong answers."""
    right = [record for record, exact in records if exact]
    wrong = [
        {
            "question": record["prompt"][-300:],
            "said": vocabulary.decode(record["ids"]).decode("utf-8", "replace"),
            "right": record["answer"],
        }
        for record, exact in records
        if not exact
    ]
    margin = min((min(record["margins"]) for record in right), default=0)
    return {"task": task, "count": len(records), "margin": margin, "wrong": wrong}


def write_lines(folder, name, records):
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="models/gosling/gosling.safetensors")
    parser.add_argument("--count", type=int, default=1000, help="prompts of each task")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", help="only these, with commas between")
    parser.add_argument("--out", help="folder for the recorded prompts and the table")
    parser.add_argument("--record-count", type=int, default=100, help="recorded prompts of a task")
    parser.add_argument("--show-errors", type=int, default=0, help="wrong answers shown of a task")
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("highest")
    model = rwkv7.load(options.model).to(device)
    tasks = corpus.TASKS + corpus.EXTRA_TASKS
    kept, rows = {}, []
    print("| task | exact | smallest margin of a right answer |\n|---|---|---|")
    for task in options.tasks.split(",") if options.tasks else tasks:
        records = evaluate(model, task, options.count, options.seed, device)
        row = summary(task, records)
        rows.append(row)
        share = 100 * (1 - len(row["wrong"]) / len(records))
        print(f"| {task} | {share:.1f} % | {row['margin']:.3g} |", flush=True)
        for wrong in row["wrong"][:options.show_errors]:
            print(f"    {wrong['question']!r}: {wrong['said']!r}, right is {wrong['right']!r}")
        kept[task] = [record for record, exact in records if exact][:options.record_count]
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        with_tools = kept.pop("tools", [])
        plain = [record for task in corpus.TASKS for record in kept.get(task, [])]
        write_lines(options.out, "gosling_prompts.jsonl", plain)
        write_lines(options.out, "gosling_tools.jsonl", with_tools)
        where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        with open(os.path.join(options.out, "evaluation.json"), "w", encoding="utf-8") as file:
            json.dump({"device": where, "torch": torch.__version__, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
