#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the source on purpose, one line at a time, and checks that the named test notices.

The rows below are the six mistakes of which the flash-linear-attention report on RWKV-7 generation
tells (four bugs and two advices), put into this program's own source. A row whose test passes with
the mistake in place, or whose line is not found exactly once, fails.

usage: mutations.py [--keep] [WORD ...]   only rows whose item or file contains a WORD
Works on a copy in a temporary directory; needs meson, ninja and a compiler. To add a row, add it.
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOT_COPIED = (".*", "build*", "__pycache__", "docker", "e2e", "fuzz", "*.md")
CONFORMANCE = ("tests/conformance/test_cpu_conformance", "reference, 1 thread")
KERNELS = ("tests/cpu/test_cpu_kernels",)
SNAPSHOT = ("tests/engine/test_engine_state_snapshot",)
ENGINE = ("tests/engine/test_engine_engine",)

# item: what went wrong. old: found exactly once in file. test: (executable, arguments), the TCase
# (None: all) and the test that must fail.
Mutation = collections.namedtuple("Mutation", "item what file old new program case test")

MUTATIONS = (
    Mutation("1 cache type", "a state of another model or layout is taken as ours",
             "engine/state_snapshot.c",
             "if (checks[index].found != checks[index].expected) {",
             "if (index > 8) {",
             SNAPSHOT, None, "state_snapshot_refuses_when_it_is_of_another_model"),
    Mutation("1 cache type", "a tuned state is laid over att_prev instead of S",
             "engine/model_spec.c",
             "state_out + layer * layer_floats + spec->C;",
             "state_out + layer * layer_floats;",
             CONFORMANCE, "golden", "backend_starts_from_the_tuned_state_when_the_model_has_one"),
    Mutation("2 FFN state", "the last layer's ffn_prev is not initialised",
             "cpu/cpu_backend.c",
             "memset(state_of(cpu, slot_index), 0, backend->state_bytes);",
             "memset(state_of(cpu, slot_index), 0, backend->state_bytes - cpu->spec->C * 4);",
             CONFORMANCE, "states", "backend_slot_is_new_when_it_held_rubbish_before"),
    Mutation("2 FFN state", "the channel mix keeps no shift",
             "cpu/cpu_forward.c",
             "store_shifts(f, pass, ffn_prev);",
             "(void)ffn_prev;",
             CONFORMANCE, "golden", "backend_matches_golden_logits_when_weights_are_bf16"),
    Mutation("3 wrong [0]", "time mix: every sequence takes the first one's shift",
             "cpu/cpu_forward.c",
             "find_previous_rows(f, pass, att_prev);",
             "find_previous_rows(f, pass, att_prev); for (uint32_t s = 0; s < pass->segment_count; "
             "s++) { f->previous[pass->segments[s].first_row] = pass->segments[0].state_in + "
             "att_prev; }",
             CONFORMANCE, "sequences", "backend_batch_equals_single_runs_when_resumed_in_pieces"),
    Mutation("3 wrong [0]", "channel mix: every sequence takes the last one's shift",
             "cpu/cpu_forward.c",
             "find_previous_rows(f, pass, ffn_prev);",
             "find_previous_rows(f, pass, ffn_prev); for (uint32_t s = 0; s < pass->segment_count; "
             "s++) { f->previous[pass->segments[s].first_row] = "
             "pass->segments[pass->segment_count - 1].state_in + ffn_prev; }",
             CONFORMANCE, "sequences", "backend_batch_equals_single_runs_when_resumed_in_pieces"),
    Mutation("3 wrong [0]", "all rows of a step advance the state of its first item",
             "cpu/cpu_backend.c",
             ".state_out = state_of(cpu, item->slot),",
             ".state_out = state_of(cpu, cpu->items[0].slot),",
             CONFORMANCE, "sequences", "backend_batch_equals_single_runs_when_lengths_differ"),
    Mutation("4 prompt cut", "the backend runs only the last token of an item",
             "cpu/cpu_backend.c",
             "for (uint32_t index = 0; index < item->token_count; index++) {",
             "for (uint32_t index = item->token_count - 1; index < item->token_count; index++) {",
             CONFORMANCE, "sequences",
             "backend_processes_the_whole_prompt_when_the_slot_is_new_and_empty"),
    Mutation("4 prompt cut", "the engine takes a slot that exists for a prompt that was run",
             "engine/sequence.c",
             "sequence->prompt_run = 0;",
             "sequence->prompt_run = request->prompt_count - 1;",
             ENGINE, None, "engine_runs_the_whole_prompt_when_it_is_longer_than_a_step"),
    Mutation("5 decay in f32", "reference: the decay is rounded to 11 bits",
             "cpu/cpu_kernels_reference.c",
             "w[j] = expf(head->log_w[at + j]);",
             "w[j] = roundf(expf(head->log_w[at + j]) * 2048.0f) / 2048.0f;",
             KERNELS, None, "wkv_error_does_not_grow_when_the_sequence_is_long_and_slow"),
    Mutation("5 decay in f32", "avx2: the decay passes through f16",
             "cpu/cpu_kernels_avx2.c",
             "_mm256_storeu_ps(decay + j, avx2_exp(load(head->log_w + at + j)));",
             "_mm256_storeu_ps(decay + j, _mm256_cvtph_ps(_mm256_cvtps_ph(avx2_exp(load("
             "head->log_w + at + j)), 0)));",
             KERNELS, None, "wkv_error_does_not_grow_when_the_sequence_is_long_and_slow"),
    Mutation("6 state copies", "each item's state is copied into its slot before it runs",
             "cpu/cpu_backend.c",
             "note_item(cpu, item);",
             "note_item(cpu, item); uint64_t ticket; (void)state_load(backend, item->slot, "
             "memcpy(malloc(backend->state_bytes), state_of(cpu, item->source_slot), "
             "backend->state_bytes), &ticket, error);",
             CONFORMANCE, "states", "backend_copies_no_state_when_decoding_steadily"),
)


def run(command, cwd, **environment):
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def prepare(work):
    """Copies the tree and configures it; nothing is built yet."""
    shutil.copytree(ROOT, work, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    done = run(["meson", "setup", "build", "--buildtype=debugoptimized", "-Dtests=enabled"], work)
    if done.returncode != 0:
        sys.exit(done.stdout + "\nmutations: the copy cannot be configured")


def build(work, programs):
    return run(["ninja", "-C", "build", *sorted(programs)], work)


def run_test(work, mutation):
    """Returns (exit status, names of the tests that failed)."""
    case = {"CK_RUN_CASE": mutation.case} if mutation.case else {}
    executable, *arguments = mutation.program
    command = [str(work / "build" / executable), *arguments]
    done = run(command, work, CK_DEFAULT_TIMEOUT="60", **case)
    failed = re.findall(r"^[^:\n]+:\d+:[FE]:[^:\n]+:(\w+):", done.stdout, re.MULTILINE)
    return done.returncode, set(failed)


def check(work, mutation):
    """Applies one row, builds, tests, puts the line back; returns None or what is wrong."""
    path = work / mutation.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutation.old) != 1:
        return f"line found {source.count(mutation.old)} times: {mutation.old}"
    path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        built = build(work, {mutation.program[0]})
        if built.returncode != 0:
            return "does not compile:\n" + built.stdout[-2000:]
        status, failed = run_test(work, mutation)
        if status == 0 or mutation.test not in failed:
            return f"the test does not notice (failed: {', '.join(sorted(failed)) or 'none'})"
        return None
    finally:
        path.write_text(source, encoding="utf-8")


def check_unbroken(work, mutations):
    """Every test must pass before the first mutation."""
    built = build(work, {mutation.program[0] for mutation in mutations})
    if built.returncode != 0:
        sys.exit(built.stdout[-4000:] + "\nmutations: the copy does not compile")
    for mutation in {(m.program, m.case): m for m in mutations}.values():
        status, failed = run_test(work, mutation)
        if status != 0:
            sys.exit(f"mutations: {mutation.program[0]} fails without a mutation: {failed}")


def cannot_run(mutation):
    """The fast kernels are only tested where the processor runs them."""
    cpu = pathlib.Path("/proc/cpuinfo")
    return "avx2" in mutation.file and not (cpu.exists() and " avx2 " in cpu.read_text())


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    mutations = [m for m in MUTATIONS
                 if not options.words or any(w in m.item or w in m.file for w in options.words)]
    skipped = [m for m in mutations if cannot_run(m)]
    mutations = [m for m in mutations if not cannot_run(m)]
    work = pathlib.Path(tempfile.mkdtemp(prefix="skein-mutations-"))
    failures = 0
    try:
        prepare(work)
        check_unbroken(work, mutations)
        print("item | mutation | failing test")
        for mutation in mutations:
            wrong = check(work, mutation)
            failures += wrong is not None
            result = mutation.test if wrong is None else f"NOT NOTICED: {wrong}"
            print(f"{mutation.item} | {mutation.file}: {mutation.what} | {result}", flush=True)
    finally:
        if options.keep:
            print(f"kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{len(mutations) - failures} passed, {failures} failed, {len(skipped)} skipped")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
