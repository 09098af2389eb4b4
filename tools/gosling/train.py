# SPDX-License-Identifier: Apache-2.0
"""Trains Gosling and writes gosling.safetensors (bf16) and gosling_vocab.txt.

One run, stopped by the wall clock; loading, compiling and the last test are inside `--minutes`.
With `--start` it goes on from given weights, at lower rates, and half the time is enough.
Seed and batch number decide the data, so the batches are the same on every machine; how many of
them fit into the time is not, so weights differ from run to run.
"""

import argparse
import hashlib
import json
import os
import random
import time

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import corpus
import model as rwkv7
import vocabulary

ROW = 1024  # ids in a row: room for 600 between telling and asking, and for a list of functions
WHOLE_ROW_SHARE = 0.3  # rows that hold one long conversation; the others hold several
CONVERSATIONS = (64, 96, 128, 192, 256, 384)  # their lengths in ids, at most
TOOL_ROW_SHARE = 0.4  # rows that begin with a conversation that has functions
TOOL_CONVERSATIONS = (512, 640, 768, ROW)
MUON_RATE = 0.02
MUON_DECAY = 0.05
ADAM_RATE = 2e-3
FULL_RATE_UNTIL = 0.25  # share of the time; then the rate falls linearly to zero
START_PEAK = 0.3  # of the rates above, where training begins from given weights
TEST_ROW = 1280
RESERVED_S = 12  # for the last test and for writing


class Batches(Dataset):
    """Batch number -> (ids, labels, starts), each [B][T]: rows packed with conversations.

    Conversations begin at multiples of the chunk; padding has id 0 and label -1.
    """

    def __init__(self, seed, token_count, tool_share=TOOL_ROW_SHARE):
        self.seed = seed
        self.tool_share = tool_share
        self.rows = max(1, token_count // ROW)

    def __len__(self):
        return 10_000_000

    def __getitem__(self, number):
        rng = random.Random(f"{self.seed}:{number}")
        rows = [packed_row(rng, self.tool_share) for _ in range(self.rows)]
        return tuple(torch.tensor(part, dtype=torch.int16) for part in zip(*rows))


def packed_row(rng, tool_share):
    """One row: ids, labels, and 1 where a conversation begins."""
    ids, labels, starts = [], [], []
    with_tools = rng.random() < tool_share
    whole = rng.random() < WHOLE_ROW_SHARE
    while ROW - len(ids) >= min(CONVERSATIONS):
        limit = ROW if whole else rng.choice(TOOL_CONVERSATIONS if with_tools else CONVERSATIONS)
        more_ids, more_labels = corpus.training_row(rng, min(limit, ROW - len(ids)), with_tools)
        if 0 in more_labels:  # at least one answer found room
            length = -(-len(more_ids) // rwkv7.CHUNK) * rwkv7.CHUNK
            ids += more_ids + [0] * (length - len(more_ids))
            labels += more_labels + [-1] * (length - len(more_ids))
            starts += [1] + [0] * (length - 1)
            with_tools = False
    rest = ROW - len(ids)
    return ids + [0] * rest, labels + [-1] * rest, starts + [0] * rest


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by five Newton-Schulz steps, for the matrices of the layers.

    After K. Jordan et al., "Muon: an optimizer for hidden layers" (2024). Matrices of one shape
    are treated as one batch.
    """

    def __init__(self, matrices, rate, momentum=0.95, decay=0.0):
        super().__init__(matrices, {"lr": rate, "momentum": momentum, "decay": decay})
        self.batches = {}
        for p in self.param_groups[0]["params"]:
            self.batches.setdefault(tuple(p.shape), []).append(p)

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for shape, parameters in self.batches.items():
            gradient = torch.stack([p.grad for p in parameters])
            state = self.state[parameters[0]]
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            update = orthogonalised(gradient.lerp(state["momentum"], group["momentum"]))
            scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["decay"])
            torch._foreach_add_(parameters, list(update.unbind()), alpha=-scale)


def orthogonalised(x):
    """Roughly U V^T of each matrix U S V^T: [count][rows][columns]."""
    wide = x.shape[1] <= x.shape[2]
    y = x.bfloat16() if wide else x.bfloat16().transpose(1, 2)
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.transpose(1, 2)
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    return (y if wide else y.transpose(1, 2)).to(x.dtype)


def optimizers_for(model):
    """Muon for the large matrices, AdamW for everything else; decay bias learns twice as fast."""
    matrices, fast, others = [], [], []
    for name, p in model.named_parameters():
        if name.startswith("blocks.") and name.endswith(".weight") and p.dim() == 2:
            matrices.append(p)
        else:
            (fast if name.endswith((".w0", "emb.weight")) else others).append(p)
    adam = torch.optim.AdamW(
        [{"params": others, "lr": ADAM_RATE}, {"params": fast, "lr": 2 * ADAM_RATE}],
        betas=(0.9, 0.99),
        weight_decay=0.0,
        fused=others[0].is_cuda,
    )
    return [Muon(matrices, MUON_RATE, decay=MUON_DECAY), adam]


def mixed_precision(device):
    return torch.autocast(device, torch.bfloat16)


def test_rows(count, seed):
    """Held-out conversations of each task; only the last answer has labels."""
    rng = random.Random(f"test:{seed}")
    rows = []
    for task in corpus.TASKS:
        for _ in range(count):
            talk = corpus.evaluation_conversation(rng, task)
            question = vocabulary.encode(talk.prompt())
            answer = vocabulary.encode(talk.continuation())
            ids = question + answer
            labels = [-1] * (len(question) - 1) + answer + [0]
            rest = TEST_ROW - len(ids)
            rows.append((ids + [0] * rest, labels + [-1] * rest))
    return tuple(torch.tensor(part, dtype=torch.int16) for part in zip(*rows))


@torch.no_grad()
def exact_share(model, rows, device):
    """Share of exact answers of each task. Greedy decoding is exact if and only if the largest
    logit is right at every position of the right answer, so one forward pass tells."""
    ids, labels = rows
    right = []
    for begin in range(0, len(ids), 50):
        batch = ids[begin:begin + 50].to(device).long()
        wanted = labels[begin:begin + 50].to(device)
        with mixed_precision(device):
            best = model(batch).argmax(-1)
        right.append(((best == wanted) | (wanted < 0)).all(1))
    right = torch.cat(right).view(len(corpus.TASKS), -1).float().mean(1)
    return dict(zip(corpus.TASKS, right.tolist()))


def percentages(shares):
    return " ".join(f"{task} {100 * share:.1f}" for task, share in shares.items())


def parsed_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", required=True, help="folder for the weights and the vocabulary")
    parser.add_argument("--start", help="weights to begin from, else random ones")
    parser.add_argument("--peak", type=float, help="factor on the learning rates")
    parser.add_argument("--warmup", type=int, default=150, help="steps of rising rate")
    parser.add_argument("--tool-share", type=float, default=TOOL_ROW_SHARE)
    parser.add_argument("--steps", type=int, default=10_000_000, help="end after these, if earlier")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch-tokens", type=int, default=65536)
    parser.add_argument("--test-count", type=int, default=100, help="test prompts of each task")
    parser.add_argument("--test-every", type=float, default=60, help="seconds between tests")
    parser.add_argument("--workers", type=int, default=min(4, max(1, (os.cpu_count() or 2) - 2)))
    parser.add_argument("--no-fuse", action="store_true", help="do not compile the model")
    options = parser.parse_args()
    if options.peak is None:
        options.peak = START_PEAK if options.start else 1.0
    return options


def first_model(options, device):
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    rows = rwkv7.vocabulary_rows(vocabulary.ID_COUNT)
    model = (rwkv7.load(options.start) if options.start else rwkv7.Gosling(rows)).to(device)
    if device == "cuda" and not options.no_fuse:
        model.fuse()
    source = options.start or "random weights"
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}, from {source}")
    return model


class Schedule:
    """Learning rates from the step and the share of the time that is gone."""

    def __init__(self, optimizers, options):
        self.groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.peaks = [group["lr"] * options.peak for group in self.groups]
        self.warmup = options.warmup
        self.steps = options.steps

    def set(self, step, share):
        share = max(share, step / self.steps)
        rate = min(1, (step + 1) / self.warmup, (1 - share) / (1 - FULL_RATE_UNTIL))
        for group, peak in zip(self.groups, self.peaks):
            group["lr"] = rate * peak
        return rate


def loss_of(model, batch, device):
    ids, labels, starts = (part.to(device, non_blocking=True) for part in batch)
    with mixed_precision(device):
        logits = model(ids.long(), 1.0 - starts.float())
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, labels.long().flatten(), ignore_index=-1)


def train(model, batches, rows, options, began, device):
    """Trains until the time or the steps are over. Returns the number of steps and of ids."""
    optimizers = optimizers_for(model)
    schedule = Schedule(optimizers, options)
    loss_sum, loss_count, tokens, tokens_marked = 0.0, 0, 0, 0
    marked, tested, step = began, began, 0
    for step, batch in enumerate(batches):
        now = time.monotonic()
        share = (now - began) / max(60 * options.minutes - RESERVED_S, 1)
        if share >= 1 or step >= options.steps:
            break
        rate = schedule.set(step, share)
        loss = loss_of(model, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

        loss_sum, loss_count = loss_sum + loss.detach(), loss_count + 1
        tokens += batch[0].numel()
        if now - marked > 5 or step in (0, 3):
            loss = float(loss_sum) / loss_count  # waits for the device
            now = time.monotonic()
            print(
                f"step {step} loss {loss:.4f} rate {rate:.2f} "
                f"{(tokens - tokens_marked) / (now - marked) / 1e3:.1f}k ids/s, "
                f"{began + 60 * options.minutes - now:.0f} s left",
                flush=True,
            )
            loss_sum, loss_count, tokens_marked, marked = 0.0, 0, tokens, now
            if now - tested > options.test_every:
                print("exact %: " + percentages(exact_share(model, rows, device)), flush=True)
                marked = tested = time.monotonic()
    return step, tokens


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def main():
    began = time.monotonic()
    options = parsed_options()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = first_model(options, device)
    batches = DataLoader(
        Batches(options.seed, options.batch_tokens, options.tool_share),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=8 if options.workers else None,
        pin_memory=device == "cuda",
    )
    rows = test_rows(options.test_count, options.seed)
    step, tokens = train(model, batches, rows, options, began, device)

    os.makedirs(options.out, exist_ok=True)
    path = os.path.join(options.out, "gosling.safetensors")
    start_sum = options.start and sha256(options.start)  # may be the file that is written now
    rwkv7.save(model, path)
    vocabulary.write(os.path.join(options.out, "gosling_vocab.txt"))
    if device == "cuda":
        print(f"peak device memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    written = rwkv7.load(path).to(device)
    print("as written, exact %: " + percentages(exact_share(written, rows, device)))
    seconds = time.monotonic() - began
    print(f"{step} steps, {tokens:,} ids, {seconds:.0f} s", flush=True)
    facts = {
        "steps": step,
        "ids": tokens,
        "batch": batches.dataset.rows * ROW,
        "minutes": round(seconds / 60, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "start": start_sum,
    }
    with open(os.path.join(options.out, "training.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file)


if __name__ == "__main__":
    main()
