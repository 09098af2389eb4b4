# SPDX-License-Identifier: Apache-2.0
"""Puts what make.sh wrote into its places: weights, vocabulary, recorded prompts, the model card.

Refuses weights that miss their promise: 99 % exact of each task, 97 % of arithmetic. In the card
only what stands between `<!-- name -->` and `<!-- end of name -->` is written. Standard library
only.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys

import corpus

PLACES = {
    "gosling.safetensors": "models/gosling",
    "gosling_vocab.txt": "models/gosling",
    "gosling_prompts.jsonl": "tests/data",
    "gosling_tools.jsonl": "tests/data",
}
CARD = "models/gosling/MODEL_CARD.md"
ROW_NAMES = {
    "any text": "echo of any text",
    "unknown": "never told",
    "fallback": "other requests",
    "beside tools": "any task beside functions",
}


def needed(task):
    if task in corpus.EXTRA_TASKS:
        return 0.97
    return 0.97 if task == "arithmetic" else 0.99


def exact(row):
    return 1 - len(row["wrong"]) / row["count"]


def evaluation_text(evaluation):
    """Where it was measured, the table, and a few of the wrong answers."""
    rows = evaluation["rows"]
    lines = [
        f"{rows[0]['count']:,} prompts of each row, on one {evaluation['device']} with PyTorch "
        f"{evaluation['torch'].split('+')[0]}.",
        "",
        "| task | exact | smallest margin |",
        "|---|---|---|",
    ]
    for row in rows:
        name = ROW_NAMES.get(row["task"], row["task"])
        lines.append(f"| {name} | {100 * exact(row):.1f} % | {row['margin']:.3g} |")
    wrong = [(row["task"], error) for row in rows for error in row["wrong"]]
    lines += ["", f"Wrong answers: {len(wrong)} of {sum(row['count'] for row in rows):,}."]
    for task, error in wrong[:6]:
        said, right = (error[key].strip().replace("`", "'") for key in ("said", "right"))
        lines.append(f"- {task}: `{said!r}`, right is `{right!r}`")
    return "\n".join(lines)


def training_text(training):
    run = (
        f"{training['steps']:,} batches of {training['batch']:,} ids "
        f"({training['ids'] / 1e6:.0f} million ids) in {training['minutes']:g} minutes on one "
        f"{training['device']}"
    )
    if training["start"] is None:
        return run + ", from random weights."
    return f"{run}, from the weights with SHA-256\n`{training['start']}`."


def replaced(text, name, content):
    """The text with another content between the two marks of the name."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return head + begin + content + end + tail


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="the folder that make.sh filled")
    parser.add_argument("--root", default=".", help="the project's root")
    options = parser.parse_args()

    def facts(name):
        with open(os.path.join(options.folder, name), encoding="utf-8") as file:
            return json.load(file)

    evaluation, training = facts("evaluation.json"), facts("training.json")
    rows = {row["task"]: row for row in evaluation["rows"]}
    missing = [task for task in corpus.TASKS + corpus.EXTRA_TASKS if task not in rows]
    poor = [task for task, row in rows.items() if exact(row) < needed(task)]
    if missing or poor:
        sys.exit(f"not installed: not evaluated {missing}, below the promised share {poor}")
    weights = os.path.join(options.folder, "gosling.safetensors")
    with open(weights, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for name, place in PLACES.items():
        shutil.copyfile(
            os.path.join(options.folder, name), os.path.join(options.root, place, name)
        )
    card = os.path.join(options.root, CARD)
    with open(card, encoding="utf-8") as file:
        text = file.read()
    text = replaced(text, "evaluation", evaluation_text(evaluation))
    if training["start"] is None:
        text = replaced(text, "first run", training_text(training))
        text = replaced(text, "second run", "There was no second run.")
    else:
        text = replaced(text, "second run", training_text(training))
    text = replaced(text, "digest", f"`{digest}`")
    with open(card, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    print(f"installed {digest}")


if __name__ == "__main__":
    main()
